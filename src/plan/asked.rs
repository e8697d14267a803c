//! What of a cluster can make a difference to what helm renders of a release: API versions and the version of
//! Kubernetes, where its chart asks for them. Pure.
//!
//! An operator that somebody installs brings API versions, and nearly no chart cares.

use crate::render::bundle::{Chart, Release};
use regex::RegexSet;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What a template asks the API versions by: `.Capabilities.APIVersions.Has "batch/v1"`.
const API_VERSIONS: &str = "APIVersions";
/// What stands before and after it where one is asked for, and not all of them are gone through.
const FOR_ONE: (&str, &str) = (".", ".Has");
/// What a template asks the version of Kubernetes by: `.Capabilities.KubeVersion`.
const KUBE_VERSION: &str = "KubeVersion";

/// The files of a chart that can ask, or name what is asked for.
fn texts(chart: &Chart) -> impl Iterator<Item = Cow<'_, str>> {
    let files = chart.files.iter().filter(|(path, _)| !is_definition(path));
    files.map(|(_, content)| String::from_utf8_lossy(content))
}

/// Whether the file of a chart at `path` is one of its definitions, or of those of a subchart: they are no templates.
pub(super) fn is_definition(path: &str) -> bool {
    let mut rest = path;
    while let Some((_, inner)) = rest.strip_prefix("charts/").and_then(|subchart| subchart.split_once('/')) {
        rest = inner;
    }
    rest.starts_with("crds/")
}

/// Whether a subchart is still packed, so that it is not looked into.
pub(super) fn is_packed(chart: &Chart) -> bool {
    chart.files.keys().any(|path| path.ends_with(".tgz"))
}

/// Whether the text of a template asks for API versions.
pub(super) fn asks(text: &str) -> bool {
    questions(text).next().is_some()
}

/// Each question of `text` for API versions: whether it is for one.
fn questions(text: &str) -> impl Iterator<Item = bool> {
    let is_of_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(API_VERSIONS).filter_map(move |(at, name)| {
        let (before, after) = (text.get(..at)?, text.get(at + name.len()..)?);
        let is_word = !before.ends_with(is_of_name) && !after.starts_with(is_of_name);
        is_word.then(|| before.ends_with(FOR_ONE.0) && after.starts_with(FOR_ONE.1))
    })
}

/// What of a cluster that serves the API `versions` and is of `server_version` (`v1.37.2`) the chart of `release` may
/// ask for: the versions of those groups that it or its values name, all where it goes through them or cannot be looked
/// into; and the minor version of Kubernetes. Values count as templates, as some charts render them.
pub fn asked(release: &Release, versions: &BTreeSet<String>, server_version: &str) -> BTreeSet<String> {
    let chart = &release.chart;
    let is_packed = is_packed(chart);
    let values = release.values.to_string();
    let texts: Vec<Cow<'_, str>> = texts(chart).chain([values.as_str().into()]).collect();
    let questions: Vec<bool> = texts.iter().flat_map(|text| questions(text)).collect();
    let mut asked = BTreeSet::new();
    if is_packed || texts.iter().any(|text| text.contains(KUBE_VERSION)) {
        let minor = server_version.split('.').take(2).collect::<Vec<_>>().join(".");
        asked.insert(format!("{KUBE_VERSION} {minor}"));
    }
    if is_packed || questions.contains(&false) {
        asked.extend(versions.iter().cloned());
        return asked;
    }
    if questions.is_empty() {
        return asked;
    }
    // The group may stand in another file than the question, as where a helper asks. The core is always there.
    let with_group = versions.iter().filter_map(|version| Some((version, version.split_once('/')?.0)));
    let (versions, groups): (Vec<&String>, Vec<&str>) = with_group.unzip();
    match RegexSet::new(groups.into_iter().map(regex::escape)) {
        Ok(names) => {
            let named: BTreeSet<usize> = texts.iter().flat_map(|text| names.matches(text)).collect();
            asked.extend(named.into_iter().filter_map(|index| versions.get(index).copied().cloned()));
        }
        Err(_) => asked.extend(versions.into_iter().cloned()),
    }
    asked
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
        asked(&release, &served.map(str::to_owned).into(), "v1.37.2").into_iter().collect()
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
        // A subchart may be called so, and so may a folder of templates.
        for path in ["charts/crds/templates/a.yaml", "templates/crds/a.yaml", "charts/b/charts/crds/templates/a.yaml"] {
            assert_eq!(asked_by(&[(path, QUESTION)], json!({})), ["batch/v1", "batch/v2"], "{path}");
        }
    }

    #[test]
    fn values_are_templates_too() {
        assert_eq!(asked_by(&[], json!({"extra": [QUESTION]})), ["batch/v1", "batch/v2"]);
        assert_eq!(asked_by(&[], json!({"extra": "{{ range .Capabilities.APIVersions }}{{ end }}"})), ALL);
    }

    #[test]
    fn whoever_asks_for_the_version_of_kubernetes_cares_for_its_minor_version() {
        let text = "{{ if semverCompare \">=1.21-0\" .Capabilities.KubeVersion.Version }}x{{ end }}";
        assert_eq!(asked_by(&[("templates/a.yaml", text)], json!({})), ["KubeVersion v1.37"]);
    }

    #[test]
    fn another_name_with_that_in_it_asks_for_nothing() {
        let text = "{{- $providedAPIVersions := default .Values.apiVersions .Values.global -}} apps/v1";
        assert!(asked_by(&[("templates/a.tpl", text)], json!({})).is_empty());
    }

    #[test]
    fn whoever_goes_through_all_of_them_or_cannot_be_looked_into_cares_for_all() {
        let indexed = "{{ index .Capabilities \"APIVersions\" }}";
        assert_eq!(asked_by(&[("templates/a.yaml", indexed)], json!({})), ALL);
        assert_eq!(asked_by(&[("templates/a.yaml", "{{ range .Capabilities.APIVersions }}{{ end }}")], json!({})), ALL);
        let packed = asked_by(&[("charts/b-1.tgz", "packed")], json!({}));
        assert_eq!(packed, [&["KubeVersion v1.37"][..], &ALL].concat());
    }
}
