//! What is known of the cluster and of the programs. What could not be asked is said, never guessed.

pub use crate::telemetry::alertmanager::HeldAlert;
pub use crate::telemetry::http::Readiness;
pub use crate::telemetry::prometheus::{ActiveTarget, Rule, RuleGroup, Targets};

pub use crate::cluster::kinds::KindNames;
pub use crate::dashboard::Cause;
use crate::ready::Snapshot;
use crate::stack::WorkloadKind;
pub use crate::telemetry::prometheus::{PrometheusAlert, Sample};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
    /// [`Facts::kinds`].
    Kinds,
    /// [`Facts::releases`].
    Releases,
    /// [`Facts::namespaces`] of the stack.
    Snapshot,
    /// [`Facts::namespaces`] of the platform.
    Platform,
    /// [`Facts::services`].
    Services,
    /// [`Facts::dashboards`].
    Dashboards,
    /// [`Facts::panels`].
    Panels,
    /// [`Facts::metrics`].
    Metrics,
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
    /// [`Facts::alerts`].
    Alerts,
    /// [`Facts::probes`].
    Probes,
    /// [`Facts::log_lines`].
    LogLines,
    /// [`Facts::loki_configuration`].
    LokiConfiguration,
    /// [`Facts::trace`].
    Trace,
    /// [`Facts::span_metrics`].
    SpanMetrics,
    /// [`Facts::schedules`].
    Schedules,
    /// [`Facts::reconciliations`].
    Reconciliations,
    /// [`Facts::pod_security`].
    PodSecurity,
    /// [`Facts::network_policies`].
    NetworkPolicies,
}

/// What Prometheus knows of one metric.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricFact {
    /// The types that targets say it has.
    pub types: BTreeSet<String>,
    /// The jobs that have it now.
    pub jobs: BTreeSet<String>,
    /// The jobs with series that lack a label of the contract, by label.
    pub lacks: BTreeMap<String, BTreeSet<String>>,
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
    /// The revision that stands: this one, or the one before where this one failed.
    pub base: Option<u64>,
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

/// A line that was sent to be found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentLine {
    /// Its class, the stream label `log_type`.
    pub class: &'static str,
    /// Through what it was sent, for people: `Loki`, `the Collector`.
    pub way: &'static str,
    /// The plain user id that was sent.
    pub user: String,
    /// What must have been taken out of it on this way.
    pub planted: Vec<String>,
    /// What Loki gave back; `None` while it is not found.
    pub found: Option<FoundLine>,
}

/// A line that Loki gave back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundLine {
    /// Labels of its stream and its structured metadata, as Loki answers them in one map.
    pub labels: BTreeMap<String, String>,
    /// The line.
    pub text: String,
}

/// A trace that was sent to be found again.
#[derive(Debug, Clone, PartialEq)]
pub struct SentTrace {
    /// Its id, in hexadecimal digits.
    pub id: String,
    /// The plain user id that was sent.
    pub user: String,
    /// What must have been taken out, by what it stands for.
    pub planted: Vec<(&'static str, String)>,
    /// What Jaeger answers about the trace; `None` while it does not know it.
    pub found: Option<Value>,
}

/// The series that a sent trace leaves in Prometheus.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpanSeries {
    /// The plain user id that was sent.
    pub user: String,
    /// Calls counted before the trace was sent, by service and status.
    pub before: Vec<Sample>,
    /// Calls counted now.
    pub calls: Vec<Sample>,
    /// Requests of one service to another that the service graph counts.
    pub edges: Vec<Sample>,
}

/// What Prometheus answers to the queries of one dashboard.
#[derive(Debug, Clone, PartialEq)]
pub enum DashboardFact {
    /// The model cannot be read, for this reason.
    Unreadable(String),
    /// Its panels that ask something, and what else it asks.
    Panels(Vec<PanelFact>),
}

/// What Prometheus answers to the queries of one panel, of a variable or of marks on the time axis.
#[derive(Debug, Clone, PartialEq)]
pub struct PanelFact {
    /// What it is, for people.
    pub title: String,
    /// Whether it is a panel.
    pub is_panel: bool,
    /// Whether it may be empty while all is well.
    pub may_be_empty: bool,
    /// Its queries.
    pub queries: Vec<QueryFact>,
}

