//! StatefulSets.

use super::Ready;
use crate::object::ObjectRef;
use k8s_openapi::api::apps::v1::StatefulSet;

/// Whether every wanted replica is ready, and of the newest revision as far as the update strategy
/// brings it there (`partition` and `OnDelete` leave old ones on purpose).
pub fn judge(stateful_set: &StatefulSet) -> Ready {
    let meta = &stateful_set.metadata;
    let object = ObjectRef::namespaced(
        "apps/v1",
        "StatefulSet",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    );
    let status = stateful_set.status.clone().unwrap_or_default();
    if status.observed_generation < meta.generation {
        return Ready::waiting(object, "Progressing", "its newest specification is not taken up yet");
    }
    let spec = stateful_set.spec.as_ref();
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let strategy = spec.and_then(|spec| spec.update_strategy.as_ref());
    let on_delete = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
    let partition = strategy
        .and_then(|strategy| strategy.rolling_update.as_ref())
        .and_then(|rolling| rolling.partition)
        .unwrap_or(0);
    let to_update = if on_delete { 0 } else { (wanted - partition).max(0) };
    // When a rollout is over the server makes the new revision the current one and may then drop
    // the count of updated replicas.
    let rolled_out = status.update_revision.is_some() && status.current_revision == status.update_revision;
    let updated = if rolled_out { wanted } else { status.updated_replicas.unwrap_or(0) };
    if updated < to_update {
        return Ready::waiting(object, "Progressing", format!("{updated} of {to_update} replicas are updated"));
    }
    // With `minReadySeconds` a replica counts only once it stayed ready that long.
    let settles = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0) > 0;
    let ready = if settles { status.available_replicas } else { status.ready_replicas }.unwrap_or(0);
    if ready < wanted {
        return Ready::waiting(object, "Progressing", format!("{ready} of {wanted} replicas are ready"));
    }
    if status.replicas > wanted {
        return Ready::waiting(
            object,
            "Progressing",
            format!("{} replicas are not gone yet", status.replicas - wanted),
        );
    }
    Ready::Ready
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn judged(spec: Value, status: Value) -> Ready {
        let mut whole = json!({"replicas": 3, "selector": {}, "serviceName": "a", "template": {}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let mut full = json!({"replicas": 3, "observedGeneration": 2});
        full.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        judge(
            &serde_json::from_value(json!({
                "metadata": {"name": "a", "namespace": "m", "generation": 2}, "spec": whole, "status": full,
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_stateful_set_is_ready_when_its_strategy_is_done() {
        let rolling = |partition: i32| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
        let old = json!({"readyReplicas": 3, "currentRevision": "1", "updateRevision": "2"});
        let with = |updated: i32| json!({"readyReplicas": 3, "currentRevision": "1", "updateRevision": "2", "updatedReplicas": updated});
        let done = json!({"readyReplicas": 3, "currentRevision": "2", "updateRevision": "2"});
        let cases = [
            ("not observed", json!({}), json!({"observedGeneration": 1, "readyReplicas": 3}), false),
            ("all new", json!({}), done.clone(), true),
            ("none updated", json!({}), old.clone(), false),
            ("two of three updated", json!({}), with(2), false),
            ("partition leaves one", rolling(1), with(2), true),
            ("partition not reached", rolling(1), with(1), false),
            ("partition above the count", rolling(9), old.clone(), true),
            ("on delete leaves all", json!({"updateStrategy": {"type": "OnDelete"}}), old, true),
            (
                "one not ready",
                json!({}),
                json!({"readyReplicas": 2, "currentRevision": "2", "updateRevision": "2"}),
                false,
            ),
            ("ready but not settled", json!({"minReadySeconds": 10}), done, false),
            (
                "scaling down",
                json!({"replicas": 1}),
                json!({"readyReplicas": 3, "currentRevision": "2", "updateRevision": "2"}),
                false,
            ),
            ("none wanted", json!({"replicas": 0}), json!({"replicas": 0}), true),
        ];
        for (name, spec, status, expected) in cases {
            let verdict = judged(spec, status);
            assert_eq!(verdict == Ready::Ready, expected, "{name}: {verdict:?}");
        }
    }
}
