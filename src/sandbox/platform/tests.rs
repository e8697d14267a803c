mod scenarios;

use super::*;
use crate::contract::{Metric, MetricType, SERVICE};
use crate::stack::EXPORTERS;
use std::collections::BTreeSet;

/// 2026-09-21 14:40:00 UTC, a moment of day traffic.
const START: f64 = 1_790_001_600.0;
const USER_PODS: [&str; 2] = ["user-service-5d8f-aaaaa", "user-service-5d8f-bbbbb"];

fn services() -> Vec<PlatformService> {
    [
        ("user-service", 3001),
        ("adaptive-service", 3002),
        ("content-service", 3003),
        ("analytics-service", 3004),
        ("engagement-service", 3005),
    ]
    .map(|(name, port)| PlatformService { name: name.to_owned(), port })
    .to_vec()
}

fn simulator() -> Simulator {
    Simulator::new(services(), EXPORTERS.iter().collect(), "drivemaster", 42).unwrap()
}

fn scenario(words: &str) -> Scenario {
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let names: Vec<String> = services().into_iter().map(|service| service.name).collect();
    Scenario::parse(&words, &names).unwrap()
}

/// Samples by series.
type Samples = BTreeMap<String, f64>;

/// Reads a page strictly: HELP and TYPE before the samples of each family, which stand together;
/// no series twice; nothing but finite numbers.
fn read(body: &str) -> Samples {
    let mut samples = Samples::new();
    let mut families = BTreeSet::new();
    let mut help = "";
    let mut family = ("", "");
    assert!(body.ends_with('\n'));
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap().0;
            assert!(families.insert(help), "family `{help}` stands twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split_once(' ').unwrap();
            assert_eq!(family.0, help, "TYPE without its HELP");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let bare = match family.1 {
                "histogram" => ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap(),
                _ => name,
            };
            assert_eq!(bare, family.0, "`{line}` stands outside its family");
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite(), "{line}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "`{series}` stands twice");
        }
    }
    samples
}

fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let labels = series.split_once('{')?.1.strip_suffix('}')?;
    labels
        .split("\",")
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\""))
        .map(|text| text.trim_end_matches('"'))
}

fn ask(simulator: &Simulator, service: &str, pod: &str, now: f64) -> Samples {
    match simulator.respond(service, pod, "/metrics", now) {
        Answer::Response { status: 200, content_type, body } => {
            assert!(content_type.starts_with("text/plain; version=0.0.4"));
            read(&body)
        }
        other => panic!("{service}: {other:?}"),
    }
}

/// Sum of the series of `name` that `takes` takes.
fn sum(samples: &Samples, name: &str, takes: impl Fn(&str) -> bool) -> f64 {
    let own = |series: &str| series.split('{').next() == Some(name);
    samples.iter().filter(|(series, _)| own(series) && takes(series)).map(|(_, value)| value).sum()
}

fn is_server_error(series: &str) -> bool {
    label(series, "status").is_some_and(|status| status.starts_with('5'))
}

/// Share of failed requests of user-service between two times.
fn error_share(simulator: &Simulator, from: f64, to: f64) -> f64 {
    let asked = [from, to].map(|now| USER_PODS.map(|pod| ask(simulator, "user-service", pod, now)));
    let counts = |pages: &[Samples; 2], takes: fn(&str) -> bool| -> f64 {
        pages.iter().map(|page| sum(page, "http_requests_total", takes)).sum()
    };
    let grown = |takes: fn(&str) -> bool| counts(&asked[1], takes) - counts(&asked[0], takes);
    grown(is_server_error) / grown(|_| true)
}

/// The quantile as Prometheus reckons it from buckets that counted since `before`.
fn quantile(q: f64, before: &Samples, after: &Samples, name: &str) -> f64 {
    let bucket = format!("{name}_bucket");
    let mut bounds: Vec<f64> = after
        .keys()
        .filter(|series| series.split('{').next() == Some(bucket.as_str()))
        .map(|series| label(series, "le").unwrap().replace("+Inf", "inf").parse().unwrap())
        .collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let counted = |bound: f64| {
        let takes = |series: &str| label(series, "le").unwrap().replace("+Inf", "inf").parse() == Ok(bound);
        sum(after, &bucket, takes) - sum(before, &bucket, takes)
    };
    let wanted = q * counted(f64::INFINITY);
    let mut lower = (0.0, 0.0);
    for bound in bounds {
        let count = counted(bound);
        if count >= wanted {
            return if bound.is_finite() {
                lower.0 + (bound - lower.0) * (wanted - lower.1) / (count - lower.1)
            } else {
                lower.0
            };
        }
        lower = (bound, count);
    }
    f64::NAN
}

