//! The alerts as they are deployed, for the tests that hold them against tables and pages.

use drivemaster_mon::chart::{Chart, Charts};
use drivemaster_mon::config::{Profile, resolve};
use drivemaster_mon::promql::{self, Expr};
use drivemaster_mon::render::{Sources, needed_charts, render_from};
use promql_parser::util::parse_duration;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// An alert of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub name: String,
    pub summary: String,
    /// Its `for`; empty where it waits for nothing.
    pub lasting: String,
    pub severity: String,
    pub expression: String,
}

/// The rules that `profile` deploys where the platform has every exporter, in the order of the files.
pub fn rules(profile: Profile) -> Vec<Value> {
    let config = resolve(Some(profile), &[], &[], &[]).unwrap();
    // The charts' own rules are their authors'.
    let empty = |name: &str| Chart {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        app_version: "1.0.0".to_owned(),
        files: BTreeMap::new(),
    };
    let charts: Charts = needed_charts(&config).into_iter().map(|name| (name.to_owned(), empty(name))).collect();
    let objects = render_from(&config, &Sources::embedded(), &charts).unwrap().objects;
    let mut groups = Vec::new();
    for object in &objects {
        if object.0["kind"] == "PrometheusRule" {
            groups.extend(object.0["spec"]["groups"].as_array().unwrap().clone());
        }
        if object.0["metadata"]["name"] == "drivemaster-rules" {
            for text in object.0["data"].as_object().unwrap().values() {
                let file: Value = serde_yaml::from_str(text.as_str().unwrap()).unwrap();
                groups.extend(file["groups"].as_array().unwrap().clone());
            }
        }
    }
    assert!(!groups.is_empty());
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// Every alert of every profile, each once.
pub fn alerts_of_every_profile() -> Vec<Alert> {
    let mut found: Vec<Alert> = Vec::new();
    for rule in [Profile::Local, Profile::Production].into_iter().flat_map(rules) {
        let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
        let alert = Alert {
            name: text(&rule["alert"]),
            summary: text(&rule["annotations"]["summary"]),
            lasting: text(&rule["for"]),
            severity: text(&rule["labels"]["severity"]),
            expression: text(&rule["expr"]),
        };
        if !alert.name.is_empty() && !found.contains(&alert) {
            found.push(alert);
        }
    }
    found
}

/// The longest window that `alert` looks back over, through what rules record, in seconds.
pub fn longest_window(alert: &Alert) -> u64 {
    let rules = rules(Profile::Local);
    let recorded: BTreeMap<&str, &str> =
        rules.iter().filter_map(|rule| Some((rule["record"].as_str()?, rule["expr"].as_str()?))).collect();
    let mut longest = 0;
    let mut seen = BTreeSet::new();
    let mut expressions = vec![alert.expression.as_str()];
    while let Some(text) = expressions.pop() {
        let expression = promql::parse(text).unwrap();
        promql::visit(&expression, &mut |part| match part {
            Expr::MatrixSelector(matrix) => longest = longest.max(matrix.range.as_secs()),
            Expr::Subquery(subquery) => longest = longest.max(subquery.range.as_secs()),
            _ => {}
        });
        for metric in promql::selectors(&expression).into_iter().filter_map(|selector| selector.metric) {
            if let Some((name, text)) = recorded.get_key_value(metric.as_str())
                && seen.insert(*name)
            {
                expressions.push(text);
            }
        }
    }
    longest
}

/// The alerts that a unit test expects to fire.
pub fn tested_to_fire() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
    let mut fire = BTreeSet::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(".test.yaml") {
                let file: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
                for test in file["tests"].as_array().unwrap() {
                    let some = |check: &&Value, key: &str| check[key].as_array().is_some_and(|list| !list.is_empty());
                    let checks = |key: &str| test[key].as_array().into_iter().flatten();
                    let alerts = checks("alert_rule_test").filter(|check| some(check, "exp_alerts"));
                    fire.extend(alerts.map(|check| check["alertname"].as_str().unwrap().to_owned()));
                    let queries = checks("promql_expr_test").filter(|check| some(check, "exp_samples"));
                    fire.extend(queries.filter_map(|check| {
                        let (_, rest) = check["expr"].as_str().unwrap().split_once("ALERTS{alertname=\"")?;
                        Some(rest.split_once('"')?.0.to_owned())
                    }));
                }
            }
        }
    }
    fire
}

/// Seconds in `text`, such as `5m`.
pub fn seconds(text: &str) -> u64 {
    parse_duration(text).unwrap().as_secs()
}
