//! The folder of one sandbox: what is in it, and the record that says who runs it.

use crate::error::{Failure, Kind};
use crate::process::ProcessRef;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest path of a Unix socket: 108 bytes with the closing zero.
const SOCKET_PATH_LIMIT: usize = 107;
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// The folders of one sandbox. Nothing needs to exist yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Name of the sandbox.
    pub name: String,
    /// Everything that belongs to it, except sockets.
    pub directory: PathBuf,
    /// Its sockets: their paths must be short.
    sockets: PathBuf,
}

impl Folder {
    /// The folder of the sandbox `name` of this user.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the name is not one; [`Kind::CouldNotAsk`] when the user has no home.
    pub fn of(name: &str) -> Result<Self> {
        check_name(name)?;
        Ok(Self::under(&root()?, name, runtime_directory().as_deref()))
    }

    fn under(root: &Path, name: &str, runtime: Option<&Path>) -> Self {
        let directory = root.join(name);
        let digest = Sha256::digest(directory.as_os_str().as_encoded_bytes());
        let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let in_runtime = runtime.map(|runtime| runtime.join(format!("dmm-{short}")));
        // The longest socket name is `control.sock` with its slash.
        let fits = |path: &PathBuf| path.as_os_str().len() + "/control.sock".len() <= SOCKET_PATH_LIMIT;
        let sockets = in_runtime.filter(fits).unwrap_or_else(|| PathBuf::from(format!("/tmp/dmm-{short}")));
        Folder { name: name.to_owned(), directory, sockets }
    }

    /// Certificates, keys and the kubeconfigs of the programs.
    pub fn pki(&self) -> PathBuf {
        self.directory.join("pki")
    }

    /// Logs of the programs, of the guard and of the supervisor.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Log of the program `name`.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Data of etcd.
    pub fn etcd(&self) -> PathBuf {
        self.directory.join("etcd")
    }

    /// Configuration files of the programs.
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("configuration")
    }

    /// Work folder of the programs behind pods.
    pub fn behind(&self) -> PathBuf {
        self.directory.join("behind")
    }

    /// Links to kubectl and helm, for PATH.
    pub fn bin(&self) -> PathBuf {
        self.directory.join("bin")
    }

    /// Kubeconfig of the person.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// Audit log of the API server, one JSON document a line.
    pub fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    /// Who runs this sandbox.
    pub fn record(&self) -> PathBuf {
        self.directory.join("supervisor.json")
    }

    /// Where the supervisor answers.
    pub fn control_socket(&self) -> PathBuf {
        self.sockets.join("control.sock")
    }

    /// Where the API server's connections into the cluster go.
    pub fn egress_socket(&self) -> PathBuf {
        self.sockets.join("egress.sock")
    }

    /// Makes all folders, for their owner alone.
    ///
    /// # Errors
    /// When one cannot be made, or the folder of the sockets belongs to somebody else.
    pub fn create(&self) -> Result<()> {
        for folder in [
            self.directory.clone(),
            self.pki(),
            self.logs(),
            self.etcd(),
            self.configuration(),
            self.behind(),
            self.bin(),
            self.sockets.clone(),
        ] {
            private_folder(&folder)?;
        }
        // Its name can be guessed and its parent may be open to all.
        let sockets = std::fs::symlink_metadata(&self.sockets)
            .with_context(|| format!("cannot read `{}`", self.sockets.display()))?;
        let own = std::fs::metadata("/proc/self").context("cannot read `/proc/self`")?.uid();
        anyhow::ensure!(
            sockets.is_dir() && sockets.uid() == own && sockets.mode() & 0o077 == 0,
            "`{}` is not a private folder of this user",
            self.sockets.display()
        );
        Ok(())
    }

    /// Removes everything.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self) -> Result<()> {
        for folder in [&self.directory, &self.sockets] {
            match std::fs::remove_dir_all(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove `{}`", folder.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The record, if there is one that can be understood.
    pub fn read_record(&self) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(self.record()).ok()?).ok()
    }

    /// Writes the record in one step, so that a reader never sees half of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        let unfinished = self.record().with_extension("json.new");
        write_private(&unfinished, &serde_json::to_vec_pretty(record)?)?;
        std::fs::rename(&unfinished, self.record())
            .with_context(|| format!("cannot write `{}`", self.record().display()))
    }

    /// Waits until no other process starts or ends this sandbox, and keeps others away until the
    /// lock is dropped.
    ///
    /// # Errors
    /// [`Kind::Refused`] when another holds it for longer than `patience`.
    pub async fn lock(&self, patience: Duration) -> Result<Lock> {
        let path = self.directory.with_extension("lock");
        if let Some(parent) = path.parent() {
            private_folder(parent)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unusable(format!("cannot open `{}`", path.display()), error))?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock `{}`", path.display()));
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(LOCK_INTERVAL).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(Failure::new(
                        Kind::Refused,
                        format!("another process has been starting or ending sandbox `{}` for {patience:?}", self.name),
                    )
                    .hint("run the command again when it has finished")
                    .into());
                }
            }
        }
    }
}

