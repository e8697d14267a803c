//! The programs of the control plane as data: their arguments and configuration files.

use super::guard::ProgramSpec;
use super::network::node::PROGRAMS_NAMESPACE;
use super::network::program::{Absence, Listening, Program, jq_condition};
use super::objects::NODE_ADDRESS;
use super::pki::Pki;
use super::programs::Programs;
use super::state::Folder;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The programs of the control plane, in the order people see them.
pub const PROGRAMS: &[&str] = &[ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER, KWOK];
/// The store.
pub const ETCD: &str = "etcd";
/// The API server.
pub const API_SERVER: &str = "kube-apiserver";
/// The controllers.
pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// The scheduler.
pub const SCHEDULER: &str = "kube-scheduler";
/// The simulated node.
pub const KWOK: &str = "kwok";

const NODE_STAGES: &str = include_str!("../../sandbox/kwok/node.yaml");
const POD_STAGES: &str = include_str!("../../sandbox/kwok/pods.yaml");
/// What stands in the stages for the pods that KWOK leaves to the supervisor.
const PROGRAM_PODS: &str = "select(PROGRAM_PODS)";
/// What stands in the stages for how long the others take to start.
const PODS_START_AFTER: &str = "durationMilliseconds: PODS_START_AFTER";

const SERVICE_ADDRESSES: &str = "10.96.0.0/16";
const POD_ADDRESSES: &str = "10.244.0.0/16";
const ISSUER: &str = "https://kubernetes.default.svc";

/// Ports on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// Clients of etcd.
    pub etcd: u16,
    /// Peers of etcd; there are none, but it insists.
    pub etcd_peer: u16,
    /// The API server.
    pub api_server: u16,
    /// KWOK, which stands for the node's kubelet.
    pub kwok: u16,
    /// The installed programs behind pods: port by port of the pod.
    pub behind: BTreeMap<Program, BTreeMap<u16, u16>>,
    /// Port of a simulated pod, and where it is answered on loopback.
    pub simulated: BTreeMap<u16, u16>,
}

impl Ports {
    /// The port on which the program `name` listens.
    pub fn of(&self, name: &str) -> Option<u16> {
        match name {
            ETCD => Some(self.etcd),
            API_SERVER => Some(self.api_server),
            KWOK => Some(self.kwok),
            _ => {
                let (program, ports) = self.behind.iter().find(|(program, _)| program.key() == name)?;
                ports.get(&program.port()).copied()
            }
        }
    }

    /// Where the programs behind pods listen.
    pub fn listening(&self) -> Listening {
        let addresses = |ports: &BTreeMap<u16, u16>| ports.iter().map(|(pod, port)| (*pod, loopback(*port))).collect();
        self.behind.iter().map(|(program, ports)| (*program, addresses(ports))).collect()
    }
}

/// An address on this machine that no other machine reaches.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// What the programs are started with.
#[derive(Debug)]
pub struct ControlPlane<'a> {
    /// The sandbox's folders.
    pub folder: &'a Folder,
    /// Its certificates and keys.
    pub pki: &'a Pki,
    /// Its ports.
    pub ports: &'a Ports,
    /// The executables.
    pub programs: &'a Programs,
    /// How long a pod takes to start that no real program runs behind.
    pub pods_start_after: Duration,
}

