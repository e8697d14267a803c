//! Every alert of every objective fires: a real Prometheus gets the files of rules as they are deployed, and a month of
//! blocks with the series that services and exporters expose.
//!
//! The files are loaded as they are rendered, each `for` as it is. Two things are not as they are deployed: rules are
//! evaluated more often (every 5 s, and windows every 15 s, by `slo.interval`), and nobody waits for a `for`. An alert
//! whose condition holds on the blocks in the end and longer than that before finds it written down when Prometheus starts,
//! as after any restart; one that finds nothing waits, and is seen to.

use crate::backfill::{OpenMetrics, Prometheus, Span, record};
use crate::stories::{
    BURN_RATE_HIGH, EXHAUSTED, FORGOTTEN, HEALTHY, INTERVAL, OBJECTIVES, Objective, SOON, STORIES, Story, expose,
    recorded,
};
use crate::{MINUTE, records, rule_files, rules_in};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Each has a Prometheus. All its stories happen to services; what there is one of, such as Kafka, has the first.
const WORLDS: [&[Story]; 3] = [&STORIES, &[SOON], &[HEALTHY]];
/// How long the conditions are asked about: longer than each `for`, in seconds.
const HELD: i64 = 6 * MINUTE;
/// How long making the blocks may take, in seconds: the end of the month is that far ahead.
const MAKING: i64 = 60;
/// How old the blocks may be, in seconds: five minutes later nothing is known any more.
const LATEST: i64 = 150;
/// Between two evaluations of what a deploy evaluates less often, in seconds.
const WINDOWS_INTERVAL: i64 = 15;

/// An alert: its labels, and its state.
type Alerts = BTreeSet<(BTreeMap<String, String>, String)>;

/// The rules of each objective, and the files that they need.
struct Deployed {
    files: BTreeMap<String, String>,
    alerts: Vec<(&'static Objective, Value)>,
}

fn deployed() -> Deployed {
    let mut files = rule_files(&STORIES.map(|story| story.service), &format!("slo.interval={WINDOWS_INTERVAL}s"));
    files.retain(|name, _| name.starts_with("slo-") || ["privacy.yaml", "sli.yaml"].contains(&name.as_str()));
    let mut alerts = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| name.starts_with("slo-")) {
        let is_it = |objective: &&Objective| *name == format!("slo-{}.yaml", objective.slo);
        let objective = OBJECTIVES.iter().find(is_it).unwrap_or_else(|| panic!("nothing here is about `{name}`"));
        let rules = rules_in(text).into_iter().filter(|rule| rule["alert"].is_string());
        alerts.extend(rules.map(|rule| (objective, rule)));
    }
    Deployed { files, alerts }
}

/// The long window of a burn rate, else the name of the alert.
fn kind(rule: &Value) -> &str {
    rule["labels"]["window"].as_str().or(rule["alert"].as_str()).unwrap()
}

