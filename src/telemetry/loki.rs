//! The HTTP API of Loki: what `verify` sends and reads.

use super::http::{Http, HttpError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A client of one Loki.
#[derive(Debug, Clone)]
pub struct Loki(Http);

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Labels of its stream; in an answer its structured metadata too.
    pub labels: BTreeMap<String, String>,
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// The text.
    pub text: String,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    result: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    stream: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(String, String)>,
}

impl Loki {
    /// A client over `http`.
    pub fn over(http: Http) -> Self {
        Loki(http)
    }

    /// Sends `lines`.
    ///
    /// # Errors
    /// Loki cannot be reached or refuses a line, with its own message.
    pub async fn push(&self, lines: &[Line]) -> Result<(), HttpError> {
        let stream = |line: &Line| json!({"stream": line.labels, "values": [[line.time.to_string(), line.text]]});
        let streams: Vec<Value> = lines.iter().map(stream).collect();
        self.0.post("/loki/api/v1/push", &json!({ "streams": streams })).await
    }

    /// The lines of the LogQL query `query` from `start` on, in nanoseconds since 1970; at most 100.
    ///
    /// # Errors
    /// No usable answer; for a bad query with Loki's own message.
    pub async fn lines(&self, query: &str, start: i64) -> Result<Vec<Line>, HttpError> {
        let start = start.to_string();
        let parameters = [("query", query), ("start", start.as_str()), ("limit", "100")];
        let answer: Answer = self.0.json("/loki/api/v1/query_range", &parameters).await?;
        let lines = answer.data.result.into_iter().flat_map(|Stream { stream, values }| {
            values.into_iter().map(move |(time, text)| Line {
                labels: stream.clone(),
                time: time.parse().unwrap_or_default(),
                text,
            })
        });
        Ok(lines.collect())
    }

    /// The configuration it runs with, as YAML with its secrets hidden.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn configuration(&self) -> Result<String, HttpError> {
        self.0.text("/config").await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::http::tests::{ok, quick, scripted};
    use super::*;

    #[tokio::test]
    async fn each_line_comes_with_the_labels_of_its_stream() {
        let body = r#"{"status":"success","data":{"resultType":"streams","result":[
            {"stream":{"log_type":"audit"},"values":[["5","one"],["6","two"]]},{"stream":{},"values":[]}]}}"#;
        let (url, _) = scripted(vec![ok(body)]).await;
        let lines = Loki::over(Http::new(&url, quick()).unwrap()).lines("{a=\"b\"}", 1).await.unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[1].labels["log_type"].as_str(), lines[1].time, lines[1].text.as_str()), ("audit", 6, "two"));
    }
}
