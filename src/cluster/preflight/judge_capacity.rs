//! Whether the pods fit: quotas, limit ranges and the nodes' room. Pure.
//!
//! Refused is only what cannot work whatever the scheduler does: a pod larger than the room of every
//! node, or more in sum than all room there is.

use super::demand::{Amounts, Demand, add, amount, is_of_release, pod_resources};
use crate::error::{Failure, Kind};
use crate::quantity::shown;
use serde_json::Value;
use std::collections::BTreeMap;

/// What the cluster holds of it, as the API server returned it; `None` where it may not be read.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    /// The nodes.
    pub nodes: Option<Vec<Value>>,
    /// The pods of all namespaces.
    pub pods: Option<Vec<Value>>,
    /// The ResourceQuotas of the stack's namespaces.
    pub quotas: Option<Vec<Value>>,
    /// The LimitRanges of the stack's namespaces.
    pub limit_ranges: Option<Vec<Value>>,
}

/// The problems of `demands`; `replaced` are the releases (namespace, name) whose running pods make place.
pub(super) fn judge_room(room: &Room, demands: &[Demand], replaced: &[(String, String)]) -> Vec<Failure> {
    let mut problems = judge_quotas(room, demands, replaced);
    problems.extend(judge_limit_ranges(room, demands));
    problems.extend(judge_nodes(room, demands, replaced));
    problems
}

/// Pods that still use what they asked for.
fn running(room: &Room) -> impl Iterator<Item = &Value> {
    let over =
        |pod: &&Value| !matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    room.pods.iter().flatten().filter(over)
}

/// A node that takes pods, and what is free on it.
struct Node {
    name: String,
    tainted: bool,
    free: Amounts,
}

fn nodes(room: &Room, replaced: &[(String, String)]) -> Vec<Node> {
    let mut used: BTreeMap<&str, Amounts> = BTreeMap::new();
    for pod in running(room).filter(|pod| !is_of_release(pod, replaced)) {
        let Some(node) = pod.pointer("/spec/nodeName").and_then(Value::as_str) else { continue };
        let used = used.entry(node).or_default();
        add(used, &pod_resources(pod.get("spec").unwrap_or(&Value::Null)).0);
        *used.entry("pods".to_owned()).or_default() += 1000;
    }
    let takes = |node: &&Value| node.pointer("/spec/unschedulable").and_then(Value::as_bool) != Some(true);
    let of = |node: &Value| {
        let name = node.pointer("/metadata/name")?.as_str()?.to_owned();
        let taints = node.pointer("/spec/taints").and_then(Value::as_array).into_iter().flatten();
        let tainted = taints
            .filter_map(|taint| taint.get("effect").and_then(Value::as_str))
            .any(|effect| matches!(effect, "NoSchedule" | "NoExecute"));
        let allocatable = node.pointer("/status/allocatable").and_then(Value::as_object).into_iter().flatten();
        let used = used.get(name.as_str());
        let free = allocatable
            .filter_map(|(resource, value)| {
                let used = used.and_then(|used| used.get(resource)).copied().unwrap_or_default();
                Some((resource.clone(), amount(value)?.saturating_sub(used)))
            })
            .collect();
        Some(Node { name, tainted, free })
    };
    room.nodes.iter().flatten().filter(takes).filter_map(of).collect()
}

