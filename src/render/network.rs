//! NetworkPolicies: nothing but the flows of the catalogue. Pure.

use super::labelled;
use crate::config::model::Config;
use crate::flows::{Flow, Group, Peer, Ports};
use crate::object::Manifest;
use crate::stack::Place;
use serde_json::{Value, json};

/// Label of every namespace with its name.
const NAMESPACE: &str = "kubernetes.io/metadata.name";
/// Address of the DNS cache that many clusters run on each node.
const NODE_LOCAL_DNS: &str = "169.254.20.10/32";

/// The policies of `config` for `groups` with `flows`; none where they are switched off.
///
/// In the monitoring namespace everything is denied in both directions; in those of the node exporter and
/// of Chaos Mesh only what comes in: what goes out of them goes to the nodes.
pub fn policies(config: &Config, groups: &[Group], flows: &[Flow]) -> Vec<Manifest> {
    if !config.security.network_policies {
        return Vec::new();
    }
    let mut all = Vec::new();
    for place in [Place::Monitoring, Place::NodeExporter, Place::ChaosMesh] {
        let here: Vec<&Group> = groups.iter().filter(|group| group.place == place).collect();
        if here.is_empty() {
            continue;
        }
        let namespace = config.namespace_of(place);
        let outward = place == Place::Monitoring;
        let types = if outward { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        all.push(policy(namespace, "default-deny", json!({ "podSelector": {}, "policyTypes": types })));
        if outward {
            let names: Vec<Value> =
                flows.iter().filter(|flow| flow.from == Peer::Stack).map(|flow| egress(config, groups, flow)).collect();
            let spec = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": names });
            all.push(policy(namespace, "allow-dns", spec));
        }
        for group in here.iter().filter(|group| !group.host_network) {
            let (key, value) = group.label;
            let this = Peer::Group(group.name);
            let mut spec = json!({ "podSelector": { "matchLabels": { key: value } }, "policyTypes": types });
            spec["ingress"] =
                flows.iter().filter(|flow| flow.to == this).map(|flow| ingress(config, groups, flow)).collect();
            if outward {
                spec["egress"] =
                    flows.iter().filter(|flow| flow.from == this).map(|flow| egress(config, groups, flow)).collect();
            }
            all.push(policy(namespace, &format!("allow-{}", group.name), spec));
        }
    }
    all
}

fn policy(namespace: &str, name: &str, spec: Value) -> Manifest {
    labelled(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    }))
}

fn ingress(config: &Config, groups: &[Group], flow: &Flow) -> Value {
    rule("from", peers(config, groups, &flow.from), &flow.ports)
}

fn egress(config: &Config, groups: &[Group], flow: &Flow) -> Value {
    rule("to", peers(config, groups, &flow.to), &flow.ports)
}

/// A rule; without `side` where there are no peers, which means everybody.
fn rule(side: &str, peers: Vec<Value>, ports: &[Ports]) -> Value {
    let ports: Vec<Value> = ports
        .iter()
        .flat_map(|ports| match ports.numbers.as_slice() {
            [] => vec![json!({ "protocol": ports.protocol })],
            numbers => {
                numbers.iter().map(|number| json!({ "protocol": ports.protocol, "port": number })).collect::<Vec<_>>()
            }
        })
        .collect();
    let mut rule = json!({ "ports": ports });
    if !peers.is_empty() {
        rule[side] = json!(peers);
    }
    rule
}

fn peers(config: &Config, groups: &[Group], peer: &Peer) -> Vec<Value> {
    let networks = |networks: &[String]| networks.iter().map(|cidr| json!({ "ipBlock": { "cidr": cidr } })).collect();
    let in_namespace = |name: &str| json!({ "matchLabels": { NAMESPACE: name } });
    match peer {
        Peer::Group(name) => groups
            .iter()
            .filter(|group| group.name == *name)
            .map(|group| {
                let (key, value) = group.label;
                json!({
                    "namespaceSelector": in_namespace(config.namespace_of(group.place)),
                    "podSelector": { "matchLabels": { key: value } },
                })
            })
            .collect(),
        Peer::Stack => vec![json!({ "namespaceSelector": in_namespace(&config.namespaces.monitoring) })],
        Peer::Namespace(name) => vec![json!({ "namespaceSelector": in_namespace(name) })],
        Peer::Dns => vec![
            json!({
                "namespaceSelector": in_namespace("kube-system"),
                "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } },
            }),
            json!({ "ipBlock": { "cidr": NODE_LOCAL_DNS } }),
        ],
        Peer::ControlPlane => networks(&config.security.control_plane_cidrs),
        Peer::Networks(ranges) => networks(ranges),
        Peer::Anywhere => Vec::new(),
    }
}
