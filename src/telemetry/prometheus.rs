//! The Prometheus HTTP API, version 1: what `verify` and `status` read.

use super::http::{Http, HttpError, Limits, Readiness};
use anyhow::Result;
use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// A client of one Prometheus.
#[derive(Debug, Clone)]
pub struct Prometheus(Http);

/// The frame of every answer.
#[derive(Debug, Deserialize)]
struct Envelope<T> {
    status: String,
    data: Option<T>,
    #[serde(default)]
    error: String,
}

/// What `/api/v1/targets` answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Targets {
    /// The targets that are scraped.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub active_targets: Vec<ActiveTarget>,
    /// How many discovered targets relabelling dropped, by scrape pool.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub dropped_target_counts: BTreeMap<String, u64>,
}

/// One target that is scraped.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveTarget {
    /// Labels after relabelling; `job` and `instance` among them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Scrape pool.
    #[serde(default)]
    pub scrape_pool: String,
    /// What is scraped.
    #[serde(default)]
    pub scrape_url: String,
    /// Why the last scrape failed; empty when it did not.
    #[serde(default)]
    pub last_error: String,
    /// `up`, `down`, or `unknown` before the first scrape.
    pub health: String,
    /// How often it is scraped, as a Prometheus duration.
    #[serde(default)]
    pub scrape_interval: String,
}

impl ActiveTarget {
    /// Its `job` label.
    pub fn job(&self) -> &str {
        self.labels.get("job").map_or("", String::as_str)
    }
}

/// One group of rules.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleGroup {
    /// Name.
    pub name: String,
    /// File it stands in.
    #[serde(default)]
    pub file: String,
    /// Its rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// How often it is evaluated, in seconds.
    pub interval: f64,
    /// When it was last evaluated; the year 1 before the first time.
    #[serde(default)]
    pub last_evaluation: Timestamp,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Name of the alert or of the recorded series.
    pub name: String,
    /// `ok`, `err`, or `unknown` before the first evaluation.
    pub health: String,
    /// Why the last evaluation failed.
    #[serde(default)]
    pub last_error: String,
    /// `alerting` or `recording`.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// One alert as Prometheus sees it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusAlert {
    /// Labels, `alertname` and `severity` among them.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: String,
}

/// The Alertmanagers that Prometheus sends to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alertmanagers {
    /// Those it sends to.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub active_alertmanagers: Vec<AlertmanagerUrl>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AlertmanagerUrl {
    /// Where alerts are posted.
    pub url: String,
}

/// What a target says about a metric.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    /// Its type: `counter`, `gauge`, `histogram`, `summary`, or `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A sample of an instant query.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels; none for a scalar.
    pub labels: BTreeMap<String, String>,
    /// When, in seconds since 1970.
    pub time: f64,
    /// Its value.
    pub value: f64,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum QueryResult {
    Vector(Vec<VectorSample>),
    Scalar((f64, String)),
}

#[derive(Debug, Deserialize)]
struct VectorSample {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

#[derive(Debug, Deserialize)]
struct Groups {
    #[serde(default)]
    groups: Vec<RuleGroup>,
}

#[derive(Debug, Deserialize)]
struct Alerts {
    #[serde(default)]
    alerts: Vec<PrometheusAlert>,
}

#[derive(Debug, Deserialize)]
struct LoadedConfiguration {
    yaml: String,
}

/// A series over a range of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Unix time in seconds, and value.
    pub points: Vec<(f64, f64)>,
}

#[derive(Debug, Deserialize)]
struct RangeResult {
    result: Vec<MatrixLine>,
}

#[derive(Debug, Deserialize)]
struct MatrixLine {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

fn number(text: &str) -> Result<f64, HttpError> {
    text.parse::<f64>().map_err(|_| HttpError::Malformed(format!("the answer has `{text}` for a number")))
}

impl Prometheus {
    /// A client of the Prometheus at `base`.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn new(base: &Url, limits: Limits) -> Result<Self> {
        Ok(Prometheus(Http::new(base, limits)?))
    }

    /// The same over a client that was made already.
    pub fn over(http: Http) -> Self {
        Prometheus(http)
    }

    /// Whether it is ready to serve.
    ///
    /// # Errors
    /// Nothing answers.
    pub async fn ready(&self) -> Result<Readiness, HttpError> {
        self.0.ready("/-/ready").await
    }

    /// Its targets: the active ones, and how many were dropped.
    ///
    /// # Errors
    /// No usable answer, here and in all the others.
    pub async fn targets(&self) -> Result<Targets, HttpError> {
        // The dropped ones themselves may be thousands; their count is in this answer too.
        self.api("targets", &[("state", "active")]).await
    }

