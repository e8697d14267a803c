//! Every workload of the platform has probes, so that Kubernetes knows whether it works.

use super::facts::Need;
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use crate::ready::Snapshot;
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};

pub(super) const CHECK: Check = Check {
    id: "platform/probes",
    title: "every workload of the platform has its probes",
    severity: Severity::Warning,
    hint: "give the containers a livenessProbe, a readinessProbe and a startupProbe on `/health`",
    doc: "docs/checks.md#platform-probes",
    component: None,
    needs: &[Need::Platform],
    judge: judge_probes,
};

fn judge_probes(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let snapshot = match facts.snapshot(&scope.config.namespaces.platform) {
        Ok(snapshot) => snapshot,
        Err(why) => return vec![Verdict::unknown(&why)],
    };
    let workloads = workloads_of(snapshot);
    let all = workloads.len();
    let lacking: Vec<String> = workloads
        .into_iter()
        .filter_map(|(name, template)| {
            let missing = missing_probes(&template?.spec.as_ref()?.containers);
            (!missing.is_empty()).then(|| format!("{name}: no {}", missing.join(", no ")))
        })
        .collect();
    vec![match (all, lacking.len()) {
        (0, _) => Verdict::skip("the platform's namespace has no workload"),
        (_, 0) => Verdict::pass().evidence(vec![format!("{} with probes", counted(all, "workload"))]),
        (_, count) => {
            // One line a workload, however many.
            Verdict {
                evidence: lacking,
                ..Verdict::fail(format!("{count} of {} lack probes", counted(all, "workload")))
            }
        }
    }]
}

fn workloads_of(snapshot: &Snapshot) -> Vec<(String, Option<&PodTemplateSpec>)> {
    let name = |kind: &str, name: &Option<String>| format!("{kind} `{}`", name.as_deref().unwrap_or_default());
    let deployments = snapshot
        .deployments
        .iter()
        .map(|found| (name("deployment", &found.metadata.name), found.spec.as_ref().map(|spec| &spec.template)));
    let stateful_sets = snapshot
        .stateful_sets
        .iter()
        .map(|found| (name("statefulset", &found.metadata.name), found.spec.as_ref().map(|spec| &spec.template)));
    let daemon_sets = snapshot
        .daemon_sets
        .iter()
        .map(|found| (name("daemonset", &found.metadata.name), found.spec.as_ref().map(|spec| &spec.template)));
    deployments.chain(stateful_sets).chain(daemon_sets).collect()
}

/// The probes that no container has: a sidecar need not have its own.
fn missing_probes(containers: &[Container]) -> Vec<&'static str> {
    type Has = fn(&Container) -> bool;
    let kinds: [(&str, Has); 3] = [
        ("liveness probe", |container| container.liveness_probe.is_some()),
        ("readiness probe", |container| container.readiness_probe.is_some()),
        ("startup probe", |container| container.startup_probe.is_some()),
    ];
    kinds.into_iter().filter(|(_, has)| !containers.iter().any(has)).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{deployment, judge, snapshot_of, stateful_set};
    use super::*;
    use crate::event::Outcome;
    use serde_json::{Value, json};

    fn with(probes: &[&str]) -> Value {
        let mut container = json!({"name": "main"});
        for probe in probes {
            container[probe] = json!({"httpGet": {"path": "/health", "port": 1}});
        }
        json!({"template": {"spec": {"containers": [container, {"name": "sidecar"}]}}})
    }

    #[test]
    fn each_missing_probe_is_named_one_line_a_workload() {
        let all = ["livenessProbe", "readinessProbe", "startupProbe"];
        let on = |objects: &[Value]| {
            let facts =
                Facts { namespaces: [("drivemaster".to_owned(), Ok(snapshot_of(objects)))].into(), ..Facts::default() };
            judge(&CHECK, &facts).remove(0)
        };
        assert_eq!(on(&[deployment("user-service", with(&all))]).outcome, Outcome::Pass);
        let bad = on(&[
            deployment("user-service", with(&all)),
            deployment("adaptive-service", with(&["readinessProbe"])),
            stateful_set("redis", with(&[])),
        ]);
        assert_eq!((bad.outcome, bad.reason.as_str()), (Outcome::Fail, "2 of 3 workloads lack probes"));
        assert_eq!(
            bad.evidence,
            [
                "deployment `adaptive-service`: no liveness probe, no startup probe",
                "statefulset `redis`: no liveness probe, no readiness probe, no startup probe"
            ]
        );
        assert_eq!(on(&[]).outcome, Outcome::Skip);
    }
}
