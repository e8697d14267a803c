//! The NetworkPolicies allow the flows of the catalogue and nothing else, judged offline; and the catalogue
//! knows every pod of the real charts.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/network_policy.rs"]
#[allow(dead_code, unreachable_pub)]
mod network_policy;
mod support;

use drivemaster_mon::config::{Config, Layer, Profile, resolve};
use drivemaster_mon::flows::{Flow, Group, Peer, flows, groups};
use drivemaster_mon::object::Manifest;
use drivemaster_mon::render::bundle::Release;
use drivemaster_mon::render::network::policies;
use drivemaster_mon::stack::Place;
use network_policy::{End, address, allowed, contains, pod, pods_of};
use serde_json::Value;
use std::collections::BTreeSet;
use support::rendered::{bundle_of, templated};

/// Everything on, and each kind of peer told apart from the others.
const EVERYTHING: &str = "security: {controlPlaneCidrs: [10.0.0.0/24], ingressNamespaces: [ingress-nginx, inner]}\n\
    prometheus: {federation: {enabled: true, sourceRanges: [172.16.0.0/16]}, otlpReceiver: true, \
    remoteWrite: [{name: long, url: 'https://long.example.com:8443/write'}]}\n\
    alertmanager: {replicas: 2}\n\
    loki: {objectStorage: {enabled: true, bucket: b, endpoint: 'https://s3.example.com:9443'}}\n";

fn production(text: &str) -> Config {
    resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap()
}

/// An end that stands for `peer`.
fn end_of(config: &Config, groups: &[Group], peer: &Peer) -> End {
    match peer {
        Peer::Group(name) => {
            let group = groups.iter().find(|group| group.name == *name).unwrap();
            pod(config.namespace_of(group.place), &[group.label])
        }
        Peer::Stack => pod(&config.namespaces.monitoring, &[("app", "some-pod")]),
        Peer::Namespace(name) => pod(name, &[("app", "some-pod")]),
        Peer::Dns => pod("kube-system", &[("k8s-app", "kube-dns")]),
        Peer::ControlPlane => address("10.0.0.7"),
        Peer::Networks(ranges) => address(ranges[0].split_once('/').unwrap().0),
        Peer::Anywhere => address("203.0.113.9"),
    }
}

/// Whether `end` is one of those that `peer` means.
fn means(config: &Config, groups: &[Group], peer: &Peer, end: &End) -> bool {
    match (peer, end) {
        (Peer::Anywhere, _) => true,
        (Peer::Group(name), End::Pod { namespace, labels }) => groups.iter().any(|group| {
            let (key, value) = group.label;
            group.name == *name
                && config.namespace_of(group.place) == namespace
                && labels.get(key).is_some_and(|found| found == value)
        }),
        (Peer::Stack, End::Pod { namespace, .. }) => *namespace == config.namespaces.monitoring,
        (Peer::Namespace(name), End::Pod { namespace, .. }) => namespace == name,
        (Peer::Dns, End::Pod { namespace, labels }) => {
            namespace == "kube-system" && labels.get("k8s-app").is_some_and(|app| app == "kube-dns")
        }
        (Peer::Dns, End::Address(end)) => contains("169.254.20.10/32", *end),
        (Peer::ControlPlane, End::Address(end)) => {
            config.security.control_plane_cidrs.iter().any(|cidr| contains(cidr, *end))
        }
        (Peer::Networks(ranges), End::Address(end)) => ranges.iter().any(|cidr| contains(cidr, *end)),
        _ => false,
    }
}

fn covers(flow: &Flow, protocol: &str, port: u16) -> bool {
    flow.ports
        .iter()
        .any(|ports| ports.protocol == protocol && (ports.numbers.is_empty() || ports.numbers.contains(&port)))
}

/// Every protocol and port of `flow`; one where it has every port.
fn connections(flow: &Flow) -> Vec<(&'static str, u16)> {
    let of = |ports: &drivemaster_mon::flows::Ports| {
        let numbers = if ports.numbers.is_empty() { vec![12_321] } else { ports.numbers.clone() };
        numbers.into_iter().map(|number| (ports.protocol, number)).collect::<Vec<_>>()
    };
    flow.ports.iter().flat_map(of).collect()
}

/// The flows of which the policies deny some connection.
fn denied<'f>(config: &Config, groups: &[Group], policies: &[Manifest], all: &'f [Flow]) -> Vec<&'f Flow> {
    all.iter()
        .filter(|flow| {
            let (from, to) = (end_of(config, groups, &flow.from), end_of(config, groups, &flow.to));
            connections(flow).iter().any(|(protocol, port)| !allowed(policies, &from, &to, protocol, *port))
        })
        .collect()
}

#[test]
fn every_flow_is_allowed_in_every_variant() {
    for text in [
        "",
        EVERYTHING,
        "chaosMesh: {enabled: false}",
        "ingress: {enabled: false}",
        "ingress: {kind: gateway}",
        "loki: {enabled: false, existingUrl: 'https://logs.example.com'}",
        "namespaces: {platform: a, monitoring: b, nodeExporter: c, chaosMesh: d}",
    ] {
        let mut config = production(text);
        let (groups, all) = (groups(&config), flows(&config));
        let denied_flows = denied(&config, &groups, &policies(&config, &groups, &all), &all);
        assert!(denied_flows.is_empty(), "{text}: {denied_flows:?}");
        config.security.network_policies = false;
        assert!(policies(&config, &groups, &all).is_empty());
    }
}

