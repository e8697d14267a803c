//! What differs between the deployed and the run configuration, and that nothing else does.

use super::*;
use crate::sandbox::behind::listen::tests::listen;
use crate::sandbox::behind::places::Place;
use crate::sandbox::behind::places::tests::places;
use std::collections::BTreeMap;

const PROXY: &str = "http://127.0.0.1:4444";
const API: &str = "https://127.0.0.1:6443";
const TOKEN: &str = "/run/root/var/run/secrets/kubernetes.io/serviceaccount/token";

const PROMETHEUS: &str = r#"
global:
  scrape_interval: 15s
  external_labels: { cluster: drivemaster, path: /etc/prometheus/label }
rule_files: [/etc/prometheus/rules/*.yml, relative/*.yml]
tracing: { endpoint: "collector:4317", insecure: true }
remote_write:
  - url: https://far.example.com/write
    basic_auth: { username: u, password_file: /etc/prometheus/secrets/one }
    proxy_url: http://corporate:3128
    no_proxy: 10.0.0.0/8
scrape_configs:
  - job_name: platform
    honor_labels: yes
    metrics_path: /prometheus
    kubernetes_sd_configs:
      - role: endpointslice
        namespaces: { names: [drivemaster] }
    relabel_configs:
      - { source_labels: [a, b], regex: "(.+);/etc/prometheus/(.+)", replacement: /etc/prometheus/$1, target_label: x }
  - job_name: own
    authorization: { credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token }
    tls_config: { ca_file: /etc/ssl/image.crt, insecure_skip_verify: true }
    kubernetes_sd_configs:
      - { role: node, api_server: "https://other", authorization: { credentials: abc }, proxy_url: "http://x" }
      - { role: pod, kubeconfig_file: /etc/prometheus/kubeconfig }
  - job_name: files
    static_configs: [{ targets: ["a:1"], labels: { file: /etc/prometheus/x } }]
    file_sd_configs: [{ files: [/etc/prometheus/targets/*.json], refresh_interval: 5m }]
    http_sd_configs: [{ url: "http://sd.drivemaster.svc/targets", oauth2: { client_id: a, token_url: "https://t" } }]
alerting:
  alert_relabel_configs: [{ action: labeldrop, regex: replica }]
  alertmanagers:
    - api_version: v2
      path_prefix: /etc/prometheus
      static_configs: [{ targets: ["alertmanager.monitoring.svc:9093"] }]
    - kubernetes_sd_configs: [{ role: pod }]
storage: { exemplars: { max_exemplars: 100000 } }
"#;

const ALERTMANAGER: &str = r##"
global:
  resolve_timeout: 5m
  smtp_smarthost: mail.drivemaster.com:587
  smtp_auth_password_file: /etc/prometheus/smtp
  slack_api_url_file: /etc/prometheus/slack
templates: [/etc/prometheus/templates/*.tmpl]
route: { receiver: default, group_by: [alertname], routes: [{ receiver: mail, matchers: ['severity="critical"'] }] }
receivers:
  - name: default
    slack_configs:
      - { channel: "#ops", title: "{{ .CommonLabels.alertname }}", http_config: { proxy_from_environment: true } }
  - name: mail
    email_configs: [{ to: a@b.c, smarthost: "other:25" }, { to: d@e.f }]
    webhook_configs: [{ url: "http://hook.drivemaster.svc/x", url_file: /etc/elsewhere }]
    pagerduty_configs: [{ routing_key_file: /etc/prometheus/pd }]
inhibit_rules: [{ source_matchers: [a="b"], target_matchers: [c="d"], equal: [service] }]
"##;

pub(in crate::sandbox::behind) fn surroundings() -> Surroundings {
    Surroundings {
        places: places(),
        api_server: API.into(),
        ca_file: "/run/ca.crt".into(),
        proxy_url: PROXY.into(),
        listen: listen(&[3100, 9095, 4317, 4318, 14268, 16686, 16685, 8888, 8889, 13133]),
    }
}

/// Every leaf by its path; an empty mapping or sequence is a leaf.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, path: &str, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Mapping(mapping) if !mapping.is_empty() => mapping.iter().for_each(|(key, value)| {
                walk(value, &format!("{path}.{}", key.as_str().unwrap_or("?")), into);
            }),
            Value::Sequence(values) if !values.is_empty() => {
                values.iter().enumerate().for_each(|(index, value)| walk(value, &format!("{path}[{index}]"), into));
            }
            leaf => drop(into.insert(path.trim_start_matches('.').to_owned(), leaf.clone())),
        }
    }
    let mut into = BTreeMap::new();
    walk(value, "", &mut into);
    into
}

/// `path = value` of what was set, `-path` of what is gone.
pub(in crate::sandbox::behind) fn differences(before: &Value, after: &Value) -> Vec<String> {
    let (before, after) = (leaves(before), leaves(after));
    let text = |value: &Value| serde_yaml::to_string(value).unwrap().trim().to_owned();
    let set = after.iter().filter(|(path, value)| before.get(*path) != Some(value));
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let set = set.map(|(path, value)| format!("{path} = {}", text(value)));
    set.chain(gone.map(|path| format!("-{path}"))).collect()
}

pub(in crate::sandbox::behind) fn rewritten(program: Program, text: &str) -> Value {
    serde_yaml::from_str(&rewrite(program, text, &surroundings()).unwrap()).unwrap()
}

pub(in crate::sandbox::behind) fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn prometheus_differences() -> Vec<String> {
    let mut expected: Vec<String> = [
        "rule_files[0] = /run/root/etc/prometheus/rules/*.yml",
        "tracing.endpoint = 127.0.0.1:1",
        "remote_write[0].basic_auth.password_file = /run/root/etc/prometheus/secrets/one",
        "-remote_write[0].no_proxy",
        "scrape_configs[1].kubernetes_sd_configs[0].api_server = https://127.0.0.1:6443",
        "-scrape_configs[1].kubernetes_sd_configs[0].proxy_url",
        "scrape_configs[1].kubernetes_sd_configs[1].kubeconfig_file = /run/root/etc/prometheus/kubeconfig",
        "scrape_configs[2].file_sd_configs[0].files[0] = /run/root/etc/prometheus/targets/*.json",
    ]
    .map(str::to_owned)
    .to_vec();
    expected.push(format!("scrape_configs[1].authorization.credentials_file = {TOKEN}"));
    for entry in [
        "remote_write[0]",
        "scrape_configs[0]",
        "scrape_configs[1]",
        "scrape_configs[2]",
        "scrape_configs[2].http_sd_configs[0]",
        "scrape_configs[2].http_sd_configs[0].oauth2",
        "alerting.alertmanagers[0]",
        "alerting.alertmanagers[1]",
    ] {
        expected.push(format!("{entry}.proxy_url = {PROXY}"));
    }
    for entry in ["scrape_configs[0].kubernetes_sd_configs[0]", "alerting.alertmanagers[1].kubernetes_sd_configs[0]"] {
        expected.push(format!("{entry}.api_server = {API}"));
        expected.push(format!("{entry}.tls_config.ca_file = /run/ca.crt"));
        expected.push(format!("{entry}.authorization.credentials_file = {TOKEN}"));
    }
    sorted(expected)
}

fn alertmanager_differences() -> Vec<String> {
    let expected = [
        "global.http_config.proxy_url = http://127.0.0.1:4444",
        "global.smtp_smarthost = 127.0.0.1:1",
        "global.smtp_auth_password_file = /run/root/etc/prometheus/smtp",
        "global.slack_api_url_file = /run/root/etc/prometheus/slack",
        "templates[0] = /run/root/etc/prometheus/templates/*.tmpl",
        "receivers[0].slack_configs[0].http_config.proxy_url = http://127.0.0.1:4444",
        "-receivers[0].slack_configs[0].http_config.proxy_from_environment",
        "receivers[1].email_configs[0].smarthost = 127.0.0.1:1",
        "receivers[1].pagerduty_configs[0].routing_key_file = /run/root/etc/prometheus/pd",
    ];
    sorted(expected.map(str::to_owned).to_vec())
}

#[test]
fn the_closed_list_is_rewritten_and_nothing_else() {
    for (program, text, expected) in [
        (Program::Prometheus, PROMETHEUS, prometheus_differences()),
        (Program::Alertmanager, ALERTMANAGER, alertmanager_differences()),
    ] {
        let before = serde_yaml::from_str(text).unwrap();
        assert_eq!(sorted(differences(&before, &rewritten(program, text))), expected, "{}", program.title());
    }
}

/// Puts a key that the list does not name into every mapping.
pub(in crate::sandbox::behind) fn sprinkle(value: &mut Value, seed: &mut u64) {
    match value {
        Value::Sequence(values) => values.iter_mut().for_each(|value| sprinkle(value, seed)),
        Value::Mapping(mapping) => {
            mapping.values_mut().for_each(|value| sprinkle(value, seed));
            // Numerical Recipes' generator: the same keys in every run.
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let extra = match *seed % 5 {
                0 => Value::from("/etc/prometheus/not-a-file-key"),
                1 => Value::from(i64::try_from(*seed % 1000).unwrap()),
                2 => Value::from(seed.is_multiple_of(2)),
                3 => Value::Sequence(vec!["yes".into(), Value::Null, "127.0.0.1:9090".into()]),
                _ => serde_yaml::from_str("{ url: 'https://a.b', nested: [{ proxy: x, smtp: y }] }").unwrap(),
            };
            mapping.insert(Value::from(format!("extra_{}", *seed % 9973)), extra);
        }
        _ => {}
    }
}

#[test]
fn keys_it_does_not_know_survive_untouched_wherever_they_stand() {
    for (program, text, expected) in [
        (Program::Prometheus, PROMETHEUS, prometheus_differences()),
        (Program::Alertmanager, ALERTMANAGER, alertmanager_differences()),
    ] {
        for seed in 0..200 {
            let mut before: Value = serde_yaml::from_str(text).unwrap();
            sprinkle(&mut before, &mut seed.clone());
            let after = rewritten(program, &serde_yaml::to_string(&before).unwrap());
            assert_eq!(sorted(differences(&before, &after)), expected, "{} seed {seed}", program.title());
        }
    }
}

#[test]
fn what_would_leave_the_machine_is_refused_by_name() {
    for (text, expected) in [
        ("scrape_configs: [{ job_name: a, dns_sd_configs: [{ names: [a] }] }]", "`dns_sd_configs` would leave"),
        ("alerting: { alertmanagers: [{ consul_sd_configs: [{}] }] }", "`consul_sd_configs` would leave"),
        ("scrape_config_files: [a.yml]", "`scrape_config_files` would scrape past"),
        ("remote_write: [{ url: x, sigv4: {} }]", "`remote_write.sigv4` would leave"),
    ] {
        let told = rewrite(Program::Prometheus, text, &surroundings()).unwrap_err();
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn strange_shapes_go_to_the_program_as_they_are() {
    for text in ["", "null", "[]", "7", "scrape_configs: 7", "scrape_configs: [7, {}]", "alerting: []", "tracing: x"] {
        assert!(rewrite(Program::Prometheus, text, &surroundings()).is_ok(), "{text}");
        assert!(rewrite(Program::Alertmanager, text, &surroundings()).is_ok(), "{text}");
    }
    for text in ["{", "a: 1\na: 2", "\t- x", "a: *nothing"] {
        assert!(rewrite(Program::Prometheus, text, &surroundings()).is_err(), "{text}");
    }
}

#[test]
fn an_entry_that_is_merged_in_is_rewritten_too() {
    let text = "scrape_configs: [{ <<: &base { kubernetes_sd_configs: [{ role: pod }] }, job_name: a }]";
    let after = rewritten(Program::Prometheus, text);
    let discovery = &after["scrape_configs"][0]["kubernetes_sd_configs"][0];
    assert_eq!(discovery["api_server"].as_str(), Some(API));
}

#[test]
fn our_own_paths_are_not_taken_for_the_containers() {
    let mut surroundings = surroundings();
    surroundings.places.mounts.push(Place { container: "/run".into(), local: "/elsewhere".into() });
    let deployed = "scrape_configs: [{ job_name: a, kubernetes_sd_configs: [{ role: pod }] }]";
    let run: Value = serde_yaml::from_str(&rewrite(Program::Prometheus, deployed, &surroundings).unwrap()).unwrap();
    let discovery = &run["scrape_configs"][0]["kubernetes_sd_configs"][0];
    assert_eq!(discovery["tls_config"]["ca_file"].as_str(), Some("/run/ca.crt"));
    assert!(discovery["authorization"]["credentials_file"].as_str().unwrap().starts_with("/run/root/"));
}
