//! The catalogue: one row a component, one row an exporter, one row a Helm release. Names, ports and
//! needs stand here and nowhere else; everything that lists components iterates over it.

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
    /// A DaemonSet.
    DaemonSet,
}

/// Which of the configured namespaces something stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// That of the DriveMaster services.
    Platform,
    /// That of the monitoring stack.
    Monitoring,
    /// That of the node exporter alone.
    NodeExporter,
    /// That of Chaos Mesh alone.
    ChaosMesh,
}

/// One Helm release and the upstream chart that makes it in profile `production`; profile `local`
/// has an embedded chart of the release's own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRow {
    /// Name of the release.
    pub name: &'static str,
    /// Name of the upstream chart, a key of the lock of charts.
    pub chart: &'static str,
    /// Where it is installed.
    pub place: Place,
}

/// The releases, in the order people see them.
pub const RELEASES: &[ReleaseRow] = &[
    ReleaseRow { name: "prometheus", chart: "kube-prometheus-stack", place: Place::Monitoring },
    ReleaseRow { name: "loki", chart: "loki", place: Place::Monitoring },
    ReleaseRow { name: "jaeger", chart: "jaeger", place: Place::Monitoring },
    ReleaseRow { name: "otel-collector", chart: "opentelemetry-collector", place: Place::Monitoring },
    ReleaseRow { name: "alloy", chart: "alloy", place: Place::Monitoring },
    ReleaseRow { name: "blackbox-exporter", chart: "prometheus-blackbox-exporter", place: Place::Monitoring },
    ReleaseRow { name: "postgres-exporter", chart: "prometheus-postgres-exporter", place: Place::Monitoring },
    ReleaseRow { name: "redis-exporter", chart: "prometheus-redis-exporter", place: Place::Monitoring },
    ReleaseRow { name: "kafka-exporter", chart: "prometheus-kafka-exporter", place: Place::Monitoring },
    ReleaseRow { name: "elasticsearch-exporter", chart: "prometheus-elasticsearch-exporter", place: Place::Monitoring },
    ReleaseRow { name: "chaos-mesh", chart: "chaos-mesh", place: Place::ChaosMesh },
];

/// The release called `name`.
pub fn release(name: &str) -> Option<&'static ReleaseRow> {
    RELEASES.iter().find(|row| row.name == name)
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
    /// Name of its workload, the same in every profile.
    pub workload: &'static str,
    /// Kind of that workload.
    pub workload_kind: WorkloadKind,
    /// Its `job` label in Prometheus.
    pub job: &'static str,
    /// Its `job` label in profile `production`: the upstream charts' own alerts go by theirs.
    pub production_job: &'static str,
    /// Whether only profile `production` has it.
    pub production_only: bool,
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
    /// Keys of the components that it sends to. It tries until they are there, so that nothing waits for them.
    pub needs: &'static [&'static str],
}

impl Component {
    /// Where it stands: where its release is installed.
    pub fn place(&self) -> Place {
        release(self.release).map_or(Place::Monitoring, |row| row.place)
    }
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
        production_job: "prometheus-kube-prometheus-prometheus",
        production_only: false,
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
        production_job: "prometheus-kube-prometheus-alertmanager",
        production_only: false,
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
        production_job: "prometheus-grafana",
        production_only: false,
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
        production_job: "loki",
        production_only: false,
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
        production_job: "jaeger",
        production_only: false,
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
        production_job: "otel-collector",
        production_only: false,
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
    Component {
        key: "prometheusOperator",
        title: "Prometheus Operator",
        release: "prometheus",
        service: "prometheus-kube-prometheus-operator",
        workload: "prometheus-kube-prometheus-operator",
        workload_kind: WorkloadKind::Deployment,
        job: "prometheus-kube-prometheus-operator",
        production_job: "prometheus-kube-prometheus-operator",
        production_only: true,
        ports: &[Port { name: "https", service: 443, container: 10250 }],
        metrics_port: "https",
        ready_path: "/healthz",
        health_port: None,
        local_port: None,
        host: None,
        needs: &[],
    },
    Component {
        key: "alloy",
        title: "Alloy",
        release: "alloy",
        service: "alloy",
        workload: "alloy",
        workload_kind: WorkloadKind::DaemonSet,
        job: "alloy",
        production_job: "alloy",
        production_only: true,
        ports: &[Port { name: "http-metrics", service: 12345, container: 12345 }],
        metrics_port: "http-metrics",
        ready_path: "/-/ready",
        health_port: None,
        local_port: None,
        host: None,
        needs: &["loki"],
    },
    Component {
        key: "blackboxExporter",
        title: "Blackbox exporter",
        release: "blackbox-exporter",
        service: "blackbox-exporter",
        workload: "blackbox-exporter",
        workload_kind: WorkloadKind::Deployment,
        job: "blackbox-exporter",
        production_job: "blackbox-exporter",
        production_only: true,
        ports: &[Port { name: "http", service: 9115, container: 9115 }],
        metrics_port: "http",
        ready_path: "/-/healthy",
        health_port: None,
        local_port: None,
        host: None,
        needs: &[],
    },
    Component {
        key: "chaosMesh",
        title: "Chaos Mesh",
        release: "chaos-mesh",
        service: "chaos-mesh-controller-manager",
        workload: "chaos-controller-manager",
        workload_kind: WorkloadKind::Deployment,
        job: "chaos-mesh-controller-manager",
        production_job: "chaos-mesh-controller-manager",
        production_only: true,
        ports: &[Port { name: "http", service: 10080, container: 10080 }],
        metrics_port: "http",
        // It has no path for its health alone; whoever tells its metrics serves.
        ready_path: "/metrics",
        health_port: None,
        local_port: None,
        host: None,
        needs: &[],
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
    /// Name of its Service in the platform's namespace, where it runs already.
    pub service: &'static str,
    /// Port of `/metrics`.
    pub port: u16,
    /// How we deploy it.
    pub deployed: DeployedExporter,
}

/// An exporter that profile `production` deploys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeployedExporter {
    /// Helm release that installs it.
    pub release: &'static str,
    /// Name of its Service and of its workload.
    pub service: &'static str,
    /// Kind of that workload.
    pub workload_kind: WorkloadKind,
    /// Where it stands.
    pub place: Place,
}

