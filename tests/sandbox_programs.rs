//! The real Loki, Jaeger and Collector behind the pods of profile `local`: what is sent to one through
//! the API server is found again, and a configuration that one rejects is told in its own words.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use support::sandbox::Sandbox;

const MONITORING: &str = "drivemaster-monitoring";

/// A running `kubectl port-forward`, ended when dropped.
struct Forward {
    child: Child,
    port: u16,
    /// Kept open: kubectl ends when it can say nothing more.
    _said: BufReader<ChildStdout>,
}

impl Forward {
    fn to(sandbox: &Sandbox, target: &str, port: u16) -> Self {
        let mut child = Command::new(support::tool("kubectl"))
            .args(["port-forward", "-n", MONITORING, target, &format!(":{port}")])
            .env("KUBECONFIG", sandbox.kubeconfig())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        // Such as `Forwarding from 127.0.0.1:41231 -> 4318`.
        let port = line.split(" -> ").next().and_then(|left| left.rsplit(':').next()?.parse().ok());
        Forward { child, port: port.unwrap_or_else(|| panic!("kubectl said `{line}`")), _said: said }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until `look` finds something; what it saw last stands in the failure.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => panic!("{what}: at last {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

/// The answer of a Service through the API server's proxy.
fn through_proxy(sandbox: &Sandbox, service: &str, path: &str) -> Result<Value, String> {
    let path = format!("/api/v1/namespaces/{MONITORING}/services/{service}/proxy{path}");
    let output = Command::new(support::tool("kubectl"))
        .args(["get", "--raw", &path])
        .env("KUBECONFIG", sandbox.kubeconfig())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text).map_err(|_| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn nanoseconds() -> String {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_found_again_and_a_rejected_configuration_is_told() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for program in ["loki", "jaeger", "otelcol"] {
        assert!(support::tool(program).is_file(), "`{program}` is missing: run `make tools`");
    }
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    let sandbox = Sandbox::up();
    let document = sandbox.run(&["deploy", "-o", "json"]).exits(0).json();
    programs_pass_their_checks(&document);
    every_port_leads_to_its_own_pod(&sandbox, &client).await;
    a_line_pushed_to_loki_is_found(&sandbox, &client).await;
    what_the_collector_gets_is_found_behind_it(&sandbox, &client).await;
    kubectl_shows_the_logs_of_programs(&sandbox);
    another_version_is_told(&sandbox);
    a_rejected_configuration_is_told(&sandbox).await;
}

fn programs_pass_their_checks(document: &Value) {
    let checks: Vec<&Value> = document["checks"].as_array().unwrap().iter().collect();
    for id in [
        "loki/healthy",
        "jaeger/healthy",
        "otel-collector/healthy",
        "targets/loki",
        "targets/jaeger",
        "targets/otel-collector",
        "targets/span-metrics",
    ] {
        let check = checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check `{id}`"));
        assert_eq!(check["outcome"], "pass", "{check}");
    }
}

fn kubectl_shows_the_logs_of_programs(sandbox: &Sandbox) {
    for (target, container, word) in [
        ("statefulset/loki", "loki", "level="),
        ("deployment/jaeger", "jaeger", "\"level\":\"info\""),
        ("statefulset/prometheus-prometheus-kube-prometheus-prometheus", "prometheus", "level="),
    ] {
        let logs =
            |more: &[&str]| sandbox.kubectl(&[&["logs", "-n", MONITORING, target, "-c", container], more].concat());
        assert!(logs(&[]).contains(word), "{target}: {}", logs(&[]));
        assert_eq!(logs(&["--tail=2"]).lines().count(), 2, "{target}");
    }
}

/// Jaeger and the Collector have the ports 13133 and 8888 in common.
async fn every_port_leads_to_its_own_pod(sandbox: &Sandbox, client: &reqwest::Client) {
    for (target, port, path, expected) in [
        ("deployment/otel-collector", 13133, "/", "Server available"),
        ("deployment/jaeger", 13133, "/status", "StatusOK"),
        ("deployment/otel-collector", 8888, "/metrics", "otelcol_process_uptime"),
        ("deployment/jaeger", 8888, "/metrics", "jaeger_"),
    ] {
        let forward = Forward::to(sandbox, target, port);
        let body = client.get(forward.url(path)).send().await.unwrap().text().await.unwrap();
        assert!(body.contains(expected), "{target} {port}: {body}");
    }
}

async fn a_line_pushed_to_loki_is_found(sandbox: &Sandbox, client: &reqwest::Client) {
    let forward = Forward::to(sandbox, "svc/loki", 3100);
    let line =
        json!({ "streams": [{ "stream": { "log_type": "security" }, "values": [[nanoseconds(), "pushed line"]] }] });
    let pushed = client.post(forward.url("/loki/api/v1/push")).json(&line).send().await.unwrap();
    assert_eq!(pushed.status().as_u16(), 204);
    found_in_loki(sandbox, "security", "pushed line").await;
}

async fn found_in_loki(sandbox: &Sandbox, class: &str, line: &str) {
    // {log_type="<class>"}
    let path = format!("/loki/api/v1/query_range?query=%7Blog_type%3D%22{class}%22%7D");
    eventually("the line is in Loki", async || {
        let answer = through_proxy(sandbox, "loki:3100", &path)?.to_string();
        if answer.contains(line) { Ok(()) } else { Err(answer) }
    })
    .await;
}

async fn what_the_collector_gets_is_found_behind_it(sandbox: &Sandbox, client: &reqwest::Client) {
    let forward = Forward::to(sandbox, "svc/otel-collector", 4318);
    let trace = "5b8efff798038103d269b633813fc60c";
    let resource = json!({ "attributes": [
        { "key": "service.name", "value": { "stringValue": "user-service" } },
        { "key": "log_type", "value": { "stringValue": "audit" } },
    ] });
    let span = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": [{
        "traceId": trace, "spanId": "eee19b7ec3c1b174", "name": "GET /profile", "kind": 2,
        "startTimeUnixNano": nanoseconds(), "endTimeUnixNano": nanoseconds(), "status": { "code": 2 },
        "attributes": [{ "key": "user.email", "value": { "stringValue": "someone@example.com" } }],
    }] }] }] });
    let line = json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": [{ "logRecords": [{
        "timeUnixNano": nanoseconds(), "body": { "stringValue": "line over OTLP" },
    }] }] }] });
    for (path, sent) in [("/v1/traces", &span), ("/v1/logs", &line)] {
        let answer = client.post(forward.url(path)).json(sent).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
    }
    let found = eventually("the span is in Jaeger", async || {
        let answer = through_proxy(sandbox, "jaeger-query:16686", &format!("/api/traces/{trace}"))?;
        let spans = answer["data"][0]["spans"].as_array().map_or(0, Vec::len);
        if spans == 1 { Ok(answer.to_string()) } else { Err(answer.to_string()) }
    })
    .await;
    assert!(found.contains("GET /profile") && !found.contains("someone@example.com"), "{found}");
    found_in_loki(sandbox, "audit", "line over OTLP").await;
}

