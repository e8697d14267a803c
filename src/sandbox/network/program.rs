//! The programs that really run in a sandbox, one row each: which pods they stand behind, on which
//! of the pods' ports they answer, and what becomes of those pods without them. Pure.

use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Label that says what a pod runs; every chart we deploy sets it.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Label that says which part of it a pod runs.
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// A program that really runs in the sandbox. Only one of each does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// Prometheus.
    Prometheus,
    /// Alertmanager.
    Alertmanager,
    /// Loki.
    Loki,
    /// Jaeger 2.
    Jaeger,
    /// The OpenTelemetry Collector.
    Collector,
    /// The controllers and webhooks of Chaos Mesh.
    ChaosControllerManager,
    /// prometheus-operator, with its webhooks.
    Operator,
}

/// Where the programs that are installed listen: loopback address by program and port of its pod.
pub type Listening = BTreeMap<Program, BTreeMap<u16, SocketAddr>>;

/// What becomes of the pods of a program that is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// There is no sandbox without it.
    Fatal,
    /// They are ready without it, and whoever asks them anything gets no answer.
    Pretended,
    /// They are not ready, and say why.
    Unready,
}

/// How a running program takes a changed configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// By a request, or by a signal where that is off.
    OnRequest,
    /// Not at all: as in a cluster, it gets the new one when its pod is replaced.
    AtStart,
}

/// What is known of a program.
#[derive(Debug)]
pub struct Row {
    /// Its key: the name of its folder and of its log, and of its component where it has one.
    pub key: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Name of its executable.
    pub executable: &'static str,
    /// Go package that it is built from.
    pub origin: &'static str,
    /// Labels of the pods that run it; all of them must be there.
    pub labels: &'static [(&'static str, &'static str)],
    /// Names of the container that runs it, or of its image without registry, folder and tag.
    pub containers: &'static [&'static str],
    /// The ports of its pod that it may listen on; the first is the one that people ask.
    pub ports: &'static [u16],
    /// Port and path that answer 200 when it is ready, where the container names no probe.
    pub ready: (u16, &'static str),
    /// How it takes a changed configuration.
    pub reload: Reload,
    /// What becomes of its pods without it.
    pub absence: Absence,
}

const PROMETHEUS: Row = Row {
    key: "prometheus",
    title: "Prometheus",
    executable: "prometheus",
    origin: "github.com/prometheus/prometheus/cmd/prometheus",
    labels: &[(NAME_LABEL, "prometheus")],
    containers: &["prometheus"],
    ports: &[9090],
    ready: (9090, "/-/ready"),
    reload: Reload::OnRequest,
    absence: Absence::Fatal,
};

const ALERTMANAGER: Row = Row {
    key: "alertmanager",
    title: "Alertmanager",
    executable: "alertmanager",
    origin: "github.com/prometheus/alertmanager/cmd/alertmanager",
    labels: &[(NAME_LABEL, "alertmanager")],
    containers: &["alertmanager"],
    ports: &[9093],
    ready: (9093, "/-/ready"),
    reload: Reload::OnRequest,
    absence: Absence::Fatal,
};

const LOKI: Row = Row {
    key: "loki",
    title: "Loki",
    executable: "loki",
    origin: "github.com/grafana/loki/v3/cmd/loki",
    labels: &[(NAME_LABEL, "loki")],
    containers: &["loki"],
    // HTTP, gRPC.
    ports: &[3100, 9095],
    ready: (3100, "/ready"),
    reload: Reload::AtStart,
    absence: Absence::Pretended,
};

const JAEGER: Row = Row {
    key: "jaeger",
    title: "Jaeger",
    executable: "jaeger",
    origin: "github.com/jaegertracing/jaeger/cmd/jaeger",
    labels: &[(NAME_LABEL, "jaeger")],
    containers: &["jaeger"],
    // Query over HTTP and gRPC; OTLP, Jaeger and Zipkin receivers; sampling; metrics; health.
    ports: &[16686, 16685, 4317, 4318, 14250, 14268, 9411, 5778, 5779, 8888, 8889, 13133],
    ready: (13133, "/status"),
    reload: Reload::AtStart,
    absence: Absence::Pretended,
};

const COLLECTOR: Row = Row {
    key: "otel-collector",
    title: "OpenTelemetry Collector",
    executable: "otelcol",
    origin: "go.opentelemetry.io/collector/otelcol",
    labels: &[(NAME_LABEL, "opentelemetry-collector")],
    containers: &[
        "otel-collector",
        "opentelemetry-collector",
        "opentelemetry-collector-k8s",
        "opentelemetry-collector-contrib",
    ],
    // OTLP and Jaeger receivers; its own metrics and those it makes; health.
    ports: &[4318, 4317, 14250, 14268, 8888, 8889, 13133],
    ready: (13133, "/"),
    reload: Reload::AtStart,
    absence: Absence::Pretended,
};

