//! What a sandbox's cluster holds from the start: a node, a storage class, ingress classes and volumes to bind.

use anyhow::{Result, anyhow};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, ServiceAccount};
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Name of the only node.
pub const NODE: &str = "sandbox-0";
/// Its address, a fiction: endpoints on loopback are refused. KWOK writes it into the node's status.
pub const NODE_ADDRESS: &str = "10.99.0.1";
/// Name of the storage class, which is also the cluster's default.
pub const STORAGE_CLASS: &str = "fast-ssd";
/// The ingress classes: their objects are judged, and nothing serves them.
const INGRESS_CLASSES: [&str; 2] = ["nginx", "nginx-internal"];
/// How many volumes there are at first.
const VOLUMES: usize = 20;
/// With fewer that are free, another one is made.
const SPARE: usize = 5;

const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long one question to the API server may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// Makes the node, the storage class, the ingress classes and the volumes. What exists already stays as it is.
///
/// # Errors
/// When the API server refuses one.
pub(super) async fn create(client: &Client, kubelet_version: &str) -> Result<()> {
    create_one::<Node>(client, node(kubelet_version)).await?;
    create_one::<StorageClass>(client, storage_class()).await?;
    for class in INGRESS_CLASSES {
        create_one::<IngressClass>(client, ingress_class(class)).await?;
    }
    for index in 0..VOLUMES {
        create_one::<PersistentVolume>(client, volume(index)).await?;
    }
    Ok(())
}

async fn create_one<K>(client: &Client, object: Value) -> Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let object: K = serde_json::from_value(object)?;
    match Api::<K>::all(client.clone()).create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => {
            let name = object.meta().name.as_deref().unwrap_or_default();
            Err(anyhow!("cannot make the {} `{name}`: {}", K::kind(&()), plain(&error)))
        }
    }
}

fn node(kubelet_version: &str) -> Value {
    let amounts = json!({"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "500"});
    json!({
        "metadata": {
            "name": NODE,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": NODE,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "sandbox",
                "topology.kubernetes.io/zone": "sandbox",
            },
        },
        "status": {
            "allocatable": amounts,
            "capacity": amounts,
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "none://",
                "kernelVersion": "none",
                "kubeProxyVersion": "",
                "kubeletVersion": kubelet_version,
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "sandbox",
                "systemUUID": "",
            },
        },
    })
}

fn ingress_class(name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": { "name": name },
        "spec": { "controller": "drivemaster-mon/none" },
    })
}

fn storage_class() -> Value {
    json!({
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "drivemaster-mon/sandbox",
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

fn volume_name(index: usize) -> String {
    format!("sandbox-{index:02}")
}

fn volume(index: usize) -> Value {
    let name = volume_name(index);
    json!({
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"],
            "capacity": {"storage": "1Ti"},
            // Nothing is ever mounted.
            "hostPath": {"path": format!("/nonexistent/{name}")},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
        },
    })
}

/// Whether the node takes pods.
pub(super) fn judge_node(node: &Node) -> Result<(), String> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    match ready {
        Some(condition) if condition.status == "True" => {}
        Some(condition) => return Err(format!("its condition Ready is {}", condition.status)),
        None => return Err("KWOK has not written its status".to_owned()),
    }
    // The API server taints every new node; the node-lifecycle controller takes that off.
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    match taints.iter().find(|taint| taint.effect != "PreferNoSchedule") {
        Some(taint) => Err(format!("it has the taint {}", taint.key)),
        None => Ok(()),
    }
}

/// Waits until the node takes pods.
///
/// # Errors
/// After `deadline`, with the reason last seen.
pub(super) async fn wait_for_node(client: &Client, deadline: Instant) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    until(&format!("the node `{NODE}` is not ready"), deadline, async || {
        judge_node(&nodes.get(NODE).await.map_err(|error| plain(&error))?)
    })
    .await
}

/// Waits until pods can be created: each needs the service account of its namespace.
///
/// # Errors
/// After `deadline`, with the reason last seen.
pub(super) async fn wait_for_service_account(client: &Client, deadline: Instant) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    until("the service account `default` is missing", deadline, async || {
        accounts.get("default").await.map(|_| ()).map_err(|error| plain(&error))
    })
    .await
}

