//! The resolved configuration. The same types give the JSON Schema that every layer of values is
//! checked against (with nothing required there), so a key exists here or nowhere.
//!
//! All defaults stand in `values/*.yaml`, none in code: a complete stack of layers leaves no
//! option to guess.

mod metrics;
mod platform;
mod security;
mod slo;
mod telemetry;

pub use metrics::*;
pub use platform::*;
pub use security::*;
pub use slo::*;
pub use telemetry::*;

use crate::stack::{self, COMPONENTS, Component};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A Prometheus duration such as `15s`, `2h` or `30d`.
pub type DurationText = String;
/// A Kubernetes quantity such as `10Gi` or `250m`.
pub type Quantity = String;

/// Which set of charts and sizes is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Light embedded charts: one replica each, no operator, no network needed.
    Local,
    /// The upstream charts.
    Production,
}

/// Everything the stack is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Which set of charts and sizes is deployed.
    pub profile: Profile,
    /// Name of the cluster, as the external label `cluster` of every series and alert.
    #[schemars(length(min = 1))]
    pub cluster: String,
    /// Name of the environment, as the external label `environment`.
    #[schemars(length(min = 1))]
    pub environment: String,
    /// DNS domain under which the web interfaces are reached.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub domain: String,
    /// The namespaces.
    pub namespaces: Namespaces,
    /// Volumes.
    pub storage: Storage,
    /// Ingress of the web interfaces.
    pub ingress: Ingress,
    /// Container images.
    pub images: Images,
    /// What protects the stack.
    pub security: Security,
    /// What becomes of personal data.
    pub privacy: Privacy,
    /// Prometheus.
    pub prometheus: Prometheus,
    /// Alertmanager.
    pub alertmanager: Alertmanager,
    /// Grafana.
    pub grafana: Grafana,
    /// Loki.
    pub loki: Loki,
    /// Jaeger.
    pub jaeger: Jaeger,
    /// The OpenTelemetry Collector.
    pub otel_collector: OtelCollector,
    /// Alloy, which ships the logs.
    pub alloy: Alloy,
    /// The blackbox exporter, which probes from outside.
    pub blackbox_exporter: BlackboxExporter,
    /// What the exporters that we deploy connect to.
    pub exporters: ExporterSources,
    /// Chaos Mesh and its experiments.
    pub chaos_mesh: ChaosMesh,
    /// The service level objectives.
    pub slo: Slo,
    /// What is watched but not ours.
    pub platform: Platform,
    /// How a deploy behaves.
    pub deploy: Deploy,
    /// How `verify` judges.
    pub verify: Verify,
    /// Raw Helm values by release, laid over everything that this configuration makes of it; only
    /// for what no key above can say.
    pub helm_values: BTreeMap<String, Map<String, Value>>,
}

impl Config {
    /// Whether the component with the catalogue key `key` is deployed; false for an unknown key.
    pub fn component_enabled(&self, key: &str) -> bool {
        match key {
            "prometheus" => self.prometheus.enabled,
            "alertmanager" => self.alertmanager.enabled,
            "grafana" => self.grafana.enabled,
            "loki" => self.loki.enabled,
            "jaeger" => self.jaeger.enabled,
            "otelCollector" => self.otel_collector.enabled,
            // The upstream chart has it make these two.
            "prometheusOperator" => {
                self.profile == Profile::Production && (self.prometheus.enabled || self.alertmanager.enabled)
            }
            "alloy" => self.alloy.enabled,
            "blackboxExporter" => self.blackbox_exporter.enabled,
            "chaosMesh" => self.chaos_mesh.enabled,
            _ => false,
        }
    }

