//! Each program of the stack says that it is ready.

use super::facts::{CannotAsk, Need, Readiness};
use super::{Again, Check, Facts, Scope, Severity, Verdict};
use std::time::Duration;

/// How long a program that says no is asked again; Loki waits 15 s after its start before it says yes.
const STARTING: Duration = Duration::from_secs(30);

const fn program(
    id: &'static str,
    title: &'static str,
    doc: &'static str,
    component: &'static str,
    judge: fn(&Scope<'_>, &Facts) -> Vec<Verdict>,
) -> Check {
    Check {
        id,
        title,
        severity: Severity::Critical,
        hint: "drivemaster-mon status",
        doc,
        component: Some(component),
        needs: &[Need::Programs],
        judge,
    }
}

pub(super) const PROMETHEUS: Check =
    program("prometheus/ready", "Prometheus is ready", "docs/checks.md#prometheus-ready", "prometheus", |_, facts| {
        judge_program(facts, "prometheus")
    });
pub(super) const ALERTMANAGER: Check = program(
    "alertmanager/ready",
    "Alertmanager is ready",
    "docs/checks.md#alertmanager-ready",
    "alertmanager",
    |_, facts| judge_program(facts, "alertmanager"),
);
pub(super) const GRAFANA: Check = program(
    "grafana/healthy",
    "Grafana and its database are healthy",
    "docs/checks.md#grafana-healthy",
    "grafana",
    |_, facts| judge_program(facts, "grafana"),
);
pub(super) const LOKI: Check =
    program("loki/healthy", "Loki is ready", "docs/checks.md#loki-healthy", "loki", |_, facts| {
        judge_program(facts, "loki")
    });
pub(super) const JAEGER: Check =
    program("jaeger/healthy", "Jaeger answers queries", "docs/checks.md#jaeger-healthy", "jaeger", |_, facts| {
        judge_program(facts, "jaeger")
    });
pub(super) const OTEL_COLLECTOR: Check = program(
    "otel-collector/healthy",
    "the OpenTelemetry Collector is healthy",
    "docs/checks.md#otel-collector-healthy",
    "otelCollector",
    |_, facts| judge_program(facts, "otelCollector"),
);

pub(super) const PROMETHEUS_OPERATOR: Check = program(
    "prometheus-operator/ready",
    "the Prometheus Operator is ready",
    "docs/checks.md#prometheus-operator-ready",
    "prometheusOperator",
    |_, facts| judge_program(facts, "prometheusOperator"),
);
pub(super) const ALLOY: Check =
    program("alloy/ready", "Alloy is ready", "docs/checks.md#alloy-ready", "alloy", |_, facts| {
        judge_program(facts, "alloy")
    });
pub(super) const BLACKBOX_EXPORTER: Check = program(
    "blackbox-exporter/healthy",
    "the blackbox exporter is healthy",
    "docs/checks.md#blackbox-exporter-healthy",
    "blackboxExporter",
    |_, facts| judge_program(facts, "blackboxExporter"),
);
pub(super) const CHAOS_MESH: Check = program(
    "chaos-mesh/ready",
    "the controller of Chaos Mesh is ready",
    "docs/checks.md#chaos-mesh-ready",
    "chaosMesh",
    |_, facts| judge_program(facts, "chaosMesh"),
);

/// The id of the check that asks the program of the component `key`.
pub(super) fn check_of(key: &str) -> Option<&'static str> {
    let all = [
        PROMETHEUS,
        ALERTMANAGER,
        GRAFANA,
        LOKI,
        JAEGER,
        OTEL_COLLECTOR,
        PROMETHEUS_OPERATOR,
        ALLOY,
        BLACKBOX_EXPORTER,
        CHAOS_MESH,
    ];
    all.iter().find(|check| check.component == Some(key)).map(|check| check.id)
}

fn judge_program(facts: &Facts, key: &str) -> Vec<Verdict> {
    let verdict = match facts.programs.get(key) {
        Some(Ok(Readiness::Ready)) => Verdict::pass(),
        Some(Ok(Readiness::NotReady(answer))) => Verdict::fail(answer.clone()).again(Again::Within(STARTING)),
        Some(Err(why)) => Verdict::unknown(why),
        None => Verdict::unknown(&CannotAsk::lasting("not asked")),
    };
    vec![Verdict { component: Some(key.to_owned()), ..verdict }]
}

#[cfg(test)]
mod tests {
    use super::super::testing::judge;
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn a_no_fails_and_silence_is_unknown() {
        let facts = |answer| Facts { programs: [("loki", answer)].into(), ..Facts::default() };
        let cases = [
            (Ok(Readiness::Ready), Outcome::Pass, "", Again::Never),
            (
                Ok(Readiness::NotReady("answered 503".to_owned())),
                Outcome::Fail,
                "answered 503",
                Again::Within(STARTING),
            ),
            (Err(CannotAsk::lasting("no program")), Outcome::Unknown, "no program", Again::Never),
        ];
        for (answer, outcome, reason, again) in cases {
            let verdict = &judge(&LOKI, &facts(answer))[0];
            assert_eq!((verdict.outcome, verdict.reason.as_str(), verdict.again), (outcome, reason, again));
        }
        assert_eq!(
            judge(&GRAFANA, &facts(Ok(Readiness::Ready)))[0].outcome,
            Outcome::Unknown,
            "not that of another program"
        );
    }
}
