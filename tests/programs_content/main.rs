//! Alerts, dashboards and the simulated platform before the real promtool.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dashboards;
mod healthy;
mod mutants;
mod platform;
mod rules;
mod simulated;
#[path = "../support/mod.rs"]
mod support;

use drivemaster_mon::config::{self, Config, Profile};
use drivemaster_mon::contract::Contract;
use drivemaster_mon::object::Manifest;
use drivemaster_mon::promql;
use drivemaster_mon::render::render;
use drivemaster_mon::stack::EXPORTERS;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
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

/// The metrics that `query` asks for.
fn metrics(query: &str) -> BTreeSet<String> {
    let expression = promql::parse(query).unwrap_or_else(|error| panic!("{error}: {query}"));
    promql::selectors(&expression).into_iter().map(|selector| selector.metric.expect("a metric by name")).collect()
}

/// The metrics of `query` that are not in the contract; `up` is Prometheus' own.
fn unknown_metrics(query: &str) -> Vec<String> {
    let contract = Contract::embedded().unwrap();
    let known: BTreeSet<&str> = contract.exporters.values().flatten().map(|metric| metric.name.as_str()).collect();
    let is_known = |metric: &str| {
        let of_a_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
        metric == "up" || known.contains(metric) || of_a_histogram.is_some_and(|base| known.contains(base))
    };
    metrics(query).into_iter().filter(|metric| !is_known(metric)).collect()
}
