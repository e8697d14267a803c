//! Workloads, nodes, volumes and the rest, as kube-state-metrics tells them.

use super::cluster::Cluster;
use super::kube_state::{Families, owner, place, seconds};
use k8s_openapi::api::core::v1::Node;

/// Prefix of the labels that give a node its roles.
const ROLE_LABEL: &str = "node-role.kubernetes.io/";

/// Adds what is told of every object but pods.
pub(super) fn add(families: &mut Families, cluster: &Cluster) {
    deployments(families, cluster);
    replica_sets(families, cluster);
    stateful_sets(families, cluster);
    daemon_sets(families, cluster);
    jobs(families, cluster);
    cluster.nodes.iter().for_each(|node| of_node(families, node));
    volumes(families, cluster);
    policies(families, cluster);
    for namespace in &cluster.namespaces {
        let (_, name) = place(&namespace.metadata);
        let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        families.one_of(
            "kube_namespace_status_phase",
            &[("namespace", name)],
            "phase",
            &["Active", "Terminating"],
            phase,
        );
        if let Some(created) = &namespace.metadata.creation_timestamp {
            families.add("kube_namespace_created", &[("namespace", name)], seconds(created));
        }
    }
}

/// A number of pods; the API leaves out a zero.
fn count(number: Option<i32>) -> f64 {
    f64::from(number.unwrap_or_default())
}

/// A generation, which stays far below 2^53.
fn generation(number: Option<i64>) -> f64 {
    number.unwrap_or_default() as f64
}

fn deployments(families: &mut Families, cluster: &Cluster) {
    for deployment in &cluster.deployments {
        let (namespace, name) = place(&deployment.metadata);
        let labels = [("namespace", namespace), ("deployment", name)];
        let spec = deployment.spec.as_ref();
        let status = deployment.status.clone().unwrap_or_default();
        let down = cluster.down_of(namespace, name) as f64;
        let ready = |number: Option<i32>| (count(number) - down).max(0.0);
        for (family, value) in [
            ("kube_deployment_spec_replicas", f64::from(spec.and_then(|spec| spec.replicas).unwrap_or(1))),
            ("kube_deployment_metadata_generation", generation(deployment.metadata.generation)),
            ("kube_deployment_status_observed_generation", generation(status.observed_generation)),
            ("kube_deployment_status_replicas", count(status.replicas)),
            ("kube_deployment_status_replicas_ready", ready(status.ready_replicas)),
            ("kube_deployment_status_replicas_available", ready(status.available_replicas)),
            ("kube_deployment_status_replicas_updated", count(status.updated_replicas)),
            ("kube_deployment_status_replicas_unavailable", count(status.replicas) - ready(status.available_replicas)),
        ] {
            families.add(family, &labels, value);
        }
        families.answer("kube_deployment_spec_paused", &labels, spec.and_then(|spec| spec.paused).unwrap_or_default());
        for condition in status.conditions.iter().flatten() {
            let labels = [&labels[..], &[("condition", condition.type_.as_str())]].concat();
            let actual = condition.status.to_lowercase();
            let words = ["true", "false", "unknown"];
            families.one_of("kube_deployment_status_condition", &labels, "status", &words, &actual);
        }
        if let Some(created) = &deployment.metadata.creation_timestamp {
            families.add("kube_deployment_created", &labels, seconds(created));
        }
    }
}

fn replica_sets(families: &mut Families, cluster: &Cluster) {
    for set in &cluster.replica_sets {
        let (namespace, name) = place(&set.metadata);
        let labels = [("namespace", namespace), ("replicaset", name)];
        let (kind, owner_name, controls) = owner(&set.metadata);
        let owned = [("owner_kind", kind), ("owner_name", owner_name), ("owner_is_controller", controls)];
        families.add("kube_replicaset_owner", &[&labels[..], &owned[..]].concat(), 1.0);
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        families.add("kube_replicaset_spec_replicas", &labels, f64::from(wanted));
        let status = set.status.clone().unwrap_or_default();
        families.add("kube_replicaset_status_replicas", &labels, f64::from(status.replicas));
        families.add("kube_replicaset_status_ready_replicas", &labels, count(status.ready_replicas));
    }
}

