//! One deploy at a time, exactly the one that was shown, and whatever was killed in the middle comes right
//! with the next run. The cases share one sandbox, each in a namespace of its own.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::Answer;
use support::sandbox::Sandbox;

/// How often a deploy is killed here; `make soak` does it more often.
const KILLS: u32 = 10;
/// How many deploys in a row are killed before one may end.
const KILLS_IN_A_ROW: u32 = 10;

/// One small component, which is enough to see what a deploy does: Grafana, behind whose pods no program
/// starts, and its dashboards, which are objects of our own.
const SMALL: [&str; 6] = [
    "prometheus.enabled=false",
    "alertmanager.enabled=false",
    "loki.enabled=false",
    "jaeger.enabled=false",
    "otelCollector.enabled=false",
    "verify.timeoutSeconds=20",
];
/// The release of [`SMALL`].
const RELEASE: &str = "prometheus";
/// Another version of it.
const OTHER_VERSION: &str = "grafana.sidecarImage.tag=2.10.2";

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

/// The revisions of [`RELEASE`] with their status, by Helm itself.
fn history(sandbox: &Sandbox, namespace: &str) -> Vec<(u64, String)> {
    let mut helm = Command::new(support::tool("helm"));
    helm.args(["history", RELEASE, "-n", namespace, "-o", "json"]).env("KUBECONFIG", sandbox.kubeconfig());
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

/// Does `work` while a controller writes into the status of every StatefulSet, again and again.
fn while_somebody_writes_status(sandbox: &Sandbox, namespace: &str, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let mut written = 0;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let names = sandbox.kubectl(&["get", "statefulsets", "-n", namespace, "-o", "name"]);
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                for name in names.lines() {
                    let seen = format!(
                        r#"{{"status":{{"conditions":[{{"type":"Seen","status":"True","message":"{count}"}}]}}}}"#
                    );
                    let patch = ["patch", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", &seen];
                    // One that is being replaced has none.
                    let patched = Command::new(support::tool("kubectl"))
                        .args(patch)
                        .env("KUBECONFIG", sandbox.kubeconfig())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .status();
                    count += u32::from(patched.is_ok_and(|status| status.success()));
                }
            }
            count
        });
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
        written = writer.join().unwrap();
    });
    assert!(written > 2, "{written}");
}

fn a_frozen_plan_is_carried_out_exactly_or_not_at_all(sandbox: &Sandbox) {
    let namespace = "frozen";
    let without = ["grafana.enabled=false", "alertmanager.enabled=true"];
    let file = |name: &str| sandbox.run.home.path().join(name).display().to_string();
    let freeze = |name: &str, sets: &[&str]| {
        let file = file(name);
        let answer = run(sandbox, &["plan", "--out", &file, "-o", "json"], namespace, sets).exits(0);
        assert!(answer.json()["digest"].as_str().unwrap().starts_with("sha256:"));
        file
    };
    let carry_out = |file: &str| sandbox.run(&["deploy", "--yes", "--no-verify", "--plan", file]);

    let first = freeze("first.json", &without);
    assert_eq!(std::fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
    carry_out(&first).exits(0);
    assert_eq!(history(sandbox, namespace), [(1, "deployed".to_owned())]);
    run(sandbox, &["plan", "--detailed-exitcode"], namespace, &without).exits(0);
    // It was for another cluster than the one that is there now.
    carry_out(&first).exits(5).says("`release prometheus` needs no step any more").says("drivemaster-mon plan");

    let changed = ["alertmanager.enabled=true", OTHER_VERSION];
    let second = freeze("second.json", &changed);
    // Somebody makes what the plan would make; a status that changes all the while counts for nothing.
    let dashboard = "drivemaster-dashboard-slo";
    sandbox.kubectl(&["create", "configmap", dashboard, "-n", namespace]);
    let moved = carry_out(&second).exits(5);
    moved.says(&format!("`ConfigMap {namespace}/{dashboard}` would be updated (values) now, and was created (new)"));
    assert_eq!(history(sandbox, namespace).len(), 1);
    sandbox.kubectl(&["delete", "configmap", dashboard, "-n", namespace]);
    sandbox.kubectl(&["annotate", "statefulsets", "--all", "-n", namespace, "somebody.example.org/seen=1"]);
    while_somebody_writes_status(sandbox, namespace, || {
        carry_out(&second).exits(0);
    });
    run(sandbox, &["plan", "--detailed-exitcode"], namespace, &changed).exits(0);

    // What is gone counts, also where the plan would not have touched it.
    let third = freeze("third.json", &["alertmanager.enabled=true"]);
    sandbox.kubectl(&["delete", "configmap", dashboard, "-n", namespace]);
    let moved = carry_out(&third).exits(5);
    moved.says(&format!("`ConfigMap {namespace}/{dashboard}`"));
    run(sandbox, &["deploy", "--no-verify"], namespace, &changed).exits(0);

    // What it cannot be.
    sandbox.run(&["deploy", "--plan", &second, "--set", "domain=a.b"]).exits(64).says("`--set`");
    let text = std::fs::read_to_string(&second).unwrap();
    let other = sandbox.run.file("other.json", &text.replacen("2.10.2", "2.10.3", 1));
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
    let refused = run(sandbox, &["deploy", "--no-verify"], namespace, &[OTHER_VERSION]).exits(5);
    refused.says(&format!("`{holder}`")).says("--wait-lock");
    // The stack of the first is not there yet, so its namespace alone stands in the way of taking it away.
    let queued = ["deploy", "--no-verify", "--wait-lock"];
    let second = spawn(sandbox, &queued, namespace, &[OTHER_VERSION]);
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
        .args(["upgrade", RELEASE, chart.to_str().unwrap(), "-n", namespace, "--wait", "--reuse-values"])
        .args([
            "--labels",
            "drivemaster-mon/chart=old",
            "--set",
            "grafana.image.repository=registry.invalid/does-not-exist",
        ])
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
        if folder.ends_with(RELEASE) && folder.join("Chart.yaml").exists() {
            return folder;
        }
        folders.extend(std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).filter(|p| p.is_dir()));
    }
    panic!("no chart of {RELEASE} in {}", folder.display());
}

