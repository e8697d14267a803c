//! A proxy on loopback between a client and a real API server that fails by a script, the same way each time.
//!
//! It serves plain HTTP and speaks TLS with the credentials of a kubeconfig behind. Every connection carries one
//! request, whose bytes are passed on as they come, watches and port-forwards too.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

/// The longest head of a request.
const HEAD_LIMIT: usize = 64 * 1024;

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It is answered with this status and reason, without the API server.
    Status(u16, &'static str),
    /// The same, and the answer asks for a pause of so many seconds.
    Busy(u16, u32),
    /// The API server carries it out, and its answer breaks off within the body.
    BreakOff,
    /// The API server carries it out, and the connection is closed without an answer.
    Swallow,
    /// It is never answered.
    Stall,
    /// Its answer, a watch, ends after this time.
    EndAfter(Duration),
    /// It is not answered, and every connection is refused for this time.
    Away(Duration),
}

/// Which requests fail, and how.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub fault: Fault,
    /// The method; any where empty.
    pub method: &'static str,
    /// What the path and query contain.
    pub path: &'static str,
    /// What the path and query do not contain.
    pub except: &'static str,
    /// Who asks: how the user agent begins.
    pub agent: &'static str,
    /// How many requests fail at most.
    pub most: u32,
    /// The share of the matching requests that fail.
    pub chance: f64,
}

impl Rule {
    /// Every request of the program under test.
    pub fn new(fault: Fault) -> Self {
        Rule { fault, method: "", path: "", except: "\n", agent: "drivemaster-mon/", most: u32::MAX, chance: 1.0 }
    }

    pub fn of(self, method: &'static str, path: &'static str) -> Self {
        Rule { method, path, ..self }
    }

    pub fn except(self, except: &'static str) -> Self {
        Rule { except, ..self }
    }

    pub fn by(self, agent: &'static str) -> Self {
        Rule { agent, ..self }
    }

    pub fn most(self, most: u32) -> Self {
        Rule { most, ..self }
    }

    pub fn chance(self, chance: f64) -> Self {
        Rule { chance, ..self }
    }

    fn matches(&self, head: &Head) -> bool {
        (self.method.is_empty() || self.method == head.method)
            && head.target.contains(self.path)
            && !head.target.contains(self.except)
            && head.header("user-agent").is_some_and(|agent| agent.starts_with(self.agent))
    }
}

struct Script {
    rules: Vec<(Rule, u32)>,
    random: StdRng,
}

struct Upstream {
    address: SocketAddr,
    tls: TlsConnector,
    token: Option<String>,
}

struct Shared {
    script: Mutex<Script>,
    upstream: Upstream,
    away: mpsc::UnboundedSender<Duration>,
}

/// The proxy; it ends when it is dropped.
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl FaultProxy {
    /// Starts one before the API server of `kubeconfig`. It fails nothing yet.
    pub fn start(kubeconfig: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (away, gone) = mpsc::unbounded_channel();
        let script = Mutex::new(Script { rules: Vec::new(), random: StdRng::seed_from_u64(0) });
        let shared = Arc::new(Shared { script, upstream: upstream(kubeconfig), away });
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::clone(&shared), gone));
        FaultProxy { shared, address, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The script from now on; of several rules that match, the first strikes.
    pub fn script(&self, seed: u64, rules: &[Rule]) {
        let rules = rules.iter().map(|rule| (*rule, 0)).collect();
        *self.shared.script.lock().unwrap() = Script { rules, random: StdRng::seed_from_u64(seed) };
    }

    /// How many requests failed by each rule of the script.
    pub fn struck(&self) -> Vec<u32> {
        self.shared.script.lock().unwrap().rules.iter().map(|(_, struck)| *struck).collect()
    }

    /// Writes a kubeconfig that leads here.
    pub fn kubeconfig(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("proxied-{}.kubeconfig", self.address.port()));
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxied",
            "clusters": [{"name": "proxied", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "proxied", "user": {}}],
            "contexts": [{"name": "proxied", "context": {"cluster": "proxied", "user": "proxied"}}],
        });
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, mut gone: mpsc::UnboundedReceiver<Duration>) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    loop {
        let Some(open) = &listener else {
            listener = TcpListener::bind(address).await.ok();
            continue;
        };
        tokio::select! {
            time = gone.recv() => {
                let Some(time) = time else { return };
                listener = None;
                tokio::time::sleep(time).await;
                // Those who asked before it was noticed.
                while gone.try_recv().is_ok() {}
            }
            accepted = open.accept() => if let Ok((stream, _)) = accepted {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { pass(stream, &shared).await });
            },
        }
    }
}

