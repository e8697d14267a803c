//! Takes in every answer of the API server before kube does: the pause that a busy server asks for, which kube
//! reads from the body alone, and whether the server is away, which is told once and not for every request.

use crate::cluster::request::{is_lost, root_cause};
use crate::event::{Event, Events};
use http::{HeaderMap, Response, header};
use http_body_util::{BodyExt, Full};
use kube::client::{ClientBuilder, DynBody};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tower::util::ThenLayer;

/// How long the same trouble is not told again.
const TOLD_FOR: Duration = Duration::from_secs(10);

type Answer = Response<Box<DynBody>>;
type AnyError = Box<dyn Error + Send + Sync>;

/// A client whose answers are taken in, telling trouble to `events`.
///
/// # Errors
/// When kube cannot use `config`.
pub(super) fn client(config: kube::Config, events: Events) -> kube::Result<kube::Client> {
    let listener = Arc::new(Listener { events, heard: Mutex::default() });
    let layer = ThenLayer::new(move |answer: Result<Answer, AnyError>| {
        let listener = Arc::clone(&listener);
        async move { listener.take_in(answer).await }
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

struct Listener {
    events: Events,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// Whether there was ever an answer: until then it is not known that there is a server.
    any: bool,
    /// The trouble that was told last, and when.
    told: Option<(String, Instant)>,
}

impl Listener {
    async fn take_in(&self, answer: Result<Answer, AnyError>) -> Result<Answer, AnyError> {
        let trouble = match &answer {
            Ok(answer) if is_busy(answer) => {
                Some(format!("the API server is too busy (HTTP {})", answer.status().as_u16()))
            }
            Ok(_) => None,
            Err(error) => {
                let root = root_cause(error.as_ref());
                is_lost(&root).then(|| format!("the API server is away ({root})"))
            }
        };
        self.hear(answer.is_ok(), trouble);
        match answer {
            Ok(answer) if is_busy(&answer) => with_pause(answer).await,
            answer => answer,
        }
    }

    fn hear(&self, answered: bool, trouble: Option<String>) {
        let Ok(mut heard) = self.heard.lock() else { return };
        heard.any |= answered;
        let Some(trouble) = trouble.filter(|_| heard.any) else { return };
        if heard.told.as_ref().is_some_and(|(told, at)| *told == trouble && at.elapsed() < TOLD_FOR) {
            return;
        }
        self.events.emit(Event::Warning { message: format!("{trouble}; it is asked again") });
        heard.told = Some((trouble, Instant::now()));
    }
}

fn is_busy(answer: &Answer) -> bool {
    matches!(answer.status().as_u16(), 429 | 503)
}

/// The same answer with the pause of its header in its body, a `Status`.
async fn with_pause(answer: Answer) -> Result<Answer, AnyError> {
    let Some(seconds) = asked_seconds(answer.headers()) else { return Ok(answer) };
    let (mut head, body) = answer.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let status = status_with_pause(head.status.as_u16(), &bytes, seconds);
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(head, body_of(status.to_string())))
}

fn body_of(text: String) -> Box<DynBody> {
    Box::new(Full::from(text).map_err(|never| -> AnyError { match never {} }))
}

/// The header's seconds; its other form, a date, is not one that API servers send.
fn asked_seconds(headers: &HeaderMap) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// The `Status` in `bytes`, or one made from their text, with the pause.
fn status_with_pause(code: u16, bytes: &[u8], seconds: u32) -> Value {
    let text = String::from_utf8_lossy(bytes);
    let read = serde_json::from_slice::<Value>(bytes).ok().filter(|read| read["kind"] == "Status");
    let mut status = read.unwrap_or_else(
        || json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": text.trim()}),
    );
    match status.get_mut("details").and_then(Value::as_object_mut) {
        Some(details) => {
            details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        None => status["details"] = json!({"retryAfterSeconds": seconds}),
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Recorder;

    #[test]
    fn the_pause_of_the_header_goes_into_the_status() {
        let plain = status_with_pause(429, b"Too many requests, please try again later.\n", 7);
        assert_eq!((plain["code"].as_u64(), plain["details"]["retryAfterSeconds"].as_u64()), (Some(429), Some(7)));
        assert_eq!(plain["message"], "Too many requests, please try again later.");
        let own = json!({"kind": "Status", "code": 503, "reason": "x", "details": {"kind": "pods"}}).to_string();
        let own = status_with_pause(503, own.as_bytes(), 7);
        assert_eq!((own["reason"].as_str(), own["details"]["kind"].as_str()), (Some("x"), Some("pods")));
        assert_eq!(own["details"]["retryAfterSeconds"], 7);
        let mut headers = HeaderMap::new();
        assert_eq!(asked_seconds(&headers), None);
        headers.insert(header::RETRY_AFTER, "3".parse().unwrap());
        assert_eq!(asked_seconds(&headers), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_once_and_only_of_a_server_that_was_there() {
        let recorder = Arc::new(Recorder::default());
        let listener = Listener { events: recorder.clone(), heard: Mutex::default() };
        let told = || recorder.events().len();
        let lost = || Err::<Answer, AnyError>("Connection refused (os error 111)".into());
        assert!(listener.take_in(lost()).await.is_err());
        assert_eq!(told(), 0);
        let busy = || Ok(Response::builder().status(429).body(body_of("no".to_owned())).unwrap());
        for _ in 0..3 {
            assert!(listener.take_in(busy()).await.is_ok());
        }
        assert_eq!(told(), 1);
        assert!(listener.take_in(lost()).await.is_err());
        assert_eq!(told(), 2);
        assert!(listener.take_in(Err("certificate expired".into())).await.is_err());
        assert_eq!(told(), 2);
        tokio::time::advance(TOLD_FOR).await;
        assert!(listener.take_in(lost()).await.is_err());
        assert_eq!(told(), 3);
    }
}
