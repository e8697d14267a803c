use super::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn cluster() -> Cluster {
    let conditions = json!([{ "type": "Ready", "status": "True" }, { "type": "PodScheduled", "status": "True" }]);
    let pod = |name: &str, service: &str, state: Value| {
        json!({
            "metadata": { "namespace": "drivemaster", "name": name, "uid": "u-1", "labels": { "app": service },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "r", "controller": true }] },
            "spec": { "nodeName": "sandbox-0", "containers": [{ "name": "main", "image": "r/x:1",
                "resources": { "requests": { "cpu": "100m", "memory": "256Mi" }, "limits": { "memory": "512Mi" } } }] },
            "status": { "phase": "Running", "podIP": "10.244.0.3", "conditions": conditions,
                "containerStatuses": [{ "name": "main", "image": "r/x:1", "imageID": "", "ready": true, "restartCount": 2,
                    "state": state }] },
        })
    };
    Cluster {
        nodes: vec![read(json!({
            "metadata": { "name": "sandbox-0" },
            "status": { "allocatable": { "cpu": "64", "memory": "1Ki" },
                "conditions": [{ "type": "Ready", "status": "True" }],
                "addresses": [{ "type": "InternalIP", "address": "10.99.0.1" }] },
        }))],
        pods: vec![
            read(pod("up-0", "up", json!({ "running": {} }))),
            read(pod("down-0", "down", json!({ "waiting": { "reason": "CrashLoopBackOff" } }))),
        ],
        deployments: ["up", "down"]
            .map(|name| {
                read(json!({
                    "metadata": { "namespace": "drivemaster", "name": name, "generation": 3 },
                    "spec": { "replicas": 2, "selector": {}, "template": {} },
                    "status": { "observedGeneration": 3, "replicas": 2, "availableReplicas": 2, "readyReplicas": 2 },
                }))
            })
            .to_vec(),
        stateful_sets: vec![read(json!({
            "metadata": { "namespace": "m", "name": "s", "generation": 1 },
            "spec": { "replicas": 1, "selector": {}, "template": {} },
            "status": { "replicas": 1, "currentRevision": "a", "updateRevision": "b" },
        }))],
        claims: vec![read(json!({
            "metadata": { "namespace": "m", "name": "c" },
            "spec": { "storageClassName": "fast-ssd", "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "1Gi" } } },
            "status": { "phase": "Bound" },
        }))],
        down: [("drivemaster".to_owned(), "down-0".to_owned())].into(),
        ..Cluster::default()
    }
}

#[test]
fn the_page_tells_the_state_of_the_objects() {
    let page = page(&cluster());
    for line in [
        "kube_pod_owner{namespace=\"drivemaster\",pod=\"up-0\",uid=\"u-1\",owner_kind=\"ReplicaSet\",owner_name=\"rs\",owner_is_controller=\"true\"} 1",
        "kube_pod_status_phase{namespace=\"drivemaster\",pod=\"up-0\",uid=\"u-1\",phase=\"Running\"} 1",
        "kube_pod_status_phase{namespace=\"drivemaster\",pod=\"up-0\",uid=\"u-1\",phase=\"Pending\"} 0",
        "kube_pod_status_ready{namespace=\"drivemaster\",pod=\"up-0\",uid=\"u-1\",condition=\"true\"} 1",
        "kube_pod_container_status_restarts_total{namespace=\"drivemaster\",pod=\"up-0\",uid=\"u-1\",container=\"main\"} 2",
        "kube_pod_container_resource_requests{namespace=\"drivemaster\",pod=\"up-0\",uid=\"u-1\",container=\"main\",node=\"sandbox-0\",resource=\"cpu\",unit=\"core\"} 0.1",
        "kube_pod_container_status_waiting_reason{namespace=\"drivemaster\",pod=\"down-0\",uid=\"u-1\",container=\"main\",reason=\"CrashLoopBackOff\"} 1",
        "kube_deployment_status_replicas_available{namespace=\"drivemaster\",deployment=\"up\"} 2",
        "kube_statefulset_status_update_revision{namespace=\"m\",statefulset=\"s\",revision=\"b\"} 1",
        "kube_node_status_allocatable{node=\"sandbox-0\",resource=\"memory\",unit=\"byte\"} 1024",
        "kube_node_status_condition{node=\"sandbox-0\",condition=\"Ready\",status=\"true\"} 1",
        "kube_persistentvolumeclaim_status_phase{namespace=\"m\",persistentvolumeclaim=\"c\",phase=\"Bound\"} 1",
        "kube_persistentvolumeclaim_resource_requests_storage_bytes{namespace=\"m\",persistentvolumeclaim=\"c\"} 1073741824",
        "# TYPE kube_pod_container_status_restarts_total counter",
    ] {
        assert!(page.lines().any(|known| known == line), "{line}\n{page}");
    }
}

#[test]
fn pods_of_a_service_that_is_down_are_not_ready_whatever_their_status_says() {
    let page = page(&cluster());
    for line in [
        "kube_pod_status_ready{namespace=\"drivemaster\",pod=\"down-0\",uid=\"u-1\",condition=\"false\"} 1",
        "kube_pod_status_ready{namespace=\"drivemaster\",pod=\"down-0\",uid=\"u-1\",condition=\"true\"} 0",
        "kube_deployment_status_replicas_available{namespace=\"drivemaster\",deployment=\"down\"} 1",
        "kube_deployment_status_replicas_unavailable{namespace=\"drivemaster\",deployment=\"down\"} 1",
    ] {
        assert!(page.lines().any(|known| known == line), "{line}\n{page}");
    }
}

#[test]
fn each_family_stands_once_and_no_sample_twice() {
    let page = page(&cluster());
    let mut seen = std::collections::BTreeSet::new();
    for line in page.lines() {
        assert!(line.starts_with("# HELP") || seen.insert(line.rsplit_once(' ').unwrap().0), "{line}");
    }
    assert_eq!(super::page(&Cluster::default()), "");
}
