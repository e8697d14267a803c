//! What a deploy leaves behind of itself, and what the next ones make of it: records, history, prune,
//! rollback. The cases share one sandbox and one small stack, and go on from where the one before ended.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::Answer;
use support::sandbox::Sandbox;

const NAMESPACE: &str = "recorded";
/// Grafana with its dashboards: one release and some objects of our own.
const SMALL: [&str; 6] = [
    "prometheus.enabled=false",
    "alertmanager.enabled=false",
    "jaeger.enabled=false",
    "otelCollector.enabled=false",
    "loki.enabled=false",
    "verify.timeoutSeconds=20",
];

fn run(sandbox: &Sandbox, verb: &[&str], sets: &[&str]) -> Answer {
    let mut words = verb.to_vec();
    words.extend(["-n", NAMESPACE]);
    words.extend(SMALL.iter().chain(sets).flat_map(|set| ["--set", set]));
    sandbox.run(&words)
}

/// Number, outcome and trigger of each record, the oldest first.
fn history(sandbox: &Sandbox) -> Vec<(u64, String, String)> {
    let document = run(sandbox, &["history", "-o", "json"], &[]).exits(0).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let records = document["records"].as_array().unwrap();
    records
        .iter()
        .map(|one| (one["number"].as_u64().unwrap(), text(&one["outcome"]), text(&one["trigger"]["kind"])))
        .collect()
}

fn numbers(sandbox: &Sandbox) -> Vec<u64> {
    history(sandbox).into_iter().map(|(number, ..)| number).collect()
}

fn secret(sandbox: &Sandbox, number: u64) -> Value {
    let name = format!("drivemaster-mon.record.{number}");
    serde_json::from_str(&sandbox.kubectl(&["get", "secret", &name, "-n", NAMESPACE, "-o", "json"])).unwrap()
}

