//! Writes a chart that we carry in memory to a folder that helm can read.

use crate::error::{Failure, Kind};
use crate::render::bundle::Chart;
use anyhow::Result;
use std::path::{Component, Path};
use tempfile::TempDir;

/// Writes `chart` into a new temporary folder, which goes away with the returned guard.
///
/// # Errors
/// When a path of the chart leaves its folder, or the disk refuses.
pub fn write_chart(chart: &Chart) -> Result<TempDir> {
    let failed = |what: String, error: std::io::Error| {
        Failure::new(Kind::CouldNotAsk, format!("cannot {what} for the chart `{}`", chart.name))
            .hint("set TMPDIR to a folder that can be written and has room")
            .caused_by(error)
    };
    let folder = tempfile::Builder::new()
        .prefix("drivemaster-mon-chart-")
        .tempdir()
        .map_err(|error| failed("make a temporary folder".to_owned(), error))?;
    for (path, content) in &chart.files {
        let relative = Path::new(path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Failure::new(
                Kind::Refused,
                format!("the chart `{}` has a file outside its folder: `{path}`", chart.name),
            )
            .into());
        }
        let target = folder.path().join(relative);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|error| failed(format!("make the folder `{}`", parent.display()), error))?;
        }
        std::fs::write(&target, content).map_err(|error| failed(format!("write `{}`", target.display()), error))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code_of;
    use std::collections::BTreeMap;

    fn chart(path: &str) -> Chart {
        Chart {
            name: "tiny".to_owned(),
            version: "0.1.0".to_owned(),
            app_version: "1".to_owned(),
            files: BTreeMap::from([(path.to_owned(), b"content".to_vec())]),
        }
    }

    #[test]
    fn a_chart_is_written_with_its_folders_and_goes_away() {
        let folder = write_chart(&chart("templates/deep/a.yaml")).unwrap();
        let path = folder.path().join("templates/deep/a.yaml");
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_refused() {
        for path in ["../escape", "/etc/escape", "a/../../b"] {
            assert_eq!(exit_code_of(&write_chart(&chart(path)).unwrap_err()), 5, "{path}");
        }
    }
}
