//! What kube-state-metrics tells of the API server's objects.
//!
//! Names and labels of the metrics are those of kube-state-metrics 2.20, as its documentation lists
//! them; of those, the ones that rules and dashboards ask for.

use super::cluster::Cluster;
use super::{kube_objects, kube_pods};
use crate::sandbox::platform::exposition::Page;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use std::collections::BTreeMap;

/// Families of metrics, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Families(BTreeMap<&'static str, Page>);

impl Families {
    /// One sample of the family `name`.
    pub(super) fn add(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        self.0.entry(name).or_default().sample(name, labels, value);
    }

    /// The same, with the value 1 or 0.
    pub(super) fn answer(&mut self, name: &'static str, labels: &[(&str, &str)], holds: bool) {
        self.add(name, labels, if holds { 1.0 } else { 0.0 });
    }

    /// One sample for each of `words` under the label `label`: 1 where it is `actual`, else 0.
    pub(super) fn one_of(
        &mut self,
        name: &'static str,
        labels: &[(&str, &str)],
        label: &str,
        words: &[&str],
        actual: &str,
    ) {
        for word in words {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([(label, *word)]).collect();
            self.answer(name, &labels, *word == actual);
        }
    }

    /// One sample for each resource of `amounts`, in its basic unit; nothing for what is no number.
    pub(super) fn amounts(
        &mut self,
        name: &'static str,
        labels: &[(&str, &str)],
        amounts: Option<&BTreeMap<String, Quantity>>,
    ) {
        for (resource, amount) in amounts.into_iter().flatten() {
            let Some(value) = super::quantity::number(&amount.0) else { continue };
            let unit = match resource.as_str() {
                "cpu" => "core",
                "memory" | "storage" | "ephemeral-storage" => "byte",
                _ => "integer",
            };
            // Labels carry no dashes and dots.
            let resource = resource.replace(['-', '.', '/'], "_");
            let labels: Vec<(&str, &str)> =
                labels.iter().copied().chain([("resource", resource.as_str()), ("unit", unit)]).collect();
            self.add(name, &labels, value);
        }
    }

    /// All families as one page.
    pub(super) fn into_page(self) -> Page {
        let mut page = Page::default();
        for (name, samples) in self.0 {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            page.family(name, kind, "Of the objects that the API server holds");
            page.extend(samples);
        }
        page
    }
}

/// `/metrics` of kube-state-metrics.
pub fn page(cluster: &Cluster) -> String {
    let mut families = Families::default();
    kube_pods::add(&mut families, cluster);
    kube_objects::add(&mut families, cluster);
    families.into_page().into_body()
}

/// Namespace and name of an object.
pub(super) fn place(metadata: &ObjectMeta) -> (&str, &str) {
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// A time in seconds since 1970.
pub(super) fn seconds(time: &Time) -> f64 {
    time.0.as_second() as f64
}

/// Kind, name and whether it is the controller, of an object's first owner, as kube-state-metrics
/// writes them.
pub(super) fn owner(metadata: &ObjectMeta) -> (&str, &str, &'static str) {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let controller = |owner: &&OwnerReference| owner.controller == Some(true);
    match owners.iter().find(controller).or(owners.first()) {
        Some(owner) => {
            let controls = if owner.controller == Some(true) { "true" } else { "false" };
            (owner.kind.as_str(), owner.name.as_str(), controls)
        }
        None => ("", "", ""),
    }
}

#[cfg(test)]
#[path = "kube_state_tests.rs"]
mod tests;