/// Asks `probe` again and again until it gives a value.
///
/// # Errors
/// After `deadline`: `what`, and the reason that `probe` gave last.
pub(super) async fn until<T, F>(what: &str, deadline: Instant, mut probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, String>>,
{
    let mut reason = "it was never asked".to_owned();
    while Instant::now() < deadline {
        match tokio::time::timeout(PROBE_DEADLINE, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(problem)) => reason = problem,
            Err(_) => reason = format!("no answer within {} s", PROBE_DEADLINE.as_secs()),
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Err(anyhow!("{what}: {reason}"))
}

/// Makes volumes free again when their claim is gone, and more of them when they run out, for as long as it runs. A
/// real cluster has a provisioner for that.
pub(super) async fn provide_volumes(client: Client) {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let mut changes = watcher(volumes.clone(), watcher::Config::default()).default_backoff().boxed();
    let mut known = BTreeMap::new();
    let mut is_complete = false;
    loop {
        match changes.try_next().await {
            Ok(Some(Event::Init)) => (known, is_complete) = (BTreeMap::new(), false),
            Ok(Some(Event::InitDone)) => is_complete = true,
            Ok(Some(Event::Delete(volume))) => drop(known.remove(&volume.name_any())),
            Ok(Some(Event::InitApply(volume) | Event::Apply(volume))) => {
                let name = volume.name_any();
                if is_released(&volume) {
                    let patch = json!({"spec": {"claimRef": null}});
                    if let Err(error) = volumes.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                        super::supervisor::log(&format!("cannot free the volume `{name}`: {}", plain(&error)));
                    }
                }
                known.insert(name, is_free(&volume));
            }
            // The watcher lists and watches again by itself.
            Err(_) => {}
            Ok(None) => return,
        }
        if let Some(next) = is_complete.then(|| needed(&known)).flatten()
            && let Err(error) = create_one::<PersistentVolume>(&client, volume(next)).await
        {
            super::supervisor::log(&format!("cannot make another volume: {error:#}"));
        }
    }
}

/// The number of the volume to make next, where few of those that are `known`, free or not, are free.
fn needed(known: &BTreeMap<String, bool>) -> Option<usize> {
    let free = known.values().filter(|is_free| **is_free).count();
    (free < SPARE).then(|| (0..).find(|index| !known.contains_key(&volume_name(*index)))).flatten()
}

fn is_free(volume: &PersistentVolume) -> bool {
    is_of_our_class(volume) && volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none())
}

fn is_of_our_class(volume: &PersistentVolume) -> bool {
    volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()) == Some(STORAGE_CLASS)
}

fn is_released(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Released") && is_of_our_class(volume)
}

/// What an error of the API says to people: the server's message, or the innermost cause.
pub(super) fn plain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_node_takes_pods_when_it_is_ready_and_no_taint_keeps_them_away() {
        let node = |status: &str, effect: Option<&str>| -> Node {
            let taints: Vec<Value> = effect.map(|effect| json!({"key": "k", "effect": effect})).into_iter().collect();
            let conditions = json!([{"type": "Ready", "status": status}]);
            serde_json::from_value(json!({"spec": {"taints": taints}, "status": {"conditions": conditions}})).unwrap()
        };
        for (node, verdict) in [
            (node("True", None), Ok(())),
            (node("True", Some("PreferNoSchedule")), Ok(())),
            (node("True", Some("NoSchedule")), Err("it has the taint k")),
            (node("Unknown", None), Err("its condition Ready is Unknown")),
            (Node::default(), Err("KWOK has not written its status")),
        ] {
            assert_eq!(judge_node(&node), verdict.map_err(str::to_owned));
        }
    }

    #[test]
    fn only_released_volumes_of_our_class_are_freed() {
        let volume = |class: &str, phase: &str| -> PersistentVolume {
            serde_json::from_value(json!({"spec": {"storageClassName": class}, "status": {"phase": phase}})).unwrap()
        };
        assert!(is_released(&volume(STORAGE_CLASS, "Released")));
        assert!(!is_released(&volume(STORAGE_CLASS, "Bound")));
        assert!(!is_released(&volume("other", "Released")));
        assert!(is_free(&volume(STORAGE_CLASS, "Available")) && !is_free(&volume("other", "Available")));
        let mut bound = volume(STORAGE_CLASS, "Available");
        bound.spec.get_or_insert_default().claim_ref = Some(Default::default());
        assert!(!is_free(&bound));
    }

    #[test]
    fn another_volume_is_made_when_few_are_free() {
        let known = |free: usize, bound: usize| -> BTreeMap<String, bool> {
            (0..free + bound).map(|index| (volume_name(index), index < free)).collect()
        };
        assert_eq!(needed(&known(SPARE, 15)), None);
        assert_eq!(needed(&known(SPARE - 1, 16)), Some(20));
        let mut gap = known(SPARE - 1, 16);
        gap.remove("sandbox-07");
        assert_eq!(needed(&gap), Some(7));
        let mut of_another = known(SPARE, 0);
        of_another.insert("of-another".to_owned(), false);
        assert_eq!(needed(&of_another), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_ends_tells_the_reason_last_seen() {
        let mut count = 0;
        let deadline = Instant::now() + Duration::from_secs(1);
        let error = until("it is not up", deadline, || {
            count += 1;
            let reason = format!("refused {}", count.min(3));
            async move { Err::<(), _>(reason) }
        })
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "it is not up: refused 3");
    }
}
