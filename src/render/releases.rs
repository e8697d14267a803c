//! The Helm releases: embedded charts with the values rendered for them.

use super::bundle::Release;
use super::sources::Sources;
use super::templates::Templates;
use crate::chart::{Chart, Charts};
use crate::config::document::bounded;
use crate::config::merge;
use crate::config::model::{Config, ExporterMode, Profile};
use crate::error::{Failure, Kind};
use crate::stack::{self, ReleaseRow};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The releases with at least one enabled component, in the order of the catalogue.
///
/// # Errors
/// [`Kind::Usage`] for values that a template makes unreadable.
pub(super) fn releases(
    config: &Config,
    sources: &Sources,
    templates: &Templates<'_>,
    charts: &Charts,
) -> Result<Vec<Release>> {
    rows(config)
        .map(|row| {
            let chart = match config.profile {
                Profile::Local => embedded_chart(row.name, sources)?,
                Profile::Production => upstream_chart(row, charts)?,
            };
            Ok(Release {
                name: row.name.to_owned(),
                namespace: config.namespace_of(row.place).to_owned(),
                chart,
                values: values(config, row.name, templates)?,
                needs: needs(config, row.name),
            })
        })
        .collect()
}

/// The rows of the catalogue that this configuration installs.
pub(super) fn rows(config: &Config) -> impl Iterator<Item = &'static ReleaseRow> {
    let components = config.enabled_components().map(|component| component.release);
    let exporters = stack::EXPORTERS
        .iter()
        .filter(|exporter| config.exporter_mode(exporter.key) == ExporterMode::Deployed)
        .map(|exporter| exporter.deployed.release);
    let wanted: BTreeSet<&str> = components.chain(exporters).collect();
    stack::RELEASES.iter().filter(move |row| wanted.contains(row.name))
}

/// Names of the upstream charts that a bundle of this configuration is made from; none in profile
/// `local`, whose charts are embedded.
pub fn needed_charts(config: &Config) -> Vec<&'static str> {
    match config.profile {
        Profile::Local => Vec::new(),
        Profile::Production => rows(config).map(|row| row.chart).collect(),
    }
}

fn upstream_chart(row: &ReleaseRow, charts: &Charts) -> Result<Chart> {
    let chart = charts.get(row.chart).cloned();
    chart.with_context(|| format!("the chart `{}` of release `{}` was not loaded", row.chart, row.name))
}

/// The releases that `release` sends to.
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

/// The values of the profile's template, under the raw ones of the configuration.
fn values(config: &Config, release: &str, templates: &Templates<'_>) -> Result<Value> {
    let profile = match config.profile {
        Profile::Local => "local",
        Profile::Production => "production",
    };
    let path = format!("templates/values/{profile}/{release}.yaml");
    let text = templates.render(&path)?;
    let mut values = parse_yaml(&path, &text)?;
    if let Some(raw) = config.helm_values.get(release) {
        merge(&mut values, &Value::Object(raw.clone()));
    }
    Ok(values)
}

/// Reads the rendered `text` of the template at `path` as YAML.
pub(super) fn parse_yaml(path: &str, text: &str) -> Result<Value> {
    if let Err(((line, _), what)) = bounded(text) {
        return Err(Failure::new(Kind::Usage, format!("template `{path}` renders to {what}, in line {line}")).into());
    }
    let read = serde_yaml::from_str(text).and_then(|mut value: serde_yaml::Value| {
        // As Prometheus and Grafana read them.
        value.apply_merge()?;
        serde_yaml::from_value(value)
    });
    read.map_err(|error| {
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
fn embedded_chart(release: &str, sources: &Sources) -> Result<Chart> {
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
