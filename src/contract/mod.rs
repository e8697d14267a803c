//! The metrics contract, read from `alerts/contract.yaml`, and the metrics of other programs that rules
//! and panels use, from `alerts/programs.yaml`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The contract as text.
const CONTRACT: &str = include_str!("../../alerts/contract.yaml");

/// The metrics of other programs as text.
const PROGRAMS: &str = include_str!("../../alerts/programs.yaml");

/// Key of the services among the contract's exporters.
pub const SERVICE: &str = "service";

/// What every exporter must expose.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Contract {
    /// Metrics by key of the exporter, and [`SERVICE`] for the services.
    pub exporters: BTreeMap<String, Vec<Metric>>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// Name.
    pub name: String,
    /// What kind of series it is.
    #[serde(rename = "type")]
    pub metric_type: MetricType,
    /// What one stands for; a `ratio` lies between 0 and 1.
    pub unit: String,
    /// Labels a query may rely on, besides those of the target.
    pub labels: Vec<String>,
    /// Its HELP text.
    pub meaning: String,
    /// Upper bounds of a histogram, rising, without +Inf.
    #[serde(default)]
    pub buckets: Vec<f64>,
    /// True where 0 says that the program behind the exporter is down.
    #[serde(default)]
    pub availability: bool,
    /// Name in the specification, where the programs of today use another one.
    #[serde(default)]
    pub specified_as: Option<String>,
    /// A gauge that only grows, so that its rate has a meaning.
    #[serde(default)]
    pub only_grows: bool,
    /// A counter whose value itself says something, such as an uptime, so that it needs no rate.
    #[serde(default)]
    pub value_tells: bool,
    /// A gauge whose 0 means something, such as `unlimited`, so that dividing by it needs a guard.
    #[serde(default)]
    pub may_be_zero: bool,
    /// It comes with the first event of its kind, so that it may be missing while all is well.
    #[serde(default)]
    pub on_event: bool,
    /// Its labels depend on what the series is about, as those of `ALERTS` do.
    #[serde(default)]
    pub open_labels: bool,
}

/// What kind of series a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with a sum and a count.
    Histogram,
    /// Quantiles with a sum and a count.
    Summary,
}

impl MetricType {
    /// Its word in a TYPE line.
    pub fn word(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::Summary => "summary",
        }
    }
}

impl Contract {
    /// The contract of this program.
    ///
    /// # Errors
    /// Only when the embedded file is broken, which its tests rule out.
    pub fn embedded() -> anyhow::Result<Self> {
        Self::parse("alerts/contract.yaml", CONTRACT)
    }

    /// The metrics of other programs, by program.
    ///
    /// # Errors
    /// As [`Contract::embedded`].
    pub fn programs() -> anyhow::Result<Self> {
        Self::parse("alerts/programs.yaml", PROGRAMS)
    }

