//! Deployments.

use super::{Ready, admission};
use crate::object::ObjectRef;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};

/// Whether every wanted replica is of the newest revision and available.
///
/// The status speaks of the newest specification only once `observedGeneration` has caught up.
pub fn judge(deployment: &Deployment) -> Ready {
    let object = reference(deployment);
    let spec = deployment.spec.as_ref();
    let status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation < deployment.metadata.generation {
        return Ready::waiting(object, "Progressing", "its newest specification is not taken up yet");
    }
    if spec.and_then(|spec| spec.paused) == Some(true) {
        return Ready::waiting(object, "DeploymentPaused", "its rollout is paused");
    }
    let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    let all = status.replicas.unwrap_or(0);
    if updated >= wanted && all <= updated && available >= updated {
        return Ready::Ready;
    }
    let conditions = status.conditions.unwrap_or_default();
    let condition = |kind: &str, state: &str| {
        conditions.iter().find(|condition| condition.type_ == kind && condition.status == state)
    };
    if let Some(failure) = condition("ReplicaFailure", "True") {
        let message = message_of(failure);
        let reason = failure.reason.as_deref().unwrap_or("FailedCreate");
        let short = admission::shortened(&message).to_owned();
        return if admission::is_permanent(&message) {
            Ready::failed(object, reason, short)
        } else {
            Ready::waiting(object, reason, short)
        };
    }
    if let Some(stalled) = condition("Progressing", "False") {
        let reason = stalled.reason.as_deref().unwrap_or("ProgressDeadlineExceeded");
        return Ready::waiting(object, reason, message_of(stalled));
    }
    let message = if updated < wanted {
        format!("{updated} of {wanted} replicas are made")
    } else if all > updated {
        format!("{} old replicas are not gone yet", all - updated)
    } else {
        format!("{available} of {wanted} replicas are ready")
    };
    Ready::waiting(object, "Progressing", message)
}

fn message_of(condition: &DeploymentCondition) -> String {
    condition.message.clone().unwrap_or_default()
}

fn reference(deployment: &Deployment) -> ObjectRef {
    let meta = &deployment.metadata;
    ObjectRef::namespaced(
        "apps/v1",
        "Deployment",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn judged(spec: Value, status: Value) -> Ready {
        judge(
            &serde_json::from_value(json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "a", "namespace": "m", "generation": 2},
                "spec": spec, "status": status,
            }))
            .unwrap(),
        )
    }

    fn spec() -> Value {
        json!({"replicas": 2, "selector": {}, "template": {}})
    }

    #[test]
    fn a_deployment_is_ready_when_all_replicas_are_new_and_available() {
        let cases = [
            (json!({}), Some("Progressing")),
            (
                json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                Some("Progressing"),
            ),
            (json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}), None),
            (
                json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}),
                Some("Progressing"),
            ),
            (
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}),
                Some("Progressing"),
            ),
            (
                json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}),
                Some("Progressing"),
            ),
        ];
        for (status, expected) in cases {
            let verdict = judged(spec(), status.clone());
            assert_eq!(verdict.cause().map(|cause| cause.reason.as_str()), expected, "{status}");
        }
    }

    #[test]
    fn no_replicas_wanted_is_ready() {
        let spec = json!({"replicas": 0, "selector": {}, "template": {}});
        assert_eq!(judged(spec, json!({"observedGeneration": 2})), Ready::Ready);
    }

    #[test]
    fn a_refused_pod_fails_at_once_and_a_quota_may_heal() {
        let status = |message: &str| {
            json!({"observedGeneration": 2, "conditions": [
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]})
        };
        let security = judged(spec(), status("pods \"a-1\" is forbidden: violates PodSecurity \"restricted\": root"));
        assert!(matches!(&security, Ready::Failed(cause) if cause.reason == "FailedCreate"), "{security:?}");
        let quota = judged(spec(), status("pods \"a-1\" is forbidden: exceeded quota: x"));
        assert!(matches!(&quota, Ready::Waiting(cause) if cause.message == "exceeded quota: x"), "{quota:?}");
    }

    #[test]
    fn a_paused_or_stalled_rollout_is_named() {
        let paused = json!({"replicas": 1, "paused": true, "selector": {}, "template": {}});
        let status = json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "message": "timed out"}]});
        assert_eq!(judged(paused, json!({"observedGeneration": 2})).cause().unwrap().reason, "DeploymentPaused");
        assert_eq!(judged(spec(), status).cause().unwrap().reason, "ProgressDeadlineExceeded");
    }
}
