//! APIServices: parts of the API that a program of somebody answers.

use super::Ready;
use crate::object::ObjectRef;
use serde_json::Value;

/// Whether the API server reaches what answers for `object`, by its condition `Available`.
pub fn judge(reference: &ObjectRef, object: &Value) -> Ready {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let available = conditions.into_iter().find(|condition| condition["type"] == "Available");
    match available {
        Some(condition) if condition["status"] == "True" => Ready::Ready,
        Some(condition) => {
            let text = |key: &str| condition[key].as_str().filter(|text| !text.is_empty());
            let reason = text("reason").unwrap_or("NotAvailable");
            Ready::waiting(reference.clone(), reason, text("message").unwrap_or("it is not available"))
        }
        None => Ready::waiting(reference.clone(), "Progressing", "the API server has not tried it yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_api_service_is_ready_when_it_is_available() {
        let reference = ObjectRef::cluster_scoped("apiregistration.k8s.io/v1", "APIService", "v1beta1.metrics.k8s.io");
        let judged = |conditions: Value| judge(&reference, &json!({"status": {"conditions": conditions}}));
        let missing =
            json!([{"type": "Available", "status": "False", "reason": "MissingEndpoints", "message": "no endpoints"}]);
        assert_eq!(judged(json!([{"type": "Available", "status": "True"}])), Ready::Ready);
        let cause = judged(missing).cause().cloned();
        let told = cause.map(|cause| (cause.reason, cause.message, cause.permanent));
        assert_eq!(told, Some(("MissingEndpoints".to_owned(), "no endpoints".to_owned(), false)));
        for odd in
            [json!([]), json!(null), json!([{"type": "Other", "status": "True"}]), json!([{"type": "Available"}])]
        {
            assert!(matches!(judged(odd), Ready::Waiting(_)));
        }
    }
}
