//! One HTTP client for all of them: GET, and POST of JSON, with a deadline, a bound on the body, and errors
//! that fit on one line.

use anyhow::{Context, Result};
use reqwest::header::{CONNECTION, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Longest piece of a foreign body that an error quotes, in characters.
const QUOTE_LIMIT: usize = 200;
/// Bytes of a body that an error is made from.
const ERROR_BODY_LIMIT: usize = 16 * 1024;

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the connection stands.
    pub connect: Duration,
    /// For one question with all its tries, the whole answer included.
    pub overall: Duration,
    /// Largest body in bytes.
    pub body_bytes: usize,
    /// How often a question is tried when the connection fails or breaks; at least once.
    pub attempts: u32,
    /// Pause before the second try; each further one is twice as long.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(5),
            overall: Duration::from_secs(15),
            body_bytes: 32 * 1024 * 1024,
            attempts: 3,
            pause: Duration::from_millis(150),
        }
    }
}

/// Why a question has no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// No connection, or it broke before an answer came.
    Unreachable(String),
    /// No complete answer in the given time.
    TimedOut(Duration),
    /// An answer that says no.
    Status {
        /// Its HTTP status.
        status: u16,
        /// What it says, on one line; may be empty.
        message: String,
    },
    /// The answer broke off after so many bytes.
    Truncated(usize),
    /// The answer is larger than so many bytes.
    TooLarge(usize),
    /// The answer is not what the program is known to answer.
    Malformed(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Unreachable(reason) => formatter.write_str(reason),
            HttpError::TimedOut(limit) => write!(formatter, "no answer in {} s", limit.as_secs_f32()),
            HttpError::Status { status, message } => {
                let reason =
                    StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
                let separator = if message.is_empty() { "" } else { ": " };
                write!(formatter, "answered {status} {reason}{separator}{message}")
            }
            HttpError::Truncated(bytes) => write!(formatter, "the answer broke off after {bytes} bytes"),
            HttpError::TooLarge(bytes) => write!(formatter, "the answer is larger than {bytes} bytes"),
            HttpError::Malformed(reason) => formatter.write_str(reason),
        }
    }
}

impl std::error::Error for HttpError {}

/// What a readiness path answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// 200.
    Ready,
    /// Anything else, on one line.
    NotReady(String),
}

/// Which certificate of a program is taken for right.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// One that an authority of this machine signed.
    #[default]
    System,
    /// Any, as the kubelet does when it asks a readiness path.
    Any,
    /// One that `authority` signed for the host of the base URL, which is reached at `address`.
    Authority {
        /// PEM certificates.
        authority: Vec<u8>,
        /// Where the host is reached.
        address: SocketAddr,
    },
}

/// A client of one program at a base URL.
#[derive(Debug, Clone)]
pub struct Http {
    base: Url,
    client: reqwest::Client,
    limits: Limits,
}

impl Http {
    /// A client of the program at `base`; a path in it is kept as prefix.
    ///
    /// # Errors
    /// The client cannot be built, for instance because the machine has no root certificates.
    pub fn new(base: &Url, limits: Limits) -> Result<Self> {
        Self::trusting(base, limits, &Trust::System)
    }

    /// A client of the program at `base` that takes the certificates of `trust`.
    ///
    /// # Errors
    /// As [`Http::new`]; also when the authority is no certificate.
    pub fn trusting(base: &Url, limits: Limits, trust: &Trust) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("drivemaster-mon/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect)
            .redirect(reqwest::redirect::Policy::limited(3))
            // Some kubelets do not tell the far side of a port-forward that we are gone, and a program takes only so many
            // connections (Prometheus 512): it is to close each by itself.
            .default_headers([(CONNECTION, HeaderValue::from_static("close"))].into_iter().collect())
            .pool_max_idle_per_host(0);
        if is_loopback(base) {
            // The person's proxy cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            // No certificate is looked at, so none has to be there.
            builder = builder.tls_certs_only([]);
        }
        match trust {
            Trust::System => {}
            Trust::Any => builder = builder.tls_danger_accept_invalid_certs(true),
            Trust::Authority { authority, address } => {
                let certificates = reqwest::Certificate::from_pem_bundle(authority)
                    .with_context(|| format!("the authority of `{}` is no certificate", shown(base)))?;
                let host = base.host_str().unwrap_or_default();
                builder = builder.tls_certs_only(certificates).resolve(host, *address).no_proxy();
            }
        }
        let client = builder.build().with_context(|| format!("cannot make a client of `{}`", shown(base)))?;
        Ok(Http { base: base.clone(), client, limits })
    }

    /// The base URL without user name and password.
    pub fn address(&self) -> String {
        shown(&self.base)
    }

