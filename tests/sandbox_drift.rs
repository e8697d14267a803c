//! What people change by hand in a deployed stack is shown with who did it, and put back; what an autoscaler
//! has is left. On a real API server, with Helm 4 and Helm 3.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::sandbox::Sandbox;
use support::{Answer, tool};

const GRAFANA: &str = "prometheus-grafana";
const DASHBOARD: &str = "drivemaster-dashboard-slo";

/// Two releases and some objects of our own.
const SMALL: [&str; 5] = [
    "prometheus.enabled=false",
    "alertmanager.enabled=false",
    "jaeger.enabled=false",
    "otelCollector.enabled=false",
    "verify.timeoutSeconds=20",
];

struct Case<'s> {
    sandbox: &'s Sandbox,
    namespace: &'s str,
    helm: String,
}

impl Case<'_> {
    fn words<'w>(&'w self, verb: &[&'w str], helm: &'w str) -> Vec<&'w str> {
        let mut words = verb.to_vec();
        words.extend(["-n", self.namespace, "--helm", helm]);
        words.extend(SMALL.iter().flat_map(|set| ["--set", set]));
        words
    }

    fn run(&self, verb: &[&str]) -> Answer {
        self.sandbox.run(&self.words(verb, &self.helm))
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        self.sandbox.kubectl(&[arguments, &["-n", self.namespace]].concat())
    }

    /// `kubectl edit`, with `script` of sed as the editor.
    fn edit(&self, object: &str, script: &str) {
        let output = Command::new(tool("kubectl"))
            .args(["edit", object, "-n", self.namespace])
            .env("KUBECONFIG", self.sandbox.kubeconfig())
            .env("KUBE_EDITOR", format!("sed -i '{script}'"))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && told.contains("edited"),
            "{told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn replicas(&self, object: &str) -> String {
        self.kubectl(&["get", object, "-o", "jsonpath={.spec.replicas}"])
    }

    /// The step of the plan.
    fn step(&self, plan: &Value, id: &str) -> Value {
        let steps = plan["steps"].as_array().unwrap();
        steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no `{id}` in {plan:#}")).clone()
    }

    fn stands_as_planned(&self) {
        let plan = self.run(&["plan", "-o", "json"]).exits(0).json();
        assert_eq!(plan["steps"], Value::Array(Vec::new()));
    }
}

#[test]
fn what_others_changed_is_shown_with_who_and_put_back() {
    let sandbox = Sandbox::up();
    for (program, namespace) in [("helm", "four"), ("helm3", "three")] {
        let helm = tool(program).to_str().unwrap().to_owned();
        let case = Case { sandbox: &sandbox, namespace, helm };
        case.run(&["deploy", "--no-verify"]).exits(0);
        case.stands_as_planned();
        hands_are_named_in_a_release_that_changes_anyway(&case);
        hands_are_named_and_undone(&case);
        if program == "helm" {
            what_helm_rolled_back_is_deployed_again(&case);
            an_autoscaler_is_left_alone(&case);
            a_plan_tells_what_a_release_would_change(&case);
            a_plan_of_what_failed_goes_from_what_stands(&case);
            an_api_that_nobody_asks_for_changes_nothing(&case);
            a_plan_is_limited_to_components(&case);
            a_watch_tells_each_change(&case);
        }
        case.run(&["uninstall", "--all", "--yes"]).exits(0);
    }
}

/// What is changed by hand in a release is told, and moves a frozen plan, whatever helm is run for.
fn hands_are_named_in_a_release_that_changes_anyway(case: &Case) {
    let namespace = case.namespace;
    let (other, file) = ("loki.retention.audit=9000h", format!("{namespace}.plan"));
    case.run(&["plan", "--set", other, "--out", &file]).exits(0);
    let relabel = |value: &str| {
        let label = format!("app.kubernetes.io/instance={value}");
        case.kubectl(&["label", "service", "loki", "--overwrite", &label]);
    };
    relabel("by-hand");
    let answer = case.sandbox.run(&["deploy", "--plan", &file, "--yes", "--no-verify"]).exits(5);
    answer.says("`release loki` stands otherwise than it did");
    let plan = case.run(&["plan", "--set", other, "-o", "json"]).exits(0).json();
    let loki = case.step(&plan, "release loki");
    assert_eq!(loki["reason"]["kind"], "values", "{loki:#}");
    let changed = format!("~ Service {namespace}/loki metadata.labels.app.kubernetes.io/instance: by-hand -> loki");
    assert_eq!(
        loki["changes"],
        Value::from(vec!["values differ from revision 1".to_owned(), format!("{changed} (kubectl-label)")])
    );
    let shown = case.run(&["plan", "--set", other]).exits(0);
    shown.prints("values differ from revision 1").prints(&format!("{changed} (kubectl-label, "));
    relabel("loki");
    case.stands_as_planned();
}

