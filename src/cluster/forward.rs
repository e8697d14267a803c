//! Port-forward through the API server: a local listener, and for each of its connections a
//! WebSocket to a ready pod.
//!
//! The pod is chosen anew for each connection, so a forward survives its restart. The far end's
//! close does not always arrive (the WebSocket protocol of Kubernetes has no half-close), so a
//! connection ends when either side ends, on an error from the pod, or after [`IDLE_LIMIT`].

mod holder;
mod target;

pub use target::{PortOf, ServicePort, Target, Unresolved, resolve_target, state_of_pods};

use crate::error::{Failure, Kind};
use crate::event::{Event, Events};
use crate::stack;
use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams, Portforwarder};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

/// How long finding a pod and connecting to it may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A connection without a byte in either direction for this long is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(600);
/// After the local side ended its writing, the pod may still answer; this long without a byte ends it.
const LINGER: Duration = Duration::from_secs(2);
/// Further connections wait in the listener's queue.
const MOST_CONNECTIONS: usize = 256;
/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// The local end of a forward; always on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalPort {
    /// This port.
    Fixed(u16),
    /// Any free port.
    Free,
}

/// An open forward. Dropping it ends it at once.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    counters: Arc<Counters>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    errors: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Forward {
    /// The local address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were taken.
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// How many of them failed.
    pub fn errors(&self) -> u64 {
        self.counters.errors.load(Ordering::Relaxed)
    }

    /// Why the last failed connection failed.
    ///
    /// The local client only sees its connection closed; the reason stands here.
    pub fn last_error(&self) -> Option<String> {
        self.counters.last_error.lock().ok().and_then(|error| error.clone())
    }

    /// Closes the listener and all connections, and returns when they are gone.
    pub async fn close(mut self) {
        self.accepting.abort();
        // Only says that the task was aborted, which was the purpose.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // The connections live in a `JoinSet` of this task and end with it.
        self.accepting.abort();
    }
}

/// Opens a forward from `local` to `service`.
///
/// # Errors
/// The local port is taken ([`Kind::Refused`]), or no pod can be reached ([`Kind::CouldNotAsk`]).
pub async fn open(client: &Client, service: ServicePort, local: LocalPort, events: Events) -> Result<Forward> {
    // The listener first: a taken port is the answer a person can act on at once.
    let listener = bind(&service.service, local).await?;
    let address = listener.local_addr().context("cannot read the address of the local listener")?;
    let _: Vec<Target> = targets(client, &service).await?;
    let counters = Arc::new(Counters::default());
    let accepting = tokio::spawn(accept(listener, client.clone(), service, Arc::clone(&counters), events));
    Ok(Forward { address, counters, accepting })
}

async fn bind(service: &str, local: LocalPort) -> Result<TcpListener> {
    let port = match local {
        LocalPort::Fixed(port) => port,
        LocalPort::Free => 0,
    };
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        let taken = error.kind() == std::io::ErrorKind::AddrInUse;
        let holder = if taken { holder::holder_of(port) } else { None };
        let message = match (taken, holder) {
            (true, Some(holder)) => format!("local port `{port}` for `{service}` is taken by {holder}"),
            (true, None) => format!("local port `{port}` for `{service}` is taken"),
            (false, _) => format!("cannot listen on local port `{port}` for `{service}`"),
        };
        let free = if port < u16::MAX - 10_000 { port + 10_000 } else { port - 10_000 };
        // People name services by the catalogue's key.
        let known = stack::COMPONENTS.iter().find(|component| component.service == service);
        let name = known.map_or(service, |component| component.key);
        let failure = Failure::new(Kind::Refused, message).hint(format!("choose another: --port {name}={free}"));
        if taken { anyhow!(failure) } else { failure.caused_by(error) }
    })
}

/// The ready pods behind `service` now.
async fn targets(client: &Client, service: &ServicePort) -> Result<Vec<Target>> {
    match timeout(CONNECT_LIMIT, ask_for_targets(client, service)).await {
        Ok(answer) => answer,
        Err(_) => Err(could_not_ask(service).caused_by(anyhow!("no answer in {} s", CONNECT_LIMIT.as_secs()))),
    }
}

fn could_not_ask(service: &ServicePort) -> Failure {
    Failure::new(Kind::CouldNotAsk, format!("cannot forward to service `{service}`"))
}

async fn ask_for_targets(client: &Client, name: &ServicePort) -> Result<Vec<Target>> {
    let failed = |error: kube::Error| could_not_ask(name).caused_by(anyhow!(message_of(&error)));
    let services: Api<Service> = Api::namespaced(client.clone(), &name.namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &name.namespace);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={}", name.service));
    let (service, slices) = tokio::join!(services.get_opt(&name.service), slices.list(&of_service));
    let Some(service) = service.map_err(failed)? else {
        let failure = Failure::new(
            Kind::CouldNotAsk,
            format!("service `{}` does not exist in namespace `{}`", name.service, name.namespace),
        );
        return Err(failure.hint("drivemaster-mon status").into());
    };
    let slices = slices.map_err(failed)?.items;
    match resolve_target(&service, &slices, &[], name.port) {
        Ok(targets) => Ok(targets),
        Err(Unresolved::NoSuchPort(known)) => Err(could_not_ask(name).caused_by(anyhow!("no such port: {known}"))),
        Err(Unresolved::NoReadyPod(_)) => {
            // Only now are the pods worth a question: they know why.
            let selector = selector_of(&service);
            let pods: Api<Pod> = Api::namespaced(client.clone(), &name.namespace);
            let pods = match &selector {
                Some(selector) => pods.list(&ListParams::default().labels(selector)).await.map_err(failed)?.items,
                None => Vec::new(),
            };
            let failure = Failure::new(Kind::CouldNotAsk, format!("no pod of service `{name}` is ready"));
            let hint = match &selector {
                Some(selector) => format!("kubectl -n {} describe pods -l {selector}", name.namespace),
                None => format!("kubectl -n {} get endpointslices", name.namespace),
            };
            Err(failure.hint(hint).caused_by(anyhow!(state_of_pods(&pods))))
        }
    }
}

