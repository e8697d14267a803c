//! Objects of any kind, by their reference.

use crate::object::ObjectRef;
use crate::plan::definitions::read_version;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

/// The resource of an object's kind. The plural is formed by the rules of English, which all kinds
/// that we write follow except the experiments of Chaos Mesh and Alloy's `PodLogs`; another kind that
/// does not would be a 404.
pub(crate) fn resource(reference: &ObjectRef) -> ApiResource {
    let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
    let gvk = GroupVersionKind::gvk(group, version, &reference.kind);
    if group == "chaos-mesh.org" && reference.kind.ends_with("Chaos") || reference.kind == "PodLogs" {
        return ApiResource::from_gvk_with_plural(&gvk, &reference.kind.to_lowercase());
    }
    ApiResource::from_gvk(&gvk)
}

/// The resource that a CRD brings, in the version its objects are read in.
pub(crate) fn defined(definition: &Value) -> Option<ApiResource> {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, group) = (read_version(definition)?, text("/spec/group"));
    Some(ApiResource {
        api_version: format!("{group}/{version}"),
        version: version.to_owned(),
        kind: text("/spec/names/kind"),
        plural: text("/spec/names/plural"),
        group,
    })
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
            ("monitoring.coreos.com/v1", "Prometheus", "prometheuses"),
            ("monitoring.grafana.com/v1alpha2", "PodLogs", "podlogs"),
            ("chaos-mesh.org/v1alpha1", "NetworkChaos", "networkchaos"),
            ("chaos-mesh.org/v1alpha1", "Schedule", "schedules"),
        ];
        for (api_version, kind, plural) in cases {
            let resource = resource(&ObjectRef::cluster_scoped(api_version, kind, "x"));
            assert_eq!((resource.plural.as_str(), resource.api_version.as_str()), (plural, api_version));
        }
    }
}
