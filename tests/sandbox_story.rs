//! The main job from end to end on one sandbox: deploy, nothing on no change, scenarios, a changed
//! alert, a rejected configuration, port-forward, uninstall, and the installation by hand.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::free_port;
use support::sandbox::Sandbox;

const MONITORING: &str = "drivemaster-monitoring";

/// Asks `question` until it is answered, for at most `seconds`.
fn eventually<T>(what: &str, seconds: u64, mut question: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < end, "{what} did not happen in {seconds} s");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Outcome of each check by id.
fn outcomes(document: &Value) -> BTreeMap<String, String> {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().map(|check| (text(&check["id"]), text(&check["outcome"]))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_main_job_works_from_the_first_deploy_to_the_last_trace() {
    let sandbox = Sandbox::up();
    deploys_and_verifies(&sandbox);
    // 8 % errors over a 2 minute window, and one minute of `for`: the rest goes on meanwhile.
    sandbox.run(&["sandbox", "scenario", "set", "errors", "user-service", "8%"]).exits(0);
    nothing_is_written_when_nothing_changed(&sandbox);
    a_changed_alert_is_one_object(&sandbox);
    a_rejected_configuration_is_named_and_mended(&sandbox);
    scenarios_are_seen(&sandbox);
    a_missing_right_empties_the_targets(&sandbox);
    forwards_carry_many_connections(&sandbox);
    secrets_are_shown_only_when_asked_for(&sandbox);
    let deployed = sandbox.specifications(MONITORING);
    uninstall_keeps_what_holds_data(&sandbox);
    the_bundle_installs_by_hand(&sandbox, &deployed);
}

fn deploys_and_verifies(sandbox: &Sandbox) {
    let plan = sandbox.run(&["plan", "-o", "json", "--detailed-exitcode"]).exits(2).json();
    let planned = plan["steps"].as_array().unwrap().len();
    assert_eq!(sandbox.writes().len(), 0, "a plan writes nothing");
    let document = sandbox.run(&["deploy", "-o", "json"]).exits(0).json();
    assert_eq!(document["schema"], "drivemaster-mon/deploy/v1");
    assert_eq!(document["applied"].as_array().unwrap().len(), planned, "every planned step was done, and no other");
    let outcomes = outcomes(&document);
    // Jaeger's program is of another version here, Grafana's does not run, and this profile has no
    // policies and no definitions; nothing else may be unknown, and nothing may fail.
    for (id, outcome) in outcomes.iter().filter(|(_, outcome)| *outcome != "pass") {
        let allowed = match id.as_str() {
            "programs/version" => "warn",
            // Budgets are reckoned from slices of five minutes, and the first is not over.
            "dashboards/drivemaster-slo" => "warn",
            "cluster/definitions-served" | "security/network-policies" => "skip",
            id if id.contains("grafana") => "unknown",
            _ => "pass",
        };
        assert_eq!(outcome, allowed, "{id}");
    }
    for id in [
        "targets/user-service",
        "targets/postgresql",
        "rules/healthy",
        "alerts/watchdog-arrives",
        "dashboards/provisioned",
        "dashboards/drivemaster-application-overview",
        "dashboards/drivemaster-stack-health",
    ] {
        assert_eq!(outcomes[id], "pass", "{id}");
    }
}

fn nothing_is_written_when_nothing_changed(sandbox: &Sandbox) {
    let before = sandbox.resource_versions(MONITORING);
    let writes = sandbox.writes().len();
    let helm = sandbox.requests_of("Helm").len();
    let document = sandbox.run(&["deploy", "-o", "json"]).exits(0).json();
    assert_eq!(document["changed"], false);
    assert_eq!(sandbox.writes().len(), writes, "{:?}", &sandbox.writes()[writes..]);
    assert_eq!(sandbox.requests_of("Helm").len(), helm, "helm was started");
    // What its own controllers touch (leases, events, endpoint slices) is not in this list.
    assert_eq!(sandbox.resource_versions(MONITORING), before);
    sandbox.run(&["plan", "--detailed-exitcode"]).exits(0).prints("nothing to do");
}

fn a_changed_alert_is_one_object(sandbox: &Sandbox) {
    sandbox.run.file(
        "team/alerts/team.yaml",
        "groups:\n  - name: team\n    rules:\n      - alert: TeamAlert\n        expr: vector(1)\n        \
         labels: { severity: info, service: team }\n        annotations: { summary: team }\n",
    );
    let plan = sandbox.run(&["plan", "-o", "json", "--overlay", "team"]).exits(0).json();
    let steps: Vec<String> = plan["steps"].as_array().unwrap().iter().map(|step| text(&step["id"])).collect();
    assert_eq!(steps, [format!("ConfigMap {MONITORING}/drivemaster-rules")]);
    let document = sandbox.run(&["deploy", "-o", "json", "--overlay", "team"]).exits(0).json();
    assert_eq!(outcomes(&document)["rules/loaded"], "pass");
    eventually("the team's alert fires", 30, || sandbox.firing().contains(&"TeamAlert".to_owned()).then_some(()));
    sandbox.run(&["deploy"]).exits(0);
}

fn a_rejected_configuration_is_named_and_mended(sandbox: &Sandbox) {
    let broken = |expression: &str, summary: &str| {
        let alert = format!("alert: Broken, expr: '{expression}', annotations: {{summary: '{summary}'}}");
        let rules = format!("groups: [{{name: broken, rules: [{{{alert}}}]}}]\n");
        sandbox.run.file("broken/alerts/broken.yaml", &rules);
    };
    // What can be told before, is.
    broken("sum((", "a");
    sandbox.run(&["deploy", "--overlay", "broken"]).exits(64).says("`Broken` is no PromQL").says("validate");
    broken("mad_over_time(up[5m])", "a");
    sandbox.run(&["deploy", "--overlay", "broken"]).exits(64).says("`mad_over_time`, which is experimental");
    // A function of templates that Prometheus alone knows not to be one.
    broken("up == 0", "{{ nosuch 1 }}");
    let answer = sandbox.run(&["deploy", "--overlay", "broken"]);
    assert_ne!(answer.code, 0, "{}", answer.stdout);
    let told = format!("{}{}", answer.stdout, answer.stderr);
    assert!(told.contains("\"nosuch\" not defined"), "{told}");
    sandbox.run(&["deploy"]).exits(0);
}

fn scenarios_are_seen(sandbox: &Sandbox) {
    sandbox.run(&["sandbox", "scenario", "set", "down", "content-service"]).exits(0);
    let answer = eventually("verify names the target", 60, || {
        let answer = sandbox.run(&["verify", "-o", "json"]);
        (answer.code == 1).then_some(answer)
    });
    let document = answer.json();
    let failed: Vec<String> =
        outcomes(&document).into_iter().filter(|(_, outcome)| outcome == "fail").map(|(id, _)| id).collect();
    assert_eq!(failed, ["targets/content-service"]);
    eventually("both alerts reach Alertmanager", 300, || {
        let firing = sandbox.held_by_alertmanager();
        let has = |alert: &str, service: &str| firing.iter().any(|(name, of)| name == alert && of == service);
        (has("HighErrorRate", "user-service") && has("ServiceDown", "content-service")).then_some(())
    });
    sandbox.run(&["sandbox", "scenario", "set", "down", "nobody"]).exits(64).says("nobody");
    sandbox.run(&["sandbox", "scenario", "clear"]).exits(0);
    eventually("verify is green again", 60, || (sandbox.run(&["verify"]).code == 0).then_some(()));
}

/// Prometheus uses a token of its own ServiceAccount, so a missing RBAC rule shows as in a real cluster.
fn a_missing_right_empties_the_targets(sandbox: &Sandbox) {
    let binding = ["rolebinding", "prometheus-kube-prometheus-prometheus", "-n", "drivemaster"];
    let saved = sandbox.kubectl(&[&["get"], &binding[..], &["-o", "json"]].concat());
    sandbox.kubectl(&[&["delete"], &binding[..]].concat());
    // What Prometheus already watches lives on; a new pod has to ask.
    let pod = "prometheus-prometheus-kube-prometheus-prometheus-0";
    sandbox.kubectl(&["delete", "pod", pod, "-n", MONITORING]);
    let verify = ["verify", "-o", "json", "--timeout", "5", "--only", "targets"];
    eventually("the services' targets are missing", 60, || {
        let answer = sandbox.run(&verify);
        let outcomes = outcomes(&answer.json());
        (outcomes["targets/user-service"] == "fail" && outcomes["targets/alertmanager"] == "pass").then_some(())
    });
    let file = sandbox.run.file("binding.json", &saved);
    sandbox.kubectl(&["create", "-f", file.to_str().unwrap()]);
    eventually("the targets are back", 90, || (sandbox.run(&verify).code == 0).then_some(()));
}

fn forwards_carry_many_connections(sandbox: &Sandbox) {
    let port = free_port();
    let mut child = sandbox
        .command(&["port-forward", "prometheus", "--port", &format!("prometheus={port}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(&format!("127.0.0.1:{port}")), "{first}");
    let answers: Vec<_> = (0..20)
        .map(|_| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                stream.write_all(b"GET /-/ready HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
                let mut answer = [0_u8; 15];
                stream.read_exact(&mut answer).unwrap();
                String::from_utf8_lossy(&answer).into_owned()
            })
        })
        .map(|thread| thread.join().unwrap())
        .collect();
    assert!(answers.iter().all(|answer| answer.contains("200")), "{answers:?}");
    // A second forward on the same port is refused, with the way out.
    let taken = sandbox.run(&["port-forward", "prometheus", "--port", &format!("prometheus={port}")]).exits(5);
    taken.says(&port.to_string()).says("--port prometheus=");
    interrupt(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    sandbox.run(&["port-forward", "grafanna"]).exits(64).says("did you mean `grafana`?");
}

fn secrets_are_shown_only_when_asked_for(sandbox: &Sandbox) {
    let shown = sandbox.run(&["access", "--show-secrets", "-o", "json"]).exits(0).json();
    let password = text(&shown["grafanaPassword"]);
    assert!(password.len() >= 16 && password != "admin123", "a generated password");
    let plain = sandbox.run(&["access"]).exits(0);
    assert!(!plain.stdout.contains(&password));
    assert!(plain.stdout.contains("prometheus-grafana.drivemaster-monitoring.svc:80"));
    let deployed = sandbox.run(&["deploy"]).exits(0);
    assert!(!format!("{}{}", deployed.stdout, deployed.stderr).contains(&password));
    let again = sandbox.run(&["access", "--show-secrets", "-o", "json"]).exits(0).json();
    assert_eq!(text(&again["grafanaPassword"]), password, "kept on redeploy");
}

fn uninstall_keeps_what_holds_data(sandbox: &Sandbox) {
    let answer = sandbox.run(&["uninstall"]).exits(0);
    assert!(answer.stdout.contains("kubectl delete"), "{}", answer.stdout);
    assert!(sandbox.kubectl(&["get", "namespace", MONITORING, "-o", "name"]).contains(MONITORING));
    assert!(sandbox.kubectl(&["get", "secret", "-n", MONITORING, "-o", "name"]).contains("grafana-admin"));
    assert!(sandbox.kubectl(&["get", "pvc", "-n", MONITORING, "-o", "name"]).contains("persistentvolumeclaim"));
    eventually("the workloads are gone", 60, || {
        sandbox
            .kubectl(&[
                "get",
                "deployments,statefulsets,configmaps",
                "-n",
                MONITORING,
                "-o",
                "name",
                "-l",
                "app.kubernetes.io/part-of=drivemaster-monitoring",
            ])
            .is_empty()
            .then_some(())
    });
    sandbox.run(&["uninstall", "--all"]).exits(0);
    eventually("the namespace is gone", 90, || {
        let namespaces = sandbox.kubectl(&["get", "namespaces", "-o", "name"]);
        (!namespaces.contains(MONITORING)).then_some(())
    });
    sandbox.run(&["uninstall", "--all"]).exits(0).prints("nothing of ours is there");
}

/// Runs the lines of the rendered README and compares what stands with what `deploy` made.
fn the_bundle_installs_by_hand(sandbox: &Sandbox, deployed: &BTreeMap<String, Value>) {
    sandbox.run(&["render", "-o", "bundle"]).exits(0);
    let folder = sandbox.run.home.path().join("bundle");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let script: String = readme
        .split("```")
        .skip(1)
        .step_by(2)
        .map(|block| {
            let (_, lines) = block.split_once('\n').unwrap();
            lines.to_owned()
        })
        .collect();
    assert!(script.contains("helm upgrade --install"), "{readme}");
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(&folder)
        .env("KUBECONFIG", sandbox.kubeconfig())
        .env("PATH", sandbox.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    let by_hand = sandbox.specifications(MONITORING);
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&by_hand), names(deployed));
    for (name, specification) in deployed {
        assert_eq!(&by_hand[name], specification, "{name}");
    }
}

fn interrupt(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}
