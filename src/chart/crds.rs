//! The CustomResourceDefinitions in a chart and in those of its subcharts that are switched on. Helm
//! installs them once and never upgrades them, so we apply them ourselves.

use super::{Chart, archive};
use crate::error::{Failure, Kind};
use crate::object::Manifest;
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The definitions in the folders `crds/` of `chart` and of those of its subcharts that `values` (over
/// the chart's own) switch on by condition or tag, as Helm decides it; in the order of their paths.
///
/// # Errors
/// [`Kind::Refused`] naming the file that cannot be read.
pub fn crds(chart: &Chart, values: &Value) -> Result<Vec<Manifest>> {
    let files: Files<'_> = chart.files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    let mut found = Vec::new();
    collect(&Place { chart, path: String::new() }, &files, values, &Value::Null, &mut found)?;
    Ok(found)
}

/// Files of one chart by their path in it.
type Files<'a> = BTreeMap<&'a str, &'a [u8]>;

/// Where we are, for messages.
struct Place<'a> {
    chart: &'a Chart,
    /// Path of the subchart in the chart; ends with `/` where it is not empty.
    path: String,
}

impl Place<'_> {
    fn unreadable(&self, path: &str, error: impl Into<anyhow::Error>) -> anyhow::Error {
        let Chart { name, version, .. } = self.chart;
        let message = format!("cannot read the file `{}{path}` of chart `{name}` {version}", self.path);
        Failure::new(Kind::Refused, message).caused_by(error)
    }
}

/// What a `Chart.yaml` says of a subchart.
#[derive(Debug, Clone, Deserialize)]
struct Dependency {
    name: String,
    #[serde(default)]
    alias: Option<String>,
    /// Paths into the parent's values, separated by commas; the first that is there decides.
    #[serde(default)]
    condition: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

impl Dependency {
    fn key(&self) -> &str {
        self.alias.as_deref().filter(|alias| !alias.is_empty()).unwrap_or(&self.name)
    }

    /// Whether the values of the chart it belongs to, and the tags of the topmost one, switch it on.
    fn is_on(&self, values: &Value, tags: &Value) -> bool {
        let conditions = self.condition.as_deref().unwrap_or_default().split(',').map(str::trim);
        let decided = conditions
            .filter(|path| !path.is_empty())
            .find_map(|path| path.split('.').try_fold(values, |value, key| value.get(key)).and_then(Value::as_bool));
        let tagged: Vec<bool> = self.tags.iter().filter_map(|tag| tags.get(tag).and_then(Value::as_bool)).collect();
        decided.unwrap_or_else(|| tagged.is_empty() || tagged.contains(&true))
    }
}

#[derive(Deserialize, Default)]
struct ChartFile {
    #[serde(default)]
    name: String,
    #[serde(default)]
    dependencies: Option<Vec<Dependency>>,
}

/// Adds the definitions of the chart with these `files`, whose parent gives it `values`.
fn collect(
    place: &Place<'_>,
    files: &Files<'_>,
    values: &Value,
    tags: &Value,
    found: &mut Vec<Manifest>,
) -> Result<()> {
    for (path, content) in files.iter().filter(|(path, _)| is_crd_file(path)) {
        for document in serde_yaml::Deserializer::from_slice(content) {
            let value = Value::deserialize(document).map_err(|error| place.unreadable(path, error))?;
            if value["kind"] == "CustomResourceDefinition" {
                found.push(Manifest(value));
            }
        }
    }
    let own = match files.get("values.yaml") {
        Some(text) => read::<Value>(text).map_err(|error| place.unreadable("values.yaml", error))?,
        None => Value::Null,
    };
    let values = over(own, values);
    let top = values.get("tags").cloned().unwrap_or_default();
    let tags = if place.path.is_empty() { &top } else { tags };
    let file = chart_file(place, files)?;
    let dependencies = file.dependencies.unwrap_or_default();
    for (folder, inner) in subcharts(files) {
        let place = Place { chart: place.chart, path: format!("{}charts/{folder}/", place.path) };
        let name = chart_file(&place, &inner)?.name;
        collect_subchart(&place, &name, &inner, &dependencies, &values, tags, found)?;
    }
    for (path, content) in files.iter().filter(|(path, _)| is_packed_subchart(path)) {
        let chart = archive::read(path, content)?;
        let inner: Files<'_> = chart.files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
        let place = Place { chart: place.chart, path: format!("{}{path}/", place.path) };
        collect_subchart(&place, &chart.name, &inner, &dependencies, &values, tags, found)?;
    }
    Ok(())
}

/// Adds the definitions of the subchart `name`, once for each dependency on it that is switched on. A
/// subchart that no dependency names is always on.
fn collect_subchart(
    place: &Place<'_>,
    name: &str,
    files: &Files<'_>,
    dependencies: &[Dependency],
    values: &Value,
    tags: &Value,
    found: &mut Vec<Manifest>,
) -> Result<()> {
    let named: Vec<&Dependency> = dependencies.iter().filter(|dependency| dependency.name == name).collect();
    let on = named.iter().find(|dependency| dependency.is_on(values, tags));
    let key = match (named.is_empty(), on) {
        (true, _) => name,
        (false, Some(dependency)) => dependency.key(),
        (false, None) => return Ok(()),
    };
    let mut given = values.get(key).cloned().unwrap_or_else(|| Value::Object(Map::new()));
    if let (Some(global), Value::Object(given)) = (values.get("global"), &mut given) {
        let inner = given.remove("global").unwrap_or_default();
        given.insert("global".to_owned(), over(inner, global));
    }
    collect(place, files, &given, tags, found)
}

/// The folders in `charts/` with the files in each.
fn subcharts<'a>(files: &Files<'a>) -> BTreeMap<&'a str, Files<'a>> {
    let mut folders: BTreeMap<&str, Files<'_>> = BTreeMap::new();
    for (path, content) in files {
        let Some((folder, inner)) = path.strip_prefix("charts/").and_then(|rest| rest.split_once('/')) else {
            continue;
        };
        // Helm leaves these out.
        if !folder.starts_with(['_', '.']) {
            folders.entry(folder).or_default().insert(inner, content);
        }
    }
    folders.retain(|_, files| files.contains_key("Chart.yaml"));
    folders
}

