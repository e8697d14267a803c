//! What NetworkPolicies allow, judged offline as the API reference defines it.

use drivemaster_mon::labels::{Labels, labels_of, selects};
use drivemaster_mon::object::Manifest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Pod { namespace: String, labels: Labels },
    Address(IpAddr),
}

pub fn pod(namespace: &str, labels: &[(&str, &str)]) -> End {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    End::Pod { namespace: namespace.to_owned(), labels }
}

pub fn address(text: &str) -> End {
    End::Address(text.parse().unwrap())
}

/// Whether `policies` let `from` connect to `to`.
pub fn allowed(policies: &[Manifest], from: &End, to: &End, protocol: &str, port: u16) -> bool {
    side(policies, "Egress", from, to, protocol, port) && side(policies, "Ingress", to, from, protocol, port)
}

/// Whether the policies of `own` let it talk to `other` in one direction; without a policy they do.
fn side(policies: &[Manifest], direction: &str, own: &End, other: &End, protocol: &str, port: u16) -> bool {
    let End::Pod { namespace, labels } = own else { return true };
    let of_own = policies.iter().map(|policy| &policy.0).filter(|policy| {
        policy["metadata"]["namespace"] == json!(namespace)
            && policy["spec"]["policyTypes"].as_array().unwrap().contains(&json!(direction))
            && selects(policy["spec"].get("podSelector"), labels)
    });
    let (rules, peers) = if direction == "Egress" { ("egress", "to") } else { ("ingress", "from") };
    let mut isolated = false;
    for policy in of_own {
        isolated = true;
        let rules = policy["spec"].get(rules).and_then(Value::as_array).into_iter().flatten();
        for rule in rules {
            let peer =
                rule.get(peers).and_then(Value::as_array).is_none_or(|all| all.iter().any(|peer| is(peer, other)));
            let on = rule.get("ports").and_then(Value::as_array).is_none_or(|all| {
                all.iter().any(|one| {
                    one["protocol"] == json!(protocol) && one.get("port").is_none_or(|number| *number == json!(port))
                })
            });
            if peer && on {
                return true;
            }
        }
    }
    !isolated
}

fn is(peer: &Value, end: &End) -> bool {
    match (peer.get("ipBlock"), end) {
        (Some(block), End::Address(address)) => contains(block["cidr"].as_str().unwrap(), *address),
        (None, End::Pod { namespace, labels }) => {
            let name = Labels::from([("kubernetes.io/metadata.name".to_owned(), namespace.clone())]);
            selects(peer.get("namespaceSelector"), &name) && selects(peer.get("podSelector"), labels)
        }
        _ => false,
    }
}

/// Whether the network `cidr` contains `address`.
pub fn contains(cidr: &str, address: IpAddr) -> bool {
    let (network, length) = cidr.split_once('/').unwrap();
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32_u32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let ((network, family), (address, other)) = (bits(network.parse().unwrap()), bits(address));
    let length: u32 = length.parse().unwrap();
    family == other && (length == 0 || (network ^ address) >> (128 - length) == 0)
}

/// Namespace, owner, labels and container ports of the pods that `objects` make.
pub fn pods_of(objects: &[Value], namespace: &str) -> Vec<RenderedPod> {
    let mut pods = Vec::new();
    for object in objects {
        let kind = object["kind"].as_str().unwrap_or_default();
        let template = match kind {
            "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => &object["spec"]["template"],
            "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
            // The operator sets these labels on the pods that it makes.
            "Prometheus" | "Alertmanager" => {
                let labels = [("app.kubernetes.io/name".to_owned(), kind.to_lowercase())].into();
                pods.push(RenderedPod {
                    owner: name(object),
                    namespace: namespace.to_owned(),
                    labels,
                    ports: None,
                    host_network: false,
                });
                continue;
            }
            _ => continue,
        };
        let containers = template["spec"]["containers"].as_array().unwrap();
        let ports = containers.iter().flat_map(|container| container["ports"].as_array().into_iter().flatten());
        pods.push(RenderedPod {
            owner: name(object),
            namespace: object["metadata"]["namespace"].as_str().unwrap_or(namespace).to_owned(),
            labels: labels_of(template),
            ports: Some(ports.filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok()).collect()),
            host_network: template["spec"]["hostNetwork"] == json!(true),
        });
    }
    pods
}

#[derive(Debug)]
pub struct RenderedPod {
    pub owner: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub ports: Option<Vec<u16>>,
    pub host_network: bool,
}

fn name(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}
