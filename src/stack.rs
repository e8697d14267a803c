//! The catalogue: one row a component and one row an exporter. Names, ports and needs stand here
//! and nowhere else; everything that lists components iterates over it.

use serde::Serialize;

/// One port of a component's Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name of the port.
    pub name: &'static str,
    /// Port of the Service.
    pub service: u16,
    /// Port of the container.
    pub container: u16,
}

/// What a workload of a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
}

/// One component of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Key in the configuration, as in `<key>.enabled`.
    pub key: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Helm release that installs it.
    pub release: &'static str,
    /// Name of its Service, the same in every profile.
    pub service: &'static str,
    /// Name of its workload in profile `local`.
    pub workload: &'static str,
    /// Kind of that workload.
    pub workload_kind: WorkloadKind,
    /// Its `job` label in Prometheus.
    pub job: &'static str,
    /// Ports of its Service; the first is the one that people and `verify` use.
    pub ports: &'static [Port],
    /// Name of the port that serves `/metrics`.
    pub metrics_port: &'static str,
    /// Path that answers 200 when the program is ready, on the first port or `health_port`.
    pub ready_path: &'static str,
    /// Container port of `ready_path`, where it is not the first port.
    pub health_port: Option<u16>,
    /// Local port of `port-forward`; `None` where people never open it.
    pub local_port: Option<u16>,
    /// First label of its host under the configured domain; `None` without Ingress.
    pub host: Option<&'static str>,
    /// Keys of the components that must be deployed before it.
    pub needs: &'static [&'static str],
}

/// The components, in the order people see them.
pub const COMPONENTS: &[Component] = &[
    Component {
        key: "prometheus",
        title: "Prometheus",
        release: "prometheus",
        service: "prometheus-kube-prometheus-prometheus",
        workload: "prometheus-prometheus-kube-prometheus-prometheus",
        workload_kind: WorkloadKind::StatefulSet,
        job: "prometheus",
        ports: &[Port { name: "http-web", service: 9090, container: 9090 }],
        metrics_port: "http-web",
        ready_path: "/-/ready",
        health_port: None,
        local_port: Some(9090),
        host: Some("prometheus"),
        needs: &[],
    },
    Component {
        key: "alertmanager",
        title: "Alertmanager",
        release: "prometheus",
        service: "prometheus-kube-prometheus-alertmanager",
        workload: "alertmanager-prometheus-kube-prometheus-alertmanager",
        workload_kind: WorkloadKind::StatefulSet,
        job: "alertmanager",
        ports: &[Port { name: "http-web", service: 9093, container: 9093 }],
        metrics_port: "http-web",
        ready_path: "/-/ready",
        health_port: None,
        local_port: Some(9093),
        host: Some("alerts"),
        needs: &[],
    },
    Component {
        key: "grafana",
        title: "Grafana",
        release: "prometheus",
        service: "prometheus-grafana",
        workload: "prometheus-grafana",
        workload_kind: WorkloadKind::Deployment,
        job: "grafana",
        ports: &[Port { name: "http-web", service: 80, container: 3000 }],
        metrics_port: "http-web",
        ready_path: "/api/health",
        health_port: None,
        local_port: Some(3000),
        host: Some("grafana"),
        needs: &[],
    },
    Component {
        key: "loki",
        title: "Loki",
        release: "loki",
        service: "loki",
        workload: "loki",
        workload_kind: WorkloadKind::StatefulSet,
        job: "loki",
        ports: &[Port { name: "http-metrics", service: 3100, container: 3100 }],
        metrics_port: "http-metrics",
        ready_path: "/ready",
        health_port: None,
        local_port: Some(3100),
        host: None,
        needs: &[],
    },
    Component {
        key: "jaeger",
        title: "Jaeger",
        release: "jaeger",
        service: "jaeger-query",
        workload: "jaeger",
        workload_kind: WorkloadKind::Deployment,
        job: "jaeger",
        ports: &[
            Port { name: "http-query", service: 16686, container: 16686 },
            Port { name: "grpc-query", service: 16685, container: 16685 },
            Port { name: "otlp-grpc", service: 4317, container: 4317 },
            Port { name: "metrics", service: 8888, container: 8888 },
        ],
        metrics_port: "metrics",
        ready_path: "/",
        health_port: None,
        local_port: Some(16686),
        host: Some("tracing"),
        needs: &[],
    },
    Component {
        key: "otelCollector",
        title: "OpenTelemetry Collector",
        release: "otel-collector",
        service: "otel-collector",
        workload: "otel-collector",
        workload_kind: WorkloadKind::Deployment,
        job: "otel-collector",
        ports: &[
            Port { name: "otlp-grpc", service: 4317, container: 4317 },
            Port { name: "otlp-http", service: 4318, container: 4318 },
            Port { name: "jaeger-thrift", service: 14268, container: 14268 },
            Port { name: "metrics", service: 8888, container: 8888 },
            Port { name: "span-metrics", service: 8889, container: 8889 },
        ],
        metrics_port: "metrics",
        ready_path: "/",
        health_port: Some(13133),
        local_port: None,
        host: None,
        needs: &["jaeger", "loki"],
    },
];

/// One exporter of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exporter {
    /// Key under `platform.exporters`.
    pub key: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Its `job` label in Prometheus.
    pub job: &'static str,
    /// Name of its Service in the platform's namespace.
    pub service: &'static str,
    /// Port of `/metrics`.
    pub port: u16,
}

/// The exporters, in the order people see them.
pub const EXPORTERS: &[Exporter] = &[
    Exporter {
        key: "postgresql",
        title: "PostgreSQL exporter",
        job: "postgresql",
        service: "postgres-exporter",
        port: 9187,
    },
    Exporter { key: "redis", title: "Redis exporter", job: "redis", service: "redis-exporter", port: 9121 },
    Exporter { key: "kafka", title: "Kafka exporter", job: "kafka", service: "kafka-exporter", port: 9308 },
    Exporter {
        key: "elasticsearch",
        title: "Elasticsearch exporter",
        job: "elasticsearch",
        service: "elasticsearch-exporter",
        port: 9108,
    },
    Exporter { key: "node", title: "node exporter", job: "node-exporter", service: "node-exporter", port: 9100 },
    Exporter {
        key: "kubeState",
        title: "kube-state-metrics",
        job: "kube-state-metrics",
        service: "kube-state-metrics",
        port: 8080,
    },
];

/// Name of the collector's port and job with the metrics it makes from spans.
pub const SPAN_METRICS: &str = "span-metrics";
/// Name of the job that finds Services of the platform by their annotations.
pub const ANNOTATED_SERVICES: &str = "annotated-services";

/// The component with the configuration key `key`.
pub fn component(key: &str) -> Option<&'static Component> {
    COMPONENTS.iter().find(|component| component.key == key)
}

/// The exporter with the key `key`.
pub fn exporter(key: &str) -> Option<&'static Exporter> {
    EXPORTERS.iter().find(|exporter| exporter.key == key)
}
