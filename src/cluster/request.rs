//! One request to the API server: its deadline, its retries, and what a refusal means.

use crate::error::{Failure, Kind};
use kube::core::Status;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How long the API server may take to answer a request that is sent again.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take at first: an answer that got lost on its way must not cost the whole time.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);
/// No attempt starts later than this after the first.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a request is sent in all while the server is busy, away or does not answer.
const ATTEMPTS: u32 = 8;
/// How often a request is sent in all that the server may have a lasting quarrel with.
const FEW_ATTEMPTS: u32 = 4;
/// How often a request is sent in all that is not answered.
const TIMEOUTS: u32 = 2;
/// The first pause before another attempt; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause where the server asks for none.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How long a server that has just started may forbid what is allowed, as it has not read the roles yet; one that does
/// so longer means it.
pub(crate) const FORBIDDEN_FOR: Duration = Duration::from_secs(10);

/// The pause before such a server is asked again.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(2);

/// How the message of a request ends whose credentials were refused.
pub(crate) const NOT_ACCEPTED: &str = "the API server does not accept the credentials";

/// Sends a request by `call`; again, with growing pauses or the one that the server asks for, while another
/// attempt may help: the server is busy, away, reports a fault, or somebody else wrote at the same time.
/// So `call` must be of a kind that does no harm when it is carried out twice. `what` completes
/// "cannot ...", with the object in backticks.
///
/// # Errors
/// A [`Failure`] that says what the refusal means, and how often it came.
pub(crate) async fn ask<T, F, Fut>(what: &str, call: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = kube::Result<T>>,
{
    repeat(what, true, call).await
}

/// As [`ask`], of a server that may not be there at all: one that cannot be connected to is told at once.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn ask_first<T, F, Fut>(what: &str, call: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = kube::Result<T>>,
{
    repeat(what, false, call).await
}

async fn repeat<T, F, Fut>(what: &str, is_there: bool, mut call: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = kube::Result<T>>,
{
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    let (mut was_away, mut forbidden) = (false, None::<Instant>);
    loop {
        let answer = tokio::time::timeout(if attempt == 1 { FIRST_TIMEOUT } else { TIMEOUT }, call()).await;
        let (attempts, next) = match &answer {
            Ok(Ok(_)) => (0, pause),
            Ok(Err(error))
                if was_away
                    && is_not_allowed(error)
                    && forbidden.get_or_insert_with(Instant::now).elapsed() < FORBIDDEN_FOR =>
            {
                (u32::MAX, FORBIDDEN_PAUSE)
            }
            Ok(Err(error)) => {
                was_away |= is_away(error);
                (attempts(error, is_there), asked_pause(error).unwrap_or(pause))
            }
            Err(_) => (TIMEOUTS, pause),
        };
        let patience = if forbidden.is_some() { PATIENCE + FORBIDDEN_FOR } else { PATIENCE };
        if attempt < attempts && begun.elapsed() + next <= patience {
            tokio::time::sleep(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            attempt += 1;
            continue;
        }
        let what = match attempt {
            1 => what.to_owned(),
            _ => format!("{what} (tried {attempt} times in {} s)", begun.elapsed().as_secs()),
        };
        return match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(explain(&what, &error)),
            Err(_) => Err(no_answer(&what, begun.elapsed())),
        };
    }
}

/// How often a request is sent in all that ends in `error`; `is_there` says that the server was seen before.
fn attempts(error: &kube::Error, is_there: bool) -> u32 {
    let kube::Error::Api(status) = error else {
        let root = root_cause(error);
        return if is_lost(&root) && (is_there || !is_refused(&root)) { ATTEMPTS } else { 1 };
    };
    match status.code {
        429 | 502..=504 => ATTEMPTS,
        // What it read was too old: it is read anew.
        410 => FEW_ATTEMPTS,
        409 if status.reason == "Conflict" && !is_terminating(status, &status.message.to_lowercase()) => FEW_ATTEMPTS,
        500 if !is_invalid_field(status) && !status.message.contains("failed calling webhook") => FEW_ATTEMPTS,
        _ => 1,
    }
}

/// Whether `error` says that there is no server, or that it is not ready.
fn is_away(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 502..=504),
        error => is_lost(&root_cause(error)),
    }
}

fn is_not_allowed(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.code == 403 && says_not_allowed(&status_message(status).to_lowercase())
}