#[test]
fn every_target_exposes_the_metrics_and_labels_of_the_contract_and_no_others() {
    let simulator = simulator();
    let contract = Contract::embedded().unwrap();
    let mut seen: BTreeMap<&str, Samples> = BTreeMap::new();
    for service in services() {
        let samples = ask(&simulator, &service.name, &format!("{}-0", service.name), START);
        // One service's process metrics are another's: only the series matter here.
        seen.entry(SERVICE).or_default().extend(samples);
    }
    for exporter in EXPORTERS {
        seen.insert(exporter.key, ask(&simulator, exporter.service, exporter.service, START));
    }
    for (exporter, samples) in &seen {
        let metrics = contract.metrics_of(exporter);
        let family = |series: &str| -> &Metric {
            let name = series.split('{').next().unwrap();
            metrics
                .iter()
                .find(|metric| {
                    let end = name.strip_prefix(metric.name.as_str());
                    match metric.metric_type {
                        MetricType::Histogram => matches!(end, Some("_bucket" | "_sum" | "_count")),
                        _ => end == Some(""),
                    }
                })
                .unwrap_or_else(|| panic!("`{name}` of {exporter} is not in the contract"))
        };
        let mut exposed = BTreeSet::new();
        for series in samples.keys() {
            let metric = family(series);
            exposed.insert(metric.name.as_str());
            let labels: BTreeSet<&str> = series
                .split_once('{')
                .map_or("", |(_, labels)| labels)
                .split("\",")
                .filter_map(|pair| pair.split_once('=').map(|(name, _)| name))
                .filter(|name| *name != "le")
                .collect();
            assert_eq!(labels, metric.labels.iter().map(String::as_str).collect(), "{series}");
        }
        assert_eq!(exposed, metrics.iter().map(|metric| metric.name.as_str()).collect(), "{exporter}");
    }
}

