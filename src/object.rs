//! Kubernetes objects as data: a reference to one, and one as rendered.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Kinds without a namespace. Every other kind is taken to have one.
const CLUSTER_SCOPED: &[&str] = &[
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PersistentVolume",
    "PriorityClass",
    "StorageClass",
    "ValidatingWebhookConfiguration",
];

/// The one field manager of our own objects.
pub const FIELD_MANAGER: &str = "drivemaster-mon";
/// The label by which our own objects are known; its value is [`FIELD_MANAGER`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Annotation of a definition with the digest of what it was rendered with; so that one that stands as it should is
/// known by its metadata, a hundredth of the whole.
pub const CONTENT_DIGEST_ANNOTATION: &str = "drivemaster-mon/content";

/// Names one Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Group and version, such as `apps/v1`, or `v1` for the core group.
    pub api_version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Namespace; `None` for cluster-scoped objects.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectRef {
    /// A reference to a namespaced object.
    pub fn namespaced(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        ObjectRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    /// A reference to a cluster-scoped object.
    pub fn cluster_scoped(api_version: &str, kind: &str, name: &str) -> Self {
        ObjectRef { api_version: api_version.to_owned(), kind: kind.to_owned(), namespace: None, name: name.to_owned() }
    }

    /// `kind/name` in lower case as kubectl takes it, such as `deployment/prometheus-grafana`.
    pub fn kubectl_name(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(formatter, "{} {}/{}", self.kind, namespace, self.name),
            None => write!(formatter, "{} {}", self.kind, self.name),
        }
    }
}

/// One Kubernetes object as rendered: complete JSON with `apiVersion`, `kind` and `metadata.name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub Value);

impl Manifest {
    /// The reference that names this object.
    ///
    /// Missing fields come out empty: rendered objects are ours and tested to be complete.
    pub fn reference(&self) -> ObjectRef {
        let text = |pointer: &str| self.0.pointer(pointer).and_then(Value::as_str);
        ObjectRef {
            api_version: text("/apiVersion").unwrap_or_default().to_owned(),
            kind: text("/kind").unwrap_or_default().to_owned(),
            namespace: text("/metadata/namespace").map(str::to_owned),
            name: text("/metadata/name").unwrap_or_default().to_owned(),
        }
    }

    /// Gives it `namespace` where it names none and its kind has one; takes one away that its kind has not.
    pub fn place(&mut self, namespace: &str) {
        let is_cluster_scoped = CLUSTER_SCOPED.contains(&self.reference().kind.as_str());
        let Some(metadata) = self.0.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        if is_cluster_scoped {
            metadata.remove("namespace");
        } else if metadata.get("namespace").is_none_or(Value::is_null) {
            metadata.insert("namespace".to_owned(), Value::String(namespace.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_placed_as_its_kind_is() {
        let placed = |kind: &str, namespace: Option<&str>| {
            let metadata = json!({"name": "a", "namespace": namespace});
            let mut object = Manifest(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata}));
            object.place("m");
            object.reference().namespace
        };
        assert_eq!(placed("ConfigMap", None).as_deref(), Some("m"));
        assert_eq!(placed("ConfigMap", Some("n")).as_deref(), Some("n"));
        assert_eq!((placed("ClusterRole", None), placed("ClusterRole", Some("n"))), (None, None));
    }
}
