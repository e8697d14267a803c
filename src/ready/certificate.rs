//! Certificates of cert-manager.

use super::Ready;
use crate::object::ObjectRef;
use serde_json::Value;

/// Whether the Secret with the certificate is there and in date: the condition `Ready` of the newest generation.
pub fn judge(reference: &ObjectRef, object: &Value) -> Ready {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let Some(condition) = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready") else {
        return Ready::waiting(reference.clone(), "Progressing", "cert-manager has not looked at it yet");
    };
    if condition["observedGeneration"].as_i64().unwrap_or(generation) < generation {
        return Ready::waiting(reference.clone(), "Progressing", "its newest specification is not taken up yet");
    }
    if condition["status"] == "True" {
        return Ready::Ready;
    }
    let text = |key: &str| condition[key].as_str().filter(|text| !text.is_empty());
    let message = text("message").unwrap_or("it is not issued");
    // These are on the way: the Secret is not there yet, or the order runs.
    match text("reason") {
        None | Some("DoesNotExist" | "Issuing" | "MissingData" | "Pending") => {
            Ready::waiting(reference.clone(), "Progressing", message)
        }
        Some(reason) => Ready::waiting(reference.clone(), reason, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_certificate_is_ready_when_it_is_issued_for_its_newest_specification() {
        let reference = ObjectRef::namespaced("cert-manager.io/v1", "Certificate", "m", "a");
        let cases = [
            (json!([{"type": "Ready", "status": "True", "observedGeneration": 3}]), None),
            (json!([{"type": "Ready", "status": "True", "observedGeneration": 2}]), Some("Progressing")),
            (json!([{"type": "Ready", "status": "False", "reason": "DoesNotExist"}]), Some("Progressing")),
            (json!([{"type": "Ready", "status": "False", "reason": "Failed"}]), Some("Failed")),
            (json!([{"type": "Issuing", "status": "True"}]), Some("Progressing")),
            (json!(null), Some("Progressing")),
        ];
        for (conditions, expected) in cases {
            let object = json!({"metadata": {"generation": 3}, "status": {"conditions": conditions}});
            let verdict = judge(&reference, &object);
            assert_eq!(verdict.cause().map(|cause| cause.reason.as_str()), expected, "{object}");
        }
    }
}