fn is_packed_subchart(path: &str) -> bool {
    path.strip_prefix("charts/").is_some_and(|rest| !rest.contains('/') && rest.ends_with(".tgz"))
}

fn chart_file(place: &Place<'_>, files: &Files<'_>) -> Result<ChartFile> {
    match files.get("Chart.yaml") {
        Some(text) => read(text).map_err(|error| place.unreadable("Chart.yaml", error)),
        None => Ok(ChartFile::default()),
    }
}

fn read<T: serde::de::DeserializeOwned + Default>(text: &[u8]) -> Result<T> {
    Ok(serde_yaml::from_slice::<Option<T>>(text)?.unwrap_or_default())
}

/// `values` over `base`, as Helm merges them: maps key by key, everything else replaced, `null` takes
/// a key away.
fn over(base: Value, values: &Value) -> Value {
    match (base, values) {
        (Value::Object(mut base), Value::Object(values)) => {
            for (key, value) in values {
                if value.is_null() {
                    base.remove(key);
                } else {
                    let below = base.remove(key).unwrap_or_default();
                    base.insert(key.clone(), over(below, value));
                }
            }
            Value::Object(base)
        }
        (base, Value::Null) => base,
        (_, values) => values.clone(),
    }
}

fn is_crd_file(path: &str) -> bool {
    path.starts_with("crds/") && [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end))
}

/// The definitions as objects of ours: without what the API server writes, with `labels`; one of each
/// name, of two charts that bring the same the first.
pub fn ours(definitions: Vec<Manifest>, labels: &Value) -> Vec<Manifest> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for Manifest(mut definition) in definitions {
        if let Some(fields) = definition.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = definition.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("creationTimestamp");
        }
        let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let own = definition["metadata"]["labels"].take();
        definition["metadata"]["labels"] = over(own, labels);
        if seen.insert(name) {
            kept.push(Manifest(definition));
        }
    }
    kept
}

/// The versions of the definition that are served, with its group: `monitoring.coreos.com/v1`.
pub fn served_versions(definition: &Value) -> Vec<String> {
    let group = definition.pointer("/spec/group").and_then(Value::as_str).unwrap_or_default();
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let served = versions.filter(|version| version["served"] == true).filter_map(|version| version["name"].as_str());
    served.map(|version| format!("{group}/{version}")).collect()
}

