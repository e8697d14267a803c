//! Puts the files of a container where the program that runs here reads them.

use super::files::{Files, Storage};
use super::places::{Place, Places};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The folders of one program.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    /// Stands for the root of its container; made anew for each start.
    pub(super) root: PathBuf,
    /// Volumes that live as long as the pod.
    pub(super) scratch: PathBuf,
    /// Volumes that outlive pods, by the UID of their claim; shared by all programs.
    pub(super) claims: PathBuf,
    /// What the program says.
    pub(super) log: PathBuf,
}

impl Disk {
    /// The folders of `program` under `directory`.
    pub(super) fn new(directory: &Path, program: &str) -> Self {
        let own = directory.join(program);
        Disk {
            root: own.join("root"),
            scratch: own.join("scratch"),
            claims: directory.join("claims"),
            log: directory.join(format!("{program}.log")),
        }
    }

    /// Where the mounts of a container of the pod `uid` lie.
    pub(super) fn places(&self, files: &Files, uid: &str) -> Places {
        let mounts = files.mounts.iter().map(|mount| {
            let mut local = match &mount.storage {
                Storage::Content => self.root.join(mount.path.trim_start_matches('/')),
                Storage::Claim(claim) => self.claims.join(claim),
                Storage::Scratch(volume) => self.scratch.join(uid).join(volume),
            };
            // Where files come from objects, the sub path has chosen them already.
            if mount.storage != Storage::Content && !mount.sub_path.is_empty() {
                local.push(&mount.sub_path);
            }
            Place { container: mount.path.clone(), local }
        });
        Places { root: self.root.clone(), mounts: mounts.collect() }
    }

    /// Empties what belongs to one container and makes the folders of its mounts, and `working`.
    ///
    /// # Errors
    /// When a folder cannot be made or emptied.
    pub(super) fn prepare(&self, files: &Files, places: &Places, uid: &str, working: &Path) -> Result<()> {
        remove(&self.root)?;
        // Those of former pods.
        for entry in fs::read_dir(&self.scratch).into_iter().flatten().flatten() {
            if entry.file_name() != uid {
                remove(&entry.path())?;
            }
        }
        for (mount, place) in files.mounts.iter().zip(&places.mounts) {
            // A file that is mounted alone is no folder.
            if !files.contents.contains_key(&mount.path) {
                make(&place.local)?;
            }
        }
        make(&self.root)?;
        make(working)
    }
}

/// Content and permissions by local path.
pub(super) type LocalFiles = BTreeMap<PathBuf, (Vec<u8>, u32)>;

/// Writes what differs from `written` and removes what is no longer wanted.
///
/// # Errors
/// When a file cannot be written; then some may be new and some old.
pub(super) fn write(wanted: &LocalFiles, written: &LocalFiles) -> Result<()> {
    let old: BTreeSet<&PathBuf> = written.keys().filter(|path| !wanted.contains_key(*path)).collect();
    for path in old {
        remove(path)?;
    }
    for (path, file) in wanted.iter().filter(|(path, file)| written.get(*path) != Some(file)) {
        if let Some(folder) = path.parent() {
            make(folder)?;
        }
        // Moved into place whole: the program may read at any moment.
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let cannot = || format!("cannot write `{}`", path.display());
        fs::write(&partial, &file.0).with_context(cannot)?;
        // The program runs as we do, and nobody else is to read Secrets.
        fs::set_permissions(&partial, fs::Permissions::from_mode(file.1 & 0o700 | 0o400)).with_context(cannot)?;
        fs::rename(&partial, path).with_context(cannot)?;
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_what_is_wanted_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let file = |text: &str| (text.as_bytes().to_vec(), 0o444);
        let first: LocalFiles = [(path("a/x"), file("1")), (path("b"), file("2"))].into();
        write(&first, &LocalFiles::new()).unwrap();
        let second: LocalFiles = [(path("a/x"), file("3"))].into();
        write(&second, &first).unwrap();
        assert_eq!(fs::read_to_string(path("a/x")).unwrap(), "3");
        assert_eq!(fs::metadata(path("a/x")).unwrap().permissions().mode() & 0o777, 0o400);
        assert!(!path("b").exists());
    }

    #[test]
    fn a_new_pod_finds_its_claim_as_it_was_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path(), "prometheus");
        let mount =
            |path: &str, storage| super::super::files::Mount { path: path.into(), storage, sub_path: String::new() };
        let mut files = Files::default();
        files.mounts.push(mount("/data", Storage::Claim("claim-1".into())));
        files.mounts.push(mount("/tmp", Storage::Scratch("tmp".into())));
        files.mounts.push(mount("/etc/empty", Storage::Content));
        for (uid, found) in [("pod-1", false), ("pod-2", true)] {
            let places = disk.places(&files, uid);
            disk.prepare(&files, &places, uid, &disk.root.join("work")).unwrap();
            let local = |path: &str| PathBuf::from(places.local(path).unwrap());
            assert_eq!(local("/data/kept").exists(), found);
            assert!(!local("/tmp/gone").exists() && local("/etc/empty").is_dir() && disk.root.join("work").is_dir());
            fs::write(local("/data/kept"), "").unwrap();
            fs::write(local("/tmp/gone"), "").unwrap();
        }
    }
}
