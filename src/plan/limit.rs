//! A plan for some of the components alone. Pure.

use super::model::{Action, Plan, Step, Target};
use super::release::release_id;
use crate::error::{Failure, Kind};
use crate::object::ObjectRef;
use crate::render::Bundle;
use crate::stack;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of objects of our own that Prometheus and Grafana alone read: rules, dashboards, what is scraped and probed.
const READ_BY_PROMETHEUS: &[&str] = &["ConfigMap", "PodMonitor", "Probe", "PrometheusRule", "ServiceMonitor"];

/// The releases of `bundle` that are meant by `only` and `skip`, which name components, exporters or releases;
/// `None` where both are empty, so that all are meant.
///
/// # Errors
/// [`Kind::Usage`] with the nearest name where there is none of that name, where this configuration does not
/// deploy it, or where nothing is left.
pub fn limit(bundle: &Bundle, only: &[String], skip: &[String]) -> Result<Option<BTreeSet<String>>> {
    if only.is_empty() && skip.is_empty() {
        return Ok(None);
    }
    let all: BTreeSet<String> = bundle.releases.iter().map(|release| release.name.clone()).collect();
    let names = names();
    let meant = |words: &[String]| -> Result<BTreeSet<String>> {
        words.iter().map(|word| release_of(word.trim(), &names, &all)).collect()
    };
    let (only, skip) = (meant(only)?, meant(skip)?);
    let kept = if only.is_empty() { all } else { only };
    let left: BTreeSet<String> = kept.difference(&skip).cloned().collect();
    if left.is_empty() {
        let message = "`--only` and `--skip` leave no component";
        return Err(Failure::new(Kind::Usage, message).hint("name at least one that is not skipped").into());
    }
    Ok(Some(left))
}

/// The release of everything that has a name, in small letters.
fn names() -> BTreeMap<String, &'static str> {
    let components = stack::COMPONENTS.iter().map(|component| (component.key, component.release));
    let exporters = stack::EXPORTERS.iter().map(|exporter| (exporter.key, exporter.deployed.release));
    let releases = stack::RELEASES.iter().map(|release| (release.name, release.name));
    // Prometheus is a component and the release that also has Grafana: the same either way.
    exporters.chain(components).chain(releases).map(|(name, release)| (name.to_lowercase(), release)).collect()
}

fn release_of(word: &str, names: &BTreeMap<String, &'static str>, all: &BTreeSet<String>) -> Result<String> {
    let known = names.get(&word.to_lowercase()).copied();
    match known {
        Some(release) if all.contains(release) => Ok(release.to_owned()),
        Some(_) => Err(Failure::new(Kind::Usage, format!("this configuration does not deploy `{word}`"))
            .hint(format!("it deploys {}", all.iter().cloned().collect::<Vec<_>>().join(", ")))
            .into()),
        None => {
            let near = |name: &&String| strsim::jaro_winkler(name, &word.to_lowercase());
            let nearest = names.keys().max_by(|one, other| near(one).total_cmp(&near(other)));
            let failure = Failure::new(Kind::Usage, format!("there is no component `{word}`"));
            Err(match nearest {
                Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
                None => failure,
            }
            .into())
        }
    }
}

impl Plan {
    /// The plan without what is not about `releases`: the steps of those, of the releases that they need and
    /// that are not there yet, and of everything of ours that they need. Nothing is taken away.
    #[must_use]
    pub(super) fn limited(self, bundle: &Bundle, releases: &BTreeSet<String>) -> Plan {
        let mut meant = releases.clone();
        let mut waiting: Vec<String> = releases.iter().cloned().collect();
        while let Some(name) = waiting.pop() {
            let needs = bundle.releases.iter().find(|release| release.name == name).map(|release| &release.needs);
            for need in needs.into_iter().flatten() {
                let is_missing =
                    self.steps.iter().any(|step| step.id == release_id(need) && step.action == Action::Create);
                if is_missing && meant.insert(need.clone()) {
                    waiting.push(need.clone());
                }
            }
        }
        let steps = self.steps.iter().filter(|step| is_about(step, bundle, &meant)).cloned().collect();
        Plan { steps, limited_to: Some(releases.clone()), ..self }
    }
}

fn is_about(step: &Step, bundle: &Bundle, releases: &BTreeSet<String>) -> bool {
    match &step.target {
        Target::Namespace { .. } => true,
        Target::Release { release } => releases.contains(&release.name),
        Target::GeneratedSecret { secret } => is_namespace_of(bundle, releases, Some(&secret.namespace)),
        Target::WebhookCertificate { certificate } | Target::WebhookAuthority { certificate, .. } => {
            releases.contains(&certificate.after)
        }
        Target::Object { manifest } => {
            let reference = manifest.reference();
            let late = bundle.late_objects.iter().find(|late| late.manifest.reference() == reference);
            match late {
                Some(late) => late.after.iter().any(|release| releases.contains(release)),
                None => is_needed(&reference, bundle, releases),
            }
        }
        Target::UnwantedObject { .. } | Target::UnwantedRelease { .. } => false,
    }
}

