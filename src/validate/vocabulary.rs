//! The metrics that expressions may ask for: those of the contract, of other programs, and those that
//! the rules record.

use super::promql::labels::{Labels, labels_of};
use crate::config::duration_seconds;
use crate::config::model::Config;
use crate::contract::{Contract, Metric, MetricType, SERVICE};
use crate::promql::Expr;
use crate::stack::{self, COMPONENTS};
use std::collections::{BTreeMap, BTreeSet};

/// The labels that every series of a scraped target may have, whatever the metric.
const TARGET_LABELS: [&str; 7] = ["job", "instance", "namespace", "pod", "service", "container", "endpoint"];
/// Those that every series of a scraped target has.
const CERTAIN_LABELS: [&str; 2] = ["job", "instance"];

/// What is known of one metric.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    /// Its type; `None` where the rules record it, for a quotient is none of them.
    pub(super) metric_type: Option<MetricType>,
    /// The labels that it can have; `None` where they are open.
    pub(super) labels: Option<BTreeSet<String>>,
    /// The labels that it always has.
    pub(super) certain: BTreeSet<String>,
    /// The scrape jobs that have it; `None` where any may.
    pub(super) jobs: Option<BTreeSet<String>>,
    /// Bounds of a histogram's buckets, as the label `le` says them.
    pub(super) buckets: Vec<f64>,
    /// A gauge whose rate has a meaning.
    pub(super) only_grows: bool,
    /// A counter whose value itself says something.
    pub(super) value_tells: bool,
    /// A divisor that needs a guard.
    pub(super) may_be_zero: bool,
    /// Unit of its values; `None` where nobody says.
    pub(super) unit: Option<String>,
    /// How often it is scraped, in seconds.
    pub(super) interval: f64,
}

/// Every metric that is known, and the jobs that are scraped.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Vocabulary {
    metrics: BTreeMap<String, Known>,
    /// The scrape jobs.
    pub(super) jobs: BTreeSet<String>,
    /// The alerts that rules define; `None` where those of others may be there too.
    pub(super) alerts: Option<BTreeSet<String>>,
    /// How often a metric that is not known is scraped, in seconds.
    pub(super) interval: f64,
}

impl Vocabulary {
    /// What `contracts` promise, with `config`'s jobs (`jobs` are their names) and intervals.
    pub(super) fn new(contracts: &[Contract], config: &Config, jobs: BTreeSet<String>) -> Self {
        let interval = duration_seconds(&config.prometheus.scrape_interval).unwrap_or_default();
        let of_exporters = duration_seconds(&config.prometheus.exporter_scrape_interval).unwrap_or_default();
        let mut vocabulary = Vocabulary { metrics: BTreeMap::new(), jobs, alerts: None, interval };
        for (source, metrics) in contracts.iter().flat_map(|contract| &contract.exporters) {
            let is_exporter = stack::EXPORTERS.iter().any(|exporter| exporter.key == source);
            let interval = if is_exporter { of_exporters } else { interval };
            let jobs = jobs_of(source, config);
            for metric in metrics {
                for (name, known) in series_of(metric, source == "alert", jobs.as_ref(), interval) {
                    vocabulary.add(name, known);
                }
            }
        }
        vocabulary
    }

    /// Learns the metrics that rules record, each with its expression and the labels that it sets. What
    /// was learned of them before is replaced.
    pub(super) fn learn(&mut self, records: &[(String, Expr, BTreeSet<String>)]) {
        let mut learned = Vocabulary::default();
        for (name, expression, set) in records {
            let Labels { possible, certain } = labels_of(expression, self);
            let known = Known {
                metric_type: None,
                labels: possible.map(|labels| &labels | set),
                certain: &certain | set,
                jobs: None,
                buckets: Vec::new(),
                only_grows: true,
                value_tells: false,
                may_be_zero: false,
                unit: None,
                interval: self.interval,
            };
            learned.add(name.clone(), known);
        }
        self.metrics.extend(learned.metrics);
    }

