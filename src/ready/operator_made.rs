//! Prometheus and Alertmanager objects, which the Prometheus Operator makes StatefulSets of.

use super::Ready;
use crate::object::ObjectRef;
use serde_json::Value;

/// Whether the operator has carried out the newest specification of `object` and its pods are there:
/// its conditions `Reconciled` and `Available`, each of the newest generation.
pub fn judge(reference: &ObjectRef, object: &Value) -> Ready {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let generation = number("/metadata/generation");
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    for kind in ["Reconciled", "Available"] {
        let condition = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
        let Some(condition) = condition else {
            return Ready::waiting(reference.clone(), "Progressing", "the operator has not looked at it yet");
        };
        // Older operators do not say which generation they mean.
        let observed = condition["observedGeneration"].as_i64().unwrap_or(generation);
        if observed < generation {
            return Ready::waiting(reference.clone(), "Progressing", "its newest specification is not taken up yet");
        }
        if condition["status"] != "True" {
            let text = |key: &str| condition[key].as_str().filter(|text| !text.is_empty());
            let message = text("message").map_or_else(|| format!("it is not {}", kind.to_lowercase()), str::to_owned);
            // `Available` is false while pods start; a specification that cannot be carried out is a fault.
            let reason = match kind {
                "Available" => "Progressing",
                _ => text("reason").unwrap_or("ReconciliationFailed"),
            };
            return Ready::waiting(reference.clone(), reason, message);
        }
    }
    Ready::Ready
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ready::{Class, class_of};
    use serde_json::json;

    fn judged(conditions: Value) -> Ready {
        let reference = ObjectRef::namespaced("monitoring.coreos.com/v1", "Prometheus", "m", "a");
        judge(&reference, &json!({"metadata": {"generation": 2}, "status": {"conditions": conditions}}))
    }

    fn condition(kind: &str, status: &str, observed: i64) -> Value {
        json!({"type": kind, "status": status, "observedGeneration": observed, "reason": "Why", "message": "because"})
    }

    #[test]
    fn both_conditions_must_hold_for_the_newest_generation() {
        let good = json!([condition("Available", "True", 2), condition("Reconciled", "True", 2)]);
        assert_eq!(judged(good), Ready::Ready);
        let cases = [
            (json!(null), "Progressing", "the operator has not looked at it yet"),
            (
                json!([condition("Available", "True", 2), condition("Reconciled", "True", 1)]),
                "Progressing",
                "its newest specification is not taken up yet",
            ),
            (
                json!([condition("Available", "Degraded", 2), condition("Reconciled", "True", 2)]),
                "Progressing",
                "because",
            ),
            (json!([condition("Available", "True", 2), condition("Reconciled", "False", 2)]), "Why", "because"),
        ];
        for (conditions, reason, message) in cases {
            let verdict = judged(conditions);
            let cause = verdict.cause().unwrap();
            assert_eq!((cause.reason.as_str(), cause.message.as_str()), (reason, message));
            assert_eq!(class_of(cause) == Class::Fault, reason == "Why");
        }
    }
}
