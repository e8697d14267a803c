//! What the pods of rendered workloads ask for. Pure.

use crate::labels::{Labels, labels_of};
use crate::object::{Manifest, ObjectRef};
use crate::quantity::thousandths;
use serde_json::Value;
use std::collections::BTreeMap;

/// Amounts in thousandths by resource: `cpu`, `memory`.
pub(super) type Amounts = BTreeMap<String, u64>;

/// Pods of one workload, all alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demand {
    /// The workload.
    pub owner: ObjectRef,
    /// How many pods; `None` for one on each node.
    pub pods: Option<u64>,
    /// What one pod requests.
    pub requests: Amounts,
    /// What one pod is limited to.
    pub limits: Amounts,
    /// Each container: requests and limits.
    pub containers: Vec<(Amounts, Amounts)>,
    /// Its PriorityClass.
    pub priority_class: Option<String>,
    /// Whether it may stand on nodes that keep other pods away.
    pub tolerates_all: bool,
}

/// The demands of `objects`. Prometheus and Alertmanager objects count for the pods that the operator makes
/// of them, without its small sidecars.
pub(super) fn demands(objects: &[Manifest]) -> Vec<Demand> {
    objects.iter().filter(|object| !is_hook(object)).filter_map(demand).collect()
}

fn is_hook(object: &Manifest) -> bool {
    object.0.pointer("/metadata/annotations").is_some_and(|all| all.get("helm.sh/hook").is_some())
}

fn demand(object: &Manifest) -> Option<Demand> {
    let owner = object.reference();
    let spec = object.0.get("spec")?;
    let replicas = spec.get("replicas").and_then(Value::as_u64).unwrap_or(1);
    match owner.kind.as_str() {
        "Deployment" | "StatefulSet" => of_pods(owner, Some(replicas), spec.pointer("/template/spec")?),
        "DaemonSet" => of_pods(owner, None, spec.pointer("/template/spec")?),
        // Its own container alone has these resources.
        "Prometheus" | "Alertmanager" => {
            let shards = spec.get("shards").and_then(Value::as_u64).unwrap_or(1);
            let container = serde_json::json!({
                "containers": [{ "resources": spec.get("resources") }],
                "priorityClassName": spec.get("priorityClassName"),
                "tolerations": spec.get("tolerations"),
            });
            of_pods(owner, Some(replicas * shards), &container)
        }
        _ => None,
    }
}

fn of_pods(owner: ObjectRef, pods: Option<u64>, pod: &Value) -> Option<Demand> {
    let containers: Vec<(Amounts, Amounts)> = containers(pod, "containers").map(resources).collect();
    let (requests, limits) = pod_resources(pod);
    let tolerates_all = pod.get("tolerations").and_then(Value::as_array).into_iter().flatten().any(|toleration| {
        let text = |key: &str| toleration.get(key).and_then(Value::as_str).unwrap_or_default();
        text("operator") == "Exists" && text("key").is_empty()
    });
    let priority_class = pod.get("priorityClassName").and_then(Value::as_str).map(str::to_owned);
    let priority_class = priority_class.filter(|name| !name.is_empty());
    Some(Demand { owner, pods, requests, limits, containers, priority_class, tolerates_all })
}

/// Requests and limits of a whole pod: the sum of its containers (and of the init containers that keep
/// running), or the largest other init container where that asks for more.
pub(super) fn pod_resources(pod: &Value) -> (Amounts, Amounts) {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let stays = |container: &&Value| container.get("restartPolicy").and_then(Value::as_str) == Some("Always");
    for container in containers(pod, "containers").chain(containers(pod, "initContainers").filter(stays)) {
        let (request, limit) = resources(container);
        add(&mut requests, &request);
        add(&mut limits, &limit);
    }
    for container in containers(pod, "initContainers").filter(|container| !stays(container)) {
        let (request, limit) = resources(container);
        at_least(&mut requests, &request);
        at_least(&mut limits, &limit);
    }
    (requests, limits)
}

fn containers<'p>(pod: &'p Value, key: &str) -> impl Iterator<Item = &'p Value> {
    pod.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Requests and limits of a container; what has only a limit requests as much.
fn resources(container: &Value) -> (Amounts, Amounts) {
    let of = |key: &str| -> Amounts {
        let map = container.pointer(&format!("/resources/{key}")).and_then(Value::as_object).into_iter().flatten();
        map.filter_map(|(name, value)| Some((name.clone(), amount(value)?))).collect()
    };
    let (mut requests, limits) = (of("requests"), of("limits"));
    for (name, limit) in &limits {
        requests.entry(name.clone()).or_insert(*limit);
    }
    (requests, limits)
}

