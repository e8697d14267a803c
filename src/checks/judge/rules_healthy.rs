//! No rule fails when it is evaluated.

use super::facts::Need;
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use crate::event::Outcome;
use std::collections::BTreeSet;

pub(super) const CHECK: Check = Check {
    id: "rules/healthy",
    title: "every rule is healthy",
    severity: Severity::Critical,
    hint: "drivemaster-mon port-forward prometheus; open http://127.0.0.1:9090/rules",
    doc: "docs/checks.md#rules-healthy",
    component: Some("prometheus"),
    needs: &[Need::Rules],
    judge: judge_healthy,
};

/// A group that is evaluated less often than this, in seconds, is not waited for.
const LONGEST_INTERVAL: f64 = 60.0;

fn judge_healthy(_: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let groups = match &facts.rules {
        Ok(groups) => groups,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let rules = || groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (group, rule)));
    let broken: Vec<String> = rules()
        .filter(|(_, rule)| rule.health == "err")
        .map(|(group, rule)| format!("`{}` of group `{}`: {}", rule.name, group.name, rule.last_error))
        .collect();
    let not_yet = || rules().filter(|(_, rule)| rule.health != "ok" && rule.health != "err");
    let waiting = not_yet().count();
    let slow = not_yet().filter(|(group, _)| group.interval > LONGEST_INTERVAL).count();
    let all = rules().count();
    vec![if !broken.is_empty() {
        Verdict::fail(format!("{} of {} failing", broken.len(), counted(all, "rule"))).evidence(broken)
    } else if all == 0 {
        Verdict::skip("Prometheus has no rules")
    } else if waiting > 0 && waiting == slow {
        // Their first turn comes at any time within their interval after a start.
        let names: BTreeSet<&str> = not_yet().map(|(group, _)| group.name.as_str()).collect();
        Verdict::new(Outcome::Warn, format!("{waiting} of {} not evaluated yet", counted(all, "rule")))
            .evidence(names.iter().map(|name| format!("group `{name}` is evaluated seldom")).collect())
            .hint("drivemaster-mon verify --only rules/healthy, a few minutes later")
    } else if waiting > 0 {
        Verdict::fail(format!("{waiting} of {} not evaluated yet", counted(all, "rule"))).again(Again::UntilTimeout)
    } else {
        Verdict::pass().evidence(vec![format!("{} healthy", counted(all, "rule"))])
    }]
}

#[cfg(test)]
mod tests {
    use super::super::facts::RuleGroup;
    use super::super::testing::{group, judge};
    use super::*;

    #[test]
    fn a_failing_rule_is_named_with_its_error_and_an_unevaluated_one_waited_for() {
        let with = |health: &str| {
            let mut group: RuleGroup = group("services", &["ServiceDown", "HighErrorRate"]);
            group.rules[1].health = health.to_owned();
            group.rules[1].last_error = "many-to-many matching".to_owned();
            Facts { rules: Ok(vec![group]), ..Facts::default() }
        };
        assert_eq!(judge(&CHECK, &with("ok"))[0].outcome, Outcome::Pass);
        let broken = &judge(&CHECK, &with("err"))[0];
        assert_eq!((broken.outcome, broken.again), (Outcome::Fail, Again::Never));
        assert_eq!(broken.evidence, ["`HighErrorRate` of group `services`: many-to-many matching"]);
        let mut seldom = with("unknown");
        seldom.rules.as_mut().unwrap()[0].interval = 180.0;
        let seldom = &judge(&CHECK, &seldom)[0];
        assert_eq!((seldom.outcome, seldom.again), (Outcome::Warn, Again::Never));
        let waiting = &judge(&CHECK, &with("unknown"))[0];
        assert_eq!((waiting.outcome, waiting.again), (Outcome::Fail, Again::UntilTimeout));
    }
}
