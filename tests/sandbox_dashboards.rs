//! The dashboards on a sandbox: every panel is answered by the real Prometheus, and one that is not says why.
#![cfg(feature = "sandbox")]
// How much is answered is printed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use drivemaster_mon::contract::{Contract, Metric, MetricType};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::sandbox::Sandbox;

const DASHBOARDS: [&str; 4] = ["application-overview", "infrastructure-overview", "learning-analytics", "stack-health"];

/// The programs that really run, and what Prometheus makes itself, with their jobs.
const REAL: [(&str, &str); 7] = [
    ("target", ".+"),
    ("alert", ".*"),
    ("prometheus", "prometheus"),
    ("alertmanager", "alertmanager"),
    ("loki", "loki"),
    ("jaeger", "jaeger"),
    ("otelCollector", "otel-collector"),
];

/// What comes with an event that there was: lines and spans were sent, and this Jaeger counts from the start.
const HAPPENED: [(&str, &str); 4] = [
    ("otelCollector", "otelcol_receiver_accepted_log_records_total"),
    ("otelCollector", "otelcol_exporter_sent_spans_total"),
    ("jaeger", "otelcol_exporter_sent_spans_total"),
    ("jaeger", "otelcol_exporter_send_failed_spans_total"),
];

/// Queries without an answer, and what is said of them.
const EMPTY: [(&str, &str); 6] = [
    ("sum(http_request_total)", "metric `http_request_total` was not seen within 1h"),
    ("http_requests_total{job=\"nobody\"}", "no series of `http_requests_total` matches `job=\"nobody\"`"),
    (
        "rate(http_requests_total[1s])",
        "no series of `http_requests_total` has two samples within 1s: the window is shorter than two scrapes, or the first ones",
    ),
    ("0 * sum(up) / (0 * sum(up))", "no traffic: it divides nothing by nothing"),
    ("up > 1", "its series are there, but the expression leaves none of them"),
    ("sum(up) by", "Prometheus refuses its query"),
];

#[test]
fn every_panel_is_answered_and_an_empty_one_says_why() {
    let sandbox = Sandbox::up();
    sandbox.run(&["deploy", "--no-verify"]).exits(0);
    // The Collector counts lines and spans once there was one.
    sandbox.run(&["verify", "--only", "logs", "--only", "traces"]).exits(0);
    every_panel_shows_data(&sandbox);
    programs_expose_what_is_said_of_them(&sandbox);
    an_empty_panel_says_why(&sandbox);
    panels_of_a_database_that_is_gone_say_so(&sandbox);
}

fn every_panel_shows_data(sandbox: &Sandbox) {
    let checks = checks(&sandbox.run(&["verify", "-o", "json", "--only", "dashboards"]).exits(0).json());
    objectives_show_data_or_wait(&checks["dashboards/drivemaster-slo"]);
    for uid in DASHBOARDS {
        let check = &checks[&format!("dashboards/drivemaster-{uid}")];
        assert_eq!(check["outcome"], "pass", "{uid}");
        let evidence = lines(check);
        println!("{uid}: {}", evidence.join("; "));
        let numbers: Vec<usize> = evidence[0].split(' ').filter_map(|word| word.parse().ok()).collect();
        let [shown, panels, answered, queries] = numbers[..] else { panic!("{}", evidence[0]) };
        // The platform is well: nothing but what tells of alerts is empty.
        let empty = evidence.get(1).map_or(0, |line| line.split(", ").count());
        assert_eq!((shown + empty, answered + empty), (panels, queries), "{uid}: {evidence:?}");
        assert!(panels >= 10 && empty <= 1, "{uid}: {evidence:?}");
    }
}

/// Budgets are reckoned from slices of five minutes: until the first is over, some panels wait and say so.
fn objectives_show_data_or_wait(check: &Value) {
    let wait = |line: &String| line.contains("no rule recorded `slo:") || line.starts_with("and ");
    println!("slo: {}; {}", check["reason"], lines(check).join("; "));
    match check["outcome"].as_str().unwrap() {
        "pass" => {}
        "warn" => assert!(lines(check).iter().all(wait), "{check}"),
        other => panic!("{other}: {check}"),
    }
}

