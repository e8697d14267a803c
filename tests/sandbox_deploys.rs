//! One deploy at a time, exactly the one that was shown, and whatever was killed in the middle comes right
//! with the next run. The cases share one sandbox, each in a namespace of its own.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::Answer;
use support::sandbox::Sandbox;

/// How often a deploy is killed.
const KILLS: u32 = 10;

/// One small component, which is enough to see what a deploy does.
const SMALL: [&str; 6] = [
    "prometheus.enabled=false",
    "alertmanager.enabled=false",
    "grafana.enabled=false",
    "jaeger.enabled=false",
    "otelCollector.enabled=false",
    "verify.timeoutSeconds=20",
];

fn words<'a>(verb: &[&'a str], namespace: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
    let mut words = verb.to_vec();
    words.extend(["-n", namespace]);
    words.extend(SMALL.iter().chain(sets).flat_map(|set| ["--set", set]));
    words
}

fn run(sandbox: &Sandbox, verb: &[&str], namespace: &str, sets: &[&str]) -> Answer {
    sandbox.run(&words(verb, namespace, sets))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lease_holder(sandbox: &Sandbox, namespace: &str) -> Option<String> {
    let path = "jsonpath={.items[?(@.metadata.name=='drivemaster-mon')].spec.holderIdentity}";
    let holder = sandbox.kubectl(&["get", "leases", "-n", namespace, "-o", path]);
    (!holder.is_empty()).then_some(holder)
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The revisions of `loki` with their status, by Helm itself.
fn history(sandbox: &Sandbox, namespace: &str) -> Vec<(u64, String)> {
    let mut helm = Command::new(support::tool("helm"));
    helm.args(["history", "loki", "-n", namespace, "-o", "json"]).env("KUBECONFIG", sandbox.kubeconfig());
    let output = helm.output().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    rows.iter().map(|row| (row["revision"].as_u64().unwrap(), row["status"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn deploys_are_exact_alone_and_survive_being_killed() {
    let sandbox = Sandbox::up();
    a_frozen_plan_is_carried_out_exactly_or_not_at_all(&sandbox);
    one_deploy_at_a_time(&sandbox);
    a_release_that_a_killed_helm_left_pending_is_repaired(&sandbox);
    a_deploy_that_is_killed_anywhere_comes_right_with_the_next(&sandbox);
}

fn a_frozen_plan_is_carried_out_exactly_or_not_at_all(sandbox: &Sandbox) {
    let namespace = "frozen";
    let file = |name: &str| sandbox.run.home.path().join(name).display().to_string();
    let freeze = |name: &str, sets: &[&str]| {
        let file = file(name);
        let answer = run(sandbox, &["plan", "--out", &file, "-o", "json"], namespace, sets).exits(0);
        assert!(answer.json()["digest"].as_str().unwrap().starts_with("sha256:"));
        file
    };
    let carry_out = |file: &str| sandbox.run(&["deploy", "--yes", "--no-verify", "--plan", file]);

    let first = freeze("first.json", &[]);
    assert_eq!(std::fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
    carry_out(&first).exits(0);
    assert_eq!(history(sandbox, namespace), [(1, "deployed".to_owned())]);
    run(sandbox, &["plan", "--detailed-exitcode"], namespace, &[]).exits(0);
    // It was for another cluster than the one that is there now.
    carry_out(&first).exits(5).says("`release loki` needs no step any more").says("drivemaster-mon plan");

    let changed = ["grafana.enabled=true", "loki.retention.audit=9000h"];
    let second = freeze("second.json", &changed);
    // Somebody makes what the plan would make; a status that changes all the while counts for nothing.
    let dashboard = "drivemaster-dashboard-slo";
    sandbox.kubectl(&["create", "configmap", dashboard, "-n", namespace]);
    let moved = carry_out(&second).exits(5);
    moved.says(&format!("`ConfigMap {namespace}/{dashboard}` would be updated (values) now, and was created (new)"));
    assert_eq!(history(sandbox, namespace).len(), 1);
    sandbox.kubectl(&["delete", "configmap", dashboard, "-n", namespace]);
    sandbox.kubectl(&["annotate", "statefulset", "loki", "-n", namespace, "somebody.example.org/seen=1"]);
    carry_out(&second).exits(0);
    run(sandbox, &["plan", "--detailed-exitcode"], namespace, &changed).exits(0);

    // What it cannot be.
    sandbox.run(&["deploy", "--plan", &second, "--set", "domain=a.b"]).exits(64).says("`--set`");
    let text = std::fs::read_to_string(&second).unwrap();
    let other = sandbox.run.file("other.json", &text.replacen("9000h", "9001h", 1));
    carry_out(other.to_str().unwrap()).exits(64).says("was changed after it was made");
    carry_out("/nonexistent.json").exits(64).says("/nonexistent.json");
    run(sandbox, &["uninstall", "--all", "--yes"], namespace, &changed).exits(0);
}

/// A helm that waits, once it is to write, until a file is there; and the file.
fn slow_helm(sandbox: &Sandbox, name: &str) -> (PathBuf, PathBuf) {
    let go = sandbox.run.home.path().join(format!("{name}.go"));
    let real = support::tool("helm");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = upgrade ]; then while [ ! -e '{}' ]; do sleep 0.1; done; fi\nexec '{}' \"$@\"\n",
        go.display(),
        real.display()
    );
    let path = sandbox.run.file(name, &script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (path, go)
}

fn spawn(sandbox: &Sandbox, verb: &[&str], namespace: &str, sets: &[&str]) -> Child {
    let mut command = sandbox.command(&words(verb, namespace, sets));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn one_deploy_at_a_time(sandbox: &Sandbox) {
    let namespace = "alone";
    let (slow, go) = slow_helm(sandbox, "slow-helm");
    let slow = slow.to_str().unwrap();
    sandbox.kubectl(&["create", "namespace", namespace]);
    let mut first = spawn(sandbox, &["deploy", "--no-verify", "--helm", slow], namespace, &[]);
    until("the first holds the lock", || lease_holder(sandbox, namespace).is_some());
    let holder = lease_holder(sandbox, namespace).unwrap();
    assert!(holder.ends_with(&format!("process {}", first.id())), "{holder}");
    let refused = run(sandbox, &["deploy", "--no-verify"], namespace, &["loki.retention.audit=9000h"]).exits(5);
    refused.says(&format!("`{holder}`")).says("--wait-lock");
    // The stack of the first is not there yet, so its namespace alone stands in the way of taking it away.
    let queued = ["deploy", "--no-verify", "--wait-lock"];
    let second = spawn(sandbox, &queued, namespace, &["loki.retention.audit=9000h"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(lease_holder(sandbox, namespace), Some(holder));
    std::fs::write(&go, "").unwrap();
    assert!(first.wait().unwrap().success());
    let second = second.wait_with_output().unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(lease_holder(sandbox, namespace), None);
    assert_eq!(history(sandbox, namespace).len(), 2);

    // One who is killed is not waited for, and neither is the helm it had started.
    std::fs::remove_file(&go).unwrap();
    let mut killed = spawn(sandbox, &["deploy", "--no-verify", "--helm", slow], namespace, &[]);
    until("helm waits", || children(&slow_marker(slow)) == 1);
    kill(&mut killed);
    until("its helm is gone", || children(&slow_marker(slow)) == 0);
    run(sandbox, &["deploy", "--no-verify"], namespace, &[]).exits(0);
    assert_eq!(lease_holder(sandbox, namespace), None);
    run(sandbox, &["uninstall", "--all", "--yes"], namespace, &[]).exits(0);
}

/// What the command line of a waiting [`slow_helm`] holds.
fn slow_marker(path: &str) -> String {
    format!("{path}\0upgrade")
}

/// How many processes have `marker` in their command line, without launchers on their way.
fn children(marker: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(marker) && !line.contains("__ends-with-parent")).count()
}

fn a_release_that_a_killed_helm_left_pending_is_repaired(sandbox: &Sandbox) {
    let namespace = "pending";
    run(sandbox, &["deploy", "--no-verify"], namespace, &[]).exits(0);
    let folder = sandbox.run.home.path().join("bundle");
    run(sandbox, &["render", "-o", folder.to_str().unwrap()], namespace, &[]).exits(0);
    let chart = find_chart(&folder);
    // It waits for an image that never comes.
    let mut helm = Command::new(support::tool("helm"))
        .args(["upgrade", "loki", chart.to_str().unwrap(), "-n", namespace, "--wait", "--reuse-values"])
        .args(["--labels", "drivemaster-mon/chart=old", "--set", "image.repository=registry.invalid/none"])
        .env("KUBECONFIG", sandbox.kubeconfig())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the release is pending", || history(sandbox, namespace).len() == 2);
    kill(&mut helm);
    assert_eq!(history(sandbox, namespace)[1].1, "pending-upgrade");
    run(sandbox, &["plan"], namespace, &[]).exits(0).prints("repair (pending-upgrade)");
    run(sandbox, &["deploy", "--no-verify"], namespace, &[]).exits(0);
    let history = history(sandbox, namespace);
    assert_eq!(history, [(1, "superseded".to_owned()), (2, "deployed".to_owned())]);
    run(sandbox, &["uninstall", "--all", "--yes"], namespace, &[]).exits(0);
}

fn find_chart(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if folder.ends_with("loki") && folder.join("Chart.yaml").exists() {
            return folder;
        }
        folders.extend(std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).filter(|p| p.is_dir()));
    }
    panic!("no chart of loki in {}", folder.display());
}

fn a_deploy_that_is_killed_anywhere_comes_right_with_the_next(sandbox: &Sandbox) {
    let namespace = "killed";
    let begun = Instant::now();
    run(sandbox, &["deploy", "--no-verify"], namespace, &[]).exits(0);
    let took = begun.elapsed();
    let undisturbed = sandbox.specifications(namespace);
    run(sandbox, &["uninstall", "--all", "--yes"], namespace, &[]).exits(0);
    for kill_number in 1..=KILLS {
        let mut child = spawn(sandbox, &["deploy", "--no-verify"], namespace, &[]);
        std::thread::sleep(took * kill_number / KILLS);
        kill(&mut child);
    }
    run(sandbox, &["deploy", "--no-verify"], namespace, &[]).exits(0);
    assert_eq!(sandbox.specifications(namespace), undisturbed);
    let history = history(sandbox, namespace);
    assert_eq!(history.last().unwrap().1, "deployed", "{history:?}");
    assert!(history.iter().all(|(_, status)| !status.starts_with("pending")), "{history:?}");
    run(sandbox, &["plan", "--detailed-exitcode"], namespace, &[]).exits(0);
    run(sandbox, &["uninstall", "--all", "--yes"], namespace, &[]).exits(0);
}
