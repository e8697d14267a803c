//! Every volume claim of the stack's workloads is bound.

use super::expected::workloads;
use super::facts::{Need, workload_of};
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use crate::ready::Snapshot;
use serde_json::Value;

pub(super) const CHECK: Check = Check {
    id: "storage/volumes-bound",
    title: "every volume claim is bound",
    severity: Severity::Critical,
    hint: "kubectl get storageclass; set `storage.class` to one of them",
    doc: "docs/checks.md#storage-volumes-bound",
    component: None,
    needs: &[Need::Snapshot],
    judge: judge_volumes,
};

fn judge_volumes(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let mut found = 0;
    let mut claims = 0;
    let mut wrong = Vec::new();
    for expected in workloads(scope.config) {
        let snapshot = match facts.snapshot(expected.namespace) {
            Ok(snapshot) => snapshot,
            Err(why) => return vec![Verdict::unknown(&why)],
        };
        let Some(workload) = workload_of(snapshot, expected.kind, expected.name) else { continue };
        found += 1;
        for name in claims_of(&workload) {
            claims += 1;
            wrong.extend(problem_of(&name, snapshot));
        }
    }
    vec![match (wrong.len(), claims) {
        // Without a workload there is no claim to judge, which is no proof of anything.
        (_, 0) if found == 0 => Verdict::fail("no workload of the stack exists"),
        (_, 0) => Verdict::skip("no workload of the stack has a volume"),
        (0, all) => Verdict::pass().evidence(vec![format!("{} bound", counted(all, "claim"))]),
        (count, all) => Verdict::fail(format!("{count} of {} not bound", counted(all, "claim")))
            .evidence(wrong)
            .hint(format!("kubectl -n {} describe pvc", scope.config.namespaces.monitoring)),
    }]
}

/// Why the claim `name` is not bound; `None` when it is.
fn problem_of(name: &str, snapshot: &Snapshot) -> Option<String> {
    let Some(claim) = snapshot.claims.iter().find(|claim| claim.metadata.name.as_deref() == Some(name)) else {
        return Some(format!("claim `{name}` does not exist"));
    };
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    match (phase, class) {
        ("Bound", _) => None,
        (phase, Some(class)) => Some(format!("claim `{name}` is {phase} (class `{class}`)")),
        (phase, None) => Some(format!("claim `{name}` is {phase} and has no class")),
    }
}

/// The names of the claims that a workload uses: those its pods name, and for a StatefulSet
/// `<template>-<set>-<ordinal>`.
fn claims_of(workload: &Value) -> Vec<String> {
    let list = |pointer: &str| workload.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let named = list("/spec/template/spec/volumes")
        .filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str().map(str::to_owned));
    let set = workload.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let replicas = workload.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let templated = list("/spec/volumeClaimTemplates")
        .filter_map(|template| template.pointer("/metadata/name")?.as_str())
        .flat_map(|template| (0..replicas).map(move |ordinal| format!("{template}-{set}-{ordinal}")));
    named.chain(templated).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{deployment, holding, judge, snapshot_of, stateful_set};
    use super::*;
    use crate::event::Outcome;
    use serde_json::json;

    #[test]
    fn the_claims_of_both_kinds_of_workload_must_exist_and_be_bound() {
        let template = json!({"metadata": {"name": "data"}, "spec": {}});
        let set = stateful_set("loki", json!({"replicas": 2, "volumeClaimTemplates": [template]}));
        let volumes = json!([{"name": "tmp", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": "grafana"}}]);
        let grafana =
            deployment("prometheus-grafana", json!({"template": {"spec": {"containers": [], "volumes": volumes}}}));
        let facts = |claims: &[(&str, &str)]| {
            let claim = |(name, phase): &(&str, &str)| {
                json!({"kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {"storageClassName": "fast-ssd"},
                    "status": {"phase": phase}})
            };
            let mut objects: Vec<Value> = claims.iter().map(claim).collect();
            objects.extend([set.clone(), grafana.clone()]);
            holding(snapshot_of(&objects))
        };
        let good = judge(&CHECK, &facts(&[("grafana", "Bound"), ("data-loki-0", "Bound"), ("data-loki-1", "Bound")]));
        assert_eq!((good[0].outcome, good[0].evidence[0].as_str()), (Outcome::Pass, "3 claims bound"));
        let bad = judge(&CHECK, &facts(&[("grafana", "Pending"), ("data-loki-0", "Bound"), ("other", "Lost")]));
        assert_eq!(bad[0].outcome, Outcome::Fail);
        assert_eq!(
            bad[0].evidence,
            ["claim `grafana` is Pending (class `fast-ssd`)", "claim `data-loki-1` does not exist"]
        );
    }

    #[test]
    fn a_stack_without_workloads_is_no_proof_of_bound_volumes() {
        let facts = holding(snapshot_of(&[]));
        assert_eq!(judge(&CHECK, &facts)[0].outcome, Outcome::Fail);
    }
}