/// Each under its own name: what another program calls the same is no proof.
fn programs_expose_what_is_said_of_them(sandbox: &Sandbox) {
    let contract = Contract::programs().unwrap();
    let of_program = |(program, job): (&str, &str)| -> Vec<String> {
        let metrics = contract.metrics_of(program).iter();
        let is_there = |metric: &&Metric| !metric.on_event || HAPPENED.contains(&(program, metric.name.as_str()));
        let name = |metric: &Metric| match metric.metric_type {
            MetricType::Histogram | MetricType::Summary => format!("{}_count", metric.name),
            _ => metric.name.clone(),
        };
        metrics.filter(is_there).map(|metric| format!("{}{{job=~\"{job}\"}}", name(metric))).collect()
    };
    let queries: Vec<String> = REAL.into_iter().flat_map(of_program).collect();
    assert!(queries.len() > 50, "{queries:?}");
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    let check = eventually("every program tells what it is said to", || {
        let check = asked(sandbox, &queries);
        (check["outcome"] == "pass").then(|| check.clone()).ok_or_else(|| check.to_string())
    });
    println!("programs: {}", lines(&check).join("; "));
}

/// What `verify` says of a dashboard with a panel for each of `queries`.
fn asked(sandbox: &Sandbox, queries: &[&str]) -> Value {
    let panel = |(index, query): (usize, &&str)| {
        let target = json!({ "refId": "A", "expr": query });
        let title = format!("Panel {index}");
        json!({ "id": index + 1, "type": "stat", "title": title, "gridPos": { "w": 4, "h": 4 }, "targets": [target] })
    };
    let panels: Vec<Value> = queries.iter().enumerate().map(panel).collect();
    let model = json!({ "uid": "team", "title": "Team", "schemaVersion": 42, "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [] }, "annotations": { "list": [] }, "panels": panels });
    sandbox.run.file("team/dashboards/team.json", &model.to_string());
    let verify = ["verify", "-o", "json", "--only", "dashboards/team", "--timeout", "1", "--overlay", "team"];
    checks(&sandbox.run(&verify).json())["dashboards/team"].clone()
}

fn an_empty_panel_says_why(sandbox: &Sandbox) {
    let check = asked(sandbox, &EMPTY.map(|(query, _)| query));
    let reason = check["reason"].as_str().unwrap();
    assert!(reason.starts_with("6 of 6 panels without data"), "{reason}");
    for (index, (line, (query, why))) in lines(&check).iter().zip(EMPTY).enumerate() {
        assert!(line.starts_with(&format!("`Panel {index}`: {why}")), "`{query}`: {line}");
    }
}

fn panels_of_a_database_that_is_gone_say_so(sandbox: &Sandbox) {
    sandbox.run(&["sandbox", "scenario", "set", "database-down", "redis"]).exits(0);
    let only = "dashboards/drivemaster-infrastructure-overview";
    // Until the next scrape it is as before.
    let evidence = eventually("the panels of Redis are empty", || {
        let document = sandbox.run(&["verify", "-o", "json", "--only", only, "--timeout", "1"]).json();
        let check = &checks(&document)[only];
        if check["outcome"] == "fail" { Ok(lines(check)) } else { Err(check.to_string()) }
    });
    let gone = "`Clients`: the series of `redis_connected_clients{job=\"redis\"}` have ended";
    assert!(evidence.iter().any(|line| line == gone), "{evidence:?}");
    assert!(!evidence.iter().any(|line| line.contains("pg_")), "{evidence:?}");
    sandbox.run(&["sandbox", "scenario", "clear"]).exits(0);
}

/// Asks `question` until it is answered, for at most a minute; ends the test with what was last in the way.
fn eventually<T>(what: &str, mut question: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match question() {
            Ok(answer) => return answer,
            Err(reason) => assert!(Instant::now() < end, "{what} did not happen in a minute: {reason}"),
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The checks of a report by id.
fn checks(document: &Value) -> serde_json::Map<String, Value> {
    let checks = document["checks"].as_array().unwrap().iter();
    checks.map(|check| (check["id"].as_str().unwrap().to_owned(), check.clone())).collect()
}

fn lines(check: &Value) -> Vec<String> {
    check["evidence"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}
