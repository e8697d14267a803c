//! Experiments of Chaos Mesh on the platform: its real controllers inject faults and take them back, and the
//! dashboard shows it.

use crate::{MONITORING, PROMETHEUS, Story};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PLATFORM: &str = "drivemaster";
/// How long what is about to happen may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two that need no daemon on the nodes: the one that we deploy paused, and one that lasts.
pub(crate) fn an_experiment_is_run_shown_and_taken_back(story: &Story) {
    let schedule = get(story, "schedule/pod-kill");
    let before = story.uids("pods");
    inject(story, "kills", &schedule["spec"]["podChaos"], json!([]));
    inject(story, "lasts", &lasting(), json!([]));
    let killed = |pods: &BTreeMap<String, String>| {
        before.keys().any(|name| name.starts_with(&format!("{PLATFORM}/")) && !pods.contains_key(name))
    };
    assert!(killed(&story.uids("pods")), "no pod was killed: {before:?}");
    let panels = panels(story);
    let shown = |id: u64, what: &str| {
        for query in &panels[&id] {
            until(&format!("panel {id}, {what}: {query}"), || has_something(story, query));
        }
    };
    shown(1, "active experiments");
    shown(7, "experiments by phase");
    // Gone only once every fault is taken back, which its finalizer sees to.
    story.sandbox.kubectl(&["delete", "podchaos", "kills", "lasts", "-n", PLATFORM, "--timeout=60s"]);
    // A rate, so that it takes the second event of a kind.
    shown(13, "events of the controller");
    nothing_is_left(story);
}

/// An experiment is under way, as a Schedule of ours starts it, when everything is taken away: its fault is taken back
/// while there is somebody who can.
pub(crate) fn uninstall_takes_a_fault_back(story: &Story, uninstall: impl FnOnce()) {
    let schedule = get(story, "schedule/redis-failure");
    let owner = json!({"apiVersion": schedule["apiVersion"], "kind": "Schedule", "name": "redis-failure",
        "uid": schedule["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true});
    inject(story, "redis-failure-1", &lasting(), json!([owner]));
    uninstall();
    nothing_is_left(story);
}

/// The fault of a pod for longer than any test.
fn lasting() -> Value {
    json!({"action": "pod-failure", "mode": "one", "duration": "10m",
        "selector": {"namespaces": [PLATFORM], "labelSelectors": {"app": "user-service"}}})
}

/// Makes an experiment, and waits until its fault is there.
fn inject(story: &Story, name: &str, fault: &Value, owners: Value) {
    let experiment = json!({"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "PodChaos", "spec": fault,
        "metadata": {"name": name, "namespace": PLATFORM, "ownerReferences": owners}});
    let file = story.sandbox.run.file("experiment.json", &experiment.to_string());
    story.sandbox.kubectl(&["create", "-f", file.to_str().unwrap()]);
    until(&format!("`{name}` is injected"), || {
        let conditions = get(story, &format!("podchaos/{name}"))["status"]["conditions"].clone();
        let injected = json!({"type": "AllInjected", "status": "True"});
        conditions.as_array().is_some_and(|all| all.contains(&injected))
    });
}

/// No experiment is there, and no pod runs what a fault put into it.
fn nothing_is_left(story: &Story) {
    let left = story.sandbox.kubectl(&["get", "podchaos", "-n", PLATFORM, "-o", "name"]);
    assert_eq!(left.trim(), "");
    let pods = story.sandbox.kubectl(&["get", "pods", "-n", PLATFORM, "-o", "json"]);
    assert!(!pods.contains("registry.k8s.io/pause"), "a pod was left failing");
}

fn get(story: &Story, object: &str) -> Value {
    serde_json::from_str(&story.sandbox.kubectl(&["get", object, "-n", PLATFORM, "-o", "json"])).unwrap()
}

/// What each panel of the dashboard asks, as Grafana would for the platform.
fn panels(story: &Story) -> BTreeMap<u64, Vec<String>> {
    let name = "drivemaster-dashboard-chaos";
    let text = story.sandbox.kubectl(&["get", "configmap", name, "-n", MONITORING, "-o", "json"]);
    let map: Value = serde_json::from_str(&text).unwrap();
    let dashboard: Value = serde_json::from_str(map["data"]["chaos.json"].as_str().unwrap()).unwrap();
    let asked = |panel: &Value| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        let queries = targets.map(|target| {
            let query = target["expr"].as_str().unwrap();
            query.replace("$namespace", PLATFORM).replace("$service", ".+").replace("$__rate_interval", "1m")
        });
        (panel["id"].as_u64().unwrap(), queries.collect())
    };
    dashboard["panels"].as_array().unwrap().iter().map(asked).collect()
}

/// Whether the query has an answer, and one that is not nothing.
fn has_something(story: &Story, query: &str) -> bool {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = story.ask(PROMETHEUS, &format!("/api/v1/query?query={escaped}"));
    let found = answer["data"]["result"].as_array().unwrap();
    found.iter().any(|sample| sample["value"][1].as_str().unwrap().parse::<f64>().unwrap() > 0.0)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(500));
    }
}
