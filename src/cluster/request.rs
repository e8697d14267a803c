//! One request to the API server: its deadline, its retries, and what a refusal means.

use crate::error::{Failure, Kind};
use kube::core::Status;
use std::future::Future;
use std::time::Duration;

/// How long the API server may take to answer one request.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is sent when the server says that it is too busy.
const ATTEMPTS: u32 = 6;
/// The first pause before another attempt; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause, also where the server asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Sends a request by `call`; again, with growing pauses, while the server answers 429 or 503 (both
/// say that nothing was done). `what` completes "cannot ...", with the object in backticks.
///
/// # Errors
/// A [`Failure`] that says what the refusal means.
pub(crate) async fn ask<T, F, Fut>(what: &str, mut call: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = kube::Result<T>>,
{
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let Ok(answer) = tokio::time::timeout(TIMEOUT, call()).await else {
            return Err(no_answer(what));
        };
        match answer {
            Ok(value) => return Ok(value),
            Err(error) if attempt < ATTEMPTS && is_busy(&error) => {
                tokio::time::sleep(asked_pause(&error).unwrap_or(pause).min(LONGEST_PAUSE)).await;
                pause *= 2;
            }
            Err(error) => return Err(explain(what, &error)),
        }
    }
    Err(no_answer(what))
}

fn no_answer(what: &str) -> anyhow::Error {
    Failure::new(Kind::CouldNotAsk, format!("cannot {what}: the API server did not answer in {} s", TIMEOUT.as_secs()))
        .hint("kubectl get --raw /readyz?verbose")
        .into()
}

fn is_busy(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 429 | 503))
}

fn asked_pause(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// What `error` means for the person.
///
/// The error itself is not put into the chain: its text dumps the whole answer.
pub(crate) fn explain(what: &str, error: &kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => explain_status(what, status),
        kube::Error::Auth(_) => {
            Failure::new(Kind::CouldNotAsk, format!("cannot {what}: no credentials for the cluster"))
                .hint("kubectl auth whoami")
                .caused_by(anyhow::anyhow!(root_cause(error)))
        }
        kube::Error::SerdeError(_) => {
            Failure::new(Kind::CouldNotAsk, format!("cannot {what}: the answer is not that of a Kubernetes API server"))
                .hint("kubectl cluster-info")
                .caused_by(anyhow::anyhow!(root_cause(error)))
        }
        _ => {
            let root = root_cause(error);
            let (why, hint) = judge_connection(&root);
            Failure::new(Kind::CouldNotAsk, format!("cannot {what}: {why}")).hint(hint).caused_by(anyhow::anyhow!(root))
        }
    }
}

/// The reason of a broken connection in plain words, and the hint, from the innermost error's text.
fn judge_connection(root: &str) -> (&'static str, &'static str) {
    let lower = root.to_lowercase();
    let has = |mark: &str| lower.contains(mark);
    if has("refused") {
        ("connection refused", "start the cluster, or name another with --context")
    } else if has("close_notify") || has("unexpected-eof") {
        ("the connection broke off", "run again when the API server answers: kubectl cluster-info")
    } else if has("unknownissuer") || has("unknown issuer") {
        ("its certificate is signed by an unknown authority", "check `certificate-authority` in the kubeconfig")
    } else if has("notvalidforname") || has("not valid for name") {
        ("its certificate is for another name", "check `server` and `tls-server-name` in the kubeconfig")
    } else if has("expired") {
        ("a certificate has expired", "renew the certificate, then run again")
    } else if has("certificate") || has("tls") || has("handshake") {
        ("the TLS handshake failed", "check the certificates in the kubeconfig")
    } else if has("dns") || has("lookup") || has("name or service not known") || has("name resolution") {
        ("its host name does not resolve", "check `server` in the kubeconfig")
    } else if has("timed out") || has("timeout") || has("deadline") {
        ("no connection in time", "kubectl cluster-info")
    } else {
        ("the connection failed", "kubectl cluster-info")
    }
}

fn explain_status(what: &str, status: &Status) -> anyhow::Error {
    let message = status_message(status);
    let lower = message.to_lowercase();
    let failure = |kind, why: &str| Failure::new(kind, format!("cannot {what}: {why}"));
    let failure = match status.code {
        401 => failure(Kind::CouldNotAsk, "the API server does not accept the credentials").hint("kubectl auth whoami"),
        403 | 409 if is_terminating(status, &lower) => {
            failure(Kind::Refused, "its namespace is being deleted").hint("wait until it is gone, then run again")
        }
        403 if lower.contains("cannot ") && lower.contains("user ") => {
            failure(Kind::Refused, "not allowed").hint("ask for a role with this verb and resource")
        }
        // The client made this status up from an answer that holds none.
        403 if status.reason.starts_with("Failed to parse") => {
            failure(Kind::CouldNotAsk, "something in front of the API server refuses (HTTP 403)")
                .hint("check `server` in the kubeconfig and the proxies in between")
        }
        403 => failure(Kind::Unhealthy, "an admission rule of the cluster refuses it"),
        404 => failure(Kind::Unhealthy, "there is no such thing on the server"),
        409 => failure(Kind::Unhealthy, "somebody else changed it at the same time").hint("run again"),
        400 | 422 => failure(Kind::Unhealthy, "the API server calls it invalid"),
        // Server-side apply answers an unknown field, or one of the wrong type, with 500 and no reason.
        500 if status.reason.is_empty() && lower.contains("typed patch object") => {
            failure(Kind::Unhealthy, "the API server calls a field of it invalid")
        }
        429 | 503 => failure(Kind::CouldNotAsk, "the API server is too busy").hint("run again later"),
        _ => failure(Kind::CouldNotAsk, "the API server reports a fault").hint("kubectl get --raw /readyz?verbose"),
    };
    failure.caused_by(anyhow::anyhow!(message))
}

