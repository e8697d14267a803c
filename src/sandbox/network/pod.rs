//! What a pod of the sandbox is to its network: whether it runs, and which one a real program
//! stands behind. Pure.

use super::program::{Program, program_of};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

/// Whether `pod` runs: it has a node, its phase is `Running` and nobody deletes it.
pub fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    phase == Some("Running") && node.is_some_and(|node| !node.is_empty()) && pod.metadata.deletion_timestamp.is_none()
}

/// What pods are ordered by, oldest first; pods of one second by namespace and name.
pub fn age_key(pod: &Pod) -> (Timestamp, String, String) {
    let created = pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    (created, text(&pod.metadata.namespace), text(&pod.metadata.name))
}

/// The pod that `program` stands behind: the oldest running one that asks for it; while its
/// Deployment changes, that one's successor, which must get ready before the other goes. The network
/// and the keeper of the programs both go by this, so they never disagree.
pub fn holder<'a>(program: Program, pods: impl IntoIterator<Item = &'a Pod>) -> Option<&'a Pod> {
    let asking = pods.into_iter().filter(|pod| program_of(pod) == Some(program) && is_running(pod));
    let asking: Vec<&Pod> = asking.collect();
    let first = asking.iter().copied().min_by_key(|pod| age_key(pod))?;
    let Some(deployment) = deployment_of(first) else { return Some(first) };
    let siblings = || asking.iter().copied().filter(|pod| deployment_of(pod) == Some(deployment));
    let newest = siblings().max_by_key(|pod| age_key(pod))?;
    siblings().filter(|pod| template_hash(pod) == template_hash(newest)).min_by_key(|pod| age_key(pod))
}

/// Namespace and name of the Deployment whose pod this is.
fn deployment_of(pod: &Pod) -> Option<(&str, &str)> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.kind == "ReplicaSet")?;
    let name = owner.name.strip_suffix(template_hash(pod)?)?.strip_suffix('-')?;
    Some((pod.metadata.namespace.as_deref()?, name))
}

fn template_hash(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get("pod-template-hash").map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::network::program::NAME_LABEL;
    use serde_json::json;

    fn pod(name: &str, second: u8, phase: &str, deleted: bool) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": name, "namespace": "monitoring", "labels": { NAME_LABEL: "prometheus" },
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            },
            "spec": { "nodeName": "sandbox-0", "containers": [{ "name": "prometheus" }] },
            "status": { "phase": phase },
        });
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_program_stands_behind_the_oldest_running_pod_that_asks_for_it() {
        let pods = [
            pod("b", 2, "Running", false),
            pod("a", 1, "Pending", false),
            pod("c", 0, "Running", true),
            pod("d", 3, "Running", false),
        ];
        let name = |program| holder(program, &pods).and_then(|pod| pod.metadata.name.clone());
        assert_eq!(name(Program::Prometheus).as_deref(), Some("b"));
        assert_eq!(name(Program::Alertmanager), None);
    }

    #[test]
    fn the_successor_takes_over_while_a_deployment_changes() {
        let of = |name: &str, second: u8, deployment: &str, hash: &str| {
            let mut pod = pod(name, second, "Running", false);
            pod.metadata.labels.as_mut().unwrap().insert("pod-template-hash".to_owned(), hash.to_owned());
            let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "u", "controller": true,
                "name": format!("{deployment}-{hash}") }]);
            pod.metadata.owner_references = serde_json::from_value(owner).unwrap();
            pod
        };
        let name = |pods: &[Pod]| holder(Program::Prometheus, pods).and_then(|pod| pod.metadata.name.clone()).unwrap();
        let mut pods = vec![of("old", 1, "p", "a1"), of("other", 2, "q", "c3")];
        assert_eq!(name(&pods), "old", "a pod of somebody else's has to wait");
        pods.push(of("new", 3, "p", "b2"));
        pods.push(of("newer", 4, "p", "b2"));
        assert_eq!(name(&pods), "new");
    }
}
