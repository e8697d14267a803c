//! The objects that the pages are made from.

use crate::sandbox::platform::Usage;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the API server held at one moment.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Nodes.
    pub nodes: Vec<Arc<Node>>,
    /// Namespaces.
    pub namespaces: Vec<Arc<Namespace>>,
    /// Pods.
    pub pods: Vec<Arc<Pod>>,
    /// Deployments.
    pub deployments: Vec<Arc<Deployment>>,
    /// ReplicaSets.
    pub replica_sets: Vec<Arc<ReplicaSet>>,
    /// StatefulSets.
    pub stateful_sets: Vec<Arc<StatefulSet>>,
    /// DaemonSets.
    pub daemon_sets: Vec<Arc<DaemonSet>>,
    /// Jobs.
    pub jobs: Vec<Arc<Job>>,
    /// PersistentVolumeClaims.
    pub claims: Vec<Arc<PersistentVolumeClaim>>,
    /// PersistentVolumes.
    pub volumes: Vec<Arc<PersistentVolume>>,
    /// ResourceQuotas.
    pub quotas: Vec<Arc<ResourceQuota>>,
    /// HorizontalPodAutoscalers.
    pub autoscalers: Vec<Arc<HorizontalPodAutoscaler>>,
    /// PodDisruptionBudgets.
    pub budgets: Vec<Arc<PodDisruptionBudget>>,
    /// Ingresses.
    pub ingresses: Vec<Arc<Ingress>>,
    /// Pods of the simulated platform that refuse connections, by namespace and name: they count as
    /// not ready, whatever their status says.
    pub down: BTreeSet<(String, String)>,
    /// What pods of simulated services use, by namespace and name.
    pub usage: BTreeMap<(String, String), Usage>,
}

/// Label of the platform's pods with the name of their Service.
const PLATFORM_LABEL: &str = "app";

/// Name of the Service that a pod of the platform is behind.
pub fn platform_service(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(PLATFORM_LABEL).map(String::as_str)
}

impl Cluster {
    /// Whether the pod refuses connections.
    pub(super) fn is_down(&self, pod: &Pod) -> bool {
        let name = |text: &Option<String>| text.clone().unwrap_or_default();
        self.down.contains(&(name(&pod.metadata.namespace), name(&pod.metadata.name)))
    }

    /// How many pods of the Deployment `namespace`/`name` refuse connections.
    pub(super) fn down_of(&self, namespace: &str, name: &str) -> usize {
        let of_deployment = |pod: &&Arc<Pod>| {
            pod.metadata.namespace.as_deref() == Some(namespace) && platform_service(pod) == Some(name)
        };
        self.pods.iter().filter(of_deployment).filter(|pod| self.is_down(pod)).count()
    }
}