/// Held while a sandbox is started or ended.
#[derive(Debug)]
pub struct Lock {
    // The kernel gives the lock back when the file is closed, however this process ends.
    _file: File,
}

/// Who runs a sandbox and where it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of this program that wrote it.
    pub version: String,
    /// The supervisor.
    pub supervisor: ProcessRef,
    /// The guard, parent of the programs.
    pub guard: Option<ProcessRef>,
    /// The programs by name.
    pub programs: BTreeMap<String, ProgramRecord>,
    /// Where the supervisor answers.
    pub control_socket: PathBuf,
    /// The proxy that scrapes go through.
    pub proxy: Option<String>,
    /// The part of the configuration that it simulates.
    pub platform: serde_json::Value,
}

impl Record {
    /// The record of a supervisor that has just started as the process `pid`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of_supervisor(folder: &Folder, pid: u32) -> Result<Self> {
        Ok(Record {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            supervisor: ProcessRef::of(pid).with_context(|| format!("process {pid} has ended"))?,
            guard: None,
            programs: BTreeMap::new(),
            control_socket: folder.control_socket(),
            proxy: None,
            platform: serde_json::Value::Null,
        })
    }

    /// Every process of the sandbox, the supervisor last.
    pub fn processes(&self) -> Vec<ProcessRef> {
        let programs = self.programs.values().map(|program| program.process);
        programs.chain(self.guard).chain([self.supervisor]).collect()
    }
}

/// One program of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramRecord {
    /// Its process.
    pub process: ProcessRef,
    /// Its port on loopback, where it listens.
    pub port: Option<u16>,
    /// Its executable.
    pub program: PathBuf,
}

/// The names of all sandboxes of this user that have a folder, sorted.
///
/// # Errors
/// When the user has no home or the folder cannot be read.
pub fn names() -> Result<Vec<String>> {
    let root = root()?;
    let entries = match std::fs::read_dir(&root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unusable(format!("cannot read `{}`", root.display()), error))?,
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| check_name(name).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Refuses what cannot name a folder, a context and a process alike.
fn check_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=32).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('-') {
        return Ok(());
    }
    Err(Failure::new(Kind::Usage, format!("`{name}` cannot name a sandbox"))
        .hint("use 1 to 32 lower-case letters, digits and dashes, such as `default`")
        .into())
}

