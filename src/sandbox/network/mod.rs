//! The sandbox's whole network in one place, on loopback only.
//!
//! Pod and Service addresses of a sandbox are fictions that no packet may be sent to. Whoever wants
//! to reach one asks here: the API server by CONNECT on a Unix socket ([`egress`]), Prometheus and
//! Alertmanager by an HTTP proxy ([`proxy`]), KWOK's port-forward by one loopback port for each
//! simulated pod port ([`simulated`]). The [`directory`] knows from the API server ([`watch`]) who
//! stands behind an address: a real program, the simulator, or nobody, which is refused at once
//! with the reason.

mod cluster;
pub mod directory;
mod egress;
mod kubelet_access;
mod log;
pub mod node;
pub mod pod;
pub mod program;
mod proxy;
mod simulated;
mod stand_ins;
pub mod tls;
mod watch;
pub(super) mod wire;

use super::platform::Simulator;
use anyhow::Result;
use directory::{Directory, Layout};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use program::Listening;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use directory::SimulatedPort;

/// What the network is made of.
#[derive(Clone)]
pub struct NetworkOptions {
    /// The Unix socket of the API server's egress selector; at most 107 bytes long.
    pub socket: PathBuf,
    /// Where the API server listens.
    pub api_server: SocketAddr,
    /// Where kwok answers for its nodes (kubelet API).
    pub kwok: SocketAddr,
    /// Where the real programs listen.
    pub real: Listening,
    /// The Services and pod ports that the simulator speaks for.
    pub simulated: Vec<SimulatedPort>,
    /// Their namespace.
    pub namespace: String,
    /// Who speaks for them.
    pub simulator: Arc<Simulator>,
    /// What the simulated kubelet shows to its clients; without it there is none.
    pub kubelet: Option<tls::Identity>,
    /// Who kwok is for the API server; without, connections to it are passed on unread.
    pub node: Option<tls::Identity>,
    /// The folder with the logs of the real programs.
    pub programs: PathBuf,
}

/// What all connections share.
struct Shared {
    layout: Layout,
    directory: RwLock<Arc<Directory>>,
    simulator: Arc<Simulator>,
    kubelet: Option<tls::Identity>,
    node: Option<tls::Identity>,
    programs: PathBuf,
    /// Since [`Network::watch`].
    client: OnceLock<kube::Client>,
    /// Since the first page that needs them.
    stores: OnceLock<cluster::Stores>,
    pods: RwLock<Vec<Arc<Pod>>>,
    allowed: Mutex<kubelet_access::Allowed>,
    stop: CancellationToken,
}

impl Shared {
    fn directory(&self) -> Arc<Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn know(&self, pods: &[Arc<Pod>], services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) {
        let directory = Directory::new(self.layout.clone(), pods, services, slices);
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(directory);
        *self.pods.write().unwrap_or_else(PoisonError::into_inner) = pods.to_vec();
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pods = self.pods.read().unwrap_or_else(PoisonError::into_inner);
        let named = |pod: &&Arc<Pod>| {
            pod.metadata.name.as_deref() == Some(name) && pod.metadata.namespace.as_deref() == Some(namespace)
        };
        pods.iter().find(named).cloned()
    }
}

/// The running network. Dropping it ends its connections.
pub struct Network {
    shared: Arc<Shared>,
    proxy: SocketAddr,
    simulated: BTreeMap<u16, u16>,
    tasks: Mutex<JoinSet<()>>,
}

/// Starts the network. It knows only kwok until [`Network::watch`] is called, so it can (and must)
/// run before the API server does.
///
/// # Errors
/// When the socket cannot be made or no loopback port can be had.
pub async fn start(options: NetworkOptions) -> Result<Network> {
    let NetworkOptions { socket, api_server, kwok, real, simulated, namespace, simulator, kubelet, node, programs } =
        options;
    let layout = Layout { api_server, kwok, real, simulated, namespace };
    let nobody = Directory::new(layout.clone(), &[], &[], &[]);
    let shared = Arc::new(Shared {
        layout,
        directory: RwLock::new(Arc::new(nobody)),
        simulator,
        kubelet,
        node,
        programs,
        client: OnceLock::new(),
        stores: OnceLock::new(),
        pods: RwLock::default(),
        allowed: Mutex::default(),
        stop: CancellationToken::new(),
    });
    let mut tasks = JoinSet::new();
    egress::listen(&shared, &socket, &mut tasks)?;
    let proxy = proxy::listen(&shared, &mut tasks).await?;
    let simulated = simulated::listen(&shared, &mut tasks).await?;
    Ok(Network { shared, proxy, simulated, tasks: Mutex::new(tasks) })
}

impl Network {
    /// Starts to follow the pods, Services and EndpointSlices that `client` sees.
    pub fn watch(&self, client: kube::Client) {
        // Only the first client counts; there is no other.
        let _ = self.shared.client.set(client.clone());
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(watch::keep(self.shared.clone(), client));
    }

    /// Replaces everything the network knows, which [`Network::watch`] does by itself.
    pub fn know(&self, pods: &[Arc<Pod>], services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) {
        self.shared.know(pods, services, slices);
    }

    /// What Prometheus and Alertmanager take as `proxy_url`.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// Loopback port by pod port of what the simulator speaks for, for whoever comes by port alone.
    pub fn simulated(&self) -> BTreeMap<u16, u16> {
        self.simulated.clone()
    }

