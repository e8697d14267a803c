//! The upstream chart kube-prometheus-stack on a sandbox, as it is: the real operator makes the
//! configuration, the real Prometheus and Alertmanager run it, and nothing of it fires.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::sandbox::Sandbox;
use support::tool;

const NAMESPACE: &str = "drivemaster-monitoring";
const CHART: &str = "kube-prometheus-stack-88.5.3.tgz";
const OPERATOR: &str = "prometheus-kube-prometheus-operator";

/// The archive of the chart, from the folder `CHARTS_DIR`.
fn chart() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/charts");
    let folder = std::env::var_os("CHARTS_DIR").map_or_else(beside, PathBuf::from);
    let chart = folder.join(CHART);
    assert!(chart.is_file(), "there is no `{}`: name the folder of the charts with CHARTS_DIR", chart.display());
    chart
}

/// Asks `question` until it is answered, for at most `seconds`; ends the test with what was last in the way.
fn eventually<T>(what: &str, seconds: u64, mut question: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        match question() {
            Ok(answer) => return answer,
            Err(reason) => assert!(Instant::now() < end, "{what} did not happen in {seconds} s: {reason}"),
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Runs a program of the tool cache on the sandbox; standard output, or standard error where it fails.
fn run(sandbox: &Sandbox, program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(tool(program))
        .args(arguments)
        .env("KUBECONFIG", sandbox.kubeconfig())
        .env("HOME", sandbox.run.home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn apply(sandbox: &Sandbox, object: &Value) -> Result<String, String> {
    run(sandbox, "kubectl", &["apply", "-f", "-"], &object.to_string())
}

fn secret(sandbox: &Sandbox, name: &str, entries: &[(&str, &str)]) {
    let data: BTreeMap<&str, &str> = entries.iter().copied().collect();
    let object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": NAMESPACE },
        "stringData": data });
    apply(sandbox, &object).unwrap();
}

/// A rule that records `name`.
fn rule(name: &str, expression: &str) -> Value {
    json!({ "apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": { "name": name.replace('_', "-"), "namespace": NAMESPACE },
        "spec": { "groups": [{ "name": name, "interval": "1s", "rules": [{ "record": name, "expr": expression }] }] } })
}

/// What Prometheus answers, through the API server and its Service.
fn prometheus(sandbox: &Sandbox, path: &str) -> Result<Value, String> {
    let base = format!("/api/v1/namespaces/{NAMESPACE}/services/prometheus-kube-prometheus-prometheus:9090/proxy");
    let answer = run(sandbox, "kubectl", &["get", "--raw", &format!("{base}/api/v1/{path}")], "")?;
    let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
    Ok(answer["data"].clone())
}

/// The first value of an instant query.
fn value(sandbox: &Sandbox, query: &str) -> Result<String, String> {
    let found = prometheus(sandbox, &format!("query?query={}", query.replace('"', "%22").replace(' ', "%20")))?;
    let value = found["result"][0]["value"][1].as_str();
    value.map(str::to_owned).ok_or_else(|| format!("`{query}` has no result"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn the_upstream_stack_runs_for_real() {
    let chart = chart();
    let sandbox = Sandbox::up();
    install(&sandbox, &chart);
    everything_is_ready(&sandbox);
    the_operator_acts_as_its_own_service_account(&sandbox);
    every_target_is_up(&sandbox);
    the_kubelet_asks_who_reads_it(&sandbox);
    no_rule_fails_and_nothing_but_the_watchdog_fires(&sandbox);
    the_webhook_is_answered_by_the_operator(&sandbox);
    a_scenario_is_told_by_the_state_of_the_cluster(&sandbox);
    a_webhook_without_its_program_is_refused_at_once(&sandbox);
}

/// Installs the chart as one does by hand, with a certificate for the operator's webhooks.
fn install(sandbox: &Sandbox, chart: &Path) {
    let chart = chart.to_str().unwrap();
    run(sandbox, "kubectl", &["create", "namespace", NAMESPACE], "").unwrap();
    let definitions = run(sandbox, "helm", &["show", "crds", chart], "").unwrap();
    run(sandbox, "kubectl", &["apply", "--server-side", "-f", "-"], &definitions).unwrap();
    run(sandbox, "kubectl", &["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"], "").unwrap();
    secret(sandbox, "grafana-admin", &[("admin-user", "admin"), ("admin-password", "none")]);
    secret(sandbox, "alertmanager-credentials", &[("slack-webhook-url", "https://hooks.slack.com/services/none")]);

    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec![OPERATOR.to_owned(), format!("{OPERATOR}.{NAMESPACE}.svc")];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let authority = authority.pem();
    let entries = [("ca", authority.as_str()), ("cert", &certificate.pem()), ("key", &key.serialize_pem())];
    secret(sandbox, "prometheus-kube-prometheus-admission", &entries);

    let claim = json!({ "volumeClaimTemplate": { "spec": { "storageClassName": "fast-ssd",
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "10Gi" } } } } });
    let off = json!({ "enabled": false });
    let values = json!({
        "cleanPrometheusOperatorObjectNames": false,
        "prometheus": { "prometheusSpec": {
            "scrapeInterval": "5s", "evaluationInterval": "5s", "externalLabels": { "cluster": "drivemaster" },
            "ruleSelectorNilUsesHelmValues": false, "storageSpec": claim,
        } },
        "alertmanager": {
            "alertmanagerSpec": { "secrets": ["alertmanager-credentials"], "storage": claim },
            "config": {
                "global": {
                    "slack_api_url_file": "/etc/alertmanager/secrets/alertmanager-credentials/slack-webhook-url",
                },
                "route": { "receiver": "team", "routes": [
                    { "receiver": "null", "matchers": ["alertname =~ \"Watchdog|InfoInhibitor\""] },
                ] },
                "receivers": [{ "name": "null" }, { "name": "team", "slack_configs": [{ "channel": "#team" }] }],
            },
        },
        "grafana": { "admin": { "existingSecret": "grafana-admin" } },
        "prometheusOperator": { "admissionWebhooks": {
            "failurePolicy": "Ignore", "patch": off, "caBundle": BASE64_STANDARD.encode(&authority),
        } },
        "kubeControllerManager": off, "kubeScheduler": off, "kubeEtcd": off, "kubeProxy": off, "coreDns": off,
    });
    let helm = ["upgrade", "--install", "prometheus", chart, "-n", NAMESPACE, "--skip-crds", "-f", "-"];
    run(sandbox, "helm", &helm, &values.to_string()).unwrap();
}

fn everything_is_ready(sandbox: &Sandbox) {
    for (kind, name) in [("prometheus", "prometheus"), ("alertmanager", "alertmanager")] {
        let name = format!("prometheus-kube-prometheus-{name}");
        eventually(&format!("{kind} is available"), 60, || {
            let object = run(sandbox, "kubectl", &["get", kind, &name, "-n", NAMESPACE, "-o", "json"], "")?;
            let object: Value = serde_json::from_str(&object).unwrap();
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let holds = |kind: &str| conditions.iter().any(|one| one["type"] == kind && one["status"] == "True");
            if holds("Available") && holds("Reconciled") { Ok(()) } else { Err(json!(conditions).to_string()) }
        });
    }
    let status = sandbox.run(&["sandbox", "status", "-o", "json"]).exits(0).json();
    let programs = status["status"]["programs"].as_array().unwrap();
    let operator = programs.iter().find(|program| program["name"] == "prometheus-operator").unwrap();
    assert_eq!(operator["alive"], true);
}

fn the_operator_acts_as_its_own_service_account(sandbox: &Sandbox) {
    let requests = sandbox.requests_of("PrometheusOperator/");
    let users: BTreeSet<&str> = requests.iter().map(|request| text(request, "/user/username")).collect();
    let own = format!("system:serviceaccount:{NAMESPACE}:{OPERATOR}");
    assert_eq!(users, [own.as_str()].into());
}

fn every_target_is_up(sandbox: &Sandbox) {
    let expected = [
        "apiserver",
        "kube-state-metrics",
        "kubelet",
        "node-exporter",
        "prometheus-grafana",
        "prometheus-kube-prometheus-alertmanager",
        OPERATOR,
        "prometheus-kube-prometheus-prometheus",
    ];
    eventually("every target is up", 60, || {
        let targets = prometheus(sandbox, "targets?state=active")?;
        let targets = targets["activeTargets"].as_array().unwrap();
        let jobs: BTreeSet<&str> = targets.iter().map(|target| text(target, "/labels/job")).collect();
        if !expected.iter().all(|job| jobs.contains(job)) {
            return Err(format!("only {jobs:?} are scraped"));
        }
        match targets.iter().find(|target| target["health"] != "up") {
            Some(down) => Err(format!("{}: {}", down["scrapeUrl"], down["lastError"])),
            None => Ok(()),
        }
    });
    // What the pages say fits what the cluster holds.
    let pods: Value = serde_json::from_str(&sandbox.kubectl(&["get", "pods", "-A", "-o", "json"])).unwrap();
    let pods = pods["items"].as_array().unwrap().len().to_string();
    for query in ["count(kube_pod_info)", "max(kubelet_running_pods)"] {
        eventually(query, 20, || match value(sandbox, query)? {
            found if found == pods => Ok(()),
            found => Err(format!("{found} instead of {pods}")),
        });
    }
}

fn the_kubelet_asks_who_reads_it(sandbox: &Sandbox) {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let status = sandbox.run(&["sandbox", "status", "-o", "json"]).exits(0).json();
    let proxy = reqwest::Proxy::all(text(&status, "/status/proxy")).unwrap();
    let client = reqwest::Client::builder().proxy(proxy).tls_danger_accept_invalid_certs(true).build().unwrap();
    let address = run(sandbox, "kubectl", &["get", "endpoints", "-n", "kube-system", "-o", "json"], "").unwrap();
    let endpoints: Value = serde_json::from_str(&address).unwrap();
    let address = text(&endpoints, "/items/0/subsets/0/addresses/0/ip").to_owned();
    let token = |account: &str| sandbox.kubectl(&["create", "token", account, "-n", NAMESPACE]).trim().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (token, expected) in
        [(token("prometheus-kube-prometheus-prometheus"), 200), (token("default"), 403), ("made-up".to_owned(), 401)]
    {
        let request = client.get(format!("https://{address}:10250/metrics/cadvisor")).bearer_auth(token);
        let status = runtime.block_on(async { request.send().await.unwrap().status() });
        assert_eq!(status.as_u16(), expected);
    }
}

fn no_rule_fails_and_nothing_but_the_watchdog_fires(sandbox: &Sandbox) {
    let quiet = |query: &str| eventually(query, 30, || value(sandbox, query));
    // Rules that need the kubelet, the state of the objects and the node.
    quiet("sum(node_namespace_pod_container:container_memory_working_set_bytes)");
    quiet("sum(namespace_workload_pod:kube_pod_owner:relabel)");
    quiet("instance:node_memory_utilisation:ratio");
    eventually("rules are evaluated and only the watchdog fires", 60, || {
        let groups = prometheus(sandbox, "rules")?;
        let rules: Vec<Value> = groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|group| {
                // Rules of a long interval are not evaluated yet.
                let quick = group["interval"].as_f64().unwrap() <= 30.0;
                group["rules"].as_array().unwrap().iter().filter(move |rule| quick || rule["health"] == "err").cloned()
            })
            .collect();
        assert!(rules.len() > 150, "{} rules", rules.len());
        if let Some(rule) = rules.iter().find(|rule| rule["health"] != "ok") {
            return Err(format!("{} is {}: {}", rule["name"], rule["health"], rule["lastError"]));
        }
        let alerts = prometheus(sandbox, "alerts")?;
        let names: BTreeSet<&str> =
            alerts["alerts"].as_array().unwrap().iter().map(|alert| text(alert, "/labels/alertname")).collect();
        if names == ["Watchdog"].into() { Ok(()) } else { Err(format!("{names:?} are active: {alerts}")) }
    });
    let discovered = prometheus(sandbox, "alertmanagers").unwrap();
    assert_eq!(discovered["activeAlertmanagers"].as_array().unwrap().len(), 1);
}

fn the_webhook_is_answered_by_the_operator(sandbox: &Sandbox) {
    let refusal = apply(sandbox, &rule("broken", "sum((")).unwrap_err();
    assert!(refusal.contains("could not parse expression"), "{refusal}");
    apply(sandbox, &rule("team_rule", "vector(7)")).unwrap();
    eventually("a new rule is evaluated", 60, || value(sandbox, "team_rule"));
}

fn a_scenario_is_told_by_the_state_of_the_cluster(sandbox: &Sandbox) {
    let query = "kube_deployment_status_replicas_available{deployment=\"user-service\"}";
    assert_ne!(value(sandbox, query).unwrap(), "0");
    sandbox.run(&["sandbox", "scenario", "set", "down", "user-service"]).exits(0);
    eventually("the deployment is told to have no pods", 30, || match value(sandbox, query)?.as_str() {
        "0" => Ok(()),
        other => Err(format!("it has {other}")),
    });
    sandbox.run(&["sandbox", "scenario", "clear"]).exits(0);
}

fn a_webhook_without_its_program_is_refused_at_once(sandbox: &Sandbox) {
    let configuration = "prometheus-kube-prometheus-admission";
    let strict = r#"[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"}]"#;
    let patch = ["patch", "validatingwebhookconfiguration", configuration, "--type=json", "-p", strict];
    run(sandbox, "kubectl", &patch, "").unwrap();
    run(sandbox, "kubectl", &["scale", "deployment", OPERATOR, "-n", NAMESPACE, "--replicas=0"], "").unwrap();
    eventually("the webhook is refused", 30, || {
        let refusal = apply(sandbox, &rule("late", "vector(1)")).err().ok_or("it was accepted")?;
        let reason = format!("Service {NAMESPACE}/{OPERATOR} has no ready endpoint for port 443");
        if refusal.contains(&reason) { Ok(()) } else { Err(refusal) }
    });
    let status = sandbox.run(&["sandbox", "status", "-o", "json"]).exits(0).json();
    let programs = status["status"]["programs"].as_array().unwrap();
    let running = programs.iter().any(|program| program["name"] == "prometheus-operator" && program["alive"] == true);
    assert!(!running, "the operator runs without its pod");
}
