//! The resolved configuration. The same types give the JSON Schema that every layer of values is
//! checked against (with nothing required there), so a key exists here or nowhere.
//!
//! All defaults stand in `values/*.yaml`, none in code: a complete stack of layers leaves no
//! option to guess.

use crate::stack::{COMPONENTS, Component};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
    /// What is watched but not ours.
    pub platform: Platform,
    /// How a deploy behaves.
    pub deploy: Deploy,
    /// How `verify` judges.
    pub verify: Verify,
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
            _ => false,
        }
    }

    /// The components that are deployed, in the order of the catalogue.
    pub fn enabled_components(&self) -> impl Iterator<Item = &'static Component> {
        COMPONENTS.iter().filter(|component| self.component_enabled(component.key))
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
}

/// Volumes of the stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// StorageClass of every volume; empty uses the cluster's default class.
    pub class: String,
}

/// Ingress objects for the web interfaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ingress {
    /// Whether Ingress objects are made.
    pub enabled: bool,
    /// IngressClass of Grafana.
    pub class_name: String,
    /// IngressClass of the interfaces that have no login of their own.
    pub internal_class_name: String,
    /// Whether each host has a TLS Secret `<name>-tls`.
    pub tls: bool,
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

/// Prometheus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    /// Whether it is deployed.
    pub enabled: bool,
    /// Image.
    pub image: Image,
    /// Image of the sidecar that reloads Prometheus and Alertmanager when their files change.
    pub reloader_image: Image,
    /// How long samples are kept.
    #[schemars(regex(pattern = r"^([0-9]+(ms|s|m|h|d|w|y))+$"))]
    pub retention: DurationText,
    /// How much disk the samples may take, such as `8GB`.
    #[schemars(regex(pattern = r"^[0-9]+(B|KB|MB|GB|TB)$"))]
    pub retention_size: String,
    /// Size of the volume.
    #[schemars(regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti)$"))]
    pub storage_size: Quantity,
    /// How often services are scraped.
    #[schemars(regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    pub scrape_interval: DurationText,
    /// How often exporters are scraped.
    #[schemars(regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    pub exporter_scrape_interval: DurationText,
    /// How often rules are evaluated.
    #[schemars(regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    pub evaluation_interval: DurationText,
    /// Requests and limits.
    pub resources: Resources,
}

/// Alertmanager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alertmanager {
    /// Whether it is deployed.
    pub enabled: bool,
    /// Image.
    pub image: Image,
    /// Size of the volume.
    #[schemars(regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti)$"))]
    pub storage_size: Quantity,
    /// Requests and limits.
    pub resources: Resources,
    /// Where notifications go.
    pub receivers: Receivers,
    /// How long a group waits for more alerts before its first notification.
    #[schemars(regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    pub group_wait: DurationText,
}

/// Notification receivers. Their credentials come from the keys of one Secret, never from values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receivers {
    /// Secret in the monitoring namespace with the keys `slack-webhook-url`, `smtp-password` and
    /// `pagerduty-routing-key` of the receivers that are enabled.
    pub credentials_secret: String,
    /// Slack.
    pub slack: Slack,
    /// E-mail.
    pub email: Email,
    /// PagerDuty.
    pub pagerduty: Pagerduty,
}

/// Slack channels by severity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slack {
    /// Whether notifications go to Slack.
    pub enabled: bool,
    /// Channel of critical alerts.
    pub critical_channel: String,
    /// Channel of warnings.
    pub warning_channel: String,
    /// Channel of information.
    pub info_channel: String,
}

/// E-mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Email {
    /// Whether notifications go out by e-mail.
    pub enabled: bool,
    /// Mail server as `host:port`.
    pub smarthost: String,
    /// Sender.
    pub from: String,
    /// User name at the mail server; empty sends without a login.
    pub username: String,
    /// Recipient of critical alerts.
    pub critical_to: String,
    /// Recipient of warnings.
    pub warning_to: String,
}

/// PagerDuty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pagerduty {
    /// Whether critical alerts go to PagerDuty.
    pub enabled: bool,
}

/// Grafana.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grafana {
    /// Whether it is deployed.
    pub enabled: bool,
    /// Image.
    pub image: Image,
    /// Image of the sidecar that finds labelled dashboard ConfigMaps.
    pub sidecar_image: Image,
    /// Secret with the keys `admin-user` and `admin-password`; generated once and kept.
    pub admin_secret: String,
    /// Size of the volume.
    #[schemars(regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti)$"))]
    pub storage_size: Quantity,
    /// Requests and limits.
    pub resources: Resources,
}

/// Loki.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Loki {
    /// Whether it is deployed.
    pub enabled: bool,
    /// Image.
    pub image: Image,
    /// Size of the volume.
    #[schemars(regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti)$"))]
    pub storage_size: Quantity,
    /// How long each class of log lines is kept.
    pub retention: LogRetention,
    /// Requests and limits.
    pub resources: Resources,
}

/// Retention by class of log; a class is the stream label `log_type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogRetention {
    /// Application logs, and everything without a class.
    #[schemars(regex(pattern = r"^[0-9]+h$"))]
    pub application: DurationText,
    /// `log_type="security"`.
    #[schemars(regex(pattern = r"^[0-9]+h$"))]
    pub security: DurationText,
    /// `log_type="audit"`.
    #[schemars(regex(pattern = r"^[0-9]+h$"))]
    pub audit: DurationText,
}

/// Jaeger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jaeger {
    /// Whether it is deployed.
    pub enabled: bool,
    /// Image.
    pub image: Image,
    /// Size of the volume of the Badger store.
    #[schemars(regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti)$"))]
    pub storage_size: Quantity,
    /// How long spans are kept.
    #[schemars(regex(pattern = r"^[0-9]+h$"))]
    pub retention: DurationText,
    /// Requests and limits.
    pub resources: Resources,
}

/// The OpenTelemetry Collector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OtelCollector {
    /// Whether it is deployed.
    pub enabled: bool,
    /// Image.
    pub image: Image,
    /// Share of plain traces that are kept, in percent; errors and slow traces are all kept.
    #[schemars(range(min = 0, max = 100))]
    pub sampling_percentage: f64,
    /// A trace slower than this is kept, in milliseconds.
    pub slow_trace_milliseconds: u64,
    /// Requests and limits.
    pub resources: Resources,
}

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
    #[schemars(range(min = 1))]
    pub timeout_seconds: u64,
    /// How long a cause that may heal by itself must hold unchanged before the wait ends, in seconds.
    pub fail_after_seconds: u64,
    /// How many steps run at once.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: usize,
}

/// How `verify` judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verify {
    /// How long checks that need a first scrape or evaluation are asked again, in seconds.
    pub timeout_seconds: u64,
    /// Components (keys of the catalogue) whose program may be absent: their checks may be unknown.
    pub may_be_unknown: Vec<String>,
}
