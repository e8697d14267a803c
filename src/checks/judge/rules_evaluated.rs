//! Every expected rule group is evaluated in time.

use super::facts::Need;
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};

pub(super) const CHECK: Check = Check {
    id: "rules/evaluated",
    title: "every rule group is evaluated in time",
    severity: Severity::Critical,
    hint: "give Prometheus more CPU: `prometheus.resources`",
    doc: "docs/checks.md#rules-evaluated",
    component: Some("prometheus"),
    needs: &[Need::Rules],
    judge: judge_evaluated,
};

/// A group whose last evaluation is older than so many of its intervals is stuck.
const LATE_INTERVALS: f64 = 3.0;

fn judge_evaluated(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let (groups, now) = match (&facts.rules, &facts.now) {
        (Ok(groups), Ok(now)) => (groups, now),
        (Err(why), _) | (_, Err(why)) => return vec![Verdict::unknown(why)],
    };
    let expected = &scope.bundle.expected.rule_groups;
    let mut waiting = Vec::new();
    let mut late = Vec::new();
    let mut found = 0;
    for group in groups.iter().filter(|group| expected.iter().any(|expected| expected.name == group.name)) {
        found += 1;
        // Go's zero time lies in the year 1.
        if group.last_evaluation.as_second() < 0 {
            waiting.push(format!("group `{}` was never evaluated (interval {} s)", group.name, group.interval));
            continue;
        }
        // Both times come from the clock of Prometheus.
        let age = now.duration_since(group.last_evaluation).as_secs_f64();
        if age > LATE_INTERVALS * group.interval.max(1.0) {
            late.push(format!(
                "group `{}` was last evaluated {age:.0} s ago (interval {} s)",
                group.name, group.interval
            ));
        }
    }
    vec![if expected.is_empty() {
        Verdict::skip("no rule is expected")
    } else if !late.is_empty() {
        Verdict::fail("rule groups are evaluated too late").evidence(late)
    } else if !waiting.is_empty() {
        Verdict::fail("rule groups wait for their first evaluation").evidence(waiting).again(Again::UntilTimeout)
    } else if found == 0 {
        Verdict::fail("no expected rule group is loaded").again(Again::UntilTimeout)
    } else {
        Verdict::pass().evidence(vec![format!("{} evaluated", counted(found, "group"))])
    }]
}

#[cfg(test)]
mod tests {
    use super::super::facts::RuleGroup;
    use super::super::testing::{group, judge};
    use super::*;
    use crate::event::Outcome;
    use jiff::Timestamp;

    #[test]
    fn a_group_is_waiting_in_time_or_late() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |seconds_ago: i64| RuleGroup {
            last_evaluation: Timestamp::from_second(1_000_000 - seconds_ago).unwrap(),
            interval: 15.0,
            ..group("services", &["ServiceDown"])
        };
        let never: RuleGroup = RuleGroup { last_evaluation: "0001-01-01T00:00:00Z".parse().unwrap(), ..at(0) };
        let foreign = RuleGroup { name: "somebody-else".to_owned(), ..never.clone() };
        let cases = [
            (vec![at(45), foreign.clone()], Outcome::Pass, Again::Never),
            (vec![at(46)], Outcome::Fail, Again::Never),
            // The answer of the rules may be a moment newer than the clock that was asked before.
            (vec![at(-1)], Outcome::Pass, Again::Never),
            (vec![never], Outcome::Fail, Again::UntilTimeout),
            (vec![foreign], Outcome::Fail, Again::UntilTimeout),
        ];
        for (groups, outcome, again) in cases {
            let facts = Facts { rules: Ok(groups), now: Ok(now), ..Facts::default() };
            let verdict = &judge(&CHECK, &facts)[0];
            assert_eq!((verdict.outcome, verdict.again), (outcome, again), "{}", verdict.reason);
        }
    }
}
