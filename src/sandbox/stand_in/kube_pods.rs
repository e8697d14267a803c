//! Pods, as kube-state-metrics tells them.

use super::cluster::Cluster;
use super::kube_state::{Families, owner, place, seconds};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The phases of a pod.
const PHASES: [&str; 5] = ["Pending", "Succeeded", "Failed", "Unknown", "Running"];
/// Reasons that a pod's status may give.
const REASONS: [&str; 6] =
    ["Evicted", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError", "SchedulingGated"];

/// Adds what is told of every pod.
pub(super) fn add(families: &mut Families, cluster: &Cluster) {
    for pod in &cluster.pods {
        let down = cluster.is_down(pod);
        of_pod(families, pod, down);
        containers(families, pod, down);
    }
}

fn text_of(value: Option<&String>) -> &str {
    value.map(String::as_str).unwrap_or_default()
}

fn of_pod(families: &mut Families, pod: &Pod, down: bool) {
    let (namespace, name) = place(&pod.metadata);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let labels = [("namespace", namespace), ("pod", name), ("uid", uid)];
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> { [&labels[..], more].concat() };
    let (kind, owner_name, controls) = owner(&pod.metadata);
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let node = spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or_default();
    let info = [
        ("host_ip", text_of(status.and_then(|status| status.host_ip.as_ref()))),
        ("pod_ip", text_of(status.and_then(|status| status.pod_ip.as_ref()))),
        ("node", node),
        ("created_by_kind", kind),
        ("created_by_name", owner_name),
        ("priority_class", text_of(spec.and_then(|spec| spec.priority_class_name.as_ref()))),
        ("host_network", if host_network { "true" } else { "false" }),
    ];
    families.add("kube_pod_info", &[&labels[..], &info[..]].concat(), 1.0);
    let owned = [("owner_kind", kind), ("owner_name", owner_name), ("owner_is_controller", controls)];
    families.add("kube_pod_owner", &[&labels[..], &owned[..]].concat(), 1.0);
    if let Some(created) = &pod.metadata.creation_timestamp {
        families.add("kube_pod_created", &labels, seconds(created));
    }
    if let Some(started) = status.and_then(|status| status.start_time.as_ref()) {
        families.add("kube_pod_start_time", &labels, seconds(started));
    }
    let phase = text_of(status.and_then(|status| status.phase.as_ref()));
    families.one_of("kube_pod_status_phase", &labels, "phase", &PHASES, phase);
    let reason = text_of(status.and_then(|status| status.reason.as_ref()));
    families.one_of("kube_pod_status_reason", &labels, "reason", &REASONS, reason);
    for (family, condition) in [("kube_pod_status_ready", "Ready"), ("kube_pod_status_scheduled", "PodScheduled")] {
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let Some(found) = conditions.iter().find(|known| known.type_ == condition) else { continue };
        let actual = if down && condition == "Ready" { "false" } else { &*found.status.to_lowercase() };
        families.one_of(family, &labels, "condition", &["true", "false", "unknown"], actual);
    }
    if spec.and_then(|spec| spec.restart_policy.as_deref()) == Some("Always") {
        families.add("kube_pod_restart_policy", &with(&[("type", "Always")]), 1.0);
    }
    let volumes = spec.and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    for (volume, claim) in volumes.iter().filter_map(|volume| Some((volume, volume.persistent_volume_claim.as_ref()?)))
    {
        let claimed = [("volume", volume.name.as_str()), ("persistentvolumeclaim", claim.claim_name.as_str())];
        families.add("kube_pod_spec_volumes_persistentvolumeclaims_info", &[&labels[..], &claimed[..]].concat(), 1.0);
    }
}

fn containers(families: &mut Families, pod: &Pod, down: bool) {
    let (namespace, name) = place(&pod.metadata);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let Some(spec) = pod.spec.as_ref() else { return };
    let node = spec.node_name.as_deref().unwrap_or_default();
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    for container in &spec.containers {
        let labels = [("namespace", namespace), ("pod", name), ("uid", uid), ("container", container.name.as_str())];
        let image = [("image", container.image.as_deref().unwrap_or_default()), ("image_id", ""), ("container_id", "")];
        families.add("kube_pod_container_info", &[&labels[..], &image[..]].concat(), 1.0);
        let resources = container.resources.as_ref();
        let on_node = [&labels[..], &[("node", node)]].concat();
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        families.amounts("kube_pod_container_resource_requests", &on_node, requests);
        let limits = resources.and_then(|resources| resources.limits.as_ref());
        families.amounts("kube_pod_container_resource_limits", &on_node, limits);
        if let Some(status) = statuses.iter().find(|status| status.name == container.name) {
            container_status(families, &labels, status, down);
        }
    }
}

fn container_status(families: &mut Families, labels: &[(&str, &str)], status: &ContainerStatus, down: bool) {
    let restarts = f64::from(status.restart_count);
    families.add("kube_pod_container_status_restarts_total", labels, restarts);
    families.answer("kube_pod_container_status_ready", labels, status.ready && !down);
    let state = status.state.as_ref();
    let running = state.is_some_and(|state| state.running.is_some());
    families.answer("kube_pod_container_status_running", labels, running);
    let waiting = state.and_then(|state| state.waiting.as_ref());
    families.answer("kube_pod_container_status_waiting", labels, waiting.is_some());
    let mut reason = |family: &'static str, reason: Option<&str>| {
        if let Some(reason) = reason {
            families.add(family, &[labels, &[("reason", reason)]].concat(), 1.0);
        }
    };
    reason("kube_pod_container_status_waiting_reason", waiting.and_then(|waiting| waiting.reason.as_deref()));
    let terminated = state.and_then(|state| state.terminated.as_ref());
    reason(
        "kube_pod_container_status_terminated_reason",
        terminated.and_then(|terminated| terminated.reason.as_deref()),
    );
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    reason("kube_pod_container_status_last_terminated_reason", last.and_then(|last| last.reason.as_deref()));
    families.answer("kube_pod_container_status_terminated", labels, terminated.is_some());
}