fn stateful_sets(families: &mut Families, cluster: &Cluster) {
    for set in &cluster.stateful_sets {
        let (namespace, name) = place(&set.metadata);
        let labels = [("namespace", namespace), ("statefulset", name)];
        let status = set.status.clone().unwrap_or_default();
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        for (family, value) in [
            ("kube_statefulset_replicas", f64::from(wanted)),
            ("kube_statefulset_metadata_generation", generation(set.metadata.generation)),
            ("kube_statefulset_status_observed_generation", generation(status.observed_generation)),
            ("kube_statefulset_status_replicas", f64::from(status.replicas)),
            ("kube_statefulset_status_replicas_ready", count(status.ready_replicas)),
            ("kube_statefulset_status_replicas_available", count(status.available_replicas)),
            ("kube_statefulset_status_replicas_current", count(status.current_replicas)),
            ("kube_statefulset_status_replicas_updated", count(status.updated_replicas)),
        ] {
            families.add(family, &labels, value);
        }
        for (family, revision) in [
            ("kube_statefulset_status_current_revision", &status.current_revision),
            ("kube_statefulset_status_update_revision", &status.update_revision),
        ] {
            if let Some(revision) = revision {
                families.add(family, &[&labels[..], &[("revision", revision.as_str())]].concat(), 1.0);
            }
        }
        if let Some(created) = &set.metadata.creation_timestamp {
            families.add("kube_statefulset_created", &labels, seconds(created));
        }
    }
}

fn daemon_sets(families: &mut Families, cluster: &Cluster) {
    for set in &cluster.daemon_sets {
        let (namespace, name) = place(&set.metadata);
        let labels = [("namespace", namespace), ("daemonset", name)];
        let status = set.status.clone().unwrap_or_default();
        for (family, value) in [
            ("kube_daemonset_metadata_generation", generation(set.metadata.generation)),
            ("kube_daemonset_status_observed_generation", generation(status.observed_generation)),
            ("kube_daemonset_status_current_number_scheduled", f64::from(status.current_number_scheduled)),
            ("kube_daemonset_status_desired_number_scheduled", f64::from(status.desired_number_scheduled)),
            ("kube_daemonset_status_number_misscheduled", f64::from(status.number_misscheduled)),
            ("kube_daemonset_status_number_ready", f64::from(status.number_ready)),
            ("kube_daemonset_status_number_available", count(status.number_available)),
            ("kube_daemonset_status_number_unavailable", count(status.number_unavailable)),
            ("kube_daemonset_status_updated_number_scheduled", count(status.updated_number_scheduled)),
        ] {
            families.add(family, &labels, value);
        }
        if let Some(created) = &set.metadata.creation_timestamp {
            families.add("kube_daemonset_created", &labels, seconds(created));
        }
    }
}

fn jobs(families: &mut Families, cluster: &Cluster) {
    for job in &cluster.jobs {
        let (namespace, name) = place(&job.metadata);
        let labels = [("namespace", namespace), ("job_name", name)];
        families.add("kube_job_info", &labels, 1.0);
        let (kind, owner_name, controls) = owner(&job.metadata);
        let owned = [("owner_kind", kind), ("owner_name", owner_name), ("owner_is_controller", controls)];
        families.add("kube_job_owner", &[&labels[..], &owned[..]].concat(), 1.0);
        let status = job.status.clone().unwrap_or_default();
        families.add("kube_job_status_active", &labels, count(status.active));
        families.add("kube_job_status_succeeded", &labels, count(status.succeeded));
        families.add("kube_job_status_failed", &labels, count(status.failed));
        if let Some(started) = &status.start_time {
            families.add("kube_job_status_start_time", &labels, seconds(started));
        }
        for condition in status.conditions.iter().flatten() {
            let family = match condition.type_.as_str() {
                "Complete" => "kube_job_complete",
                "Failed" => "kube_job_failed",
                _ => continue,
            };
            let actual = condition.status.to_lowercase();
            families.one_of(family, &labels, "condition", &["true", "false", "unknown"], &actual);
        }
    }
}

fn of_node(families: &mut Families, node: &Node) {
    let (_, name) = place(&node.metadata);
    let labels = [("node", name)];
    let status = node.status.clone().unwrap_or_default();
    let system = status.node_info.clone().unwrap_or_default();
    let addresses = status.addresses.as_deref().unwrap_or_default();
    let address = addresses.iter().find(|address| address.type_ == "InternalIP");
    let info = [
        ("kernel_version", system.kernel_version.as_str()),
        ("os_image", &system.os_image),
        ("container_runtime_version", &system.container_runtime_version),
        ("kubelet_version", &system.kubelet_version),
        ("internal_ip", address.map(|address| address.address.as_str()).unwrap_or_default()),
    ];
    families.add("kube_node_info", &[&labels[..], &info[..]].concat(), 1.0);
    families.amounts("kube_node_status_capacity", &labels, status.capacity.as_ref());
    families.amounts("kube_node_status_allocatable", &labels, status.allocatable.as_ref());
    for condition in status.conditions.iter().flatten() {
        let labels = [&labels[..], &[("condition", condition.type_.as_str())]].concat();
        let actual = condition.status.to_lowercase();
        families.one_of("kube_node_status_condition", &labels, "status", &["true", "false", "unknown"], &actual);
    }
    let spec = node.spec.clone().unwrap_or_default();
    families.answer("kube_node_spec_unschedulable", &labels, spec.unschedulable.unwrap_or_default());
    for taint in spec.taints.iter().flatten() {
        let value = taint.value.as_deref().unwrap_or_default();
        let taint = [("key", taint.key.as_str()), ("value", value), ("effect", taint.effect.as_str())];
        families.add("kube_node_spec_taint", &[&labels[..], &taint[..]].concat(), 1.0);
    }
    for role in node.metadata.labels.iter().flatten().filter_map(|(label, _)| label.strip_prefix(ROLE_LABEL)) {
        families.add("kube_node_role", &[&labels[..], &[("role", role)]].concat(), 1.0);
    }
    if let Some(created) = &node.metadata.creation_timestamp {
        families.add("kube_node_created", &labels, seconds(created));
    }
}

