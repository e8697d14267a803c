//! The life of a sandbox with its real programs: it becomes ready, it is found again, it ends, and
//! whatever happens no process is left.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder for the state of sandboxes, of which nothing may be left in the end.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drivemaster-mon"));
        command
            .args(["--profile", "local", "-o", "json"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("DRIVEMASTER_MON_STATE", self.folder.path())
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed, and gives the document it prints.
    fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", error_text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn status(&self) -> Value {
        let output = self.run(&["sandbox", "status"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("sandboxes").join("default")
    }

    fn record(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.state().join("supervisor.json")).ok()?).ok()
    }

    /// The processes that the record names: supervisor, guard, programs.
    fn recorded(&self) -> Vec<i32> {
        let record = self.record().unwrap();
        let programs = record["programs"].as_object().unwrap().values().map(|program| &program["process"]);
        programs.chain([&record["guard"], &record["supervisor"]]).map(pid_of).collect()
    }

    /// Processes that name this folder on their command line.
    fn processes(&self) -> Vec<i32> {
        let marker = self.folder.path().to_str().unwrap();
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(marker)
            })
            .collect()
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let output = Command::new(self.state().join("bin/kubectl"))
            .args(arguments)
            .env("KUBECONFIG", self.state().join("kubeconfig"))
            .output()
            .unwrap();
        assert!(output.status.success(), "kubectl {arguments:?}: {}", error_text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn apply(&self, text: &str) {
        let file = self.folder.path().join("objects.yaml");
        std::fs::write(&file, text).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    }

    #[track_caller]
    fn assert_nothing_is_left(&self, recorded: &[i32]) {
        until("every process is gone", || self.processes().is_empty() && recorded.iter().all(|pid| !is_alive(*pid)));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A failed test must not leave a cluster behind.
        let _ = self.run(&["sandbox", "down"]);
    }
}

fn pid_of(process: &Value) -> i32 {
    i32::try_from(process["pid"].as_i64().unwrap()).unwrap()
}

fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An `up` that has started its first programs and is not ready yet.
fn up_half_way(place: &Place) -> (Child, Vec<i32>) {
    let child = place.command(&["sandbox", "up"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Supervisor, etcd and the API server name the folder.
    until("the first programs run", || place.processes().len() >= 3);
    assert!(place.record().unwrap()["programs"].as_object().unwrap().is_empty(), "it is ready already");
    (child, place.recorded())
}

const OBJECTS: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec: { storageClassName: fast-ssd, accessModes: [ReadWriteOnce], resources: { requests: { storage: 10Gi } } }
---
apiVersion: v1
kind: Pod
metadata: { name: plain }
spec:
  initContainers: [{ name: first, image: init }]
  containers: [{ name: main, image: web, volumeMounts: [{ name: data, mountPath: /data }] }]
  volumes: [{ name: data, persistentVolumeClaim: { claimName: data } }]
---
apiVersion: v1
kind: Pod
metadata: { name: with-program, labels: { app.kubernetes.io/name: alertmanager } }
spec: { containers: [{ name: alertmanager, image: web }, { name: side, image: web }] }
---
apiVersion: v1
kind: Pod
metadata: { name: unpulled, labels: { app.kubernetes.io/name: prometheus } }
spec: { containers: [{ name: main, image: "registry.invalid/does-not-exist:1" }] }
---
apiVersion: v1
kind: Pod
metadata: { name: crashing }
spec: { containers: [{ name: main, image: "registry.invalid/crash-loop:1" }] }
---
apiVersion: batch/v1
kind: Job
metadata: { name: work }
spec: { template: { spec: { restartPolicy: Never, containers: [{ name: main, image: tool }] } } }
"#;

#[test]
fn a_sandbox_takes_pods_is_found_again_tells_what_died_and_leaves_nothing() {
    let place = Place::new();
    // Two at once: one starts it, the other waits and attaches.
    let other = place.command(&["sandbox", "up"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let up = place.ask(&["sandbox", "up"]);
    assert_eq!(up["kubeconfig"], place.state().join("kubeconfig").to_str().unwrap());
    let mut other = other;
    assert!(other.wait().unwrap().success());
    let supervisor = place.record().unwrap()["supervisor"].clone();

    // Pods live as their kind does, claims are bound, Jobs complete.
    place.apply(OBJECTS);
    place.kubectl(&["wait", "--for=condition=Ready", "pod/plain", "--timeout=30s"]);
    place.kubectl(&["wait", "--for=condition=Complete", "job/work", "--timeout=30s"]);
    assert_eq!(place.kubectl(&["get", "pvc", "data", "-o", "jsonpath={.status.phase}"]), "Bound");
    for (pod, path, expected) in [
        ("plain", "{.status.phase} {.status.initContainerStatuses[0].state.terminated.reason}", "Running Completed"),
        // The real program behind it has no configuration to start with.
        ("with-program", "{.status.phase} {.status.conditions[?(@.type=='Ready')].status}", "Running False"),
        ("unpulled", "{.status.phase} {.status.containerStatuses[0].state.waiting.reason}", "Pending ImagePullBackOff"),
        (
            "crashing",
            "{.status.phase} {.status.containerStatuses[0].state.waiting.reason} {.status.containerStatuses[0].restartCount}",
            "Running CrashLoopBackOff 3",
        ),
    ] {
        until(&format!("{pod} is {expected}"), || {
            place.kubectl(&["get", "pod", pod, "-o", &format!("jsonpath={path}")]) == expected
        });
    }

    // A volume is free again when its claim is gone.
    let volume = place.kubectl(&["get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}"]);
    place.kubectl(&["delete", "pod/plain", "pvc/data", "--now"]);
    until("the volume is free again", || {
        place.kubectl(&["get", "pv", &volume, "-o", "jsonpath={.status.phase}"]) == "Available"
    });

    // The simulated platform is reached through the API server, and listens to scenarios.
    let health = "/api/v1/namespaces/drivemaster/services/user-service:3001/proxy/health";
    assert!(place.kubectl(&["get", "--raw", health]).contains("healthy"));
    let scenarios = place.ask(&["sandbox", "scenario", "set", "errors", "user-service", "8%"]);
    assert_eq!(scenarios["scenarios"], serde_json::json!(["errors user-service 8%"]));
    assert_eq!(place.run(&["sandbox", "scenario", "set", "dance"]).status.code(), Some(64));
    assert_eq!(place.ask(&["sandbox", "scenario", "clear"])["scenarios"], serde_json::json!([]));

    // A command runs in it, with its own exit code; the audit log saw what it did.
    let output = place.run(&["sandbox", "run", "--", "sh", "-c", "kubectl get nodes -o name; exit 7"]);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).trim()), (Some(7), "node/sandbox-0"));
    let audit = std::fs::read_to_string(place.state().join("audit.log")).unwrap();
    let seen = audit.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|event| {
        event["verb"] == "create"
            && event["objectRef"]["name"] == "crashing"
            && event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl"))
    });
    assert!(seen, "the audit log does not tell who made the pod");

    // Still the same one.
    place.ask(&["sandbox", "up"]);
    assert_eq!(place.record().unwrap()["supervisor"], supervisor);

    // A program that dies is told with its log, and `up` starts afresh.
    let first = place.recorded();
    let kwok = pid_of(&place.record().unwrap()["programs"]["kwok"]["process"]);
    kill(Pid::from_raw(kwok), Signal::SIGKILL).unwrap();
    until("the death is told", || place.status()["status"]["healthy"] == false);
    let status = place.status();
    let dead =
        status["status"]["programs"].as_array().unwrap().iter().find(|program| program["name"] == "kwok").unwrap();
    assert_eq!(dead["state"], "ended with signal 9");
    assert!(!dead["lastLines"].as_array().unwrap().is_empty());
    place.ask(&["sandbox", "up"]);
    assert_ne!(place.record().unwrap()["supervisor"], supervisor);
    assert!(first.iter().all(|pid| !is_alive(*pid)));

    let recorded = place.recorded();
    assert!(recorded.len() >= 7);
    assert_eq!(place.ask(&["sandbox", "down"])["wasUp"], true);
    place.assert_nothing_is_left(&recorded);
    assert!(!place.state().exists());
    assert_eq!(place.ask(&["sandbox", "down"])["wasUp"], false);
}

