//! What stands behind an address, and why nobody does.

use super::*;
use serde_json::{Value, json};

const KWOK: u16 = 10247;

fn read<T: serde::de::DeserializeOwned>(values: Vec<Value>) -> Vec<Arc<T>> {
    values.into_iter().map(|value| Arc::new(serde_json::from_value(value).unwrap())).collect()
}

fn pod(namespace: &str, name: &str, label: &str, ip: &str) -> Value {
    json!({
        "metadata": { "namespace": namespace, "name": name, "labels": { "app.kubernetes.io/name": label },
            "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "nodeName": "sandbox-0",
            "containers": [{ "name": label, "ports": [{ "containerPort": 3000 }] }] },
        "status": { "phase": "Running", "podIP": ip, "containerStatuses": [
            { "name": label, "ready": true, "image": "", "imageID": "", "restartCount": 0 }] },
    })
}

fn service(namespace: &str, name: &str, ip: &str, port: u16, target: &str) -> Value {
    json!({
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "clusterIP": ip, "ports": [{ "name": target, "port": port }] },
    })
}

fn slice(namespace: &str, service: &str, port: (&str, u16), pods: &[(&str, &str, bool)]) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|(name, ip, ready)| {
            json!({ "addresses": [ip], "conditions": { "ready": ready }, "hostname": name,
                "targetRef": { "kind": "Pod", "name": name, "namespace": namespace } })
        })
        .collect();
    json!({
        "metadata": { "namespace": namespace, "name": format!("{service}-1"),
            "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{ "name": port.0, "port": port.1 }],
    })
}

fn of_node(namespace: &str, service: &str, port: (&str, u16)) -> Value {
    let mut slice = slice(namespace, service, port, &[("sandbox-0", "10.99.0.1", true)]);
    slice["endpoints"][0]["targetRef"] = json!({ "kind": "Node", "name": "sandbox-0" });
    slice
}

pub(in crate::sandbox::network) fn directory() -> Directory {
    let layout = Layout {
        api_server: ([127, 0, 0, 1], 16443).into(),
        kwok: ([127, 0, 0, 1], KWOK).into(),
        real: [
            (Program::Prometheus, [(9090, ([127, 0, 0, 1], 19090).into())].into()),
            (Program::Alertmanager, [(9093, ([127, 0, 0, 1], 19093).into())].into()),
        ]
        .into(),
        simulated: vec![SimulatedPort { service: "user-service".into(), port: 3001 }],
        namespace: "drivemaster".into(),
    };
    let mut finished = pod("drivemaster", "old-job", "job", "10.244.0.30");
    finished["status"]["phase"] = json!("Succeeded");
    let mut second = pod("monitoring", "prometheus-1", "prometheus", "10.244.0.11");
    second["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:01Z");
    let mut on_host = pod("monitoring", "node-exporter", "node-exporter", "10.99.0.1");
    on_host["spec"]["hostNetwork"] = json!(true);
    let pods: Vec<Arc<Pod>> = read(vec![
        pod("monitoring", "prometheus-0", "prometheus", "10.244.0.10"),
        second,
        pod("monitoring", "alertmanager-0", "alertmanager", "10.244.0.13"),
        pod("monitoring", "grafana-0", "grafana", "10.244.0.12"),
        pod("drivemaster", "user-service-a", "user-service", "10.244.0.30"),
        pod("drivemaster", "user-service-b", "user-service", "10.244.0.31"),
        pod("drivemaster", "unlisted", "user-service", "10.244.0.32"),
        on_host,
        finished,
    ]);
    let services: Vec<Arc<Service>> = read(vec![
        service("monitoring", "prometheus", "10.96.0.10", 80, "http-web"),
        service("monitoring", "alertmanager", "None", 9093, "http-web"),
        service("monitoring", "grafana", "10.96.0.12", 80, "http-web"),
        service("drivemaster", "user-service", "10.96.0.30", 3001, "http"),
        service("default", "kubernetes", "10.96.0.1", 443, "https"),
        service("drivemaster", "empty", "10.96.0.31", 80, "http"),
    ]);
    let slices: Vec<Arc<EndpointSlice>> = read(vec![
        slice(
            "monitoring",
            "prometheus",
            ("http-web", 9090),
            &[("prometheus-1", "10.244.0.11", true), ("prometheus-0", "10.244.0.10", true)],
        ),
        slice("monitoring", "alertmanager", ("http-web", 9093), &[("alertmanager-0", "10.244.0.13", true)]),
        slice("monitoring", "grafana", ("http-web", 3000), &[("grafana-0", "10.244.0.12", true)]),
        slice(
            "drivemaster",
            "user-service",
            ("http", 3001),
            &[("user-service-a", "10.244.0.30", false), ("user-service-b", "10.244.0.31", true)],
        ),
        slice("monitoring", "node-exporter", ("metrics", 9100), &[("node-exporter", "10.99.0.1", true)]),
        of_node("default", "kubernetes", ("https", 6443)),
        of_node("kube-system", "kubelet", ("https-metrics", 10250)),
        of_node("kube-system", "kubelet", ("cadvisor", 4194)),
    ]);
    Directory::new(layout, &pods, &services, &slices)
}

fn told(host: &str, port: u16, purpose: Purpose) -> String {
    match directory().resolve(host, port, purpose) {
        Ok(Destination::Address(address)) => address.to_string(),
        Ok(Destination::Simulated { service, pod }) => format!("{service}: {pod}"),
        Ok(Destination::StandIn { namespace, pod, .. }) => format!("stand-in for {namespace}/{pod}"),
        Ok(Destination::Kubelet { node }) => format!("kubelet of {node}"),
        Err(reason) => reason,
    }
}

