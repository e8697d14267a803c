//! Alerts, dashboards and the simulated platform before the real promtool.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dashboards;
mod platform;
mod rules;
mod simulated;

use drivemaster_mon::sandbox::platform::contract::Contract;
use drivemaster_mon::stack::{COMPONENTS, EXPORTERS};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A program of the tool cache; one that is missing fails the test.
fn program(name: &str) -> PathBuf {
    let cache = || {
        let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache");
        std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("drivemaster-mon/tools")
    };
    let tools = std::env::var_os("DRIVEMASTER_MON_TOOLS").map_or_else(cache, PathBuf::from);
    let program = tools.join("bin").join(name);
    assert!(program.exists(), "`{}` is missing: run `make tools`", program.display());
    program
}

/// Runs promtool in `folder`; gives what it said when it did not succeed.
fn promtool(folder: &Path, arguments: &[&str], files: &[String]) -> Result<(), String> {
    let output = Command::new(program("promtool")).current_dir(folder).args(arguments).args(files).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// What the templates see: the default services, and every exporter in the mode `exporters`.
fn context(exporters: &str) -> Value {
    let defaults: Value = serde_yaml::from_str(include_str!("../../values/defaults.yaml")).unwrap();
    let exporters: Vec<Value> = EXPORTERS
        .iter()
        .map(|exporter| json!({ "key": exporter.key, "job": exporter.job, "mode": exporters }))
        .collect();
    let services = defaults["platform"]["services"].clone();
    json!({ "config": defaults, "components": COMPONENTS, "exporters": exporters, "services": services })
}

/// Renders the template at `path` below the project's folder.
fn render(context: &Value, path: &str) -> String {
    let mut tera = tera::Tera::default();
    let delimiters = tera::Delimiters {
        block_start: "@%".into(),
        block_end: "%@".into(),
        variable_start: "@{".into(),
        variable_end: "}@".into(),
        comment_start: "@#".into(),
        comment_end: "#@".into(),
    };
    tera.set_delimiters(delimiters).unwrap();
    tera.register_filter("json", |value: &tera::Value, _: tera::Kwargs, _: &tera::State<'_>| {
        serde_json::to_string(value).map_err(|error| tera::Error::message(error.to_string()))
    });
    let partials = std::fs::read_dir(Path::new(ROOT).join("dashboards/partials")).unwrap();
    let partials = partials.map(|entry| format!("dashboards/partials/{}", entry.unwrap().file_name().display()));
    let names = partials.chain([path.to_owned()]);
    let texts: Vec<(String, String)> =
        names.map(|name| (name.clone(), std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap())).collect();
    tera.add_raw_templates(texts).unwrap_or_else(|error| panic!("{error}"));
    let context = tera::Context::from_serialize(context).unwrap();
    tera.render(path, &context).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The words of `query` that stand where a metric can stand: not before a parenthesis, not in
/// strings, selectors or groupings.
fn metrics(query: &str) -> BTreeSet<String> {
    let mut bare = String::new();
    let mut depth = 0;
    for character in query.chars() {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ if depth == 0 => bare.push(character),
            _ => {}
        }
    }
    for grouping in [" by (", " on ("] {
        while let Some(start) = bare.find(grouping) {
            let end = bare[start..].find(')').unwrap() + start;
            bare.replace_range(start..=end, "");
        }
    }
    let is_name = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    let mut found = BTreeSet::new();
    let mut rest = bare.as_str();
    while let Some(start) = rest.find(|character: char| character.is_alphabetic()) {
        let tail = &rest[start..];
        let end = tail.find(|character| !is_name(character)).unwrap_or(tail.len());
        let (word, after) = tail.split_at(end);
        if !after.trim_start().starts_with('(') && !["and", "or"].contains(&word) {
            found.insert(word.to_owned());
        }
        rest = after;
    }
    found
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
