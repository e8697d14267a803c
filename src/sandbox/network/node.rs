//! The way of the API server to kwok, which answers for the nodes' kubelets.
//!
//! kwok chooses where a forwarded port leads by the name of the pod or by the port alone, from a
//! fixed configuration. The names of pods are not known beforehand, and several programs have the
//! same port. So the requests are read on their way, and one that forwards ports of a pod with a
//! real program behind it is asked of the pod that stands for that program in kwok's configuration.

use super::directory::Directory;
use super::wire::{self, Request, refuse};
use super::{Shared, log, tls};
use anyhow::{Context, Result};
use axum::body::Body;
use axum::http::{Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Namespace, in kwok's configuration, of the pods that stand for the programs.
pub const PROGRAMS_NAMESPACE: &str = "sandbox-programs";
/// First part of the path of a request that forwards ports of a pod.
const PORT_FORWARD: &str = "portForward";

/// Serves one connection of the API server to a node.
pub(super) async fn serve(shared: Arc<Shared>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let Some(identity) = &shared.node else { return };
    let Ok(acceptor) = tls::acceptor(identity) else { return };
    // A client that does not speak TLS is its own problem.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let stop = shared.stop.clone();
    wire::serve(stream, stop, move |request| {
        let shared = shared.clone();
        async move {
            let answer = pass_on(&shared, request).await;
            Ok(answer.unwrap_or_else(|error| refuse(StatusCode::BAD_GATEWAY, &format!("the node: {error}"))))
        }
    })
    .await;
}

/// Asks kwok, and joins both sides where it agrees to speak another protocol.
async fn pass_on(shared: &Arc<Shared>, mut request: Request) -> Result<Response<Body>> {
    if let Some(answer) = log::of_program(shared, request.uri()).await {
        return Ok(answer);
    }
    if let Some(uri) = redirected(&shared.directory(), request.uri()) {
        *request.uri_mut() = uri;
    }
    let stream = tls::connect(wire::dial(shared.layout.kwok).await?).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("connection lost")?;
    let stop = shared.stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            // Its errors reach the one who asks.
            _ = connection.with_upgrades() => {}
        }
    });
    let asker = hyper::upgrade::on(&mut request);
    let mut response = sender.send_request(request).await.context("connection lost before an answer")?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let node = hyper::upgrade::on(&mut response);
        let stop = shared.stop.clone();
        tokio::spawn(async move {
            let (Ok(asker), Ok(node)) = tokio::join!(asker, node) else { return };
            let (mut asker, mut node) = (TokioIo::new(asker), TokioIo::new(node));
            tokio::select! {
                () = stop.cancelled() => {}
                // Either side may break off.
                _ = tokio::io::copy_bidirectional(&mut asker, &mut node) => {}
            }
        });
    }
    Ok(response.map(Body::new))
}

/// What to ask kwok in place of `uri`, where that forwards ports of a pod with a program behind it:
/// `/portForward/<namespace>/<pod>`, with the pod's UID after it or without.
fn redirected(directory: &Directory, uri: &Uri) -> Option<Uri> {
    let mut parts = uri.path().trim_start_matches('/').split('/');
    let (first, namespace, pod) = (parts.next()?, parts.next()?, parts.next()?);
    if first != PORT_FORWARD {
        return None;
    }
    let program = directory.program_behind(namespace, pod)?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{PORT_FORWARD}/{PROGRAMS_NAMESPACE}/{}{query}", program.key()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::network::directory::tests::directory;

    #[test]
    fn ports_of_a_pod_with_a_program_are_asked_of_the_one_that_stands_for_it() {
        for (asked, expected) in [
            ("/portForward/monitoring/prometheus-0", Some("/portForward/sandbox-programs/prometheus")),
            (
                "/portForward/monitoring/prometheus-0/uid?port=9090",
                Some("/portForward/sandbox-programs/prometheus?port=9090"),
            ),
            ("/portForward/monitoring/prometheus-1", None),
            ("/portForward/drivemaster/user-service-a", None),
            ("/containerLogs/monitoring/prometheus-0/prometheus", None),
            ("/portForward", None),
        ] {
            let found = redirected(&directory(), &asked.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{asked}");
        }
    }
}
