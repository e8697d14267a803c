//! Writes a chart that we carry in memory to a folder that helm can read.

use crate::error::{Failure, Kind};
use crate::render::bundle::Chart;
use anyhow::Result;
use std::path::{Component, Path};
use tempfile::TempDir;

/// Writes `chart` into a new temporary folder, which goes away with the returned guard.
///
/// Without its definitions: they are applied before, and helm, which is told to skip them, would store them with
/// every revision all the same. A Secret holds 1 MiB, and with those of Chaos Mesh three quarters of it are taken.
/// Definitions of subcharts are not stored.
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
    let reads_files = reads_files(chart);
    for (path, content) in chart.files.iter().filter(|(path, _)| reads_files || !path.starts_with("crds/")) {
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

/// Whether the chart's templates may read its files, by whatever path they form.
fn reads_files(chart: &Chart) -> bool {
    let mut templates = chart.files.iter().filter(|(path, _)| path.starts_with("templates/"));
    templates.any(|(_, content)| String::from_utf8_lossy(content).contains(".Files"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code_of;

    fn chart(path: &str) -> Chart {
        chart_of(&[(path, "content")])
    }

    fn chart_of(files: &[(&str, &str)]) -> Chart {
        Chart {
            name: "tiny".to_owned(),
            version: "0.1.0".to_owned(),
            app_version: "1".to_owned(),
            files: files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect(),
        }
    }

    #[test]
    fn definitions_are_left_out_where_no_template_may_read_them() {
        let paths = ["crds/deep/a.yaml", "templates/crds/a.yaml", "charts/inner/crds/a.yaml", "charts/crds/Chart.yaml"];
        for (template, is_left_out) in [("{{ .Values.a }}", true), ("{{ range $path, $_ := $.Files }}{{ end }}", false)]
        {
            let mut files = paths.map(|path| (path, "")).to_vec();
            files.push(("templates/a.yaml", template));
            let folder = write_chart(&chart_of(&files)).unwrap();
            let written = paths.map(|path| folder.path().join(path).exists());
            assert_eq!(written, [!is_left_out, true, true, true], "{template}");
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
