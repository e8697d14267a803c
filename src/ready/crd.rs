//! CustomResourceDefinitions.

use super::Ready;
use crate::object::ObjectRef;
use serde_json::Value;

/// Whether objects of the kind that the definition `crd` brings can be made: its names, as they are now, are
/// accepted and it is established. Names that another definition has, and a schema without structure, are refused
/// for good.
pub fn judge(crd: &Value) -> Ready {
    let name = crd.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let object = ObjectRef::cluster_scoped("apiextensions.k8s.io/v1", "CustomResourceDefinition", name);
    let conditions = crd.pointer("/status/conditions").and_then(Value::as_array);
    let is = |kind: &str, status: &str| {
        conditions.into_iter().flatten().find(|condition| condition["type"] == kind && condition["status"] == status)
    };
    let words = |condition: &Value, key: &str, otherwise: &str| {
        condition[key].as_str().filter(|text| !text.is_empty()).unwrap_or(otherwise).to_owned()
    };
    if let Some(condition) = is("NamesAccepted", "False") {
        let reason = words(condition, "reason", "NamesNotAccepted");
        return Ready::failed(object, &reason, words(condition, "message", "its names are not accepted"));
    }
    if let Some(condition) = is("NonStructuralSchema", "True") {
        return Ready::failed(
            object,
            "NonStructuralSchema",
            words(condition, "message", "its schema is not structural"),
        );
    }
    if is("Terminating", "True").is_some() {
        return Ready::waiting(object, "Terminating", "it is being deleted");
    }
    if crd.pointer("/spec/names") != crd.pointer("/status/acceptedNames") {
        return Ready::waiting(object, "NamesPending", "the API server has not accepted its names yet");
    }
    match is("Established", "True") {
        Some(_) => Ready::Ready,
        None => Ready::waiting(object, "Establishing", "the API server does not serve it yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(conditions: &[(&str, &str)]) -> Ready {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status)| json!({"type": kind, "status": status, "reason": "Why", "message": "because"}))
            .collect();
        judge(&json!({"metadata": {"name": "a.b"}, "status": {"conditions": conditions}}))
    }

    #[test]
    fn a_definition_is_ready_once_it_is_established() {
        assert_eq!(judged(&[("NamesAccepted", "True"), ("Established", "True")]), Ready::Ready);
        for waiting in [&[][..], &[("NamesAccepted", "True"), ("Established", "False")]] {
            assert!(matches!(judged(waiting), Ready::Waiting(cause) if cause.reason == "Establishing"), "{waiting:?}");
        }
        let deleted = judged(&[("Established", "True"), ("Terminating", "True")]);
        assert!(matches!(deleted, Ready::Waiting(cause) if cause.reason == "Terminating"));
    }

    #[test]
    fn changed_names_are_waited_for() {
        let with = |accepted: &str| {
            let established =
                json!([{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}]);
            let status =
                json!({"conditions": established, "acceptedNames": {"plural": "as", "shortNames": [accepted]}});
            judge(
                &json!({"metadata": {"name": "a.b"}, "spec": {"names": {"plural": "as", "shortNames": ["new"]}}, "status": status}),
            )
        };
        assert_eq!(with("new"), Ready::Ready);
        assert!(matches!(with("old"), Ready::Waiting(cause) if cause.reason == "NamesPending"));
    }

    #[test]
    fn names_of_somebody_else_and_a_schema_without_structure_end_the_wait() {
        let names = judged(&[("NamesAccepted", "False"), ("Established", "False")]);
        assert!(matches!(names, Ready::Failed(cause) if cause.reason == "Why" && cause.message == "because"));
        // A definition whose new names are not accepted goes on being established under the old ones.
        assert!(matches!(judged(&[("NamesAccepted", "False"), ("Established", "True")]), Ready::Failed(_)));
        let schema = judged(&[("Established", "True"), ("NonStructuralSchema", "True")]);
        assert!(matches!(schema, Ready::Failed(cause) if cause.reason == "NonStructuralSchema"));
    }
}
