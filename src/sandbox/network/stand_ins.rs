//! Answers scrapes in the name of pods that no program runs for, of the kubelet, and probes.

use super::cluster;
use super::directory::{Destination, Purpose};
use super::simulated::now;
use super::tls;
use super::wire::{self, Closed, Request, refuse};
use super::{Shared, kubelet_access};
use crate::sandbox::platform::{Answer, exposition};
use crate::sandbox::stand_in::blackbox::{self, Outcome, Probe};
use crate::sandbox::stand_in::cluster::Cluster;
use crate::sandbox::stand_in::{StandIn, kube_state, kubelet, node, standard};
use crate::stack::exporter;
use anyhow::Result;
use axum::body::Body;
use axum::http::{Method, Response, StatusCode, header};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::Ingress;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Where a program tells its metrics.
const METRICS: &str = "/metrics";
/// Where the blackbox exporter makes a probe.
const PROBE: &str = "/probe";
/// How long a probed program may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// The answer of the pod `namespace`/`name`; none when it takes no connections.
pub(super) async fn answer(
    shared: &Shared,
    stand_in: StandIn,
    (namespace, name): (&str, &str),
    request: &Request,
) -> Result<Response<Body>, Closed> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(refuse(StatusCode::METHOD_NOT_ALLOWED, "a simulated pod answers GET only"));
    }
    let Some(pod) = shared.pod(namespace, name) else {
        return Ok(refuse(StatusCode::BAD_GATEWAY, &format!("there is no pod {namespace}/{name} any more")));
    };
    let path = request.uri().path();
    if let (StandIn::Blackbox, PROBE) = (stand_in, path) {
        let asked = request.uri().path_and_query().map_or(PROBE, |path| path.as_str());
        return Ok(match blackbox::parse(asked) {
            Ok(probe) => metrics(blackbox::page(&probe.url, probed(shared, &probe).await)),
            Err(reason) => refuse(StatusCode::BAD_REQUEST, &reason),
        });
    }
    if path != METRICS {
        return Ok(refuse(StatusCode::NOT_FOUND, &format!("no program runs behind pod {namespace}/{name}")));
    }
    Ok(match stand_in {
        StandIn::KubeState => match cluster::snapshot(shared).await {
            Ok(cluster) => metrics(kube_state::page(&cluster)),
            Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        },
        StandIn::Node => return of_node(shared, &pod),
        StandIn::Standard(row) => metrics(standard::page(row, &pod, now())),
        StandIn::Blackbox => metrics(standard::page(&standard::BLACKBOX, &pod, now())),
        StandIn::Exporter(exporter) => match shared.simulator.respond(exporter.service, name, path, now()) {
            Answer::Response { body, .. } => metrics(body),
            Answer::Refused => return Err(Closed),
        },
    })
}

/// The node: what the contract asks for, and the rest.
fn of_node(shared: &Shared, pod: &Pod) -> Result<Response<Body>, Closed> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let mut page = String::new();
    if let Some(exporter) = exporter("node") {
        match shared.simulator.respond(exporter.service, name, METRICS, now()) {
            Answer::Response { status: 200, body, .. } => page = body,
            Answer::Response { .. } => {}
            Answer::Refused => return Err(Closed),
        }
    }
    page.push_str(&node::page(pod, now()));
    Ok(metrics(page))
}

