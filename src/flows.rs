//! The catalogue of flows: who of the stack talks to whom, on which ports, and why. The
//! NetworkPolicies and the page about security are made from it. Pure.

use crate::config::model::{Config, ExporterMode, IngressKind, JaegerStorage};
use crate::stack::{self, Place};
use serde::Serialize;

/// Pods of the stack that share their flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Name, as the flows have it.
    pub name: &'static str,
    /// Where they run.
    pub place: Place,
    /// The label that all of them carry, as the real charts and the operator set it.
    pub label: (&'static str, &'static str),
    /// Whether they use the network of their node, where no policy reaches them.
    pub host_network: bool,
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Peer {
    /// A group of pods of the stack.
    Group(&'static str),
    /// Every pod of the stack in the monitoring namespace.
    Stack,
    /// Every pod of a namespace.
    Namespace(String),
    /// The cluster's DNS.
    Dns,
    /// The API server and the nodes, which policies cannot name by labels.
    ControlPlane,
    /// Networks in CIDR notation.
    Networks(Vec<String>),
    /// Anything: its address is in a Secret, or outside the cluster.
    Anywhere,
}

/// Ports of one protocol; no numbers means every port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ports {
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// The port numbers of the pods.
    pub numbers: Vec<u16>,
}

/// One flow: `from` opens connections to `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Flow {
    /// Who connects.
    pub from: Peer,
    /// To whom.
    pub to: Peer,
    /// On which ports.
    pub ports: Vec<Ports>,
    /// Why.
    pub why: String,
}

const NAME: &str = "app.kubernetes.io/name";
const COMPONENT: &str = "app.kubernetes.io/component";

const fn group(name: &'static str, place: Place, key: &'static str, value: &'static str) -> Group {
    Group { name, place, label: (key, value), host_network: false }
}

/// Every group, whether it is deployed or not, with the key of the component or exporter it belongs to.
const GROUPS: &[(Group, &str)] = &[
    (group("prometheus", Place::Monitoring, NAME, "prometheus"), "prometheus"),
    (group("alertmanager", Place::Monitoring, NAME, "alertmanager"), "alertmanager"),
    (group("operator", Place::Monitoring, "app", "kube-prometheus-stack-operator"), "prometheusOperator"),
    (group("grafana", Place::Monitoring, NAME, "grafana"), "grafana"),
    (group("kube-state-metrics", Place::Monitoring, NAME, "kube-state-metrics"), "kubeState"),
    (group("loki", Place::Monitoring, NAME, "loki"), "loki"),
    (group("alloy", Place::Monitoring, NAME, "alloy"), "alloy"),
    (group("jaeger", Place::Monitoring, NAME, "jaeger"), "jaeger"),
    (group("collector", Place::Monitoring, NAME, "opentelemetry-collector"), "otelCollector"),
    (group("blackbox", Place::Monitoring, NAME, "prometheus-blackbox-exporter"), "blackboxExporter"),
    (group("postgres-exporter", Place::Monitoring, NAME, "prometheus-postgres-exporter"), "postgresql"),
    (group("redis-exporter", Place::Monitoring, NAME, "prometheus-redis-exporter"), "redis"),
    (group("kafka-exporter", Place::Monitoring, NAME, "prometheus-kafka-exporter"), "kafka"),
    (group("elasticsearch-exporter", Place::Monitoring, NAME, "prometheus-elasticsearch-exporter"), "elasticsearch"),
    (group("chaos-controller", Place::ChaosMesh, COMPONENT, "controller-manager"), "chaosMesh"),
    (group("chaos-daemon", Place::ChaosMesh, COMPONENT, "chaos-daemon"), "chaosMesh"),
    (
        Group {
            name: "node-exporter",
            place: Place::NodeExporter,
            label: (NAME, "prometheus-node-exporter"),
            host_network: true,
        },
        "node",
    ),
];

/// The groups that `config` deploys.
pub fn groups(config: &Config) -> Vec<Group> {
    let deployed = |key: &str| match stack::exporter(key) {
        Some(exporter) => config.exporter_mode(exporter.key) == ExporterMode::Deployed,
        None => config.component_enabled(key),
    };
    GROUPS.iter().filter(|(_, key)| deployed(key)).map(|(group, _)| group.clone()).collect()
}

