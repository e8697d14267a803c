//! The platform's workloads as Kubernetes objects. Their pods run nothing; the simulator answers
//! for them.

use super::traffic::Traffic;
use crate::config::model::PlatformService;
use crate::object::Manifest;
use crate::stack::Exporter;
use serde_json::{Value, json};

/// CPU that each pod reserves: `100m`.
pub(super) const CPU_REQUEST_CORES: f64 = 0.1;
/// Memory that each pod reserves: `256Mi`.
pub(super) const MEMORY_REQUEST_BYTES: f64 = 268_435_456.0;
/// The most memory that each pod may use: `512Mi`.
pub(super) const MEMORY_LIMIT_BYTES: f64 = 536_870_912.0;

/// A Deployment and a Service for each of `services` and `exporters`, all in `namespace`. Pods
/// carry the label `app` with the name of their Service; the port is called `http`.
///
/// # Errors
/// Only when the embedded traffic model is broken, which its tests rule out.
pub fn workloads(
    services: &[PlatformService],
    exporters: &[&'static Exporter],
    namespace: &str,
) -> anyhow::Result<Vec<Manifest>> {
    let traffic = Traffic::embedded()?;
    let of_services = services
        .iter()
        .map(|service| (service.name.as_str(), service.port, traffic.service(&service.name).pods, "/health"));
    let of_exporters = exporters.iter().map(|exporter| (exporter.service, exporter.port, 1, "/metrics"));
    Ok(of_services
        .chain(of_exporters)
        .flat_map(|(name, port, replicas, probe)| {
            [deployment(name, port, replicas, probe, namespace), service(name, port, namespace)]
        })
        .map(Manifest)
        .collect())
}

fn deployment(name: &str, port: u16, replicas: u32, probe_path: &str, namespace: &str) -> Value {
    let probe = |period: u32, failures: u32| {
        json!({
            "httpGet": { "path": probe_path, "port": "http" },
            "periodSeconds": period,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        })
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    "automountServiceAccountToken": false,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 10001,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [{
                        "name": name,
                        // The name can never be resolved: the simulator stands behind the pod.
                        "image": format!("registry.invalid/drivemaster/{name}:1.0.0"),
                        "ports": [{ "name": "http", "containerPort": port, "protocol": "TCP" }],
                        "startupProbe": probe(2, 30),
                        "readinessProbe": probe(5, 3),
                        "livenessProbe": probe(10, 3),
                        "resources": {
                            "requests": { "cpu": "100m", "memory": "256Mi" },
                            "limits": { "memory": "512Mi" },
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": { "drop": ["ALL"] },
                        },
                    }],
                },
            },
        },
    })
}

fn service(name: &str, port: u16, namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } },
        "spec": {
            "selector": { "app": name },
            "ports": [{ "name": "http", "port": port, "targetPort": "http", "protocol": "TCP" }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::EXPORTERS;

    #[test]
    fn every_service_and_exporter_has_a_deployment_and_a_service_that_find_each_other() {
        let services = [
            PlatformService { name: "user-service".to_owned(), port: 3001 },
            PlatformService { name: "billing-service".to_owned(), port: 3999 },
        ];
        let exporters: Vec<_> = EXPORTERS.iter().collect();
        let manifests = workloads(&services, &exporters, "drivemaster").unwrap();
        assert_eq!(manifests.len(), 2 * (services.len() + exporters.len()));
        for pair in manifests.chunks(2) {
            let (deployment, service) = (&pair[0].0, &pair[1].0);
            assert_eq!(pair[0].reference().namespace.as_deref(), Some("drivemaster"));
            assert_eq!(deployment["metadata"]["name"], service["metadata"]["name"]);
            assert_eq!(deployment["spec"]["template"]["metadata"]["labels"], service["spec"]["selector"]);
            let container = &deployment["spec"]["template"]["spec"]["containers"][0];
            assert_eq!(container["ports"][0]["name"], service["spec"]["ports"][0]["targetPort"]);
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                assert_eq!(container[probe]["httpGet"]["port"], "http");
            }
        }
        assert_eq!(manifests[0].0["spec"]["replicas"], 2);
        assert_eq!(manifests[3].0["spec"]["ports"][0]["port"], 3999);
    }

    #[test]
    fn the_written_resources_are_those_that_kube_state_metrics_tells() {
        let services = [PlatformService { name: "user-service".to_owned(), port: 3001 }];
        let manifests = workloads(&services, &[], "drivemaster").unwrap();
        let resources = &manifests[0].0["spec"]["template"]["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"]["cpu"], format!("{}m", CPU_REQUEST_CORES * 1000.0));
        assert_eq!(resources["requests"]["memory"], format!("{}Mi", MEMORY_REQUEST_BYTES / 1_048_576.0));
        assert_eq!(resources["limits"]["memory"], format!("{}Mi", MEMORY_LIMIT_BYTES / 1_048_576.0));
    }
}