    fn add(&mut self, name: String, known: Known) {
        match self.metrics.get_mut(&name) {
            None => {
                self.metrics.insert(name, known);
            }
            // Several programs have it.
            Some(here) => {
                here.labels = here.labels.take().zip(known.labels).map(|(left, right)| &left | &right);
                here.certain = &here.certain & &known.certain;
                here.jobs = here.jobs.take().zip(known.jobs).map(|(left, right)| &left | &right);
                here.interval = here.interval.min(known.interval);
                here.buckets.extend(known.buckets);
                if here.unit != known.unit {
                    here.unit = None;
                }
                if here.metric_type != known.metric_type {
                    here.metric_type = None;
                }
            }
        }
    }

    /// What is known of the metric `name`.
    pub(super) fn get(&self, name: &str) -> Option<&Known> {
        self.metrics.get(name)
    }

    /// The known name that `name` was most likely meant to be.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        let known: Vec<&str> = self.metrics.keys().map(String::as_str).collect();
        crate::config::schema::nearest(name, &known)
            .and_then(|near| known.iter().find(|known| **known == near).copied())
    }
}

/// The series that `metric` is made of, by name.
fn series_of(metric: &Metric, is_made: bool, jobs: Option<&BTreeSet<String>>, interval: f64) -> Vec<(String, Known)> {
    let labels: BTreeSet<String> = metric.labels.iter().cloned().collect();
    let target = |known: &[&str]| known.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<String>>();
    let base = Known {
        metric_type: Some(metric.metric_type),
        labels: (!metric.open_labels).then(|| &labels | &target(&TARGET_LABELS)),
        certain: if is_made { BTreeSet::new() } else { &labels | &target(&CERTAIN_LABELS) },
        jobs: jobs.cloned(),
        buckets: Vec::new(),
        only_grows: metric.only_grows,
        value_tells: metric.value_tells,
        may_be_zero: metric.may_be_zero,
        unit: Some(metric.unit.clone()),
        interval,
    };
    let with = |label: &str| {
        let mut known = base.clone();
        known.labels = known.labels.map(|labels| &labels | &BTreeSet::from([label.to_owned()]));
        known.certain.insert(label.to_owned());
        known
    };
    let name = &metric.name;
    let counter = Known { metric_type: Some(MetricType::Counter), ..base.clone() };
    let count = Known { unit: None, ..counter.clone() };
    let parts = [(format!("{name}_sum"), counter), (format!("{name}_count"), count)];
    match metric.metric_type {
        MetricType::Counter | MetricType::Gauge => vec![(name.clone(), base)],
        MetricType::Histogram => {
            let bucket =
                Known { metric_type: Some(MetricType::Counter), buckets: metric.buckets.clone(), ..with("le") };
            parts.into_iter().chain([(format!("{name}_bucket"), bucket)]).collect()
        }
        MetricType::Summary => {
            let quantile = Known { metric_type: Some(MetricType::Gauge), ..with("quantile") };
            parts.into_iter().chain([(name.clone(), quantile)]).collect()
        }
    }
}

/// The jobs whose targets have the metrics of `source`, a key of a contract; `None` where any may.
fn jobs_of(source: &str, config: &Config) -> Option<BTreeSet<String>> {
    if source == SERVICE {
        return Some(config.platform.services.iter().map(|service| service.name.clone()).collect());
    }
    let exporter = stack::EXPORTERS.iter().find(|exporter| exporter.key == source).map(|exporter| exporter.job);
    let component = COMPONENTS.iter().find(|component| component.key == source);
    match (exporter, component, source) {
        (Some(job), _, _) => Some(BTreeSet::from([job.to_owned()])),
        // What it exposes is about the probes, under their names.
        (_, Some(component), _) if component.key == "blackboxExporter" => None,
        (_, Some(component), _) => Some(BTreeSet::from([config.job_of(component).to_owned()])),
        (_, _, stack::SPAN_METRICS | "kubelet") => Some(BTreeSet::from([source.to_owned()])),
        _ => None,
    }
}
