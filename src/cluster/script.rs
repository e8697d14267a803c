//! A scripted API server for tests: each request is answered by a function.

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// What it is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status and JSON.
    Json(u16, Value),
    /// The bytes, then the end: a watch that is dropped.
    Bytes(&'static str),
    /// Nothing, ever.
    Silence,
}

/// A `Status` as the API server answers a refusal.
pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    Answer::Json(
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

/// An empty list.
pub(crate) fn empty() -> Answer {
    list(json!([]))
}

/// A list of `items`.
pub(crate) fn list(items: Value) -> Answer {
    Answer::Json(200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}))
}

/// The requests a scripted server has seen.
pub(crate) type Log = Arc<Mutex<Vec<Asked>>>;

/// A client whose requests are answered by `answer`, and the log of them.
pub(crate) fn scripted(mut answer: impl FnMut(&Asked) -> Answer + Send + 'static) -> (Client, Log) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let log = Log::default();
    let kept = Arc::clone(&log);
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some((request, respond)) = handle.next_request().await {
            let (head, body) = request.into_parts();
            let bytes = body.collect_bytes().await.unwrap();
            let asked = Asked {
                method: head.method,
                path: head.uri.to_string(),
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            };
            kept.lock().unwrap().push(asked.clone());
            match answer(&asked) {
                Answer::Json(code, value) => {
                    let body = Body::from(serde_json::to_vec(&value).unwrap());
                    respond.send_response(Response::builder().status(code).body(body).unwrap());
                }
                Answer::Bytes(bytes) => respond.send_response(Response::new(Body::from(bytes.as_bytes().to_vec()))),
                Answer::Silence => unanswered.push(respond),
            }
        }
    });
    (Client::new(service, "default"), log)
}
