//! What kube-state-metrics would say of the simulated platform.

use super::exposition::Page;
use super::workloads;
use crate::contract::{Contract, Metric};

/// A pod of the platform.
pub(super) struct PodState<'a> {
    /// Name.
    pub name: &'a str,
    /// Name of its Kubernetes Service, which is also that of its container.
    pub service: &'a str,
    /// Whether it answers.
    pub ready: bool,
}

/// A deployment of the platform.
pub(super) struct DeploymentState<'a> {
    /// Name.
    pub name: &'a str,
    /// How many pods it wants.
    pub wanted: u32,
    /// How many answer.
    pub available: u32,
}

/// `/metrics` of kube-state-metrics.
pub(super) fn page(
    contract: &Contract,
    namespace: &str,
    pods: &[PodState<'_>],
    deployments: &[DeploymentState<'_>],
) -> String {
    let mut page = Page::default();
    for metric in contract.metrics_of("kubeState") {
        let mut body = Page::default();
        for pod in pods {
            pod_samples(&mut body, metric, namespace, pod);
        }
        for deployment in deployments {
            let labels = [("namespace", namespace), ("deployment", deployment.name)];
            match metric.name.as_str() {
                "kube_deployment_spec_replicas" => body.sample(&metric.name, &labels, f64::from(deployment.wanted)),
                "kube_deployment_status_replicas_available" => {
                    body.sample(&metric.name, &labels, f64::from(deployment.available));
                }
                _ => {}
            }
        }
        page.append(metric, body);
    }
    page.into_body()
}

fn pod_samples(page: &mut Page, metric: &Metric, namespace: &str, pod: &PodState<'_>) {
    let name = metric.name.as_str();
    let of_pod = [("namespace", namespace), ("pod", pod.name)];
    let mut with = |more: &[(&str, &str)], value: f64| {
        let labels: Vec<(&str, &str)> = of_pod.iter().chain(more).copied().collect();
        page.sample(name, &labels, value);
    };
    let yes = |holds: bool| if holds { 1.0 } else { 0.0 };
    let container = ("container", pod.service);
    match name {
        "kube_pod_status_phase" => {
            for phase in ["Pending", "Running", "Succeeded", "Failed", "Unknown"] {
                with(&[("phase", phase)], yes(phase == "Running"));
            }
        }
        "kube_pod_status_ready" => {
            with(&[("condition", "true")], yes(pod.ready));
            with(&[("condition", "false")], yes(!pod.ready));
        }
        "kube_pod_container_status_restarts_total" => with(&[container], 0.0),
        "kube_pod_container_resource_requests" => {
            with(&[container, ("resource", "cpu"), ("unit", "core")], workloads::CPU_REQUEST_CORES);
            with(&[container, ("resource", "memory"), ("unit", "byte")], workloads::MEMORY_REQUEST_BYTES);
        }
        "kube_pod_container_resource_limits" => {
            with(&[container, ("resource", "memory"), ("unit", "byte")], workloads::MEMORY_LIMIT_BYTES);
        }
        _ => {}
    }
}
