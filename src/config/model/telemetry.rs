//! Logs and traces.

use super::{DurationText, Image, Quantity, Resources};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// URL of a Loki that runs already and that takes the logs instead; for `enabled: false`.
    pub existing_url: String,
    /// Memory of the cache of query results, in MB; 0 caches nothing.
    pub results_cache_megabytes: u64,
    /// Object storage instead of the volume.
    pub object_storage: ObjectStorage,
}

/// A bucket of an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectStorage {
    /// Whether it is used.
    pub enabled: bool,
    /// Endpoint as a URL; empty is that of AWS in the region.
    pub endpoint: String,
    /// Region.
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// Secret with the keys `access-key-id` and `secret-access-key`; empty uses the identity of the pod.
    pub credentials_secret: String,
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
    /// Where spans are stored.
    pub storage: JaegerStorage,
    /// The Elasticsearch of `storage: elasticsearch`.
    pub elasticsearch: JaegerElasticsearch,
    /// Traces that a person keeps for longer; with `storage: elasticsearch` only.
    pub archive: TraceArchive,
}

/// Where spans are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JaegerStorage {
    /// In Badger, on a volume of the one replica.
    Badger,
    /// In an Elasticsearch that runs already.
    Elasticsearch,
}

/// An Elasticsearch that runs already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JaegerElasticsearch {
    /// URL without credentials.
    #[schemars(regex(pattern = r"^https?://[^@]+$"))]
    pub url: String,
    /// Secret in the monitoring namespace with the keys `username` and `password`; empty connects
    /// without a login.
    pub credentials_secret: String,
    /// What the names of all indices begin with.
    pub index_prefix: String,
    /// Primary shards of an index.
    #[schemars(range(min = 1))]
    pub shards: u32,
    /// Replicas of each shard.
    pub replicas: u32,
}

/// Traces that a person keeps for longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraceArchive {
    /// Whether Jaeger can archive a trace.
    pub enabled: bool,
    /// How long archived traces are kept.
    #[schemars(regex(pattern = r"^[0-9]+h$"))]
    pub retention: DurationText,
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
    /// How long the spans of a trace are gathered before it is decided whether it is kept.
    #[schemars(regex(pattern = r"^[0-9]+(s|m)$"))]
    pub decision_wait: DurationText,
    /// Regular expressions (RE2) of further values that are masked in traces and logs.
    pub masked_values: Vec<String>,
    /// Requests and limits.
    pub resources: Resources,
}

/// Alloy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alloy {
    /// Whether it is deployed.
    pub enabled: bool,
    /// Namespaces whose logs are shipped beside those of the platform and of the stack, such as that
    /// of the ingress controllers; they must be there.
    pub further_namespaces: Vec<String>,
    /// Requests and limits.
    pub resources: Resources,
}