#[test]
fn the_same_questions_and_scenarios_give_the_same_bytes_and_another_seed_does_not() {
    let run = |seed: u64| -> Vec<Answer> {
        let simulator = Simulator::new(services(), EXPORTERS.iter().collect(), "drivemaster", seed).unwrap();
        let mut answers = Vec::new();
        for step in 0..20 {
            if step == 7 {
                simulator.set_scenario(scenario("errors user-service 8%")).unwrap();
            }
            for service in ["user-service", "adaptive-service", "postgres-exporter", "kube-state-metrics"] {
                answers.push(simulator.respond(service, service, "/metrics", START + f64::from(step) * 2.0));
            }
        }
        answers
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn counters_and_buckets_never_fall_whatever_the_scenarios_do() {
    let simulator = simulator();
    let contract = Contract::embedded().unwrap();
    let cumulative: BTreeSet<String> = contract
        .exporters
        .values()
        .flatten()
        .filter(|metric| metric.metric_type != MetricType::Gauge)
        .flat_map(|metric| ["", "_bucket", "_sum", "_count"].map(|end| format!("{}{end}", metric.name)))
        .collect();
    let mut last: BTreeMap<&str, Samples> = BTreeMap::new();
    for step in 0..200 {
        match step {
            20 => simulator.set_scenario(scenario("errors user-service 8%")).unwrap(),
            40 => simulator.set_scenario(scenario("latency user-service 300ms")).unwrap(),
            60 => simulator.set_scenario(scenario("down user-service")).unwrap(),
            80 => simulator.set_scenario(scenario("database-down postgresql")).unwrap(),
            100 => simulator.clear(),
            120 => simulator.set_scenario(scenario("errors user-service 100%")).unwrap(),
            140 => simulator.set_scenario(scenario("errors user-service 0%")).unwrap(),
            _ => {}
        }
        let now = START + f64::from(step) * 1.7;
        for target in ["user-service", "adaptive-service", "postgres-exporter", "node-exporter"] {
            let Answer::Response { body, .. } = simulator.respond(target, target, "/metrics", now) else { continue };
            let samples = read(&body);
            if let Some(before) = last.get(target) {
                for (series, value) in &samples {
                    let name = series.split('{').next().unwrap();
                    if let Some(earlier) = before.get(series).filter(|_| cumulative.contains(name)) {
                        assert!(value >= earlier, "step {step}: {series} fell from {earlier} to {value}");
                    }
                }
            }
            last.insert(target, samples);
        }
    }
}

#[test]
fn buckets_are_cumulative_and_end_with_the_count() {
    let simulator = simulator();
    ask(&simulator, "user-service", USER_PODS[0], START);
    let samples = ask(&simulator, "user-service", USER_PODS[0], START + 333.0);
    let all = |end: &str| sum(&samples, &format!("http_request_duration_seconds{end}"), |_| true);
    let up_to = |bound: &str| {
        sum(&samples, "http_request_duration_seconds_bucket", |series| label(series, "le") == Some(bound))
    };
    assert!(up_to("0.05") < up_to("0.1") && up_to("0.1") < up_to("+Inf"));
    assert!((up_to("+Inf") - all("_count")).abs() < f64::EPSILON);
    let mean = all("_sum") / all("_count");
    assert!((0.01..0.05).contains(&mean), "{mean}");
}

#[test]
fn eight_percent_errors_are_eight_percent_while_the_scenario_holds_and_hardly_any_otherwise() {
    let simulator = simulator();
    assert!(error_share(&simulator, START, START + 300.0) < 0.001);
    simulator.set_scenario(scenario("errors user-service 8%")).unwrap();
    // Thirty seconds are the shortest window that has to be steady.
    for from in [300.0, 400.0, 900.0] {
        let share = error_share(&simulator, START + from, START + from + 30.0);
        assert!((share - 0.08).abs() < 0.005, "{share}");
    }
    simulator.clear();
    assert!(error_share(&simulator, START + 930.0, START + 1230.0) < 0.001);
}

#[test]
fn healthy_traffic_keeps_clear_of_every_threshold_at_any_time_of_day() {
    let simulator = simulator();
    for hour in 0..24 {
        let from = START + f64::from(hour) * 3600.0;
        for service in services() {
            let pods: Vec<&str> = if service.name == "user-service" { USER_PODS.to_vec() } else { vec!["pod-0"] };
            let mut rate = 0.0;
            for pod in pods {
                let before = ask(&simulator, &service.name, pod, from);
                let after = ask(&simulator, &service.name, pod, from + 120.0);
                let p95 = quantile(0.95, &before, &after, "http_request_duration_seconds");
                assert!(p95 < 0.08, "{}: {p95}", service.name);
                let grown = |takes: fn(&str) -> bool| {
                    sum(&after, "http_requests_total", takes) - sum(&before, "http_requests_total", takes)
                };
                assert!(grown(is_server_error) / grown(|_| true) < 0.001);
                rate += grown(|_| true) / 120.0;
                let memory = after["process_resident_memory_bytes"] / workloads::MEMORY_LIMIT_BYTES;
                assert!(memory < 0.5, "{memory}");
                for (series, value) in after.iter().filter(|(series, _)| series.starts_with("learning_effectiveness")) {
                    assert!((0.77..0.9).contains(value), "{series} {value}");
                }
            }
            assert!((30.0..125.0).contains(&rate), "{}: {rate}", service.name);
        }
        let ratio = |service: &str, hit: &str, missed: &str| {
            let before = ask(&simulator, service, service, from);
            let after = ask(&simulator, service, service, from + 120.0);
            let grown = |name: &str| sum(&after, name, |_| true) - sum(&before, name, |_| true);
            grown(hit) / (grown(hit) + grown(missed))
        };
        assert!(ratio("redis-exporter", "redis_keyspace_hits_total", "redis_keyspace_misses_total") > 0.99);
        assert!(ratio("postgres-exporter", "pg_stat_database_blks_hit", "pg_stat_database_blks_read") > 0.99);
        let node = ask(&simulator, "node-exporter", "node-exporter", from);
        assert!(node["node_memory_MemAvailable_bytes"] / node["node_memory_MemTotal_bytes"] > 0.4);
    }
}

#[test]
fn no_more_answers_are_correct_than_there_are_answers() {
    let simulator = simulator();
    ask(&simulator, "adaptive-service", "pod-0", START);
    let samples = ask(&simulator, "adaptive-service", "pod-0", START + 3600.0);
    for (series, correct) in samples.iter().filter(|(series, _)| series.starts_with("questions_correct_total")) {
        let answered = samples[&series.replace("correct", "answered")];
        assert!(*correct <= answered && answered > 0.0, "{series}: {correct} of {answered}");
    }
}

#[test]
fn two_pods_of_a_service_share_its_traffic_and_do_not_count_alike() {
    let simulator = simulator();
    ask(&simulator, "user-service", USER_PODS[0], START);
    let counts =
        USER_PODS.map(|pod| sum(&ask(&simulator, "user-service", pod, START + 600.0), "http_requests_total", |_| true));
    assert!((counts[0] - counts[1]).abs() > 10.0, "{counts:?}");
    let share = counts[0] / (counts[0] + counts[1]);
    assert!((0.4..0.6).contains(&share), "{share}");
}

#[test]
fn down_refuses_services_and_exporters_until_it_is_cleared() {
    let simulator = simulator();
    for (words, target, other) in [
        ("down content-service", "content-service", "user-service"),
        ("down redis", "redis-exporter", "kafka-exporter"),
    ] {
        simulator.set_scenario(scenario(words)).unwrap();
        assert_eq!(simulator.respond(target, "pod", "/metrics", START), Answer::Refused);
        ask(&simulator, other, "pod", START);
        simulator.clear();
        ask(&simulator, target, "pod", START);
    }
    assert!(simulator.scenarios().is_empty());
}

#[test]
fn latency_moves_the_quantiles_by_what_it_adds() {
    let simulator = simulator();
    ask(&simulator, "content-service", "pod", START);
    simulator.set_scenario(scenario("latency content-service 300ms")).unwrap();
    let before = ask(&simulator, "content-service", "pod", START + 10.0);
    let after = ask(&simulator, "content-service", "pod", START + 130.0);
    let p50 = quantile(0.5, &before, &after, "http_request_duration_seconds");
    assert!((0.25..0.5).contains(&p50), "{p50}");
    assert!(after["http_requests_in_flight{service=\"content-service\"}"] >= 20.0);
}

#[test]
fn a_database_that_is_down_is_told_by_its_exporter_and_by_the_health_of_who_needs_it() {
    let simulator = simulator();
    let health = |service: &str| match simulator.respond(service, "pod", "/health", START) {
        Answer::Response { status, content_type, body } => {
            assert_eq!(content_type, "application/json");
            (status, serde_json::from_str::<serde_json::Value>(&body).unwrap())
        }
        Answer::Refused => panic!("refused"),
    };
    let (status, body) = health("user-service");
    assert_eq!((status, &body["status"], &body["service"]), (200, &"healthy".into(), &"user-service".into()));
    simulator.set_scenario(scenario("database-down redis")).unwrap();
    let (status, body) = health("user-service");
    assert_eq!((status, &body["status"]), (503, &"degraded".into()));
    assert_eq!(body["checks"]["cache"]["status"], "unhealthy");
    assert_eq!(body["checks"]["database"]["status"], "healthy");
    assert_eq!(health("analytics-service").0, 200);
    let samples = ask(&simulator, "redis-exporter", "pod", START);
    assert_eq!(samples.into_iter().collect::<Vec<_>>(), [("redis_up".to_owned(), 0.0)]);
}

#[test]
fn kube_state_metrics_describe_the_pods_that_are_asked_and_forget_those_that_are_not() {
    let simulator = simulator();
    ask(&simulator, "user-service", USER_PODS[0], START);
    ask(&simulator, "user-service", USER_PODS[1], START);
    simulator.set_scenario(scenario("down user-service")).unwrap();
    simulator.respond("user-service", USER_PODS[1], "/metrics", START + 70.0);
    let samples = ask(&simulator, "kube-state-metrics", "kube-state-metrics-0", START + 70.0);
    let ready = |pod: &str| {
        samples.get(&format!("kube_pod_status_ready{{namespace=\"drivemaster\",pod=\"{pod}\",condition=\"true\"}}"))
    };
    assert_eq!(ready(USER_PODS[0]), None);
    assert_eq!(ready(USER_PODS[1]), Some(&0.0));
    let available = |name: &str| {
        samples
            [&format!("kube_deployment_status_replicas_available{{namespace=\"drivemaster\",deployment=\"{name}\"}}")]
    };
    assert!(available("user-service").abs() < f64::EPSILON);
    assert!((available("content-service") - 1.0).abs() < f64::EPSILON);
}

#[test]
fn what_is_not_simulated_is_not_found_and_takes_no_scenario() {
    let simulator = Simulator::new(services(), Vec::new(), "drivemaster", 1).unwrap();
    for (service, path) in [("user-service", "/"), ("payment-service", "/metrics"), ("redis-exporter", "/metrics")] {
        assert!(matches!(simulator.respond(service, "pod", path, START), Answer::Response { status: 404, .. }));
    }
    let error = simulator.set_scenario(scenario("down redis")).unwrap_err();
    assert_eq!(crate::error::exit_code_of(&error), 64);
}

#[test]
fn a_service_without_traffic_of_its_own_gets_a_common_one() {
    let services = vec![PlatformService { name: "billing-service".to_owned(), port: 3999 }];
    let simulator = Simulator::new(services, Vec::new(), "drivemaster", 1).unwrap();
    ask(&simulator, "billing-service", "pod", START);
    let samples = ask(&simulator, "billing-service", "pod", START + 60.0);
    assert!(sum(&samples, "http_requests_total", |_| true) > 1000.0);
}