/// The stories that happen in a world to what the objective is about.
fn stories(objective: &Objective, world: &'static [Story]) -> &'static [Story] {
    if objective.of.is_some() { &world[..1] } else { world }
}

/// The labels that the alert is to have.
fn labels(objective: &Objective, rule: &Value, story: &Story) -> BTreeMap<String, String> {
    let kind = kind(rule);
    let window = ["1h", "6h", "1d", "3d"].contains(&kind);
    let urgent = objective.pages && ["1h", "6h", EXHAUSTED].contains(&kind);
    let mut labels = BTreeMap::from([
        ("alertname", if window { objective.breach } else { kind }),
        ("severity", if urgent { "critical" } else { "warning" }),
        ("service", objective.of.unwrap_or(story.service)),
        ("component", objective.component),
        ("slo", objective.slo),
    ]);
    if window {
        labels.insert("window", kind);
    }
    labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
}

/// Those of `all` that record what `rules` read, and what these read.
fn needed(rules: &[Value], all: &[Value]) -> Vec<Value> {
    let mut needed: Vec<Value> = Vec::new();
    let mut asked: Vec<Value> = rules.to_vec();
    while let Some(rule) = asked.pop() {
        for record in records(all).into_iter().filter(|record| is_made_of(&rule, record)) {
            if !needed.contains(&record) {
                needed.push(record.clone());
                asked.push(record);
            }
        }
    }
    needed
}

/// Whether `rule` reads what `record` records.
fn is_made_of(rule: &Value, record: &Value) -> bool {
    let (expression, name) = (rule["expr"].as_str().unwrap(), record["record"].as_str().unwrap());
    let is_of_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let own = |labels: &Value| labels["slo"].clone();
    let same_objective = own(&rule["labels"]).is_null()
        || own(&record["labels"]).is_null()
        || own(&rule["labels"]) == own(&record["labels"])
        || expression.contains(&format!("slo=\"{}\"", own(&record["labels"]).as_str().unwrap()));
    rule["record"] != record["record"]
        && same_objective
        && expression.split(|letter| !is_of_name(letter)).any(|word| word == name)
}

/// Records `rules` in their order: first what is made of samples, then what is made of that, and so on.
async fn record_all(folder: &Path, rules: Vec<Value>, spans: &[Span]) {
    let mut left = rules;
    while !left.is_empty() {
        let (ready, later): (Vec<Value>, Vec<Value>) =
            left.iter().cloned().partition(|rule| !left.iter().any(|other| is_made_of(rule, other)));
        assert!(!ready.is_empty(), "rules record each other in a circle");
        record(folder, &ready, spans).await;
        left = later;
    }
}

/// The blocks of one world: what is exposed, what the rules make of it, and since when conditions hold.
async fn fill(folder: &Path, deployed: &Deployed, world: &'static [Story], end: i64) {
    let mut text = OpenMetrics::default();
    for objective in &OBJECTIVES {
        stories(objective, world).iter().for_each(|story| expose(&mut text, objective, story, end));
    }
    text.import(folder);
    let all: Vec<Value> = deployed.files.values().flat_map(|text| rules_in(text)).collect();
    let waiting = deployed.alerts.iter().filter(|(_, rule)| rule["for"].is_string());
    let waiting: Vec<(&Objective, &Value)> = waiting.map(|(objective, rule)| (*objective, rule)).collect();
    let rules: Vec<Value> = waiting.iter().map(|(_, rule)| (*rule).clone()).collect();
    let is_base = |rule: &Value| {
        let name = rule["record"].as_str().unwrap();
        !name.starts_with("slo:") || ["slo:sli_slice:bad", "slo:sli_bad:rate5m", "slo:sli_total:rate5m"].contains(&name)
    };
    let (base, derived): (Vec<Value>, Vec<Value>) = needed(&rules, &all).into_iter().partition(is_base);
    record_all(folder, base, &recorded(end)).await;
    record_all(folder, derived, &[Span { start: end - HELD, end, step: HELD }]).await;

    let prometheus = Prometheus::start(folder).await;
    let mut state = OpenMetrics::default();
    for (objective, rule) in waiting {
        let expression = rule["expr"].as_str().unwrap();
        let before = prometheus.by_service(expression, end - HELD).await;
        let now = prometheus.by_service(expression, end).await;
        for story in stories(objective, world).iter().filter(|story| story.service != FORGOTTEN.service) {
            let labels = labels(objective, rule, story);
            if [&before, &now].iter().all(|holds| holds.contains_key(&labels["service"])) {
                let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
                let times = (end - HELD..=end).step_by(MINUTE as usize);
                state.add("ALERTS_FOR_STATE", &labels.join(","), times.map(|time| (time, (end - HELD) as f64)));
            }
        }
    }
    drop(prometheus);
    state.import(folder);
}

/// The alerts that are to be there, of the rules as they are rendered.
fn expected(deployed: &Deployed, world: &'static [Story]) -> Alerts {
    let mut expected = Alerts::new();
    for (objective, rule) in &deployed.alerts {
        for story in stories(objective, world).iter().filter(|story| story.fires.contains(&kind(rule))) {
            let waits = story.service == FORGOTTEN.service;
            let state = if waits { "pending" } else { "firing" };
            expected.insert((labels(objective, rule, story), state.to_owned()));
        }
    }
    expected
}

async fn alerts(prometheus: &Prometheus) -> Alerts {
    let answer = prometheus.api("alerts").await;
    let alert = |alert: &Value| {
        let labels = serde_json::from_value(alert["labels"].clone()).unwrap();
        (labels, alert["state"].as_str().unwrap().to_owned())
    };
    answer["alerts"].as_array().unwrap().iter().map(alert).collect()
}

/// When each group of rules was last evaluated.
async fn evaluations(prometheus: &Prometheus) -> BTreeMap<String, String> {
    let answer = prometheus.api("rules").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let groups = answer["groups"].as_array().unwrap().iter();
    groups.map(|group| (text(&group["name"]), text(&group["lastEvaluation"]))).collect()
}

/// Waits until what every group records has been seen by the alerts.
async fn evaluated(prometheus: &Prometheus) {
    // The first time for all of them; what was under way then; and one that began after it.
    let mut before = BTreeMap::new();
    for round in 0..3 {
        let is_over = |name: &str, time: &String| match round {
            0 => !time.starts_with("0001-"),
            _ => !name.ends_with("-alerts") || before.get(name) != Some(time),
        };
        let mut now = evaluations(prometheus).await;
        let began = Instant::now();
        while !now.iter().all(|(name, time)| is_over(name, time)) {
            assert!(began.elapsed() < Duration::from_secs(120), "a group is not evaluated: {now:#?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
            now = evaluations(prometheus).await;
        }
        before = now;
    }
}

/// Holds against `expected` what fires in a Prometheus that has the rules of `deployed` and the blocks in `folder`.
async fn fires(folder: &Path, deployed: &Deployed, expected: &Alerts) {
    for (name, text) in &deployed.files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let names: Vec<&String> = deployed.files.keys().collect();
    let global = json!({ "evaluation_interval": format!("{INTERVAL}s") });
    let prometheus = Prometheus::configured(folder, &json!({ "global": global, "rule_files": names })).await;
    let began = Instant::now();
    let mut found = alerts(&prometheus).await;
    while !found.is_superset(expected) && began.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        found = alerts(&prometheus).await;
    }
    evaluated(&prometheus).await;
    found = alerts(&prometheus).await;
    let missing: Vec<_> = expected.difference(&found).collect();
    let more: Vec<_> = found.difference(expected).collect();
    assert!(missing.is_empty() && more.is_empty(), "not there: {missing:#?}\nthere as well: {more:#?}");

    let groups = prometheus.api("rules").await;
    let groups = groups["groups"].as_array().unwrap().iter();
    let rules: Vec<&Value> = groups.flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let unwell: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    assert!(unwell.is_empty(), "{unwell:#?}");
    let loaded = rules.iter().filter(|rule| rule["type"] == "alerting").count();
    assert_eq!(loaded, deployed.alerts.len());
}

/// Nothing bad was recorded of what is healthy, at any time of the month: no window over it can have had an alert.
async fn was_healthy(folder: &Path, end: i64) {
    let prometheus = Prometheus::start(folder).await;
    for objective in &OBJECTIVES {
        let (slo, service) = (objective.slo, objective.of.unwrap_or(HEALTHY.service));
        let over =
            |function: &str| format!("{function}(slo:sli_bad:rate5m{{slo=\"{slo}\",service=\"{service}\"}}[30d])");
        let worst = prometheus.by_service(&over("max_over_time"), end).await;
        assert_eq!(worst.get(service), Some(&0.0), "{slo}");
        let ticks = prometheus.by_service(&over("count_over_time"), end).await;
        assert!(ticks[service] >= 30.0 * 288.0, "{slo}: {ticks:?}");
    }
}

/// One world from its blocks to its alerts; how many of them fire.
async fn happens(deployed: &Deployed, world: &'static [Story], end: i64) -> usize {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), deployed, world, end).await;
    if world[0].service == HEALTHY.service {
        was_healthy(folder.path(), end).await;
    }
    let late = since_1970() - end;
    assert!(late < LATEST, "it took too long to make the blocks: they are {late} s old");
    tokio::time::sleep(Duration::from_secs((1 - late).max(0) as u64)).await;
    let expected = expected(deployed, world);
    fires(folder.path(), deployed, &expected).await;
    expected.iter().filter(|(_, state)| state == "firing").count()
}

fn since_1970() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

#[test]
fn every_alert_of_every_objective_fires_and_what_is_healthy_beside_it_has_none() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let deployed = deployed();
    let every: BTreeSet<(&str, &str)> = deployed.alerts.iter().map(|(of, rule)| (of.slo, kind(rule))).collect();
    let kinds = ["1h", "6h", "1d", "3d", EXHAUSTED, BURN_RATE_HIGH];
    let wanted = OBJECTIVES.iter().flat_map(|objective| kinds.map(|kind| (objective.slo, kind)));
    assert_eq!(every, wanted.collect());
    assert_eq!(every.len(), deployed.alerts.len(), "an alert is there twice");
    // What is about one thing has no other stories than these.
    let alone: BTreeSet<&str> = WORLDS.iter().flat_map(|world| world[0].fires).copied().collect();
    assert_eq!(alone, kinds.into());

    let end = (since_1970() + MAKING) / MINUTE * MINUTE;
    let alerts: usize = std::thread::scope(|scope| {
        let run = |world| {
            let deployed = &deployed;
            scope.spawn(move || tokio::runtime::Runtime::new().unwrap().block_on(happens(deployed, world, end)))
        };
        let worlds = WORLDS.map(run);
        worlds.into_iter().map(|world| world.join().unwrap()).sum()
    });
    println!("the {} rules of {} objectives make {alerts} alerts fire, and no other", every.len(), OBJECTIVES.len());
}
