//! What is known of the cluster and of the programs. What could not be asked is said, never guessed.

pub use crate::telemetry::alertmanager::HeldAlert;
pub use crate::telemetry::http::Readiness;
pub use crate::telemetry::prometheus::{ActiveTarget, Rule, RuleGroup, Targets};

use crate::ready::Snapshot;
use crate::stack::{Component, WorkloadKind};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Why something could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotAsk {
    /// One line.
    pub reason: String,
    /// True when it may work a moment later.
    pub passing: bool,
}

impl CannotAsk {
    /// It will not work a moment later either.
    pub fn lasting(reason: impl Into<String>) -> Self {
        CannotAsk { reason: reason.into(), passing: false }
    }

    /// It may work a moment later.
    pub fn passing(reason: impl Into<String>) -> Self {
        CannotAsk { reason: reason.into(), passing: true }
    }
}

/// Something that was asked.
pub type Fact<T> = Result<T, CannotAsk>;

/// The facts that a check may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// [`Facts::api_server`].
    ApiServer,
    /// [`Facts::releases`].
    Releases,
    /// [`Facts::snapshot`].
    Snapshot,
    /// [`Facts::services`].
    Services,
    /// [`Facts::dashboards`].
    Dashboards,
    /// [`Facts::programs`].
    Programs,
    /// [`Facts::targets`].
    Targets,
    /// [`Facts::rules`] and [`Facts::now`].
    Rules,
    /// [`Facts::known_alertmanagers`].
    KnownAlertmanagers,
    /// [`Facts::deployed_routes`].
    DeployedRoutes,
    /// [`Facts::loaded_routes`].
    LoadedRoutes,
    /// [`Facts::watchdog`].
    Watchdog,
}

/// The newest revision of one Helm release, from the labels of its release Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseFact {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Helm's status.
    pub status: String,
    /// Revision number.
    pub revision: u64,
    /// Short digest of the chart it was made from; `None` when we did not make it.
    pub chart_digest: Option<String>,
}

/// A Service behind a scrape job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceFact {
    /// There is none of that name.
    Missing,
    /// It exists with so many ready endpoints.
    Endpoints(usize),
}

/// Everything a judge may look at. Facts that no check of the run needs are not asked.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version of the API server.
    pub api_server: Fact<String>,
    /// The newest revision of each Helm release.
    pub releases: Fact<Vec<ReleaseFact>>,
    /// What the monitoring namespace holds.
    pub snapshot: Fact<Snapshot>,
    /// The Service of each expected scrape job, by job.
    pub services: Fact<BTreeMap<String, ServiceFact>>,
    /// The ConfigMap of each expected dashboard, by namespace and name.
    pub dashboards: Fact<BTreeMap<(String, String), Option<ConfigMap>>>,
    /// What the readiness path of each enabled component answers, by key.
    pub programs: BTreeMap<&'static str, Fact<Readiness>>,
    /// The targets of Prometheus.
    pub targets: Fact<Targets>,
    /// The rule groups of Prometheus.
    pub rules: Fact<Vec<RuleGroup>>,
    /// The time on the clock of Prometheus.
    pub now: Fact<Timestamp>,
    /// The URLs of the Alertmanagers that Prometheus sends to.
    pub known_alertmanagers: Fact<Vec<String>>,
    /// The configuration of Alertmanager as it was deployed, YAML.
    pub deployed_routes: Fact<String>,
    /// The configuration that Alertmanager runs with, YAML.
    pub loaded_routes: Fact<String>,
    /// The alerts of the name `Watchdog` that Alertmanager holds.
    pub watchdog: Fact<Vec<HeldAlert>>,
}

/// The workload of `component` as JSON; `None` when the namespace holds none of that name.
pub fn workload_of(snapshot: &Snapshot, component: &Component) -> Option<Value> {
    let is_it = |name: &Option<String>| name.as_deref() == Some(component.workload);
    let found = match component.workload_kind {
        WorkloadKind::Deployment => {
            serde_json::to_value(snapshot.deployments.iter().find(|found| is_it(&found.metadata.name))?)
        }
        WorkloadKind::StatefulSet => {
            serde_json::to_value(snapshot.stateful_sets.iter().find(|found| is_it(&found.metadata.name))?)
        }
        WorkloadKind::DaemonSet => {
            serde_json::to_value(snapshot.daemon_sets.iter().find(|found| is_it(&found.metadata.name))?)
        }
    };
    found.ok()
}

impl Default for Facts {
    fn default() -> Self {
        fn not_asked<T>() -> Fact<T> {
            Err(CannotAsk::lasting("not asked"))
        }
        Facts {
            api_server: not_asked(),
            releases: not_asked(),
            snapshot: not_asked(),
            services: not_asked(),
            dashboards: not_asked(),
            programs: BTreeMap::new(),
            targets: not_asked(),
            rules: not_asked(),
            now: not_asked(),
            known_alertmanagers: not_asked(),
            deployed_routes: not_asked(),
            loaded_routes: not_asked(),
            watchdog: not_asked(),
        }
    }
}
