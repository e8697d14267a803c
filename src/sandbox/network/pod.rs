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

/// The pod that `program` stands behind: the oldest running one that asks for it. The network and
/// the keeper of the programs both go by this, so they never disagree.
pub fn holder<'a>(program: Program, pods: impl IntoIterator<Item = &'a Pod>) -> Option<&'a Pod> {
    let asking = pods.into_iter().filter(|pod| program_of(pod) == Some(program) && is_running(pod));
    asking.min_by_key(|pod| age_key(pod))
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
}