/// An exporter with a release of its own, a Deployment called like its Service.
const fn own_release(service: &'static str) -> DeployedExporter {
    DeployedExporter { release: service, service, workload_kind: WorkloadKind::Deployment, place: Place::Monitoring }
}

/// The exporters, in the order people see them.
pub const EXPORTERS: &[Exporter] = &[
    Exporter {
        key: "postgresql",
        title: "PostgreSQL exporter",
        job: "postgresql",
        service: "postgres-exporter",
        port: 9187,
        deployed: own_release("postgres-exporter"),
    },
    Exporter {
        key: "redis",
        title: "Redis exporter",
        job: "redis",
        service: "redis-exporter",
        port: 9121,
        deployed: own_release("redis-exporter"),
    },
    Exporter {
        key: "kafka",
        title: "Kafka exporter",
        job: "kafka",
        service: "kafka-exporter",
        port: 9308,
        deployed: own_release("kafka-exporter"),
    },
    Exporter {
        key: "elasticsearch",
        title: "Elasticsearch exporter",
        job: "elasticsearch",
        service: "elasticsearch-exporter",
        port: 9108,
        deployed: own_release("elasticsearch-exporter"),
    },
    Exporter {
        key: "node",
        title: "node exporter",
        job: "node-exporter",
        service: "node-exporter",
        port: 9100,
        deployed: DeployedExporter {
            release: "prometheus",
            service: "prometheus-prometheus-node-exporter",
            workload_kind: WorkloadKind::DaemonSet,
            place: Place::NodeExporter,
        },
    },
    Exporter {
        key: "kubeState",
        title: "kube-state-metrics",
        job: "kube-state-metrics",
        service: "kube-state-metrics",
        port: 8080,
        deployed: DeployedExporter {
            release: "prometheus",
            service: "prometheus-kube-state-metrics",
            workload_kind: WorkloadKind::Deployment,
            place: Place::Monitoring,
        },
    },
];

/// A part of Kubernetes that the upstream chart scrapes in profile `production`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesJob {
    /// Its `job` label in Prometheus.
    pub job: &'static str,
    /// Namespace of its Service.
    pub namespace: &'static str,
    /// Name of its Service, which the chart or the operator makes for most.
    pub service: &'static str,
    /// Port of `/metrics`, as kubeadm sets clusters up.
    pub port: u16,
    /// Whether a managed control plane hides it.
    pub control_plane: bool,
}

const fn control_plane(job: &'static str, service: &'static str, port: u16) -> KubernetesJob {
    KubernetesJob { job, namespace: "kube-system", service, port, control_plane: true }
}

/// The parts of Kubernetes that are scraped.
pub const KUBERNETES_JOBS: &[KubernetesJob] = &[
    KubernetesJob { job: "apiserver", namespace: "default", service: "kubernetes", port: 6443, control_plane: false },
    KubernetesJob {
        job: "kubelet",
        namespace: "kube-system",
        service: "prometheus-kube-prometheus-kubelet",
        port: 10250,
        control_plane: false,
    },
    control_plane("coredns", "prometheus-kube-prometheus-coredns", 9153),
    control_plane("kube-controller-manager", "prometheus-kube-prometheus-kube-controller-manager", 10257),
    control_plane("kube-etcd", "prometheus-kube-prometheus-kube-etcd", 2381),
    control_plane("kube-proxy", "prometheus-kube-prometheus-kube-proxy", 10249),
    control_plane("kube-scheduler", "prometheus-kube-prometheus-kube-scheduler", 10259),
];

/// Name of the job with the probes of the services' `/health`.
pub const HEALTH_PROBES: &str = "health-probes";
/// Name of the job with the probes of the URLs that people come by.
pub const URL_PROBES: &str = "url-probes";
/// Name of the collector's port and job with the metrics it makes from spans.
pub const SPAN_METRICS: &str = "span-metrics";
/// Name of the job that finds Services of the platform by their annotations.
pub const ANNOTATED_SERVICES: &str = "annotated-services";

/// The experiments that `chaosMesh.experiments` switches, one Schedule each.
pub const EXPERIMENTS: &[&str] = &[
    "network-latency",
    "pod-kill",
    "cpu-stress",
    "memory-stress",
    "database-partition",
    "redis-failure",
    "kafka-loss",
];

/// The component with the configuration key `key`.
pub fn component(key: &str) -> Option<&'static Component> {
    COMPONENTS.iter().find(|component| component.key == key)
}

/// The exporter with the key `key`.
pub fn exporter(key: &str) -> Option<&'static Exporter> {
    EXPORTERS.iter().find(|exporter| exporter.key == key)
}
