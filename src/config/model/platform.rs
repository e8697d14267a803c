//! What is watched, what is broken on purpose, and how a run behaves.

use super::Resources;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is watched but not ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Platform {
    /// The DriveMaster services.
    pub services: Vec<PlatformService>,
    /// How each exporter comes to be; the keys are those of the catalogue.
    pub exporters: BTreeMap<String, ExporterMode>,
}

/// One DriveMaster service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlatformService {
    /// Name of its Kubernetes Service, which is also its `job` label.
    #[schemars(regex(pattern = r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// Port of `/metrics` and `/health`.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// How an exporter comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExporterMode {
    /// We deploy it.
    Deployed,
    /// It runs already; we scrape it and expect it up.
    Existing,
    /// There is none; nothing is scraped or expected.
    None,
}

/// How a deploy behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deploy {
    /// How long applying and waiting may take, in seconds; `verify` has a timeout of its own.
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout_seconds: u64,
    /// How long a release may take at most from where it begins, in seconds, by the release's name; besides
    /// `timeoutSeconds`. `--timeout` stands in for both.
    #[serde(default)]
    pub release_timeouts: BTreeMap<String, u64>,
    /// How long a cause that may heal by itself must hold unchanged before the wait ends, in seconds.
    #[schemars(range(max = 604_800))]
    pub fail_after_seconds: u64,
    /// How many steps are at work at once; those that wait for something to become ready do not count.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: usize,
}

/// How `verify` judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verify {
    /// How long checks that need a first scrape or evaluation are asked again, in seconds.
    #[schemars(range(max = 604_800))]
    pub timeout_seconds: u64,
    /// Components (keys of the catalogue) whose program may be absent: their checks may be unknown.
    pub may_be_unknown: Vec<String>,
    /// Alerts that may fire on a healthy stack, each with the reason why that is no fault.
    pub may_fire: BTreeMap<String, String>,
}

/// Chaos Mesh and its experiments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChaosMesh {
    /// Whether it is deployed.
    pub enabled: bool,
    /// Container runtime of the nodes.
    pub runtime: ContainerRuntime,
    /// Socket of that runtime on the nodes.
    #[schemars(regex(pattern = r"^/.+"))]
    pub socket_path: String,
    /// What the API server does with experiments while its webhooks do not answer.
    pub webhook_failure_policy: FailurePolicy,
    /// Labels of the pods that the experiments on databases choose.
    pub targets: ChaosTargets,
    /// The experiments by name: whether each is there. All are created paused.
    pub experiments: BTreeMap<String, bool>,
    /// Requests and limits of the controller manager.
    pub resources: Resources,
}

/// Labels of the pods that the experiments on databases choose in the platform's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChaosTargets {
    /// Those of PostgreSQL.
    pub postgresql: BTreeMap<String, String>,
    /// Those of Redis.
    pub redis: BTreeMap<String, String>,
    /// Those of Kafka.
    pub kafka: BTreeMap<String, String>,
}

/// A container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerRuntime {
    /// containerd.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker.
    Docker,
}

/// What the API server does when a webhook does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// It refuses the object.
    Fail,
    /// It takes the object unchecked.
    Ignore,
}
