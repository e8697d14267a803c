//! Every workload of the stack is ready, in its newest generation, and so are its pods.

use super::expected::{ExpectedWorkload, workloads};
use super::facts::{Need, workload_of};
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use crate::object::ObjectRef;
use crate::ready::{Snapshot, judge_workload};
use crate::stack::WorkloadKind;
use serde_json::Value;
use std::time::Duration;

/// A program that reads a changed configuration is not ready for a moment.
const SETTLING: Duration = Duration::from_secs(15);

pub(super) const CHECK: Check = Check {
    id: "workloads/ready",
    title: "every workload and its pods are ready",
    severity: Severity::Critical,
    hint: "drivemaster-mon status",
    doc: "docs/checks.md#workloads-ready",
    component: None,
    needs: &[Need::Snapshot],
    judge: judge_workloads,
};

fn judge_workloads(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let mut wrong = Vec::new();
    let mut right = Vec::new();
    for workload in workloads(scope.config) {
        let snapshot = match facts.snapshot(workload.namespace) {
            Ok(snapshot) => snapshot,
            Err(why) => return vec![Verdict::unknown(&why)],
        };
        let state = state_of_workload(&workload, snapshot);
        let name = workload.name;
        match state.problem {
            None => right.push(format!("`{name}` {}/{}", state.ready, state.wanted)),
            Some(problem) => wrong.push(format!("`{name}`: {problem}")),
        }
    }
    vec![match (wrong.len(), right.len()) {
        (0, 0) => Verdict::skip("no component is enabled"),
        (0, _) => Verdict::pass().evidence(right),
        (bad, good) => Verdict::fail(format!("{bad} of {} not ready", counted(bad + good, "workload")))
            .evidence(wrong)
            .again(Again::Within(SETTLING)),
    }]
}

/// How far a component's workload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::checks) struct WorkloadState {
    /// Ready replicas.
    pub(in crate::checks) ready: i64,
    /// Wanted replicas.
    pub(in crate::checks) wanted: i64,
    /// Why it is not ready.
    pub(in crate::checks) problem: Option<String>,
}

/// The replicas of a workload, and what holds it up.
pub(in crate::checks) fn state_of_workload(expected: &ExpectedWorkload<'_>, snapshot: &Snapshot) -> WorkloadState {
    let Some(workload) = workload_of(snapshot, expected.kind, expected.name) else {
        return WorkloadState { ready: 0, wanted: 1, problem: Some("it does not exist".to_owned()) };
    };
    let kind = match expected.kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
        WorkloadKind::DaemonSet => "DaemonSet",
    };
    let reference = ObjectRef::namespaced("apps/v1", kind, expected.namespace, expected.name);
    let cause = judge_workload(&reference, snapshot).cause().cloned();
    let problem = cause.map(|cause| match cause.object == reference {
        true => format!("{}: {}", cause.reason, cause.message),
        false => format!("{}: {}: {}", cause.object, cause.reason, cause.message),
    });
    let number = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64);
    let (ready, wanted, none) = match expected.kind {
        WorkloadKind::DaemonSet => (
            number("/status/numberReady"),
            number("/status/desiredNumberScheduled").unwrap_or_default(),
            "no node takes its pods",
        ),
        // A missing `replicas` means one.
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => {
            (number("/status/readyReplicas"), number("/spec/replicas").unwrap_or(1), "it is scaled to 0 replicas")
        }
    };
    // Every replica of none is ready, but we deploy none so; an unobserved DaemonSet wants none yet.
    let nothing = (wanted == 0).then(|| none.to_owned());
    let problem = if expected.kind == WorkloadKind::DaemonSet { problem.or(nothing) } else { nothing.or(problem) };
    WorkloadState { ready: ready.unwrap_or_default(), wanted, problem }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{deployment, holding, judge, outcomes, scope, snapshot_of, stateful_set};
    use super::*;
    use crate::event::Outcome;
    use serde_json::json;

    /// The workloads that the test configuration deploys, all ready.
    fn all() -> Vec<Value> {
        let (config, _) = scope();
        let ready = workloads(&config).map(|workload| match workload.kind {
            WorkloadKind::Deployment => deployment(workload.name, json!({})),
            WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => stateful_set(workload.name, json!({})),
        });
        ready.collect()
    }

    #[test]
    fn a_daemon_set_is_counted_by_its_nodes() {
        let set = |wanted: i64, ready: i64| {
            let object = json!({
                "kind": "DaemonSet", "metadata": {"name": "alloy", "uid": "alloy", "generation": 1},
                "spec": {"selector": {}, "template": {}},
                "status": {"observedGeneration": 1, "desiredNumberScheduled": wanted, "numberReady": ready,
                    "numberAvailable": ready, "updatedNumberScheduled": wanted, "currentNumberScheduled": wanted,
                    "numberMisscheduled": 0},
            });
            let expected = ExpectedWorkload {
                key: "alloy",
                title: "Alloy",
                kind: WorkloadKind::DaemonSet,
                namespace: "m",
                name: "alloy",
            };
            let state = state_of_workload(&expected, &snapshot_of(&[object]));
            (state.ready, state.wanted, state.problem)
        };
        assert_eq!(set(2, 2), (2, 2, None));
        assert_eq!(set(0, 0), (0, 0, Some("no node takes its pods".to_owned())));
        assert!(set(2, 1).2.is_some());
    }

    #[test]
    fn each_enabled_component_needs_its_ready_workload() {
        let facts = |objects: &[Value]| holding(snapshot_of(objects));
        let good = judge(&CHECK, &facts(&all()));
        assert_eq!(outcomes(&good), [Outcome::Pass], "{:?}", good[0].evidence);
        assert!(good[0].evidence.contains(&"`loki` 1/1".to_owned()), "{:?}", good[0].evidence);

        let mut missing = all();
        missing.retain(|object| object["metadata"]["name"] != "loki");
        let verdict = &judge(&CHECK, &facts(&missing))[0];
        assert_eq!((verdict.outcome, verdict.reason.as_str()), (Outcome::Fail, "1 of 5 workloads not ready"));
        assert_eq!(verdict.evidence, ["`loki`: it does not exist"]);

        let mut scaled = all();
        for object in scaled.iter_mut().filter(|object| object["metadata"]["name"] == "loki") {
            object["spec"]["replicas"] = json!(0);
        }
        assert_eq!(judge(&CHECK, &facts(&scaled))[0].evidence, ["`loki`: it is scaled to 0 replicas"]);

        let mut stale = all();
        for object in stale.iter_mut().filter(|object| object["metadata"]["name"] == "loki") {
            object["metadata"]["generation"] = json!(9);
        }
        let verdict = &judge(&CHECK, &facts(&stale))[0];
        assert_eq!(verdict.outcome, Outcome::Fail, "a status of an older generation proves nothing");
        assert!(verdict.evidence[0].starts_with("`loki`: "), "{:?}", verdict.evidence);
    }
}
