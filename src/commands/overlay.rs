//! `--overlay`: a person's own alerts, dashboards, runbooks and templates over the built-in ones.

use crate::error::{Failure, Kind};
use std::collections::BTreeMap;
use std::path::Path;

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
            collect(&below, name, &mut files)?;
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

fn collect(folder: &Path, name: &str, files: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    let failed = |path: &Path| Failure::new(Kind::Usage, format!("cannot read `{}` of the overlay", path.display()));
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
            collect(&path, &below, files)?;
        } else {
            // Reading a pipe would wait for its writer.
            if !path.is_file() {
                return Err(failed(&path).caused_by(std::io::Error::other("it is not a regular file")));
            }
            let text = super::text::read(&path).map_err(|error| failed(&path).caused_by(error))?;
            files.insert(below, text);
        }
    }
    Ok(())
}