#[test]
fn the_api_server_reaches_nodes_pods_and_services() {
    for (host, port, expected) in [
        ("127.0.0.1", KWOK, "127.0.0.1:10247"),
        ("localhost", KWOK, "127.0.0.1:10247"),
        ("10.99.0.1", KWOK, "127.0.0.1:10247"),
        ("10.244.0.10", 9090, "127.0.0.1:19090"),
        ("10.96.0.10", 80, "127.0.0.1:19090"),
        ("prometheus.monitoring.svc", 80, "127.0.0.1:19090"),
        ("prometheus.monitoring.svc.cluster.local.", 80, "127.0.0.1:19090"),
        ("alertmanager.monitoring.svc", 9093, "127.0.0.1:19093"),
        ("alertmanager-0.alertmanager.monitoring.svc", 9093, "127.0.0.1:19093"),
        ("10.244.0.30", 3001, "user-service: user-service-a"),
        ("10.96.0.30", 3001, "user-service: user-service-b"),
        ("kubernetes.default.svc", 443, "127.0.0.1:16443"),
    ] {
        assert_eq!(told(host, port, Purpose::Dial), expected, "{host}:{port}");
    }
}

#[test]
fn everything_else_is_refused_with_the_reason() {
    for (host, port, expected) in [
        ("10.244.0.99", 80, "no pod or Service of the sandbox has the address 10.244.0.99"),
        ("127.0.0.1", 22, "no pod or Service of the sandbox has the address 127.0.0.1"),
        ("hooks.slack.com", 443, "hooks.slack.com is outside the sandbox: it knows pods and Services only"),
        ("hooks.slack.com", KWOK, "hooks.slack.com is outside the sandbox: it knows pods and Services only"),
        ("a.b.c.d.svc", 443, "a.b.c.d.svc is outside the sandbox: it knows pods and Services only"),
        ("10.244.0.12", 3000, "no program runs behind pod monitoring/grafana-0 port 3000 in the sandbox"),
        ("10.96.0.12", 80, "no program runs behind pod monitoring/grafana-0 port 3000 in the sandbox"),
        ("10.99.0.1", 9100, "no program runs behind pod monitoring/node-exporter port 9100 in the sandbox"),
        ("10.244.0.10", 8080, "no program runs behind pod monitoring/prometheus-0 port 8080 in the sandbox"),
        (
            "10.244.0.11",
            9090,
            "no program runs behind pod monitoring/prometheus-1: the sandbox has one Prometheus, behind pod monitoring/prometheus-0",
        ),
        ("gone.monitoring.svc", 80, "there is no Service monitoring/gone in the sandbox"),
        ("10.96.0.10", 81, "Service monitoring/prometheus has no port 81"),
        ("10.96.0.31", 80, "Service drivemaster/empty has no ready endpoint for port 80"),
        (
            "alertmanager-1.alertmanager.monitoring.svc",
            9093,
            "Service monitoring/alertmanager has no ready endpoint for port 9093",
        ),
    ] {
        assert_eq!(told(host, port, Purpose::Dial), expected, "{host}:{port}");
    }
}

#[test]
fn a_scrape_is_answered_only_where_an_endpoint_slice_lists_the_address() {
    for (host, port, expected) in [
        ("10.244.0.30", 3001, "user-service: user-service-a"),
        ("10.244.0.10", 9090, "127.0.0.1:19090"),
        ("10.244.0.32", 3001, "no EndpointSlice lists 10.244.0.32:3001 (pod drivemaster/unlisted)"),
        ("10.244.0.30", 3002, "no EndpointSlice lists 10.244.0.30:3002 (pod drivemaster/user-service-a)"),
        ("127.0.0.1", KWOK, "no pod or Service of the sandbox has the address 127.0.0.1"),
        ("10.99.0.1", 6443, "127.0.0.1:16443"),
        ("10.99.0.1", 10250, "kubelet of sandbox-0"),
        ("10.99.0.1", 4194, "no pod or Service of the sandbox has the address 10.99.0.1"),
        ("10.244.0.12", 3000, "stand-in for monitoring/grafana-0"),
    ] {
        assert_eq!(told(host, port, Purpose::Scrape), expected, "{host}:{port}");
    }
}

#[test]
fn a_port_alone_leads_to_the_first_pod_of_its_service() {
    assert_eq!(directory().first_pod("user-service", 3001), Some("user-service-a"));
    assert_eq!(directory().first_pod("user-service", 3002), None);
}

#[test]
fn a_short_name_is_one_of_the_askers_namespace_or_names_its_own() {
    for (host, expected) in [
        ("prometheus", "prometheus.monitoring.svc"),
        ("user-service", "user-service"),
        ("user-service.drivemaster", "user-service.drivemaster.svc"),
        ("prometheus.monitoring.svc", "prometheus.monitoring.svc"),
        ("example.com", "example.com"),
        ("10.244.0.10", "10.244.0.10"),
        ("", ""),
    ] {
        assert_eq!(directory().qualified(host, "monitoring"), expected);
    }
}

#[test]
fn only_the_pod_that_a_program_stands_behind_has_it() {
    let directory = directory();
    assert_eq!(directory.program_behind("monitoring", "prometheus-0"), Some(Program::Prometheus));
    assert_eq!(directory.program_behind("monitoring", "prometheus-1"), None);
    assert_eq!(directory.program_behind("drivemaster", "prometheus-0"), None);
}

#[test]
fn no_name_is_too_strange_to_refuse() {
    for host in ["", ".", "[]", "..svc", "[::1", "::1", "\u{0}", "a..svc.cluster.local", ".svc"] {
        assert!(directory().resolve(host, 1, Purpose::Dial).is_err(), "{host:?}");
    }
}