/// Whether any of `releases` needs the object of ours, which is no late one.
fn is_needed(reference: &ObjectRef, bundle: &Bundle, releases: &BTreeSet<String>) -> bool {
    if READ_BY_PROMETHEUS.contains(&reference.kind.as_str()) {
        let prometheus = stack::COMPONENTS.iter().find(|component| component.key == "prometheus");
        return prometheus.is_some_and(|component| releases.contains(component.release));
    }
    is_namespace_of(bundle, releases, reference.namespace.as_deref())
}

/// Whether one of `releases` is in `namespace`, or none at all is.
fn is_namespace_of(bundle: &Bundle, releases: &BTreeSet<String>, namespace: Option<&str>) -> bool {
    let mut here = bundle.releases.iter().filter(|release| Some(release.namespace.as_str()) == namespace).peekable();
    here.peek().is_none() || here.any(|release| releases.contains(&release.name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::{chain_of, failure_of};
    use crate::object::Manifest;
    use crate::plan::{Observed, ObservedRelease, plan_within};
    use crate::render::bundle::{Chart, LateObject, Release};
    use serde_json::json;

    fn release(name: &str, namespace: &str, needs: &[&str]) -> Release {
        let chart = Chart { name: name.into(), version: "1".into(), app_version: "1".into(), files: BTreeMap::new() };
        let needs = needs.iter().map(|need| (*need).to_owned()).collect();
        Release { name: name.into(), namespace: namespace.into(), chart, values: json!({}), needs }
    }

    fn object(kind: &str, name: &str, namespace: Option<&str>) -> Manifest {
        Manifest(json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}))
    }

    fn bundle() -> Bundle {
        Bundle {
            namespaces: vec![object("Namespace", "m", None)],
            objects: vec![
                object("ConfigMap", "rules", Some("m")),
                object("NetworkPolicy", "deny", Some("m")),
                object("NetworkPolicy", "chaos-deny", Some("chaos-mesh")),
                object("ClusterRole", "rights", None),
            ],
            late_objects: vec![LateObject {
                manifest: object("Schedule", "kill", Some("p")),
                after: vec!["chaos-mesh".to_owned()],
            }],
            releases: vec![
                release("prometheus", "m", &[]),
                release("loki", "m", &[]),
                release("otel-collector", "m", &["loki", "jaeger"]),
                release("jaeger", "m", &[]),
                release("chaos-mesh", "chaos-mesh", &[]),
            ],
            ..Bundle::default()
        }
    }

    fn ids(only: &[&str], skip: &[&str], observed: &Observed) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let limit = limit(&bundle(), &words(only), &words(skip)).unwrap();
        plan_within(&bundle(), observed, limit.as_ref()).steps.into_iter().map(|step| step.id).collect()
    }

    #[test]
    fn only_what_is_meant_and_what_it_needs_is_planned() {
        let nothing = Observed::default();
        assert_eq!(
            ids(&["loki"], &[], &nothing),
            ["Namespace m", "NetworkPolicy m/deny", "ClusterRole rights", "release loki"]
        );
        // What it needs and is not there comes along; what is there is left, even if it would change.
        let with = ids(&["otelCollector"], &[], &nothing);
        assert!(with.contains(&"release loki".to_owned()) && with.contains(&"release jaeger".to_owned()), "{with:?}");
        let standing = ObservedRelease { status: "deployed".to_owned(), ..ObservedRelease::default() };
        let releases = BTreeMap::from([(("m".to_owned(), "loki".to_owned()), standing)]);
        let with = ids(&["otelCollector"], &[], &Observed { releases, ..Observed::default() });
        assert!(!with.contains(&"release loki".to_owned()) && with.contains(&"release jaeger".to_owned()), "{with:?}");
        // Grafana is in the release of Prometheus, which reads the rules.
        assert!(ids(&["grafana"], &[], &nothing).contains(&"ConfigMap m/rules".to_owned()));
        assert_eq!(
            ids(&["chaosMesh"], &[], &nothing),
            [
                "Namespace m",
                "NetworkPolicy chaos-mesh/chaos-deny",
                "ClusterRole rights",
                "release chaos-mesh",
                "Schedule p/kill"
            ]
        );
        let without = ids(&[], &["prometheus", "chaos-mesh"], &nothing);
        assert!(!without.iter().any(|id| id.contains("prometheus") || id.contains("rules") || id.contains("kill")));
        assert!(without.contains(&"release otel-collector".to_owned()));
        assert_eq!(ids(&[], &[], &nothing).len(), 11);
    }

    #[test]
    fn a_name_that_means_nothing_is_refused() {
        let refused = |only: &str, skip: &str| {
            let words = |word: &str| word.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let error = limit(&bundle(), &words(only), &words(skip)).unwrap_err();
            (chain_of(&error)[0].clone(), failure_of(&error).unwrap().hint.clone().unwrap())
        };
        assert_eq!(refused("lokki", ""), ("there is no component `lokki`".into(), "did you mean `loki`?".into()));
        assert_eq!(refused("", "postgresql").0, "this configuration does not deploy `postgresql`");
        assert_eq!(refused("loki", "Loki").0, "`--only` and `--skip` leave no component");
        assert_eq!(limit(&bundle(), &[], &[]).unwrap(), None);
    }
}