fn another_version_is_told(sandbox: &Sandbox) {
    let status = sandbox.run(&["sandbox", "status", "-o", "json"]).exits(0).json();
    let notes = status["status"]["notes"].as_array().cloned().unwrap_or_default();
    let note = notes.iter().find(|note| note["program"] == "jaeger").unwrap_or_else(|| panic!("no note: {status}"));
    assert_eq!(note["deployedVersion"], "2.19.0");
    let run = note["runVersion"].as_str().unwrap();
    let path = "jsonpath={.items[0].metadata.annotations.drivemaster-mon/program-version}";
    let selector = "app.kubernetes.io/name=jaeger";
    assert_eq!(sandbox.kubectl(&["get", "pods", "-n", MONITORING, "-l", selector, "-o", path]), run);
    let events = sandbox.kubectl(&["get", "events", "-n", MONITORING, "-o", "json"]);
    assert!(events.contains(&format!("Jaeger {run} runs here in place of 2.19.0")), "{events}");
}

async fn a_rejected_configuration_is_told(sandbox: &Sandbox) {
    for (map, key, pod, right, wrong, expected) in [
        ("loki", "loki.yaml", "loki", "auth_enabled:", "auth_enable:", "field auth_enable not found"),
        ("jaeger", "config.yaml", "jaeger", "use_v2:", "use_v3:", "has invalid keys: use_v3"),
        (
            "otel-collector",
            "config.yaml",
            "opentelemetry-collector",
            "check_interval:",
            "check_intervall:",
            "has invalid keys: check_intervall",
        ),
    ] {
        let change = |from: &str, to: &str| {
            let mut object: Value =
                serde_json::from_str(&sandbox.kubectl(&["get", "configmap", map, "-n", MONITORING, "-o", "json"]))
                    .unwrap();
            let text = object["data"][key].as_str().unwrap().replace(from, to);
            object["data"][key] = Value::from(text);
            let file = sandbox.run.file("changed.json", &object.to_string());
            sandbox.kubectl(&["replace", "-f", file.to_str().unwrap()]);
        };
        let selector = format!("app.kubernetes.io/name={pod}");
        let condition = |field: &str| {
            let path = format!("jsonpath={{.items[*].status.conditions[?(@.type==\"Ready\")].{field}}}");
            sandbox.kubectl(&["get", "pods", "-n", MONITORING, "-l", &selector, "-o", &path])
        };
        change(right, wrong);
        // It is read at start only, as in a cluster.
        sandbox.kubectl(&["delete", "pod", "-n", MONITORING, "-l", &selector]);
        eventually("the pod says why", async || {
            let message = condition("message");
            if message.contains(expected) { Ok(()) } else { Err(message) }
        })
        .await;
        change(wrong, right);
        eventually("the pod is ready again", async || {
            let status = condition("status");
            if status == "True" { Ok(()) } else { Err(format!("{status}: {}", condition("message"))) }
        })
        .await;
    }
}
