//! Whom profile `production` tells of an alert, and what silences what: amtool and a real Alertmanager judge
//! the configuration that the upstream chart makes of our values.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::program::Program;
use support::rendered::{alertmanager_text, bundle, templated};
use support::{free_port, tool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The configuration of Alertmanager as the chart writes it, for the user's `text`.
fn configuration_of(text: &str) -> String {
    let bundle = bundle(text);
    let release = bundle.releases.iter().find(|release| release.name == "prometheus").unwrap();
    alertmanager_text(&templated(release, "helm"))
}

fn configuration() -> String {
    configuration_of("")
}

/// A running Alertmanager with `configuration`, and where it takes alerts.
fn alertmanager(folder: &Path, configuration: &Value) -> (Program, String) {
    std::fs::write(folder.join("alertmanager.yaml"), configuration.to_string()).unwrap();
    let port = free_port();
    (Program::alertmanager(folder, port), format!("http://127.0.0.1:{port}/api/v2/alerts"))
}

/// Sends `alerts` as soon as Alertmanager takes them.
async fn post(url: &str, alerts: &Value, folder: &Path) {
    let client = reqwest::Client::new();
    let mut left = 300;
    while !client.post(url).json(alerts).send().await.is_ok_and(|answer| answer.status().is_success()) {
        left -= 1;
        assert!(left > 0, "{}", std::fs::read_to_string(folder.join("alertmanager.log")).unwrap());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_mans_switch_reaches_whoever_waits_for_it_and_nobody_else() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = configuration_of("alertmanager: { receivers: { heartbeat: { enabled: true } } }");
    let folder = tempfile::tempdir().unwrap();
    let mut configuration: Value = serde_yaml::from_str(&text).unwrap();
    let waiting = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    std::fs::write(folder.path().join("url"), format!("http://{}/beat", waiting.local_addr().unwrap())).unwrap();
    for receiver in configuration["receivers"].as_array_mut().unwrap() {
        if receiver["name"] == "heartbeat" {
            let file = &mut receiver["webhook_configs"][0]["url_file"];
            assert_eq!(*file, "/etc/alertmanager/secrets/alertmanager-credentials/heartbeat-url");
            *file = json!(folder.path().join("url"));
        } else {
            *receiver = json!({ "name": receiver["name"] });
        }
    }
    configuration["global"] = json!({});
    let (_alertmanager, url) = alertmanager(folder.path(), &configuration);
    let alerts = json!(
        ["Watchdog", "InfoInhibitor", "Other"]
            .map(|name| json!({"labels": {"alertname": name, "severity": "none", "cluster": "c"}}))
    );
    post(&url, &alerts, folder.path()).await;
    let request = async {
        let (mut stream, _) = waiting.accept().await.unwrap();
        let mut request = String::new();
        let mut buffer = [0; 4096];
        let whole = |request: &str| {
            let (head, body) = request.split_once("\r\n\r\n")?;
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            length.map(|length: usize| body.len() >= length)
        };
        while whole(&request) != Some(true) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the connection ended: {request}");
            request.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        request
    };
    let request = tokio::time::timeout(std::time::Duration::from_secs(60), request).await.unwrap();
    assert!(request.starts_with("POST /beat ") && request.contains("Watchdog"), "{request}");
    assert!(!request.contains("InfoInhibitor") && !request.contains("Other"), "{request}");
    let route = &configuration["route"]["routes"][0];
    assert_eq!((&route["group_interval"], &route["repeat_interval"]), (&json!("1m"), &json!("50s")), "each minute");
}

#[test]
fn the_three_severities_reach_whom_they_shall() {
    let text = configuration();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alertmanager.yaml");
    std::fs::write(&path, &text).unwrap();
    let amtool = |arguments: &[&str], labels: &[&str]| {
        let output = Command::new(tool("amtool")).args(arguments).arg(&path).args(labels).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{said}");
        said
    };
    amtool(&["check-config"], &[]);
    let configuration: Value = serde_yaml::from_str(&text).unwrap();
    let channels = |receiver: &str| -> BTreeSet<String> {
        let receivers = configuration["receivers"].as_array().unwrap();
        let found = receivers.iter().find(|found| found["name"] == receiver).unwrap();
        found.as_object().unwrap().keys().filter(|key| *key != "name").cloned().collect()
    };
    let table: [(&[&str], &str, &[&str]); 6] = [
        (&["alertname=A", "severity=critical"], "critical", &["slack_configs", "email_configs", "pagerduty_configs"]),
        (&["alertname=A", "severity=warning"], "warning", &["slack_configs", "email_configs"]),
        (&["alertname=A", "severity=info"], "info", &["slack_configs"]),
        (&["alertname=A"], "info", &["slack_configs"]),
        (&["alertname=Watchdog", "severity=none"], "null", &[]),
        (&["alertname=InfoInhibitor", "severity=none"], "null", &[]),
    ];
    for (labels, receiver, ways) in table {
        let arguments = ["config", "routes", "test", "--config.file"];
        assert_eq!(amtool(&arguments, labels).trim(), receiver, "{labels:?}");
        let ways: BTreeSet<String> = ways.iter().map(|way| (*way).to_owned()).collect();
        assert_eq!(channels(receiver), ways, "{receiver}");
    }
    let mounted = "/etc/alertmanager/secrets/alertmanager-credentials/";
    assert!(text.contains(&format!("{mounted}slack-webhook-url")) && text.contains(&format!("{mounted}smtp-password")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_alert_silences_what_is_less_and_about_the_same() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = configuration();
    let folder = tempfile::tempdir().unwrap();
    // Nobody is notified: the receivers lose their ways, the rules stay.
    let mut configuration: Value = serde_yaml::from_str(&text).unwrap();
    for receiver in configuration["receivers"].as_array_mut().unwrap() {
        *receiver = json!({ "name": receiver["name"] });
    }
    configuration["global"] = json!({});
    let (_alertmanager, url) = alertmanager(folder.path(), &configuration);
    let client = reqwest::Client::new();
    let ours = |name: &str, severity: &str, service: &str, namespace: &str| {
        let mut labels =
            json!({"alertname": name, "severity": severity, "service": service, "component": "x", "cluster": "c"});
        if !namespace.is_empty() {
            labels["namespace"] = json!(namespace);
        }
        json!({ "labels": labels })
    };
    let theirs = |name: &str, severity: &str, namespace: &str| {
        let labels = json!({"alertname": name, "severity": severity, "namespace": namespace, "service": "kubelet", "cluster": "c"});
        json!({ "labels": labels })
    };
    let alerts = json!([
        ours("ServiceDown", "critical", "user-service", ""),
        ours("SameServiceElsewhereLabelled", "warning", "user-service", "drivemaster"),
        ours("SameServiceInfo", "info", "user-service", ""),
        ours("OtherService", "warning", "content-service", ""),
        ours("LonelyInfo", "info", "redis", ""),
        theirs("KubeTwoLevels", "critical", "a"),
        theirs("KubeTwoLevels", "warning", "a"),
        theirs("KubeOther", "warning", "a"),
        theirs("KubeInfo", "info", "b"),
        json!({"labels": {"alertname": "InfoInhibitor", "severity": "none", "namespace": "b", "cluster": "c"}}),
    ]);
    post(&url, &alerts, folder.path()).await;
    let expected: BTreeSet<String> = ["SameServiceElsewhereLabelled", "SameServiceInfo", "KubeTwoLevels", "KubeInfo"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut left = 300;
    loop {
        let answer: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
        let all = answer.as_array().unwrap();
        let inhibited: BTreeSet<String> = all
            .iter()
            .filter(|alert| alert["status"]["inhibitedBy"].as_array().is_some_and(|by| !by.is_empty()))
            .map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned())
            .collect();
        let decided = all.iter().all(|alert| alert["status"]["state"] != "unprocessed");
        if decided && all.len() == 10 && inhibited == expected {
            break;
        }
        left -= 1;
        assert!(left > 0, "inhibited: {inhibited:?} of {answer}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
