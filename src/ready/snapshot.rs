//! What one namespace held at one moment: everything the verdicts are made from.

use crate::object::ObjectRef;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::Value;
use std::collections::BTreeMap;

/// A StorageClass, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageClassSeen {
    /// Name.
    pub name: String,
    /// Whether claims without a class get this one.
    pub default: bool,
}

/// A warning about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// Reason, such as `FailedScheduling`.
    pub reason: String,
    /// Message.
    pub message: String,
    /// When it was last seen, by the clock of whoever reported it.
    pub last: Option<Time>,
    about: ObjectRef,
    uid: Option<String>,
}

/// What one namespace holds.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Deployments.
    pub deployments: Vec<Deployment>,
    /// ReplicaSets.
    pub replica_sets: Vec<ReplicaSet>,
    /// StatefulSets.
    pub stateful_sets: Vec<StatefulSet>,
    /// DaemonSets.
    pub daemon_sets: Vec<DaemonSet>,
    /// Jobs.
    pub jobs: Vec<Job>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// Claims.
    pub claims: Vec<PersistentVolumeClaim>,
    /// The cluster's StorageClasses; `None` where they may not be read.
    pub storage_classes: Option<Vec<StorageClassSeen>>,
    /// Warnings, oldest first, as [`Snapshot::with_events`] sets them.
    pub warnings: Vec<Warning>,
    /// Objects of further kinds that somebody asked for.
    pub others: BTreeMap<ObjectRef, Value>,
    /// How many ready endpoints each Service has, by namespace and name, as far as somebody asked.
    pub endpoints: BTreeMap<(String, String), usize>,
}

impl Snapshot {
    /// The same snapshot with the warnings among `events`, oldest first.
    #[must_use]
    pub fn with_events(mut self, events: Vec<Event>) -> Self {
        self.warnings = events.into_iter().filter_map(warning).collect();
        self.warnings.sort_by(|one, other| one.last.cmp(&other.last));
        self
    }

    /// Whether the StorageClass exists; `None` when that is not known.
    pub fn has_storage_class(&self, name: &str) -> Option<bool> {
        self.storage_classes.as_ref().map(|classes| classes.iter().any(|class| class.name == name))
    }

    /// Whether some StorageClass is the default; `None` when that is not known.
    pub fn has_default_storage_class(&self) -> Option<bool> {
        self.storage_classes.as_ref().map(|classes| classes.iter().any(|class| class.default))
    }

    /// The warnings about an object, oldest first: by UID, so that those about an earlier object of
    /// the same name do not count; by name only where one of the two has no UID.
    pub fn warnings_of(&self, uid: Option<&str>, object: &ObjectRef) -> Vec<&Warning> {
        self.warnings
            .iter()
            .filter(|warning| match (uid, warning.uid.as_deref()) {
                (Some(uid), Some(about)) => uid == about,
                _ => {
                    warning.about.kind == object.kind
                        && warning.about.name == object.name
                        && warning.about.namespace == object.namespace
                }
            })
            .collect()
    }

    /// The last `count` warnings about `object` as lines for people, newest first.
    pub fn last_warnings(&self, object: &ObjectRef, count: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for warning in self.warnings_of(None, object).into_iter().rev() {
            let line = format!("event on {}: {}: {}", warning.about, warning.reason, warning.message);
            if lines.len() < count && !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    /// The pods whose controller has the UID `owner`.
    pub fn pods_of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().filter(move |pod| is_owned_by(&pod.metadata, owner))
    }

    /// The ReplicaSets of the newest revision of `deployment`.
    pub fn newest_replica_sets<'a>(&'a self, deployment: &'a Deployment) -> impl Iterator<Item = &'a ReplicaSet> {
        const REVISION: &str = "deployment.kubernetes.io/revision";
        let revision = annotation(&deployment.metadata, REVISION);
        let owner = deployment.metadata.uid.as_deref().unwrap_or_default();
        self.replica_sets.iter().filter(move |set| {
            is_owned_by(&set.metadata, owner) && (revision.is_none() || annotation(&set.metadata, REVISION) == revision)
        })
    }
}

/// When somebody last wrote more than the status of the object, by the server's clock.
pub fn last_written(meta: &ObjectMeta) -> Option<&Time> {
    let writes =
        meta.managed_fields.iter().flatten().filter(|entry| entry.subresource.as_deref().unwrap_or("").is_empty());
    writes.filter_map(|entry| entry.time.as_ref()).max().or(meta.creation_timestamp.as_ref())
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    meta.annotations.as_ref()?.get(key)
}

pub(super) fn is_owned_by(meta: &ObjectMeta, owner: &str) -> bool {
    meta.owner_references.iter().flatten().any(|reference| reference.controller == Some(true) && reference.uid == owner)
}

fn warning(event: Event) -> Option<Warning> {
    if event.type_.as_deref() != Some("Warning") {
        return None;
    }
    let about = event.involved_object;
    let series = event.series.and_then(|series| series.last_observed_time);
    let last = event
        .last_timestamp
        .or_else(|| series.or(event.event_time).map(|time| Time(time.0)))
        .or(event.metadata.creation_timestamp);
    Some(Warning {
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default().trim().to_owned(),
        last,
        about: ObjectRef {
            api_version: about.api_version.unwrap_or_default(),
            kind: about.kind.unwrap_or_default(),
            namespace: about.namespace,
            name: about.name.unwrap_or_default(),
        },
        uid: about.uid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn events() -> Vec<Event> {
        let event = |uid: &str, reason: &str, kind: &str, at: &str| {
            json!({"metadata": {}, "type": kind, "reason": reason, "message": format!("{reason} message\n"),
                "involvedObject": {"kind": "Pod", "namespace": "m", "name": "a-0", "uid": uid},
                "lastTimestamp": at})
        };
        serde_json::from_value(json!([
            event("new", "FailedMount", "Warning", "2026-01-01T00:00:02Z"),
            event("new", "FailedScheduling", "Warning", "2026-01-01T00:00:01Z"),
            event("old", "BackOff", "Warning", "2026-01-01T00:00:03Z"),
            event("new", "Scheduled", "Normal", "2026-01-01T00:00:04Z"),
        ]))
        .unwrap()
    }

    #[test]
    fn only_warnings_about_the_object_itself_count_oldest_first() {
        let snapshot = Snapshot::default().with_events(events());
        let pod = ObjectRef::namespaced("v1", "Pod", "m", "a-0");
        let reasons =
            |uid| snapshot.warnings_of(uid, &pod).iter().map(|found| found.reason.clone()).collect::<Vec<_>>();
        assert_eq!(reasons(Some("new")), ["FailedScheduling", "FailedMount"]);
        assert_eq!(reasons(None).len(), 3);
        assert_eq!(snapshot.last_warnings(&pod, 2)[0], "event on Pod m/a-0: BackOff: BackOff message");
    }

    #[test]
    fn a_status_update_is_no_write_of_the_specification() {
        let meta: ObjectMeta = serde_json::from_value(json!({"managedFields": [
            {"manager": "helm", "time": "2026-01-01T00:00:01Z"},
            {"manager": "kube-controller-manager", "subresource": "status", "time": "2026-01-01T00:00:09Z"},
        ]}))
        .unwrap();
        assert_eq!(last_written(&meta).unwrap().0.to_string(), "2026-01-01T00:00:01Z");
    }
}
