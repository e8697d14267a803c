//! `--overlay`: a person's own alerts, dashboards, runbooks and templates over the built-in ones.

use crate::error::{Failure, Kind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folders an overlay may hold.
const FOLDERS: [&str; 4] = ["alerts", "dashboards", "docs/runbooks", "templates"];

/// The text files below the known folders of `folder`, by their path.
///
/// # Errors
/// [`Kind::Usage`] for a folder that is not there, holds none of the known folders, or holds a file
/// that cannot be read as text.
pub(super) fn read(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut found = false;
    for name in FOLDERS {
        let below = folder.join(name);
        if below.is_dir() {
            found = true;
            collect(&below, name, &mut Vec::new(), &mut files)?;
        }
    }
    if found {
        return Ok(files);
    }
    Err(Failure::new(
        Kind::Usage,
        format!("the overlay `{}` has none of the folders {}/", folder.display(), FOLDERS.join("/, ")),
    )
    .hint("`drivemaster-mon render -o bundle/` shows what the built-in files make")
    .into())
}

/// `above` has the folders that `folder` stands in, without symbolic links.
fn collect(
    folder: &Path,
    name: &str,
    above: &mut Vec<PathBuf>,
    files: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let failed = |path: &Path| Failure::new(Kind::Usage, format!("cannot read `{}` of the overlay", path.display()));
    let real = folder.canonicalize().map_err(|error| failed(folder).caused_by(error))?;
    if above.contains(&real) {
        let why = "it is a symbolic link to a folder that it stands in";
        return Err(failed(folder).caused_by(std::io::Error::other(why)));
    }
    above.push(real);
    let entries = std::fs::read_dir(folder).map_err(|error| failed(folder).caused_by(error))?;
    for entry in entries {
        let path = entry.map_err(|error| failed(folder).caused_by(error))?.path();
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
        // An editor's swap and backup files are no templates.
        if file.starts_with('.') || file.ends_with('~') {
            continue;
        }
        let below = format!("{name}/{file}");
        if path.is_dir() {
            collect(&path, &below, above, files)?;
        } else {
            let kind = path.metadata().map_err(|error| failed(&path).caused_by(error))?;
            // Reading a pipe would wait for its writer.
            if !kind.is_file() {
                return Err(failed(&path).caused_by(std::io::Error::other("it is not a regular file")));
            }
            let text = super::text::read(&path).map_err(|error| failed(&path).caused_by(error))?;
            files.insert(below, text);
        }
    }
    above.pop();
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_circle_of_links_ends_with_its_reason() {
        for target in ["..", "../alerts", "loop"] {
            let overlay = tempfile::tempdir().unwrap();
            let alerts = overlay.path().join("alerts");
            std::fs::create_dir(&alerts).unwrap();
            symlink(target, alerts.join("loop")).unwrap();
            let told = format!("{:#}", read(overlay.path()).unwrap_err());
            assert!(told.contains("alerts/loop") && told.to_lowercase().contains("symbolic link"), "{told}");
        }
        let overlay = tempfile::tempdir().unwrap();
        for folder in ["alerts/one", "alerts/two"] {
            std::fs::create_dir_all(overlay.path().join(folder)).unwrap();
        }
        std::fs::write(overlay.path().join("alerts/one/a.yaml"), "a").unwrap();
        symlink("../one", overlay.path().join("alerts/two/link")).unwrap();
        assert_eq!(read(overlay.path()).unwrap().len(), 2);
    }
}
