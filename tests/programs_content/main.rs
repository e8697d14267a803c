//! Alerts, dashboards and the simulated platform before the real promtool.

// What is measured is printed: counts, scores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod dashboard_lint;
mod dashboards;
mod healthy;
mod mutants;
mod platform;
mod rules;
mod simulated;
#[path = "../support/mod.rs"]
mod support;

use drivemaster_mon::config::{self, Config, Profile};
use drivemaster_mon::contract::{Contract, Metric, MetricType};
use drivemaster_mon::object::Manifest;
use drivemaster_mon::render::render;
use drivemaster_mon::stack::EXPORTERS;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use support::tool;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs promtool in `folder`; gives what it said when it did not succeed.
fn promtool(folder: &Path, arguments: &[&str], files: &[String]) -> Result<(), String> {
    let output = Command::new(tool("promtool")).current_dir(folder).args(arguments).args(files).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The configuration of profile `local`, with every exporter in the mode `exporters`.
fn config(exporters: &str) -> Config {
    let sets: Vec<String> =
        EXPORTERS.iter().map(|exporter| format!("platform.exporters.{}={exporters}", exporter.key)).collect();
    config::resolve(Some(Profile::Local), &[], &[], &sets).unwrap()
}

/// The files in the ConfigMaps whose name starts with `prefix`, as they are deployed.
fn deployed(config: &Config, prefix: &str) -> BTreeMap<String, String> {
    let objects = render(config).unwrap().objects;
    let named = |manifest: &&Manifest| manifest.0["metadata"]["name"].as_str().unwrap().starts_with(prefix);
    objects
        .iter()
        .filter(named)
        .flat_map(|manifest| manifest.0["data"].as_object().unwrap())
        .map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()))
        .collect()
}

/// Every metric that rules and panels may ask for, with its kind and labels: the contract's, those of other programs, and
/// those that rules record, whose labels are not known here.
pub(crate) fn known_metrics() -> &'static BTreeMap<String, Vec<Metric>> {
    static KNOWN: OnceLock<BTreeMap<String, Vec<Metric>>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut known: BTreeMap<String, Vec<Metric>> = BTreeMap::new();
        for contract in [Contract::embedded().unwrap(), Contract::programs().unwrap()] {
            for metric in contract.exporters.into_values().flatten() {
                known.entry(metric.name.clone()).or_default().push(metric);
            }
        }
        known
    })
}

/// What is known of the series `name`, which may be a part of a histogram or summary.
pub(crate) fn metric_of(name: &str) -> Option<&'static [Metric]> {
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
    let is_made_of_parts = |metrics: &&Vec<Metric>| {
        metrics.iter().any(|metric| matches!(metric.metric_type, MetricType::Histogram | MetricType::Summary))
    };
    let whole = known_metrics().get(name);
    let part = || parts.clone().find_map(|base| known_metrics().get(base).filter(is_made_of_parts));
    whole.or_else(part).map(Vec::as_slice)
}