fn judge_nodes(room: &Room, demands: &[Demand], replaced: &[(String, String)]) -> Vec<Failure> {
    // Without the pods it is not known what is free.
    if room.nodes.is_none() || room.pods.is_none() || demands.is_empty() {
        return Vec::new();
    }
    let nodes = nodes(room, replaced);
    let refused = |message: String, hint: &str| Failure::new(Kind::Refused, message).hint(hint.to_owned());
    let untainted: Vec<&Node> = nodes.iter().filter(|node| !node.tainted).collect();
    if untainted.is_empty() {
        let message = "the cluster has no node that takes pods without a toleration".to_owned();
        return vec![refused(message, "kubectl get nodes -o wide")];
    }
    let mut problems = Vec::new();
    let mut sum = Amounts::new();
    for demand in demands {
        let places: Vec<&Node> = if demand.tolerates_all { nodes.iter().collect() } else { untainted.clone() };
        for _ in 0..demand.pods.unwrap_or(places.len() as u64).min(10_000) {
            add(&mut sum, &demand.requests);
        }
        let Some(pods) = demand.pods else {
            let full = places.iter().find(|node| !fits(&demand.requests, &node.free));
            if let Some(node) = full {
                let lacking = lacking(&demand.requests, &node.free);
                let message = format!("`{}` does not fit on node `{}`: {lacking}", demand.owner, node.name);
                problems.push(refused(message, &format!("kubectl describe node {}", node.name)));
            }
            continue;
        };
        if pods > 0 && !places.iter().any(|node| fits(&demand.requests, &node.free)) {
            let most = places.iter().fold(Amounts::new(), |mut most, node| {
                for (name, free) in &node.free {
                    let known = most.entry(name.clone()).or_default();
                    *known = (*known).max(*free);
                }
                most
            });
            let message = format!("`{}` fits on no node: {}", demand.owner, lacking(&demand.requests, &most));
            problems
                .push(refused(message, "lower its `resources.requests` in the configuration, or add a larger node"));
        }
    }
    let all_tolerate = demands.iter().all(|demand| demand.tolerates_all);
    for resource in ["cpu", "memory"] {
        let places =
            nodes.iter().filter(|node| all_tolerate || !node.tainted || demands.iter().any(|one| one.tolerates_all));
        let free: u64 = places.filter_map(|node| node.free.get(resource)).sum();
        let wanted = sum.get(resource).copied().unwrap_or_default();
        if wanted > free {
            let mut largest: Vec<(u64, String)> = demands
                .iter()
                .map(|demand| {
                    let one = demand.requests.get(resource).copied().unwrap_or_default();
                    (one * demand.pods.unwrap_or(untainted.len() as u64), demand.owner.to_string())
                })
                .collect();
            largest.sort_by(|one, other| other.cmp(one));
            let names: Vec<String> = largest
                .iter()
                .take(3)
                .map(|(wanted, owner)| format!("`{owner}` {}", shown(resource, *wanted)))
                .collect();
            let message = format!(
                "all pods together ask for {} and the nodes have {} free; the largest: {}",
                shown(resource, wanted),
                shown(resource, free),
                names.join(", ")
            );
            problems.push(refused(message, "lower `resources.requests` in the configuration, or add nodes"));
        }
    }
    problems
}

fn fits(wanted: &Amounts, free: &Amounts) -> bool {
    let room_for_one = free.get("pods").is_none_or(|pods| *pods >= 1000);
    room_for_one && wanted.iter().all(|(name, amount)| *amount <= free.get(name).copied().unwrap_or_default())
}

/// What of `wanted` exceeds `free`, for people.
fn lacking(wanted: &Amounts, free: &Amounts) -> String {
    let over = wanted.iter().filter_map(|(name, amount)| {
        let free = free.get(name).copied().unwrap_or_default();
        (*amount > free).then(|| format!("it asks for {}, free are {}", shown(name, *amount), shown(name, free)))
    });
    let lines: Vec<String> = over.collect();
    if lines.is_empty() { "the nodes run as many pods as they may".to_owned() } else { lines.join("; ") }
}

/// How a quota calls what a pod asks for: (resource of the pod, whether its limit).
fn quota_resource(name: &str) -> Option<(&str, bool)> {
    match name {
        "cpu" | "requests.cpu" => Some(("cpu", false)),
        "memory" | "requests.memory" => Some(("memory", false)),
        "limits.cpu" => Some(("cpu", true)),
        "limits.memory" => Some(("memory", true)),
        _ => None,
    }
}

