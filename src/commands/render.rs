//! `render`: the bundle as files.

use super::session::Session;
use crate::error::{Failure, Kind};
use crate::render::files::{files, stream};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file that tells an earlier bundle from a folder of somebody else's.
const MARKER: &str = "README.md";

pub(super) async fn run(session: &Session<'_>) -> anyhow::Result<()> {
    let Some(output) = &session.global.output else {
        return Err(Failure::new(Kind::Usage, "`render` needs a folder to write to")
            .hint("`drivemaster-mon render -o bundle/`, or `-o -` for stdout")
            .into());
    };
    let (_, bundle) = session.bundle()?;
    if output == "-" {
        session.terminal.stdout(&stream(&bundle));
        return Ok(());
    }
    let directory = PathBuf::from(output);
    let files = files(&bundle);
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
    refuse_foreign(directory)?;
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&parent).map_err(failed(format!("cannot make the folder `{}`", parent.display())))?;
    let fresh = tempfile::Builder::new()
        .prefix(".drivemaster-mon-render-")
        .tempdir_in(&parent)
        .map_err(failed(format!("cannot write to the folder `{}`", parent.display())))?;
    for (name, content) in files {
        let path = fresh.path().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed(format!("cannot make the folder of `{name}`")))?;
        }
        std::fs::write(&path, content).map_err(failed(format!("cannot write `{name}`")))?;
    }
    if directory.exists() {
        std::fs::remove_dir_all(directory).map_err(failed(format!("cannot replace `{}`", directory.display())))?;
    }
    let fresh = fresh.keep();
    std::fs::rename(&fresh, directory)
        .map_err(failed(format!("cannot move the bundle to `{}`", directory.display())))?;
    set_readable(directory)
}

/// A temporary folder is private; a bundle is for others to read.
fn set_readable(directory: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn refuse_foreign(directory: &Path) -> anyhow::Result<()> {
    let refused = |why: &str| {
        Failure::new(Kind::Refused, format!("will not write to `{}`: {why}", directory.display()))
            .hint("name a new folder with `-o DIR`")
            .into()
    };
    if !directory.exists() {
        return Ok(());
    }
    if !directory.is_dir() {
        return Err(refused("it is not a folder"));
    }
    let empty = std::fs::read_dir(directory).map(|mut entries| entries.next().is_none()).unwrap_or(false);
    let ours = directory.join(MARKER).is_file() && directory.join("02-values").is_dir();
    if empty || ours { Ok(()) } else { Err(refused("it holds files that are not a rendered bundle")) }
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
        std::fs::write(target.join("02-values/stale.yaml"), "old").unwrap();
        write(&target, &bundle()).unwrap();
        assert!(target.join("02-values/a.yaml").is_file());
        assert!(!target.join("02-values/stale.yaml").exists());
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