/// The flows of `config`, none of them twice.
pub fn flows(config: &Config) -> Vec<Flow> {
    let mut catalogue = Catalogue { config, groups: groups(config), flows: Vec::new() };
    catalogue.everybody();
    catalogue.metrics();
    catalogue.logs_and_traces();
    catalogue.people();
    catalogue.chaos();
    catalogue.flows
}

struct Catalogue<'c> {
    config: &'c Config,
    groups: Vec<Group>,
    flows: Vec<Flow>,
}

fn tcp(numbers: &[u16]) -> Vec<Ports> {
    vec![Ports { protocol: "TCP", numbers: numbers.to_vec() }]
}

impl Catalogue<'_> {
    fn has(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Group(name) => self.groups.iter().any(|group| group.name == *name),
            _ => true,
        }
    }

    /// Adds a flow whose ends are both there.
    fn add(&mut self, from: Peer, to: Peer, ports: Vec<Ports>, why: impl Into<String>) {
        if self.has(&from) && self.has(&to) {
            self.flows.push(Flow { from, to, ports, why: why.into() });
        }
    }

    fn between(&mut self, from: &'static str, to: &'static str, ports: &[u16], why: &str) {
        self.add(Peer::Group(from), Peer::Group(to), tcp(ports), why);
    }

    /// To the host of `url`: a Service of the cluster by its namespace, anything else anywhere.
    fn outward(&mut self, from: &'static str, url: &str, why: &str) {
        if let Some((host, port)) = host_and_port(url) {
            let own = format!(".{}.svc", self.config.namespaces.monitoring);
            // A Service maps ports, and policies see those of the pods: of the stack's own they are listed apart.
            if host.ends_with(&own) || host.ends_with(&format!("{own}.cluster.local")) {
                return;
            }
            let peer = match namespace_of_service(&host) {
                Some(namespace) => Peer::Namespace(namespace),
                None => Peer::Anywhere,
            };
            self.add(Peer::Group(from), peer, tcp(&[port]), why);
        }
    }

    fn everybody(&mut self) {
        let dns = vec![Ports { protocol: "UDP", numbers: vec![53] }, Ports { protocol: "TCP", numbers: vec![53] }];
        self.add(Peer::Stack, Peer::Dns, dns, "names");
        for (from, why) in [
            ("prometheus", "discovery, and the API server's own metrics"),
            ("operator", "its objects"),
            ("grafana", "its sidecar finds dashboards"),
            ("kube-state-metrics", "the objects it counts"),
            ("alloy", "pods and their logs"),
            ("collector", "attributes of pods"),
        ] {
            self.add(Peer::Group(from), Peer::ControlPlane, tcp(&[443, 6443]), why);
        }
        self.add(Peer::ControlPlane, Peer::Group("operator"), tcp(&[10250]), "the API server asks its webhooks");
    }

    fn metrics(&mut self) {
        for (to, ports) in [
            ("alertmanager", &[9093, 8080][..]),
            ("operator", &[10250]),
            ("grafana", &[3000]),
            ("kube-state-metrics", &[8080]),
            ("loki", &[3100]),
            ("alloy", &[12345]),
            ("jaeger", &[8888]),
            ("collector", &[8888, 8889]),
            ("blackbox", &[9115]),
            ("postgres-exporter", &[9187]),
            ("redis-exporter", &[9121]),
            ("kafka-exporter", &[9308]),
            ("elasticsearch-exporter", &[9108]),
            ("chaos-controller", &[10080]),
            ("chaos-daemon", &[31766]),
        ] {
            let why = if to == "alertmanager" { "alerts, and its metrics" } else { "its metrics" };
            self.between("prometheus", to, ports, why);
        }
        let platform = Peer::Namespace(self.config.namespaces.platform.clone());
        // Any port: what asks to be scraped by annotation names its own.
        self.add(Peer::Group("prometheus"), platform, tcp(&[]), "metrics of the services and their exporters");
        let mut nodes = vec![10250];
        if self.groups.iter().any(|group| group.name == "node-exporter") {
            nodes.push(9100);
        }
        if !self.config.prometheus.managed_control_plane {
            nodes.extend([2381, 10249, 10257, 10259]);
            let dns = Peer::Namespace("kube-system".to_owned());
            self.add(Peer::Group("prometheus"), dns, tcp(&[9153]), "metrics of CoreDNS");
        }
        self.add(
            Peer::Group("prometheus"),
            Peer::ControlPlane,
            tcp(&nodes),
            "metrics of the nodes and the control plane",
        );
        for remote in self.config.prometheus.remote_write.clone() {
            self.outward("prometheus", &remote.url, &format!("samples for `{}`", remote.name));
        }
        if self.config.alertmanager.replicas > 1 {
            let mesh = ["TCP", "UDP"].map(|protocol| Ports { protocol, numbers: vec![9094] }).to_vec();
            self.add(Peer::Group("alertmanager"), Peer::Group("alertmanager"), mesh, "what was sent already");
        }
        self.notifications();
        self.exporters();
    }

    fn notifications(&mut self) {
        let receivers = &self.config.alertmanager.receivers;
        let smarthost = receivers.email.smarthost.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let mail = smarthost.filter(|_| receivers.email.enabled);
        let heartbeat = Some(receivers.heartbeat.port).filter(|_| receivers.heartbeat.enabled);
        if receivers.slack.enabled || receivers.pagerduty.enabled || heartbeat == Some(443) {
            self.add(Peer::Group("alertmanager"), Peer::Anywhere, tcp(&[443]), "Slack, PagerDuty and the heartbeat");
        }
        if let Some(port) = heartbeat.filter(|port| *port != 443) {
            self.add(Peer::Group("alertmanager"), Peer::Anywhere, tcp(&[port]), "the heartbeat");
        }
        if let Some(port) = mail {
            self.add(Peer::Group("alertmanager"), Peer::Anywhere, tcp(&[port]), "the mail server");
        }
    }

    fn exporters(&mut self) {
        let sources = self.config.exporters.clone();
        // Its address is in the Secret.
        self.add(Peer::Group("postgres-exporter"), Peer::Anywhere, tcp(&[5432]), "PostgreSQL");
        self.outward("redis-exporter", &sources.redis.address, "Redis");
        for broker in &sources.kafka.brokers {
            self.outward("kafka-exporter", &format!("kafka://{broker}"), "Kafka");
        }
        self.outward("elasticsearch-exporter", &sources.elasticsearch.url, "Elasticsearch");
        let mut ports: Vec<u16> = self.config.platform.services.iter().map(|service| service.port).collect();
        ports.sort_unstable();
        ports.dedup();
        if !ports.is_empty() {
            let platform = Peer::Namespace(self.config.namespaces.platform.clone());
            self.add(Peer::Group("blackbox"), platform, tcp(&ports), "`/health` of each service");
        }
        self.add(Peer::Group("blackbox"), Peer::Anywhere, tcp(&[80, 443]), "the public URLs");
        // One flow for several brokers of one port.
        self.flows.dedup();
    }

    fn logs_and_traces(&mut self) {
        let platform = Peer::Namespace(self.config.namespaces.platform.clone());
        self.add(platform.clone(), Peer::Group("collector"), tcp(&[4317, 4318, 14268]), "spans of the services");
        if self.config.prometheus.otlp_receiver {
            self.add(platform, Peer::Group("prometheus"), tcp(&[9090]), "metrics by OTLP");
        }
        self.between("collector", "jaeger", &[4317], "spans");
        self.between("collector", "loki", &[3100], "logs by OTLP");
        self.between("alloy", "loki", &[3100], "logs");
        self.between("grafana", "prometheus", &[9090], "panels");
        self.between("grafana", "alertmanager", &[9093], "alerts and silences");
        self.between("grafana", "loki", &[3100], "logs in panels");
        self.between("grafana", "jaeger", &[16686], "traces in panels");
        self.between("jaeger", "prometheus", &[9090], "its Monitor tab");
        let config = self.config;
        if !config.loki.enabled {
            for from in ["collector", "alloy", "grafana"] {
                self.outward(from, &config.loki.existing_url, "the Loki that runs already");
            }
        }
        if !config.prometheus.enabled {
            for from in ["grafana", "jaeger"] {
                self.outward(from, &config.prometheus.existing_url, "the Prometheus that runs already");
            }
        }
        if config.jaeger.storage == JaegerStorage::Elasticsearch {
            self.outward("jaeger", &config.jaeger.elasticsearch.url, "its store");
        }
        let bucket = &config.loki.object_storage;
        if bucket.enabled {
            let endpoint = if bucket.endpoint.is_empty() { "https://s3.amazonaws.com" } else { &bucket.endpoint };
            self.outward("loki", endpoint, "its bucket");
        }
    }

    fn people(&mut self) {
        let config = self.config;
        if config.ingress.enabled {
            let mut namespaces = config.security.ingress_namespaces.clone();
            if config.ingress.kind == IngressKind::Gateway {
                namespaces.push(config.ingress.gateway.namespace.clone());
            }
            namespaces.sort();
            namespaces.dedup();
            for namespace in namespaces {
                for (to, port) in [("grafana", 3000), ("prometheus", 9090), ("alertmanager", 9093), ("jaeger", 16686)] {
                    self.add(
                        Peer::Namespace(namespace.clone()),
                        Peer::Group(to),
                        tcp(&[port]),
                        "people, by the ingress",
                    );
                }
            }
        }
        let federation = &config.prometheus.federation;
        if federation.enabled {
            let from = match federation.source_ranges.as_slice() {
                [] => Peer::Anywhere,
                ranges => Peer::Networks(ranges.to_vec()),
            };
            self.add(from, Peer::Group("prometheus"), tcp(&[9090]), "another Prometheus reads `/federate`");
        }
    }

    fn chaos(&mut self) {
        self.add(
            Peer::ControlPlane,
            Peer::Group("chaos-controller"),
            tcp(&[10250]),
            "the API server asks its webhooks",
        );
        self.between("chaos-controller", "chaos-daemon", &[31767], "experiments on a node");
    }
}

