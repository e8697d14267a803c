//! Jobs.

use super::Ready;
use crate::object::ObjectRef;
use k8s_openapi::api::batch::v1::Job;

/// Whether the Job is complete. A failed Job stays failed: only a new one helps.
pub fn judge(job: &Job) -> Ready {
    let meta = &job.metadata;
    let object = ObjectRef::namespaced(
        "batch/v1",
        "Job",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    );
    let status = job.status.clone().unwrap_or_default();
    for condition in status.conditions.iter().flatten().filter(|condition| condition.status == "True") {
        match condition.type_.as_str() {
            "Complete" => return Ready::Ready,
            "Failed" => {
                let reason = condition.reason.as_deref().unwrap_or("Failed");
                return Ready::failed(object, reason, condition.message.clone().unwrap_or_default());
            }
            "Suspended" => return Ready::waiting(object, "JobSuspended", "it is suspended"),
            _ => {}
        }
    }
    let wanted = job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or(1);
    let done = status.succeeded.unwrap_or(0);
    Ready::waiting(object, "Progressing", format!("{done} of {wanted} runs are complete"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn judged(conditions: Value) -> Ready {
        judge(
            &serde_json::from_value(json!({
                "metadata": {"name": "a", "namespace": "m"}, "spec": {"template": {}}, "status": {"conditions": conditions},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_job_is_ready_when_complete_and_failed_for_good() {
        let condition =
            |kind: &str, status: &str| json!([{"type": kind, "status": status, "reason": "BackoffLimitExceeded"}]);
        assert_eq!(judged(condition("Complete", "True")), Ready::Ready);
        assert!(matches!(judged(condition("Complete", "False")), Ready::Waiting(_)));
        assert!(matches!(judged(json!([])), Ready::Waiting(cause) if cause.reason == "Progressing"));
        assert!(
            matches!(judged(condition("Failed", "True")), Ready::Failed(cause) if cause.reason == "BackoffLimitExceeded")
        );
        assert!(
            matches!(judged(condition("Suspended", "True")), Ready::Waiting(cause) if cause.reason == "JobSuspended")
        );
    }
}