fn a_deploy_that_is_killed_anywhere_comes_right_with_the_next(sandbox: &Sandbox) {
    kill_deploys(sandbox, KILLS, 1, |_| {});
}

/// `make soak`: DRIVEMASTER_MON_KILLS deploys are killed (100 without it), at points that
/// DRIVEMASTER_MON_SEED gives (the time without it).
#[test]
#[ignore = "takes a quarter of an hour: run by `make soak`"]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = u32::try_from(number("DRIVEMASTER_MON_KILLS").unwrap_or(100)).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = number("DRIVEMASTER_MON_SEED").unwrap_or(now);
    println!("{kills} deploys are killed; DRIVEMASTER_MON_SEED={seed} repeats it");
    let begun = Instant::now();
    kill_deploys(&Sandbox::up(), kills, seed, |line| println!("{:>5} s  {line}", begun.elapsed().as_secs()));
}

/// Kills `kills` deploys, each of one of two versions, at random points; after some in a row the next one
/// must end in what an undisturbed deploy makes, and leave nothing else.
fn kill_deploys(sandbox: &Sandbox, kills: u32, seed: u64, tell: impl Fn(&str)) {
    let namespace = "killed";
    let deploy = ["deploy", "--no-verify"];
    let begun = Instant::now();
    run(sandbox, &deploy, namespace, &[]).exits(0);
    let took = begun.elapsed();
    let undisturbed = sandbox.specifications(namespace);
    let mut random = StdRng::seed_from_u64(seed);
    let mut killed = 0;
    // The version that is deployed next: another than the last, so that there is something to do.
    let mut is_other = false;
    while killed < kills {
        if random.random() {
            run(sandbox, &["uninstall", "--all", "--yes"], namespace, &[]).exits(0);
        }
        let mut points = Vec::new();
        while points.len() < KILLS_IN_A_ROW.min(kills - killed) as usize {
            is_other = !is_other;
            let sets: &[&str] = if is_other { &[OTHER_VERSION] } else { &[] };
            let mut child = spawn(sandbox, &deploy, namespace, sets);
            let point = took.mul_f64(random.random());
            std::thread::sleep(point);
            // One that has ended was not killed.
            if child.try_wait().unwrap().is_none() {
                points.push(format!("{:.1}", point.as_secs_f64()));
            }
            kill(&mut child);
        }
        killed += points.len() as u32;
        let begun = Instant::now();
        run(sandbox, &deploy, namespace, &[]).exits(0);
        assert_eq!(sandbox.specifications(namespace), undisturbed, "seed {seed}, after {killed} kills");
        let history = history(sandbox, namespace);
        let numbers: BTreeSet<u64> = history.iter().map(|(number, _)| *number).collect();
        let deployed = history.iter().filter(|(_, status)| status == "deployed").count();
        assert!(history.iter().all(|(_, status)| !status.starts_with("pending")), "seed {seed}: {history:?}");
        assert_eq!((numbers.len(), deployed), (history.len(), 1), "seed {seed}: {history:?}");
        assert_eq!(history.last().unwrap().1, "deployed", "seed {seed}: {history:?}");
        run(sandbox, &["plan", "--detailed-exitcode"], namespace, &[]).exits(0);
        // A deploy that found nothing left to do took no lock, so it gave none back either.
        if let Some(holder) = lease_holder(sandbox, namespace) {
            let (_, process) = holder.rsplit_once(' ').unwrap();
            assert!(!Path::new("/proc").join(process).exists(), "seed {seed}: `{holder}` is still there");
        }
        until("no helm of a killed deploy is left", || children(&format!("\0{namespace}\0")) == 0);
        let seconds = begun.elapsed().as_secs_f64();
        tell(&format!("{killed} killed after {} s; right again in {seconds:.1} s", points.join(", ")));
    }
    tell(&format!("{killed} deploys killed, all came right; an undisturbed one takes {:.1} s", took.as_secs_f64()));
    run(sandbox, &["uninstall", "--all", "--yes"], namespace, &[]).exits(0);
}
