//! Built-in kinds, decoded into the types that Kubernetes generates from its own definitions.

use super::{Problem, shortened};
use crate::object::Manifest;
use crate::pointer;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, ResourceQuota, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Decodes an object, and says what is wrong with it.
type Judge = fn(&Value) -> Vec<Problem>;

/// The kinds that we make, or are likely to.
const KINDS: &[(&str, &str, Judge)] = &[
    ("v1", "ConfigMap", decode::<ConfigMap>),
    ("v1", "LimitRange", decode::<LimitRange>),
    ("v1", "Namespace", decode::<Namespace>),
    ("v1", "ResourceQuota", decode::<ResourceQuota>),
    ("v1", "Secret", decode::<Secret>),
    ("v1", "Service", decode::<Service>),
    ("v1", "ServiceAccount", decode::<ServiceAccount>),
    ("networking.k8s.io/v1", "Ingress", decode::<Ingress>),
    ("networking.k8s.io/v1", "NetworkPolicy", decode::<NetworkPolicy>),
    ("policy/v1", "PodDisruptionBudget", decode::<PodDisruptionBudget>),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", decode::<ClusterRole>),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", decode::<ClusterRoleBinding>),
    ("rbac.authorization.k8s.io/v1", "Role", decode::<Role>),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", decode::<RoleBinding>),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", decode::<CustomResourceDefinition>),
];

/// What is wrong with `manifest`; `None` where its kind is not one of these.
pub(super) fn judge(manifest: &Manifest) -> Option<Vec<Problem>> {
    let text = |key: &str| manifest.0.get(key).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (.., judge) = KINDS.iter().find(|(known, name, _)| *known == version && *name == kind)?;
    Some(judge(&manifest.0))
}

/// What goes into the type and does not come out again is no field of it.
fn decode<T: DeserializeOwned + Serialize>(object: &Value) -> Vec<Problem> {
    let refused = |message: String| vec![Problem { is_unknown: false, pointer: String::new(), message }];
    let decoded: T = match serde_json::from_value(object.clone()) {
        Ok(decoded) => decoded,
        Err(error) => return refused(shortened(&error.to_string())),
    };
    match serde_json::to_value(decoded) {
        Ok(known) => {
            let mut problems = Vec::new();
            lost(object, &known, "", &mut problems);
            problems
        }
        Err(error) => refused(error.to_string()),
    }
}

fn lost(given: &Value, known: &Value, pointer: &str, problems: &mut Vec<Problem>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let at = pointer::below(pointer, key);
                match known.get(key) {
                    Some(known) => lost(value, known, &at, problems),
                    None => {
                        let message = format!("there is no field `{}`", at.trim_start_matches('/').replace('/', "."));
                        problems.push(Problem { is_unknown: true, pointer: at, message });
                    }
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                lost(given, known, &format!("{pointer}/{index}"), problems);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_and_wrong_types_are_found() {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "a" },
            "spec": { "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [
                { "from": [{ "podSelectr": {} }], "ports": [{ "port": "http" }, { "port": 80, "protocol": "TCP" }] },
            ] },
        });
        let problems = judge(&Manifest(policy.clone())).unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].is_unknown, problems[0].pointer.as_str()), (true, "/spec/ingress/0/from/0/podSelectr"));
        let mut wrong = policy;
        wrong["spec"]["policyTypes"] = json!("Ingress");
        assert!(!judge(&Manifest(wrong)).unwrap()[0].is_unknown);
        assert!(judge(&Manifest(json!({ "apiVersion": "a/v1", "kind": "B" }))).is_none());
    }
}