    /// Reads `text` of the file `name`.
    ///
    /// # Errors
    /// What is not of the form that `alerts/contract.yaml` describes.
    pub fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        serde_yaml::from_str(text).map_err(|error| anyhow::anyhow!("cannot read the contract `{name}`: {error}"))
    }

    /// The same with the metrics of `other`; one of the same exporter and name takes the place of ours.
    #[must_use]
    pub fn with(mut self, other: Contract) -> Self {
        for (exporter, metrics) in other.exporters {
            let ours = self.exporters.entry(exporter).or_default();
            ours.retain(|metric| metrics.iter().all(|other| other.name != metric.name));
            ours.extend(metrics);
        }
        self
    }

    /// The metrics of the exporter with the key `exporter`, in the file's order.
    pub fn metrics_of(&self, exporter: &str) -> &[Metric] {
        self.exporters.get(exporter).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::EXPORTERS;
    use std::collections::BTreeSet;

    /// Every metric that the specification names.
    const SPECIFIED: &[&str] = &[
        "http_requests_total",
        "http_request_duration_seconds",
        "http_requests_in_flight",
        "learning_effectiveness_score",
        "user_session_duration_seconds",
        "questions_answered_total",
        "questions_correct_total",
        "dropout_risk_score",
        "user_engagement_score",
        "bkt_knowledge_probability",
        "bandit_exploration_rate",
        "spaced_repetition_retention_rate",
        "active_users_total",
        "learning_sessions_total",
        "content_interactions_total",
        "notification_effectiveness_rate",
        "user_retention_rate",
        "pg_up",
        "pg_stat_activity_count",
        "pg_stat_database_blks_hit_ratio",
        "pg_replication_lag_seconds",
        "redis_up",
        "redis_memory_used_bytes",
        "redis_connected_clients",
        "redis_keyspace_hits_total",
        "redis_keyspace_misses_total",
        "kafka_server_brokertopicmetrics_messagesin_total",
        "kafka_consumer_lag_sum",
        "elasticsearch_cluster_health_up",
        "elasticsearch_cluster_health_status",
        "elasticsearch_filesystem_data_size_bytes",
    ];

    #[test]
    fn every_metric_of_the_specification_is_in_the_contract_under_its_name_or_the_one_of_today() {
        let contract = Contract::embedded().unwrap();
        let known: BTreeSet<&str> = contract
            .exporters
            .values()
            .flatten()
            .flat_map(|metric| [Some(metric.name.as_str()), metric.specified_as.as_deref()])
            .flatten()
            .collect();
        let missing: Vec<_> = SPECIFIED.iter().filter(|name| !known.contains(*name)).collect();
        assert!(missing.is_empty(), "not in the contract: {missing:?}");
    }

    #[test]
    fn the_contract_has_the_services_and_every_exporter_of_the_catalogue_and_nothing_else() {
        let contract = Contract::embedded().unwrap();
        let expected: BTreeSet<&str> = EXPORTERS.iter().map(|exporter| exporter.key).chain([SERVICE]).collect();
        let actual: BTreeSet<&str> = contract.exporters.keys().map(String::as_str).collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn names_are_unique_and_only_histograms_have_buckets_which_rise() {
        let contract = Contract::embedded().unwrap();
        let mut names = BTreeSet::new();
        for metric in contract.exporters.values().flatten() {
            assert!(names.insert(&metric.name), "`{}` stands twice", metric.name);
            assert_eq!(metric.metric_type == MetricType::Histogram, !metric.buckets.is_empty(), "{}", metric.name);
            assert!(metric.buckets.windows(2).all(|pair| pair[0] < pair[1]), "{}", metric.name);
        }
    }

    #[test]
    fn metrics_of_other_programs_are_of_the_same_form_and_stand_once_in_each_program() {
        for (program, metrics) in Contract::programs().unwrap().exporters {
            let mut names = BTreeSet::new();
            for metric in metrics {
                assert!(names.insert(metric.name.clone()), "`{}` stands twice in `{program}`", metric.name);
                assert_eq!(metric.metric_type == MetricType::Histogram, !metric.buckets.is_empty(), "{}", metric.name);
            }
        }
    }

    #[test]
    fn another_contract_adds_metrics_and_replaces_those_of_the_same_name() {
        let parse = |text: &str| Contract::parse("a", text).unwrap();
        let metric = |name: &str, unit: &str| {
            format!("  - {{ name: {name}, type: gauge, unit: {unit}, labels: [], meaning: m }}\n")
        };
        let ours = parse(&format!("a:\n{}{}", metric("one", "x"), metric("two", "x")));
        assert_eq!(ours.clone().with(ours.clone()), ours);
        let both = ours.with(parse(&format!("a:\n{}b:\n{}", metric("one", "y"), metric("three", "y"))));
        let told = |exporter: &str| -> Vec<(String, String)> {
            both.metrics_of(exporter).iter().map(|metric| (metric.name.clone(), metric.unit.clone())).collect()
        };
        let pair = |name: &str, unit: &str| (name.to_owned(), unit.to_owned());
        assert_eq!(told("a"), [pair("two", "x"), pair("one", "y")]);
        assert_eq!(told("b"), [pair("three", "y")]);
    }

    #[test]
    fn the_latency_objective_is_a_bucket() {
        let contract = Contract::embedded().unwrap();
        let duration =
            contract.metrics_of(SERVICE).iter().find(|metric| metric.name == "http_request_duration_seconds").unwrap();
        assert!(duration.buckets.contains(&0.1));
    }
}