#[test]
fn killing_the_supervisor_or_the_guard_leaves_no_process_and_up_works_again() {
    let place = Place::new();
    for victim in ["supervisor", "guard"] {
        place.ask(&["sandbox", "up"]);
        let recorded = place.recorded();
        kill(Pid::from_raw(pid_of(&place.record().unwrap()[victim])), Signal::SIGKILL).unwrap();
        place.assert_nothing_is_left(&recorded);
        assert_eq!(place.run(&["sandbox", "status"]).status.code(), Some(1));
    }
}

#[test]
fn ctrl_c_and_kill_during_up_leave_nothing() {
    for (signal, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGTERM, Some(143)), (Signal::SIGKILL, None)] {
        let place = Place::new();
        let (mut child, recorded) = up_half_way(&place);
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);
        place.assert_nothing_is_left(&recorded);
        until("the folder is gone", || !place.state().exists());
    }
}

#[test]
fn missing_programs_are_named_all_at_once() {
    let place = Place::new();
    let output = place
        .command(&["sandbox", "up"])
        .env("PATH", "/nonexistent")
        .env("DRIVEMASTER_MON_TOOLS", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = error_text(&output) + &String::from_utf8_lossy(&output.stdout);
    for program in ["etcd", "kube-apiserver", "kube-controller-manager", "kwok", "kubectl", "helm", "alertmanager"] {
        assert!(text.contains(&format!("`{program}`")), "{program}: {text}");
    }
    assert!(text.contains("make tools"), "{text}");
    assert!(!place.state().exists());
}

#[test]
fn a_program_that_does_not_stay_up_is_named_with_the_end_of_its_log() {
    let place = Place::new();
    let tools = place.folder.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    let program = tools.join("kube-apiserver");
    std::fs::write(&program, "#!/bin/sh\necho the moon is full\nexit 3\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = place.run(&["--tools", Path::new(&tools).to_str().unwrap(), "sandbox", "up"]);
    assert_eq!(output.status.code(), Some(3));
    let text = error_text(&output) + &String::from_utf8_lossy(&output.stdout);
    for part in ["`kube-apiserver` does not stay up", "exit code 3", "the moon is full"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    place.assert_nothing_is_left(&[]);
}
