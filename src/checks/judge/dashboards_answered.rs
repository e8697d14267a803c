//! Every panel of every dashboard shows data.

use super::facts::{Cause, DashboardFact, Need, PanelFact, QueryFact};
use super::targets::seconds_of;
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use crate::config::Config;
use crate::event::Outcome;
use std::time::Duration;

pub(super) const CHECK: Check = Check {
    id: "dashboards/<uid>",
    title: "every panel of the dashboard shows data",
    severity: Severity::Critical,
    hint: "drivemaster-mon verify --only targets,rules",
    doc: "docs/checks.md#dashboards-uid",
    component: Some("prometheus"),
    needs: &[Need::Panels],
    judge: judge_answers,
};

/// Most rules record something in this time; those that need more are told, not waited for.
const RECORDING: Duration = Duration::from_secs(30);

/// How many scrapes it takes until what this run sent is seen for sure, and how long it may be on its way before.
const SCRAPES: u32 = 2;
const ON_ITS_WAY: Duration = Duration::from_secs(15);

fn judge_answers(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let until_scraped = until_scraped(scope.config);
    let expected = scope.bundle.expected.dashboards.iter();
    expected
        .map(|dashboard| {
            let verdict = match &facts.panels {
                Ok(answers) => match answers.get(&dashboard.uid) {
                    Some(DashboardFact::Panels(panels)) => judge_panels(panels, until_scraped),
                    Some(DashboardFact::Unreadable(lacks)) => {
                        Verdict::fail(format!("its model is no dashboard: {lacks}")).hint("drivemaster-mon render")
                    }
                    None => Verdict::fail("it was not asked"),
                },
                Err(why) => Verdict::unknown(why),
            };
            let title = format!("every panel of `{}` shows data", dashboard.title);
            Verdict {
                instance: Some((format!("dashboards/{}", dashboard.uid), title)),
                component: CHECK.component.map(str::to_owned),
                ..verdict
            }
        })
        .collect()
}

/// How long a metric that comes with what this run sent may still be missing.
fn until_scraped(config: &Config) -> Duration {
    Duration::from_secs(seconds_of(&config.prometheus.scrape_interval)) * SCRAPES + ON_ITS_WAY
}

fn judge_panels(panels: &[PanelFact], until_scraped: Duration) -> Verdict {
    let wrong: Vec<String> = panels.iter().filter_map(problem).collect();
    let total = panels.iter().filter(|panel| panel.is_panel).count();
    let are_all = |fits: fn(&QueryFact) -> bool| panels.iter().flat_map(|panel| &panel.queries).all(fits);
    let of = |what: &str| format!("{} of {} {what}", wrong.len(), counted(total, "panel"));
    if !wrong.is_empty() && are_all(is_shown) {
        let reason = of("show a constant in place of a metric");
        return Verdict::new(Outcome::Warn, reason).evidence(wrong).again(Again::Within(until_scraped));
    }
    if !wrong.is_empty() && are_all(is_early) {
        let reason = of("wait for their first record");
        return Verdict::new(Outcome::Warn, reason).evidence(wrong).again(Again::Within(RECORDING));
    }
    if !wrong.is_empty() {
        // A rate needs two scrapes, a recorded series an evaluation.
        return Verdict::fail(of("without data")).evidence(wrong).again(Again::UntilTimeout);
    }
    if total == 0 {
        return Verdict::fail("it has no panel that asks anything");
    }
    let with_data = |query: &&QueryFact| matches!(query, QueryFact::Data(1..) | QueryFact::Constant(_));
    let of_panels = panels.iter().filter(|panel| panel.is_panel);
    let queries = of_panels.clone().map(|panel| panel.queries.len()).sum::<usize>();
    let answered = of_panels.clone().flat_map(|panel| &panel.queries).filter(with_data).count();
    let shown = of_panels.clone().filter(|panel| panel.queries.iter().any(|query| with_data(&query))).count();
    let empty: Vec<&str> = of_panels
        .filter(|panel| !panel.queries.iter().any(|query| with_data(&query)))
        .map(|panel| panel.title.as_str())
        .collect();
    let mut evidence = vec![format!("{shown} of {total} panels and {answered} of {queries} queries with data")];
    if !empty.is_empty() {
        evidence.push(format!("rightly empty: {}", empty.join(", ")));
    }
    Verdict { reason: evidence.join("; "), ..Verdict::pass().evidence(evidence) }
}

/// Whether the query has an answer, be it a constant.
fn is_shown(query: &QueryFact) -> bool {
    matches!(query, QueryFact::Data(_) | QueryFact::Constant(_))
}

/// Whether the query has an answer, or will have one once its rule has recorded something.
fn is_early(query: &QueryFact) -> bool {
    is_shown(query) || matches!(query, QueryFact::Empty(Cause::NotRecorded { .. }))
}

