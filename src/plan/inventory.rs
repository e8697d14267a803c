//! What a deploy left in the cluster, and what of it the next one takes away again.

use super::compare::in_order;
use super::model::{Action, Observed, Plan, Reason, Step, Target};
use super::release::release_id;
use crate::object::{FIELD_MANAGER, MANAGED_BY_LABEL, ObjectRef};
use crate::render::Bundle;
use crate::render::bundle::WebhookCertificate;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Kinds that are never taken away, whatever brought them: with them goes what others keep in them.
const KEPT_KINDS: &[&str] = &["CustomResourceDefinition", "Namespace", "PersistentVolume", "PersistentVolumeClaim"];

/// The objects and releases of ours that a deploy left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Our own objects; without namespaces, definitions and generated Secrets, which always stay.
    pub objects: Vec<InventoryObject>,
    /// The Helm releases, each after those that it needs.
    pub releases: Vec<InventoryRelease>,
}

/// An object of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryObject {
    /// Which.
    #[serde(flatten)]
    pub reference: ObjectRef,
    /// Its UID; `None` where the deploy was killed before anybody read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Whether it was made after a release, which then takes it away in order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// A Helm release of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryRelease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Names of the releases that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

impl Inventory {
    /// What `bundle` brings, of which no UID is known yet.
    pub fn of(bundle: &Bundle) -> Self {
        let object = |reference: ObjectRef, late: bool| InventoryObject { reference, uid: None, late };
        let early = bundle.objects.iter().map(|manifest| object(manifest.reference(), false));
        let certificates = bundle.webhook_certificates.iter().map(WebhookCertificate::secret_reference);
        let late = bundle.late_objects.iter().map(|late| object(late.manifest.reference(), true));
        let objects = early.chain(certificates.map(|reference| object(reference, false))).chain(late);
        let releases = in_order(&bundle.releases).into_iter().map(|release| InventoryRelease {
            namespace: release.namespace.clone(),
            name: release.name.clone(),
            needs: release.needs.clone(),
        });
        Inventory {
            objects: objects.filter(|object| !KEPT_KINDS.contains(&object.reference.kind.as_str())).collect(),
            releases: releases.collect(),
        }
    }

    /// What of it `other` has not.
    #[must_use]
    pub fn without(self, other: &Inventory) -> Self {
        let has_object = |object: &InventoryObject| {
            other.objects.iter().any(|known| is_same_object(&known.reference, &object.reference))
        };
        let has_release = |release: &InventoryRelease| {
            other.releases.iter().any(|known| (&known.namespace, &known.name) == (&release.namespace, &release.name))
        };
        Inventory {
            objects: self.objects.into_iter().filter(|object| !has_object(object)).collect(),
            releases: self.releases.into_iter().filter(|release| !has_release(release)).collect(),
        }
    }

    /// Both, `other` after what is here.
    #[must_use]
    pub fn and(mut self, other: Inventory) -> Self {
        let other = other.without(&self);
        self.objects.extend(other.objects);
        self.releases.extend(other.releases);
        self
    }
}

/// Whether two references mean one object: its kind may be served in another version by now.
fn is_same_object(one: &ObjectRef, other: &ObjectRef) -> bool {
    let key = |reference: &ObjectRef| {
        let group = reference.api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        (group, reference.kind.clone(), reference.namespace.clone(), reference.name.clone())
    };
    key(one) == key(other)
}

/// Plans to take away what stands in the inventory and is not wanted any more, once everything else is
/// done: first what a release takes away in order, then the releases, those that need others first, then
/// the rest. The steps of the bundle must stand in `plan` already.
pub(super) fn plan_removals(plan: &mut Plan, observed: &Observed) {
    let mut needs: Vec<String> = plan.steps.iter().map(|step| step.id.clone()).collect();
    let unwanted = observed.unwanted.objects.iter().filter_map(|object| Some((object, uid_of_ours(object, observed)?)));
    let (late, other): (Vec<_>, Vec<_>) = unwanted.partition(|(object, _)| object.late);
    let remove = |(object, uid): (&InventoryObject, String), needs: &[String]| Step {
        id: object.reference.to_string(),
        action: Action::Delete,
        reason: Reason::Prune,
        needs: needs.to_vec(),
        changes: Vec::new(),
        target: Target::UnwantedObject { reference: object.reference.clone(), uid },
    };
    let late: Vec<Step> = late.into_iter().map(|object| remove(object, &needs)).collect();
    needs.extend(late.iter().map(|step| step.id.clone()));
    plan.steps.extend(late);
    // By its name alone a release may be somebody else's.
    let ours = observed.unwanted.releases.iter().rev().filter(|release| {
        let seen = observed.releases.get(&(release.namespace.clone(), release.name.clone()));
        seen.is_some_and(|seen| seen.chart_digest.is_some())
    });
    let releases: Vec<Step> = ours
        .clone()
        .map(|release| Step {
            id: release_id(&release.name),
            action: Action::Delete,
            reason: Reason::Prune,
            needs: needs
                .iter()
                .cloned()
                .chain(
                    ours.clone()
                        .filter(|other| other.needs.contains(&release.name))
                        .map(|other| release_id(&other.name)),
                )
                .collect(),
            changes: Vec::new(),
            target: Target::UnwantedRelease { namespace: release.namespace.clone(), name: release.name.clone() },
        })
        .collect();
    needs.extend(releases.iter().map(|step| step.id.clone()));
    plan.steps.extend(releases);
    plan.steps.extend(other.into_iter().map(|object| remove(object, &needs)));
}