impl ControlPlane<'_> {
    /// How to start the program `name`, one of [`PROGRAMS`].
    ///
    /// # Errors
    /// When it is none of them.
    pub fn spec(&self, name: &str) -> Result<ProgramSpec> {
        let arguments = match name {
            ETCD => self.etcd(),
            API_SERVER => self.api_server(),
            CONTROLLER_MANAGER => self.controller_manager(),
            SCHEDULER => self.scheduler(),
            KWOK => self.kwok(),
            _ => anyhow::bail!("`{name}` is not a program of the control plane"),
        };
        Ok(ProgramSpec {
            name: name.to_owned(),
            program: self.programs.path(name)?.to_owned(),
            arguments: arguments.iter().map(|(flag, value)| format!("--{flag}={value}")).collect(),
            environment: self.environment(name),
            directory: self.folder.directory.clone(),
            log: self.folder.log(name),
        })
    }

    fn environment(&self, name: &str) -> BTreeMap<String, String> {
        let mut environment = environment(&self.folder.directory);
        if name == API_SERVER {
            // Half as many collections: a tenth less time for a deploy, for a fifth more memory.
            environment.insert("GOGC".to_owned(), "200".to_owned());
        }
        environment
    }

    /// The configuration files that the arguments name, with their text.
    pub fn files(&self) -> Vec<(PathBuf, String)> {
        vec![
            (self.file("audit-policy.json"), audit_policy().to_string()),
            (self.file("egress.json"), egress(&self.folder.egress_socket()).to_string()),
            (self.file("kwok.yaml"), self.kwok_documents()),
            (self.file("kwok-node.yaml"), NODE_STAGES.to_owned()),
            (self.file("kwok-pods.yaml"), self.pod_stages()),
        ]
    }

    /// Its configuration and where forwarded ports lead, one YAML document each.
    fn kwok_documents(&self) -> String {
        let documents = [self.kwok_configuration()].into_iter().chain(self.port_forwards());
        documents.map(|document| document.to_string()).collect::<Vec<_>>().join("\n---\n")
    }

    /// The life of pods. Those of programs that are installed, or may not be missed, are the
    /// supervisor's to make ready.
    fn pod_stages(&self) -> String {
        let ours =
            |program: &Program| self.ports.behind.contains_key(program) || program.row().absence == Absence::Unready;
        let condition = jq_condition(Program::ALL.into_iter().filter(ours));
        let after = format!("durationMilliseconds: {}", self.pods_start_after.as_millis());
        POD_STAGES.replace(PROGRAM_PODS, &format!("select({condition})")).replace(PODS_START_AFTER, &after)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.configuration().join(name)
    }

    fn etcd(&self) -> Vec<(&'static str, String)> {
        let client = format!("https://{}", loopback(self.ports.etcd));
        let peer = format!("https://{}", loopback(self.ports.etcd_peer));
        let [certificate, key, authority] =
            [self.pki.certificate("etcd"), self.pki.key("etcd"), self.pki.authority()].map(|path| text(&path));
        vec![
            ("name", "sandbox".to_owned()),
            ("data-dir", text(&self.folder.etcd())),
            // It lives for an afternoon: speed matters, a power cut does not.
            ("unsafe-no-fsync", "true".to_owned()),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer.clone()),
            ("initial-cluster", format!("sandbox={peer}")),
            // Every Secret of the sandbox is in here, and other users of the machine reach loopback.
            ("client-cert-auth", "true".to_owned()),
            ("trusted-ca-file", authority.clone()),
            ("cert-file", certificate.clone()),
            ("key-file", key.clone()),
            ("peer-client-cert-auth", "true".to_owned()),
            ("peer-trusted-ca-file", authority),
            ("peer-cert-file", certificate),
            ("peer-key-file", key),
            ("logger", "zap".to_owned()),
            ("log-level", "warn".to_owned()),
        ]
    }

    fn api_server(&self) -> Vec<(&'static str, String)> {
        let certificate = text(&self.pki.certificate("apiserver"));
        let key = text(&self.pki.key("apiserver"));
        let authority = text(&self.pki.authority());
        vec![
            ("bind-address", Ipv4Addr::LOCALHOST.to_string()),
            ("secure-port", self.ports.api_server.to_string()),
            ("tls-cert-file", certificate.clone()),
            ("tls-private-key-file", key.clone()),
            ("client-ca-file", authority.clone()),
            ("etcd-servers", format!("https://{}", loopback(self.ports.etcd))),
            ("etcd-cafile", authority.clone()),
            ("etcd-certfile", certificate.clone()),
            ("etcd-keyfile", key.clone()),
            ("authorization-mode", "RBAC".to_owned()),
            ("allow-privileged", "true".to_owned()),
            ("service-cluster-ip-range", SERVICE_ADDRESSES.to_owned()),
            // What the Service `kubernetes` points at: loopback would be refused as an endpoint.
            ("advertise-address", NODE_ADDRESS.to_owned()),
            ("service-account-issuer", ISSUER.to_owned()),
            ("service-account-key-file", text(&self.pki.service_account_public_key())),
            ("service-account-signing-key-file", text(&self.pki.key("service-account"))),
            // KWOK is found by the node's host name: its internal address is a fiction.
            ("kubelet-preferred-address-types", "Hostname".to_owned()),
            ("kubelet-certificate-authority", authority),
            ("kubelet-client-certificate", certificate),
            ("kubelet-client-key", key),
            ("egress-selector-config-file", text(&self.file("egress.json"))),
            ("audit-policy-file", text(&self.file("audit-policy.json"))),
            ("audit-log-path", text(&self.folder.audit_log())),
            ("max-requests-inflight", "2000".to_owned()),
            ("max-mutating-requests-inflight", "1000".to_owned()),
            ("profiling", "false".to_owned()),
        ]
    }

    fn controller_manager(&self) -> Vec<(&'static str, String)> {
        let kubeconfig = text(&self.pki.kubeconfig("controller-manager"));
        vec![
            ("kubeconfig", kubeconfig),
            // Each controller acts as itself, with the permissions it has in any cluster.
            ("use-service-account-credentials", "true".to_owned()),
            ("service-account-private-key-file", text(&self.pki.key("service-account"))),
            ("root-ca-file", text(&self.pki.authority())),
            ("leader-elect", "false".to_owned()),
            ("secure-port", "0".to_owned()),
            ("kube-api-qps", "200".to_owned()),
            ("kube-api-burst", "400".to_owned()),
        ]
    }

    fn scheduler(&self) -> Vec<(&'static str, String)> {
        vec![
            ("kubeconfig", text(&self.pki.kubeconfig("scheduler"))),
            ("leader-elect", "false".to_owned()),
            ("secure-port", "0".to_owned()),
            ("kube-api-qps", "200".to_owned()),
            ("kube-api-burst", "400".to_owned()),
        ]
    }

    fn kwok(&self) -> Vec<(&'static str, String)> {
        let mut arguments = vec![("kubeconfig", text(&self.pki.kubeconfig("kwok")))];
        // Seen from its working directory: it takes a comma in a path for the end of one.
        arguments.extend(["kwok.yaml", "kwok-node.yaml", "kwok-pods.yaml"].map(|name| {
            let file = self.file(name);
            ("config", text(file.strip_prefix(&self.folder.directory).unwrap_or(&file)))
        }));
        arguments
    }

    fn kwok_configuration(&self) -> Value {
        json!({
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "options": {
                "manageAllNodes": true,
                "cidr": POD_ADDRESSES,
                "serverAddress": loopback(self.ports.kwok).to_string(),
                "nodePort": self.ports.kwok,
                "tlsCertFile": text(&self.pki.certificate("kwok")),
                "tlsPrivateKeyFile": text(&self.pki.key("kwok")),
                // Port-forward, logs and exec.
                "enableDebuggingHandlers": true,
                // Zero workers is their default where kwokctl did not start it.
                "podPlayStageParallelism": 16,
                "nodePlayStageParallelism": 4,
                "podsOnNodeSyncParallelism": 4,
                "nodeLeaseParallelism": 4,
                "nodeLeaseDurationSeconds": 40,
            },
        })
    }

    /// Which ports of pods lead where, for `kubectl port-forward`; every other port is refused. A
    /// program is asked for by the name of the pod that stands for it
    /// ([`super::network::node`]); for simulated pods the port alone decides.
    fn port_forwards(&self) -> Vec<Value> {
        let forwards = |ports: &BTreeMap<u16, u16>| -> Vec<Value> {
            let target = |port: &u16| json!({"address": Ipv4Addr::LOCALHOST.to_string(), "port": port});
            ports.iter().map(|(pod, port)| json!({"ports": [pod], "target": target(port)})).collect()
        };
        let programs = self.ports.behind.iter().map(|(program, ports)| {
            json!({
                "apiVersion": "kwok.x-k8s.io/v1alpha1",
                "kind": "PortForward",
                "metadata": {"name": program.key(), "namespace": PROGRAMS_NAMESPACE},
                "spec": {"forwards": forwards(ports)},
            })
        });
        let simulated = json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterPortForward",
            "metadata": {"name": "sandbox"},
            "spec": {"forwards": forwards(&self.ports.simulated)},
        });
        programs.chain([simulated]).collect()
    }
}

