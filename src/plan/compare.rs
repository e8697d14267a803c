//! The comparison of what is to stand with what stands.

use super::asked::asked;
use super::bookkeeping::helm_writes;
use super::certificate::{authority_id, plan_certificate};
use super::difference::difference;
use super::drift::{Drifted, Owner, drift};
use super::inventory::plan_removals;
use super::model::{Action, Observed, Plan, Reason, Step, Target};
use super::release::{plan_release, release_id};
use crate::chart::crds::{served_kinds, served_versions};
use crate::object::{Manifest, ObjectRef};
use crate::render::bundle::{Bundle, GeneratedSecret, Release};
use crate::render::digest::api_digest;
use serde_json::Value;
use std::collections::BTreeSet;

/// Plans what turns `observed` into `bundle`. The order of the steps respects their needs:
/// namespaces, generated Secrets, our objects, the releases, then what is no longer wanted.
pub fn plan(bundle: &Bundle, observed: &Observed) -> Plan {
    plan_within(bundle, observed, None)
}

/// The same, limited to some releases and what they need, where `limit` names any.
pub fn plan_within(bundle: &Bundle, observed: &Observed, limit: Option<&BTreeSet<String>>) -> Plan {
    // As they are once our definitions stand: else the second plan would see other versions than the first.
    let mut api_versions = observed.api_versions.clone();
    api_versions.extend(bundle.crds.iter().flat_map(|crd| served_versions(&crd.0)));
    let releases = bundle.releases.iter();
    let digest = |release| api_digest(&asked(release, &api_versions, &observed.server_version));
    let api_digests = releases.map(|release| (release.name.clone(), digest(release))).collect();
    api_versions.extend(bundle.crds.iter().flat_map(|crd| served_kinds(&crd.0)));
    let mut plan = Plan { api_versions, api_digests, ..Plan::default() };
    for manifest in &bundle.namespaces {
        plan_manifest(&mut plan, manifest, observed, Vec::new(), |manifest| Target::Namespace { manifest });
    }
    for secret in &bundle.generated_secrets {
        plan_secret(&mut plan, secret, observed);
    }
    for manifest in &bundle.crds {
        plan_manifest(&mut plan, manifest, observed, Vec::new(), |manifest| Target::Object { manifest });
    }
    for manifest in &bundle.objects {
        let needs = needs_of(manifest, bundle);
        plan_manifest(&mut plan, manifest, observed, needs, |manifest| Target::Object { manifest });
    }
    for release in in_order(&bundle.releases) {
        plan_release(&mut plan, release, bundle, observed);
    }
    for certificate in &bundle.webhook_certificates {
        plan_certificate(&mut plan, certificate, observed);
    }
    for late in &bundle.late_objects {
        let needs = needs_of(&late.manifest, bundle).into_iter();
        let needs = needs.chain(late.after.iter().map(|name| release_id(name)));
        // Its webhooks judge what comes after a release, and must be trusted by then.
        let certificates = bundle.webhook_certificates.iter().filter(|one| late.after.contains(&one.after));
        let needs = needs.chain(certificates.flat_map(|one| &one.configurations).map(authority_id)).collect();
        plan_manifest(&mut plan, &late.manifest, observed, needs, |manifest| Target::Object { manifest });
    }
    plan_removals(&mut plan, observed);
    if let Some(releases) = limit {
        plan = plan.limited(bundle, releases);
    }
    plan.bookkeeping.helm = helm_writes(&plan, observed);
    plan
}

/// What an object of ours needs: its namespace, and the definition of its kind where that is ours too.
fn needs_of(manifest: &Manifest, bundle: &Bundle) -> Vec<String> {
    let reference = manifest.reference();
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    let defines = |crd: &&Manifest| {
        let text = |pointer: &str| crd.0.pointer(pointer).and_then(serde_json::Value::as_str);
        text("/spec/group") == Some(group) && text("/spec/names/kind") == Some(&reference.kind)
    };
    let definition = bundle.crds.iter().find(defines).map(|crd| crd.reference().to_string());
    reference.namespace.iter().map(|name| namespace_id(name)).chain(definition).collect()
}

fn namespace_id(name: &str) -> String {
    ObjectRef::cluster_scoped("v1", "Namespace", name).to_string()
}

pub(super) fn secret_reference(secret: &GeneratedSecret) -> ObjectRef {
    ObjectRef::namespaced("v1", "Secret", &secret.namespace, &secret.name)
}

