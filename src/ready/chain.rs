//! From a workload down to what really holds it up: its pods, their claims, their events.

use super::snapshot::{is_owned_by, last_written};
use super::{
    Class, Ready, Snapshot, admission, api_service, certificate, class_of, daemon_set, deployment, ingress, job,
    operator_made, persistent_volume_claim, pod, stateful_set, webhook,
};
use crate::event::Cause;
use crate::object::{Manifest, ObjectRef};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Whether objects of this kind are waited for by what a [`Snapshot`] holds of every namespace.
pub fn is_workload(kind: &str) -> bool {
    matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "PersistentVolumeClaim")
}

/// Whether the object that `reference` names is waited for although it is no workload itself.
pub fn is_further(reference: &ObjectRef) -> bool {
    let group = reference.api_version.split('/').next().unwrap_or_default();
    matches!(
        (group, reference.kind.as_str()),
        ("monitoring.coreos.com", "Prometheus" | "Alertmanager")
            | ("cert-manager.io", "Certificate")
            | ("networking.k8s.io", "Ingress")
            | ("apiregistration.k8s.io", "APIService")
            | ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration")
    )
}

/// Whether objects of this kind lead requests to Services, of which the verdict on them depends.
pub fn leads_to_services(reference: &ObjectRef) -> bool {
    matches!(reference.kind.as_str(), "Ingress" | "APIService")
}

/// The Services, as `(namespace, name)`, whose endpoints the verdict on `object` asks for.
pub fn services_behind(reference: &ObjectRef, object: &serde_json::Value) -> Vec<(String, String)> {
    match (reference.kind.as_str(), reference.namespace.as_deref()) {
        ("Ingress", Some(namespace)) => ingress::services(namespace, object),
        (_, None) => webhook::services(object),
        _ => Vec::new(),
    }
}

/// Whether `manifest` is waited for once it is applied. A webhook without a certificate gets it from
/// somebody later, so waiting for it then would be waiting for oneself.
pub fn is_awaited(manifest: &Manifest) -> bool {
    let reference = manifest.reference();
    let is_webhook = reference.kind.ends_with("WebhookConfiguration");
    is_workload(&reference.kind) || (is_further(&reference) && (!is_webhook || webhook::has_authority(&manifest.0)))
}

/// The verdict on one workload: its own where it is ready, else the worst cause found below it.
/// Kinds that are never waited for are ready.
pub fn judge_workload(workload: &ObjectRef, snapshot: &Snapshot) -> Ready {
    fn named<'a, T>(items: &'a [T], meta: fn(&T) -> &ObjectMeta, workload: &ObjectRef) -> Option<&'a T> {
        items.iter().find(|item| meta(item).name.as_deref() == Some(&workload.name))
    }
    let missing = || Ready::waiting(workload.clone(), "Pending", "it is not made yet");
    match workload.kind.as_str() {
        "Deployment" => {
            let Some(found) = named(&snapshot.deployments, |item| &item.metadata, workload) else { return missing() };
            let sets: Vec<&ObjectMeta> = snapshot.newest_replica_sets(found).map(|set| &set.metadata).collect();
            // A refused pod stands in the Deployment's own condition.
            worst(deployment::judge(found), None, &sets, workload, snapshot)
        }
        "StatefulSet" => named(&snapshot.stateful_sets, |item| &item.metadata, workload)
            .map_or_else(missing, |found| {
                worst(stateful_set::judge(found), Some(&found.metadata), &[&found.metadata], workload, snapshot)
            }),
        "DaemonSet" => named(&snapshot.daemon_sets, |item| &item.metadata, workload).map_or_else(missing, |found| {
            worst(daemon_set::judge(found), Some(&found.metadata), &[&found.metadata], workload, snapshot)
        }),
        "Job" => named(&snapshot.jobs, |item| &item.metadata, workload).map_or_else(missing, |found| {
            worst(job::judge(found), Some(&found.metadata), &[&found.metadata], workload, snapshot)
        }),
        "PersistentVolumeClaim" => {
            let Some(found) = named(&snapshot.claims, |item| &item.metadata, workload) else { return missing() };
            // A claim that waits for its pod is held up by nothing, and the pod says when the claim holds it up.
            let verdict = persistent_volume_claim::judge(found, snapshot);
            let is_held_up = verdict.cause().is_some_and(|cause| class_of(cause) > Class::Transitional);
            if is_held_up { verdict } else { Ready::Ready }
        }
        _ if is_further(workload) => match snapshot.others.get(workload) {
            Some(found) => judge_further(workload, found, snapshot),
            None => missing(),
        },
        _ => Ready::Ready,
    }
}