/// Whether a refusal says that a right is missing.
fn says_not_allowed(lower: &str) -> bool {
    lower.contains("cannot ") && lower.contains("user ")
}

fn no_answer(what: &str, waited: Duration) -> anyhow::Error {
    Failure::new(Kind::CouldNotAsk, format!("cannot {what}: the API server did not answer in {} s", waited.as_secs()))
        .hint("kubectl get --raw /readyz?verbose")
        .into()
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

/// Whether `root`, the innermost error's text, says that a connection could not be made or broke off.
pub(crate) fn is_lost(root: &str) -> bool {
    const MARKS: &[&str] = &[
        "close_notify",
        "unexpected-eof",
        "unexpected eof",
        // Of hyper: before an answer, within its head, within its body.
        "connection closed before message completed",
        "error reading a body from connection",
        "end of file before message length reached",
        "unexpected end of file",
        "unexpected end of chunk",
        "connection reset",
        "connection aborted",
        "broken pipe",
    ];
    let lower = root.to_lowercase();
    is_refused(root) || MARKS.iter().any(|mark| lower.contains(mark))
}

fn is_refused(root: &str) -> bool {
    root.to_lowercase().contains("connection refused")
}

/// The reason of a broken connection in plain words, and the hint, from the innermost error's text.
fn judge_connection(root: &str) -> (&'static str, &'static str) {
    let lower = root.to_lowercase();
    let has = |mark: &str| lower.contains(mark);
    if has("refused") {
        ("connection refused", "start the cluster, or name another with --context")
    } else if is_lost(root) {
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
        401 => failure(Kind::CouldNotAsk, NOT_ACCEPTED).hint("kubectl auth whoami"),
        403 | 409 if is_terminating(status, &lower) => {
            failure(Kind::Refused, "its namespace is being deleted").hint("wait until it is gone, then run again")
        }
        403 if says_not_allowed(&lower) => {
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
        500 if is_invalid_field(status) => failure(Kind::Unhealthy, "the API server calls a field of it invalid"),
        429 | 503 => {
            let asked =
                status.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
            let asked = asked.map(|seconds| format!(" and asks for a pause of {seconds} s")).unwrap_or_default();
            failure(Kind::CouldNotAsk, &format!("the API server is too busy{asked}")).hint("run again later")
        }
        _ => failure(Kind::CouldNotAsk, "the API server reports a fault").hint("kubectl get --raw /readyz?verbose"),
    };
    failure.caused_by(anyhow::anyhow!(message))
}

/// Server-side apply answers an unknown field, or one of the wrong type, with 500 and no reason.
pub(crate) fn is_invalid_field(status: &Status) -> bool {
    status.reason.is_empty() && status.message.contains("typed patch object")
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
            ("broken pipe", "broke off"),
            ("end of file before message length reached", "broke off"),
            ("something new", "failed"),
        ];
        for (root, words) in cases {
            let error = kube::Error::Service(Box::new(std::io::Error::other(root.to_owned())));
            let chain = chain_of(&explain("reach the cluster", &error));
            assert!(chain[0].contains(words), "{root}: {chain:?}");
        }
    }

    /// How often a request is sent that `error` answers `bad` times, how long that takes, and how it ends.
    async fn sent(bad: u32, error: impl Fn() -> kube::Error) -> (u32, Duration, anyhow::Result<u32>) {
        let (begun, mut calls) = (Instant::now(), 0);
        let answer = ask("list things", || {
            calls += 1;
            let answer = if calls <= bad { Err(error()) } else { Ok(calls) };
            async move { answer }
        })
        .await;
        (calls, begun.elapsed(), answer)
    }

    fn broken(root: &'static str) -> kube::Error {
        kube::Error::Service(Box::new(std::io::Error::other(root)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_heal_is_asked_again_but_not_for_ever() {
        let conflict = "the object has been modified";
        let terminating = "unable to create new content in namespace m because it is being terminated";
        let webhook = "Internal error occurred: failed calling webhook \"x\"";
        let field = "failed to create typed patch object (m/a): .nope: field not declared in schema";
        let cases: [(u16, &str, &str, u32); 11] = [
            (429, "TooManyRequests", "later", 8),
            (503, "ServiceUnavailable", "later", 8),
            (504, "Timeout", "later", 8),
            (500, "InternalError", "etcdserver: leader changed", 4),
            (410, "Expired", "too old resource version", 4),
            (409, "Conflict", conflict, 4),
            (409, "AlreadyExists", "it is there", 1),
            (409, "Conflict", terminating, 1),
            (500, "InternalError", webhook, 1),
            (500, "", field, 1),
            (403, "Forbidden", "no", 1),
        ];
        for (code, reason, message, most) in cases {
            let (calls, took, answer) = sent(100, || api_error(code, reason, message)).await;
            assert_eq!((calls, answer.is_ok()), (most, false), "{code} {message}");
            assert!(took <= PATIENCE, "{code}: {took:?}");
            let text = answer.unwrap_err().to_string();
            assert_eq!(text.contains(&format!("(tried {most} times in")), most > 1, "{text}");
            let (calls, _, answer) = sent(most - 1, || api_error(code, reason, message)).await;
            assert_eq!((calls, answer.is_ok()), (most, true), "{code} {message}");
        }
        for (root, most) in [
            ("Connection refused (os error 111)", 8),
            ("end of file before message length reached", 8),
            ("Connection reset by peer (os error 104)", 8),
            ("invalid peer certificate: Expired", 1),
            ("failed to lookup address information", 1),
        ] {
            assert_eq!(sent(100, || broken(root)).await.0, most, "{root}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_server_forbids_that_was_just_away_it_is_asked_again() {
        let forbidden =
            || api_error(403, "Forbidden", "pods is forbidden: User \"jane\" cannot list resource \"pods\"");
        let server = async |away: usize, forbids: usize| {
            let (mut calls, begun) = (0, Instant::now());
            let answer = ask("list the pods", || {
                calls += 1;
                let answer = match calls {
                    call if call <= away => Err(broken("Connection refused (os error 111)")),
                    call if call <= away + forbids => Err(forbidden()),
                    _ => Ok(()),
                };
                async move { answer }
            })
            .await;
            (answer.map_err(|error| exit_code_of(&error)), begun.elapsed())
        };
        for away in [2, 7] {
            assert_eq!(server(away, 4).await.0, Ok(()));
            // One that goes on means it.
            let (answer, took) = server(away, 100).await;
            let since = took - server(away, 0).await.1;
            assert_eq!(answer, Err(5));
            assert!(since >= FORBIDDEN_FOR && since < FORBIDDEN_FOR + 2 * FORBIDDEN_PAUSE, "{since:?}");
        }
        assert_eq!(server(0, 1).await, (Err(5), Duration::ZERO), "it was not away");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_never_there_is_told_at_once() {
        let mut calls = 0;
        let refused = |calls: &mut u32| {
            *calls += 1;
            async { Err::<(), _>(broken("Connection refused (os error 111)")) }
        };
        assert!(ask_first("reach it", || refused(&mut calls)).await.is_err());
        assert_eq!(calls, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_that_the_server_asks_for_is_kept() {
        let busy = |seconds: u32| {
            let mut status = Status::failure("later", "TooManyRequests").with_code(429);
            status.details = serde_json::from_value(json!({"retryAfterSeconds": seconds})).unwrap();
            kube::Error::Api(status.boxed())
        };
        let (calls, took, answer) = sent(2, || busy(12)).await;
        assert_eq!((calls, took.as_secs(), answer.is_ok()), (3, 24, true));
        // One that is too long is not waited for, and told.
        let (calls, took, answer) = sent(2, || busy(120)).await;
        assert_eq!((calls, took.as_secs()), (1, 0));
        let text = answer.unwrap_err().to_string();
        assert!(text.ends_with("too busy and asks for a pause of 120 s"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_ends_in_a_failure() {
        let begun = Instant::now();
        let error = ask("list things", std::future::pending::<kube::Result<()>>).await.unwrap_err();
        assert_eq!(exit_code_of(&error), 3);
        assert!(error.to_string().contains("did not answer"), "{error}");
        assert_eq!(begun.elapsed(), FIRST_TIMEOUT + FIRST_PAUSE + TIMEOUT);
        // One answer that got lost costs a part of it.
        let mut calls = 0;
        let begun = Instant::now();
        let answer = ask("list things", || {
            calls += 1;
            let is_lost = calls == 1;
            async move {
                match is_lost {
                    true => std::future::pending().await,
                    false => Ok(()),
                }
            }
        });
        answer.await.unwrap();
        assert_eq!(begun.elapsed(), FIRST_TIMEOUT + FIRST_PAUSE);
    }
}