    /// The components that are deployed, in the order of the catalogue.
    pub fn enabled_components(&self) -> impl Iterator<Item = &'static Component> {
        COMPONENTS.iter().filter(|component| self.component_enabled(component.key))
    }

    /// The `job` label of `component` in this profile.
    pub fn job_of(&self, component: &Component) -> &'static str {
        match self.profile {
            Profile::Local => component.job,
            Profile::Production => component.production_job,
        }
    }

    /// The name of the namespace that `place` means.
    pub fn namespace_of(&self, place: stack::Place) -> &str {
        match place {
            stack::Place::Platform => &self.namespaces.platform,
            stack::Place::Monitoring => &self.namespaces.monitoring,
            stack::Place::NodeExporter => &self.namespaces.node_exporter,
            stack::Place::ChaosMesh => &self.namespaces.chaos_mesh,
        }
    }

    /// How the exporter with the catalogue key `key` comes to be; `none` where it is not mentioned.
    pub fn exporter_mode(&self, key: &str) -> ExporterMode {
        self.platform.exporters.get(key).copied().unwrap_or(ExporterMode::None)
    }
}

/// The namespaces of the platform and of the stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespaces {
    /// Where the DriveMaster services run.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub platform: String,
    /// Where the monitoring stack runs.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub monitoring: String,
    /// Where the node exporter runs, alone: it needs more of the node than anything else may.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub node_exporter: String,
    /// Where Chaos Mesh runs, alone for the same reason.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub chaos_mesh: String,
}

/// Volumes of the stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// StorageClass of every volume; empty uses the cluster's default class.
    pub class: String,
}

/// How the web interfaces are reached from outside the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ingress {
    /// Whether they are reached from outside at all.
    pub enabled: bool,
    /// Which objects say so.
    pub kind: IngressKind,
    /// The Gateway that HTTPRoute objects attach to, for `kind: gateway`.
    pub gateway: Gateway,
    /// IngressClass of Grafana.
    pub class_name: String,
    /// IngressClass of the interfaces that have no login of their own.
    pub internal_class_name: String,
    /// Whether each host has a TLS Secret `<name>-tls`.
    pub tls: bool,
    /// ClusterIssuer of cert-manager that makes these Secrets; empty where they are there already.
    pub cluster_issuer: String,
    /// Annotations of every Ingress or HTTPRoute.
    pub annotations: BTreeMap<String, String>,
    /// What keeps strangers from the interfaces that have no login of their own.
    pub internal: InternalAccess,
}

/// Which objects lead from outside to the interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IngressKind {
    /// Ingress objects.
    Ingress,
    /// HTTPRoute objects of the Gateway API.
    Gateway,
}

/// A Gateway of the Gateway API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateway {
    /// Name of the public one, which Grafana's route attaches to.
    pub name: String,
    /// Name of the internal one, for the interfaces without a login of their own.
    pub internal_name: String,
    /// Namespace of both.
    pub namespace: String,
}

/// What keeps strangers from Prometheus, Alertmanager and Jaeger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InternalAccess {
    /// Prefix of the ingress controller's annotations for source ranges and authentication, such as
    /// `nginx.ingress.kubernetes.io`.
    pub annotation_prefix: String,
    /// Networks that may connect, in CIDR notation; empty lets every network connect.
    pub source_ranges: Vec<String>,
    /// How a person proves who they are.
    pub auth: IngressAuth,
    /// Secret with the key `auth` (htpasswd lines), for `auth: basic`.
    pub auth_secret: String,
    /// URL that the ingress controller asks about each request, for `auth: external`.
    pub auth_url: String,
    /// Further annotations of these Ingress objects.
    pub annotations: BTreeMap<String, String>,
}

/// How a person proves who they are at the ingress controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IngressAuth {
    /// Not at all: network and source ranges must do.
    None,
    /// User name and password of a Secret.
    Basic,
    /// An external service decides.
    External,
}

/// A container image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// Registry and repository.
    #[schemars(length(min = 1))]
    pub repository: String,
    /// Pinned tag; `latest` is refused.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"))]
    pub tag: String,
}

/// Requests and limits of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What is reserved.
    pub requests: Amounts,
    /// What is the most.
    pub limits: MemoryLimit,
}

/// An amount of CPU and memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Amounts {
    /// CPU, such as `250m`.
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?m?$"))]
    pub cpu: Quantity,
    /// Memory, such as `512Mi`.
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub memory: Quantity,
}

/// A limit of memory; CPU is never limited, only weighted by its request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryLimit {
    /// Memory, such as `1Gi`.
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub memory: Quantity,
}