/// A quantity, which may be written as a number.
pub(super) fn amount(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => thousandths(text),
        Value::Number(number) => thousandths(&number.to_string()),
        _ => None,
    }
}

/// Adds `more`.
pub(super) fn add(amounts: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *amounts.entry(name.clone()).or_default() += amount;
    }
}

fn at_least(amounts: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let known = amounts.entry(name.clone()).or_default();
        *known = (*known).max(*amount);
    }
}

/// Whether a running pod belongs to one of `releases` (namespace, name), and so makes place for its successor.
pub(super) fn is_of_release(pod: &Value, releases: &[(String, String)]) -> bool {
    let labels: Labels = labels_of(pod);
    let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let by_operator = labels.contains_key("operator.prometheus.io/name");
    releases.iter().any(|(of, name)| {
        let instance = ["app.kubernetes.io/instance", "release"].iter().any(|key| labels.get(*key) == Some(name));
        // The node exporter stands in a namespace of its own.
        (instance
            && (of == namespace
                || labels.get("app.kubernetes.io/name").is_some_and(|app| app.ends_with("node-exporter"))))
            || (by_operator && of == namespace && name == "prometheus")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(cpu: &str, memory: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}})
    }

    fn amounts(cpu: u64, mebibytes: u64) -> Amounts {
        Amounts::from([("cpu".to_owned(), cpu), ("memory".to_owned(), mebibytes * 1_048_576 * 1000)])
    }

    #[test]
    fn a_pod_asks_for_its_containers_or_its_largest_init_container() {
        let mut sidecar = container("10m", "16Mi");
        sidecar["restartPolicy"] = json!("Always");
        let pod = json!({
            "containers": [container("100m", "128Mi"), container("50m", "64Mi")],
            "initContainers": [sidecar, container("500m", "32Mi")],
        });
        let (requests, _) = pod_resources(&pod);
        assert_eq!(requests, amounts(500, 208));
        assert_eq!(pod_resources(&json!({})).0, Amounts::new());
    }

    #[test]
    fn a_limit_alone_is_a_request_too() {
        let pod = json!({"containers": [{"resources": {"limits": {"cpu": 1, "memory": "1Mi"}}}]});
        assert_eq!(pod_resources(&pod).0, amounts(1000, 1));
    }

    #[test]
    fn workloads_and_what_the_operator_makes_are_counted() {
        let template = json!({"spec": {"containers": [container("1", "1Mi")], "priorityClassName": "high", "tolerations": [{"operator": "Exists"}]}});
        let object = |kind: &str, spec: Value| {
            Manifest(json!({"apiVersion": "x/v1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}))
        };
        let mut hook = object("Deployment", json!({"template": template}));
        hook.0["metadata"]["annotations"] = json!({"helm.sh/hook": "test"});
        let found = demands(&[
            object("Deployment", json!({"replicas": 3, "template": template})),
            object("DaemonSet", json!({"template": template})),
            object("Prometheus", json!({"replicas": 2, "shards": 2, "resources": {"requests": {"cpu": "1"}}})),
            object("ConfigMap", json!({})),
            hook,
        ]);
        let pods: Vec<Option<u64>> = found.iter().map(|demand| demand.pods).collect();
        assert_eq!(pods, [Some(3), None, Some(4)]);
        assert_eq!(found[0].priority_class.as_deref(), Some("high"));
        assert!(found[0].tolerates_all && !found[2].tolerates_all);
        assert_eq!(found[2].requests["cpu"], 1000);
    }

    #[test]
    fn the_pods_that_a_release_replaces_are_known() {
        let releases = [("m".to_owned(), "loki".to_owned()), ("m".to_owned(), "prometheus".to_owned())];
        let pod = |namespace: &str, labels: Value| json!({"metadata": {"namespace": namespace, "labels": labels}});
        assert!(is_of_release(&pod("m", json!({"app.kubernetes.io/instance": "loki"})), &releases));
        assert!(!is_of_release(&pod("other", json!({"app.kubernetes.io/instance": "loki"})), &releases));
        assert!(is_of_release(&pod("m", json!({"operator.prometheus.io/name": "x"})), &releases));
        assert!(!is_of_release(&pod("m", json!({})), &releases));
    }
}