fn judge_quotas(room: &Room, demands: &[Demand], replaced: &[(String, String)]) -> Vec<Failure> {
    let nodes = room.nodes.as_ref().map_or(1, Vec::len) as u64;
    let mut problems = Vec::new();
    // Quotas of a scope count only some pods: not judged.
    let whole =
        |quota: &&Value| quota.pointer("/spec/scopes").is_none() && quota.pointer("/spec/scopeSelector").is_none();
    for quota in room.quotas.iter().flatten().filter(whole) {
        let text = |pointer: &str| quota.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let here: Vec<&Demand> =
            demands.iter().filter(|demand| demand.owner.namespace.as_deref() == Some(namespace)).collect();
        let freed: Vec<&Value> = running(room)
            .filter(|pod| pod.pointer("/metadata/namespace").and_then(Value::as_str) == Some(namespace))
            .filter(|pod| is_of_release(pod, replaced))
            .collect();
        let hard = quota.pointer("/spec/hard").and_then(Value::as_object).into_iter().flatten();
        for (resource, hard) in hard {
            let Some(hard) = amount(hard) else { continue };
            let used = quota.pointer("/status/used").and_then(|used| amount(used.get(resource)?)).unwrap_or_default();
            let (wanted, back): (u64, u64) = if matches!(resource.as_str(), "pods" | "count/pods") {
                (here.iter().map(|demand| demand.pods.unwrap_or(nodes) * 1000).sum(), freed.len() as u64 * 1000)
            } else if let Some((of_pod, is_limit)) = quota_resource(resource) {
                let of = |amounts: &Amounts| amounts.get(of_pod).copied();
                let unset = here.iter().find(|demand| {
                    demand
                        .containers
                        .iter()
                        .any(|(requests, limits)| of(if is_limit { limits } else { requests }).is_none())
                });
                if let Some(demand) = unset.filter(|_| !has_default(room, namespace, of_pod, is_limit)) {
                    let what = if is_limit { "limit" } else { "request" };
                    problems.push(
                        Failure::new(
                            Kind::Refused,
                            format!(
                                "the ResourceQuota `{namespace}/{name}` asks for a {what} of {of_pod} of every container, \
                                 and one of `{}` has none",
                                demand.owner
                            ),
                        )
                        .hint("give the namespace a LimitRange with defaults, or take this resource out of the quota"),
                    );
                    continue;
                }
                let per_pod = |demand: &&Demand| {
                    of(if is_limit { &demand.limits } else { &demand.requests }).unwrap_or_default()
                        * demand.pods.unwrap_or(nodes)
                };
                let back = freed.iter().map(|pod| pod_resources(pod.get("spec").unwrap_or(&Value::Null)));
                let back =
                    back.map(|(requests, limits)| of(if is_limit { &limits } else { &requests }).unwrap_or_default());
                (here.iter().map(per_pod).sum(), back.sum())
            } else {
                continue;
            };
            let free = hard.saturating_sub(used.saturating_sub(back));
            if wanted > free {
                let message = format!(
                    "the ResourceQuota `{namespace}/{name}` leaves {} of `{resource}`, and the pods need {}",
                    shown(resource, free),
                    shown(resource, wanted)
                );
                problems.push(
                    Failure::new(Kind::Refused, message).hint(format!("kubectl describe quota {name} -n {namespace}")),
                );
            }
        }
    }
    problems
}

/// The rules for containers of the LimitRanges of `namespace`, each with the name of its object.
fn container_limits<'r>(room: &'r Room, namespace: &'r str) -> impl Iterator<Item = (&'r str, &'r Value)> {
    let text = |object: &'r Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let here = room.limit_ranges.iter().flatten().filter(move |range| text(range, "/metadata/namespace") == namespace);
    here.flat_map(move |range| {
        let limits = range.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten();
        limits
            .filter(move |limit| text(limit, "/type") == "Container")
            .map(move |limit| (text(range, "/metadata/name"), limit))
    })
}

fn has_default(room: &Room, namespace: &str, resource: &str, is_limit: bool) -> bool {
    let keys: &[&str] = if is_limit { &["default", "max"] } else { &["defaultRequest", "default", "max", "min"] };
    container_limits(room, namespace)
        .any(|(_, limit)| keys.iter().any(|key| limit.get(*key).is_some_and(|all| all.get(resource).is_some())))
}

