//! The simulated platform under the real rules and dashboards: what Prometheus would scrape every
//! 15 seconds is handed to promtool as the series of a unit test, so an hour takes no time.

use crate::rules::written;
use crate::{config, dashboards, promtool};
use drivemaster_mon::config::model::PlatformService;
use drivemaster_mon::sandbox::platform::{Answer, Scenario, Simulator};
use drivemaster_mon::stack::EXPORTERS;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const STEP_SECONDS: u32 = 15;
/// When the scenarios are set and cleared, and the end, in steps.
const SET: usize = 30;
const CLEARED: usize = 80;
const END: usize = 110;

/// A scenario of each kind, each on a target of its own, with the alert and the service it makes fire.
const SCENARIOS: &[(&str, Option<(&str, &str)>)] = &[
    ("errors user-service 8%", Some(("HighErrorRate", "user-service"))),
    ("errors analytics-service 4%", None),
    ("latency engagement-service 200ms", Some(("HighResponseTime", "engagement-service"))),
    ("latency adaptive-service 20ms", None),
    ("down content-service", Some(("ServiceDown", "content-service"))),
    ("down node", Some(("ExporterDown", "node-exporter"))),
    ("down kafka", Some(("KafkaDown", "kafka"))),
    ("database-down postgresql", Some(("PostgreSQLDown", "postgresql"))),
    ("database-down redis", Some(("RedisDown", "redis"))),
    ("database-down elasticsearch", Some(("ElasticsearchDown", "elasticsearch"))),
];

/// What these scenarios burn of the objectives' budgets in twelve minutes. It goes on after they are
/// cleared: the longer of the short windows still see them.
const BURNING: &[(&str, &str)] = &[
    ("SLOErrorRateBreach", "user-service"),
    ("SLOAvailabilityBreach", "content-service"),
    ("ErrorBudgetBurnRateHigh", "content-service"),
    ("SLODatabaseAvailabilityBreach", "postgresql"),
    ("ErrorBudgetBurnRateHigh", "postgresql"),
];

pub(crate) fn services() -> Vec<PlatformService> {
    config("existing").platform.services
}

/// Every pod that is scraped: job, Kubernetes Service, pod.
pub(crate) fn targets() -> Vec<(String, String, String)> {
    let pod =
        |job: &str, service: &str, suffix: &str| (job.to_owned(), service.to_owned(), format!("{service}-{suffix}"));
    let of_services = services();
    let of_services = of_services.iter().map(|service| pod(&service.name, &service.name, "a"));
    let of_exporters = EXPORTERS.iter().map(|exporter| pod(exporter.job, exporter.service, "a"));
    of_services.chain(of_exporters).chain([pod("user-service", "user-service", "b")]).collect()
}

/// The labels that Prometheus gives to the series of a target.
pub(crate) fn labels_of<'a>(job: &'a str, service: &'a str, pod: &'a str) -> [(&'static str, &'a str); 5] {
    [("job", job), ("instance", pod), ("namespace", "drivemaster"), ("pod", pod), ("service", service)]
}

/// The series with the labels of its target, which give way to those it has itself.
pub(crate) fn labelled(series: &str, target: &[(&str, &str)]) -> String {
    let (name, own) = series.split_once('{').unwrap_or((series, "}"));
    let own = own.trim_end_matches('}');
    let has = |label: &str| own.starts_with(&format!("{label}=")) || own.contains(&format!(",{label}="));
    let added = target.iter().filter(|(label, _)| !has(label)).map(|(label, value)| format!("{label}=\"{value}\""));
    let all: Vec<String> = added.chain((!own.is_empty()).then(|| own.to_owned())).collect();
    format!("{name}{{{}}}", all.join(","))
}

