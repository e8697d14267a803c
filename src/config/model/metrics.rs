//! Prometheus, Alertmanager, Grafana and what probes and exporters need.

use super::{DurationText, Image, Quantity, Resources};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// How many replicas run, each with all data.
    #[schemars(range(min = 1))]
    pub replicas: u32,
    /// URL of a Prometheus that runs already and that Grafana and Jaeger ask instead; for
    /// `enabled: false`.
    pub existing_url: String,
    /// How many exemplars are kept; 0 keeps none.
    pub exemplars: u64,
    /// Where samples are sent as well, such as a long-term store.
    pub remote_write: Vec<RemoteWrite>,
    /// Whether another Prometheus may read `/federate`.
    pub federation: Federation,
    /// Whether metrics may be pushed by OTLP.
    pub otlp_receiver: bool,
    /// Whether each query is logged, as a log of class `audit`.
    pub query_log: bool,
    /// Whether the control plane is somebody else's (EKS, GKE, AKS): then etcd, the scheduler, the
    /// controller manager, kube-proxy and CoreDNS are neither scraped nor alerted on.
    pub managed_control_plane: bool,
}

/// A place that samples are sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoteWrite {
    /// Name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// URL.
    #[schemars(regex(pattern = r"^https?://.+"))]
    pub url: String,
    /// Secret with the keys `username` and `password`; empty sends without a login.
    #[serde(default)]
    pub credentials_secret: String,
}

/// Who may read `/federate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Federation {
    /// Whether anybody may.
    pub enabled: bool,
    /// Networks of those who may, in CIDR notation.
    pub source_ranges: Vec<String>,
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
    /// How many replicas run, which tell each other what was sent.
    #[schemars(range(min = 1))]
    pub replicas: u32,
    /// What stands before `<alert>.md` in the annotation `runbook_url`: where `docs/runbooks` is published, with
    /// a `/` at its end.
    #[serde(default = "runbooks_in_the_project")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9._~:/?#@%&+,;=-]+/$"))]
    pub runbooks_url: String,
}

fn runbooks_in_the_project() -> String {
    "docs/runbooks/".to_owned()
}

/// Notification receivers. Their credentials come from the keys of one Secret, never from values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receivers {
    /// Secret in the monitoring namespace with the keys `slack-webhook-url`, `smtp-password`,
    /// `pagerduty-routing-key` and `heartbeat-url` of the receivers that are enabled.
    pub credentials_secret: String,
    /// Slack.
    pub slack: Slack,
    /// E-mail.
    pub email: Email,
    /// PagerDuty.
    pub pagerduty: Pagerduty,
    /// Who outside waits for the alert that always fires.
    #[serde(default)]
    pub heartbeat: Heartbeat,
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

/// Who outside waits for the alert that always fires.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heartbeat {
    /// Whether `Watchdog` goes to a webhook each minute: who expects it there tells when alerts no longer get through.
    pub enabled: bool,
    /// Port of its URL, which the network policies open.
    #[schemars(range(min = 1))]
    pub port: u16,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat { enabled: false, port: 443 }
    }
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
    /// Which Grafana the image holds: only Enterprise caches queries.
    pub edition: GrafanaEdition,
}

/// Which Grafana an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GrafanaEdition {
    /// The free one.
    Oss,
    /// Grafana Enterprise.
    Enterprise,
}

/// The blackbox exporter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlackboxExporter {
    /// Whether it is deployed.
    pub enabled: bool,
    /// How often each URL is probed.
    #[schemars(regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    pub interval: DurationText,
    /// URLs that are probed beside `/health` of each service and the hosts of the interfaces.
    #[schemars(inner(regex(pattern = r"^https?://.+")))]
    pub urls: Vec<String>,
    /// Requests and limits.
    pub resources: Resources,
}

/// What the exporters that we deploy connect to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExporterSources {
    /// Of PostgreSQL.
    pub postgresql: PostgresqlSource,
    /// Of Redis.
    pub redis: RedisSource,
    /// Of Kafka.
    pub kafka: KafkaSource,
    /// Of Elasticsearch.
    pub elasticsearch: ElasticsearchSource,
    /// Requests and limits of each exporter.
    pub resources: Resources,
}

/// How PostgreSQL is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresqlSource {
    /// Secret in the monitoring namespace with the key `dsn`: the whole connection string of a user
    /// with the role `pg_monitor`.
    pub dsn_secret: String,
}

/// How Redis is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisSource {
    /// Address as a URL without a password.
    pub address: String,
    /// Secret in the monitoring namespace with the key `password`; empty connects without one.
    pub password_secret: String,
}

/// How Kafka is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaSource {
    /// Brokers as `host:port`.
    #[schemars(length(min = 1))]
    pub brokers: Vec<String>,
    /// How it logs in.
    pub sasl: KafkaSasl,
    /// Secret in the monitoring namespace with the keys `username` and `password`.
    pub credentials_secret: String,
}

/// How the Kafka exporter logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaSasl {
    /// Not at all.
    None,
    /// SASL/PLAIN.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

/// How Elasticsearch is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ElasticsearchSource {
    /// URL without credentials.
    #[schemars(regex(pattern = r"^https?://[^@]+$"))]
    pub url: String,
    /// Secret in the monitoring namespace with the keys `username` and `password`; empty connects
    /// without a login.
    pub credentials_secret: String,
}
