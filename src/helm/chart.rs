//! Writes a chart that we carry in memory to a folder that helm can read.

use crate::error::{Failure, Kind};
use crate::render::bundle::Chart;
use anyhow::Result;
use std::path::{Component, Path};
use tempfile::TempDir;

/// Writes `chart` into a new temporary folder, which goes away with the returned guard.
///
/// Without its definitions: they are applied before, and helm, which is told to skip them, would store them with
/// every revision all the same. A Secret holds 1 MiB, and those of Chaos Mesh alone fill it.
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
    for (path, content) in chart.files.iter().filter(|(path, _)| !is_definition(chart, path)) {
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

/// Whether `path` is a definition that nothing of its chart reads.
fn is_definition(chart: &Chart, path: &str) -> bool {
    let Some(folder) = chart_folder(path, "crds/") else { return false };
    let mut of_its_chart = chart.files.iter().filter(|(path, _)| chart_folder(path, "templates/") == Some(folder));
    let is_read = |content: &[u8]| {
        let text = String::from_utf8_lossy(content);
        text.contains(".Files") && ["crds", "Glob"].iter().any(|part| text.contains(part))
    };
    !of_its_chart.any(|(_, content)| is_read(content))
}

/// The folder of the chart, or of the chart in it, whose `part` holds `path`: empty, or `charts/NAME/` of each level.
fn chart_folder<'p>(path: &'p str, part: &str) -> Option<&'p str> {
    let mut rest = path;
    loop {
        if rest.starts_with(part) {
            return path.strip_suffix(rest);
        }
        rest = rest.strip_prefix("charts/")?.split_once('/')?.1;
    }
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
    fn definitions_are_left_out_where_no_template_of_their_chart_reads_them() {
        let folder = write_chart(&chart_of(&[
            ("crds/a.yaml", ""),
            ("templates/a.yaml", "{{ .Files.Get \"files/a\" }}"),
            ("templates/crds/a.yaml", ""),
            ("charts/idle/crds/deep/a.yaml", ""),
            ("charts/idle/charts/inner/crds/a.yaml", ""),
            ("charts/reads/crds/a.yaml", ""),
            ("charts/reads/templates/a.yaml", "{{ range $path, $_ := $.Files.Glob \"crds/*.yaml\" }}{{ end }}"),
            ("charts/crds/Chart.yaml", ""),
        ]))
        .unwrap();
        let left_out: Vec<&str> = [
            "crds/a.yaml",
            "templates/crds/a.yaml",
            "charts/idle/crds/deep/a.yaml",
            "charts/crds/Chart.yaml",
            "charts/idle/charts/inner/crds/a.yaml",
            "charts/reads/crds/a.yaml",
        ]
        .into_iter()
        .filter(|path| !folder.path().join(path).exists())
        .collect();
        assert_eq!(left_out, ["crds/a.yaml", "charts/idle/crds/deep/a.yaml", "charts/idle/charts/inner/crds/a.yaml"]);
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
