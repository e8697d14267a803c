//! What the services and exporters expose is what rules and panels rely on.

use super::facts::{MetricFact, Need};
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use crate::contract::Metric;
use crate::event::Outcome;
use crate::render::bundle::ExpectedMetric;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CHECK: Check = Check {
    id: "metrics/contract",
    title: "services and exporters expose what the metrics contract says",
    severity: Severity::Critical,
    hint: "compare the page /metrics of the target with docs/metrics.md",
    doc: "docs/checks.md#metrics-contract",
    component: Some("prometheus"),
    needs: &[Need::Metrics, Need::Targets],
    judge: judge_contract,
};

fn judge_contract(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let live = match &facts.metrics {
        Ok(live) => live,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let promised = &scope.bundle.expected.metrics;
    let (mut wrong, mut unseen) = (Vec::new(), Vec::new());
    for expected in promised {
        match live.get(&expected.metric.name).filter(|fact| !fact.jobs.is_empty()) {
            None => unseen.push(expected),
            Some(fact) => wrong.extend(contradictions(&expected.metric, fact)),
        }
    }
    let total = counted(promised.len(), "metric");
    vec![if promised.is_empty() {
        Verdict::skip("no service and no exporter is watched")
    } else if !wrong.is_empty() {
        Verdict::fail(format!("{} with {total}", counted(wrong.len(), "contradiction"))).evidence(wrong)
    } else if !unseen.is_empty() {
        // A program may show some only once something happened.
        Verdict::new(Outcome::Warn, format!("{} of {total} not seen", unseen.len())).evidence(places(&unseen, facts))
    } else {
        Verdict::pass().evidence(vec![format!("{total} with the promised types and labels")])
    }]
}

/// Where the `unseen` metrics are missed, those of the same jobs together. Where some of the jobs have no target that
/// is up, these may have it, and the others need not be looked at.
fn places(unseen: &[&ExpectedMetric], facts: &Facts) -> Vec<String> {
    let up: Option<BTreeSet<&str>> = facts.targets.as_ref().ok().map(|targets| {
        let up = targets.active_targets.iter().filter(|target| target.health == "up");
        up.map(|target| target.job()).collect()
    });
    let mut by_place: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ExpectedMetric { metric, jobs } in unseen {
        let down: Vec<&str> =
            jobs.iter().map(String::as_str).filter(|job| up.as_ref().is_some_and(|up| !up.contains(job))).collect();
        let place = match (down.as_slice(), jobs.as_slice()) {
            ([], [job]) => job.clone(),
            ([], jobs) => format!("any of {}", jobs.join(", ")),
            ([job], _) => format!("{job}, which is not scraped"),
            (down, _) => format!("{}, which are not scraped", down.join(", ")),
        };
        by_place.entry(place).or_default().push(format!("`{}`", metric.name));
    }
    by_place.into_iter().map(|(place, metrics)| format!("{} of {place}", metrics.join(", "))).collect()
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
    use super::super::facts::{CannotAsk, Targets};
    use super::super::testing::{judge, scope};
    use super::*;
    use serde_json::json;

    fn live() -> BTreeMap<String, MetricFact> {
        let (_, bundle) = scope();
        let fact = |metric: &Metric, jobs: &[String]| MetricFact {
            types: [metric.metric_type.word().to_owned()].into(),
            jobs: jobs.iter().take(1).cloned().collect(),
            lacks: BTreeMap::new(),
        };
        let promised = bundle.expected.metrics.iter();
        promised.map(|expected| (expected.metric.name.clone(), fact(&expected.metric, &expected.jobs))).collect()
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
        let verdict = of(missing.clone());
        assert_eq!((verdict.outcome, verdict.evidence), (Outcome::Warn, vec!["`redis_up` of redis".to_owned()]));
        let target = |job: &str, health: &str| {
            serde_json::from_value(
                json!({ "labels": { "job": job }, "scrapePool": job, "scrapeUrl": "", "health": health }),
            )
            .unwrap()
        };
        missing.remove("bkt_knowledge_probability");
        missing.remove("bandit_exploration_rate");
        let active_targets = vec![target("redis", "up"), target("user-service", "down")];
        let targets = Ok(Targets { active_targets, ..Targets::default() });
        let verdict = judge(&CHECK, &Facts { metrics: Ok(missing), targets, ..Facts::default() }).remove(0);
        let of_the_service =
            "`bkt_knowledge_probability`, `bandit_exploration_rate` of user-service, which is not scraped";
        assert_eq!(verdict.evidence, ["`redis_up` of redis", of_the_service]);
        let facts = Facts { metrics: Err(CannotAsk::lasting("refused")), ..Facts::default() };
        assert_eq!(judge(&CHECK, &facts)[0].outcome, Outcome::Unknown);
    }
}
