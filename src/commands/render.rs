//! `render`: the bundle as files.

use super::session::Session;
use crate::config::Profile;
use crate::error::{Failure, Kind};
use crate::render::files::{files_with, stream_with};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The file that lists what a render wrote, and so tells it from files of somebody else's.
const MARKER: &str = ".drivemaster-mon-bundle";

pub(super) async fn run(session: &Session<'_>) -> anyhow::Result<()> {
    let Some(output) = &session.global.output else {
        return Err(Failure::new(Kind::Usage, "`render` needs a folder to write to")
            .hint("`drivemaster-mon render -o bundle/`, or `-o -` for stdout")
            .into());
    };
    let (config, bundle) = session.bundle().await?;
    let published = match config.profile {
        Profile::Production => Some(session.lock()?.0),
        Profile::Local => None,
    };
    if output == "-" {
        session.terminal.stdout(&stream_with(&bundle, published.as_ref()));
        return Ok(());
    }
    let directory = PathBuf::from(output);
    let files = files_with(&bundle, published.as_ref());
    write(&directory, &files)?;
    session.terminal.say(&format!(
        "wrote {} files to {}; its README.md installs them\n",
        files.len(),
        directory.display()
    ));
    Ok(())
}

/// Replaces `directory` with `files`: everything is written beside it first, so that a failure
/// leaves what was there.
fn write(directory: &Path, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    let failed = |what: String| move |error: std::io::Error| Failure::new(Kind::Refused, what).caused_by(error);
    // A link to a folder stays: the bundle goes where it leads.
    let resolved = directory.canonicalize().ok();
    let directory = resolved.as_deref().unwrap_or(directory);
    refuse_foreign(directory)?;
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&parent).map_err(failed(format!("cannot make the folder `{}`", parent.display())))?;
    let beside = tempfile::Builder::new()
        .prefix(".drivemaster-mon-render-")
        .tempdir_in(&parent)
        .map_err(failed(format!("cannot write to the folder `{}`", parent.display())))?;
    let (fresh, former) = (beside.path().join("fresh"), beside.path().join("former"));
    let list: String = files.keys().map(|name| format!("{name}\n")).collect();
    for (name, content) in
        files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).chain([(MARKER, list.as_bytes())])
    {
        let path = fresh.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed(format!("cannot make the folder of `{name}`")))?;
        }
        std::fs::write(&path, content).map_err(failed(format!("cannot write `{name}`")))?;
    }
    if directory.exists() {
        std::fs::rename(directory, &former).map_err(failed(format!("cannot replace `{}`", directory.display())))?;
    }
    std::fs::rename(&fresh, directory).map_err(failed(format!("cannot move the bundle to `{}`", directory.display())))
}

/// Refuses a folder with anything in it that no render wrote.
fn refuse_foreign(directory: &Path) -> anyhow::Result<()> {
    let refused = |why: String| {
        Failure::new(Kind::Refused, format!("will not write to `{}`: {why}", directory.display()))
            .hint("name a new folder with `-o DIR`")
            .into()
    };
    if !directory.exists() {
        return Ok(());
    }
    if !directory.is_dir() {
        return Err(refused("it is not a folder".to_owned()));
    }
    let list = std::fs::read_to_string(directory.join(MARKER)).unwrap_or_default();
    let written: BTreeSet<&str> = list.lines().chain([MARKER]).collect();
    let mut found = Vec::new();
    files_below(directory, "", &mut found).map_err(|error| {
        Failure::new(Kind::Refused, format!("cannot read the folder `{}`", directory.display())).caused_by(error)
    })?;
    match found.iter().find(|name| !written.contains(name.as_str())) {
        Some(foreign) => {
            Err(refused(format!("it is not a rendered bundle, or more than one: `{foreign}` is not ours")))
        }
        None => Ok(()),
    }
}

/// The paths of all files below `folder`, with `prefix` before each.
fn files_below(folder: &Path, prefix: &str, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("README.md".to_owned(), b"x".to_vec()), ("02-values/a.yaml".to_owned(), b"y".to_vec())])
    }

    #[test]
    fn a_bundle_replaces_an_earlier_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/bundle");
        write(&target, &bundle()).unwrap();
        write(&target, &BTreeMap::from([("README.md".to_owned(), b"z".to_vec())])).unwrap();
        assert!(!target.join("02-values").exists());
        assert_eq!(std::fs::read(target.join("README.md")).unwrap(), b"z");
        let left: Vec<_> = std::fs::read_dir(folder.path().join("deep")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_file_of_somebody_else_in_a_bundle_is_never_lost() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("bundle");
        write(&target, &bundle()).unwrap();
        std::fs::write(target.join("02-values/mine.yaml"), "precious").unwrap();
        let error = write(&target, &bundle()).unwrap_err();
        assert!(error.to_string().contains("02-values/mine.yaml"), "{error}");
        assert!(target.join("02-values/mine.yaml").is_file());
    }

    #[test]
    fn a_link_to_a_folder_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("real", &link).unwrap();
        write(&link, &bundle()).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(folder.path().join("real/README.md").is_file());
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("precious.txt"), "mine").unwrap();
        let error = write(folder.path(), &bundle()).unwrap_err();
        assert_eq!(crate::error::exit_code_of(&error), 5);
        assert!(folder.path().join("precious.txt").is_file());
    }
}
