//! CONNECT: the way out of the API server (by its egress selector, over a Unix socket) and of
//! Prometheus' https targets.

use super::directory::{Destination, Purpose};
use super::wire::{self, Request, refuse};
use super::{Shared, node, proxy, simulated, stand_ins};
use anyhow::{Context, Result};
use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// Listens on the Unix socket `path`. One that is left over from an earlier run is replaced.
///
/// # Errors
/// When the socket cannot be made; its path is limited to 107 bytes.
pub(super) fn listen(shared: &Arc<Shared>, path: &Path, tasks: &mut JoinSet<()>) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace the socket `{}`", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on `{}`", path.display()))?;
    let shared = shared.clone();
    tasks.spawn(async move {
        let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
        let handle = |stream| {
            let shared = shared.clone();
            let stop = shared.stop.clone();
            tokio::spawn(wire::serve(stream, stop, move |request| {
                let shared = shared.clone();
                async move { Ok(connect(shared, request, Purpose::Dial).await) }
            }));
        };
        wire::accept(shared.stop.clone(), accept, handle).await;
    });
    Ok(())
}

/// Answers one CONNECT request.
pub(super) async fn connect(shared: Arc<Shared>, request: Request, purpose: Purpose) -> Response<Body> {
    if request.method() != Method::CONNECT {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only CONNECT is served here");
    }
    let Some((host, port)) = request.uri().authority().and_then(|name| Some((name.host(), name.port_u16()?))) else {
        return refuse(StatusCode::BAD_REQUEST, "CONNECT needs host:port");
    };
    let host = proxy::asked_host(&shared, host, request.headers());
    match shared.directory().resolve(&host, port, purpose) {
        Err(reason) => refuse(StatusCode::BAD_GATEWAY, &reason),
        Ok(Destination::Simulated { service, pod }) => {
            if simulated::is_down(&shared, &service, &pod) {
                return refuse(StatusCode::BAD_GATEWAY, &format!("connection refused by pod {pod}"));
            }
            tokio::spawn(async move {
                let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
                let stop = shared.stop.clone();
                let respond = move |request: Request| {
                    let answer = simulated::respond(&shared, &service, &pod, &request);
                    async move { answer }
                };
                wire::serve(TokioIo::new(upgraded), stop, respond).await;
            });
            Response::new(Body::empty())
        }
        Ok(Destination::StandIn { namespace, pod, .. }) => {
            refuse(StatusCode::BAD_GATEWAY, &format!("pod {namespace}/{pod} is simulated and speaks no TLS"))
        }
        Ok(Destination::Kubelet { node }) => {
            tokio::spawn(async move {
                let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
                stand_ins::serve_kubelet(shared, node, TokioIo::new(upgraded)).await;
            });
            Response::new(Body::empty())
        }
        Ok(Destination::Address(address)) if address == shared.layout.kwok && shared.node.is_some() => {
            tokio::spawn(async move {
                let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
                node::serve(shared, TokioIo::new(upgraded)).await;
            });
            Response::new(Body::empty())
        }
        Ok(Destination::Address(address)) => match wire::dial(address).await {
            Err(error) => refuse(StatusCode::BAD_GATEWAY, &format!("{host}:{port}: {error}")),
            Ok(mut stream) => {
                tokio::spawn(async move {
                    let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
                    let mut upgraded = TokioIo::new(upgraded);
                    tokio::select! {
                        () = shared.stop.cancelled() => {}
                        // Either side may break off.
                        _ = tokio::io::copy_bidirectional(&mut upgraded, &mut stream) => {}
                    }
                });
                Response::new(Body::empty())
            }
        },
    }
}