const CHAOS_CONTROLLER_MANAGER: Row = Row {
    key: "chaos-controller-manager",
    title: "Chaos Mesh controller",
    executable: "chaos-controller-manager",
    origin: "github.com/chaos-mesh/chaos-mesh/cmd/chaos-controller-manager",
    labels: &[(NAME_LABEL, "chaos-mesh"), (COMPONENT_LABEL, "controller-manager")],
    containers: &["chaos-mesh"],
    // Webhooks, metrics, profiles.
    ports: &[10250, 10080, 10081],
    ready: (10080, "/metrics"),
    reload: Reload::AtStart,
    absence: Absence::Unready,
};

const OPERATOR: Row = Row {
    key: "prometheus-operator",
    title: "prometheus-operator",
    executable: "prometheus-operator",
    origin: "github.com/prometheus-operator/prometheus-operator/cmd/operator",
    labels: &[(COMPONENT_LABEL, "prometheus-operator")],
    containers: &["prometheus-operator", "kube-prometheus-stack"],
    // With TLS and without.
    ports: &[10250, 8080],
    ready: (10250, "/healthz"),
    reload: Reload::AtStart,
    absence: Absence::Unready,
};

impl Program {
    /// Every program, in the order in which people see them.
    pub const ALL: [Program; 7] = [
        Program::Prometheus,
        Program::Alertmanager,
        Program::Loki,
        Program::Jaeger,
        Program::Collector,
        Program::ChaosControllerManager,
        Program::Operator,
    ];

    /// What is known of it.
    pub fn row(self) -> &'static Row {
        match self {
            Program::Prometheus => &PROMETHEUS,
            Program::Alertmanager => &ALERTMANAGER,
            Program::Loki => &LOKI,
            Program::Jaeger => &JAEGER,
            Program::Collector => &COLLECTOR,
            Program::ChaosControllerManager => &CHAOS_CONTROLLER_MANAGER,
            Program::Operator => &OPERATOR,
        }
    }

    /// Its key: the name of its folder and of its log.
    pub fn key(self) -> &'static str {
        self.row().key
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// The port of its pod that people ask.
    pub fn port(self) -> u16 {
        self.row().ports.first().copied().unwrap_or_default()
    }

    /// The container of `pod` that runs it: the one of its name, else the one of its image.
    pub fn container(self, pod: &Pod) -> Option<&Container> {
        let names = self.row().containers;
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let named = containers.iter().find(|container| names.contains(&container.name.as_str()));
        named.or_else(|| {
            containers.iter().find(|container| {
                let image = container.image.as_deref().unwrap_or_default();
                let image = image.rsplit('/').next().unwrap_or_default();
                image.split([':', '@']).next().is_some_and(|name| names.contains(&name))
            })
        })
    }

    /// What jq says `true` to for the pods that ask for it, as [`program_of`] does.
    fn condition(self) -> String {
        let row = self.row();
        let labels = row.labels.iter().map(|(key, value)| format!(".metadata.labels[\"{key}\"] == \"{value}\""));
        let names = row.containers.join("|");
        let container = format!(
            "any(.spec.containers[]; (.name | test(\"^({names})$\")) or ((.image // \"\") | test(\"(^|/)({names})([:@]|$)\")))"
        );
        format!("({} and {container})", labels.collect::<Vec<_>>().join(" and "))
    }
}

/// What the image of a container that shall fail contains; the stages of `sandbox/kwok/pods.yaml` play these pods.
const FAILING_IMAGES: [&str; 2] = ["does-not-exist", "crash-loop"];

/// The program that `pod` asks for by its labels and containers; none where one of its containers
/// shall fail.
pub fn program_of(pod: &Pod) -> Option<Program> {
    let images = pod.spec.iter().flat_map(|spec| &spec.containers).filter_map(|container| container.image.as_ref());
    if images.into_iter().any(|image| FAILING_IMAGES.iter().any(|failing| image.contains(failing))) {
        return None;
    }
    let labels = pod.metadata.labels.as_ref()?;
    Program::ALL.into_iter().find(|program| {
        let mut wanted = program.row().labels.iter();
        wanted.all(|(key, value)| labels.get(*key).is_some_and(|found| found == value))
            && program.container(pod).is_some()
    })
}