    /// Ends every listener and connection.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Connections are tasks of their own; the set of listeners ends with itself.
        self.shared.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::PlatformService;
    use serde_json::json;
    use std::path::Path;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    /// A network of one simulated pod, one pod with `real` behind it and one without any program.
    async fn network(folder: &Path, real: SocketAddr) -> Network {
        let services = vec![PlatformService { name: "user-service".into(), port: 3001 }];
        let options = NetworkOptions {
            socket: folder.join("egress.sock"),
            api_server: ([127, 0, 0, 1], 1).into(),
            kwok: real,
            real: [(program::Program::Prometheus, [(9090, real)].into())].into(),
            simulated: vec![SimulatedPort { service: "user-service".into(), port: 3001 }],
            namespace: "drivemaster".into(),
            simulator: Arc::new(Simulator::new(services, Vec::new(), "drivemaster", 1).unwrap()),
            kubelet: None,
            node: None,
            programs: folder.to_path_buf(),
        };
        let network = start(options).await.unwrap();
        let mut pods = Vec::new();
        let mut slices = Vec::new();
        for (namespace, name, port, ip) in [
            ("drivemaster", "user-service", 3001, "10.244.0.30"),
            ("monitoring", "prometheus", 9090, "10.244.0.10"),
            ("monitoring", "grafana", 3000, "10.244.0.12"),
        ] {
            let pod = json!({
                "metadata": { "namespace": namespace, "name": format!("{name}-0"), "labels": { program::NAME_LABEL: name } },
                "spec": { "nodeName": "sandbox-0", "containers": [{ "name": name }] },
                "status": { "phase": "Running", "podIP": ip },
            });
            let slice = json!({
                "metadata": { "namespace": namespace, "name": name, "labels": { "kubernetes.io/service-name": name } },
                "addressType": "IPv4", "ports": [{ "port": port }],
                "endpoints": [{ "addresses": [ip], "targetRef": { "kind": "Pod", "namespace": namespace, "name": format!("{name}-0") } }],
            });
            pods.push(Arc::new(serde_json::from_value(pod).unwrap()));
            slices.push(Arc::new(serde_json::from_value(slice).unwrap()));
        }
        network.know(&pods, &[], &slices);
        network
    }

    /// A program that answers every connection with `hello` and what it was asked.
    async fn program() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let head = read_head(&mut stream).await;
                    let line = head.lines().next().unwrap_or_default().to_owned();
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nhello {line}", line.len() + 6);
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        address
    }

    async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { break };
            head.push(byte);
        }
        String::from_utf8_lossy(&head).into_owned()
    }

    async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        read_head(stream).await
    }

    async fn whole(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn to_proxy(network: &Network) -> TcpStream {
        TcpStream::connect(network.proxy_url().strip_prefix("http://").unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn the_api_server_gets_a_tunnel_to_programs_and_simulated_pods_and_else_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let network = network(folder.path(), program().await).await;
        for (target, status, body) in [
            ("10.244.0.10:9090", "HTTP/1.1 200 OK", "hello GET /metrics HTTP/1.1"),
            ("10.244.0.30:3001", "HTTP/1.1 200 OK", "http_requests_total"),
            (
                "10.244.0.12:3000",
                "HTTP/1.1 502 no program runs behind pod monitoring/grafana-0 port 3000 in the sandbox",
                "",
            ),
            ("example.com:443", "HTTP/1.1 502 example.com is outside the sandbox: it knows pods and Services only", ""),
        ] {
            let mut stream = UnixStream::connect(folder.path().join("egress.sock")).await.unwrap();
            let head = ask(&mut stream, &format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).await;
            assert!(head.starts_with(&format!("{status}\r\n")), "{target}: {head}");
            if !body.is_empty() {
                let answer = whole(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
                assert!(answer.contains(body), "{target}: {answer}");
            }
        }
        network.shutdown().await;
    }

    #[tokio::test]
    async fn a_scrape_goes_to_the_program_or_the_simulator_and_else_gets_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let network = network(folder.path(), program().await).await;
        for (target, expected) in [
            ("http://10.244.0.10:9090/metrics?x=1", "hello GET /metrics?x=1 HTTP/1.1"),
            ("http://10.244.0.30:3001/metrics", "http_requests_total"),
            ("http://10.244.0.30:3001/nowhere", "HTTP/1.1 404"),
            (
                "http://10.244.0.31:3001/metrics",
                "HTTP/1.1 502 no pod or Service of the sandbox has the address 10.244.0.31",
            ),
            ("https://10.244.0.30:3001/metrics", "HTTP/1.1 400"),
            ("/metrics", "HTTP/1.1 400"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = whole(to_proxy(&network).await, &request).await;
            assert!(answer.contains(expected), "{target}: {answer}");
        }
        network.shutdown().await;
    }

    #[tokio::test]
    async fn a_simulated_port_is_reached_by_its_number_alone() {
        let folder = tempfile::tempdir().unwrap();
        let network = network(folder.path(), program().await).await;
        let port = network.simulated()[&3001];
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let answer = whole(stream, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        network.shutdown().await;
    }

    #[tokio::test]
    async fn garbage_and_dead_programs_are_answered_and_nothing_listens_after_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let network = network(folder.path(), ([127, 0, 0, 1], 1).into()).await;
        let answer = whole(to_proxy(&network).await, "\u{1}\u{2} nonsense\r\n\r\n").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        let request = "GET http://10.244.0.10:9090/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = whole(to_proxy(&network).await, request).await;
        assert!(answer.starts_with("HTTP/1.1 502 10.244.0.10:9090: connection refused\r\n"), "{answer}");
        let proxy = network.proxy;
        network.shutdown().await;
        assert!(TcpStream::connect(proxy).await.is_err());
    }
}