/// What Prometheus answers to one query.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryFact {
    /// So many series with a number.
    Data(usize),
    /// A constant stands in its place, although its metric should be there.
    Constant(Cause),
    /// No number, and why.
    Empty(Cause),
    /// It is refused, for this reason.
    Refused(String),
}

/// What Pod Security does in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSecurityFact {
    /// Name of the namespace.
    pub namespace: String,
    /// Its labels; `None` when it does not exist.
    pub labels: Option<BTreeMap<String, String>>,
    /// What the API server says of the pods that run there, one line each.
    pub violations: Fact<Vec<String>>,
}

/// Everything a judge may look at. Facts that no check of the run needs are not asked.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version of the API server.
    pub api_server: Fact<String>,
    /// What the API server calls the kinds that it lists, by group, version and plural.
    pub kinds: Fact<BTreeMap<String, KindNames>>,
    /// The newest revision of each Helm release.
    pub releases: Fact<Vec<ReleaseFact>>,
    /// What each namespace holds, by name.
    pub namespaces: BTreeMap<String, Fact<Snapshot>>,
    /// The Service of each expected scrape job, by job.
    pub services: Fact<BTreeMap<String, ServiceFact>>,
    /// The ConfigMap of each expected dashboard, by namespace and name.
    pub dashboards: Fact<BTreeMap<(String, String), Option<ConfigMap>>>,
    /// What Prometheus answers to each expected dashboard, by uid.
    pub panels: Fact<BTreeMap<String, DashboardFact>>,
    /// What Prometheus knows of each metric of the contract, by name.
    pub metrics: Fact<BTreeMap<String, MetricFact>>,
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
    /// The alerts that Prometheus has, pending ones included.
    pub alerts: Fact<Vec<PrometheusAlert>>,
    /// `probe_success` of each blackbox probe.
    pub probes: Fact<Vec<Sample>>,
    /// The lines that were sent to Loki.
    pub log_lines: Fact<Vec<SentLine>>,
    /// The configuration that Loki runs with, YAML.
    pub loki_configuration: Fact<String>,
    /// The trace that was sent to the Collector.
    pub trace: Fact<SentTrace>,
    /// What that trace left in Prometheus.
    pub span_metrics: Fact<SpanSeries>,
    /// The `Schedule` objects of Chaos Mesh in the platform's namespace.
    pub schedules: Fact<Vec<Value>>,
    /// How often each controller of Chaos Mesh's Schedules looked at one.
    pub reconciliations: Fact<Vec<Sample>>,
    /// Pod Security in each namespace of the bundle.
    pub pod_security: Fact<Vec<PodSecurityFact>>,
    /// The NetworkPolicies of the bundle's namespaces, as `namespace/name`.
    pub network_policies: Fact<Vec<String>>,
}

impl Facts {
    /// What `namespace` holds.
    ///
    /// # Errors
    /// It could not be read, or was not asked for.
    pub fn snapshot(&self, namespace: &str) -> Result<&Snapshot, CannotAsk> {
        match self.namespaces.get(namespace) {
            Some(found) => found.as_ref().map_err(Clone::clone),
            None => Err(CannotAsk::lasting("not asked")),
        }
    }
}

/// The workload of that kind and name as JSON; `None` when the namespace holds none.
pub fn workload_of(snapshot: &Snapshot, kind: WorkloadKind, wanted: &str) -> Option<Value> {
    let is_it = |name: &Option<String>| name.as_deref() == Some(wanted);
    let found = match kind {
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
            kinds: not_asked(),
            releases: not_asked(),
            namespaces: BTreeMap::new(),
            services: not_asked(),
            dashboards: not_asked(),
            panels: not_asked(),
            metrics: not_asked(),
            programs: BTreeMap::new(),
            targets: not_asked(),
            rules: not_asked(),
            now: not_asked(),
            known_alertmanagers: not_asked(),
            deployed_routes: not_asked(),
            loaded_routes: not_asked(),
            watchdog: not_asked(),
            alerts: not_asked(),
            probes: not_asked(),
            log_lines: not_asked(),
            loki_configuration: not_asked(),
            trace: not_asked(),
            span_metrics: not_asked(),
            schedules: not_asked(),
            reconciliations: not_asked(),
            pod_security: not_asked(),
            network_policies: not_asked(),
        }
    }
}