/// The folder of all sandboxes.
fn root() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("DRIVEMASTER_MON_STATE").or_else(|| {
        let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local").join("state")))?;
        Some(state.join("drivemaster-mon"))
    });
    let base = base.ok_or_else(|| {
        Failure::new(Kind::CouldNotAsk, "there is no place for the sandbox's files: `HOME` is not set")
            .hint("set `DRIVEMASTER_MON_STATE` to a folder")
    })?;
    let base = std::path::absolute(&base).with_context(|| format!("`{}` is not a path", base.display()))?;
    if base.to_str().is_none() {
        // The programs take their paths as text.
        return Err(Failure::new(Kind::Usage, format!("`{}` is not valid UTF-8", base.display()))
            .hint("set `DRIVEMASTER_MON_STATE` to another folder")
            .into());
    }
    Ok(base.join("sandboxes"))
}

/// The user's folder for sockets, where the login system made one.
fn runtime_directory() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir())
}

fn private_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| unusable(format!("cannot make the folder `{}`", path.display()), error))
}

/// A place for the sandboxes' files that cannot be used.
fn unusable(message: String, error: std::io::Error) -> anyhow::Error {
    Failure::new(Kind::CouldNotAsk, message)
        .hint("set `DRIVEMASTER_MON_STATE` to a folder that you can write to")
        .caused_by(error)
}

/// Writes a file that its owner alone can read.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["default", "a", "ci-42", &"x".repeat(32)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "Default", "a b", "-x", "a.b", &"x".repeat(33)] {
            let error = check_name(bad).unwrap_err();
            assert_eq!(crate::error::exit_code_of(&error), 64, "{bad}");
        }
    }

    #[test]
    fn socket_paths_stay_short_in_a_deep_folder_and_differ_by_sandbox() {
        let deep = PathBuf::from(format!("/{}", "deep/".repeat(60)));
        for runtime in [None, Some(Path::new("/run/user/1000")), Some(deep.as_path())] {
            let one = Folder::under(&deep, "one", runtime);
            let two = Folder::under(&deep, "two", runtime);
            assert!(one.control_socket().as_os_str().len() <= SOCKET_PATH_LIMIT);
            assert_ne!(one.control_socket(), two.control_socket());
            assert_eq!(
                one.control_socket().starts_with("/run/user/1000"),
                runtime == Some(Path::new("/run/user/1000"))
            );
        }
    }

    #[test]
    fn an_open_folder_for_the_sockets_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::under(root.path(), "one", Some(root.path()));
        folder.create().unwrap();
        let sockets = folder.control_socket().parent().unwrap().to_owned();
        std::fs::set_permissions(&sockets, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(folder.create().unwrap_err().to_string().contains("is not a private folder"));
        folder.remove().unwrap();
        assert!(!folder.directory.exists() && !sockets.exists());
        folder.remove().unwrap();
    }

    #[tokio::test]
    async fn a_second_process_waits_for_the_lock_and_then_says_so() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::under(root.path(), "one", Some(root.path()));
        let lock = folder.lock(Duration::ZERO).await.unwrap();
        let error = folder.lock(Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(crate::error::exit_code_of(&error), 5);
        drop(lock);
        folder.lock(Duration::ZERO).await.unwrap();
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_torn_one_is_none() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::under(root.path(), "one", Some(root.path()));
        folder.create().unwrap();
        assert_eq!(folder.read_record(), None);
        let process = |pid| ProcessRef { pid, start: 7 };
        let record = Record {
            version: "1".to_owned(),
            supervisor: process(1),
            guard: Some(process(2)),
            programs: BTreeMap::from([(
                "etcd".to_owned(),
                ProgramRecord { process: process(3), port: Some(4), program: "/bin/etcd".into() },
            )]),
            control_socket: folder.control_socket(),
            proxy: None,
            platform: serde_json::json!({"services": []}),
        };
        folder.write_record(&record).unwrap();
        assert_eq!(folder.read_record(), Some(record.clone()));
        assert_eq!(record.processes().iter().map(|process| process.pid).collect::<Vec<_>>(), [3, 2, 1]);
        std::fs::write(folder.record(), "{").unwrap();
        assert_eq!(folder.read_record(), None);
    }
}