/// The content of a record under `key`, unpacked.
fn unpacked(secret: &Value, key: &str) -> Value {
    let bytes = BASE64_STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap();
    let mut text = String::new();
    GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn releases(sandbox: &Sandbox) -> Vec<String> {
    let mut helm = Command::new(support::tool("helm"));
    helm.args(["list", "-n", NAMESPACE, "-q"]).env("KUBECONFIG", sandbox.kubeconfig());
    String::from_utf8(helm.output().unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The ids of the steps that `plan` would take away.
fn pruned(plan: &Value) -> Vec<String> {
    let steps = plan["steps"].as_array().unwrap().iter();
    let pruned = steps.filter(|step| step["reason"]["kind"] == "prune" && step["action"] == "delete");
    pruned.map(|step| step["id"].as_str().unwrap().to_owned()).collect()
}

fn config_map(name: &str) -> String {
    format!("ConfigMap {NAMESPACE}/drivemaster-dashboard-{name}")
}

#[test]
fn every_deploy_leaves_a_record_that_can_be_brought_back() {
    let sandbox = Sandbox::up();
    let first = a_deploy_is_recorded_and_its_writes_are_those_of_the_plan(&sandbox);
    what_is_no_longer_wanted_goes(&sandbox);
    a_record_is_brought_back(&sandbox, &first);
    a_killed_deploy_is_told_as_interrupted(&sandbox);
    a_deploy_that_fails_is_put_back(&sandbox);
    ten_records_are_kept(&sandbox);
    uninstall_takes_the_records_with_it(&sandbox);
}

/// How often our program wrote, helm wrote records of its own, and helm wrote anything else.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Writes {
    ours: u64,
    helm_records: u64,
    helm: u64,
}

fn writes(sandbox: &Sandbox) -> Writes {
    let helm = sandbox.writes_of("Helm");
    // A `create` names only the kind; Secrets of charts are applied by `patch`.
    let is_record = |write: &&String| write.contains("/secrets/sh.helm.release") || write.ends_with("/secrets");
    let records = helm.iter().filter(is_record).count();
    Writes {
        ours: sandbox.own_writes().len() as u64,
        helm_records: records as u64,
        helm: (helm.len() - records) as u64,
    }
}

fn a_deploy_is_recorded_and_its_writes_are_those_of_the_plan(sandbox: &Sandbox) -> BTreeMap<String, Value> {
    let secret_value = "https://hooks.slack.com/services/T000/B000/never-in-a-record";
    let slack = ["alertmanager.enabled=true", "alertmanager.receivers.slack.enabled=true"];
    sandbox.kubectl(&["create", "namespace", NAMESPACE]);
    let file = sandbox.run.file("slack", secret_value);
    run(sandbox, &["secrets", "set", "slack-webhook-url", "--from-file", file.to_str().unwrap()], &slack).exits(0);

    let plan = run(sandbox, &["plan", "-o", "json"], &slack).exits(0).json();
    let before = writes(sandbox);
    let deployed = run(sandbox, &["deploy", "--no-verify", "-o", "json"], &slack).exits(0);
    assert_eq!(deployed.json()["record"], 1, "{}", deployed.stderr);
    assert_bookkeeping(sandbox, &plan, before);

    let secret = secret(sandbox, 1);
    assert_eq!(secret["type"], "drivemaster-mon/record");
    assert_eq!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"], "drivemaster-mon");
    let head: Value =
        serde_json::from_str(secret["metadata"]["annotations"]["drivemaster-mon/head"].as_str().unwrap()).unwrap();
    assert_eq!(head["summary"], plan["summary"]);
    assert_eq!(head["outcome"], secret["metadata"]["labels"]["drivemaster-mon/outcome"]);
    assert!(head["holder"].as_str().unwrap().contains('@') && head["ended"].is_string(), "{head}");
    assert_eq!(head["releases"], json!([{"name": "prometheus", "reason": "new", "to": "0.1.0"}]));

    let (intent, effect) = (unpacked(&secret, "intent"), unpacked(&secret, "effect"));
    assert_eq!(intent["configuration"]["namespaces"]["monitoring"], NAMESPACE);
    assert_eq!(intent["bundle"]["releases"][0]["name"], "prometheus");
    assert!(intent["charts"]["prometheus"]["source"]["files"]["Chart.yaml"].is_string());
    assert_eq!(effect["releases"][0]["revision"], 1);
    let inventory = effect["inventory"]["objects"].as_array().unwrap();
    assert!(inventory.iter().all(|object| object["uid"].as_str().unwrap().len() == 36), "{inventory:?}");
    assert_eq!(effect["steps"].as_array().unwrap().len(), plan["steps"].as_array().unwrap().len());

    // What nobody may read in it.
    let shown = run(sandbox, &["access", "--show-secrets", "-o", "json"], &slack).exits(0).json();
    let password = shown["grafanaPassword"].as_str().unwrap();
    for content in [intent.to_string(), effect.to_string(), head.to_string()] {
        assert!(!content.contains(password) && !content.contains("never-in-a-record"));
    }

    // Back to what `verify` says yes to; a record stands in nobody's way.
    let plan = run(sandbox, &["plan", "-o", "json"], &[]).exits(0).json();
    let before = writes(sandbox);
    run(sandbox, &["deploy"], &[]).exits(0);
    assert_bookkeeping(sandbox, &plan, before);
    let before = writes(sandbox);
    run(sandbox, &["deploy"], &[]).exits(0);
    run(sandbox, &["history"], &[]).exits(0).prints("verified");
    assert_eq!(writes(sandbox), before, "nothing changed, so nothing is written and recorded");
    assert_eq!(numbers(sandbox), [1, 2]);
    sandbox.specifications(NAMESPACE)
}

/// What was written since `before`: our own steps and the record by us, its records and the objects of the
/// releases by helm. Of a release that is new it writes each object that the plan tells, once; of one that it upgrades
/// at least those (Helm 4 applies the others too, which changes nothing in them).
#[track_caller]
fn assert_bookkeeping(sandbox: &Sandbox, plan: &Value, before: Writes) {
    let now = writes(sandbox);
    let steps = plan["steps"].as_array().unwrap();
    let of_releases = || steps.iter().filter(|step| step["id"].as_str().unwrap().starts_with("release "));
    let booked = |what: &str| plan["bookkeeping"][what].as_u64().unwrap();
    let own_steps = (steps.len() - of_releases().count()) as u64;
    assert_eq!(now.ours - before.ours, own_steps + booked("record"), "{:#?}", sandbox.own_writes());
    assert_eq!(now.helm_records - before.helm_records, booked("helm"), "{:#?}", sandbox.writes_of("Helm"));
    let objects = steps.iter().filter_map(|step| step["release"]["objects"].as_array()).flatten().count() as u64;
    let written = now.helm - before.helm;
    if of_releases().all(|step| step["action"] == "create") {
        assert_eq!(written, objects, "{:#?}", sandbox.writes_of("Helm"));
    } else {
        assert!(written > 0 && written >= objects, "{written} of {objects}: {:#?}", sandbox.writes_of("Helm"));
    }
}

fn what_is_no_longer_wanted_goes(sandbox: &Sandbox) {
    let dashboard = r#"{"uid": "team", "title": "Team", "schemaVersion": 39, "panels": []}"#;
    sandbox.run.file("team/dashboards/team.json", dashboard);
    run(sandbox, &["deploy", "--no-verify", "--overlay", "team"], &[]).exits(0);
    let plan = run(sandbox, &["plan", "-o", "json"], &[]).exits(0).json();
    assert_eq!(pruned(&plan), [config_map("team")]);
    run(sandbox, &["plan"], &[]).exits(0).prints(&format!("- {}", config_map("team")));
    run(sandbox, &["deploy", "--no-verify"], &[]).exits(0);
    assert!(!sandbox.specifications(NAMESPACE).contains_key("ConfigMap/drivemaster-dashboard-team"));

    // A component goes with its release and its objects; but not what somebody made anew since.
    let slo = "drivemaster-dashboard-slo";
    sandbox.kubectl(&["delete", "configmap", slo, "-n", NAMESPACE]);
    sandbox.kubectl(&["create", "configmap", slo, "-n", NAMESPACE, "--from-literal=theirs=1"]);
    let off = ["grafana.enabled=false"];
    let plan = run(sandbox, &["plan", "-o", "json"], &off).exits(0).json();
    assert_eq!(pruned(&plan)[0], "release prometheus", "what needs the objects goes before them");
    assert!(!pruned(&plan).contains(&config_map("slo")) && pruned(&plan).contains(&config_map("stack-health")));
    let before = writes(sandbox);
    run(sandbox, &["deploy", "--no-verify"], &off).exits(0);
    assert_bookkeeping(sandbox, &plan, before);
    assert!(releases(sandbox).is_empty());
    let standing = sandbox.specifications(NAMESPACE);
    assert!(standing.contains_key(&format!("ConfigMap/{slo}")), "{:?}", standing.keys());
    assert!(!standing.contains_key("ConfigMap/drivemaster-dashboard-stack-health"));
    assert!(standing.contains_key("PersistentVolumeClaim/prometheus-grafana"), "volumes stay");
    assert!(sandbox.kubectl(&["get", "secrets", "-n", NAMESPACE, "-o", "name"]).contains("grafana-admin"));
    run(sandbox, &["plan", "--detailed-exitcode"], &off).exits(0);
    sandbox.kubectl(&["delete", "configmap", slo, "-n", NAMESPACE]);
}

fn a_record_is_brought_back(sandbox: &Sandbox, then: &BTreeMap<String, Value>) {
    let off = ["grafana.enabled=false"];
    run(sandbox, &["rollback", "77"], &off).exits(5).says("there is no record 77").says("history");
    let before = writes(sandbox);
    let dry = run(sandbox, &["rollback", "--dry-run"], &off).exits(0);
    dry.prints("Rollback to record 2: deploy of ").prints("+ release prometheus");
    assert_eq!(writes(sandbox), before);
    let document = run(sandbox, &["rollback", "-o", "json"], &off).exits(0).json();
    assert_eq!(document["schema"], "drivemaster-mon/rollback/v1");
    let standing = sandbox.specifications(NAMESPACE);
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&standing), names(then));
    for (name, specification) in then {
        assert_eq!(&standing[name], specification, "{name}");
    }
    let last = history(sandbox).pop().unwrap();
    assert_eq!((last.1.as_str(), last.2.as_str()), ("verified", "rollback"));
    run(sandbox, &["plan", "--detailed-exitcode"], &[]).exits(0);
    // For Helm it is a revision like any other.
    assert_eq!(releases(sandbox), ["prometheus"]);
}

