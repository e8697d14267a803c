//! One question to a program on loopback.

use crate::sandbox::network::wire;
use anyhow::{Context, Result, anyhow};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use std::net::SocketAddr;
use std::time::Duration;

/// How long an answer may take; a reload of many rules takes a while.
const DEADLINE: Duration = Duration::from_secs(15);

/// Status and body of the answer to a request without a body, over TLS where `tls` says so.
///
/// # Errors
/// When there is no answer in time.
pub(super) async fn ask(address: SocketAddr, tls: bool, method: Method, path: &str) -> Result<(StatusCode, String)> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, address.to_string());
    let request = request.body(Body::empty()).context("no valid path")?;
    let exchange =
        async { if tls { wire::exchange_tls(address, request).await } else { wire::exchange(address, request).await } };
    let answer = tokio::time::timeout(DEADLINE, exchange).await;
    let (parts, body) = answer.map_err(|_| anyhow!("no answer in time"))??.into_parts();
    Ok((parts.status, String::from_utf8_lossy(&body).into_owned()))
}
