//! Config -> Bundle: Helm values, objects, rules and dashboards. Pure, deterministic, byte-stable.

pub mod bundle;
mod certificates;
mod content;
mod context;
pub mod digest;
pub mod files;
mod grid;
pub mod images;
mod ingress;
mod jobs;
mod masks;
mod metrics;
mod namespaces;
pub mod network;
mod objects;
mod releases;
mod scan;
mod secrets;
mod sources;
mod strict;
mod templates;
mod yaml;

pub use bundle::{Bundle, Release};
pub use content::{RenderedFile, RenderedObjective};
pub use files::object_files;
pub use metrics::expected_metrics;
pub use namespaces::namespaces;
pub use releases::needed_charts;
pub use secrets::required as required_secrets;
pub use sources::{Sources, values_layer};
pub use yaml::to_yaml;

use crate::chart::Charts;
use crate::chart::crds::{crds, ours};
use crate::config::model::{Config, Profile};
use crate::flows::{flows, groups};
use crate::object::{FIELD_MANAGER, Manifest};
use anyhow::{Result, anyhow};
use bundle::{Expected, GeneratedSecret};
use digest::with_digest;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What everything of ours is a part of, as its label says.
const PART_OF: &str = "drivemaster-monitoring";

/// Renders everything that is to stand in the cluster from the embedded templates, with embedded
/// charts: for profile `local`.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for a bad template with its file, line and column.
pub fn render(config: &Config) -> Result<Bundle> {
    render_from(config, &Sources::embedded(), &Charts::new())
}

/// The same from other `sources`, such as the embedded ones under a folder of the person's own, and
/// with the upstream `charts` that [`needed_charts`] names.
///
/// # Errors
/// As [`render`]; also when one of those charts is missing.
pub fn render_from(config: &Config, sources: &Sources, charts: &Charts) -> Result<Bundle> {
    let templates = templates::Templates::new(sources, &context::context(config)?)?;
    let releases = releases::releases(config, sources, &templates, charts)?;
    let namespace = &config.namespaces.monitoring;
    let mut expected = Expected::default();
    let mut objects = Vec::new();
    if config.prometheus.enabled {
        let (rules, groups) = content::rules(config, sources, &templates)?;
        objects.extend(rules);
        expected.rule_groups = groups;
        expected.metrics = metrics::expected_metrics(config, sources.contract()?);
        expected.targets = jobs::scrape_jobs(config).into_iter().map(|job| job.target).collect();
    }
    let mut generated_secrets: Vec<GeneratedSecret> = secrets::pseudonym_key(config).into_iter().collect();
    if config.grafana.enabled {
        let (dashboards, shown) = content::dashboards(namespace, sources, &templates)?;
        objects.extend(dashboards);
        expected.dashboards = shown;
        generated_secrets.push(GeneratedSecret {
            namespace: namespace.clone(),
            name: config.grafana.admin_secret.clone(),
            fixed: BTreeMap::from([("admin-user".to_owned(), "admin".to_owned())]),
            generated: vec!["admin-password".to_owned()],
        });
    }
    let installed: Vec<&str> = releases.iter().map(|release| release.name.as_str()).collect();
    let (early, late_objects) = objects::objects(config, &installed, sources, &templates)?;
    objects.extend(early);
    objects.extend(certificates::of_services(config));
    if config.profile == Profile::Production {
        objects.extend(network::policies(config, &groups(config), &flows(config)));
    }
    let definitions = definitions_of(&releases)?;
    Ok(Bundle {
        namespaces: namespaces(config),
        generated_secrets,
        crds: ours(definitions, &our_labels()).into_iter().map(with_digest).collect(),
        objects,
        late_objects,
        releases,
        expected,
        required_secrets: required_secrets(config),
        webhook_certificates: certificates::of_webhooks(config),
        ingress_classes: ingress::classes(config),
    })
}

/// The definitions that the charts bring. To read them takes longer than everything else here, so that each chart has
/// a thread.
fn definitions_of(releases: &[Release]) -> Result<Vec<Manifest>> {
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            releases.iter().map(|release| scope.spawn(|| crds(&release.chart, &release.values))).collect();
        let mut definitions = Vec::new();
        for reader in readers {
            let found = reader.join().map_err(|_| anyhow!("the thread that reads the definitions of a chart ended"))?;
            definitions.extend(found?);
        }
        Ok(definitions)
    })
}

/// Every file of rules and every dashboard of `sources` as text, for judges that are to see everything
/// that is wrong with them.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for a bad template with its file, line and column.
pub fn texts(config: &Config, sources: &Sources) -> Result<Vec<RenderedFile>> {
    let templates = templates::Templates::new(sources, &context::context(config)?)?;
    content::texts(config, sources, &templates)
}

/// The names of all scrape jobs, also of the one that finds Services by their annotations.
pub fn scrape_job_names(config: &Config) -> BTreeSet<String> {
    let jobs = jobs::scrape_jobs(config).into_iter().map(|job| job.target.job);
    jobs.chain([crate::stack::ANNOTATED_SERVICES.to_owned()]).collect()
}

/// Where a person finds Grafana, such as `https://grafana.drivemaster.com`.
///
/// # Errors
/// As [`texts`], but for templates.
pub fn grafana_url(config: &Config) -> Result<String> {
    let context = context::context(config)?;
    Ok(context.pointer("/components/grafana/openUrl").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// `object` with the labels of everything that is ours.
fn labelled(mut object: Value) -> Manifest {
    object["metadata"]["labels"] = our_labels();
    Manifest(object)
}

fn our_labels() -> Value {
    json!({ "app.kubernetes.io/managed-by": FIELD_MANAGER, "app.kubernetes.io/part-of": PART_OF })
}

#[cfg(test)]
mod tests;
