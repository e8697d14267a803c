//! A month of the healthy platform: nothing fires. The simulated platform is looked at every other hour; between two looks
//! every series is a straight line, with a sample each minute. The objectives need samples closer to each other: what is
//! healthy of them stands in `programs_slo`.

use crate::config;
use crate::promtool;
use crate::rules::{rule_files, written};
use crate::simulated::{labelled, labels_of, services, targets};
use drivemaster_mon::promql;
use drivemaster_mon::sandbox::platform::{Answer, Simulator};
use drivemaster_mon::stack::EXPORTERS;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DAYS: u32 = 30;
/// Between two looks, in minutes.
const LOOK: u32 = 120;
/// Between two evaluations of the rules, in minutes.
const EVALUATION: u32 = 15;
/// No rule tells these labels apart, and a sum over them has the same rate.
const SUMMED: &[&str] = &["route", "method"];

/// Whether the rule file has alerts, other than those of the objectives.
fn is_of_alerts(name: &str) -> bool {
    !name.starts_with("slo-") && !["sli.yaml", "dashboards.yaml"].contains(&name)
}

/// The metrics that the rules ask for, parts of histograms by their own names.
fn asked_for() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for text in rule_files(&config("existing")).iter().filter(|(name, _)| is_of_alerts(name)).map(|(_, text)| text) {
        let file: Value = serde_yaml::from_str(text).unwrap();
        for rule in file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            let expression = promql::parse(rule["expr"].as_str().unwrap()).unwrap();
            let groups_by = rule["expr"].as_str().unwrap();
            assert!(SUMMED.iter().all(|label| !groups_by.contains(label)), "{groups_by}");
            found.extend(promql::selectors(&expression).into_iter().filter_map(|selector| selector.metric));
        }
    }
    found
}

/// `series` without the labels that are summed.
fn without_summed(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let labels = labels.trim_end_matches('}').split("\",").map(|label| label.trim_end_matches('"'));
    let kept = labels.filter(|label| !SUMMED.iter().any(|summed| label.starts_with(&format!("{summed}=\""))));
    let kept: Vec<String> = kept.filter(|label| !label.is_empty()).map(|label| format!("{label}\"")).collect();
    format!("{name}{{{}}}", kept.join(","))
}

/// What each look sees, by series.
fn looks() -> BTreeMap<String, Vec<f64>> {
    let asked_for = asked_for();
    let simulator = Simulator::new(services(), EXPORTERS.iter().collect(), "drivemaster", 7).unwrap();
    let mut seen: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for look in 0..=(DAYS * 24 * 60 / LOOK) as usize {
        let now = 1_790_000_000.0 + 60.0 * f64::from(LOOK) * look as f64;
        let mut add = |series: String, value: f64| {
            let values = seen.entry(series).or_default();
            values.resize(look + 1, 0.0);
            values[look] += value;
        };
        for (job, service, pod) in targets() {
            let target = labels_of(&job, &service, &pod);
            let Answer::Response { body, .. } = simulator.respond(&service, &pod, "/metrics", now) else {
                panic!("`{service}` is healthy and does not answer");
            };
            add(labelled("up", &target), 1.0);
            for (series, value) in body.lines().filter_map(|line| line.rsplit_once(' ')) {
                let name = series.split('{').next().unwrap();
                if asked_for.contains(name) {
                    add(without_summed(&labelled(series, &target)), value.parse().unwrap());
                }
            }
        }
    }
    seen
}

/// Straight lines through `values`, as promtool writes them.
fn lines(values: &[f64]) -> String {
    let steps = f64::from(LOOK);
    let text = |pair: &[f64]| {
        let slope = (pair[1] - pair[0]) / steps;
        // A line includes both its ends; the next one begins where it ends.
        format!("{}{slope:+}x{}", pair[0], LOOK - 1)
    };
    values.windows(2).map(text).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_month_of_the_healthy_platform_lets_nothing_fire() {
    let (folder, mut files) = written(&config("existing"));
    files.retain(|name| is_of_alerts(name));
    let series: Vec<Value> =
        looks().iter().map(|(series, values)| json!({ "series": series, "values": lines(values) })).collect();
    let end = format!("{}m", DAYS * 24 * 60);
    let month = format!("{DAYS}d");
    let evaluations = DAYS * 24 * 60 / EVALUATION;
    let checks = json!([
        // It was a month, of every target.
        { "expr": format!("count_over_time(ALERTS{{alertname=\"Watchdog\"}}[{month}]) >= bool {evaluations}"), "eval_time": end,
          "exp_samples": [{ "labels": "{alertname=\"Watchdog\", alertstate=\"firing\", component=\"monitoring\", service=\"prometheus\", severity=\"none\"}", "value": 1 }] },
        { "expr": format!("count(min_over_time(up[{month}:12h]) == 1)"), "eval_time": end,
          "exp_samples": [{ "labels": "{}", "value": targets().len() }] },
        { "expr": format!("count by (alertname, service) (count_over_time(ALERTS{{alertname!=\"Watchdog\", alertstate=\"firing\"}}[{month}]))"),
          "eval_time": end, "exp_samples": [] },
    ]);
    println!("{} series, {evaluations} evaluations", series.len());
    let test = json!({ "interval": "1m", "input_series": series, "promql_expr_test": checks });
    let file = json!({ "rule_files": files, "evaluation_interval": format!("{EVALUATION}m"), "tests": [test] });
    std::fs::write(folder.path().join("healthy.test.yaml"), file.to_string()).unwrap();
    if let Err(said) = promtool(folder.path(), &["test", "rules"], &["healthy.test.yaml".to_owned()]) {
        panic!("{said}");
    }
}