/// The whole environment of a program of the sandbox: the proxies and credentials of the person's
/// own environment are none of its business.
pub fn environment(home: &Path) -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()), ("HOME".to_owned(), text(home))])
}

/// Who did what to which object, once per request: the witness of what a deploy writes.
fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    })
}

/// Sends every connection into the cluster (webhooks, service proxy, node) through our socket.
fn egress(socket: &Path) -> Value {
    json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{
            "name": "cluster",
            "connection": {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": text(socket)}}},
        }],
    })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ports() -> Ports {
        let simulated = BTreeMap::from([(3001, 41), (9187, 42)]);
        let behind = BTreeMap::from([
            (Program::Prometheus, BTreeMap::from([(9090, 5)])),
            (Program::Alertmanager, BTreeMap::from([(9093, 6)])),
        ]);
        Ports { etcd: 1, etcd_peer: 2, api_server: 3, kwok: 4, behind, simulated }
    }

    fn with_plane<T>(test: impl FnOnce(&ControlPlane<'_>) -> T) -> T {
        let tools = tempfile::tempdir().unwrap();
        let programs = Programs::installed_in(tools.path());
        let folder = Folder::of("test").unwrap();
        let pki = Pki::at(&folder.pki());
        test(&ControlPlane {
            folder: &folder,
            pki: &pki,
            ports: &ports(),
            programs: &programs,
            pods_start_after: Duration::ZERO,
        })
    }

    #[test]
    fn every_program_listens_on_loopback_alone_and_inherits_no_environment() {
        with_plane(|plane| {
            for name in PROGRAMS {
                let spec = plane.spec(name).unwrap();
                let text = spec.arguments.join(" ");
                assert!(!text.contains("0.0.0.0"), "{text}");
                let names: Vec<&str> = spec.environment.keys().map(String::as_str).collect();
                let expected = if *name == API_SERVER { "GOGC HOME PATH" } else { "HOME PATH" };
                assert_eq!(names.join(" "), expected);
            }
            let api_server = plane.spec(API_SERVER).unwrap().arguments;
            for flag in ["--bind-address=127.0.0.1", "--authorization-mode=RBAC", "--advertise-address=10.99.0.1"] {
                assert!(api_server.iter().any(|argument| argument == flag), "{flag}");
            }
            assert!(plane.spec("prometheus").is_err());
        });
    }

    #[test]
    fn only_ports_with_something_behind_them_are_forwarded() {
        with_plane(|plane| {
            let told: Vec<(String, Vec<(u64, u64)>)> = plane
                .port_forwards()
                .iter()
                .map(|object| {
                    let ports = object["spec"]["forwards"].as_array().unwrap().iter().map(|forward| {
                        (forward["ports"][0].as_u64().unwrap(), forward["target"]["port"].as_u64().unwrap())
                    });
                    (object["metadata"]["name"].as_str().unwrap().to_owned(), ports.collect())
                })
                .collect();
            let expected = [
                ("prometheus", vec![(9090, 5)]),
                ("alertmanager", vec![(9093, 6)]),
                ("sandbox", vec![(3001, 41), (9187, 42)]),
            ];
            assert_eq!(told, expected.map(|(name, ports)| (name.to_owned(), ports)));
        });
    }

    #[test]
    fn the_pods_of_a_program_are_the_supervisors_when_it_is_installed_or_may_not_be_missed() {
        with_plane(|plane| {
            let stages = plane.pod_stages();
            assert!(!stages.contains(PROGRAM_PODS) && !stages.contains(PODS_START_AFTER));
            for (label, named) in [("prometheus", true), ("loki", false), ("chaos-mesh", true)] {
                let condition = format!(".metadata.labels[\"app.kubernetes.io/name\"] == \"{label}\"");
                assert_eq!(stages.matches(&condition).count(), if named { 2 } else { 0 }, "{label}");
            }
        });
    }

    #[test]
    fn the_node_has_the_address_that_its_certificate_and_the_api_server_name() {
        assert!(NODE_STAGES.contains(&format!("{{ type: InternalIP, address: {NODE_ADDRESS} }}")));
    }

    #[test]
    fn every_file_that_an_argument_names_is_written() {
        with_plane(|plane| {
            let written: Vec<PathBuf> = plane.files().into_iter().map(|(path, _)| path).collect();
            let named = PROGRAMS.iter().flat_map(|name| plane.spec(name).unwrap().arguments);
            for argument in named.filter(|argument| argument.contains("configuration/")) {
                let (_, path) = argument.split_once('=').unwrap();
                assert!(written.contains(&plane.folder.directory.join(path)), "{argument}");
            }
            assert_eq!(written.len(), 5);
        });
    }
}