fn plan_manifest(
    plan: &mut Plan,
    manifest: &Manifest,
    observed: &Observed,
    needs: Vec<String>,
    target: fn(Manifest) -> Target,
) {
    let reference = manifest.reference();
    let id = reference.to_string();
    let (action, reason, changes) = match observed.objects.get(&reference) {
        None => (Action::Create, Reason::New, Vec::new()),
        Some(live) => {
            let mut changes = difference(&manifest.0, live);
            if changes.is_empty() {
                plan.unchanged.push(id);
                return;
            }
            let drifted = taken_over(manifest, live, &mut changes);
            let reason = drift_or_values(&changes, &drifted);
            if !drifted.is_empty() {
                plan.drift.insert(id.clone(), drifted);
            }
            (Action::Update, reason, changes)
        }
    };
    plan.steps.push(Step { id, action, reason, needs, changes, target: target(manifest.clone()) });
}

/// What others took over of an object of ours; who it was is put behind the lines of `changes`.
fn taken_over(manifest: &Manifest, live: &Value, changes: &mut [String]) -> Vec<Drifted> {
    let mut drifted = drift(manifest, live, Owner::Us);
    // A field of ours that is gone may as well be a new one.
    drifted.retain(|one| one.by.is_some());
    for one in &drifted {
        let changed = format!("~ {}:", one.path);
        if let (Some(line), Some(author)) = (changes.iter_mut().find(|line| line.starts_with(&changed)), &one.by) {
            line.push_str(&author.shown(None));
        }
    }
    drifted
}

/// Drift where each of the fields that differ was taken over by somebody else; then what is wanted did not
/// change.
fn drift_or_values(changes: &[String], drifted: &[Drifted]) -> Reason {
    let mut fields = changes.iter().filter(|line| line.starts_with(['~', '+', '-']));
    let is_theirs = |line: &String| drifted.iter().any(|one| line.starts_with(&format!("~ {}:", one.path)));
    if fields.all(is_theirs) { Reason::Drift } else { Reason::Values }
}

fn plan_secret(plan: &mut Plan, secret: &GeneratedSecret, observed: &Observed) {
    let reference = secret_reference(secret);
    let id = reference.to_string();
    if observed.objects.contains_key(&reference) {
        // Generated once and kept, whatever it holds.
        plan.unchanged.push(id);
        return;
    }
    plan.steps.push(Step {
        id,
        action: Action::Create,
        reason: Reason::New,
        needs: vec![namespace_id(&secret.namespace)],
        changes: vec![format!("generates {} (never shown)", secret.generated.join(", "))],
        target: Target::GeneratedSecret { secret: secret.clone() },
    });
}

