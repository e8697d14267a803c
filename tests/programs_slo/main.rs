//! The numbers of the objectives, by a real Prometheus on a month of traffic that can be counted by hand.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backfill;
mod cost;
mod firing;
mod stories;
#[path = "../support/mod.rs"]
mod support;

use backfill::{OpenMetrics, Prometheus, minutes, record};
use drivemaster_mon::config::{Profile, resolve};
use drivemaster_mon::render::render;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Noon of 20 January 2026, in UTC: 19.5 days into the month.
const END: i64 = 1_768_910_400;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A little more than the window, so that its first record is whole.
const START: i64 = END - 30 * DAY - HOUR;
const BUDGET: f64 = 0.001;

/// Requests of a service and failures among them, in the minute that ends so many minutes before the end.
type Minute = fn(i64) -> (u32, u32);

const SERVICES: [(&str, Minute); 8] = [
    // No failure in a month: nothing may fire.
    ("healthy", |_| (1_000, 0)),
    // Twice what the budget allows, always.
    ("steady", |_| (1_000, 2)),
    // Nothing, then 2.5 times what the budget allows in the last 36 hours.
    ("step", |ago| (2_000, if ago < 36 * 60 { 5 } else { 0 })),
    // All of 40 minutes, ten days ago.
    ("outage", |ago| (1_000, if (14_400..14_440).contains(&ago) { 1_000 } else { 0 })),
    // A third of the day few requests, 5 % of which fail, else many, of which hardly any does.
    ("rush", |ago| if ago / 60 % 24 < 8 { (100, 5) } else { (10_000, 1) }),
    // 2 % in the last three hours.
    ("burning", |ago| (1_000, if ago < 180 { 20 } else { 0 })),
    // 5 % for two hours, until 20 minutes ago.
    ("ended", |ago| (1_000, if (20..140).contains(&ago) { 50 } else { 0 })),
    // As `steady`, but nothing is known before the last nine days.
    ("young", |ago| if ago < 9 * 1_440 { (1_000, 2) } else { (0, 0) }),
];

/// What cannot be reached for 43 minutes of the month, two minutes off every round time.
const UNREACHABLE: &str = "outage";