/// A helm that waits for ever once it is to write.
fn hanging_helm(sandbox: &Sandbox) -> String {
    let real = support::tool("helm");
    let script = format!("#!/bin/sh\n[ \"$1\" = upgrade ] && exec sleep 600\nexec '{}' \"$@\"\n", real.display());
    let path = sandbox.run.file("hanging-helm", &script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn a_killed_deploy_is_told_as_interrupted(sandbox: &Sandbox) {
    let helm = hanging_helm(sandbox);
    let mut words = vec![
        "deploy",
        "--no-verify",
        "--helm",
        &helm,
        "-n",
        NAMESPACE,
        "--set",
        "grafana.resources.limits.memory=513Mi",
    ];
    words.extend(SMALL.iter().flat_map(|set| ["--set", set]));
    words.extend(["--overlay", "team"]);
    let mut child = sandbox.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while history(sandbox).last().unwrap().1 != "running" {
        assert!(begun.elapsed() < Duration::from_secs(60), "no record runs: {:?}", history(sandbox));
    }
    // Its dashboard is there before helm is asked; nobody will write down that it is.
    while !sandbox.specifications(NAMESPACE).contains_key("ConfigMap/drivemaster-dashboard-team") {
        assert!(begun.elapsed() < Duration::from_secs(60), "the dashboard does not come");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(history(sandbox).pop().unwrap().1, "interrupted");
    // What it was to bring goes, though its record has no UID of it.
    let plan = run(sandbox, &["plan", "-o", "json"], &[]).exits(0).json();
    assert_eq!(pruned(&plan), [config_map("team")]);
    run(sandbox, &["deploy"], &[]).exits(0);
    assert!(!sandbox.specifications(NAMESPACE).contains_key("ConfigMap/drivemaster-dashboard-team"));
}

/// What stands, without what a StatefulSet leaves.
fn specifications(sandbox: &Sandbox) -> BTreeMap<String, Value> {
    let mut standing = sandbox.specifications(NAMESPACE);
    standing.retain(|name, _| !name.starts_with("PersistentVolumeClaim/") || !name.contains("loki"));
    standing
}

fn a_deploy_that_fails_is_put_back(sandbox: &Sandbox) {
    let verified = numbers(sandbox).pop().unwrap();
    let then = specifications(sandbox);
    let failing = |way: &str| {
        let sets = [
            "grafana.resources.limits.memory=513Mi",
            "loki.enabled=true",
            "loki.image.repository=registry.invalid/crash-loop",
        ];
        let verb = ["deploy", "--fail-after", "1", "--timeout", "60", "--on-failure", way];
        run(sandbox, &verb, &sets).exits(4).says("CrashLoopBackOff")
    };
    let last = || {
        run(sandbox, &["history", "-o", "json"], &[]).exits(0).json()["records"]
            .as_array()
            .unwrap()
            .last()
            .cloned()
            .unwrap()
    };

    let told = failing("rollback").says(&format!("put back to record {verified}"));
    let told = told.says("stays, as it is new (`--on-failure remove` takes it away): release loki");
    let (failed, back) = (told.stderr.find("the deploy failed").unwrap(), told.stderr.find("put back").unwrap());
    assert!(failed < back, "the evidence comes first:\n{}", told.stderr);
    let head = last();
    assert_eq!((&head["outcome"], &head["reversal"]["to"]), (&json!("failed"), &json!(verified)));
    assert!(head["why"].as_str().unwrap().contains("CrashLoopBackOff"), "{head}");
    let standing = specifications(sandbox);
    assert!(standing.contains_key("StatefulSet/loki"));
    assert!(then.iter().all(|(name, specification)| standing.get(name) == Some(specification)));
    // What it left is known, and goes with the next deploy.
    let plan = run(sandbox, &["plan", "-o", "json"], &[]).exits(0).json();
    assert_eq!((plan["steps"].as_array().unwrap().len(), pruned(&plan)), (1, vec!["release loki".to_owned()]));
    run(sandbox, &["deploy", "--no-verify"], &[]).exits(0);
    assert_eq!(specifications(sandbox), then);

    failing("remove").says("release loki");
    assert_eq!(specifications(sandbox), then);
    assert!(
        sandbox
            .specifications(NAMESPACE)
            .keys()
            .any(|name| name.starts_with("PersistentVolumeClaim/") && name.contains("loki"))
    );
    run(sandbox, &["plan", "--detailed-exitcode"], &[]).exits(0);
    assert_eq!(last()["reversal"]["to"], verified);

    // Where nothing was verified before, there is nothing to go back to.
    let elsewhere = |verb: &[&str], way: &str| {
        let mut words = [verb, &["-n", "unverified", "--fail-after", "1", "--on-failure", way]].concat();
        let sets = ["grafana.enabled=false", "loki.enabled=true", "loki.image.repository=registry.invalid/crash-loop"];
        words.extend(SMALL.iter().chain(&sets).flat_map(|set| ["--set", set]));
        sandbox.run(&words).exits(4)
    };
    elsewhere(&["deploy"], "rollback").says("there is no verified record to go back to");
    assert!(sandbox.kubectl(&["get", "statefulsets", "-n", "unverified", "-o", "name"]).contains("loki"));
    sandbox.kubectl(&["delete", "namespace", "unverified"]);
    elsewhere(&["deploy"], "remove").says("taken away again: release loki");
    assert!(sandbox.kubectl(&["get", "statefulsets", "-n", "unverified", "-o", "name"]).is_empty());
}

fn ten_records_are_kept(sandbox: &Sandbox) {
    run(sandbox, &["deploy"], &["grafana.resources.limits.memory=514Mi"]).exits(0);
    run(sandbox, &["deploy"], &[]).exits(0);
    let verified = numbers(sandbox).pop().unwrap();
    for version in 1..=11 {
        let dashboard =
            format!(r#"{{"uid": "team", "title": "Team", "schemaVersion": 39, "panels": [], "version": {version}}}"#);
        sandbox.run.file("team/dashboards/team.json", &dashboard);
        let overlay = ["--overlay", "team"];
        // The last one makes place for itself.
        let plan = (version == 11)
            .then(|| run(sandbox, &[&["plan", "-o", "json"], &overlay[..]].concat(), &[]).exits(0).json());
        let before = writes(sandbox);
        run(sandbox, &[&["deploy", "--no-verify"], &overlay[..]].concat(), &[]).exits(0);
        if let Some(plan) = plan {
            assert_eq!(plan["bookkeeping"]["record"], 3);
            assert_bookkeeping(sandbox, &plan, before);
        }
    }
    let newest: Vec<u64> = (verified + 2..=verified + 11).collect();
    assert_eq!(numbers(sandbox), [&[verified][..], &newest].concat(), "the verified one is kept besides");
    let kept = sandbox.kubectl(&["get", "secrets", "-n", NAMESPACE, "-l", "drivemaster-mon/record", "-o", "name"]);
    assert_eq!(kept.lines().count(), 11, "{kept}");
}

fn uninstall_takes_the_records_with_it(sandbox: &Sandbox) {
    run(sandbox, &["uninstall"], &[]).exits(0);
    assert!(numbers(sandbox).is_empty());
    run(sandbox, &["rollback"], &[]).exits(5).says("no deploy is recorded");
    run(sandbox, &["uninstall", "--all"], &[]).exits(0);
}
