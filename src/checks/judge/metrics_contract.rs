//! What the services and exporters expose is what rules and panels rely on.

use super::facts::{MetricFact, Need};
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use crate::config::Config;
use crate::config::model::{ExporterMode, UserMetrics};
use crate::contract::{Contract, Metric, SERVICE};
use crate::event::Outcome;
use crate::stack::EXPORTERS;

pub(super) const CHECK: Check = Check {
    id: "metrics/contract",
    title: "services and exporters expose what the metrics contract says",
    severity: Severity::Critical,
    hint: "compare the page /metrics of the target with docs/metrics.md",
    doc: "docs/checks.md#metrics-contract",
    component: Some("prometheus"),
    needs: &[Need::Metrics],
    judge: judge_contract,
};

/// The label of a series of one user.
const USER: &str = "user_id";

/// The metrics of the contract that must be there, each with the jobs of which some have it. Those of
/// users are left out where they are not kept.
///
/// # Errors
/// Only when the embedded contract is broken, which its tests rule out.
pub(in crate::checks) fn promised(config: &Config) -> anyhow::Result<Vec<(Metric, Vec<String>)>> {
    let mut found = Vec::new();
    for (source, metrics) in Contract::embedded()?.exporters {
        let jobs: Vec<String> = if source == SERVICE {
            config.platform.services.iter().map(|service| service.name.clone()).collect()
        } else {
            let exporters = EXPORTERS.iter().filter(|exporter| exporter.key == source);
            let there = exporters.filter(|exporter| config.exporter_mode(exporter.key) != ExporterMode::None);
            there.map(|exporter| exporter.job.to_owned()).collect()
        };
        if jobs.is_empty() {
            continue;
        }
        let drops_users = config.privacy.user_metrics == UserMetrics::Drop;
        let kept =
            metrics.into_iter().filter(|metric| !drops_users || !metric.labels.iter().any(|label| label == USER));
        found.extend(kept.map(|metric| (metric, jobs.clone())));
    }
    Ok(found)
}

fn judge_contract(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let live = match &facts.metrics {
        Ok(live) => live,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let Ok(promised) = promised(scope.config) else {
        return vec![Verdict::fail("the embedded metrics contract cannot be read")];
    };
    let (mut wrong, mut unseen) = (Vec::new(), Vec::new());
    for (metric, jobs) in &promised {
        match live.get(&metric.name).filter(|fact| !fact.jobs.is_empty()) {
            None => unseen.push(format!("`{}` of {}", metric.name, jobs.join(", "))),
            Some(fact) => wrong.extend(contradictions(metric, fact)),
        }
    }
    let total = counted(promised.len(), "metric");
    vec![if promised.is_empty() {
        Verdict::skip("no service and no exporter is watched")
    } else if !wrong.is_empty() {
        Verdict::fail(format!("{} with {total}", counted(wrong.len(), "contradiction"))).evidence(wrong)
    } else if !unseen.is_empty() {
        // A program may show some only once something happened.
        Verdict::new(Outcome::Warn, format!("{} of {total} not seen", unseen.len())).evidence(unseen)
    } else {
        Verdict::pass().evidence(vec![format!("{total} with the promised types and labels")])
    }]
}

/// Where the live series contradict the contract.
fn contradictions(metric: &Metric, fact: &MetricFact) -> Vec<String> {
    let promised = metric.metric_type.word();
    // Old clients say no type; that contradicts nothing.
    let other = fact.types.iter().find(|kind| *kind != promised && *kind != "unknown" && !kind.is_empty());
    let of_type = other.map(|kind| format!("`{}` is a {kind}, not a {promised}", metric.name));
    let lacking = fact.lacks.iter().map(|(label, jobs)| {
        let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
        format!("`{}` of {} has series without the label `{label}`", metric.name, jobs.join(", "))
    });
    of_type.into_iter().chain(lacking).collect()
}

#[cfg(test)]
mod tests {
    use super::super::facts::CannotAsk;
    use super::super::testing::{judge, scope};
    use super::*;
    use std::collections::BTreeMap;

    fn live() -> BTreeMap<String, MetricFact> {
        let (config, _) = scope();
        let fact = |metric: &Metric, jobs: &[String]| MetricFact {
            types: [metric.metric_type.word().to_owned()].into(),
            jobs: jobs.iter().take(1).cloned().collect(),
            lacks: BTreeMap::new(),
        };
        promised(&config).unwrap().iter().map(|(metric, jobs)| (metric.name.clone(), fact(metric, jobs))).collect()
    }

    fn of(metrics: BTreeMap<String, MetricFact>) -> Verdict {
        judge(&CHECK, &Facts { metrics: Ok(metrics), ..Facts::default() }).remove(0)
    }

    #[test]
    fn types_labels_and_missing_metrics_are_told_apart() {
        assert!(live().contains_key("redis_up") && !live().contains_key("pg_up"));
        assert_eq!(of(live()).outcome, Outcome::Pass);
        let mut wrong_type = live();
        wrong_type.get_mut("redis_up").unwrap().types = ["counter".to_owned()].into();
        let verdict = of(wrong_type);
        assert_eq!(
            (verdict.outcome, verdict.evidence),
            (Outcome::Fail, vec!["`redis_up` is a counter, not a gauge".to_owned()])
        );
        let mut untyped = live();
        untyped.get_mut("redis_up").unwrap().types = ["unknown".to_owned()].into();
        assert_eq!(of(untyped).outcome, Outcome::Pass);
        let mut lacking = live();
        let lacks = [("route".to_owned(), ["user-service".to_owned()].into())].into();
        lacking.get_mut("http_requests_total").unwrap().lacks = lacks;
        let verdict = of(lacking);
        assert_eq!(verdict.outcome, Outcome::Fail);
        assert_eq!(verdict.evidence, ["`http_requests_total` of user-service has series without the label `route`"]);
        let mut missing = live();
        missing.remove("redis_up");
        let verdict = of(missing);
        assert_eq!((verdict.outcome, verdict.evidence), (Outcome::Warn, vec!["`redis_up` of redis".to_owned()]));
        let facts = Facts { metrics: Err(CannotAsk::lasting("refused")), ..Facts::default() };
        assert_eq!(judge(&CHECK, &facts)[0].outcome, Outcome::Unknown);
    }
}