/// Takes one request and passes it on, or fails it. That a connection ends early is what this is for, so it is
/// no error of the proxy's.
async fn pass(mut client: TcpStream, shared: &Shared) -> Option<()> {
    let (head, mut body) = read_head(&mut client).await?;
    let fault = strike(&mut shared.script.lock().unwrap(), &head);
    match fault {
        Some(Fault::Status(code, reason)) => return answer(&mut client, &head, body, code, reason, None).await,
        Some(Fault::Busy(code, pause)) => {
            let reason = if code == 429 { "TooManyRequests" } else { "ServiceUnavailable" };
            return answer(&mut client, &head, body, code, reason, Some(pause)).await;
        }
        Some(Fault::Stall) => {
            // Until the client gives up.
            let _ = client.read(&mut body).await;
            std::future::pending::<()>().await;
        }
        Some(Fault::Away(time)) => return shared.away.send(time).ok(),
        None | Some(Fault::BreakOff | Fault::Swallow | Fault::EndAfter(_)) => {}
    }
    let stream = TcpStream::connect(shared.upstream.address).await.ok()?;
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut server = shared.upstream.tls.connect(name, stream).await.ok()?;
    server.write_all(&head.for_server(shared.upstream.token.as_deref())).await.ok()?;
    server.write_all(&body).await.ok()?;
    match fault {
        Some(Fault::BreakOff | Fault::Swallow) => {
            send_rest(&mut client, &mut server, &head, body.len()).await?;
            let mut answer = Vec::new();
            while end_of_head(&answer).is_none_or(|end| answer.len() < end + 2) {
                if server.read_buf(&mut answer).await.ok()? == 0 {
                    break;
                }
            }
            let end = end_of_head(&answer)?;
            if matches!(fault, Some(Fault::BreakOff)) {
                client.write_all(&answer[..end + (answer.len() - end) / 2]).await.ok()?;
            }
        }
        Some(Fault::EndAfter(time)) => {
            tokio::time::timeout(time, copy_bidirectional(&mut client, &mut server)).await.ok()?.ok()?;
        }
        _ => {
            copy_bidirectional(&mut client, &mut server).await.ok()?;
        }
    }
    Some(())
}

fn strike(script: &mut Script, head: &Head) -> Option<Fault> {
    let Script { rules, random } = script;
    let (rule, struck) = rules.iter_mut().find(|(rule, struck)| *struck < rule.most && rule.matches(head))?;
    // Drawn for each request that matches, so that a seed means the same each time.
    if !random.random_bool(rule.chance) {
        return None;
    }
    *struck += 1;
    Some(rule.fault)
}

/// Answers in the place of the API server, once the request is read.
async fn answer(
    client: &mut TcpStream,
    head: &Head,
    body: Vec<u8>,
    code: u16,
    reason: &str,
    pause: Option<u32>,
) -> Option<()> {
    send_rest(client, &mut tokio::io::sink(), head, body.len()).await?;
    let message = format!("the script of the test answers {code}");
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    // The API server's own limit on requests answers in plain words.
    let text = if pause.is_some() { message } else { status.to_string() };
    let pause = pause.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    let kind = if text.starts_with('{') { "application/json" } else { "text/plain" };
    let answer = format!(
        "HTTP/1.1 {code} {reason}\r\nConnection: close\r\nContent-Type: {kind}\r\n{pause}Content-Length: {}\r\n\r\n{text}",
        text.len()
    );
    client.write_all(answer.as_bytes()).await.ok()?;
    client.shutdown().await.ok()
}

/// Passes on what is missing of the request's body, of which `sent` bytes are.
async fn send_rest(
    client: &mut TcpStream,
    server: &mut (impl tokio::io::AsyncWrite + Unpin),
    head: &Head,
    sent: usize,
) -> Option<()> {
    let length: usize = head.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let rest = u64::try_from(length.saturating_sub(sent)).ok()?;
    tokio::io::copy(&mut client.take(rest), server).await.ok()?;
    server.flush().await.ok()
}

/// The head of a request.
struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        Some(Head { method, target, headers })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The head that the API server gets: the connection ends with the answer, unless it becomes another's.
    fn for_server(&self, token: Option<&str>) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let upgrades = self.header("upgrade").is_some();
        for (name, value) in self.headers.iter().filter(|(name, _)| upgrades || name != "connection") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !upgrades {
            text.push_str("connection: close\r\n");
        }
        if let Some(token) = token {
            text.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// Reads the head, and what of the body came with it.
async fn read_head(client: &mut TcpStream) -> Option<(Head, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = end_of_head(&bytes) {
            let body = bytes.split_off(end);
            return Some((Head::parse(std::str::from_utf8(&bytes).ok()?)?, body));
        }
        if bytes.len() > HEAD_LIMIT || client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// How the API server of `kubeconfig` is reached.
fn upstream(kubeconfig: &Path) -> Upstream {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let value: Value = serde_yaml::from_str(&text).unwrap();
    let (cluster, user) = (&value["clusters"][0]["cluster"], &value["users"][0]["user"]);
    let pem = |place: &Value, key: &str| -> Option<Vec<u8>> {
        match place[key].as_str() {
            Some(path) => Some(std::fs::read(path).unwrap()),
            None => BASE64_STANDARD.decode(place[format!("{key}-data")].as_str()?).ok(),
        }
    };
    let certificates = |pem: &[u8]| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem).map(|certificate| certificate.unwrap()).collect()
    };
    let mut roots = rustls::RootCertStore::empty();
    for authority in certificates(&pem(cluster, "certificate-authority").unwrap()) {
        roots.add(authority).unwrap();
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match (pem(user, "client-certificate"), pem(user, "client-key")) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
            builder.with_client_auth_cert(certificates(&certificate), key).unwrap()
        }
        _ => builder.with_no_client_auth(),
    };
    let server = cluster["server"].as_str().unwrap().trim_start_matches("https://");
    Upstream {
        address: server.parse().unwrap(),
        tls: TlsConnector::from(Arc::new(config)),
        token: user["token"].as_str().map(str::to_owned),
    }
}
