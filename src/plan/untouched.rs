//! Whether a definition stands as it should, by its metadata alone: definitions are long, and there are many. Pure.

use crate::object::{CONTENT_DIGEST_ANNOTATION, FIELD_MANAGER, Manifest};
use serde_json::Value;

/// True when `live`, the metadata of an object, shows that its specification is that of `wanted`: we applied that
/// very content, still own each field of it, and nobody else owns any. False where that cannot be told.
pub fn is_untouched(wanted: &Manifest, live: &Value) -> bool {
    let annotation = |object: &Value| object["metadata"]["annotations"][CONTENT_DIGEST_ANNOTATION].clone();
    let digest = annotation(&wanted.0);
    if digest.is_null() || digest != annotation(live) {
        return false;
    }
    let (Some(entries), Some(specification)) =
        (live["metadata"]["managedFields"].as_array(), wanted.0["spec"].as_object())
    else {
        return false;
    };
    let specifies = |entry: &&Value| entry["subresource"].is_null() && !entry["fieldsV1"]["f:spec"].is_null();
    let mut owners = entries.iter().filter(specifies);
    let is_ours = |entry: &Value| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply";
    let (Some(owner), None) = (owners.next(), owners.next()) else { return false };
    let fields = &owner["fieldsV1"]["f:spec"];
    is_ours(owner) && specification.keys().all(|field| !fields[format!("f:{field}")].is_null())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::render::digest::with_digest;
    use serde_json::json;

    fn wanted() -> Manifest {
        with_digest(Manifest(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "a" }, "spec": { "group": "g", "versions": [{ "name": "v1" }] },
        })))
    }

    /// The metadata that the API server holds once it was applied.
    fn applied() -> Value {
        let fields = json!({ "f:spec": { "f:group": {}, "f:versions": {} } });
        json!({ "metadata": {
            "annotations": wanted().0["metadata"]["annotations"],
            "managedFields": [
                { "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields },
                { "manager": "kube-apiserver", "operation": "Update", "subresource": "status",
                  "fieldsV1": { "f:status": {} } },
            ],
        } })
    }

    #[test]
    fn what_we_applied_and_nobody_touched_is_known() {
        assert!(is_untouched(&wanted(), &applied()));
    }

    #[test]
    fn whatever_may_have_changed_it_is_looked_at() {
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 6] = [
            ("other content", |live| live["metadata"]["annotations"][CONTENT_DIGEST_ANNOTATION] = "sha256:0".into()),
            ("no annotation", |live| live["metadata"]["annotations"] = Value::Null),
            ("a field that somebody took away", |live| {
                live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"] = json!({ "f:group": {} });
            }),
            ("another owner beside us", |live| {
                live["metadata"]["managedFields"][1] = json!({
                    "manager": "kubectl-edit", "operation": "Update", "fieldsV1": { "f:spec": { "f:versions": {} } }
                });
            }),
            ("another owner instead of us", |live| live["metadata"]["managedFields"][0]["manager"] = "helm".into()),
            ("owners unknown", |live| live["metadata"]["managedFields"] = Value::Null),
        ];
        for (name, change) in changes {
            let mut live = applied();
            change(&mut live);
            assert!(!is_untouched(&wanted(), &live), "{name}");
        }
        let unmarked = Manifest(json!({ "metadata": {}, "spec": {} }));
        assert!(!is_untouched(&unmarked, &applied()));
    }
}
