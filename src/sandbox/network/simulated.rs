//! Answers in the name of simulated pods.

use super::Shared;
use super::wire::{self, Closed, Request, refuse};
use crate::sandbox::platform::Answer;
use anyhow::{Context, Result};
use axum::body::Body;
use axum::http::{Method, Response, StatusCode, header};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Path to ask a simulated pod for to see whether it answers at all.
const HEALTH: &str = "/health";

/// The simulator's answer to one request to `pod`; `None` when the pod is down.
pub(super) fn answer(shared: &Shared, service: &str, pod: &str, method: &Method, path: &str) -> Option<Response<Body>> {
    if method != Method::GET && method != Method::HEAD {
        return Some(refuse(StatusCode::METHOD_NOT_ALLOWED, "a simulated pod answers GET only"));
    }
    let Answer::Response { status, content_type, body } = shared.simulator.respond(service, pod, path, now()) else {
        return None;
    };
    let built = Response::builder().status(status).header(header::CONTENT_TYPE, content_type).body(Body::from(body));
    Some(built.unwrap_or_else(|_| refuse(StatusCode::INTERNAL_SERVER_ERROR, "the simulator gave no valid answer")))
}

/// Whether `pod` takes no connections.
pub(super) fn is_down(shared: &Shared, service: &str, pod: &str) -> bool {
    matches!(shared.simulator.respond(service, pod, HEALTH, now()), Answer::Refused)
}

/// Answers one request that came in on a connection to `pod` itself.
pub(super) fn respond(shared: &Shared, service: &str, pod: &str, request: &Request) -> Result<Response<Body>, Closed> {
    answer(shared, service, pod, request.method(), request.uri().path()).ok_or(Closed)
}

/// Listens on loopback for each simulated port, for whoever comes by port alone: the first pod of
/// the first Service with that port answers. Gives the loopback port by the pod's port.
///
/// # Errors
/// When no loopback port can be had.
pub(super) async fn listen(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) -> Result<BTreeMap<u16, u16>> {
    let mut listening = BTreeMap::new();
    for simulated in &shared.layout.simulated {
        if listening.contains_key(&simulated.port) {
            continue;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.with_context(|| format!("cannot listen for `{}`", simulated.service))?;
        let address = listener.local_addr().with_context(|| format!("cannot listen for `{}`", simulated.service))?;
        listening.insert(simulated.port, address.port());
        let (shared, service, port) = (shared.clone(), simulated.service.clone(), simulated.port);
        tasks.spawn(async move {
            let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
            let handle = |stream| {
                let (shared, service) = (shared.clone(), service.clone());
                let stop = shared.stop.clone();
                tokio::spawn(wire::serve(stream, stop, move |request| {
                    let (shared, service) = (shared.clone(), service.clone());
                    async move {
                        let directory = shared.directory();
                        // Without any pod there is nobody to answer.
                        let pod = directory.first_pod(&service, port).ok_or(Closed)?;
                        respond(&shared, &service, pod, &request)
                    }
                }));
            };
            wire::accept(shared.stop.clone(), accept, handle).await;
        });
    }
    Ok(listening)
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    Timestamp::now().as_duration().as_secs_f64()
}