/// What Prometheus would have scraped while `scenarios` came and went, as input series.
fn scraped<'a>(scenarios: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let scenarios: Vec<&str> = scenarios.collect();
    let services = services();
    let names: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
    let simulator = Simulator::new(services, EXPORTERS.iter().collect(), "drivemaster", 7).unwrap();
    let mut scraped: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    for step in 0..=END {
        if step == SET {
            for scenario in &scenarios {
                let words: Vec<String> = scenario.split(' ').map(str::to_owned).collect();
                simulator.set_scenario(Scenario::parse(&words, &names).unwrap()).unwrap();
            }
        }
        if step == CLEARED {
            simulator.clear();
        }
        let now = 1_790_000_000.0 + f64::from(STEP_SECONDS) * step as f64;
        let mut keep = |series: String, value: &str| {
            let values = scraped.entry(series).or_default();
            values.resize(step, None);
            values.push(Some(value.to_owned()));
        };
        for (job, service, pod) in targets() {
            let target = labels_of(&job, &service, &pod);
            match simulator.respond(&service, &pod, "/metrics", now) {
                Answer::Response { body, .. } => {
                    keep(labelled("up", &target), "1");
                    for (series, value) in body.lines().filter_map(|line| line.rsplit_once(' ')) {
                        if !series.starts_with('#') {
                            keep(labelled(series, &target), value);
                        }
                    }
                }
                Answer::Refused => keep(labelled("up", &target), "0"),
            }
        }
    }
    let text = |values: Vec<Option<String>>| {
        let mut gone = true;
        let mut padded = values;
        padded.resize(END + 1, None);
        let words = padded.into_iter().map(|value| {
            // A target that stops exposing a series makes it stale at once.
            let missing = if std::mem::replace(&mut gone, value.is_none()) { "_" } else { "stale" };
            value.unwrap_or_else(|| missing.to_owned())
        });
        words.collect::<Vec<_>>().join(" ")
    };
    scraped.into_iter().map(|(series, values)| json!({ "series": series, "values": text(values) })).collect()
}

fn seconds(step: usize) -> String {
    format!("{}s", step * STEP_SECONDS as usize)
}

/// Checks by promtool, with everything scraped while `scenarios` came and went, and every rule loaded.
fn assert_promtool_passes<'a>(scenarios: impl Iterator<Item = &'a str>, checks: &[Value]) {
    let (folder, files) = written(&config("existing"));
    let interval = format!("{STEP_SECONDS}s");
    let test = json!({ "interval": interval, "input_series": scraped(scenarios), "promql_expr_test": checks });
    let file = json!({ "rule_files": files, "evaluation_interval": interval, "tests": [test] });
    std::fs::write(folder.path().join("simulated.test.yaml"), file.to_string()).unwrap();
    if let Err(said) = promtool(folder.path(), &["test", "rules"], &["simulated.test.yaml".to_owned()]) {
        panic!("{said}");
    }
}

#[test]
fn each_scenario_makes_its_alert_fire_and_no_other_and_clearing_it_ends_it() {
    let alerts = "count by (alertname, service) (ALERTS{alertstate=\"firing\", alertname!=\"Watchdog\", slo=\"\"})";
    let objectives = "group by (alertname, service) (ALERTS{alertstate=\"firing\", slo!=\"\"})";
    let check = |step: usize, expression: &str, firing: &[(&str, &str)]| {
        let samples: Vec<Value> = firing
            .iter()
            .map(|(alert, service)| json!({ "labels": format!("{{alertname=\"{alert}\", service=\"{service}\"}}"), "value": 1 }))
            .collect();
        json!({ "expr": expression, "eval_time": seconds(step), "exp_samples": samples })
    };
    let firing: Vec<(&str, &str)> = SCENARIOS.iter().filter_map(|(_, firing)| *firing).collect();
    let checks = [
        check(SET - 1, alerts, &[]),
        check(SET - 1, objectives, &[]),
        check(CLEARED - 1, alerts, &firing),
        check(CLEARED - 1, objectives, BURNING),
        check(END, alerts, &[]),
    ];
    assert_promtool_passes(SCENARIOS.iter().map(|(scenario, _)| *scenario), &checks);
}

const APPLICATION: &str = "drivemaster-application-overview";
const INFRASTRUCTURE: &str = "drivemaster-infrastructure-overview";
const LEARNING: &str = "drivemaster-learning-analytics";
const SLO: &str = "drivemaster-slo";

/// The queries of each panel of the platform's dashboards that must not be empty, by title. What the other dashboards
/// show, no simulated platform tells.
fn queries_of_the_platform() -> Vec<(String, String)> {
    let shown = dashboards::local(&config("existing"));
    let of_the_platform =
        shown.iter().filter(|shown| [APPLICATION, INFRASTRUCTURE, LEARNING, SLO].contains(&&*shown.read.uid));
    of_the_platform
        .flat_map(|shown| {
            let may_be_empty =
                |title: &str| shown.panels().any(|(panel, _)| panel.title == title && panel.may_be_empty());
            shown.queries().into_iter().filter(move |(title, _)| !may_be_empty(title))
        })
        .collect()
}

#[test]
fn every_panel_of_the_platform_is_answered() {
    let queries = queries_of_the_platform();
    let panels: BTreeSet<&str> = queries.iter().map(|(title, _)| title.as_str()).collect();
    println!("{} panels, {} queries", panels.len(), queries.len());
    assert!(panels.len() > 60 && queries.len() > 80, "{} panels, {} queries", panels.len(), queries.len());
    let answered = |(_, query): &(String, String)| {
        let samples = json!([{ "labels": "{}", "value": 1 }]);
        json!({ "expr": format!("count({query}) > bool 0"), "eval_time": seconds(SET - 1), "exp_samples": samples })
    };
    assert_promtool_passes(std::iter::empty(), &queries.iter().map(answered).collect::<Vec<_>>());
}

