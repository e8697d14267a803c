//! The HTTP API of Jaeger's query service: what `verify` reads.

use super::http::{Http, HttpError};
use serde_json::Value;

/// A client of one Jaeger.
#[derive(Debug, Clone)]
pub struct Jaeger(Http);

impl Jaeger {
    /// A client over `http`.
    pub fn over(http: Http) -> Self {
        Jaeger(http)
    }

    /// The trace with the id `id` (32 hexadecimal digits): its `spans` and `processes`; `None` when
    /// Jaeger does not know it.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn trace(&self, id: &str) -> Result<Option<Value>, HttpError> {
        match self.0.json::<Value>(&format!("/api/traces/{id}"), &[]).await {
            Ok(mut answer) => Ok(answer
                .get_mut("data")
                .and_then(Value::as_array_mut)
                .and_then(|found| (!found.is_empty()).then(|| found.remove(0)))),
            Err(HttpError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::http::tests::{Act, ok, quick, scripted};
    use super::*;

    #[tokio::test]
    async fn a_trace_that_is_not_there_is_none() {
        let not_found = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}".to_owned();
        let cases = [
            (ok(r#"{"data":[{"traceID":"a","spans":[]}]}"#), Ok(Some("a"))),
            (ok(r#"{"data":[]}"#), Ok(None)),
            (Act::Say(not_found), Ok(None)),
            (ok("<html>"), Err(())),
        ];
        for (act, expected) in cases {
            let (url, _) = scripted(vec![act]).await;
            let found = Jaeger::over(Http::new(&url, quick()).unwrap()).trace("a").await;
            let id = found.as_ref().map(|found| found.as_ref().and_then(|trace| trace["traceID"].as_str()));
            assert_eq!(id.map_err(|_| ()), expected);
        }
    }
}
