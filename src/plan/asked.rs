//! Which of the API versions that a cluster serves can make a difference to a release. Pure.
//!
//! An operator that somebody installs brings new ones, and nearly no chart cares.

use crate::render::bundle::{Chart, Release};
use regex::RegexSet;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What a template asks the API versions by: `.Capabilities.APIVersions.Has "batch/v1"`.
const ASKS: &str = ".APIVersions";
/// What follows where it asks for one and does not go through them all.
const FOR_ONE: &str = ".Has";

/// The files of a chart that can ask, or name what is asked for.
fn texts(chart: &Chart) -> impl Iterator<Item = Cow<'_, str>> {
    let files = chart.files.iter().filter(|(path, _)| !is_definition(path));
    files.map(|(_, content)| String::from_utf8_lossy(content))
}

/// Whether the file of a chart at `path` holds a definition, which is no template.
pub(super) fn is_definition(path: &str) -> bool {
    path.starts_with("crds/") || path.contains("/crds/")
}

/// Whether a subchart is still packed, so that it is not looked into.
pub(super) fn is_packed(chart: &Chart) -> bool {
    chart.files.keys().any(|path| path.ends_with(".tgz"))
}

/// Whether the text of a template asks for API versions.
pub(super) fn asks(text: &str) -> bool {
    text.contains(ASKS)
}

/// Those of `versions` that the chart of `release` may ask for: of the groups that it or its values name; all where
/// it goes through them, or cannot be looked into.
pub fn asked(release: &Release, versions: &BTreeSet<String>) -> BTreeSet<String> {
    let chart = &release.chart;
    if is_packed(chart) {
        return versions.clone();
    }
    let mut is_asking = false;
    for text in texts(chart).filter(|text| asks(text)) {
        is_asking = true;
        if text.split(ASKS).skip(1).any(|after| !after.starts_with(FOR_ONE)) {
            return versions.clone();
        }
    }
    if !is_asking {
        return BTreeSet::new();
    }
    // The group may stand in another file than the question, as where a helper asks. The core is always there.
    let with_group = versions.iter().filter_map(|version| Some((version, version.split_once('/')?.0)));
    let (versions, groups): (Vec<&String>, Vec<&str>) = with_group.unzip();
    let Ok(names) = RegexSet::new(groups.into_iter().map(regex::escape)) else {
        return versions.into_iter().cloned().collect();
    };
    let values = release.values.to_string();
    let texts = texts(chart).chain([values.as_str().into()]);
    let named: BTreeSet<usize> = texts.flat_map(|text| names.matches(&text)).collect();
    named.into_iter().filter_map(|index| versions.get(index).copied().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn asked_by(files: &[(&str, &str)], values: Value) -> Vec<String> {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        let chart = Chart { name: "a".into(), version: "1".into(), app_version: "1".into(), files };
        let release = Release { name: "a".into(), namespace: "m".into(), chart, values, needs: Vec::new() };
        let served = ["apps/v1", "batch/v1", "batch/v2", "certs.example.org/v1", "v1"];
        asked(&release, &served.map(str::to_owned).into()).into_iter().collect()
    }

    const ALL: [&str; 5] = ["apps/v1", "batch/v1", "batch/v2", "certs.example.org/v1", "v1"];
    const QUESTION: &str = "{{ if .Capabilities.APIVersions.Has \"batch/v2\" }}x{{ end }}";

    #[test]
    fn a_chart_that_asks_for_none_cares_for_none() {
        assert!(asked_by(&[("templates/a.yaml", "apiVersion: batch/v1")], json!({})).is_empty());
    }

    #[test]
    fn whoever_asks_cares_for_every_version_of_the_groups_that_are_named() {
        assert_eq!(asked_by(&[("templates/a.yaml", QUESTION)], json!({})), ["batch/v1", "batch/v2"]);
    }

    #[test]
    fn the_group_may_stand_in_another_file_or_in_the_values() {
        let helper = "{{ define \"has\" }}{{ .Capabilities.APIVersions.Has .version }}{{ end }}";
        let files = [("templates/_a.tpl", helper), ("charts/b/templates/b.yaml", "{{ include \"has\" \"apps/v1\" }}")];
        assert_eq!(
            asked_by(&files, json!({"kind": "certs.example.org/v1/Certificate"})),
            ["apps/v1", "certs.example.org/v1"]
        );
    }

    #[test]
    fn a_definition_asks_for_nothing_and_names_no_group() {
        let files = [("templates/a.yaml", QUESTION), ("crds/a.yaml", "group: certs.example.org")];
        assert_eq!(asked_by(&files, json!({})), ["batch/v1", "batch/v2"]);
        assert!(asked_by(&[("charts/b/crds/a.yaml", QUESTION)], json!({})).is_empty());
    }

    #[test]
    fn whoever_goes_through_all_of_them_or_cannot_be_looked_into_cares_for_all() {
        assert_eq!(asked_by(&[("templates/a.yaml", "{{ range .Capabilities.APIVersions }}{{ end }}")], json!({})), ALL);
        assert_eq!(asked_by(&[("charts/b-1.tgz", "packed")], json!({})), ALL);
    }
}