fn judge_further(reference: &ObjectRef, found: &serde_json::Value, snapshot: &Snapshot) -> Ready {
    match reference.kind.as_str() {
        "Certificate" => certificate::judge(reference, found),
        "Ingress" => ingress::judge(reference, found, &snapshot.endpoints),
        "APIService" => api_service::judge(reference, found),
        "Prometheus" | "Alertmanager" => {
            let mut worst = match operator_made::judge(reference, found) {
                Ready::Ready => return Ready::Ready,
                Ready::Waiting(cause) | Ready::Failed(cause) => cause,
            };
            // helm knows nothing of these; what holds them up says most.
            let uid = found.pointer("/metadata/uid").and_then(serde_json::Value::as_str).unwrap_or_default();
            for set in snapshot.stateful_sets.iter().filter(|set| is_owned_by(&set.metadata, uid)) {
                let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
                let name = set.metadata.name.as_deref().unwrap_or_default();
                let below = judge_workload(&ObjectRef::namespaced("apps/v1", "StatefulSet", namespace, name), snapshot);
                if let Some(cause) = below.cause()
                    && (class_of(cause) > class_of(&worst)
                        || (class_of(cause) == class_of(&worst) && worst.object == *reference))
                {
                    worst = cause.clone();
                }
            }
            if worst.permanent { Ready::Failed(worst) } else { Ready::Waiting(worst) }
        }
        _ => webhook::judge(reference, found, &snapshot.endpoints),
    }
}

/// The worst of the workload's own verdict, the refusals to make its pods (`refused`), and its
/// pods' verdicts (those of the controllers `owners`).
fn worst(
    own: Ready,
    refused: Option<&ObjectMeta>,
    owners: &[&ObjectMeta],
    workload: &ObjectRef,
    snapshot: &Snapshot,
) -> Ready {
    let own = match own {
        Ready::Ready => return Ready::Ready,
        Ready::Waiting(cause) | Ready::Failed(cause) => cause,
    };
    let refusal = refused.and_then(|meta| refusal(meta, workload, snapshot));
    let mut pods: Vec<&Pod> =
        owners.iter().filter_map(|owner| owner.uid.as_deref()).flat_map(|uid| snapshot.pods_of(uid)).collect();
    pods.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    let below = pods.into_iter().filter_map(|pod| pod::judge(pod, snapshot).cause().cloned());
    // The deepest cause says most, so of equals it wins over the workload's own.
    let mut worst = own;
    for cause in refusal.into_iter().chain(below) {
        let (new, old) = (class_of(&cause), class_of(&worst));
        if new > old || (new == old && worst.object == *workload && new != Class::Permanent) {
            worst = cause;
        }
    }
    if worst.permanent { Ready::Failed(worst) } else { Ready::Waiting(worst) }
}

