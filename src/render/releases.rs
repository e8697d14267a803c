//! The Helm releases: embedded charts with the values rendered for them.

use super::bundle::{Chart, Release};
use super::sources::Sources;
use super::templates::Templates;
use crate::config::model::Config;
use crate::error::{Failure, Kind};
use crate::stack;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The releases with at least one enabled component, in the order of the catalogue.
///
/// # Errors
/// [`Kind::Usage`] for values that a template makes unreadable.
pub(super) fn releases(config: &Config, sources: &Sources, templates: &Templates) -> Result<Vec<Release>> {
    let mut names: Vec<&str> = Vec::new();
    for component in config.enabled_components() {
        if !names.contains(&component.release) {
            names.push(component.release);
        }
    }
    names
        .into_iter()
        .map(|name| {
            Ok(Release {
                name: name.to_owned(),
                namespace: config.namespaces.monitoring.clone(),
                chart: chart(name, sources)?,
                values: values(name, templates)?,
                needs: needs(config, name),
            })
        })
        .collect()
}

/// The releases that must be deployed before `release`.
fn needs(config: &Config, release: &str) -> Vec<String> {
    let needed: BTreeSet<&str> = config
        .enabled_components()
        .filter(|component| component.release == release)
        .flat_map(|component| component.needs)
        .filter(|key| config.component_enabled(key))
        .filter_map(|key| stack::component(key))
        .map(|component| component.release)
        .filter(|needed| *needed != release)
        .collect();
    needed.into_iter().map(str::to_owned).collect()
}

fn values(release: &str, templates: &Templates) -> Result<Value> {
    let path = format!("templates/values/local/{release}.yaml");
    let text = templates.render(&path)?;
    parse_yaml(&path, &text)
}

/// Reads the rendered `text` of the template at `path` as YAML.
pub(super) fn parse_yaml(path: &str, text: &str) -> Result<Value> {
    serde_yaml::from_str(text).map_err(|error| {
        Failure::new(Kind::Usage, format!("template `{path}` renders to invalid YAML")).caused_by(error)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChartFile {
    name: String,
    version: String,
    app_version: String,
}

/// The chart of a release, with the helpers that all charts share.
fn chart(release: &str, sources: &Sources) -> Result<Chart> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (path, content) in sources.below("templates/charts/common/") {
        files.insert(format!("templates/{path}"), content.to_vec());
    }
    for (path, content) in sources.below(&format!("templates/charts/{release}/")) {
        files.insert(path.to_owned(), content.to_vec());
    }
    let path = format!("templates/charts/{release}/Chart.yaml");
    let text = sources.get(&path).with_context(|| format!("`{path}` is missing"))?;
    let file: ChartFile = serde_yaml::from_slice(text)
        .map_err(|error| Failure::new(Kind::Usage, format!("cannot read chart file `{path}`")).caused_by(error))?;
    Ok(Chart { name: file.name, version: file.version, app_version: file.app_version, files })
}
