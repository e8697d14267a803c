//! The small stack that the tests of the judges judge.

use super::facts::{Rule, RuleGroup};
use super::{Check, Facts, Scope, Verdict};
use crate::config::{Config, Layer, Profile, resolve};
use crate::contract::Contract;
use crate::event::Outcome;
use crate::ready::Snapshot;
use crate::render::bundle::{Chart, Expected, ExpectedDashboard, ExpectedRuleGroup, ExpectedTarget, Release};
use crate::render::{Bundle, expected_metrics};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The verdicts of `check` on the small stack.
pub(in crate::checks) fn judge(check: &Check, facts: &Facts) -> Vec<Verdict> {
    let (config, bundle) = scope();
    (check.judge)(&Scope { config: &config, bundle: &bundle }, facts)
}

pub(in crate::checks) fn outcomes(verdicts: &[Verdict]) -> Vec<Outcome> {
    verdicts.iter().map(|verdict| verdict.outcome).collect()
}

/// A healthy group.
pub(in crate::checks) fn group(name: &str, rules: &[&str]) -> RuleGroup {
    let rule = |name: &&str| Rule {
        name: (*name).to_owned(),
        health: "ok".to_owned(),
        last_error: String::new(),
        kind: "alerting".to_owned(),
    };
    RuleGroup {
        name: name.to_owned(),
        file: String::new(),
        rules: rules.iter().map(rule).collect(),
        interval: 15.0,
        last_evaluation: Timestamp::default(),
    }
}

/// A ready Deployment of one replica whose specification `spec` extends.
pub(in crate::checks) fn deployment(name: &str, spec: Value) -> Value {
    workload("Deployment", name, spec)
}

/// A ready StatefulSet of one replica whose specification `spec` extends.
pub(in crate::checks) fn stateful_set(name: &str, spec: Value) -> Value {
    workload("StatefulSet", name, spec)
}

fn workload(kind: &str, name: &str, spec: Value) -> Value {
    let mut object = json!({
        "kind": kind, "metadata": {"name": name, "uid": name, "generation": 1},
        "spec": {"replicas": 1, "serviceName": name, "selector": {}, "template": {"spec": {"containers": []}}},
        "status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

/// A namespace that holds `objects`.
pub(in crate::checks) fn snapshot_of(objects: &[Value]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for object in objects.iter().cloned() {
        match object["kind"].as_str().unwrap() {
            "Deployment" => snapshot.deployments.push(serde_json::from_value(object).unwrap()),
            "StatefulSet" => snapshot.stateful_sets.push(serde_json::from_value(object).unwrap()),
            "DaemonSet" => snapshot.daemon_sets.push(serde_json::from_value(object).unwrap()),
            "Pod" => snapshot.pods.push(serde_json::from_value(object).unwrap()),
            _ => snapshot.claims.push(serde_json::from_value(object).unwrap()),
        }
    }
    snapshot
}

/// Facts of which only what the monitoring namespace holds is known.
pub(in crate::checks) fn holding(snapshot: Snapshot) -> Facts {
    Facts { namespaces: [("drivemaster-monitoring".to_owned(), Ok(snapshot))].into(), ..Facts::default() }
}

/// A configuration in which Loki may be unknown, and a bundle of two releases.
pub(crate) fn scope() -> (Config, Bundle) {
    let config = configuration();
    let mut bundle = bundle();
    bundle.expected.metrics = expected_metrics(&config, Contract::embedded().unwrap());
    (config, bundle)
}

fn bundle() -> Bundle {
    let release = |name: &str| Release {
        name: name.to_owned(),
        namespace: "drivemaster-monitoring".to_owned(),
        chart: Chart {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            app_version: "3.14.0".to_owned(),
            files: BTreeMap::new(),
        },
        values: Value::Null,
        needs: vec![],
    };
    let target = |job: &str, namespace: &str, component: Option<&str>| ExpectedTarget {
        job: job.to_owned(),
        namespace: namespace.to_owned(),
        service: job.to_owned(),
        port: 3001,
        component: component.map(str::to_owned),
    };
    let group = |name: &str, rules: &[&str]| ExpectedRuleGroup {
        name: name.to_owned(),
        rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
    };
    Bundle {
        namespaces: vec![],
        generated_secrets: vec![],
        objects: vec![],
        releases: vec![release("prometheus"), release("loki")],
        expected: Expected {
            targets: vec![
                target("prometheus", "drivemaster-monitoring", Some("prometheus")),
                target("loki", "drivemaster-monitoring", Some("loki")),
                target("user-service", "drivemaster", None),
                target("redis", "drivemaster", None),
            ],
            rule_groups: vec![group("services", &["HighErrorRate", "ServiceDown"]), group("meta", &["Watchdog"])],
            dashboards: vec![ExpectedDashboard {
                namespace: "drivemaster-monitoring".to_owned(),
                config_map: "dashboard-overview".to_owned(),
                uid: "overview".to_owned(),
                title: "Overview".to_owned(),
            }],
            metrics: vec![],
        },
        ..Bundle::default()
    }
}

fn configuration() -> Config {
    let small = "
cluster: test
environment: test
domain: example.com
ingress: { tls: true, internalClassName: internal }
grafana: { adminSecret: grafana-admin }
jaeger: { enabled: false }
platform:
  services: [{ name: user-service, port: 3001 }]
  exporters: { postgresql: none, kafka: none, elasticsearch: none, node: none, kubeState: none }
deploy: { timeoutSeconds: 1, failAfterSeconds: 0, concurrency: 1 }
verify: { timeoutSeconds: 1, mayBeUnknown: [loki] }
";
    resolve(Some(Profile::Local), &[], &[Layer::new("small.yaml", small)], &[]).unwrap()
}
