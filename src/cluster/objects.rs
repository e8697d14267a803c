//! Objects of any kind, by their reference.

use crate::object::ObjectRef;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};

/// The resource of an object's kind. The plural is formed by the rules of English, which all kinds
/// that we write follow; a kind that does not would be a 404.
pub(crate) fn resource(reference: &ObjectRef) -> ApiResource {
    let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &reference.kind))
}

/// The API through which the object of `reference` is read and written.
pub(crate) fn api(client: &Client, reference: &ObjectRef) -> Api<DynamicObject> {
    let resource = resource(reference);
    match &reference.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_we_write_has_its_plural() {
        let cases = [
            ("v1", "Namespace", "namespaces"),
            ("v1", "ConfigMap", "configmaps"),
            ("v1", "Secret", "secrets"),
            ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
            ("networking.k8s.io/v1", "Ingress", "ingresses"),
            ("storage.k8s.io/v1", "StorageClass", "storageclasses"),
            ("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
            ("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
        ];
        for (api_version, kind, plural) in cases {
            let resource = resource(&ObjectRef::cluster_scoped(api_version, kind, "x"));
            assert_eq!((resource.plural.as_str(), resource.api_version.as_str()), (plural, api_version));
        }
    }
}