/// Host and port of a URL, the port by the scheme where it names none.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let authority = authority.rsplit('@').next()?;
    let of_scheme = match scheme {
        "https" => 443,
        "redis" | "rediss" => 6379,
        "kafka" => 9092,
        _ => 80,
    };
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
        None if authority.is_empty() => None,
        None => Some((authority.to_owned(), of_scheme)),
    }
}

/// The namespace in the DNS name of a Service, or of a pod behind one, as `db-0.db.ns.svc`.
fn namespace_of_service(host: &str) -> Option<String> {
    let name = host.strip_suffix(".cluster.local").unwrap_or(host).strip_suffix(".svc")?;
    let mut parts = name.rsplit('.');
    let namespace = parts.next()?;
    parts.next().map(|_| namespace.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Layer, Profile, resolve};

    fn production(text: &str) -> Config {
        resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap()
    }

    #[test]
    fn hosts_and_ports_are_read_from_urls() {
        let cases = [
            ("redis://redis.d.svc:6380", Some(("redis.d.svc", 6380))),
            ("rediss://r.example.com", Some(("r.example.com", 6379))),
            ("https://a.b/c:d", Some(("a.b", 443))),
            ("http://u@a.b:1/x", Some(("a.b", 1))),
            ("kafka://k:9093", Some(("k", 9093))),
            ("nonsense", None),
            ("http://a:b", None),
        ];
        for (url, expected) in cases {
            assert_eq!(host_and_port(url), expected.map(|(host, port)| (host.to_owned(), port)), "{url}");
        }
        assert_eq!(namespace_of_service("db.ns.svc").as_deref(), Some("ns"));
        assert_eq!(namespace_of_service("db-0.db.ns.svc.cluster.local").as_deref(), Some("ns"));
        assert_eq!(namespace_of_service("db.example.com"), None);
    }

    #[test]
    fn no_flow_is_there_twice_and_each_has_its_reason() {
        let config =
            production("prometheus: {federation: {enabled: true}, otlpReceiver: true}\nalertmanager: {replicas: 2}");
        let all = flows(&config);
        for (index, flow) in all.iter().enumerate() {
            assert!(!flow.why.is_empty());
            let same = |other: &&Flow| (&other.from, &other.to, &other.ports) == (&flow.from, &flow.to, &flow.ports);
            assert!(!all[..index].iter().any(|other| same(&other)), "{flow:?}");
        }
    }

    #[test]
    fn what_is_off_has_no_flow() {
        let config =
            production("loki: {enabled: false, existingUrl: 'https://logs.example.com'}\nchaosMesh: {enabled: false}");
        let all = flows(&config);
        let names = |flow: &Flow, name: &str| {
            [&flow.from, &flow.to].into_iter().any(|peer| matches!(peer, Peer::Group(group) if *group == name))
        };
        assert!(!all.iter().any(|flow| names(flow, "loki") || names(flow, "chaos-controller")));
        let shipped = |flow: &&Flow| flow.from == Peer::Group("alloy") && flow.to == Peer::Anywhere;
        assert_eq!(all.iter().find(shipped).unwrap().ports, tcp(&[443]));
    }
}
