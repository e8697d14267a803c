//! The HTTP proxy that Prometheus and Alertmanager send everything through (`proxy_url`).

use super::directory::{Destination, Purpose};
use super::wire::{self, Request, refuse};
use super::{Shared, egress, simulated, stand_ins};
use anyhow::{Context, Result, anyhow};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header, uri};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long a request and its answer may take together.
const DEADLINE: Duration = Duration::from_secs(60);
/// The largest body of a request (a batch of alerts), in bytes.
const REQUEST_LIMIT: usize = 16 << 20;
/// Headers that belong to one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Listens on a free loopback port and gives the address.
///
/// # Errors
/// When no port can be had.
pub(super) async fn listen(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen for the scrape proxy")?;
    let address = listener.local_addr().context("cannot listen for the scrape proxy")?;
    let shared = shared.clone();
    tasks.spawn(async move {
        let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
        let handle = |stream| {
            let shared = shared.clone();
            let stop = shared.stop.clone();
            tokio::spawn(wire::serve(stream, stop, move |request| {
                let shared = shared.clone();
                async move { Ok(forward(shared, request).await) }
            }));
        };
        wire::accept(shared.stop.clone(), accept, handle).await;
    });
    Ok(address)
}

async fn forward(shared: Arc<Shared>, request: Request) -> Response<Body> {
    if request.method() == Method::CONNECT {
        return egress::connect(shared, request, Purpose::Scrape).await;
    }
    let (Some(host), Some("http")) = (request.uri().host(), request.uri().scheme_str()) else {
        return refuse(StatusCode::BAD_REQUEST, "this is a proxy: ask it for http://host:port/path");
    };
    let port = request.uri().port_u16().unwrap_or(80);
    let host = asked_host(&shared, host, request.headers());
    match shared.directory().resolve(&host, port, Purpose::Scrape) {
        Err(reason) => refuse(StatusCode::BAD_GATEWAY, &reason),
        Ok(Destination::Simulated { service, pod }) => {
            let path = request.uri().path();
            simulated::answer(&shared, &service, &pod, request.method(), path)
                .unwrap_or_else(|| refuse(StatusCode::BAD_GATEWAY, &format!("connection refused by pod {pod}")))
        }
        Ok(Destination::StandIn { stand_in, namespace, pod, .. }) => {
            let answered = stand_ins::answer(&shared, stand_in, (&namespace, &pod), &request).await;
            answered.unwrap_or_else(|_| refuse(StatusCode::BAD_GATEWAY, &format!("connection refused by pod {pod}")))
        }
        Ok(Destination::Kubelet { node }) => {
            refuse(StatusCode::BAD_REQUEST, &format!("the kubelet of {node} speaks TLS: ask it by https"))
        }
        Ok(Destination::Address(address)) => {
            let target = format!("{host}:{port}");
            match tokio::time::timeout(DEADLINE, relay(request, address)).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => refuse(StatusCode::BAD_GATEWAY, &format!("{target}: {error}")),
                Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, &format!("{target}: no answer in time")),
            }
        }
    }
}

/// The host that is asked for, where a short name may be one of the namespace that the asker gives as
/// the proxy's user (`http://<namespace>@proxy`).
pub(super) fn asked_host(shared: &Shared, host: &str, headers: &HeaderMap) -> String {
    match namespace_of(headers) {
        Some(namespace) => shared.directory().qualified(host, &namespace),
        None => host.to_owned(),
    }
}

/// The user that `Proxy-Authorization` names (RFC 7617).
fn namespace_of(headers: &HeaderMap) -> Option<String> {
    let credentials = headers.get(header::PROXY_AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
    Some(decoded.split(':').next().unwrap_or_default().to_owned())
}

/// Sends `request` to the program at `address` and gives its answer. Both bodies are read whole,
/// so a limit holds and no half answer is passed on.
async fn relay(request: Request, address: SocketAddr) -> Result<Response<Body>> {
    let (mut parts, body) = request.into_parts();
    let body =
        to_bytes(Body::new(body), REQUEST_LIMIT).await.map_err(|_| anyhow!("request broken off or too large"))?;
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
    parts.uri = origin_form(&parts.uri)?;
    strip_hop_by_hop(&mut parts.headers);

    let request = axum::http::Request::from_parts(parts, Body::from(body));
    let (mut parts, body) = wire::exchange(address, request).await?.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn origin_form(uri: &Uri) -> Result<Uri> {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
    Uri::builder().path_and_query(path).build().context("no valid path")
}

/// Takes out what belongs to one connection only: the headers of the standard and those that
/// `Connection` names.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close, X-Only-Here"));
        headers.insert("x-only-here", HeaderValue::from_static("1"));
        headers.insert("proxy-connection", HeaderValue::from_static("keep-alive"));
        headers.insert("x-stays", HeaderValue::from_static("1"));
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-stays"]);
    }

    #[test]
    fn the_proxys_user_is_the_askers_namespace() {
        for (value, expected) in [
            ("Basic bW9uaXRvcmluZzo=", Some("monitoring")),
            ("Basic bW9uaXRvcmluZw==", Some("monitoring")),
            ("Basic ???", None),
            ("Bearer x", None),
        ] {
            let headers = HeaderMap::from_iter([(header::PROXY_AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(namespace_of(&headers).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn the_program_sees_the_path_alone() {
        let told = |text: &str| origin_form(&text.parse().unwrap()).unwrap().to_string();
        assert_eq!(told("http://10.0.0.1:9090/metrics?a=b"), "/metrics?a=b");
        assert_eq!(told("http://10.0.0.1:9090"), "/");
    }
}
