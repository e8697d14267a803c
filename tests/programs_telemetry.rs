//! The clients against a real Prometheus and a real Alertmanager on loopback.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use drivemaster_mon::telemetry::{Alertmanager, Limits, Prometheus, Readiness};
use reqwest::Url;
use std::time::Duration;
use support::free_port;
use support::program::Program;

fn url(port: u16) -> Url {
    Url::parse(&format!("http://127.0.0.1:{port}")).unwrap()
}

/// Asks until `judge` says yes; the last answer stands in the failure.
macro_rules! eventually {
    ($ask:expr, $judge:expr) => {{
        let mut left = 300;
        loop {
            let answer = $ask.await;
            if answer.as_ref().is_ok_and($judge) {
                break answer.unwrap();
            }
            left -= 1;
            assert!(left > 0, "the last answer was {answer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_understand_the_real_programs() {
    rustls::crypto::ring::default_provider().install_default().expect("the only test of this program");
    let folder = tempfile::tempdir().unwrap();
    let (prometheus_port, alertmanager_port, closed_port) = (free_port(), free_port(), free_port());
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "alertmanager.yml",
        "route: {receiver: default, routes: [{receiver: 'null', matchers: [alertname=\"Watchdog\"]}]}\n\
         receivers: [{name: default}, {name: 'null'}]\n"
            .to_owned(),
    );
    write(
        "rules.yml",
        "groups: [{name: meta, rules: [{alert: Watchdog, expr: vector(1), labels: {severity: none}}, \
         {record: 'broken:series', expr: 'vector(1) + on() (label_replace(vector(1), \"a\", \"1\", \"\", \"\") or vector(1))'}]}]\n"
            .to_owned(),
    );
    write(
        "prometheus.yml",
        format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager_port}']}}]}}]}}\n\
             scrape_configs:\n- {{job_name: prometheus, static_configs: [{{targets: ['127.0.0.1:{prometheus_port}']}}]}}\n\
             - {{job_name: gone, static_configs: [{{targets: ['127.0.0.1:{closed_port}']}}]}}\n"
        ),
    );
    let _alertmanager = Program::start(
        "alertmanager",
        &[
            "--config.file=alertmanager.yml".to_owned(),
            "--storage.path=alertmanager".to_owned(),
            "--cluster.listen-address=".to_owned(),
            format!("--web.listen-address=127.0.0.1:{alertmanager_port}"),
        ],
        folder.path(),
    );
    let alertmanager = Alertmanager::new(&url(alertmanager_port), Limits::default()).unwrap();
    eventually!(alertmanager.ready(), |readiness| *readiness == Readiness::Ready);
    let _prometheus = Program::start(
        "prometheus",
        &[
            "--config.file=prometheus.yml".to_owned(),
            // An alert that is sent before Alertmanager is discovered is sent again after a minute otherwise.
            "--rules.alert.resend-delay=1s".to_owned(),
            "--storage.tsdb.path=prometheus".to_owned(),
            format!("--web.listen-address=127.0.0.1:{prometheus_port}"),
        ],
        folder.path(),
    );
    let prometheus = Prometheus::new(&url(prometheus_port), Limits::default()).unwrap();
    eventually!(prometheus.ready(), |readiness| *readiness == Readiness::Ready);

    let targets = eventually!(prometheus.targets(), |targets| targets.active_targets.len() == 2
        && targets.active_targets.iter().all(|target| target.health != "unknown"));
    let of = |job: &str| targets.active_targets.iter().find(|target| target.job() == job).unwrap();
    assert_eq!((of("prometheus").health.as_str(), of("prometheus").scrape_interval.as_str()), ("up", "1s"));
    assert_eq!(of("gone").health, "down");
    assert!(of("gone").last_error.contains("connection refused"), "{}", of("gone").last_error);

    let groups = eventually!(prometheus.rules(), |groups| groups
        .iter()
        .all(|group| group.rules.iter().all(|rule| rule.health != "unknown")));
    let healths: Vec<&str> = groups[0].rules.iter().map(|rule| rule.health.as_str()).collect();
    assert_eq!((groups[0].name.as_str(), healths), ("meta", vec!["ok", "err"]));
    assert!(groups[0].rules[1].last_error.contains("many-to-many"), "{}", groups[0].rules[1].last_error);
    let age = prometheus.now().await.unwrap().duration_since(groups[0].last_evaluation);
    assert!(age.as_secs() < 60, "both times come from Prometheus: {age:?}");

    let alerts = eventually!(prometheus.alerts(), |alerts| !alerts.is_empty());
    assert_eq!((alerts[0].labels["alertname"].as_str(), alerts[0].state.as_str()), ("Watchdog", "firing"));
    let known = eventually!(prometheus.alertmanagers(), |known| !known.active_alertmanagers.is_empty());
    assert!(known.active_alertmanagers[0].url.contains(&alertmanager_port.to_string()));
    assert!(prometheus.configuration().await.unwrap().contains("job_name: gone"));
    assert_eq!(prometheus.query("up{job=\"gone\"}").await.unwrap()[0].value, 0.0);
    let error = prometheus.query("up{").await.unwrap_err().to_string();
    assert!(error.starts_with("answered 400 Bad Request: invalid parameter \"query\""), "{error}");

    let held = eventually!(alertmanager.alerts(&["alertname=\"Watchdog\""]), |held| !held.is_empty());
    assert_eq!((held[0].receivers[0].name.as_str(), held[0].status.state.as_str()), ("null", "active"));
    assert!(alertmanager.alerts(&["alertname=\"Other\""]).await.unwrap().is_empty());
    let error = alertmanager.alerts(&["x"]).await.unwrap_err().to_string();
    assert!(error.starts_with("answered 400 Bad Request: bad matcher format"), "{error}");
    let status = alertmanager.status().await.unwrap();
    assert_eq!(status.cluster.status, "disabled");
    assert!(status.config.original.contains("alertname=\"Watchdog\""));
}
