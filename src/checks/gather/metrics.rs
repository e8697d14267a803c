//! What Prometheus knows of the metrics of the contract.

use super::super::facts::MetricFact;
use crate::contract::{Metric, MetricType};
use crate::render::Bundle;
use crate::render::bundle::ExpectedMetric;
use crate::telemetry::{HttpError, Prometheus};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::{BTreeMap, BTreeSet};

/// How many queries are under way at once.
const AT_ONCE: usize = 8;

/// Types, jobs and missing labels of every metric that the contract promises.
///
/// # Errors
/// Prometheus has no usable answer.
pub(super) async fn metrics(
    prometheus: &Prometheus,
    bundle: &Bundle,
) -> Result<BTreeMap<String, MetricFact>, HttpError> {
    let metadata = prometheus.metadata().await?;
    let asked = stream::iter(&bundle.expected.metrics).map(|ExpectedMetric { metric, jobs }| {
        let kinds = metadata.get(&metric.name).into_iter().flatten().map(|known| known.kind.clone());
        let types: BTreeSet<String> = kinds.collect();
        async move {
            let mut fact = MetricFact { types, ..MetricFact::default() };
            for sample in prometheus.query(&question(metric, jobs)).await? {
                let job = sample.labels.get("job").cloned().unwrap_or_default();
                match sample.labels.get(LACKS) {
                    Some(label) => {
                        fact.lacks.entry(label.clone()).or_default().insert(job);
                    }
                    None => {
                        fact.jobs.insert(job);
                    }
                }
            }
            Ok((metric.name.clone(), fact))
        }
    });
    asked.buffered(AT_ONCE).try_collect().await
}

/// The label that says which label series lack.
const LACKS: &str = "lacks";

/// Asks which of `jobs` have the metric, and which of them have series without a label of the contract.
fn question(metric: &Metric, jobs: &[String]) -> String {
    let name = match metric.metric_type {
        MetricType::Histogram => format!("{}_bucket", metric.name),
        _ => metric.name.clone(),
    };
    let jobs = jobs.join("|");
    let lacking = metric.labels.iter().map(|label| {
        let without = format!("group by (job) ({name}{{job=~\"{jobs}\", {label}=\"\"}})");
        format!(" or label_replace({without}, \"{LACKS}\", \"{label}\", \"job\", \".*\")")
    });
    format!("group by (job) ({name}{{job=~\"{jobs}\"}}){}", lacking.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Contract;

    #[test]
    fn a_question_is_promql_and_names_every_label() {
        let contract = Contract::embedded().unwrap();
        for metric in contract.exporters.values().flatten() {
            let text = question(metric, &["a".to_owned(), "b".to_owned()]);
            crate::promql::parse(&text).unwrap();
            assert!(metric.labels.iter().all(|label| text.contains(&format!("{label}=\"\""))), "{text}");
        }
    }
}