/// A scenario and the panel that must show it: dashboard, title, how its first query compares while the scenario
/// holds and at no time before, and what it is said of.
type Seen = (&'static str, &'static str, &'static str, &'static str, &'static str);

const FAILURES_SEEN: &[Seen] = &[
    ("errors user-service 8%", APPLICATION, "Error rate by service", "> 0.05", "{service=\"user-service\"}"),
    (
        "latency engagement-service 200ms",
        APPLICATION,
        "Response time p95 by service",
        "> 0.1",
        "{service=\"engagement-service\"}",
    ),
    ("down content-service", APPLICATION, "Service health status", "== 0", "{job=\"content-service\"}"),
    ("down kafka", INFRASTRUCTURE, "Exporters", "== 0", "{job=\"kafka\"}"),
    ("database-down postgresql", INFRASTRUCTURE, "PostgreSQL", "== 0", "{}"),
    ("database-down redis", INFRASTRUCTURE, "Redis", "== 0", "{}"),
];

const SHORTAGES_SEEN: &[Seen] = &[
    ("memory user-service 92%", APPLICATION, "Memory of the limit", "> 0.8", "{job=\"user-service\"}"),
    ("cpu adaptive-service 95%", APPLICATION, "CPU by service", "> 0.8", "{job=\"adaptive-service\"}"),
    ("memory node 92%", INFRASTRUCTURE, "Memory", "> 0.8", "{job=\"node-exporter\"}"),
    ("cpu node 95%", INFRASTRUCTURE, "CPU", "> 0.8", "{}"),
    ("load 12", INFRASTRUCTURE, "Load per CPU", "> 1", "{}"),
    ("disk node 92%", INFRASTRUCTURE, "Disks", "> 0.85", "{job=\"node-exporter\"}"),
    ("disk elasticsearch 92%", INFRASTRUCTURE, "Elasticsearch disks", "> 0.85", "{}"),
    ("elasticsearch-red", INFRASTRUCTURE, "Elasticsearch health", "== 2", "{}"),
    ("connections postgresql 92%", INFRASTRUCTURE, "Connections in use", "> 0.8", "{}"),
    ("connections redis 92%", INFRASTRUCTURE, "Clients", "> 1000", "{}"),
    ("memory redis 92%", INFRASTRUCTURE, "Memory in use", "> 0.9", "{}"),
    ("cache-misses postgresql 20%", INFRASTRUCTURE, "Cache hit ratio", "< 0.95", "{}"),
    ("cache-misses redis 20%", INFRASTRUCTURE, "Hit ratio", "< 0.95", "{}"),
    ("replication-lag 90s", INFRASTRUCTURE, "Replication lag", "> 30", "{}"),
    ("kafka-lag 5000", INFRASTRUCTURE, "Largest lag", "> 1000", "{}"),
    ("effectiveness-low 0.6", LEARNING, "Learning effectiveness over time", "< 0.75", "{service=\"adaptive-service\"}"),
    ("engagement-low 180s", LEARNING, "Session length", "< 300", "{service=\"user-service\"}"),
];

fn assert_seen(seen: &[Seen]) {
    let shown = dashboards::local(&config("existing"));
    let mut checks = Vec::new();
    for (_, uid, title, compares, of) in seen {
        let dashboard = shown.iter().find(|shown| shown.read.uid == *uid).unwrap();
        let query = dashboard.queries().into_iter().find(|(other, _)| other == title);
        let (_, query) = query.unwrap_or_else(|| panic!("`{uid}` has no panel `{title}`"));
        let label = of.trim_start_matches('{').split(['=', '}']).next().unwrap();
        let expression = format!("group by ({label}) (({query}) {compares})");
        for (step, samples) in [(SET - 1, json!([])), (CLEARED - 1, json!([{ "labels": of, "value": 1 }]))] {
            checks.push(json!({ "expr": expression, "eval_time": seconds(step), "exp_samples": samples }));
        }
    }
    assert_promtool_passes(seen.iter().map(|(scenario, ..)| *scenario), &checks);
}

#[test]
fn failures_show_in_the_panels_they_are_about_and_before_they_do_not() {
    assert_seen(FAILURES_SEEN);
}

#[test]
fn shortages_show_in_the_panels_they_are_about_and_before_they_do_not() {
    assert_seen(SHORTAGES_SEEN);
}
