//! Every expected rule group is loaded with all its rules.

use super::facts::Need;
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use std::time::Duration;

pub(super) const CHECK: Check = Check {
    id: "rules/loaded",
    title: "every rule group is loaded",
    severity: Severity::Critical,
    hint: "drivemaster-mon plan; drivemaster-mon deploy",
    doc: "docs/checks.md#rules-loaded",
    component: Some("prometheus"),
    needs: &[Need::Rules],
    judge: judge_loaded,
};

/// A changed ConfigMap reaches the program's files within about a minute and a half (the kubelet's
/// sync period and its cache), then the reloader acts.
const SPREADING: Duration = Duration::from_secs(120);

fn judge_loaded(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let groups = match &facts.rules {
        Ok(groups) => groups,
        Err(why) => return vec![Verdict::unknown(why)],
    };
    let expected = &scope.bundle.expected.rule_groups;
    let mut missing = Vec::new();
    for group in expected {
        let loaded: Vec<_> = groups.iter().filter(|loaded| loaded.name == group.name).collect();
        if loaded.is_empty() {
            missing.push(format!("group `{}` is not loaded", group.name));
            continue;
        }
        for rule in &group.rules {
            if !loaded.iter().any(|loaded| loaded.rules.iter().any(|found| found.name == *rule)) {
                missing.push(format!("group `{}` lacks `{rule}`", group.name));
            }
        }
    }
    let rules = expected.iter().map(|group| group.rules.len()).sum();
    vec![match (missing.len(), expected.len()) {
        (_, 0) => Verdict::skip("no rule is expected"),
        (0, all) => {
            Verdict::pass().evidence(vec![format!("{} with {}", counted(all, "group"), counted(rules, "rule"))])
        }
        _ => Verdict::fail("rules are missing in Prometheus").evidence(missing).again(Again::Within(SPREADING)),
    }]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{group, judge};
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn a_missing_group_and_a_missing_rule_are_named() {
        let facts = |groups| Facts { rules: Ok(groups), ..Facts::default() };
        let good = judge(
            &CHECK,
            &facts(vec![group("services", &["HighErrorRate", "ServiceDown"]), group("meta", &["Watchdog"])]),
        );
        assert_eq!((good[0].outcome, good[0].evidence[0].as_str()), (Outcome::Pass, "2 groups with 3 rules"));
        let bad = judge(&CHECK, &facts(vec![group("services", &["ServiceDown"])]));
        assert_eq!(bad[0].outcome, Outcome::Fail);
        assert_eq!(bad[0].evidence, ["group `services` lacks `HighErrorRate`", "group `meta` is not loaded"]);
        assert!(matches!(bad[0].again, Again::Within(_)));
    }

    #[test]
    fn a_group_of_the_same_name_in_another_file_counts_too() {
        let facts = Facts {
            rules: Ok(vec![
                group("services", &["ServiceDown"]),
                group("services", &["HighErrorRate"]),
                group("meta", &["Watchdog"]),
            ]),
            ..Facts::default()
        };
        assert_eq!(judge(&CHECK, &facts)[0].outcome, Outcome::Pass);
    }
}
