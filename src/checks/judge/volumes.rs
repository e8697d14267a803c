//! Every volume claim of the stack's workloads is bound.

use super::facts::Need;
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use serde_json::Value;

pub(super) const CHECK: Check = Check {
    id: "storage/volumes-bound",
    title: "every volume claim is bound",
    severity: Severity::Critical,
    hint: "kubectl get storageclass; set `storage.class` to one of them",
    doc: "docs/checks.md#storage-volumes-bound",
    component: None,
    needs: &[Need::Workloads, Need::Claims],
    judge: judge_volumes,
};

fn judge_volumes(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let (workloads, claims) = match (&facts.workloads, &facts.claims) {
        (Ok(workloads), Ok(claims)) => (workloads, claims),
        (Err(why), _) | (_, Err(why)) => return vec![Verdict::unknown(why)],
    };
    let names: Vec<String> = workloads.values().flatten().flat_map(claims_of).collect();
    let mut wrong = Vec::new();
    for name in &names {
        match claims.get(name) {
            Some(claim) if claim.phase == "Bound" => {}
            Some(claim) if claim.class.is_empty() => {
                wrong.push(format!("claim `{name}` is {} and has no class", claim.phase))
            }
            Some(claim) => wrong.push(format!("claim `{name}` is {} (class `{}`)", claim.phase, claim.class)),
            None => wrong.push(format!("claim `{name}` does not exist")),
        }
    }
    vec![match (wrong.len(), names.len()) {
        // Without a workload there is no claim to judge, which is no proof of anything.
        (_, 0) if workloads.values().flatten().next().is_none() => Verdict::fail("no workload of the stack exists"),
        (_, 0) => Verdict::skip("no workload of the stack has a volume"),
        (0, all) => Verdict::pass().evidence(vec![format!("{} bound", counted(all, "claim"))]),
        (count, all) => Verdict::fail(format!("{count} of {} not bound", counted(all, "claim")))
            .evidence(wrong)
            .hint(format!("kubectl -n {} describe pvc", scope.config.namespaces.monitoring)),
    }]
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
    use super::super::facts::ClaimFact;
    use super::super::testing::judge;
    use super::*;
    use crate::event::Outcome;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn the_claims_of_both_kinds_of_workload_must_exist_and_be_bound() {
        let set = json!({"metadata": {"name": "loki"}, "spec": {"replicas": 2, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        let grafana = json!({"metadata": {"name": "grafana"}, "spec": {"template": {"spec": {"volumes": [
            {"name": "tmp", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": "grafana"}}]}}}});
        let claim = |phase: &str| ClaimFact { phase: phase.to_owned(), class: "fast-ssd".to_owned() };
        let facts = |claims: Vec<(&str, &str)>| Facts {
            workloads: Ok(BTreeMap::from([("loki", Some(set.clone())), ("grafana", Some(grafana.clone()))])),
            claims: Ok(claims.into_iter().map(|(name, phase)| (name.to_owned(), claim(phase))).collect()),
            ..Facts::default()
        };
        let good =
            judge(&CHECK, &facts(vec![("grafana", "Bound"), ("data-loki-0", "Bound"), ("data-loki-1", "Bound")]));
        assert_eq!((good[0].outcome, good[0].evidence[0].as_str()), (Outcome::Pass, "3 claims bound"));
        let bad = judge(&CHECK, &facts(vec![("grafana", "Pending"), ("data-loki-0", "Bound"), ("other", "Lost")]));
        assert_eq!(bad[0].outcome, Outcome::Fail);
        assert_eq!(
            bad[0].evidence,
            ["claim `grafana` is Pending (class `fast-ssd`)", "claim `data-loki-1` does not exist"]
        );
    }

    #[test]
    fn a_stack_without_workloads_is_no_proof_of_bound_volumes() {
        let facts =
            Facts { workloads: Ok(BTreeMap::from([("loki", None)])), claims: Ok(BTreeMap::new()), ..Facts::default() };
        assert_eq!(judge(&CHECK, &facts)[0].outcome, Outcome::Fail);
    }
}