/// The releases so that each comes after those it needs; a circle keeps the order given.
pub(super) fn in_order(releases: &[Release]) -> Vec<&Release> {
    let mut ordered: Vec<&Release> = Vec::new();
    let mut waiting: Vec<&Release> = releases.iter().collect();
    while !waiting.is_empty() {
        let placed = |name: &String| {
            ordered.iter().any(|release| release.name == *name) || !releases.iter().any(|release| release.name == *name)
        };
        let next = waiting.iter().position(|release| release.needs.iter().all(placed)).unwrap_or(0);
        ordered.push(waiting.remove(next));
    }
    ordered
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::model::{ObservedRelease, StoredRelease};
    use super::super::release::judge_release;
    use super::*;
    use crate::render::bundle::{Chart, Expected};
    use crate::render::digest::{chart_digest, values_digest};
    use serde_json::json;
    use std::collections::BTreeMap;

    const ASKS_FOR_PROBES: &str = "{{ .Capabilities.APIVersions.Has \"monitoring.coreos.com/v1/Probe\" }}";

    fn release(name: &str, needs: &[&str]) -> Release {
        Release {
            name: name.to_owned(),
            namespace: "monitoring".to_owned(),
            chart: Chart {
                name: name.to_owned(),
                version: "0.1.0".to_owned(),
                app_version: "1".to_owned(),
                files: BTreeMap::from([("templates/a.yaml".to_owned(), ASKS_FOR_PROBES.as_bytes().to_vec())]),
            },
            values: json!({"a": 1}),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        }
    }

    fn bundle() -> Bundle {
        Bundle {
            namespaces: vec![Manifest(
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}}),
            )],
            generated_secrets: vec![GeneratedSecret {
                namespace: "monitoring".to_owned(),
                name: "grafana-admin".to_owned(),
                fixed: BTreeMap::new(),
                generated: vec!["admin-password".to_owned()],
            }],
            objects: vec![Manifest(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "rules", "namespace": "monitoring"}, "data": {"a": "b"}
            }))],
            releases: vec![release("collector", &["jaeger"]), release("jaeger", &[])],
            expected: Expected::default(),
            ..Bundle::default()
        }
    }

    /// What the cluster holds once `bundle` is deployed.
    fn deployed(bundle: &Bundle) -> Observed {
        let mut observed = Observed::default();
        observed.api_versions.extend(bundle.crds.iter().flat_map(|crd| served_versions(&crd.0)));
        for manifest in bundle.namespaces.iter().chain(bundle.own_objects()) {
            observed.objects.insert(manifest.reference(), manifest.0.clone());
        }
        for secret in &bundle.generated_secrets {
            observed.objects.insert(secret_reference(secret), json!({}));
        }
        for release in &bundle.releases {
            observed.releases.insert(
                (release.namespace.clone(), release.name.clone()),
                ObservedRelease {
                    status: "deployed".to_owned(),
                    revision: 1,
                    revisions: 1,
                    base: Some(1),
                    chart_digest: Some(chart_digest(&release.chart)),
                    values_digest: Some(values_digest(&release.values)),
                    api_digest: Some(api_digest(&asked(release, &observed.api_versions, &observed.server_version))),
                },
            );
        }
        observed
    }

    #[test]
    fn an_empty_cluster_gets_everything_in_order() {
        let plan = plan(&bundle(), &Observed::default());
        let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "Namespace monitoring",
                "Secret monitoring/grafana-admin",
                "ConfigMap monitoring/rules",
                "release jaeger",
                "release collector"
            ]
        );
        assert!(plan.steps.iter().all(|step| step.reason == Reason::New && step.action == Action::Create));
        // Whoever sends to another tries until it is there.
        assert!(!plan.steps[4].needs.contains(&"release jaeger".to_owned()));
        for (index, step) in plan.steps.iter().enumerate() {
            let later = |need: &String| plan.steps[index..].iter().any(|other| other.id == *need);
            assert!(!step.needs.iter().any(later), "{} comes before its needs", step.id);
        }
        assert_eq!(plan.summary(), "5 to create, 0 to update, 0 to delete, 0 unchanged");
    }

    #[test]
    fn a_release_comes_after_every_namespace() {
        let mut bundle = bundle();
        let platform = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "platform"}});
        bundle.namespaces.push(Manifest(platform));
        let plan = plan(&bundle, &Observed::default());
        let releases: Vec<&Step> =
            plan.steps.iter().filter(|step| matches!(step.target, Target::Release { .. })).collect();
        assert!(releases.iter().all(|step| step.needs.contains(&"Namespace platform".to_owned())), "{releases:?}");
    }

    #[test]
    fn a_release_comes_after_rights_wherever_they_are() {
        let mut bundle = bundle();
        let object = |api_version: &str, kind: &str| {
            Manifest(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "other"}}))
        };
        bundle.objects = vec![object("rbac.authorization.k8s.io/v1", "RoleBinding"), object("v1", "ConfigMap")];
        let plan = plan(&bundle, &Observed::default());
        let release = plan.steps.iter().find(|step| step.id == "release jaeger").unwrap();
        assert!(release.needs.contains(&"RoleBinding other/a".to_owned()), "{:?}", release.needs);
        assert!(!release.needs.contains(&"ConfigMap other/a".to_owned()), "{:?}", release.needs);
    }

    #[test]
    fn nothing_changed_plans_nothing() {
        let bundle = bundle();
        let plan = plan(&bundle, &deployed(&bundle));
        assert!(plan.is_empty(), "{:?}", plan.steps);
        assert_eq!(plan.unchanged.len(), 5);
    }

    #[test]
    fn an_api_that_no_chart_asks_for_changes_nothing() {
        let bundle = bundle();
        let mut observed = deployed(&bundle);
        observed.api_versions.insert("widgets.example.org/v1".to_owned());
        assert!(plan(&bundle, &observed).is_empty());
        observed.api_versions.insert("monitoring.coreos.com/v1".to_owned());
        let reasons: Vec<Reason> = plan(&bundle, &observed).steps.into_iter().map(|step| step.reason).collect();
        assert_eq!(reasons, [Reason::ApiVersions, Reason::ApiVersions]);
    }

    #[test]
    fn what_a_helm_that_failed_wrote_is_nobodys_drift() {
        let bundle = bundle();
        let mut observed = deployed(&bundle);
        let place = ("monitoring".to_owned(), "jaeger".to_owned());
        let manifest = bundle.objects.clone();
        observed.stored.insert(place.clone(), StoredRelease { manifest, ..StoredRelease::default() });
        observed.objects.remove(&bundle.objects[0].reference());
        let reason = |observed: &Observed| {
            let plan = plan(&bundle, observed);
            let step = plan.steps.iter().find(|step| step.id == "release jaeger").unwrap().clone();
            (step.reason, plan.drift.contains_key(&step.id))
        };
        assert_eq!(reason(&observed), (Reason::Drift, true));
        observed.releases.get_mut(&place).unwrap().status = "failed".to_owned();
        assert_eq!(reason(&observed), (Reason::Repair { status: "failed".to_owned() }, false));
    }

    #[test]
    fn each_change_has_its_reason() {
        type Change = fn(&mut Bundle, &mut Observed);
        let cases: [(&str, Change, Reason); 5] = [
            ("chart", |bundle, _| bundle.releases[1].chart.files.clear(), Reason::Version),
            ("values", |bundle, _| bundle.releases[1].values = json!({"a": 2}), Reason::Values),
            (
                "api",
                |_, observed| {
                    for release in observed.releases.values_mut() {
                        release.api_digest = Some("older".to_owned());
                    }
                },
                Reason::ApiVersions,
            ),
            (
                "failed",
                |_, observed| {
                    for release in observed.releases.values_mut() {
                        release.status = "failed".to_owned();
                    }
                },
                Reason::Repair { status: "failed".to_owned() },
            ),
            ("object", |bundle, _| bundle.objects[0].0["data"]["a"] = json!("c"), Reason::Values),
        ];
        for (name, change, reason) in cases {
            let mut bundle = bundle();
            let mut observed = deployed(&bundle);
            change(&mut bundle, &mut observed);
            let plan = plan(&bundle, &observed);
            assert_eq!(plan.steps[0].reason, reason, "{name}");
            assert_eq!(plan.steps[0].action, Action::Update, "{name}");
            assert!(!plan.steps[0].changes.is_empty(), "{name}");
        }
    }

    #[test]
    fn what_a_helm_of_ours_left_in_the_middle_is_repaired_and_what_another_left_is_not() {
        let reason = |status: &str, ours: bool| {
            let seen = ObservedRelease {
                status: status.to_owned(),
                chart_digest: ours.then(|| "d".to_owned()),
                ..ObservedRelease::default()
            };
            judge_release(&release("a", &[]), Some(&seen), None).map(|(_, reason, _)| reason.to_string()).unwrap()
        };
        for (status, ours, expected) in [
            ("pending-install", true, "repair (pending-install)"),
            ("pending-upgrade", false, "stuck (pending-upgrade)"),
            ("uninstalling", true, "stuck (uninstalling)"),
            ("failed", false, "repair (failed)"),
        ] {
            assert_eq!(reason(status, ours), expected);
        }
    }

    #[test]
    fn the_second_plan_sees_no_other_versions_than_the_first() {
        let mut bundle = bundle();
        bundle.crds.push(Manifest(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "probes.monitoring.coreos.com"},
            "spec": {"group": "monitoring.coreos.com", "names": {"kind": "Probe"},
                     "versions": [{"name": "v1", "served": true}]}
        })));
        let first = plan(&bundle, &Observed::default());
        let wanted = ["monitoring.coreos.com/v1", "monitoring.coreos.com/v1/Probe"].map(str::to_owned);
        assert_eq!(first.api_versions, wanted.into());
        let release = first.steps.iter().find(|step| step.id == "release jaeger").unwrap();
        assert!(release.needs.contains(&"CustomResourceDefinition probes.monitoring.coreos.com".to_owned()));
        let observed = deployed(&bundle);
        let second = plan(&bundle, &observed);
        assert!(second.is_empty(), "{:?}", second.steps);
        assert_eq!(first.api_digests, second.api_digests);
    }

    #[test]
    fn a_circle_of_needs_does_not_hang() {
        let releases = [release("a", &["b"]), release("b", &["a"])];
        assert_eq!(in_order(&releases).len(), 2);
    }
}