fn volumes(families: &mut Families, cluster: &Cluster) {
    for claim in &cluster.claims {
        let (namespace, name) = place(&claim.metadata);
        let labels = [("namespace", namespace), ("persistentvolumeclaim", name)];
        let spec = claim.spec.clone().unwrap_or_default();
        let info = [
            ("storageclass", spec.storage_class_name.as_deref().unwrap_or_default()),
            ("volumename", spec.volume_name.as_deref().unwrap_or_default()),
        ];
        families.add("kube_persistentvolumeclaim_info", &[&labels[..], &info[..]].concat(), 1.0);
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let phases = ["Lost", "Bound", "Pending"];
        families.one_of("kube_persistentvolumeclaim_status_phase", &labels, "phase", &phases, phase);
        for mode in spec.access_modes.iter().flatten() {
            let labels = [&labels[..], &[("access_mode", mode.as_str())]].concat();
            families.add("kube_persistentvolumeclaim_access_mode", &labels, 1.0);
        }
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        if let Some(bytes) = requests.and_then(|requests| super::quantity::number(&requests.get("storage")?.0)) {
            families.add("kube_persistentvolumeclaim_resource_requests_storage_bytes", &labels, bytes);
        }
    }
    for volume in &cluster.volumes {
        let (_, name) = place(&volume.metadata);
        let labels = [("persistentvolume", name)];
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let phases = ["Pending", "Available", "Bound", "Released", "Failed"];
        families.one_of("kube_persistentvolume_status_phase", &labels, "phase", &phases, phase);
        let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
        if let Some(bytes) = capacity.and_then(|capacity| super::quantity::number(&capacity.get("storage")?.0)) {
            families.add("kube_persistentvolume_capacity_bytes", &labels, bytes);
        }
    }
}

fn policies(families: &mut Families, cluster: &Cluster) {
    for quota in &cluster.quotas {
        let (namespace, name) = place(&quota.metadata);
        let status = quota.status.clone().unwrap_or_default();
        for (kind, amounts) in [("hard", &status.hard), ("used", &status.used)] {
            for (resource, amount) in amounts.iter().flatten() {
                let Some(value) = super::quantity::number(&amount.0) else { continue };
                let labels = [
                    ("namespace", namespace),
                    ("resourcequota", name),
                    ("resource", resource.as_str()),
                    ("type", kind),
                ];
                families.add("kube_resourcequota", &labels, value);
            }
        }
    }
    for scaler in &cluster.autoscalers {
        let (namespace, name) = place(&scaler.metadata);
        let labels = [("namespace", namespace), ("horizontalpodautoscaler", name)];
        let status = scaler.status.clone().unwrap_or_default();
        let spec = scaler.spec.clone().unwrap_or_default();
        for (family, value) in [
            ("kube_horizontalpodautoscaler_spec_min_replicas", f64::from(spec.min_replicas.unwrap_or(1))),
            ("kube_horizontalpodautoscaler_spec_max_replicas", f64::from(spec.max_replicas)),
            ("kube_horizontalpodautoscaler_status_current_replicas", count(status.current_replicas)),
            ("kube_horizontalpodautoscaler_status_desired_replicas", f64::from(status.desired_replicas)),
        ] {
            families.add(family, &labels, value);
        }
    }
    for budget in &cluster.budgets {
        let (namespace, name) = place(&budget.metadata);
        let labels = [("namespace", namespace), ("poddisruptionbudget", name)];
        let status = budget.status.clone().unwrap_or_default();
        for (family, value) in [
            ("kube_poddisruptionbudget_status_current_healthy", status.current_healthy),
            ("kube_poddisruptionbudget_status_desired_healthy", status.desired_healthy),
            ("kube_poddisruptionbudget_status_expected_pods", status.expected_pods),
            ("kube_poddisruptionbudget_status_pod_disruptions_allowed", status.disruptions_allowed),
        ] {
            families.add(family, &labels, f64::from(value));
        }
    }
}
