//! The alert that always fires arrives at Alertmanager: rules, sending and receiving all work.

use super::facts::Need;
use super::{Again, Check, Facts, Scope, Severity, Verdict};

/// Name of the alert that always fires.
pub(in crate::checks) const WATCHDOG: &str = "Watchdog";

pub(super) const CHECK: Check = Check {
    id: "alerts/watchdog-arrives",
    title: "the alert that always fires arrives at Alertmanager",
    severity: Severity::Critical,
    hint: "drivemaster-mon verify --only rules,alertmanager",
    doc: "docs/checks.md#alerts-watchdog-arrives",
    component: Some("alertmanager"),
    needs: &[Need::Watchdog],
    judge: judge_watchdog,
};

fn judge_watchdog(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let mut rules = scope.bundle.expected.rule_groups.iter().flat_map(|group| &group.rules);
    if !rules.any(|rule| rule == WATCHDOG) {
        return vec![Verdict::skip(format!("no rule `{WATCHDOG}` is deployed"))];
    }
    vec![match &facts.watchdog {
        Err(why) => Verdict::unknown(why),
        Ok(held) if held.is_empty() => {
            Verdict::fail(format!("Alertmanager holds no alert `{WATCHDOG}`")).again(Again::UntilTimeout)
        }
        Ok(held) => {
            let since = held.iter().map(|alert| format!("held since {}", alert.starts_at));
            Verdict::pass().evidence(since.collect())
        }
    }]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, judge};
    use super::*;
    use crate::event::Outcome;
    use serde_json::json;

    #[test]
    fn the_alert_must_be_held() {
        let held = serde_json::from_value(
            json!([{"labels": {}, "startsAt": "2026-01-01T00:00:00Z", "status": {"state": "active"}}]),
        );
        let facts = |held| Facts { watchdog: Ok(held), ..Facts::default() };
        let good = &judge(&CHECK, &facts(held.unwrap()))[0];
        assert_eq!((good.outcome, good.evidence[0].as_str()), (Outcome::Pass, "held since 2026-01-01T00:00:00Z"));
        let bad = &judge(&CHECK, &facts(vec![]))[0];
        assert_eq!((bad.outcome, bad.again), (Outcome::Fail, Again::UntilTimeout));
    }

    #[test]
    fn without_such_a_rule_it_is_skipped() {
        let (config, mut bundle) = testing::scope();
        bundle.expected.rule_groups.retain(|group| group.name != "meta");
        let scope = Scope { config: &config, bundle: &bundle };
        assert_eq!(judge_watchdog(&scope, &Facts::default())[0].outcome, Outcome::Skip);
    }
}
