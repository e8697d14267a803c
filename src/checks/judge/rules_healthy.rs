//! No rule fails when it is evaluated.

use super::facts::Need;
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};

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
    let waiting = rules().filter(|(_, rule)| rule.health != "ok" && rule.health != "err").count();
    let all = rules().count();
    vec![if !broken.is_empty() {
        Verdict::fail(format!("{} of {} failing", broken.len(), counted(all, "rule"))).evidence(broken)
    } else if all == 0 {
        Verdict::skip("Prometheus has no rules")
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
    use crate::event::Outcome;

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
        let waiting = &judge(&CHECK, &with("unknown"))[0];
        assert_eq!((waiting.outcome, waiting.again), (Outcome::Fail, Again::UntilTimeout));
    }
}
