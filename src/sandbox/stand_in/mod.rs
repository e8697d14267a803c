//! What answers scrapes in the name of the pods and nodes of a sandbox that no program runs for:
//! pages of metrics made from the objects that the API server holds. Pure.
//!
//! The numbers of Kubernetes objects are true. What only a running program could measure (memory,
//! processor time) is made up, the same every time, and keeps within the limits of the pod.

pub mod blackbox;
pub mod cluster;
mod kube_objects;
mod kube_pods;
pub mod kube_state;
pub mod kubelet;
pub mod node;
mod quantity;
pub mod standard;

use crate::stack::{EXPORTERS, Exporter};
use k8s_openapi::api::core::v1::{Container, Pod};
use standard::Standard;
use std::collections::BTreeMap;

/// Labels that say what a pod runs; some charts set only the older one.
const NAME_LABELS: [&str; 2] = ["app.kubernetes.io/name", "app"];

/// Who answers for one port of a pod.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StandIn {
    /// The state of the API server's objects, as kube-state-metrics tells it.
    KubeState,
    /// The node, as node-exporter tells it.
    Node,
    /// Probes of other addresses, as the blackbox exporter makes them.
    Blackbox,
    /// The simulated database behind an exporter.
    Exporter(&'static Exporter),
    /// Only what every program tells of itself.
    Standard(&'static Standard),
}

/// What the maintained charts of the exporters write into that label, by catalogue key.
const EXPORTER_LABELS: [(&str, &str); 4] = [
    ("prometheus-postgres-exporter", "postgresql"),
    ("prometheus-redis-exporter", "redis"),
    ("prometheus-kafka-exporter", "kafka"),
    ("prometheus-elasticsearch-exporter", "elasticsearch"),
];

/// Who answers for the ports that the ready containers of `pod` declare.
pub fn stand_ins_of(pod: &Pod) -> BTreeMap<u16, StandIn> {
    let labels = pod.metadata.labels.as_ref();
    let name = labels.and_then(|labels| NAME_LABELS.iter().find_map(|key| labels.get(*key))).map(String::as_str);
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    // One whose image is missing, or that crashes, answers nobody.
    let ready = |container: &&Container| statuses.iter().any(|status| status.name == container.name && status.ready);
    let of_container = |container: &Container| {
        let image = container.image.as_deref().and_then(|image| image.rsplit('/').next()).unwrap_or_default();
        let image = image.split([':', '@']).next().unwrap_or_default();
        let ports = container.ports.iter().flatten();
        let ports = ports.filter_map(|port| Some((u16::try_from(port.container_port).ok()?, port.name.clone())));
        ports
            .filter_map(|(number, port)| Some((number, stand_in(name, image, port.as_deref().unwrap_or_default())?)))
            .collect::<Vec<_>>()
    };
    containers.iter().filter(ready).flat_map(of_container).collect()
}

/// Who answers for the port `port` of a container with the image `image` in a pod called `name`.
fn stand_in(name: Option<&str>, image: &str, port: &str) -> Option<StandIn> {
    // What runs beside a program has a port of its own.
    if let Some(beside) = standard::by_image(image) {
        return Some(StandIn::Standard(beside));
    }
    let name = name?;
    match name {
        // Its other port tells of itself.
        "kube-state-metrics" if port != "metrics" => return Some(StandIn::KubeState),
        "prometheus-node-exporter" => return Some(StandIn::Node),
        "prometheus-blackbox-exporter" => return Some(StandIn::Blackbox),
        _ => {}
    }
    if let Some((_, key)) = EXPORTER_LABELS.iter().find(|(label, _)| *label == name) {
        return EXPORTERS.iter().find(|exporter| exporter.key == *key).map(StandIn::Exporter);
    }
    standard::by_label(name).map(StandIn::Standard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(name: &str, containers: serde_json::Value) -> Vec<(u16, String)> {
        told_of(json!({ "app.kubernetes.io/name": name, "app": "other" }), containers)
    }

    fn told_of(labels: serde_json::Value, containers: serde_json::Value) -> Vec<(u16, String)> {
        let status = |container: &serde_json::Value| {
            json!({ "name": container["name"], "image": "", "imageID": "", "restartCount": 0,
                "ready": container["image"] != "missing" })
        };
        let statuses: Vec<_> = containers.as_array().unwrap().iter().map(status).collect();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "labels": labels }, "spec": { "containers": containers },
            "status": { "containerStatuses": statuses },
        }))
        .unwrap();
        let word = |stand_in| match stand_in {
            StandIn::Exporter(exporter) => exporter.key.to_owned(),
            StandIn::Standard(standard) => standard.label.to_owned(),
            other => format!("{other:?}"),
        };
        stand_ins_of(&pod).into_iter().map(|(port, stand_in)| (port, word(stand_in))).collect()
    }

    #[test]
    fn a_pod_is_spoken_for_by_its_label_on_the_ports_that_it_declares() {
        let one = |port: u16| json!([{ "name": "a", "image": "r/x:1", "ports": [{ "containerPort": port, "name": "http" }] }]);
        for (name, port, expected) in [
            ("kube-state-metrics", 8080, Some("KubeState")),
            ("prometheus-node-exporter", 9100, Some("Node")),
            ("prometheus-blackbox-exporter", 9115, Some("Blackbox")),
            ("prometheus-postgres-exporter", 9187, Some("postgresql")),
            ("prometheus-elasticsearch-exporter", 9108, Some("elasticsearch")),
            ("grafana", 3000, Some("grafana")),
            ("something-else", 80, None),
        ] {
            let expected: Vec<_> = expected.map(|word| (port, word.to_owned())).into_iter().collect();
            assert_eq!(told(name, one(port)), expected, "{name}");
        }
        let kafka = told_of(json!({ "app": "prometheus-kafka-exporter" }), one(9308));
        assert_eq!(kafka, [(9308, "kafka".to_owned())]);
        let two = json!([{ "name": "a", "ports": [
            { "containerPort": 8080, "name": "http" }, { "containerPort": 8081, "name": "metrics" },
        ] }]);
        let expected = [(8080, "KubeState".to_owned()), (8081, "kube-state-metrics".to_owned())];
        assert_eq!(told("kube-state-metrics", two), expected);
    }

    #[test]
    fn a_container_that_is_not_ready_answers_nobody() {
        let missing = json!([{ "name": "a", "image": "missing", "ports": [{ "containerPort": 3000 }] }]);
        assert_eq!(told("grafana", missing), []);
    }

    #[test]
    fn what_runs_beside_a_program_is_known_by_its_image() {
        let containers = json!([
            { "name": "prometheus", "image": "quay.io/prometheus/prometheus:v3", "ports": [{ "containerPort": 9090 }] },
            { "name": "config-reloader", "image": "quay.io/x/prometheus-config-reloader:v0.93.1",
              "ports": [{ "containerPort": 8080, "name": "reloader-web" }] },
        ]);
        assert_eq!(told("prometheus", containers), [(8080, "prometheus-config-reloader".to_owned())]);
    }
}
