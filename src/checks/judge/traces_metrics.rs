//! The trace that was sent is counted: calls and errors by service, and who calls whom; without the user.

use super::facts::{Need, Sample, SpanSeries};
use super::round_trip::{CALLED, SERVICE, has_service_graph};
use super::{Again, Check, Facts, Scope, Severity, Verdict};

pub(super) const CHECK: Check = Check {
    id: "traces/metrics",
    title: "spans are counted by service, and who calls whom",
    severity: Severity::Critical,
    hint: "drivemaster-mon verify --only targets/span-metrics",
    doc: "docs/checks.md#traces-metrics",
    component: Some("otelCollector"),
    needs: &[Need::SpanMetrics],
    judge: judge_metrics,
};

fn judge_metrics(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    if !scope.config.prometheus.enabled {
        return vec![Verdict::skip("`prometheus.enabled` is false")];
    }
    let verdict = match &facts.span_metrics {
        Ok(series) => judge_series(series, has_service_graph(scope.bundle)),
        Err(why) => Verdict::unknown(why),
    };
    vec![Verdict { component: Some("otelCollector".to_owned()), ..verdict }]
}

fn judge_series(series: &SpanSeries, graph: bool) -> Verdict {
    let named = series.calls.iter().chain(&series.edges);
    if named.flat_map(|sample| sample.labels.values()).any(|value| value.contains(&series.user)) {
        return Verdict::fail("the user id is a label of a metric: one series for each user");
    }
    let mut missing: Vec<String> = [SERVICE, CALLED]
        .iter()
        .filter(|service| {
            let (before, now) = (errors(&series.before, service), errors(&series.calls, service));
            // A counter that fell began again.
            now == 0.0 || now == before
        })
        .map(|service| format!("the failed call of `{service}` is not counted"))
        .collect();
    let edge = |sample: &Sample| sample.labels.get("server").map(String::as_str) == Some(CALLED) && sample.value > 0.0;
    if graph && !series.edges.iter().any(edge) {
        missing.push(format!("the call of `{CALLED}` by `{SERVICE}` is not in the graph of services"));
    }
    if missing.is_empty() {
        return Verdict::pass();
    }
    // The Collector gives its counts out now and then, and Prometheus scrapes them after that.
    Verdict::fail("the trace left no series").evidence(missing).again(Again::UntilTimeout)
}

/// The calls of `service` that ended in an error.
fn errors(samples: &[Sample], service: &str) -> f64 {
    let label = |sample: &Sample, name: &str| sample.labels.get(name).cloned().unwrap_or_default();
    let of_service = samples.iter().filter(|sample| label(sample, "service_name") == service);
    of_service.filter(|sample| label(sample, "status_code").contains("ERROR")).map(|sample| sample.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outcome;

    fn call(service: &str, status: &str, value: f64) -> Sample {
        let labels = [("service_name", service), ("status_code", status)];
        Sample { labels: labels.map(|(name, text)| (name.to_owned(), text.to_owned())).into(), time: 0.0, value }
    }

    fn edge() -> Sample {
        let labels = [("client", SERVICE), ("server", CALLED)];
        Sample { labels: labels.map(|(name, text)| (name.to_owned(), text.to_owned())).into(), time: 0.0, value: 1.0 }
    }

    fn series(before: f64, now: f64) -> SpanSeries {
        let both = |value| vec![call(SERVICE, "STATUS_CODE_ERROR", value), call(CALLED, "STATUS_CODE_ERROR", value)];
        SpanSeries { user: "user-7".to_owned(), before: both(before), calls: both(now), edges: vec![edge()] }
    }

    #[test]
    fn this_runs_call_must_be_counted_as_failed() {
        assert_eq!(judge_series(&series(1.0, 2.0), true).outcome, Outcome::Pass);
        assert_eq!(judge_series(&series(5.0, 1.0), true).outcome, Outcome::Pass, "a counter that began again");
        for stale in [series(2.0, 2.0), series(0.0, 0.0)] {
            let verdict = judge_series(&stale, true);
            assert_eq!((verdict.outcome, verdict.again), (Outcome::Fail, Again::UntilTimeout));
        }
        let mut fine = series(0.0, 0.0);
        fine.calls = vec![call(SERVICE, "STATUS_CODE_OK", 3.0), call(CALLED, "STATUS_CODE_OK", 3.0)];
        assert_eq!(judge_series(&fine, true).outcome, Outcome::Fail, "without its error");
    }

    #[test]
    fn the_graph_counts_only_where_it_is_drawn() {
        let without = SpanSeries { edges: vec![], ..series(0.0, 1.0) };
        assert_eq!(judge_series(&without, false).outcome, Outcome::Pass);
        assert_eq!(judge_series(&without, true).outcome, Outcome::Fail);
    }

    #[test]
    fn a_user_in_a_label_fails_at_once() {
        let mut leaking = series(0.0, 1.0);
        leaking.calls[0].labels.insert("user_id".to_owned(), "user-7".to_owned());
        let verdict = judge_series(&leaking, true);
        assert_eq!((verdict.outcome, verdict.again), (Outcome::Fail, Again::Never));
    }
}