/// The kind that the definition brings, in each version that is served: `monitoring.coreos.com/v1/Probe`.
pub fn served_kinds(definition: &Value) -> Vec<String> {
    let kind = definition.pointer("/spec/names/kind").and_then(Value::as_str).unwrap_or_default();
    served_versions(definition).into_iter().map(|version| format!("{version}/{kind}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CRD: &str = "kind: CustomResourceDefinition\nmetadata: {name: NAME}\n";

    fn chart(files: &[(&str, &str)]) -> Chart {
        let mut all: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (path, text) in files {
            let folder = path.strip_suffix("crds/").map(str::to_owned);
            let (path, text) = match folder {
                Some(folder) => (format!("{folder}crds/a.yaml"), CRD.replace("NAME", text)),
                None => ((*path).to_owned(), (*text).to_owned()),
            };
            all.insert(path, text.into_bytes());
        }
        Chart { name: "top".to_owned(), version: "1.0.0".to_owned(), app_version: "1".to_owned(), files: all }
    }

    fn names(chart: &Chart, values: Value) -> Vec<String> {
        crds(chart, &values).unwrap().iter().map(|crd| crd.reference().name).collect()
    }

    #[test]
    fn a_subchart_is_on_by_its_condition_and_its_alias() {
        let chart = chart(&[
            (
                "Chart.yaml",
                "name: top\ndependencies:\n- {name: sub, alias: other, condition: 'not.there,other.enabled'}\n",
            ),
            ("values.yaml", "other: {enabled: false}\n"),
            ("crds/", "top"),
            ("crds/readme.txt", "no: ["),
            ("templates/crds/x.yaml", "no: ["),
            ("charts/sub/Chart.yaml", "name: sub\ndependencies:\n- {name: crds, condition: crds.enabled}\n"),
            ("charts/sub/values.yaml", "crds: {enabled: true}\n"),
            ("charts/sub/charts/crds/Chart.yaml", "name: crds\n"),
            ("charts/sub/charts/crds/crds/", "inner"),
        ]);
        assert_eq!(names(&chart, json!({})), ["top"]);
        assert_eq!(names(&chart, json!({"sub": {"enabled": true}})), ["top"], "the alias is the key");
        assert_eq!(names(&chart, json!({"other": {"enabled": true}})), ["top", "inner"]);
        let without = json!({"other": {"enabled": true, "crds": {"enabled": false}}});
        assert_eq!(names(&chart, without), ["top"]);
        assert_eq!(names(&chart, json!({"other": {"enabled": null}})), ["top", "inner"], "null takes the key away");
    }

    #[test]
    fn a_subchart_is_on_by_its_tags_unless_a_condition_decides() {
        let dependencies =
            "name: top\ndependencies:\n- {name: a, tags: [x, y]}\n- {name: b, tags: [x], condition: b.on}\n";
        let chart = chart(&[
            ("Chart.yaml", dependencies),
            ("values.yaml", "tags: {x: false}\n"),
            ("charts/a/Chart.yaml", "name: a\n"),
            ("charts/a/crds/", "a"),
            ("charts/b/Chart.yaml", "name: b\n"),
            ("charts/b/crds/", "b"),
            ("charts/unnamed/Chart.yaml", "name: unnamed\n"),
            ("charts/unnamed/crds/", "c"),
            ("charts/_hidden/Chart.yaml", "name: hidden\n"),
            ("charts/_hidden/crds/", "d"),
        ]);
        assert_eq!(names(&chart, json!({})), ["c"]);
        assert_eq!(names(&chart, json!({"tags": {"y": true}, "b": {"on": true}})), ["a", "b", "c"]);
    }

    #[test]
    fn a_file_that_is_no_yaml_is_named() {
        let chart = chart(&[
            ("Chart.yaml", "name: top\n"),
            ("charts/sub/Chart.yaml", "name: sub\n"),
            ("charts/sub/crds/bad.yaml", "a: ["),
        ]);
        let error = crds(&chart, &json!({})).unwrap_err();
        assert_eq!(crate::error::exit_code_of(&error), 5);
        assert!(error.to_string().contains("`charts/sub/crds/bad.yaml` of chart `top` 1.0.0"), "{error}");
    }

    #[test]
    fn definitions_are_ours_once_and_without_what_the_server_writes() {
        let definition = || {
            Manifest(json!({"metadata": {"name": "a", "creationTimestamp": null, "labels": {"x": "1"}}, "status": {}}))
        };
        let ours = ours(vec![definition(), definition()], &json!({"by": "us"}));
        assert_eq!(ours, [Manifest(json!({"metadata": {"name": "a", "labels": {"by": "us", "x": "1"}}}))]);
    }

    #[test]
    fn only_versions_that_are_served_count() {
        let definition = json!({"spec": {"group": "g", "versions": [
            {"name": "v1", "served": true}, {"name": "v1beta1", "served": false}]}});
        assert_eq!(served_versions(&definition), ["g/v1"]);
        assert!(served_versions(&json!({})).is_empty());
    }
}