fn is_terminating(status: &Status, lower: &str) -> bool {
    let named = status
        .details
        .as_ref()
        .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"));
    named || lower.contains("because it is being terminated")
}

/// The message of a status; never empty.
pub(crate) fn status_message(status: &Status) -> String {
    if status.message.is_empty() { format!("HTTP status {}", status.code) } else { status.message.clone() }
}

/// The text of the innermost cause, which says what really happened.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{chain_of, exit_code_of};
    use serde_json::json;

    fn api_error(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn each_refusal_has_its_meaning() {
        let cases = [
            (api_error(401, "Unauthorized", "Unauthorized"), 3, "does not accept the credentials"),
            (
                api_error(
                    403,
                    "Forbidden",
                    "configmaps \"a\" is forbidden: User \"jane\" cannot patch resource \"configmaps\" in API group \"\"",
                ),
                5,
                "not allowed",
            ),
            (
                api_error(
                    403,
                    "Forbidden",
                    "secrets \"a\" is forbidden: unable to create new content in namespace m because it is being terminated",
                ),
                5,
                "being deleted",
            ),
            (
                api_error(403, "Forbidden", "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\""),
                4,
                "admission",
            ),
            (api_error(409, "Conflict", "Apply failed with 1 conflict"), 4, "somebody else"),
            (api_error(422, "Invalid", "ConfigMap \"a\" is invalid"), 4, "invalid"),
            (
                api_error(500, "", "failed to create typed patch object (m/a): .nope: field not declared in schema"),
                4,
                "calls a field of it invalid",
            ),
            (api_error(500, "InternalError", "etcdserver: no leader"), 3, "fault"),
            (api_error(429, "TooManyRequests", "later"), 3, "too busy"),
        ];
        for (error, code, words) in cases {
            let explained = explain("apply `ConfigMap m/a`", &error);
            let chain = chain_of(&explained);
            assert_eq!(exit_code_of(&explained), code, "{chain:?}");
            assert!(chain[0].starts_with("cannot apply `ConfigMap m/a`: ") && chain[0].contains(words), "{chain:?}");
            assert!(!chain.join(" ").contains("Status {"), "the answer is dumped: {chain:?}");
        }
    }

    #[test]
    fn the_cause_of_a_broken_connection_is_told_in_words() {
        let cases = [
            ("Connection refused (os error 111)", "connection refused"),
            ("invalid peer certificate: UnknownIssuer", "unknown authority"),
            ("invalid peer certificate: NotValidForName", "another name"),
            ("invalid peer certificate: Expired", "expired"),
            ("received fatal alert: HandshakeFailure", "TLS"),
            ("failed to lookup address information: Name or service not known", "does not resolve"),
            ("deadline has elapsed", "no connection in time"),
            ("peer closed connection without sending TLS close_notify: .../index.html#unexpected-eof", "broke off"),
            ("broken pipe", "failed"),
        ];
        for (root, words) in cases {
            let error = kube::Error::Service(Box::new(std::io::Error::other(root.to_owned())));
            let chain = chain_of(&explain("reach the cluster", &error));
            assert!(chain[0].contains(words), "{root}: {chain:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_asked_again_but_not_for_ever() {
        for (code, busy_answers, attempts, succeeds) in
            [(429, 2, 3, true), (503, 2, 3, true), (429, 100, 6, false), (500, 1, 1, false), (409, 1, 1, false)]
        {
            let mut calls = 0;
            let answer = ask("list things", || {
                calls += 1;
                let answer = if calls <= busy_answers { Err(api_error(code, "", "no")) } else { Ok(calls) };
                async move { answer }
            })
            .await;
            assert_eq!((calls, answer.is_ok()), (attempts, succeeds), "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_ends_in_a_failure() {
        let error = ask("list things", std::future::pending::<kube::Result<()>>).await.unwrap_err();
        assert_eq!(exit_code_of(&error), 3);
        assert!(error.to_string().contains("did not answer"), "{error}");
    }

    #[test]
    fn the_server_says_how_long_to_pause() {
        let mut status = Status::failure("later", "TooManyRequests").with_code(429);
        status.details = serde_json::from_value(json!({"retryAfterSeconds": 3})).unwrap();
        assert_eq!(asked_pause(&kube::Error::Api(status.boxed())), Some(Duration::from_secs(3)));
    }
}