    /// Asks a readiness path.
    ///
    /// # Errors
    /// Nothing answers there.
    pub async fn ready(&self, path: &str) -> Result<Readiness, HttpError> {
        match self.ask(path, &[], None).await {
            Ok(_) => Ok(Readiness::Ready),
            Err(no @ HttpError::Status { .. }) => Ok(Readiness::NotReady(no.to_string())),
            Err(error) => Err(error),
        }
    }

    /// The JSON answer to `GET path?query`.
    ///
    /// # Errors
    /// No answer, an answer that says no, or one of another shape.
    pub async fn json<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, HttpError> {
        let body = self.ask(path, query, None).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let text = String::from_utf8_lossy(&body);
            HttpError::Malformed(match error.classify() {
                serde_json::error::Category::Eof => format!("the answer broke off after {} bytes of JSON", body.len()),
                serde_json::error::Category::Data => format!("the answer has another shape than expected: {error}"),
                _ => format!("the answer is not JSON: `{}`", line_of(&text)),
            })
        })
    }

    /// The answer to `GET path` as text.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub async fn text(&self, path: &str) -> Result<String, HttpError> {
        Ok(String::from_utf8_lossy(&self.ask(path, &[], None).await?).into_owned())
    }

    /// Sends `document` by `POST path`. Where the connection breaks it may arrive more than once.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub async fn post(&self, path: &str, document: &serde_json::Value) -> Result<(), HttpError> {
        self.ask(path, &[], Some(document)).await.map(drop)
    }

    /// The body of the answer to `GET path?query`, or to `POST path?query` of `document`. Tried
    /// again while the connection fails.
    async fn ask(
        &self,
        path: &str,
        query: &[(&str, &str)],
        document: Option<&serde_json::Value>,
    ) -> Result<Vec<u8>, HttpError> {
        let deadline = Instant::now() + self.limits.overall;
        let mut pause = self.limits.pause;
        let mut attempt = 1;
        loop {
            let answer = timeout_at(deadline, self.ask_once(path, query, document)).await;
            let error = match answer {
                Err(_) => return Err(HttpError::TimedOut(self.limits.overall)),
                Ok(Ok(body)) => return Ok(body),
                Ok(Err(error)) => error,
            };
            let passing = matches!(
                error,
                HttpError::Unreachable(_) | HttpError::Truncated(_) | HttpError::Status { status: 502 | 504, .. }
            );
            if !passing || attempt >= self.limits.attempts || Instant::now() + pause >= deadline {
                return Err(error);
            }
            sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    async fn ask_once(
        &self,
        path: &str,
        query: &[(&str, &str)],
        document: Option<&serde_json::Value>,
    ) -> Result<Vec<u8>, HttpError> {
        let url = join(&self.base, path, query);
        let request = match document {
            Some(document) => self.client.post(url).json(document),
            None => self.client.get(url),
        };
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let limit = if status.is_success() { self.limits.body_bytes } else { ERROR_BODY_LIMIT };
        let mut body: Vec<u8> = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
                Ok(Some(_)) if status.is_success() => return Err(HttpError::TooLarge(limit)),
                // Of a refusal the beginning is enough, and its end need not arrive.
                Ok(_) => break,
                Err(_) if !status.is_success() => break,
                Err(_) => return Err(HttpError::Truncated(body.len())),
            }
        }
        if status.is_success() {
            return Ok(body);
        }
        Err(HttpError::Status { status: status.as_u16(), message: line_of(&String::from_utf8_lossy(&body)) })
    }

    fn unreachable(&self, error: &reqwest::Error) -> HttpError {
        if error.is_connect() && error.is_timeout() {
            return HttpError::Unreachable(format!("no connection in {} s", self.limits.connect.as_secs_f32()));
        }
        // The outer texts say only that sending failed; the innermost says why.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let text = cause.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        HttpError::Unreachable(lower_first(&line_of(text)))
    }
}

/// Whether `url` names this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `url` as it may be shown.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for URLs that cannot have a user at all.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// `path` below `base`, whatever slashes either has.
fn join(base: &Url, path: &str, query: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/')));
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// What a foreign text says, on one short line that is safe to print.
///
/// Prometheus, Grafana and Loki put it into `error` or `message` of a JSON object, Alertmanager
/// answers a JSON string.
fn line_of(text: &str) -> String {
    let said = match serde_json::from_str(text) {
        Ok(serde_json::Value::String(said)) => said,
        Ok(serde_json::Value::Object(object)) => {
            ["error", "message"].iter().find_map(|key| object.get(*key)?.as_str()).unwrap_or(text).to_owned()
        }
        _ => text.to_owned(),
    };
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut line: String = line.chars().filter(|character| !character.is_control()).collect();
    if let Some((cut, _)) = line.char_indices().nth(QUOTE_LIMIT) {
        line.truncate(cut);
        line.push_str("...");
    }
    line
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
