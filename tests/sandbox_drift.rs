//! What people change by hand in a deployed stack is shown with who did it, and put back; what an autoscaler
//! has is left. On a real API server, with Helm 4 and Helm 3.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::process::Command;
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
    fn run(&self, verb: &[&str]) -> Answer {
        let mut words = verb.to_vec();
        words.extend(["-n", self.namespace, "--helm", &self.helm]);
        words.extend(SMALL.iter().flat_map(|set| ["--set", set]));
        self.sandbox.run(&words)
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
        hands_are_named_and_undone(&case);
        an_autoscaler_is_left_alone(&case);
        case.run(&["uninstall", "--all", "--yes"]).exits(0);
    }
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
    case.kubectl(&["delete", "hpa", GRAFANA]);
}
