//! What is sent: lines as Loki takes them, logs and a trace in the JSON form of OTLP
//! (OpenTelemetry protocol 1.x, JSON protobuf encoding). Pure.

use crate::render::Bundle;
use crate::telemetry::loki::Line;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The service that everything is sent as, so that people know it for test data.
pub(in crate::checks) const SERVICE: &str = "drivemaster-mon-verify";
/// The service that it calls.
pub(in crate::checks) const CALLED: &str = "drivemaster-mon-verify-backend";
/// The classes of log lines, as the stream label `log_type` has them.
pub(in crate::checks) const CLASSES: [&str; 3] = ["application", "security", "audit"];
/// The requests that the service graph counts.
pub(in crate::checks) const EDGES: &str = "traces_service_graph_request_total";

/// Namespace of the metrics that the connector gives when none is configured.
const DEFAULT_NAMESPACE: &str = "traces.span.metrics";
/// A number of the form of a card's, which no card has.
const CARD: &str = "4111111111111111";
/// `SPAN_KIND_SERVER` of OTLP.
const SERVER: u32 = 2;
/// `SPAN_KIND_CLIENT` of OTLP.
const CLIENT: u32 = 3;
/// `STATUS_CODE_ERROR` of OTLP.
const ERROR: u32 = 2;

/// What tells the data of one run from that of all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// A word.
    pub(super) letters: String,
    /// The id of the trace.
    pub(super) trace: String,
}

impl Mark {
    pub(super) fn new(letters: String, trace: String) -> Self {
        Mark { letters, trace }
    }

    /// The user whom the data is about.
    pub(super) fn user(&self) -> String {
        format!("user-{}", self.letters)
    }

    fn email(&self) -> String {
        format!("{}@example.com", self.letters)
    }

    fn token(&self) -> String {
        format!("eyJ{0}.eyJ{0}.{0}", self.letters)
    }

    fn password(&self) -> String {
        format!("secret-{}", self.letters)
    }

    /// What must be taken out of a trace, by what it stands for.
    pub(super) fn planted(&self) -> Vec<(&'static str, String)> {
        vec![
            ("an e-mail address", self.email()),
            ("a card number", CARD.to_owned()),
            ("a token", self.token()),
            ("a password", self.password()),
        ]
    }

    /// What must be taken out of a line: what is known by its form.
    pub(super) fn planted_in_a_line(&self) -> Vec<String> {
        vec![self.email(), CARD.to_owned(), self.token()]
    }

    /// The id of span `number`.
    fn span(&self, number: u8) -> String {
        let beginning: String = self.trace.chars().take(14).collect();
        format!("{beginning}{number:02x}")
    }
}

/// The word by which the line of a class is known.
pub(super) fn word_of(class: &str) -> String {
    format!("class-{class}")
}

/// The metric of calls that the deployed Collector makes from spans.
pub(super) fn calls_metric(bundle: &Bundle) -> String {
    let namespace = connectors(bundle).and_then(|connectors| {
        ["span_metrics", "spanmetrics"].iter().find_map(|name| connectors.get(*name)?.get("namespace")?.as_str())
    });
    match namespace.unwrap_or(DEFAULT_NAMESPACE) {
        "" => "calls_total".to_owned(),
        // As the exporter writes names for Prometheus.
        namespace => format!("{}_calls_total", namespace.replace(['.', '-'], "_")),
    }
}

/// Whether the deployed Collector draws a graph of services.
pub(in crate::checks) fn has_service_graph(bundle: &Bundle) -> bool {
    connectors(bundle).is_some_and(|all| all.get("service_graph").or_else(|| all.get("servicegraph")).is_some())
}

fn connectors(bundle: &Bundle) -> Option<&Value> {
    let release = bundle.releases.iter().find(|release| release.name == "otel-collector")?;
    release.values.pointer("/config/connectors")
}

/// The line of `class` for Loki.
pub(super) fn line(mark: &Mark, class: &str, at: i64) -> Line {
    let labels = [("service_name", SERVICE), ("log_type", class), ("level", "info")];
    let text = json!({
        "level": "info", "log_type": class, "service": SERVICE, "trace_id": mark.trace,
        "message": format!("drivemaster-mon verify {} {}", mark.letters, word_of(class)),
    });
    Line {
        labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
        time: at,
        text: text.to_string(),
    }
}

