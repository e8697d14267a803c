//! A month of the healthy platform: nothing fires. The simulated platform is looked at every other hour; between two looks
//! every series is a straight line, with a sample every minute or two. What alerts of objectives look at is made of records
//! of five minutes: where none of these burns a budget as fast as they tell, no window of them does.

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

/// The groups of the rule files that alerts are told from.
fn groups_of_alerts() -> Vec<Value> {
    groups_in(is_of_alerts)
}

/// The groups that record the five minutes of the objectives, and what they are made of.
fn groups_of_objectives() -> Vec<Value> {
    let mut objectives = groups_in(|name| name.starts_with("slo-"));
    objectives.retain(|group| !["-windows", "-alerts"].iter().any(|end| name_of(group).ends_with(end)));
    let asked_for = asked_for(&objectives);
    let mut groups = groups_in(|name| ["privacy.yaml", "sli.yaml"].contains(&name));
    for group in &mut groups {
        let rules = group["rules"].as_array_mut().unwrap();
        rules.retain(|rule| asked_for.contains(rule["record"].as_str().unwrap()));
    }
    groups.extend(objectives);
    groups
}

fn name_of(group: &Value) -> &str {
    group["name"].as_str().unwrap()
}

fn groups_in(of: impl Fn(&str) -> bool) -> Vec<Value> {
    let files = rule_files(&config("existing"));
    let texts = files.iter().filter(|(name, _)| of(name)).map(|(_, text)| text);
    let read = |text: &String| serde_yaml::from_str::<Value>(text).unwrap()["groups"].as_array().unwrap().clone();
    texts.flat_map(read).collect()
}

/// The metrics that the rules ask for, parts of histograms by their own names.
fn asked_for(groups: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for group in groups {
        for rule in group["rules"].as_array().unwrap() {
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
fn looks(groups: &[Value]) -> BTreeMap<String, Vec<f64>> {
    let asked_for = asked_for(groups);
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

/// Straight lines through `values`, as promtool writes them, with a sample each so many minutes.
fn lines(values: &[f64], minutes: u32) -> String {
    let steps = LOOK / minutes;
    let text = |pair: &[f64]| {
        let slope = (pair[1] - pair[0]) / f64::from(steps);
        // A line includes both its ends; the next one begins where it ends.
        format!("{}{slope:+}x{}", pair[0], steps - 1)
    };
    values.windows(2).map(text).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_month_of_the_healthy_platform_lets_nothing_fire() {
    let (folder, mut files) = written(&config("existing"));
    files.retain(|name| is_of_alerts(name));
    let series: Vec<Value> = looks(&groups_of_alerts())
        .iter()
        .map(|(series, values)| json!({ "series": series, "values": lines(values, 1) }))
        .collect();
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

/// What never burns this fast has no alert of its objective: that about burn rates tells 1 and faster, and a budget is
/// called spent at 0.9 of it.
const TOLD: f64 = 0.9;
/// Between two records of the objectives, in minutes.
const RECORD: u32 = 5;
/// Between two of the samples that they are made of, in minutes.
const SAMPLE: u32 = 2;

#[test]
fn a_month_of_the_healthy_platform_burns_no_budget() {
    let folder = tempfile::tempdir().unwrap();
    let groups = groups_of_objectives();
    std::fs::write(folder.path().join("objectives.yaml"), json!({ "groups": groups }).to_string()).unwrap();
    let series: Vec<Value> = looks(&groups)
        .iter()
        .map(|(series, values)| json!({ "series": series, "values": lines(values, SAMPLE) }))
        .collect();
    // Objectives say of what they are, whether there is data or not.
    let all = groups_in(|name| name.starts_with("slo-"));
    let rules = all.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let burning = rules.filter(|rule| rule["record"] == "slo:info").count();
    let (end, month) = (format!("{}m", DAYS * 24 * 60), format!("{DAYS}d"));
    // Slices of time have no record of five minutes in the first ones.
    let records = DAYS * 24 * 60 / RECORD - 2;
    let checks = json!([
        { "expr": format!("count(count_over_time(slo:current_burn_rate:ratio[{month}]) >= {records})"), "eval_time": end,
          "exp_samples": [{ "labels": "{}", "value": burning }] },
        { "expr": format!("max_over_time(slo:current_burn_rate:ratio[{month}]) >= {TOLD}"), "eval_time": end,
          "exp_samples": [] },
    ]);
    println!("{} series, {burning} budgets", series.len());
    // What objectives are made of comes first.
    let order: Vec<&str> = groups.iter().map(name_of).collect();
    let test = json!({ "interval": format!("{SAMPLE}m"), "input_series": series, "promql_expr_test": checks });
    let file = json!({
        "rule_files": ["objectives.yaml"], "evaluation_interval": format!("{RECORD}m"), "tests": [test],
        "group_eval_order": order,
    });
    std::fs::write(folder.path().join("healthy.test.yaml"), file.to_string()).unwrap();
    if let Err(said) = promtool(folder.path(), &["test", "rules"], &["healthy.test.yaml".to_owned()]) {
        panic!("{said}");
    }
}
