//! A trace of two services with an error goes into the Collector and is found in Jaeger, without
//! what is private.

use super::facts::{Need, SentTrace};
use super::round_trip::{CALLED, SERVICE};
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) const CHECK: Check = Check {
    id: "traces/round-trip",
    title: "a trace with an error is found in Jaeger, without private values",
    severity: Severity::Critical,
    hint: "drivemaster-mon verify --only otel-collector,jaeger; kubectl logs of the Collector's pod",
    doc: "docs/checks.md#traces-round-trip",
    component: Some("jaeger"),
    needs: &[Need::Trace],
    judge: judge_round_trip,
};

/// How many spans are sent.
const SPANS: usize = 3;

fn judge_round_trip(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    if !scope.config.otel_collector.enabled {
        return vec![Verdict::skip("`otelCollector.enabled` is false")];
    }
    let verdict = match &facts.trace {
        Ok(trace) => judge_trace(trace, scope.config.privacy.pseudonymise),
        Err(why) => Verdict::unknown(why),
    };
    vec![Verdict { component: Some("jaeger".to_owned()), ..verdict }]
}

fn judge_trace(sent: &SentTrace, pseudonymise: bool) -> Verdict {
    let evidence = |line: String| vec![format!("trace {}", sent.id), line];
    let Some(found) = &sent.found else {
        // The Collector gathers the spans of a trace for a while before it passes them on.
        return Verdict::fail("Jaeger does not know the trace that the Collector took")
            .evidence(vec![format!("trace {}", sent.id)])
            .again(Again::UntilTimeout);
    };
    let spans: Vec<&Value> = found.get("spans").and_then(Value::as_array).into_iter().flatten().collect();
    if spans.len() < SPANS {
        return Verdict::fail(format!("{} of {SPANS} arrived", counted(spans.len(), "span")))
            .evidence(evidence("the rest may still come".to_owned()))
            .again(Again::UntilTimeout);
    }
    let processes = found.get("processes").and_then(Value::as_object).into_iter().flatten();
    let services: BTreeSet<&str> = processes.filter_map(|(_, process)| process.get("serviceName")?.as_str()).collect();
    let mut wrong: Vec<String> = [SERVICE, CALLED]
        .iter()
        .filter(|service| !services.contains(*service))
        .map(|service| format!("the spans of service `{service}` are missing"))
        .collect();
    if !spans.iter().any(|span| is_error(span)) {
        wrong.push("no span has its error any more".to_owned());
    }
    let users: Vec<&str> = spans.iter().filter_map(|span| tag(span, "user.id")?.as_str()).collect();
    match users.as_slice() {
        [] => wrong.push("the attribute `user.id` is lost".to_owned()),
        users if pseudonymise && users.iter().any(|user| *user == sent.user) => {
            wrong.push("`user.id` is the plain user id, no pseudonym".to_owned());
        }
        [first, rest @ ..] if rest.iter().any(|user| user != first) => {
            wrong.push("one user has several pseudonyms".to_owned());
        }
        _ => {}
    }
    let text = found.to_string();
    let stored = sent.planted.iter().filter(|(_, value)| text.contains(value.as_str()));
    wrong.extend(stored.map(|(what, _)| format!("{what} is stored")));
    if wrong.is_empty() {
        return Verdict::pass().evidence(evidence(format!("{} of 2 services", counted(spans.len(), "span"))));
    }
    Verdict::fail("the trace is not stored as it should be").evidence(wrong)
}

fn tag<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    let tags = span.get("tags")?.as_array()?;
    tags.iter().find(|tag| tag.get("key").and_then(Value::as_str) == Some(key))?.get("value")
}

/// Jaeger writes the status of OTLP as two tags.
fn is_error(span: &Value) -> bool {
    tag(span, "error").is_some_and(|value| value.as_bool() == Some(true) || value.as_str() == Some("true"))
        || tag(span, "otel.status_code").and_then(Value::as_str) == Some("ERROR")
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::event::Outcome;
    use serde_json::json;

    fn sent(found: Option<Value>) -> SentTrace {
        SentTrace {
            id: "7".to_owned(),
            user: "user-7".to_owned(),
            planted: vec![("a token", "eyJabc".to_owned())],
            found,
        }
    }

    /// As Jaeger answers it, shortened.
    fn answer(user: &str, error: bool, note: &str) -> Value {
        let span = |process: &str| {
            json!({"processID": process, "tags": [
                {"key": "user.id", "type": "string", "value": user}, {"key": "error", "type": "bool", "value": error},
                {"key": "verify.note", "type": "string", "value": note}]})
        };
        json!({"traceID": "7", "spans": [span("p1"), span("p1"), span("p2")],
            "processes": {"p1": {"serviceName": SERVICE}, "p2": {"serviceName": CALLED}}})
    }

    #[test]
    fn what_is_stored_must_be_whole_scrubbed_and_pseudonymous() {
        let good = judge_trace(&sent(Some(answer("9f2c", true, "****"))), true);
        assert_eq!(good.outcome, Outcome::Pass, "{:?}", good.evidence);
        let cases = [
            (answer("user-7", true, "****"), "`user.id` is the plain user id, no pseudonym"),
            (answer("9f2c", false, "****"), "no span has its error any more"),
            (answer("9f2c", true, "eyJabc"), "a token is stored"),
        ];
        for (found, expected) in cases {
            let verdict = judge_trace(&sent(Some(found)), true);
            assert_eq!((verdict.outcome, verdict.evidence), (Outcome::Fail, vec![expected.to_owned()]));
        }
        assert_eq!(judge_trace(&sent(Some(answer("user-7", true, "****"))), false).outcome, Outcome::Pass);
        let mut two = answer("9f2c", true, "****");
        two["spans"][1]["tags"][0]["value"] = json!("other");
        assert_eq!(judge_trace(&sent(Some(two)), true).evidence, ["one user has several pseudonyms"]);
    }

    #[test]
    fn what_is_not_there_yet_is_asked_again() {
        let mut half = answer("9f2c", true, "****");
        half["spans"].as_array_mut().unwrap().truncate(1);
        for found in [None, Some(half)] {
            let verdict = judge_trace(&sent(found), true);
            assert_eq!((verdict.outcome, verdict.again), (Outcome::Fail, Again::UntilTimeout));
        }
    }

    #[test]
    fn without_a_collector_there_is_no_way_in() {
        let (mut config, bundle) = testing::scope();
        config.otel_collector.enabled = false;
        let scope = Scope { config: &config, bundle: &bundle };
        assert_eq!(judge_round_trip(&scope, &Facts::default())[0].outcome, Outcome::Skip);
    }
}
