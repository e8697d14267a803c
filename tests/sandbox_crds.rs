//! Definitions on the real API server: applied first, waited for, never upgraded over objects that
//! would lose something, and left where objects of others remain.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::charts::charts_dir;
use support::sandbox::Sandbox;
use support::{Answer, tool};

const DEFINITION: &str = "podlogs.monitoring.grafana.com";
/// Alloy alone: one release with one definition.
const ONLY_ALLOY: &str = "
prometheus: { enabled: false }
alertmanager: { enabled: false }
grafana: { enabled: false }
jaeger: { enabled: false }
otelCollector: { enabled: false }
blackboxExporter: { enabled: false }
chaosMesh: { enabled: false }
loki: { enabled: false, existingUrl: 'https://logs.example.com' }
platform:
  exporters: { postgresql: none, redis: none, kafka: none, elasticsearch: none, node: none, kubeState: none }
helmValues:
  alloy: { crds: { create: true } }
";

fn apply(sandbox: &Sandbox, name: &str, text: &str, more: &[&str]) {
    let path = sandbox.run.file(name, text).display().to_string();
    sandbox.kubectl(&[&["apply", "--server-side", "-f", &path], more].concat());
}

fn exists(sandbox: &Sandbox) -> bool {
    !sandbox.kubectl(&["get", "crd", DEFINITION, "--ignore-not-found"]).is_empty()
}

