//! Where the upstream charts come from.

use crate::chart::{Charts, archive};
use crate::error::{Failure, Kind};
use anyhow::{Context, Result};
use std::path::Path;

/// The charts `needed` from the archives `<name>-<version>.tgz` in `folder`.
///
/// # Errors
/// [`Kind::Refused`] naming every chart that is not there, or an archive that cannot be read.
pub fn from_folder(folder: &Path, needed: &[&str]) -> Result<Charts> {
    let listed = std::fs::read_dir(folder).map_err(|error| {
        Failure::new(Kind::Usage, format!("cannot list the folder of charts `{}`", folder.display())).caused_by(error)
    })?;
    let mut names: Vec<String> =
        listed.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    let mut charts = Charts::new();
    let mut missing = Vec::new();
    for name in needed {
        let is_it = |file: &&String| {
            file.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()) && rest.ends_with(".tgz"))
        };
        let Some(file) = names.iter().find(is_it) else {
            missing.push(format!("`{name}`"));
            continue;
        };
        let path = folder.join(file);
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        charts.insert((*name).to_owned(), archive::read(&path.display().to_string(), &bytes)?);
    }
    if missing.is_empty() {
        return Ok(charts);
    }
    let message = format!("the folder of charts `{}` lacks {}", folder.display(), missing.join(", "));
    Err(Failure::new(Kind::Refused, message).hint("drivemaster-mon charts pull --help").into())
}
