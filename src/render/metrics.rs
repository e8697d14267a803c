//! The metrics that scrape jobs must have.

use super::bundle::ExpectedMetric;
use crate::config::model::{Config, ExporterMode, UserMetrics};
use crate::contract::{Contract, SERVICE};
use crate::stack::EXPORTERS;

/// The label of a series of one user.
const USER: &str = "user_id";

/// The metrics of `contract` that must be there, each with the jobs of which some have it. A source that is neither
/// [`SERVICE`] nor an exporter is a service by its name; of one that is not watched nothing is expected. Metrics of users
/// are left out where they are not kept.
pub fn expected_metrics(config: &Config, contract: Contract) -> Vec<ExpectedMetric> {
    let mut found = Vec::new();
    let services = || config.platform.services.iter().map(|service| service.name.clone());
    for (source, metrics) in contract.exporters {
        let jobs: Vec<String> = if source == SERVICE {
            services().collect()
        } else if let Some(exporter) = EXPORTERS.iter().find(|exporter| exporter.key == source) {
            let is_there = config.exporter_mode(exporter.key) != ExporterMode::None;
            is_there.then(|| exporter.job.to_owned()).into_iter().collect()
        } else {
            services().filter(|name| *name == source).collect()
        };
        if jobs.is_empty() {
            continue;
        }
        let drops_users = config.privacy.user_metrics == UserMetrics::Drop;
        let kept =
            metrics.into_iter().filter(|metric| !drops_users || !metric.labels.iter().any(|label| label == USER));
        found.extend(kept.map(|metric| ExpectedMetric { metric, jobs: jobs.clone() }));
    }
    found
}
