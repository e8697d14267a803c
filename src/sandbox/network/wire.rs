//! The pieces that every server of the network shares: accept, answer, dial, relay.

use super::tls;
use anyhow::{Context, Result, anyhow};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// How long a connection on loopback may take to be made.
const DIAL_DEADLINE: Duration = Duration::from_secs(2);
/// How long a client may take to send the head of a request, idle time between two included.
const HEAD_DEADLINE: Duration = Duration::from_secs(120);
/// How long to rest when no connection can be accepted, such as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The largest body of an answer (the metrics of a large Prometheus), in bytes.
const ANSWER_LIMIT: usize = 64 << 20;

/// A request as it comes in.
pub(super) type Request = axum::http::Request<Incoming>;

/// Why a connection is closed without an answer.
#[derive(Debug)]
pub(super) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("closed without an answer")
    }
}

impl std::error::Error for Closed {}

/// An answer of `status` with `reason` both as body and as reason phrase: the API server and
/// Prometheus show the status line to people, never the body.
pub(super) fn refuse(status: StatusCode, reason: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{reason}\n")));
    *response.status_mut() = status;
    if let Ok(phrase) = ReasonPhrase::try_from(reason.as_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    response
}

/// Serves HTTP/1.1 on one connection until it ends or `stop` is called.
pub(super) async fn serve<T, H, F>(stream: T, stop: CancellationToken, handle: H)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request) -> F,
    F: Future<Output = Result<Response<Body>, Closed>> + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service_fn(handle))
        .with_upgrades();
    tokio::select! {
        () = stop.cancelled() => {}
        // A client that breaks off or sends garbage is its own problem.
        _ = connection => {}
    }
}

/// Accepts with `accept` until `stop` is called and gives each connection to `handle`.
pub(super) async fn accept<T, A, AF, H>(stop: CancellationToken, accept: A, handle: H)
where
    A: Fn() -> AF,
    AF: Future<Output = std::io::Result<T>>,
    H: Fn(T),
{
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept() => match accepted {
                Ok(stream) => handle(stream),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

/// Connects to a program on loopback.
///
/// # Errors
/// When nothing listens there or it does not accept in time.
pub(super) async fn dial(address: SocketAddr) -> Result<TcpStream> {
    let connecting = tokio::time::timeout(DIAL_DEADLINE, TcpStream::connect(address));
    let stream = connecting.await.context("connection timed out")?.context("connection refused")?;
    // A scrape is one small write; without this it may wait for an acknowledgement.
    stream.set_nodelay(true).context("connection lost")?;
    Ok(stream)
}

/// Sends `request`, whose URI is a path, to the program at `address` and gives its whole answer.
///
/// # Errors
/// When the program does not answer or its answer is too large. The caller sets the deadline.
pub(in crate::sandbox) async fn exchange(
    address: SocketAddr,
    request: axum::http::Request<Body>,
) -> Result<Response<Bytes>> {
    exchange_on(dial(address).await?, request).await
}

/// The same over TLS, whatever certificate the program shows.
///
/// # Errors
/// As [`exchange`], or when the program does not speak TLS.
pub(in crate::sandbox) async fn exchange_tls(
    address: SocketAddr,
    request: axum::http::Request<Body>,
) -> Result<Response<Bytes>> {
    exchange_on(tls::connect(dial(address).await?).await?, request).await
}

async fn exchange_on<T>(stream: T, request: axum::http::Request<Body>) -> Result<Response<Bytes>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("connection lost")?;
    let exchange = async move {
        let response = sender.send_request(request).await;
        let (parts, body) = response.context("connection lost before an answer")?.into_parts();
        let body = to_bytes(Body::new(body), ANSWER_LIMIT).await;
        Ok(Response::from_parts(parts, body.map_err(|_| anyhow!("answer broken off or too large"))?))
    };
    let driven = async {
        // Its errors reach the exchange as well, which ends first.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        response = exchange => response,
        () = driven => Err(anyhow!("connection lost")),
    }
}
