//! Thousands of random alerts: the real Alertmanager and amtool send each one where the table in
//! docs/routing.md says, and Alertmanager silences the same ones.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;
use support::program::Program;
use support::routing::{Labels, configuration, inhibited, receiver, routed_by};
use support::{free_port, tool};

/// How many alerts there are, in how many scenes; only alerts of one scene can silence each other.
const ALERTS: usize = 4000;
const SCENES: usize = 400;
const SEED: u64 = 20;
/// Everybody is told, and only after the test is over.
const SETTINGS: &[&str] = &[
    "alertmanager.groupWait=1h",
    "alertmanager.receivers.slack.enabled=true",
    "alertmanager.receivers.email.enabled=true",
    "alertmanager.receivers.pagerduty.enabled=true",
    "alertmanager.receivers.heartbeat.enabled=true",
];

/// What an alert may carry; an empty value is a label that is not there.
const VALUES: &[(&str, &[&str])] = &[
    (
        "alertname",
        &["Watchdog", "InfoInhibitor", "HighErrorRate", "ErrorBudgetExhausted", "KubePodCrashLooping", "Watchdogs", ""],
    ),
    ("severity", &["critical", "critical", "warning", "warning", "info", "info", "none", "Critical", "page", ""]),
    ("component", &["", "application", "postgresql"]),
    ("slo", &["", "", "", "availability", "latency"]),
    ("service", &["", "user-service", "content-service"]),
    ("namespace", &["", "drivemaster", "kube-system"]),
];

/// Alerts that differ, with labels drawn at random.
fn alerts() -> Vec<Labels> {
    let mut random = StdRng::seed_from_u64(SEED);
    (0..ALERTS)
        .map(|number| {
            let drawn =
                VALUES.iter().map(|(label, values)| (*label, (*values.choose(&mut random).unwrap()).to_owned()));
            let mut labels: Labels =
                drawn.filter(|(_, value)| !value.is_empty()).map(|(label, value)| (label.to_owned(), value)).collect();
            labels.insert("pod".to_owned(), format!("pod-{number}"));
            // One scene is that of the alerts without the label.
            let scene = random.random_range(0..SCENES);
            if scene > 0 {
                labels.insert("cluster".to_owned(), format!("scene-{scene}"));
            }
            labels
        })
        .collect()
}

/// Receiver and whether it is silent, by the pod that tells the alerts apart.
type Answers = BTreeMap<String, (String, bool)>;

fn answers(held: &Value) -> Answers {
    held.as_array()
        .unwrap()
        .iter()
        .map(|alert| {
            let receivers: Vec<&str> = alert["receivers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|receiver| receiver["name"].as_str().unwrap())
                .collect();
            let silent = !alert["status"]["inhibitedBy"].as_array().unwrap().is_empty();
            (alert["labels"]["pod"].as_str().unwrap().to_owned(), (receivers.join(", "), silent))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_routes_and_inhibits_thousands_of_random_alerts_as_the_table_says() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let configuration = configuration(SETTINGS);
    let alerts = alerts();
    let silent = inhibited(&configuration, &alerts);
    let expected: Answers = alerts
        .iter()
        .zip(&silent)
        .map(|(labels, silent)| (labels["pod"].clone(), (receiver(&configuration, labels).to_owned(), *silent)))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("alertmanager.yaml"), configuration.to_string()).unwrap();
    let port = free_port();
    let _alertmanager = Program::alertmanager(folder.path(), port);
    let log = || std::fs::read_to_string(folder.path().join("alertmanager.log")).unwrap();
    let client = reqwest::Client::new();
    let url = format!("http://127.0.0.1:{port}/api/v2/alerts");
    let posted: Vec<Value> = alerts.iter().map(|labels| json!({ "labels": labels })).collect();
    let mut left = 300;
    while !client.post(&url).json(&posted).send().await.is_ok_and(|answer| answer.status().is_success()) {
        left -= 1;
        assert!(left > 0, "{}", log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It takes alerts in one after the other.
    let mut left = 100;
    let different: Vec<String> = loop {
        let held: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
        let answers = answers(&held);
        let different: Vec<_> = expected.iter().filter(|(pod, answer)| answers.get(*pod) != Some(answer)).collect();
        left -= 1;
        if different.is_empty() || left == 0 {
            break different
                .iter()
                .map(|(pod, answer)| format!("{pod}: {answer:?}, but {:?}", answers.get(*pod)))
                .collect();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(different, Vec::<String>::new(), "what the table says, but what Alertmanager does");
    let receivers: BTreeSet<&str> = expected.values().map(|(receiver, _)| receiver.as_str()).collect();
    assert_eq!(receivers, BTreeSet::from(["null", "heartbeat", "critical", "warning", "info"]), "each receiver is met");
    let count = silent.iter().filter(|silent| **silent).count();
    assert!(count > 100 && count < ALERTS - 100, "{count} are silent");
    println!("Alertmanager agrees on the receiver of {ALERTS} alerts, and on which {count} of them are silent");
}

#[test]
fn amtool_routes_random_alerts_as_the_table_says() {
    let configuration = configuration(SETTINGS);
    let looked_at = routed_by(&configuration);
    // One alert, with all else it carries, for each set of the labels that routes look at.
    let mut asked: BTreeMap<Labels, Labels> = BTreeMap::new();
    let alerts = alerts();
    for labels in &alerts {
        let of_routes = labels.iter().filter(|(label, _)| looked_at.contains(*label));
        let of_routes = of_routes.map(|(label, value)| (label.clone(), value.clone())).collect();
        asked.entry(of_routes).or_insert_with(|| labels.clone());
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("alertmanager.yaml"), configuration.to_string()).unwrap();
    for labels in asked.values() {
        let output = Command::new(tool("amtool"))
            .args(["config", "routes", "test", "--config.file=alertmanager.yaml"])
            .args(labels.iter().map(|(label, value)| format!("{label}={value}")))
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.trim(), receiver(&configuration, labels), "{labels:?}");
    }
    println!("amtool agrees on the {} kinds of alerts that the routes of {} tell apart", asked.len(), alerts.len());
}