/// What jq says `true` to for the pods that ask for one of `programs`.
pub fn jq_condition(programs: impl IntoIterator<Item = Program>) -> String {
    let conditions: Vec<String> = programs.into_iter().map(Program::condition).collect();
    if conditions.is_empty() { "false".to_owned() } else { conditions.join(" or ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack;
    use serde_json::{Value, json};

    fn pod(labels: Value, containers: Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } }))
            .unwrap()
    }

    #[test]
    fn a_pod_that_shall_fail_has_no_program() {
        let labels = json!({ "app.kubernetes.io/name": "prometheus" });
        let named = |image: &str| pod(labels.clone(), json!([{ "name": "prometheus", "image": image }]));
        assert_eq!(program_of(&named("quay.io/prometheus/prometheus:v3")), Some(Program::Prometheus));
        assert_eq!(program_of(&named("registry.invalid/crash-loop")), None);
        assert_eq!(program_of(&named("registry.invalid/does-not-exist:1")), None);
    }

    #[test]
    fn the_container_is_the_one_of_the_programs_name_or_else_of_its_image() {
        for (containers, expected) in [
            (
                json!([{ "name": "x", "image": "quay.io/prometheus/prometheus:v3" }, { "name": "prometheus" }]),
                Some("prometheus"),
            ),
            (
                json!([{ "name": "a", "image": "reloader:1" }, { "name": "b", "image": "r:5000/prometheus@sha256:1" }]),
                Some("b"),
            ),
            (json!([{ "name": "a", "image": "prometheus-config-reloader:1" }]), None),
            (json!([]), None),
        ] {
            let pod = pod(json!({}), containers);
            assert_eq!(Program::Prometheus.container(&pod).map(|found| found.name.as_str()), expected);
        }
    }

    #[test]
    fn a_pod_asks_for_a_program_by_all_its_labels_and_a_container() {
        for (labels, container, expected) in [
            (json!({ NAME_LABEL: "loki" }), json!({ "name": "loki", "image": "grafana/loki:3" }), Some(Program::Loki)),
            // Parts of the same release that run something else.
            (json!({ NAME_LABEL: "loki" }), json!({ "name": "loki-canary", "image": "grafana/loki-canary:3" }), None),
            (json!({ NAME_LABEL: "loki" }), json!({ "name": "memcached", "image": "memcached:1" }), None),
            (
                json!({ NAME_LABEL: "opentelemetry-collector" }),
                json!({ "name": "main", "image": "r/opentelemetry-collector-contrib:0.158.0" }),
                Some(Program::Collector),
            ),
            (
                json!({ NAME_LABEL: "chaos-mesh", COMPONENT_LABEL: "controller-manager" }),
                json!({ "name": "chaos-mesh" }),
                Some(Program::ChaosControllerManager),
            ),
            (
                json!({ NAME_LABEL: "chaos-mesh", COMPONENT_LABEL: "chaos-daemon" }),
                json!({ "name": "chaos-daemon", "image": "ghcr.io/chaos-mesh/chaos-mesh:v2" }),
                None,
            ),
            (
                json!({ "app": "kube-prometheus-stack-operator", COMPONENT_LABEL: "prometheus-operator" }),
                json!({ "name": "kube-prometheus-stack", "image": "q/prometheus-operator/prometheus-operator:v0.93.1" }),
                Some(Program::Operator),
            ),
            // The Job that makes the certificate of its webhooks.
            (
                json!({ COMPONENT_LABEL: "prometheus-operator-webhook" }),
                json!({ "name": "create", "image": "g/kube-webhook-certgen:1" }),
                None,
            ),
            (json!({}), json!({ "name": "prometheus" }), None),
        ] {
            assert_eq!(program_of(&pod(labels.clone(), json!([container]))), expected, "{labels}");
        }
    }

    #[test]
    fn keys_and_executables_are_each_programs_own_and_readiness_is_asked_on_a_port_it_has() {
        let mut keys: Vec<&str> = Program::ALL.iter().map(|program| program.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), Program::ALL.len());
        for program in Program::ALL {
            let row = program.row();
            assert!(row.ports.contains(&row.ready.0), "{}", row.key);
        }
    }

    #[test]
    fn every_port_of_the_catalogue_leads_to_its_program() {
        for (program, key) in [
            (Program::Prometheus, "prometheus"),
            (Program::Alertmanager, "alertmanager"),
            (Program::Loki, "loki"),
            (Program::Jaeger, "jaeger"),
            (Program::Collector, "otelCollector"),
        ] {
            let component = stack::component(key).unwrap();
            assert_eq!(program.title(), component.title);
            let ports = component.ports.iter().map(|port| port.container).chain(component.health_port);
            for port in ports {
                assert!(program.row().ports.contains(&port), "{key} {port}");
            }
        }
    }
}