#[test]
fn everything_that_is_no_flow_is_denied() {
    let config = production(EVERYTHING);
    let (groups, all) = (groups(&config), flows(&config));
    let policies = policies(&config, &groups, &all);
    let mut ends: Vec<End> = Vec::new();
    let peers = all.iter().flat_map(|flow| [&flow.from, &flow.to]).map(|peer| end_of(&config, &groups, peer));
    let strangers =
        [pod("stranger", &[("app", "x")]), pod(&config.namespaces.chaos_mesh, &[("app", "x")]), address("10.9.9.9")];
    let of_groups = groups.iter().map(|group| end_of(&config, &groups, &Peer::Group(group.name)));
    for end in peers.chain(of_groups).chain(strangers) {
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    let mut ports: BTreeSet<(&str, u16)> = all.iter().flat_map(connections).collect();
    ports.extend([("TCP", 22), ("UDP", 4317), ("TCP", 1)]);
    let in_namespace =
        |end: &End, names: &[&String]| matches!(end, End::Pod { namespace, .. } if names.contains(&namespace));
    let spaces = &config.namespaces;
    let (mut pairs, mut open) = (0, 0);
    for from in &ends {
        for to in &ends {
            for (protocol, port) in &ports {
                let fits = |flow: &&Flow| {
                    covers(flow, protocol, *port)
                        && means(&config, &groups, &flow.from, from)
                        && means(&config, &groups, &flow.to, to)
                };
                let may_leave = !in_namespace(from, &[&spaces.monitoring]) || all.iter().any(|flow| fits(&flow));
                // Who says "anywhere" does not open the doors of others.
                let named = |flow: &&Flow| fits(flow) && flow.to != Peer::Anywhere;
                let may_enter = !in_namespace(to, &[&spaces.monitoring, &spaces.chaos_mesh, &spaces.node_exporter])
                    || all.iter().any(|flow| named(&flow));
                let expected = may_leave && may_enter;
                pairs += 1;
                open += u32::from(expected);
                assert_eq!(
                    allowed(&policies, from, to, protocol, *port),
                    expected,
                    "{from:?} to {to:?} on {protocol} {port}"
                );
            }
        }
    }
    assert!(pairs > 10_000 && open > 100, "{pairs} pairs, {open} open");
}

#[test]
fn each_allow_taken_away_breaks_its_flow_and_no_other() {
    let config = production(EVERYTHING);
    let (groups, all) = (groups(&config), flows(&config));
    assert!(all.len() > 40, "{}", all.len());
    for index in 0..all.len() {
        let mut fewer = all.clone();
        let taken = fewer.remove(index);
        let policies = policies(&config, &groups, &fewer);
        assert_eq!(denied(&config, &groups, &policies, &all), [&all[index]], "without {taken:?}");
        let (from, to) = (end_of(&config, &groups, &taken.from), end_of(&config, &groups, &taken.to));
        for (protocol, port) in connections(&taken) {
            assert!(!allowed(&policies, &from, &to, protocol, port), "{taken:?} on {port}");
        }
    }
}

/// The objects of every release as the real helm renders them from the real charts.
fn rendered(config: &Config) -> Vec<(String, Vec<Value>)> {
    let is_test = |object: &Value| {
        object["metadata"]["annotations"]["helm.sh/hook"].as_str().is_some_and(|hook| hook.contains("test"))
    };
    let render = |release: &Release| {
        let objects = templated(release, "helm").into_iter().filter(|object| !is_test(object)).collect();
        (release.namespace.clone(), objects)
    };
    bundle_of(config).releases.iter().map(render).collect()
}

#[test]
fn every_pod_of_the_real_charts_is_known_and_no_group_is_empty() {
    let config = production("");
    let (groups, all) = (groups(&config), flows(&config));
    let mut met: BTreeSet<&str> = BTreeSet::new();
    for (namespace, objects) in rendered(&config) {
        for found in pods_of(&objects, &namespace) {
            let of_pod: Vec<&Group> = groups
                .iter()
                .filter(|group| config.namespace_of(group.place) == found.namespace)
                .filter(|group| found.labels.get(group.label.0).is_some_and(|value| value == group.label.1))
                .collect();
            assert_eq!(of_pod.len(), 1, "{found:?} is in {of_pod:?}");
            let group = of_pod[0];
            assert_eq!(group.host_network, found.host_network, "{found:?}");
            met.insert(group.name);
            // The pod of a CronJob asks, and nobody asks it.
            let Some(ports) = found.ports.as_ref().filter(|_| !found.owner.starts_with("CronJob")) else { continue };
            for flow in all.iter().filter(|flow| flow.to == Peer::Group(group.name)) {
                for (_, port) in connections(flow) {
                    assert!(ports.contains(&port), "{} opens no port {port}: {flow:?}", found.owner);
                }
            }
        }
    }
    let names: BTreeSet<&str> = groups.iter().map(|group| group.name).collect();
    assert_eq!(met, names);
    let monitoring = groups.iter().filter(|group| group.place == Place::Monitoring).count();
    assert!(monitoring >= 14, "{monitoring}");
}
