//! DaemonSets.

use super::Ready;
use crate::object::ObjectRef;
use k8s_openapi::api::apps::v1::DaemonSet;

/// Whether every node that is to have a pod has an available one, of the newest revision unless
/// the strategy is `OnDelete`.
pub fn judge(daemon_set: &DaemonSet) -> Ready {
    let meta = &daemon_set.metadata;
    let object = ObjectRef::namespaced(
        "apps/v1",
        "DaemonSet",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    );
    let status = daemon_set.status.clone().unwrap_or_default();
    if status.observed_generation < meta.generation {
        return Ready::waiting(object, "Progressing", "its newest specification is not taken up yet");
    }
    let on_delete = daemon_set
        .spec
        .as_ref()
        .and_then(|spec| spec.update_strategy.as_ref())
        .is_some_and(|strategy| strategy.type_.as_deref() == Some("OnDelete"));
    let wanted = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let available = status.number_available.unwrap_or(0);
    if !on_delete && updated < wanted {
        return Ready::waiting(object, "Progressing", format!("{updated} of {wanted} nodes have the new pod"));
    }
    if available < wanted {
        return Ready::waiting(object, "Progressing", format!("{available} of {wanted} nodes have a ready pod"));
    }
    Ready::Ready
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_daemon_set_is_ready_when_every_node_has_a_new_available_pod() {
        let cases = [
            ("not observed", "RollingUpdate", 1, 2, 2, 2, false),
            ("all there", "RollingUpdate", 2, 2, 2, 2, true),
            ("one old", "RollingUpdate", 2, 2, 1, 2, false),
            ("one old on purpose", "OnDelete", 2, 2, 1, 2, true),
            ("one not available", "RollingUpdate", 2, 2, 2, 1, false),
            ("no node wants one", "RollingUpdate", 2, 0, 0, 0, true),
        ];
        for (name, strategy, observed, wanted, updated, available, expected) in cases {
            let verdict = judge(
                &serde_json::from_value(json!({
                    "metadata": {"name": "a", "namespace": "m", "generation": 2},
                    "spec": {"selector": {}, "template": {}, "updateStrategy": {"type": strategy}},
                    "status": {"observedGeneration": observed, "desiredNumberScheduled": wanted,
                        "currentNumberScheduled": wanted, "numberMisscheduled": 0, "numberReady": available,
                        "updatedNumberScheduled": updated, "numberAvailable": available},
                }))
                .unwrap(),
            );
            assert_eq!(verdict == Ready::Ready, expected, "{name}: {verdict:?}");
        }
    }
}
