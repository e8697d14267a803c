//! Every workload of the stack is ready, in its newest generation, and so are its pods.

use super::facts::Need;
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use crate::cluster::forward::state_of_pods;
use crate::stack;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

pub(super) const CHECK: Check = Check {
    id: "workloads/ready",
    title: "every workload and its pods are ready",
    severity: Severity::Critical,
    hint: "drivemaster-mon status",
    doc: "docs/checks.md#workloads-ready",
    component: None,
    needs: &[Need::Workloads, Need::Pods],
    judge: judge_workloads,
};

fn judge_workloads(_: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let (workloads, pods) = match (&facts.workloads, &facts.pods) {
        (Ok(workloads), Ok(pods)) => (workloads, pods),
        (Err(why), _) | (_, Err(why)) => return vec![Verdict::unknown(why)],
    };
    let mut wrong = Vec::new();
    let mut right = Vec::new();
    for (key, workload) in workloads {
        let name = stack::component(key).map_or(*key, |component| component.workload);
        let Some(workload) = workload else {
            wrong.push(format!("`{name}` does not exist"));
            continue;
        };
        let state = state_of_workload(workload);
        let unready: Vec<Pod> = pods_of(workload, pods).filter(|pod| !is_ready(pod)).cloned().collect();
        match (state.problem, unready.is_empty()) {
            (None, true) => right.push(format!("`{name}` {}/{}", state.ready, state.wanted)),
            (Some(problem), true) => wrong.push(format!("`{name}`: {problem}")),
            (Some(problem), false) => wrong.push(format!("`{name}`: {problem}: {}", state_of_pods(&unready))),
            (None, false) => wrong.push(format!("`{name}`: {}", state_of_pods(&unready))),
        }
    }
    vec![match (wrong.len(), workloads.len()) {
        (_, 0) => Verdict::skip("no component is enabled"),
        (0, _) => Verdict::pass().evidence(right),
        (count, all) => Verdict::fail(format!("{count} of {} not ready", counted(all, "workload"))).evidence(wrong),
    }]
}

/// How far a Deployment or StatefulSet is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::checks) struct WorkloadState {
    /// Ready replicas.
    pub(in crate::checks) ready: i64,
    /// Wanted replicas.
    pub(in crate::checks) wanted: i64,
    /// Why it is not ready.
    pub(in crate::checks) problem: Option<String>,
}

/// Judges a Deployment or StatefulSet by its status, which counts only for the generation it names.
pub(in crate::checks) fn state_of_workload(workload: &Value) -> WorkloadState {
    let number = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let text = |pointer: &str| workload.pointer(pointer).and_then(Value::as_str);
    // A missing `replicas` means one.
    let wanted = workload.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let ready = number("/status/readyReplicas");
    let updated = number("/status/updatedReplicas");
    let stalled =
        workload.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten().find(|condition| {
            let field = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
            (field("type") == "Progressing" && field("status") == "False")
                || (field("type") == "ReplicaFailure" && field("status") == "True")
        });
    let rolling = text("/status/updateRevision").is_some_and(|update| text("/status/currentRevision") != Some(update));
    let problem = if number("/status/observedGeneration") < number("/metadata/generation") {
        Some("its newest generation is not yet acted on".to_owned())
    } else if let Some(condition) = stalled {
        let message = condition.get("message").and_then(Value::as_str).unwrap_or("it does not progress");
        Some(message.to_owned())
    } else if updated < wanted {
        Some(format!("{updated} of {wanted} replicas are of the newest revision"))
    } else if ready < wanted {
        Some(format!("{ready} of {wanted} replicas are ready"))
    } else if rolling && text("/kind") == Some("StatefulSet") {
        Some("its update is still rolling out".to_owned())
    } else {
        None
    };
    WorkloadState { ready, wanted, problem }
}

/// The pods that the workload's selector selects, without those that are being deleted.
fn pods_of<'a>(workload: &'a Value, pods: &'a [Pod]) -> impl Iterator<Item = &'a Pod> {
    let selector =
        workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object).filter(|labels| !labels.is_empty());
    pods.iter().filter(move |pod| {
        let labels = pod.metadata.labels.as_ref();
        pod.metadata.deletion_timestamp.is_none()
            && selector.is_some_and(|selector| {
                selector
                    .iter()
                    .all(|(key, value)| labels.and_then(|labels| labels.get(key)).map(String::as_str) == value.as_str())
            })
    })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{judge, outcomes};
    use super::*;
    use crate::event::Outcome;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn deployment(generation: i64, status: Value) -> Value {
        json!({
            "kind": "Deployment", "metadata": {"name": "jaeger", "generation": generation},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "jaeger"}}}, "status": status,
        })
    }

    #[test]
    fn only_the_status_of_the_newest_generation_counts() {
        let full = json!({"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 2});
        let cases = [
            (deployment(2, full.clone()), None),
            (deployment(3, full), Some("its newest generation is not yet acted on")),
            (deployment(1, json!({})), Some("its newest generation is not yet acted on")),
            (
                deployment(2, json!({"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 1})),
                Some("1 of 2 replicas are of the newest revision"),
            ),
            (
                deployment(2, json!({"observedGeneration": 2, "readyReplicas": 1, "updatedReplicas": 2})),
                Some("1 of 2 replicas are ready"),
            ),
            (
                deployment(
                    2,
                    json!({"observedGeneration": 2, "conditions": [
                    {"type": "Progressing", "status": "False", "message": "it exceeded its deadline"}]}),
                ),
                Some("it exceeded its deadline"),
            ),
            (
                json!({"kind": "StatefulSet", "metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": 1,
                    "readyReplicas": 1, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}}),
                Some("its update is still rolling out"),
            ),
            (json!(null), Some("0 of 1 replicas are of the newest revision")),
        ];
        for (workload, expected) in cases {
            assert_eq!(state_of_workload(&workload).problem.as_deref(), expected, "{workload}");
        }
    }

    #[test]
    fn a_missing_workload_and_an_unready_pod_both_fail() {
        let full = json!({"observedGeneration": 1, "readyReplicas": 2, "updatedReplicas": 2});
        let pod = |ready: &str| -> Vec<Pod> {
            vec![
                serde_json::from_value(
                    json!({"metadata": {"name": "jaeger-1", "labels": {"app": "jaeger"}}, "status": {"conditions":
                    [{"type": "Ready", "status": ready, "reason": "ContainersNotReady"}]}}),
                )
                .unwrap(),
                serde_json::from_value(json!({"metadata": {"name": "somebody-else"}})).unwrap(),
            ]
        };
        let facts = |workload: Option<Value>, pods| Facts {
            workloads: Ok(BTreeMap::from([("jaeger", workload)])),
            pods: Ok(pods),
            ..Facts::default()
        };
        assert_eq!(outcomes(&judge(&CHECK, &facts(Some(deployment(1, full.clone())), pod("True")))), [Outcome::Pass]);
        let unready = judge(&CHECK, &facts(Some(deployment(1, full)), pod("False")));
        assert_eq!(unready[0].evidence, ["`jaeger`: pod `jaeger-1`: Ready: ContainersNotReady"]);
        let missing = judge(&CHECK, &facts(None, vec![]));
        assert_eq!((missing[0].outcome, missing[0].evidence[0].as_str()), (Outcome::Fail, "`jaeger` does not exist"));
    }
}