/// Waits until the API server answers for the list at `path`. Not by its kind: kubectl would remember it.
fn until_listed(sandbox: &Sandbox, path: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    let list = || {
        let mut kubectl = Command::new(tool("kubectl"));
        kubectl.args(["get", "--raw", path]).env("KUBECONFIG", sandbox.kubeconfig()).output().unwrap()
    };
    while !list().status.success() {
        assert!(Instant::now() < end, "{:?}", list());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn definitions_come_first_and_go_last_and_take_nothing_from_anybody() {
    let sandbox = Sandbox::up();
    sandbox.run.file("drivemaster-mon.yaml", ONLY_ALLOY);
    let charts = charts_dir().display().to_string();
    let with = |words: &'static [&'static str]| [words, &["--profile", "production", "--charts", &charts]].concat();
    sandbox.run(&with(&["render", "-o", "bundle"])).exits(0);
    let path = sandbox.run.home.path().join(format!("bundle/00-crds/{DEFINITION}.yaml"));
    let definition = std::fs::read_to_string(&path).unwrap();

    // Somebody else has the kind already: ours is not served, and that is told.
    let other = definition.replace("podlogs", "otherlogs");
    assert!(other.contains("kind: PodLogs"), "{other}");
    apply(&sandbox, "other.yaml", &other, &[]);
    let answer = sandbox.run(&with(&["deploy", "--no-verify"])).exits(4);
    answer.says(&format!("`CustomResourceDefinition {DEFINITION}` is not served")).says("is already in use");
    // Objects that nobody ever asked for cannot be listed at once when their definition goes, and the API server looks
    // again minutes later.
    until_listed(&sandbox, "/apis/monitoring.grafana.com/v1alpha2/otherlogs");
    sandbox.kubectl(&["delete", "crd", DEFINITION, "otherlogs.monitoring.grafana.com"]);

    // One version back: with a field and a version that the chart's has not.
    let spec = "                namespaceSelector:\n";
    assert_eq!(definition.matches(spec).count(), 1, "{definition}");
    let older = definition.replace(spec, &format!("                former:\n                  type: string\n{spec}"));
    // Its content has another digest than the annotation of today's says.
    let older: String = older
        .lines()
        .filter(|line| !line.contains("drivemaster-mon/content"))
        .map(|line| format!("{line}\n"))
        .collect();
    apply(&sandbox, "older.yaml", &older, &["--field-manager=drivemaster-mon"]);
    sandbox.kubectl(&["wait", "--for=condition=Established", &format!("crd/{DEFINITION}")]);
    let object = "apiVersion: monitoring.grafana.com/v1alpha2\nkind: PodLogs\nmetadata: {name: mine, namespace: default}\n\
                  spec: {former: used, selector: {}}\n";
    apply(&sandbox, "object.yaml", object, &[]);
    let before = sandbox.writes().len();
    let answer = sandbox.run(&with(&["deploy", "--no-verify"])).exits(5);
    answer.says(&format!("`{DEFINITION}` would take the field `spec.former` from `default/mine`")).says("hint:");
    assert_eq!(sandbox.writes().len(), before, "refused before anything was written");

    // Nobody uses it any more: the definition is upgraded, and then nothing is left to do.
    sandbox.kubectl(&[
        "patch",
        "podlogs",
        "mine",
        "--type=json",
        "-p",
        r#"[{"op": "remove", "path": "/spec/former"}]"#,
    ]);
    sandbox.run(&with(&["deploy", "--no-verify"])).exits(0);
    assert!(!sandbox.kubectl(&["get", "crd", DEFINITION, "-o", "json"]).contains("former"));
    let before = sandbox.writes().len();
    let plan = sandbox.run(&with(&["plan", "-o", "json", "--detailed-exitcode"])).exits(0).json();
    assert_eq!(plan["steps"].as_array().unwrap().len(), 0, "{plan}");
    sandbox.run(&with(&["deploy", "--no-verify"])).exits(0);
    assert_eq!(sandbox.writes().len(), before, "a second deploy writes nothing");
    a_rollback_takes_the_very_chart_and_leaves_definitions(&sandbox, &charts);

    sandbox
        .run(&with(&["uninstall", "--yes"]))
        .exits(0)
        .prints(&format!("kubectl delete customresourcedefinition/{DEFINITION}"));
    assert!(exists(&sandbox));
    sandbox.run(&with(&["uninstall", "--all", "--yes"])).exits(0).prints("`PodLogs default/mine` is not ours");
    assert!(exists(&sandbox), "the object of somebody else would go with it");
    sandbox.kubectl(&["delete", "podlogs", "mine"]);

    // Whatever it is that somebody keeps in our namespace stays, and so does the namespace.
    let namespace = "drivemaster-monitoring";
    sandbox.run(&with(&["deploy", "--no-verify"])).exits(0);
    sandbox.kubectl(&["create", "role", "theirs", "-n", namespace, "--verb=get", "--resource=pods"]);
    let left = sandbox.run(&with(&["uninstall", "--all", "--yes"])).exits(0);
    left.prints(&format!("`Role {namespace}/theirs` in it is not ours"));
    sandbox.kubectl(&["get", "role", "theirs", "-n", namespace]);
    sandbox.kubectl(&["wait", "--for=delete", &format!("crd/{DEFINITION}"), "--timeout=60s"]);
    sandbox.kubectl(&["delete", "role", "theirs", "-n", namespace]);
    sandbox.run(&with(&["uninstall", "--all", "--yes"])).exits(0);
    assert_eq!(sandbox.kubectl(&["get", "namespace", namespace, "--ignore-not-found"]), "");
}

fn a_rollback_takes_the_very_chart_and_leaves_definitions(sandbox: &Sandbox, charts: &str) {
    let run = |verb: &[&str], charts: &str| {
        sandbox.run(&[verb, &["--profile", "production", "--charts", charts, "--no-verify"]].concat())
    };
    let history = sandbox.run(&["history", "-o", "json"]).exits(0).json();
    let applied = history["records"].as_array().unwrap().last().unwrap();
    assert_eq!(applied["outcome"], "applied", "{history}");
    let number = applied["number"].to_string();
    let version = |field: &str| {
        let path = format!("jsonpath={{.metadata.{field}}}");
        sandbox.kubectl(&["get", "crd", DEFINITION, "-o", &path])
    };
    let (then, definition) = (sandbox.specifications("drivemaster-monitoring"), version("resourceVersion"));
    run(&["deploy", "--set", "helmValues.alloy.controller.podAnnotations.changed=yes"], charts).exits(0);
    assert_ne!(sandbox.specifications("drivemaster-monitoring"), then);

    // The record has the name, version and digest of the chart, and its files come from elsewhere.
    let archive = std::fs::read_dir(charts).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let archive = archive.into_iter().find(|name| name.starts_with("alloy-")).unwrap();
    let version_of_chart = archive.strip_prefix("alloy-").and_then(|rest| rest.strip_suffix(".tgz")).unwrap();
    let other = |folder: &str, version: &str| {
        let path = sandbox.run.file(&format!("{folder}/alloy-{version}.tgz"), "");
        std::fs::write(&path, support::charts::archive("alloy", version)).unwrap();
        path.parent().unwrap().display().to_string()
    };
    let before = sandbox.writes().len();
    let refused = run(&["rollback", &number], &other("another", version_of_chart)).exits(5);
    refused.says(&format!("the chart `alloy` {version_of_chart} is another than the one that was deployed then"));
    let refused = run(&["rollback", &number], &other("gone", "0.0.1")).exits(5);
    refused.says(&format!("charts of record {number} cannot be had")).says("--charts DIR");
    assert_eq!(sandbox.writes().len(), before);

    run(&["rollback", &number], charts).exits(0);
    assert_eq!(sandbox.specifications("drivemaster-monitoring"), then);
    assert_eq!(version("resourceVersion"), definition, "definitions stay as they are");

    // Also one that another deploy changes while the rollback queues behind it.
    run(&["deploy", "--set", "helmValues.alloy.controller.podAnnotations.changed=yes"], charts).exits(0);
    let lease = format!(
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{name: drivemaster-mon, namespace: drivemaster-monitoring}}\n\
         spec: {{holderIdentity: 'alice@elsewhere, process 7', leaseDurationSeconds: 45, renewTime: '{:.6}'}}\n",
        jiff::Timestamp::now()
    );
    apply(sandbox, "lease.yaml", &lease, &[]);
    let rollback =
        ["rollback", &number, "--yes", "--wait-lock", "--profile", "production", "--charts", charts, "--no-verify"];
    let mut queued = sandbox.command(&rollback);
    let asked = || {
        let asks = |entry: &Value| entry["objectRef"]["resource"] == "leases" && entry["verb"] == "get";
        sandbox.requests_of("drivemaster-mon").iter().filter(|entry| asks(entry)).count()
    };
    let before = asked();
    let queued = queued.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while asked() < before + 2 {
        std::thread::sleep(Duration::from_millis(200));
    }
    let shorter = r#"[{"op": "add", "path": "/spec/names/shortNames", "value": ["pl"]}]"#;
    sandbox.kubectl(&["patch", "crd", DEFINITION, "--type=json", "-p", shorter, "--field-manager=drivemaster-mon"]);
    sandbox.kubectl(&["delete", "lease", "drivemaster-mon", "-n", "drivemaster-monitoring"]);
    Answer::from(queued.wait_with_output().unwrap()).exits(0);
    assert_eq!(sandbox.specifications("drivemaster-monitoring"), then);
    let names = sandbox.kubectl(&["get", "crd", DEFINITION, "-o", "jsonpath={.spec.names.shortNames}"]);
    assert_eq!(names, r#"["pl"]"#);
}