    /// Its rule groups with their health. Firing alerts are left out of the answer.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn rules(&self) -> Result<Vec<RuleGroup>, HttpError> {
        Ok(self.api::<Groups>("rules", &[("exclude_alerts", "true")]).await?.groups)
    }

    /// Its pending and firing alerts.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn alerts(&self) -> Result<Vec<PrometheusAlert>, HttpError> {
        Ok(self.api::<Alerts>("alerts", &[]).await?.alerts)
    }

    /// The Alertmanagers it sends to.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn alertmanagers(&self) -> Result<Alertmanagers, HttpError> {
        self.api("alertmanagers", &[]).await
    }

    /// The configuration it runs with, as YAML with its secrets hidden.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn configuration(&self) -> Result<String, HttpError> {
        Ok(self.api::<LoadedConfiguration>("status/config", &[]).await?.yaml)
    }

    /// What its targets say about their metrics, by the names of these.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn metadata(&self) -> Result<BTreeMap<String, Vec<Metadata>>, HttpError> {
        self.api("metadata", &[]).await
    }

    /// The answer to an instant query.
    ///
    /// # Errors
    /// No usable answer; for a bad expression with Prometheus' own message.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>, HttpError> {
        match self.api::<QueryResult>("query", &[("query", expression)]).await? {
            QueryResult::Scalar((time, value)) => {
                Ok(vec![Sample { labels: BTreeMap::new(), time, value: number(&value)? }])
            }
            QueryResult::Vector(samples) => samples
                .into_iter()
                .map(|sample| {
                    Ok(Sample { labels: sample.metric, time: sample.value.0, value: number(&sample.value.1)? })
                })
                .collect(),
        }
    }

    /// The answer to a query at every `step` seconds from `start` to `end`, Unix times in seconds.
    ///
    /// # Errors
    /// As [`Prometheus::query`].
    pub async fn query_range(&self, expression: &str, start: f64, end: f64, step: f64) -> Result<Vec<Line>, HttpError> {
        let [start, end, step] = [start, end, step].map(|seconds| seconds.to_string());
        let parameters = [("query", expression), ("start", &start), ("end", &end), ("step", &step)];
        let RangeResult { result } = self.api("query_range", &parameters).await?;
        let line = |line: MatrixLine| {
            let point = |(time, value): (f64, String)| Ok((time, number(&value)?));
            let points = line.values.into_iter().map(point).collect::<Result<_, HttpError>>()?;
            Ok(Line { labels: line.metric, points })
        };
        result.into_iter().map(line).collect()
    }

    /// What its clock says.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn now(&self) -> Result<Timestamp, HttpError> {
        let sample = self.query("time()").await?.into_iter().next();
        let seconds = sample.map(|sample| sample.time).unwrap_or_default();
        Timestamp::from_millisecond((seconds * 1000.0) as i64)
            .map_err(|error| HttpError::Malformed(format!("the answer has no usable time: {error}")))
    }

    async fn api<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, HttpError> {
        let answer: Envelope<T> = self.0.json(&format!("/api/v1/{path}"), query).await?;
        match answer.data {
            Some(data) if answer.status == "success" => Ok(data),
            _ => Err(HttpError::Malformed(format!("answered {}: {}", answer.status, answer.error))),
        }
    }
}

/// Prometheus writes an empty map or list of Go as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::http::tests::{ok, quick, scripted};
    use super::*;

    async fn answering(body: &str) -> Prometheus {
        let (url, _) = scripted(vec![ok(body)]).await;
        Prometheus::new(&url, quick()).unwrap()
    }

    #[tokio::test]
    async fn nulls_where_lists_are_meant_are_empty() {
        let body =
            r#"{"status":"success","data":{"activeTargets":null,"droppedTargets":[],"droppedTargetCounts":null}}"#;
        assert_eq!(answering(body).await.targets().await.unwrap(), Targets::default());
    }

    #[tokio::test]
    async fn a_group_never_evaluated_carries_the_year_one() {
        let body = r#"{"status":"success","data":{"groups":[{"name":"g","file":"f","interval":15,"rules":[
            {"name":"A","health":"unknown","type":"alerting"}],"lastEvaluation":"0001-01-01T00:00:00Z"}]}}"#;
        let groups = answering(body).await.rules().await.unwrap();
        assert!(groups[0].last_evaluation.as_second() < 0);
        assert_eq!(groups[0].rules[0].health, "unknown");
    }

    #[tokio::test]
    async fn scalars_and_vectors_both_come_as_samples() {
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[5,"+Inf"]}]}}"#;
        let samples = answering(vector).await.query("up").await.unwrap();
        assert_eq!((samples[0].labels["job"].as_str(), samples[0].value), ("a", f64::INFINITY));
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"1.5"]}}"#;
        assert_eq!(answering(scalar).await.now().await.unwrap(), Timestamp::from_millisecond(1500).unwrap());
    }

    #[tokio::test]
    async fn a_range_comes_as_lines() {
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"job":"a"},"values":[[5,"1"],[20.5,"NaN"]]}]}}"#;
        let lines = answering(matrix).await.query_range("up", 0.0, 30.0, 15.0).await.unwrap();
        assert_eq!((lines[0].labels["job"].as_str(), lines[0].points[0]), ("a", (5.0, 1.0)));
        assert!(lines[0].points[1].0 == 20.5 && lines[0].points[1].1.is_nan());
    }

    #[tokio::test]
    async fn metadata_tells_the_types() {
        let body = r#"{"status":"success","data":{"up_total":[{"type":"counter","help":"h","unit":""}]}}"#;
        assert_eq!(answering(body).await.metadata().await.unwrap()["up_total"][0].kind, "counter");
    }

    #[tokio::test]
    async fn an_error_inside_a_good_status_is_an_error() {
        let error = answering(r#"{"status":"error","error":"shutting down"}"#).await.rules().await.unwrap_err();
        assert_eq!(error.to_string(), "answered error: shutting down");
    }
}