/// Why no pod can be made for the controller, from its newest `FailedCreate` warning that came
/// after the last change of its specification.
fn refusal(meta: &ObjectMeta, workload: &ObjectRef, snapshot: &Snapshot) -> Option<Cause> {
    let written = last_written(meta);
    let warnings = snapshot.warnings_of(meta.uid.as_deref(), workload);
    let warning = warnings.into_iter().rev().find(|warning| warning.reason == "FailedCreate")?;
    if warning.last.as_ref() < written {
        return None;
    }
    // A pod of this controller that exists was let in since.
    let uid = meta.uid.as_deref()?;
    if snapshot.pods_of(uid).any(|pod| pod.metadata.creation_timestamp.as_ref() >= warning.last.as_ref()) {
        return None;
    }
    Some(Cause {
        object: workload.clone(),
        reason: warning.reason.clone(),
        message: admission::shortened(&warning.message).to_owned(),
        permanent: admission::is_permanent(&warning.message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn stateful_set(ready: i32) -> Snapshot {
        Snapshot {
            stateful_sets: vec![
                serde_json::from_value(json!({
                    "metadata": {"name": "a", "namespace": "m", "uid": "set", "generation": 1,
                        "creationTimestamp": "2026-01-01T00:00:10Z"},
                    "spec": {"replicas": 1, "selector": {}, "serviceName": "a", "template": {}},
                    "status": {"replicas": ready, "observedGeneration": 1, "readyReplicas": ready,
                        "currentRevision": "1", "updateRevision": "1"},
                }))
                .unwrap(),
            ],
            ..Snapshot::default()
        }
    }

    fn pod(owner: &str, name: &str, reason: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "m", "uid": name, "creationTimestamp": "2026-01-01T00:00:11Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "X", "name": "x", "uid": owner, "controller": true}]},
            "spec": {"containers": [], "nodeName": "n"},
            "status": {"phase": "Pending", "containerStatuses": [{"name": "main", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"waiting": {"reason": reason}}}]},
        }))
        .unwrap()
    }

    fn failed_create(at: &str, message: &str) -> Value {
        json!({"metadata": {}, "type": "Warning", "reason": "FailedCreate", "message": message, "lastTimestamp": at,
            "involvedObject": {"kind": "StatefulSet", "namespace": "m", "name": "a", "uid": "set"}})
    }

    fn set() -> ObjectRef {
        ObjectRef::namespaced("apps/v1", "StatefulSet", "m", "a")
    }

    fn found(verdict: &Ready) -> (String, String, bool) {
        let cause = verdict.cause().unwrap();
        (cause.object.to_string(), cause.reason.clone(), cause.permanent)
    }

    #[test]
    fn a_ready_workload_is_ready_whatever_its_pods_say() {
        let mut snapshot = stateful_set(1);
        snapshot.pods = vec![pod("set", "a-0", "ImagePullBackOff")];
        assert_eq!(judge_workload(&set(), &snapshot), Ready::Ready);
    }

    #[test]
    fn the_pod_is_named_and_the_worst_wins() {
        let mut snapshot = stateful_set(0);
        assert_eq!(found(&judge_workload(&set(), &snapshot)), ("StatefulSet m/a".into(), "Progressing".into(), false));
        snapshot.pods = vec![pod("set", "a-0", "ContainerCreating"), pod("other", "z", "InvalidImageName")];
        assert_eq!(found(&judge_workload(&set(), &snapshot)), ("Pod m/a-0".into(), "ContainerCreating".into(), false));
        snapshot.pods.push(pod("set", "a-1", "ImagePullBackOff"));
        assert_eq!(found(&judge_workload(&set(), &snapshot)), ("Pod m/a-1".into(), "ImagePullBackOff".into(), false));
        snapshot.pods.push(pod("set", "a-2", "InvalidImageName"));
        assert_eq!(found(&judge_workload(&set(), &snapshot)), ("Pod m/a-2".into(), "InvalidImageName".into(), true));
    }

    #[test]
    fn a_refused_pod_counts_only_while_it_is_news() {
        let security = "create Pod a-0 in StatefulSet a failed error: pods \"a-0\" is forbidden: violates PodSecurity \"restricted\"";
        let with = |at: &str| {
            stateful_set(0).with_events(serde_json::from_value(json!([failed_create(at, security)])).unwrap())
        };
        let fresh = judge_workload(&set(), &with("2026-01-01T00:00:10Z"));
        assert_eq!(found(&fresh), ("StatefulSet m/a".into(), "FailedCreate".into(), true));
        assert!(fresh.cause().unwrap().message.starts_with("violates PodSecurity"));
        let stale = judge_workload(&set(), &with("2026-01-01T00:00:09Z"));
        assert_eq!(found(&stale).1, "Progressing");
        let mut let_in = with("2026-01-01T00:00:10Z");
        let_in.pods = vec![pod("set", "a-0", "ContainerCreating")];
        assert_eq!(found(&judge_workload(&set(), &let_in)).1, "ContainerCreating");
    }

    #[test]
    fn only_pods_of_the_newest_replica_set_count() {
        let deployment = json!({
            "metadata": {"name": "a", "namespace": "m", "uid": "dep", "generation": 1,
                "annotations": {"deployment.kubernetes.io/revision": "2"}},
            "spec": {"replicas": 1, "selector": {}, "template": {}},
            "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1}});
        let set = |uid: &str, revision: &str| {
            serde_json::from_value(json!({"metadata": {"name": uid, "namespace": "m", "uid": uid,
                "annotations": {"deployment.kubernetes.io/revision": revision},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "a", "uid": "dep", "controller": true}]},
                "spec": {"selector": {}}}))
            .unwrap()
        };
        let snapshot = Snapshot {
            deployments: vec![serde_json::from_value(deployment).unwrap()],
            replica_sets: vec![set("old", "1"), set("new", "2")],
            pods: vec![pod("old", "a-old", "InvalidImageName"), pod("new", "a-new", "ContainerCreating")],
            ..Snapshot::default()
        };
        let workload = ObjectRef::namespaced("apps/v1", "Deployment", "m", "a");
        assert_eq!(
            found(&judge_workload(&workload, &snapshot)),
            ("Pod m/a-new".into(), "ContainerCreating".into(), false)
        );
    }

    #[test]
    fn what_is_not_there_is_waited_for_and_other_kinds_are_not() {
        let snapshot = Snapshot::default();
        assert_eq!(found(&judge_workload(&set(), &snapshot)).1, "Pending");
        let service = ObjectRef::namespaced("v1", "Service", "m", "a");
        assert_eq!(judge_workload(&service, &snapshot), Ready::Ready);
        assert!(is_workload("Job") && !is_workload("Service"));
    }

    #[test]
    fn a_claim_is_waited_for_only_where_it_is_held_up() {
        let claim = ObjectRef::namespaced("v1", "PersistentVolumeClaim", "m", "data");
        let snapshot = |class: &str| Snapshot {
            claims: vec![
                serde_json::from_value(json!({"metadata": {"name": "data", "namespace": "m"},
                    "spec": {"storageClassName": class}, "status": {"phase": "Pending"}}))
                .unwrap(),
            ],
            storage_classes: Some(vec![crate::ready::snapshot::StorageClassSeen {
                name: "fast".into(),
                default: false,
            }]),
            ..Snapshot::default()
        };
        assert_eq!(judge_workload(&claim, &snapshot("fast")), Ready::Ready, "it waits for its pod");
        assert_eq!(found(&judge_workload(&claim, &snapshot("other"))).1, "StorageClassNotFound");
        assert_eq!(found(&judge_workload(&claim, &Snapshot::default())).1, "Pending");
    }

    #[test]
    fn an_ingress_and_an_api_service_are_judged_by_what_is_behind_them() {
        let ingress = ObjectRef::namespaced("networking.k8s.io/v1", "Ingress", "m", "a");
        let backend = json!({"spec": {"defaultBackend": {"service": {"name": "s"}}}});
        let mut snapshot = Snapshot::default();
        assert_eq!(found(&judge_workload(&ingress, &snapshot)).1, "Pending");
        assert_eq!(services_behind(&ingress, &backend), [("m".to_owned(), "s".to_owned())]);
        snapshot.others.insert(ingress.clone(), backend);
        snapshot.endpoints.insert(("m".to_owned(), "s".to_owned()), 0);
        assert_eq!(found(&judge_workload(&ingress, &snapshot)).1, "Progressing");
        snapshot.endpoints.insert(("m".to_owned(), "s".to_owned()), 1);
        assert_eq!(judge_workload(&ingress, &snapshot), Ready::Ready);
        let api = ObjectRef::cluster_scoped("apiregistration.k8s.io/v1", "APIService", "v1.a");
        snapshot.others.insert(api.clone(), json!({}));
        assert_eq!(found(&judge_workload(&api, &snapshot)).1, "Progressing");
    }

    #[test]
    fn the_pods_of_what_an_operator_makes_are_found_behind_its_object() {
        let prometheus = ObjectRef::namespaced("monitoring.coreos.com/v1", "Prometheus", "m", "p");
        let object = |status: &str| {
            let condition = |kind: &str| json!({"type": kind, "status": status, "observedGeneration": 1});
            json!({"metadata": {"name": "p", "namespace": "m", "uid": "cr", "generation": 1},
                "status": {"conditions": [condition("Reconciled"), condition("Available")]}})
        };
        let mut snapshot = stateful_set(0);
        snapshot.stateful_sets[0].metadata.owner_references = Some(vec![
            serde_json::from_value(json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "name": "p",
                "uid": "cr", "controller": true}))
            .unwrap(),
        ]);
        snapshot.pods = vec![pod("set", "a-0", "ImagePullBackOff")];
        assert_eq!(found(&judge_workload(&prometheus, &snapshot)).1, "Pending");
        snapshot.others.insert(prometheus.clone(), object("False"));
        assert_eq!(found(&judge_workload(&prometheus, &snapshot)).0, "Pod m/a-0");
        snapshot.others.insert(prometheus.clone(), object("True"));
        assert_eq!(judge_workload(&prometheus, &snapshot), Ready::Ready);
        let other = ObjectRef::namespaced("example.com/v1", "Prometheus", "m", "p");
        assert_eq!(judge_workload(&other, &snapshot), Ready::Ready, "a kind of somebody else's");
    }

    #[test]
    fn a_webhook_that_gets_its_certificate_later_is_not_waited_for() {
        let manifest = |bundle: &str| {
            Manifest(json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "a"}, "webhooks": [{"clientConfig": {"caBundle": bundle}}]}))
        };
        assert!(is_awaited(&manifest("Y2E=")));
        assert!(!is_awaited(&manifest("")));
    }
}