/// A line of each class for the Collector, with what it must take out.
pub(super) fn logs(mark: &Mark, at: i64) -> Value {
    let of_class = |class: &&str| {
        let text = format!(
            "drivemaster-mon verify {} {} contact {} card {CARD} token {}",
            mark.letters,
            word_of(class),
            mark.email(),
            mark.token()
        );
        json!({
            "resource": {"attributes": [text_of("service.name", SERVICE), text_of("log_type", class)]},
            "scopeLogs": [{"scope": {"name": SERVICE}, "logRecords": [{
                "timeUnixNano": at.to_string(), "observedTimeUnixNano": at.to_string(),
                "severityNumber": 9, "severityText": "INFO", "body": {"stringValue": text},
                "traceId": mark.trace, "spanId": mark.span(1),
                "attributes": [text_of("user.id", &mark.user())],
            }]}],
        })
    };
    json!({ "resourceLogs": super::CLASSES.iter().map(of_class).collect::<Vec<_>>() })
}

/// A call of one service by another that fails, with what the Collector must take out.
pub(super) fn trace(mark: &Mark, at: i64) -> Value {
    const MILLISECOND: i64 = 1_000_000;
    let private = json!([
        text_of("user.id", &mark.user()),
        text_of("verify.contact", &mark.email()),
        text_of("verify.card", CARD),
        text_of("http.request.header.authorization", &format!("Bearer {}", mark.token())),
        text_of("verify.note", &mark.token()),
        text_of("login.password", &mark.password()),
    ]);
    let failure = json!({"code": ERROR, "message": "the test call failed, as it should"});
    let span = |number: u8, parent: Option<u8>, name: &str, kind: u32, from: i64, to: i64| {
        json!({
            "traceId": mark.trace, "spanId": mark.span(number),
            "parentSpanId": parent.map(|parent| mark.span(parent)).unwrap_or_default(),
            "name": name, "kind": kind, "attributes": private, "status": failure,
            "startTimeUnixNano": (at + from * MILLISECOND).to_string(),
            "endTimeUnixNano": (at + to * MILLISECOND).to_string(),
            "events": [{
                "name": "exception", "timeUnixNano": (at + to * MILLISECOND).to_string(),
                "attributes": [text_of("exception.message", &format!("no such contact {}", mark.email()))],
            }],
        })
    };
    let resource = |service: &str, spans: Value| {
        json!({"resource": {"attributes": [text_of("service.name", service)]},
            "scopeSpans": [{"scope": {"name": SERVICE}, "spans": spans}]})
    };
    json!({"resourceSpans": [
        resource(SERVICE, json!([
            span(1, None, "GET /verify", SERVER, 0, 40),
            span(2, Some(1), "call the backend", CLIENT, 5, 35),
        ])),
        resource(CALLED, json!([span(3, Some(2), "GET /backend", SERVER, 10, 30)])),
    ]})
}

fn text_of(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checks::testing;

    fn mark() -> Mark {
        Mark::new("abcdefghijklmnop".to_owned(), "0123456789abcdef0123456789abcdef".to_owned())
    }

    #[test]
    fn the_trace_is_one_call_between_two_services_and_holds_everything_that_is_planted() {
        let document = trace(&mark(), 1_000_000_000);
        let text = document.to_string();
        for (what, planted) in mark().planted() {
            assert!(text.contains(&planted), "{what}");
        }
        let spans = |service: usize| &document["resourceSpans"][service]["scopeSpans"][0]["spans"];
        assert_eq!(spans(1)[0]["parentSpanId"], spans(0)[1]["spanId"]);
        assert_eq!(spans(0)[1]["parentSpanId"], spans(0)[0]["spanId"]);
        assert_eq!((&spans(0)[1]["kind"], &spans(1)[0]["kind"]), (&json!(3), &json!(2)));
        assert_eq!(spans(1)[0]["spanId"].as_str().unwrap().len(), 16);
        assert_eq!(spans(1)[0]["status"]["code"], 2);
    }

    #[test]
    fn each_class_has_its_line() {
        let document = logs(&mark(), 5);
        for (number, class) in CLASSES.iter().enumerate() {
            let text = document["resourceLogs"][number].to_string();
            assert!(text.contains(&word_of(class)) && text.contains(&format!("\"stringValue\":\"{class}\"")), "{text}");
            assert!(mark().planted_in_a_line().iter().all(|planted| text.contains(planted)), "{text}");
            let pushed = line(&mark(), class, 5);
            assert_eq!((pushed.labels["log_type"].as_str(), pushed.text.contains(&word_of(class))), (*class, true));
        }
    }

    #[test]
    fn the_metric_goes_by_the_namespace_of_the_connector() {
        let (_, mut bundle) = testing::scope();
        assert_eq!(calls_metric(&bundle), "traces_span_metrics_calls_total");
        assert!(!has_service_graph(&bundle));
        bundle.releases[0].name = "otel-collector".to_owned();
        bundle.releases[0].values =
            json!({"config": {"connectors": {"span_metrics": {"namespace": "red.spans"}, "service_graph": null}}});
        assert_eq!(calls_metric(&bundle), "red_spans_calls_total");
        assert!(has_service_graph(&bundle));
    }
}
