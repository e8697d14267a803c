//! Config -> Bundle: Helm values, objects, rules and dashboards. Pure, deterministic, byte-stable.

pub mod bundle;
mod content;
mod context;
pub mod digest;
pub mod files;
mod releases;
mod scan;
mod sources;
mod strict;
mod templates;
mod yaml;

pub use bundle::Bundle;
pub use sources::{Sources, values_layer};

use crate::config::model::{Config, Profile};
use crate::error::{Failure, Kind};
use crate::object::Manifest;
use anyhow::Result;
use bundle::{Expected, GeneratedSecret};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Renders everything that is to stand in the cluster, from the embedded templates.
///
/// # Errors
/// [`Kind::Usage`] for a profile that cannot be rendered, and for a bad template with its file, line
/// and column.
pub fn render(config: &Config) -> Result<Bundle> {
    render_from(config, &Sources::embedded())
}

/// The same from other `sources`, such as the embedded ones under a folder of the person's own.
///
/// # Errors
/// As [`render`].
pub fn render_from(config: &Config, sources: &Sources) -> Result<Bundle> {
    if config.profile == Profile::Production {
        return Err(Failure::new(Kind::Usage, "profile `production` is not built yet")
            .hint("deploy the light charts: drivemaster-mon deploy --profile local")
            .into());
    }
    let templates = templates::Templates::new(sources, &context::context(config)?)?;
    let releases = releases::releases(config, sources, &templates)?;
    let namespace = &config.namespaces.monitoring;
    let mut expected = Expected::default();
    let mut objects = Vec::new();
    if config.prometheus.enabled {
        let (rules, groups) = content::rules(namespace, sources, &templates)?;
        objects.extend(rules);
        expected.rule_groups = groups;
        expected.targets = context::scrape_jobs(config).into_iter().map(|job| job.target).collect();
    }
    let mut generated_secrets = Vec::new();
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
    Ok(Bundle { namespaces: namespaces(config), generated_secrets, objects, releases, expected })
}

/// The namespaces with their Pod Security labels. The platform's workloads are not ours: there we
/// only warn.
fn namespaces(config: &Config) -> Vec<Manifest> {
    let [enforce, warn, audit] = ["enforce", "warn", "audit"].map(|mode| format!("pod-security.kubernetes.io/{mode}"));
    vec![
        namespace(&config.namespaces.platform, &[&warn, &audit]),
        namespace(&config.namespaces.monitoring, &[&enforce, &warn, &audit]),
    ]
}

fn namespace(name: &str, pod_security: &[&str]) -> Manifest {
    let mut manifest = labelled(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
    for label in pod_security {
        manifest.0["metadata"]["labels"][*label] = json!("restricted");
    }
    manifest
}

/// `object` with the labels of everything that is ours.
fn labelled(mut object: Value) -> Manifest {
    object["metadata"]["labels"] = json!({
        "app.kubernetes.io/managed-by": "drivemaster-mon",
        "app.kubernetes.io/part-of": "drivemaster-monitoring",
    });
    Manifest(object)
}

#[cfg(test)]
mod tests;