/// How a probe goes: names of Services are asked where they lead, hosts of Ingresses at their
/// backends, and nobody else is known.
async fn probed(shared: &Shared, probe: &Probe) -> Outcome {
    let Some(host) = probe.url.host_str() else { return Outcome::Unknown };
    let cluster = cluster::snapshot(shared).await.unwrap_or_default();
    let directory = shared.directory();
    let (found, tls) = match backend_of(&cluster, host, probe.url.path()) {
        // An Ingress ends TLS.
        Some((service, port)) => (directory.resolve_named(&service, &port), false),
        None => {
            let port = probe.url.port_or_known_default().unwrap_or_default();
            (directory.resolve(host, port, Purpose::Scrape), probe.url.scheme() == "https")
        }
    };
    match found {
        Ok(Destination::Simulated { service, pod }) => {
            match shared.simulator.respond(&service, &pod, probe.url.path(), now()) {
                Answer::Response { status, .. } => Outcome::Answered(status),
                Answer::Refused => Outcome::Refused,
            }
        }
        // Its pod runs, which is all that is known of it.
        Ok(Destination::StandIn { .. }) => Outcome::Answered(200),
        Ok(Destination::Address(address)) => asked(address, tls, host, &probe.path).await,
        Ok(Destination::Kubelet { .. }) => Outcome::Refused,
        Err(_) if host.ends_with(".svc") || host.ends_with(".svc.cluster.local") => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

/// The Service, with its namespace, and the port (number or name) that an Ingress sends `path` of
/// `host` to.
fn backend_of(cluster: &Cluster, host: &str, path: &str) -> Option<((String, String), String)> {
    let backend = |ingress: &Arc<Ingress>| {
        let rules = ingress.spec.as_ref()?.rules.as_deref()?;
        let paths = rules.iter().find(|rule| rule.host.as_deref() == Some(host))?.http.as_ref()?;
        let fits = paths.paths.iter().filter(|rule| path.starts_with(rule.path.as_deref().unwrap_or("/")));
        let best = fits.max_by_key(|rule| rule.path.as_ref().map_or(0, String::len))?;
        let service = best.backend.service.as_ref()?;
        let port = service.port.as_ref()?;
        let port = port.name.clone().or_else(|| port.number.map(|number| number.to_string()))?;
        Some(((ingress.metadata.namespace.clone().unwrap_or_default(), service.name.clone()), port))
    };
    cluster.ingresses.iter().find_map(backend)
}

/// The status that a program answers with. As the exporter follows redirections, one is a success.
async fn asked(address: SocketAddr, tls: bool, host: &str, path: &str) -> Outcome {
    let request = axum::http::Request::get(path).header(header::HOST, host).body(Body::empty());
    let Ok(request) = request else { return Outcome::Unknown };
    let exchange =
        async { if tls { wire::exchange_tls(address, request).await } else { wire::exchange(address, request).await } };
    match tokio::time::timeout(PROBE_DEADLINE, exchange).await {
        Ok(Ok(response)) if response.status().is_redirection() => Outcome::Answered(200),
        Ok(Ok(response)) => Outcome::Answered(response.status().as_u16()),
        Ok(Err(_)) | Err(_) => Outcome::Refused,
    }
}

/// Serves the kubelet of `node` on one connection.
pub(super) async fn serve_kubelet<T>(shared: Arc<Shared>, node: String, stream: T)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(Ok(acceptor)) = shared.kubelet.as_ref().map(tls::acceptor) else { return };
    // A client that does not speak TLS is its own problem.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let stop = shared.stop.clone();
    wire::serve(stream, stop, move |request| {
        let (shared, node) = (shared.clone(), node.clone());
        async move { Ok(of_kubelet(&shared, &node, &request).await) }
    })
    .await;
}

async fn of_kubelet(shared: &Shared, name: &str, request: &Request) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "the simulated kubelet answers GET only");
    }
    if let Err((status, reason)) = kubelet_access::check(shared, name, request.headers()).await {
        return refuse(status, &reason);
    }
    let cluster = match cluster::snapshot(shared).await {
        Ok(cluster) => cluster,
        Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    let Some(node) = cluster.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name)) else {
        return refuse(StatusCode::NOT_FOUND, &format!("there is no node {name}"));
    };
    let page = match request.uri().path() {
        "/metrics" => kubelet::metrics,
        "/metrics/cadvisor" => kubelet::cadvisor,
        "/metrics/probes" => kubelet::probes,
        _ => return refuse(StatusCode::NOT_FOUND, "the simulated kubelet has metrics only"),
    };
    metrics(page(&cluster, node, now()))
}

fn metrics(page: String) -> Response<Body> {
    let built = Response::builder().header(header::CONTENT_TYPE, exposition::CONTENT_TYPE).body(Body::from(page));
    built.unwrap_or_else(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "the page is not valid"))
}