/// The Service's selector as a label selector; `None` for a Service without one.
fn selector_of(service: &Service) -> Option<String> {
    let selector = service.spec.as_ref()?.selector.as_ref()?;
    let pairs: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { None } else { Some(pairs.join(",")) }
}

async fn accept(listener: TcpListener, client: Client, service: ServicePort, counters: Arc<Counters>, events: Events) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                if let Ok((stream, _)) = accepted {
                    let number = counters.connections.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(serve(stream, number, client.clone(), service.clone(), Arc::clone(&counters), Arc::clone(&events)));
                } else {
                    // Out of descriptors: the next try must not spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    number: u64,
    client: Client,
    service: ServicePort,
    counters: Arc<Counters>,
    events: Events,
) {
    // The stream is closed last: who sees it closed finds the reason already kept.
    if let Err(error) = carry(&mut stream, number, &client, &service).await {
        counters.errors.fetch_add(1, Ordering::Relaxed);
        let reason = crate::error::chain_of(&error).join(": ");
        let news =
            counters.last_error.lock().is_ok_and(|mut last| last.replace(reason.clone()).as_ref() != Some(&reason));
        let message = format!("connection {} to `{service}` failed: {reason}", number + 1);
        // A browser opens many connections at once: the same reason is worth one warning.
        events.emit(if news { Event::Warning { message } } else { Event::Detail { message } });
    }
}

/// Ends the WebSocket's task even when this task is aborted: it would wait for a close that never comes.
struct AbortOnDrop(Portforwarder);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn carry(stream: &mut TcpStream, number: u64, client: &Client, service: &ServicePort) -> Result<()> {
    let targets = targets(client, service).await?;
    let turn = usize::try_from(number).unwrap_or_default() % targets.len().max(1);
    let target = targets.get(turn).context("no pod to connect to")?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &service.namespace);
    let forwarder = match timeout(CONNECT_LIMIT, pods.portforward(&target.pod, &[target.port])).await {
        Ok(Ok(forwarder)) => forwarder,
        Ok(Err(error)) => return Err(anyhow!(message_of(&error)).context(format!("pod `{}`", target.pod))),
        Err(_) => return Err(anyhow!("pod `{}`: no connection in {} s", target.pod, CONNECT_LIMIT.as_secs())),
    };
    let mut forwarder = AbortOnDrop(forwarder);
    let remote = forwarder.0.take_stream(target.port).context("the forwarder has no stream")?;
    let refused = forwarder.0.take_error(target.port).context("the forwarder has no error channel")?;
    let refused = async {
        match refused.await {
            Some(reason) => reason,
            // The channel closed without a word: the end of the stream says all there is.
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // An error and the end of the stream may be there together: the error says more.
        biased;
        reason = refused => Err(anyhow!("pod `{}` port {}: {}", target.pod, target.port, plain_reason(&reason))),
        () = copy_until_either_ends(stream, remote, IDLE_LIMIT) => Ok(()),
    }
}

/// What the kubelet says went wrong, without the pod and port that it names once more.
///
/// It says `error forwarding port 80 to pod NAME, uid UID: REASON`; the UID may be empty.
fn plain_reason(text: &str) -> &str {
    let after_uid = text.split_once(", uid ").and_then(|(_, rest)| rest.split_once(": ")).map(|(_, reason)| reason);
    after_uid.unwrap_or(text).trim()
}

/// Copies both ways until the remote side ends, the local side ended and the remote one fell
/// silent, either breaks, or nothing moved for `idle`.
async fn copy_until_either_ends<L, R>(local: L, remote: R, idle: Duration)
where
    L: AsyncRead + AsyncWrite,
    R: AsyncRead + AsyncWrite,
{
    let (local_read, local_write) = tokio::io::split(local);
    let (remote_read, mut remote_write) = tokio::io::split(remote);
    let moved = Mutex::new(Instant::now());
    let mut upload = pin!(pump(local_read, &mut remote_write, &moved));
    let mut download = pin!(async {
        let mut local_write = local_write;
        pump(remote_read, &mut local_write, &moved).await;
        // The far side ended: let the local reader see it. A failure means that it is gone already.
        let _ = local_write.shutdown().await;
    });
    tokio::select! {
        () = &mut download => return,
        () = silence(&moved, idle) => return,
        () = &mut upload => {}
    }
    // The local side wrote all it had to. Its end is not passed on (that would close the
    // WebSocket, answer and all); the rest of the answer may still come.
    tokio::select! {
        () = &mut download => {}
        () = silence(&moved, LINGER) => {}
    }
}

/// Copies until the reader ends or either side breaks.
async fn pump(mut from: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin), moved: &Mutex<Instant>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(count @ 1..) = from.read(&mut chunk).await else { return };
        let Some(bytes) = chunk.get(..count) else { return };
        if to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
        if let Ok(mut moved) = moved.lock() {
            *moved = Instant::now();
        }
    }
}

/// Returns when nothing moved for `limit`.
async fn silence(moved: &Mutex<Instant>, limit: Duration) {
    loop {
        let since = moved.lock().map_or_else(|_| Instant::now(), |moved| *moved);
        let until = since + limit;
        if Instant::now() >= until {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

/// What a kube error says to a person: the API server's own message, else the innermost cause.
pub fn message_of(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