fn traffic() -> OpenMetrics {
    let mut text = OpenMetrics::default();
    for (service, minute) in SERVICES {
        // Not from 0: a rate does not reach back to before a counter was 0, and so sees less of a first event.
        let mut counted = (1e6, 1e6);
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for time in (START..=END).step_by(60) {
            let (all, failed) = minute((END - time) / MINUTE);
            counted = (counted.0 + f64::from(all - failed), counted.1 + f64::from(failed));
            if all > 0 {
                good.push((time, counted.0));
                bad.push((time, counted.1));
            }
        }
        let labels = |status: u32| format!(r#"job="{service}",service="{service}",status="{status}""#);
        text.add("http_requests_total", &labels(200), good);
        text.add("http_requests_total", &labels(500), bad);
    }
    let down = END - 10 * DAY + 2 * MINUTE;
    let reachable = |time: i64| f64::from(!(down..down + 43 * MINUTE).contains(&time));
    for service in ["steady", UNREACHABLE] {
        let samples = (START..=END).step_by(60);
        let value = |time: i64| if service == UNREACHABLE { reachable(time) } else { 1.0 };
        text.add("up", &format!(r#"job="{service}",instance="a""#), samples.map(|time| (time, value(time))));
    }
    text
}

/// The files of rules, as they are deployed with `setting` and with every objective about all these services.
fn rule_files(services: &[&str], setting: &str) -> BTreeMap<String, String> {
    let services: Vec<Value> = services.iter().map(|name| json!({ "name": name, "port": 1 })).collect();
    let mut sets = vec![format!("platform.services={}", Value::from(services)), setting.to_owned()];
    for objective in ["learning-effectiveness", "user-engagement"] {
        sets.push(format!("slo.objectives.{objective}.services=[]"));
    }
    let config = resolve(Some(Profile::Local), &[], &[], &sets).unwrap();
    let objects = render(&config).unwrap().objects;
    let files = objects.iter().find(|object| object.reference().name == "drivemaster-rules").unwrap();
    let files = files.0["data"].as_object().unwrap().iter();
    files.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect()
}

/// The rules in the text of a file.
fn rules_in(text: &str) -> Vec<Value> {
    let file: Value = serde_yaml::from_str(text).unwrap();
    let groups = file["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The rules of the file `name`, as they are deployed for these services and this window.
fn rules(name: &str, window: &str) -> Vec<Value> {
    rules_in(&rule_files(&SERVICES.map(|(service, _)| service), &format!("slo.window={window}"))[name])
}

fn records(rules: &[Value]) -> Vec<Value> {
    rules.iter().filter(|rule| rule.get("record").is_some()).cloned().collect()
}

fn named(rules: &[Value], names: &[&str]) -> Vec<Value> {
    let wanted = |rule: &&Value| rule["record"].as_str().is_some_and(|record| names.contains(&record));
    rules.iter().filter(wanted).cloned().collect()
}

fn expression<'r>(rules: &'r [Value], name: &str) -> &'r str {
    rules.iter().find(|rule| rule["record"] == name).unwrap()["expr"].as_str().unwrap()
}

/// The blocks of traffic, and of everything that is recorded of it.
async fn backfilled(folder: &Path) {
    traffic().import(folder);
    let (errors, reachable) = (rules("slo-error-rate.yaml", "30d"), rules("slo-availability.yaml", "30d"));
    let both = |names: &[&str]| [named(&errors, names), named(&reachable, names)].concat();
    // Each stage sees what the one before recorded; the last ones need the end only, but promtool no single moment.
    let first =
        [named(&errors, &["slo:sli_bad:rate5m", "slo:sli_total:rate5m"]), named(&reachable, &["slo:sli_slice:bad"])];
    record(folder, &first.concat(), &minutes(START, END)).await;
    record(folder, &named(&reachable, &["slo:sli_bad:rate5m"]), &minutes(START, END)).await;
    record(folder, &named(&reachable, &["slo:sli_total:rate5m"]), &minutes(START, END)).await;
    let all = records(&errors).into_iter().chain(records(&reachable)).filter(|rule| {
        let made = ["slo:sli_bad:rate5m", "slo:sli_total:rate5m", "slo:sli_slice:bad"];
        !made.contains(&rule["record"].as_str().unwrap())
    });
    let all: Vec<Value> = all.collect();
    let late = |rule: &Value| {
        ["burn_rate", "budget_", "slo:objective", "slo:error_budget", "time_period"]
            .iter()
            .any(|part| rule["record"].as_str().unwrap().contains(part))
    };
    let (derived, direct): (Vec<Value>, Vec<Value>) = all.into_iter().partition(late);
    record(folder, &direct, &minutes(END - 2 * MINUTE, END)).await;
    record(folder, &derived, &minutes(END - MINUTE, END)).await;
    record(
        folder,
        &both(&["slo:period_error_budget_remaining:ratio", "slo:period_error_budget_spent:ratio"]),
        &minutes(END - MINUTE, END),
    )
    .await;
    record(
        folder,
        &named(&rules("slo-error-rate.yaml", "month"), &["slo:time_period:start_seconds"]),
        &minutes(END - MINUTE, END),
    )
    .await;
}

#[track_caller]
fn assert_close(actual: &BTreeMap<String, f64>, service: &str, expected: f64, tolerance: f64) {
    let actual = actual.get(service).unwrap_or_else(|| panic!("nothing of {service} in {actual:?}"));
    let difference = (actual - expected).abs();
    assert!(difference <= tolerance * expected.abs().max(1e-9), "{service}: {actual}, not {expected}");
}

/// Bad share of the last `minutes` by counting. A rate over minutes counts from the end of its first one, and
/// so sees one minute less than its window.
fn counted(minute: Minute, minutes: i64) -> f64 {
    share((0..minutes).map(minute))
}

/// Bad share of the last `minutes` from records of five minutes, of which a rate sees four, `step` apart.
fn recorded(minute: Minute, minutes: i64, step: usize) -> f64 {
    share((0..minutes).step_by(step).flat_map(|record| record..record + 4).map(minute))
}

fn share(minutes: impl Iterator<Item = (u32, u32)>) -> f64 {
    let add = |sum: (f64, f64), (all, bad): (u32, u32)| (sum.0 + f64::from(all), sum.1 + f64::from(bad));
    let sum = minutes.fold((0.0, 0.0), add);
    sum.1 / sum.0
}

/// Sloth's formula for a ratio of events over a window of an alert.
fn sloth(window: &str) -> String {
    format!(
        "sum by (service) (rate(http_requests_total{{status=~\"5..\"}}[{window}])) \
         / sum by (service) (rate(http_requests_total[{window}]))"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_a_month_are_those_that_counting_and_sloth_give() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    backfilled(folder.path()).await;
    let prometheus = Prometheus::start(folder.path()).await;
    let of = |record: &str, slo: &str| {
        let query = format!("{record}{{slo=\"{slo}\"}}");
        let prometheus = &prometheus;
        async move { prometheus.by_service(&query, END).await }
    };

    // The windows of alerts. Those of an hour and less are read as Sloth reads them; longer ones are made of
    // records of five minutes, and know their ends to five minutes.
    for (window, minutes) in [("5m", 5), ("30m", 30), ("1h", 60)] {
        let ours = of(&format!("slo:sli_error:ratio_rate{window}"), "error-rate").await;
        let theirs = prometheus.by_service(&sloth(window), END).await;
        for (service, minute) in SERVICES {
            assert_close(&ours, service, theirs[service], 1e-9);
            assert_close(&ours, service, counted(minute, minutes - 1), 1e-9);
        }
    }
    for (window, minutes, step) in [("2h", 120, 1), ("6h", 360, 1), ("1d", 1_440, 5), ("3d", 4_320, 5)] {
        let ours = of(&format!("slo:sli_error:ratio_rate{window}"), "error-rate").await;
        let theirs = prometheus.by_service(&sloth(window), END).await;
        for (service, minute) in SERVICES {
            assert_close(&ours, service, theirs[service], 5.0 / minutes as f64);
            assert_close(&ours, service, recorded(minute, minutes, step), 1e-9);
        }
    }

    // The whole window: bad events over all events.
    let whole = of("slo:sli_error:ratio_rate30d", "error-rate").await;
    for (service, minute) in SERVICES {
        assert_close(&whole, service, counted(minute, 30 * 1_440), 1e-9);
    }
    // Sloth's mean of ratios says the same of traffic that does not change, and 48 times as much where it does.
    let ratios = "(slo:sli_bad:rate5m{slo=\"error-rate\"} / slo:sli_total:rate5m{slo=\"error-rate\"})[30d:5m]";
    let mean = format!("sum_over_time({ratios}) / count_over_time({ratios})");
    let mean = prometheus.by_service(&mean, END).await;
    for service in ["steady", "step", "outage", "burning", "ended", "young"] {
        assert_close(&mean, service, whole[service], 1e-9);
    }
    assert_close(&mean, "rush", (8.0 * 0.05 + 16.0 * 0.0001) / 24.0, 1e-9);
    assert!(mean["rush"] > 48.0 * whole["rush"]);

    // What is made of them.
    let observed = of("slo:observed:days", "error-rate").await;
    let burnt = of("slo:period_burn_rate:ratio", "error-rate").await;
    let left = of("slo:period_error_budget_remaining:ratio", "error-rate").await;
    let spent = of("slo:period_error_budget_spent:ratio", "error-rate").await;
    let current = of("slo:current_burn_rate:ratio", "error-rate").await;
    for (service, minute) in SERVICES {
        let burn = counted(minute, 30 * 1_440) / BUDGET;
        let days = if service == "young" { 9.0 } else { 30.0 };
        assert_close(&observed, service, days, 1e-9);
        assert_close(&burnt, service, burn, 1e-9);
        assert_close(&left, service, 1.0 - burn, 1e-9);
        assert_close(&spent, service, burn * days / 30.0, 1e-9);
        assert_close(&current, service, counted(minute, 5) / BUDGET, 1e-9);
    }

    // 43 minutes of the 43.2 that the objective allows in 30 days.
    let reached = of("slo:period_error_budget_remaining:ratio", "availability").await;
    assert_eq!(reached.keys().map(String::as_str).collect::<Vec<_>>(), [UNREACHABLE, "steady"]);
    assert_close(&reached, "steady", 1.0, 1e-9);
    assert_close(&reached, UNREACHABLE, 1.0 - 43.0 / 43.2, 1e-6);

    the_month_of_the_calendar(&prometheus).await;
    the_alerts(&prometheus).await;
}

/// 19.5 days of it are over.
async fn the_month_of_the_calendar(prometheus: &Prometheus) {
    let rules = rules("slo-error-rate.yaml", "month");
    let so_far = prometheus.by_service(expression(&rules, "slo:sli_error:ratio_month"), END).await;
    for (service, minute) in SERVICES {
        assert_close(&so_far, service, counted(minute, 19 * 1_440 + 720), 1e-9);
    }
    let observed = prometheus.by_service(expression(&rules, "slo:observed:days"), END).await;
    assert_close(&observed, "steady", 19.5, 1e-9);
    assert_close(&observed, "young", 9.0, 1e-9);
    let days = prometheus.by_service(expression(&rules, "slo:time_period:days"), END).await;
    assert_close(&days, "steady", 31.0, 0.0);
}

/// The alerts that fire, by their name and window, are those that counting gives; over windows that are whole
/// Sloth's condition gives the same.
async fn the_alerts(prometheus: &Prometheus) {
    let expected = [
        ("SLOErrorRateBreach 1h", vec!["burning", "rush"]),
        ("SLOErrorRateBreach 6h", vec!["burning", "ended", "rush"]),
        ("SLOErrorRateBreach 1d", vec!["ended"]),
        ("SLOErrorRateBreach 3d", vec!["ended", "steady", "step", "young"]),
        ("ErrorBudgetExhausted", vec!["outage", "steady"]),
        ("ErrorBudgetBurnRateHigh", vec!["burning", "ended", "rush"]),
    ];
    let rules = rules("slo-error-rate.yaml", "30d");
    for (alert, services) in &expected {
        let called = |rule: &&Value| {
            let window = rule["labels"]["window"].as_str().map(|window| format!(" {window}")).unwrap_or_default();
            rule["alert"].as_str().is_some_and(|name| format!("{name}{window}") == *alert)
        };
        let rule = rules.iter().find(called).unwrap();
        let firing = prometheus.by_service(rule["expr"].as_str().unwrap(), END).await;
        let firing: Vec<&str> = firing.keys().map(String::as_str).collect();
        assert_eq!(&firing, services, "{alert}");
    }
    for (long, short, factor) in [("1h", "5m", 14.4), ("6h", "30m", 6.0), ("1d", "2h", 3.0), ("3d", "6h", 1.0)] {
        let too_fast = |window: &str| format!("({}) > {factor} * {BUDGET}", sloth(window));
        let theirs = prometheus.by_service(&format!("{} and {}", too_fast(long), too_fast(short)), END).await;
        let theirs: BTreeSet<&str> = theirs.keys().map(String::as_str).collect();
        let ours = expected.iter().find(|(alert, _)| alert.ends_with(&format!(" {long}"))).unwrap();
        assert_eq!(theirs, ours.1.iter().copied().collect(), "{long}");
    }
}