fn hands_are_named_and_undone(case: &Case) {
    let namespace = case.namespace;
    case.edit("statefulset/loki", "s/^  replicas: 1$/  replicas: 2/");
    case.kubectl(&["label", "service", "loki", "app.kubernetes.io/name-"]);
    case.kubectl(&["delete", "deployment", GRAFANA]);
    case.kubectl(&["patch", "configmap", DASHBOARD, "--type=merge", "-p", r#"{"data":{"slo.json":"by hand"}}"#]);

    let shown = case.run(&["plan"]).exits(0).prints(" s ago)");
    let shown = shown.prints(&format!("~ StatefulSet {namespace}/loki spec.replicas: 2 -> 1 (kubectl-edit, "));
    shown.prints(&format!("+ Deployment {namespace}/{GRAFANA}: it is gone"));
    let plan = case.run(&["plan", "-o", "json"]).exits(0).json();
    let ids =
        [format!("ConfigMap {namespace}/{DASHBOARD}"), "release prometheus".to_owned(), "release loki".to_owned()];
    assert_eq!(plan["steps"].as_array().unwrap().len(), ids.len(), "{plan:#}");
    for id in &ids {
        assert_eq!(case.step(&plan, id)["reason"]["kind"], "drift", "{plan:#}");
    }
    let loki = case.step(&plan, "release loki");
    assert_eq!(
        loki["changes"],
        Value::from(vec![
            format!("+ Service {namespace}/loki metadata.labels.app.kubernetes.io/name: loki"),
            format!("~ StatefulSet {namespace}/loki spec.replicas: 2 -> 1 (kubectl-edit)"),
        ])
    );
    let status = case.run(&["status", "-o", "json"]).exits(0).json();
    let drift = status["drift"]["known"].as_array().unwrap();
    assert_eq!(drift.len(), 4, "{drift:#?}");
    case.run(&["status"]).exits(0).prints("4 objects were changed by others").prints("spec.replicas by kubectl-edit");
    let by = |step: &Value| step["drift"].as_array().unwrap().last().unwrap()["by"]["manager"].clone();
    assert_eq!(by(&loki), "kubectl-edit");
    assert_eq!(by(&case.step(&plan, &ids[0])), "kubectl-patch");

    case.run(&["deploy", "--no-verify"]).exits(0);
    assert_eq!(case.replicas("statefulset/loki"), "1");
    assert_eq!(case.replicas(&format!("deployment/{GRAFANA}")), "1");
    assert!(!case.kubectl(&["get", "configmap", DASHBOARD, "-o", "yaml"]).contains("by hand"));
    case.stands_as_planned();
    // A person who scales by hand is no autoscaler.
    case.kubectl(&["scale", "deployment", GRAFANA, "--replicas=2"]);
    let plan = case.run(&["plan", "-o", "json"]).exits(0).json();
    assert_eq!(by(&case.step(&plan, "release prometheus")), "kubectl");
    case.run(&["deploy", "--no-verify"]).exits(0);
    assert_eq!(case.replicas(&format!("deployment/{GRAFANA}")), "1");
    case.stands_as_planned();
}

/// `helm rollback` works on what we deployed, and what it brought back is a difference like any other.
fn what_helm_rolled_back_is_deployed_again(case: &Case) {
    let other = "loki.resources.requests.cpu=123m";
    let with_other = |verb: &[&str]| {
        let mut words = case.words(verb, &case.helm);
        words.extend(["--set", other]);
        case.sandbox.run(&words)
    };
    let cpu = || case.kubectl(&["get", "statefulset/loki", "-o", "jsonpath={..resources.requests.cpu}"]);
    let before = cpu();
    with_other(&["deploy", "--no-verify"]).exits(0);
    assert_eq!(cpu(), "123m");
    let helm = |arguments: &[&str]| {
        let mut command = Command::new(&case.helm);
        let output =
            command.args(arguments).args(["-n", case.namespace]).env("KUBECONFIG", case.sandbox.kubeconfig()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    helm(&["rollback", "loki"]);
    assert_eq!(cpu(), before);
    let plan = with_other(&["plan", "-o", "json"]).exits(0).json();
    let ids: Vec<&Value> = plan["steps"].as_array().unwrap().iter().map(|step| &step["id"]).collect();
    assert_eq!(ids, ["release loki"], "{plan:#}");
    with_other(&["deploy", "--no-verify"]).exits(0);
    assert_eq!(cpu(), "123m");
    assert_eq!(with_other(&["plan", "-o", "json"]).exits(0).json()["steps"], Value::Array(Vec::new()));
    let history: Value = serde_json::from_str(&helm(&["history", "loki", "-o", "json"])).unwrap();
    let states: Vec<&str> = history.as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(states.iter().filter(|state| **state == "deployed").count(), 1, "{states:?}");
    case.run(&["deploy", "--no-verify"]).exits(0);
    assert_eq!(cpu(), before);
    case.stands_as_planned();
}

fn an_autoscaler_is_left_alone(case: &Case) {
    let grafana = format!("deployment/{GRAFANA}");
    case.kubectl(&["autoscale", "deployment", GRAFANA, "--min=2", "--max=3"]);
    let end = Instant::now() + Duration::from_secs(120);
    while case.replicas(&grafana) != "2" {
        assert!(Instant::now() < end, "the autoscaler does nothing");
        std::thread::sleep(Duration::from_millis(200));
    }
    case.stands_as_planned();
    let document = case.run(&["deploy", "--no-verify", "-o", "json"]).exits(0).json();
    assert_eq!(document["changed"], false);
    assert_eq!(case.replicas(&grafana), "2");
    // A chart that names the replicas sets them back whenever its release is upgraded, which is told.
    let other = "grafana.resources.requests.cpu=123m";
    let scaled_back = format!("Deployment {}/{GRAFANA} spec.replicas: 2 -> 1, until ", case.namespace);
    case.run(&["plan", "--set", other]).exits(0).prints(&scaled_back);
    case.kubectl(&["delete", "hpa", GRAFANA]);
}

/// Another value, which becomes another line of a ConfigMap.
const CHANGED: [&str; 2] = ["--set", "loki.retention.audit=9000h"];

fn a_plan_tells_what_a_release_would_change(case: &Case) {
    let namespace = case.namespace;
    let plan = [&["plan"], &CHANGED[..]].concat();
    let shown = case.run(&plan).exits(0);
    shown.prints("values:").prints("9000h").prints(&format!("~ ConfigMap {namespace}/loki"));
    let document = case.run(&[&plan[..], &["-o", "json"]].concat()).exits(0).json();
    let release = case.step(&document, "release loki")["release"].clone();
    assert_eq!(release["fromVersion"], release["toVersion"]);
    assert!(release["values"].to_string().contains("9000h"), "{release:#}");
    let objects = release["objects"].as_array().unwrap();
    assert!(objects.iter().any(|object| object["object"]["kind"] == "ConfigMap"), "{release:#}");
    assert!(objects.iter().all(|object| object["action"] == "update"), "{release:#}");
    assert_eq!(release["problems"], Value::Array(Vec::new()));
    // What was rendered for the first plan is there for the second.
    let cache = case.sandbox.run.home.path().join(".cache/drivemaster-mon/renders");
    let files = || std::fs::read_dir(&cache).unwrap().count();
    let before = files();
    assert!(before > 0);
    case.run(&plan).exits(0);
    assert_eq!(files(), before);
    // Without a helm everything else is still told.
    let without = case.sandbox.run(&case.words(&plan, "/nonexistent")).exits(0);
    without.prints("9000h").prints("what becomes of its objects is not known");
}

/// The upgrade after one that failed changes what the one before it deployed, and is no installation.
fn a_plan_of_what_failed_goes_from_what_stands(case: &Case) {
    let folder = case.sandbox.run.home.path().join("rendered");
    case.run(&["render", "-o", folder.to_str().unwrap()]).exits(0);
    let path = |part: &str| folder.join(part).to_str().unwrap().to_owned();
    let (chart, values) = (path("charts/loki"), path("02-values/loki.yaml"));
    let output = Command::new(&case.helm)
        .args(["upgrade", "loki", &chart, "-f", &values, "--set", "resources.requests.memory=64Gi"])
        .args(["-n", case.namespace])
        .env("KUBECONFIG", case.sandbox.kubeconfig())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("must be less than or equal to memory limit"), "{said}");
    let document = case.run(&[&["plan"], &CHANGED[..], &["-o", "json"]].concat()).exits(0).json();
    let loki = case.step(&document, "release loki");
    assert_eq!(loki["reason"]["status"], "failed", "{loki:#}");
    let release = &loki["release"];
    assert_eq!(release["fromVersion"], release["toVersion"], "{release:#}");
    assert!(release["values"].to_string().contains("9000h"), "{release:#}");
    let objects = release["objects"].as_array().unwrap();
    assert!(!objects.is_empty() && objects.iter().all(|object| object["action"] == "update"), "{release:#}");
    let status = case.run(&["status", "-o", "json"]).json();
    let shown =
        status["releases"]["known"].as_array().unwrap().iter().find(|release| release["name"] == "loki").unwrap();
    assert_eq!(shown["chartVersion"], release["fromVersion"], "{shown:#}");
    let standing = shown["standingRevision"].as_u64().unwrap();
    assert_eq!(shown["revision"], standing + 1, "{shown:#}");
    case.run(&["status"]).prints(&format!("revision {standing} stands"));
    case.run(&["deploy", "--no-verify"]).exits(0);
    case.stands_as_planned();
}

/// An operator that somebody else installs brings an API that none of our charts asks for.
fn an_api_that_nobody_asks_for_changes_nothing(case: &Case) {
    const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
        metadata: {name: widgets.example.org}\nspec: {group: example.org, scope: Namespaced, \
        names: {kind: Widget, plural: widgets}, versions: [{name: v1, served: true, storage: true, \
        schema: {openAPIV3Schema: {type: object}}}]}\n";
    let file = case.sandbox.run.file("widgets.yaml", DEFINITION).display().to_string();
    case.sandbox.kubectl(&["create", "-f", &file]);
    let end = Instant::now() + Duration::from_secs(30);
    while !case.sandbox.kubectl(&["api-versions"]).contains("example.org/v1") {
        assert!(Instant::now() < end, "the API server does not list it");
        std::thread::sleep(Duration::from_millis(100));
    }
    case.stands_as_planned();
}

fn a_plan_is_limited_to_components(case: &Case) {
    case.kubectl(&["delete", "service", GRAFANA]);
    case.kubectl(&["patch", "configmap", DASHBOARD, "--type=merge", "-p", r#"{"data":{"slo.json":"by hand"}}"#]);
    let ids = |words: &[&str]| -> Vec<String> {
        let plan = case.run(&[&["plan", "-o", "json"], words, &CHANGED[..]].concat()).exits(0).json();
        plan["steps"].as_array().unwrap().iter().map(|step| step["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&[]).len(), 3);
    assert_eq!(ids(&["--only", "loki"]), ["release loki"]);
    assert_eq!(ids(&["--skip", "grafana"]), ["release loki"]);
    assert_eq!(ids(&["--only", "loki,grafana", "--skip", "loki"]).len(), 2);
    let limited = ["--only", "loki"];
    let told = "Limited to loki and what they need";
    case.run(&[&["plan"], &limited[..], &CHANGED].concat()).exits(0).prints(told);
    case.run(&["plan", "--only", "lokki"]).exits(64).says("no component `lokki`").says("did you mean `loki`?");
    case.run(&["deploy", "--only", "loki", "--plan", "p.json"]).exits(64).says("cannot be used with");
    // Frozen, it is as limited.
    let file = case.sandbox.run.home.path().join("limited.json").display().to_string();
    case.run(&[&["plan", "--out", &file], &limited[..], &CHANGED].concat()).exits(0);
    case.sandbox.run(&["deploy", "--no-verify", "--plan", &file]).exits(0);
    assert_eq!(ids(&[]), [format!("ConfigMap {}/{DASHBOARD}", case.namespace), "release prometheus".to_owned()]);
    case.run(&[&["deploy", "--no-verify", "--skip", "loki"], &CHANGED[..]].concat()).exits(0);
    assert!(ids(&[]).is_empty());
}

fn a_watch_tells_each_change(case: &Case) {
    let words = [&["status", "--watch", "--interval", "1"], &CHANGED[..]].concat();
    let mut watch = case.sandbox.command(&case.words(&words, &case.helm)).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("release loki: deployed, revision ")), "it ended");
    case.edit("statefulset/loki", "s/^  replicas: 1$/  replicas: 2/");
    let drift = lines.find(|line| line.contains("drift StatefulSet")).unwrap();
    assert!(drift.ends_with("spec.replicas: 2 -> 1 (kubectl-edit)"), "{drift}");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(watch.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(130));
    let words = [&words[..], &["-o", "json"]].concat();
    let mut watch = case.sandbox.command(&case.words(&words, &case.helm)).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map_while(Result::ok);
    for _ in 0..2 {
        let look: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        assert_eq!(look["schema"], "drivemaster-mon/status/v1");
        assert_eq!(look["drift"]["known"].as_array().unwrap().len(), 1, "{look:#}");
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
}