fn judge_limit_ranges(room: &Room, demands: &[Demand]) -> Vec<Failure> {
    let mut problems = Vec::new();
    for demand in demands {
        let namespace = demand.owner.namespace.as_deref().unwrap_or_default();
        for (name, rule) in container_limits(room, namespace) {
            let bound = |key: &str, resource: &str| rule.get(key).and_then(|all| amount(all.get(resource)?));
            for (requests, limits) in &demand.containers {
                for resource in ["cpu", "memory"] {
                    let (request, limit) = (requests.get(resource), limits.get(resource));
                    let (most, least) = (bound("max", resource), bound("min", resource));
                    let over = most.and_then(|most| {
                        limit.or(request).filter(|wanted| **wanted > most).map(|wanted| (most, *wanted))
                    });
                    let under = least
                        .and_then(|least| request.filter(|wanted| **wanted < least).map(|wanted| (least, *wanted)));
                    let told = match (over, under) {
                        (Some((most, wanted)), _) => ("at most", most, wanted),
                        (None, Some((least, wanted))) => ("at least", least, wanted),
                        (None, None) => continue,
                    };
                    let message = format!(
                        "the LimitRange `{namespace}/{name}` allows a container {} {}, and one of `{}` has {}",
                        told.0,
                        shown(resource, told.1),
                        demand.owner,
                        shown(resource, told.2)
                    );
                    problems.push(
                        Failure::new(Kind::Refused, message)
                            .hint(format!("kubectl describe limitrange {name} -n {namespace}")),
                    );
                }
            }
        }
    }
    problems
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::demand::demands;
    use super::*;
    use crate::object::Manifest;
    use serde_json::json;

    fn node(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "10"}}})
    }

    fn pod(namespace: &str, instance: &str, cpu: &str) -> Value {
        json!({
            "metadata": {"namespace": namespace, "labels": {"app.kubernetes.io/instance": instance}},
            "spec": {"nodeName": "n1", "containers": [{"resources": {"requests": {"cpu": cpu}}}]},
            "status": {"phase": "Running"},
        })
    }

    fn room() -> Room {
        Room {
            nodes: Some(vec![node("n1", "4", "8Gi")]),
            pods: Some(vec![pod("other", "x", "1")]),
            quotas: Some(Vec::new()),
            limit_ranges: Some(Vec::new()),
        }
    }

    fn wanted(kind: &str, replicas: u64, cpu: &str, memory: &str) -> Vec<Demand> {
        demands(&[Manifest(json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "a", "namespace": "m"},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [
                {"resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}}
            ]}}},
        }))])
    }

    fn told(room: &Room, demands: &[Demand]) -> Vec<String> {
        judge_room(room, demands, &[("m".to_owned(), "a".to_owned())])
            .iter()
            .map(|problem| problem.message.clone())
            .collect()
    }

    #[test]
    fn what_fits_has_no_problem_and_what_may_not_be_read_is_not_judged() {
        assert!(told(&room(), &wanted("Deployment", 2, "1", "1Gi")).is_empty());
        let huge = wanted("Deployment", 1, "100", "1Gi");
        assert!(told(&Room { nodes: None, ..room() }, &huge).is_empty());
        assert!(told(&Room { pods: None, ..room() }, &huge).is_empty());
        assert!(told(&Room { nodes: Some(Vec::new()), ..room() }, &[]).is_empty());
    }

    #[test]
    fn a_pod_that_fits_nowhere_is_named() {
        let told_of = told(&room(), &wanted("StatefulSet", 1, "100m", "9Gi"));
        assert!(
            told_of[0].contains("`StatefulSet m/a` fits on no node: it asks for 9.0Gi, free are 8.0Gi"),
            "{told_of:?}"
        );
        let told_of = told(&room(), &wanted("DaemonSet", 1, "3500m", "1Gi"));
        assert!(told_of[0].contains("does not fit on node `n1`"), "{told_of:?}");
    }

    #[test]
    fn the_sum_is_judged_and_the_largest_named() {
        let told_of = told(&room(), &wanted("Deployment", 4, "1", "1Gi"));
        assert_eq!(told_of.len(), 1, "{told_of:?}");
        assert!(told_of[0].contains("4.00 CPU and the nodes have 3.00 CPU free"), "{told_of:?}");
        assert!(told_of[0].contains("`Deployment m/a` 4.00 CPU"), "{told_of:?}");
    }

    #[test]
    fn pods_of_the_release_itself_make_place() {
        let mut room = room();
        room.pods.as_mut().unwrap().push(pod("m", "a", "2"));
        assert!(told(&room, &wanted("Deployment", 3, "1", "1Gi")).is_empty());
        room.pods.as_mut().unwrap().push(pod("m", "other", "2"));
        assert_eq!(told(&room, &wanted("Deployment", 3, "1", "1Gi")).len(), 1);
    }

    #[test]
    fn nodes_that_keep_pods_away_do_not_count() {
        let mut room = room();
        room.nodes.as_mut().unwrap()[0]["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        assert!(told(&room, &wanted("Deployment", 1, "1", "1Gi"))[0].contains("no node that takes pods"));
        room.nodes.as_mut().unwrap()[0]["spec"] = json!({"unschedulable": true});
        assert_eq!(told(&room, &wanted("Deployment", 1, "1", "1Gi")).len(), 1);
    }

    #[test]
    fn a_quota_that_is_too_small_is_named_with_what_it_leaves() {
        let with = |hard: Value, used: Value| Room {
            quotas: Some(vec![
                json!({"metadata": {"name": "q", "namespace": "m"}, "spec": {"hard": hard}, "status": {"used": used}}),
            ]),
            ..room()
        };
        let demands = wanted("Deployment", 2, "1", "1Gi");
        assert!(
            told(&with(json!({"requests.cpu": "3", "pods": "2"}), json!({"requests.cpu": "1"})), &demands).is_empty()
        );
        let told_of = told(&with(json!({"requests.cpu": "3"}), json!({"requests.cpu": "2"})), &demands);
        assert!(
            told_of[0].contains("`m/q` leaves 1.00 CPU of `requests.cpu`, and the pods need 2.00 CPU"),
            "{told_of:?}"
        );
        let told_of = told(&with(json!({"pods": "1"}), json!({})), &demands);
        assert!(told_of[0].contains("leaves 1 of `pods`, and the pods need 2"), "{told_of:?}");
        let told_of = told(&with(json!({"limits.cpu": "9"}), json!({})), &demands);
        assert!(told_of[0].contains("asks for a limit of cpu of every container"), "{told_of:?}");
        let mut defaulted = with(json!({"limits.cpu": "9"}), json!({}));
        defaulted.limit_ranges = Some(vec![json!({
            "metadata": {"name": "l", "namespace": "m"},
            "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]},
        })]);
        assert!(told(&defaulted, &demands).is_empty());
    }

    #[test]
    fn a_limit_range_that_refuses_a_container_is_named() {
        let with = |limit: Value| Room {
            limit_ranges: Some(vec![json!({"metadata": {"name": "l", "namespace": "m"}, "spec": {"limits": [limit]}})]),
            ..room()
        };
        let demands = wanted("Deployment", 1, "1", "1Gi");
        let told_of = told(&with(json!({"type": "Container", "max": {"memory": "512Mi"}})), &demands);
        assert!(
            told_of[0].contains("`m/l` allows a container at most 512Mi, and one of `Deployment m/a` has 1.0Gi"),
            "{told_of:?}"
        );
        let told_of = told(&with(json!({"type": "Container", "min": {"cpu": "2"}})), &demands);
        assert!(told_of[0].contains("at least 2.00 CPU"), "{told_of:?}");
        assert!(told(&with(json!({"type": "Pod", "max": {"memory": "1"}})), &demands).is_empty());
    }
}