/// The UID of the object as it stands, where it is still the one that was recorded and carries our label.
fn uid_of_ours(object: &InventoryObject, observed: &Observed) -> Option<String> {
    let live = observed.objects.get(&object.reference)?;
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str)?;
    let label = live.pointer("/metadata/labels").and_then(|labels| labels.get(MANAGED_BY_LABEL));
    let is_it = object.uid.as_deref().is_none_or(|recorded| recorded == uid);
    (is_it && label.and_then(Value::as_str) == Some(FIELD_MANAGER)).then(|| uid.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::object::Manifest;
    use crate::plan::{ObservedRelease, plan};
    use crate::render::bundle::{Chart, LateObject, Release};
    use serde_json::json;
    use std::collections::BTreeMap;

    fn manifest(kind: &str, name: &str, uid: &str, manager: &str) -> Manifest {
        Manifest(json!({"apiVersion": "v1", "kind": kind, "metadata":
            {"name": name, "namespace": "m", "uid": uid, "labels": {MANAGED_BY_LABEL: manager}}}))
    }

    fn release(name: &str, needs: &[&str]) -> Release {
        let chart = Chart {
            name: name.to_owned(),
            version: "1".to_owned(),
            app_version: "1".to_owned(),
            files: BTreeMap::new(),
        };
        let needs = needs.iter().map(|need| (*need).to_owned()).collect();
        Release { name: name.to_owned(), namespace: "m".to_owned(), chart, values: json!({}), needs }
    }

    fn bundle() -> Bundle {
        Bundle {
            objects: vec![
                manifest("ConfigMap", "rules", "1", FIELD_MANAGER),
                manifest("PersistentVolumeClaim", "data", "2", FIELD_MANAGER),
            ],
            late_objects: vec![LateObject {
                manifest: manifest("Schedule", "kill", "3", FIELD_MANAGER),
                after: vec!["chaos".to_owned()],
            }],
            releases: vec![release("collector", &["jaeger"]), release("jaeger", &[]), release("chaos", &[])],
            ..Bundle::default()
        }
    }

    /// The cluster with `bundle` in it, of which nothing is wanted any more.
    fn standing(bundle: &Bundle) -> Observed {
        let mut observed = Observed { unwanted: Inventory::of(bundle), ..Observed::default() };
        for manifest in bundle.own_objects() {
            observed.objects.insert(manifest.reference(), manifest.0.clone());
        }
        for release in &bundle.releases {
            let seen = ObservedRelease { chart_digest: Some("d".to_owned()), ..ObservedRelease::default() };
            observed.releases.insert((release.namespace.clone(), release.name.clone()), seen);
        }
        for object in &mut observed.unwanted.objects {
            let live = &observed.objects[&object.reference];
            object.uid = Some(live["metadata"]["uid"].as_str().unwrap().to_owned());
        }
        observed
    }

    fn ids(plan: &Plan) -> Vec<&str> {
        plan.steps.iter().map(|step| step.id.as_str()).collect()
    }

    #[test]
    fn what_is_left_goes_with_those_first_that_need_others() {
        let mut wanted = Bundle::default();
        wanted.namespaces.push(Manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "m"}})));
        let plan = plan(&wanted, &standing(&bundle()));
        assert_eq!(
            ids(&plan),
            [
                "Namespace m",
                "Schedule m/kill",
                "release chaos",
                "release collector",
                "release jaeger",
                "ConfigMap m/rules"
            ]
        );
        assert!(plan.steps[1..].iter().all(|step| step.reason == Reason::Prune && step.action == Action::Delete));
        assert!(plan.steps[1..].iter().all(|step| step.needs.contains(&"Namespace m".to_owned())));
        let jaeger = &plan.steps[4].needs;
        assert!(jaeger.contains(&"release collector".to_owned()) && jaeger.contains(&"Schedule m/kill".to_owned()));
        assert!(plan.steps[5].needs.contains(&"release jaeger".to_owned()));
    }

    #[test]
    fn what_is_not_ours_by_label_uid_or_digest_stays() {
        let rules = ObjectRef::namespaced("v1", "ConfigMap", "m", "rules");
        type Change = fn(&mut Observed, &ObjectRef);
        let cases: [(&str, Change, bool); 5] = [
            ("untouched", |_, _| {}, true),
            (
                "label",
                |observed, rules| observed.objects.get_mut(rules).unwrap()["metadata"]["labels"] = json!({}),
                false,
            ),
            ("uid", |observed, rules| observed.objects.get_mut(rules).unwrap()["metadata"]["uid"] = json!("9"), false),
            ("gone", |observed, rules| drop(observed.objects.remove(rules)), false),
            // Nobody read the UID before the deploy was killed: the label has to do.
            ("unread", |observed, _| observed.unwanted.objects.iter_mut().for_each(|object| object.uid = None), true),
        ];
        for (name, change, goes) in cases {
            let mut observed = standing(&bundle());
            change(&mut observed, &rules);
            let plan = plan(&Bundle::default(), &observed);
            assert_eq!(ids(&plan).contains(&"ConfigMap m/rules"), goes, "{name}");
        }
        let mut observed = standing(&bundle());
        observed.releases.values_mut().for_each(|seen| seen.chart_digest = None);
        assert_eq!(ids(&plan(&Bundle::default(), &observed)), ["Schedule m/kill", "ConfigMap m/rules"]);
    }

    #[test]
    fn another_version_of_a_kind_is_no_other_object() {
        let mut newer = Inventory::of(&bundle());
        newer.objects[0].reference.api_version = "v2".to_owned();
        assert_eq!(Inventory::of(&bundle()).without(&newer), Inventory::default());
        let mut other = Inventory::of(&bundle());
        other.objects[0].reference.api_version = "example.org/v1".to_owned();
        assert_eq!(Inventory::of(&bundle()).without(&other).objects.len(), 1);
        assert_eq!(Inventory::of(&bundle()).and(other).objects.len(), 3);
    }
}