/// Why the panel does not show what it should; `None` when it does.
fn problem(panel: &PanelFact) -> Option<String> {
    let of = |what: String| format!("`{}`: {what}", panel.title);
    panel.queries.iter().find_map(|query| match query {
        QueryFact::Data(_) => None,
        QueryFact::Constant(cause) => Some(of(format!("it shows a constant, as {cause}"))),
        QueryFact::Empty(cause) => Some(of(cause.to_string())),
        QueryFact::Refused(why) => Some(of(format!("Prometheus refuses its query: {why}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::CannotAsk;
    use super::super::testing::judge;
    use super::*;
    use std::collections::BTreeMap;

    fn panel(title: &str, queries: Vec<QueryFact>) -> PanelFact {
        PanelFact { title: title.to_owned(), is_panel: true, may_be_empty: false, queries }
    }

    fn of(fact: DashboardFact) -> Verdict {
        let panels = Ok(BTreeMap::from([("overview".to_owned(), fact)]));
        judge(&CHECK, &Facts { panels, ..Facts::default() }).remove(0)
    }

    #[test]
    fn panels_and_queries_are_counted() {
        let quiet = PanelFact { may_be_empty: true, ..panel("Alerts", vec![QueryFact::Data(0)]) };
        let variable = PanelFact { is_panel: false, ..panel("variable `x`", vec![QueryFact::Data(1)]) };
        let verdict = of(DashboardFact::Panels(vec![
            panel("Rate", vec![QueryFact::Data(3), QueryFact::Data(1)]),
            quiet,
            variable,
        ]));
        assert_eq!(verdict.instance.unwrap().0, "dashboards/overview");
        assert_eq!(verdict.outcome, Outcome::Pass);
        assert_eq!(verdict.evidence, ["1 of 2 panels and 2 of 3 queries with data", "rightly empty: Alerts"]);
    }

    #[test]
    fn each_panel_without_data_is_named_with_its_cause() {
        let never = Cause::NeverSeen { metric: "a".to_owned() };
        let verdict = of(DashboardFact::Panels(vec![
            panel("Rate", vec![QueryFact::Data(3), QueryFact::Empty(never)]),
            panel("Time", vec![QueryFact::Refused("answered 400 Bad Request: parse error".to_owned())]),
            panel("Users", vec![QueryFact::Data(1)]),
        ]));
        assert_eq!((verdict.outcome, verdict.again), (Outcome::Fail, Again::UntilTimeout));
        assert_eq!(verdict.reason, "2 of 3 panels without data");
        assert_eq!(
            verdict.evidence,
            [
                "`Rate`: metric `a` was not seen within 1h",
                "`Time`: Prometheus refuses its query: answered 400 Bad Request: parse error",
            ]
        );
    }

    #[test]
    fn what_no_rule_recorded_yet_is_a_warning_unless_something_else_is_wrong() {
        let early = || QueryFact::Empty(Cause::NotRecorded { metric: "slo:a".to_owned() });
        let budget = || panel("Budget", vec![early()]);
        let verdict = of(DashboardFact::Panels(vec![budget(), panel("Rate", vec![QueryFact::Data(3)])]));
        assert_eq!(
            (verdict.outcome, verdict.reason.as_str()),
            (Outcome::Warn, "1 of 2 panels wait for their first record")
        );
        assert_eq!(verdict.again, Again::Within(RECORDING));
        let wrong = panel("Rate", vec![QueryFact::Empty(Cause::NoTraffic)]);
        assert_eq!(of(DashboardFact::Panels(vec![budget(), wrong])).outcome, Outcome::Fail);
    }

    #[test]
    fn a_constant_in_place_of_a_metric_that_is_not_there_is_a_warning() {
        let constant = || QueryFact::Constant(Cause::NeverSeen { metric: "a".to_owned() });
        let verdict = of(DashboardFact::Panels(vec![panel("Failures", vec![constant()]), panel("Rate", vec![])]));
        assert_eq!(
            (verdict.outcome, verdict.reason.as_str(), verdict.again),
            (
                Outcome::Warn,
                "1 of 2 panels show a constant in place of a metric",
                Again::Within(Duration::from_secs(45))
            )
        );
        assert_eq!(verdict.evidence, ["`Failures`: it shows a constant, as metric `a` was not seen within 1h"]);
        let empty = panel("Rate", vec![QueryFact::Empty(Cause::NoTraffic)]);
        let verdict = of(DashboardFact::Panels(vec![panel("Failures", vec![constant()]), empty]));
        assert_eq!((verdict.outcome, verdict.reason.as_str()), (Outcome::Fail, "2 of 2 panels without data"));
    }

    #[test]
    fn a_dashboard_that_is_none_or_asks_nothing_fails_and_no_answer_is_unknown() {
        assert_eq!(of(DashboardFact::Unreadable("missing field `uid`".to_owned())).outcome, Outcome::Fail);
        assert_eq!(of(DashboardFact::Panels(vec![])).outcome, Outcome::Fail);
        let facts = Facts { panels: Err(CannotAsk::lasting("refused")), ..Facts::default() };
        assert_eq!(judge(&CHECK, &facts)[0].outcome, Outcome::Unknown);
    }
}
