//! The Alertmanager HTTP API, version 2: what `verify` and `status` read.

use super::http::{Http, HttpError, Limits, Readiness};
use anyhow::Result;
use reqwest::Url;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A client of one Alertmanager.
#[derive(Debug, Clone)]
pub struct Alertmanager(Http);

/// What `/api/v2/status` answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerStatus {
    /// Its cluster of replicas.
    pub cluster: ClusterStatus,
    /// Its configuration.
    pub config: LoadedConfiguration,
    /// Its version.
    pub version_info: VersionInfo,
}

/// The state of its cluster of replicas.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ClusterStatus {
    /// `ready`, `settling`, or `disabled` for a single replica without gossip.
    pub status: String,
}

/// The configuration it runs with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LoadedConfiguration {
    /// As YAML: its defaults filled in and its secrets hidden.
    pub original: String,
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VersionInfo {
    /// Version.
    pub version: String,
}

/// One alert that it holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldAlert {
    /// Labels, `alertname` and `severity` among them.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When it began (RFC 3339).
    #[serde(default)]
    pub starts_at: String,
    /// The receivers it is routed to.
    #[serde(default)]
    pub receivers: Vec<ReceiverName>,
    /// Whether it is active, silenced or inhibited.
    pub status: AlertStatus,
}

/// The name of a receiver.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ReceiverName {
    /// Name.
    pub name: String,
}

/// The state of a held alert.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AlertStatus {
    /// `active`, `suppressed` or `unprocessed`.
    pub state: String,
}

impl Alertmanager {
    /// A client of the Alertmanager at `base`.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn new(base: &Url, limits: Limits) -> Result<Self> {
        Ok(Alertmanager(Http::new(base, limits)?))
    }

    /// The same over a client that was made already.
    pub fn over(http: Http) -> Self {
        Alertmanager(http)
    }

    /// Whether it is ready to serve.
    ///
    /// # Errors
    /// Nothing answers.
    pub async fn ready(&self) -> Result<Readiness, HttpError> {
        self.0.ready("/-/ready").await
    }

    /// Its status, its loaded configuration included.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn status(&self) -> Result<AlertmanagerStatus, HttpError> {
        self.0.json("/api/v2/status", &[]).await
    }

    /// The alerts it holds that match all of `filters`, such as `alertname="Watchdog"`.
    ///
    /// # Errors
    /// No usable answer; for a bad filter with Alertmanager's own message.
    pub async fn alerts(&self, filters: &[&str]) -> Result<Vec<HeldAlert>, HttpError> {
        let query: Vec<(&str, &str)> = filters.iter().map(|filter| ("filter", *filter)).collect();
        self.0.json("/api/v2/alerts", &query).await
    }
}
