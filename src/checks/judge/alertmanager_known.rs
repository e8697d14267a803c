//! Prometheus knows an Alertmanager to send to.

use super::facts::Need;
use super::{Again, Check, Facts, Scope, Severity, Verdict};

pub(super) const CHECK: Check = Check {
    id: "alertmanager/known-to-prometheus",
    title: "Prometheus sends its alerts to Alertmanager",
    severity: Severity::Critical,
    hint: "drivemaster-mon plan; drivemaster-mon deploy",
    doc: "docs/checks.md#alertmanager-known-to-prometheus",
    component: Some("alertmanager"),
    needs: &[Need::KnownAlertmanagers],
    judge: judge_known,
};

fn judge_known(_: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    vec![match &facts.known_alertmanagers {
        Err(why) => Verdict::unknown(why),
        Ok(urls) if urls.is_empty() => Verdict::fail("Prometheus knows no Alertmanager").again(Again::UntilTimeout),
        Ok(urls) => Verdict::pass().evidence(urls.clone()),
    }]
}

#[cfg(test)]
mod tests {
    use super::super::testing::judge;
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn at_least_one_must_be_known() {
        let facts = |urls: &[&str]| Facts {
            known_alertmanagers: Ok(urls.iter().map(|url| (*url).to_owned()).collect()),
            ..Facts::default()
        };
        assert_eq!(judge(&CHECK, &facts(&["http://10.0.0.1:9093/api/v2/alerts"]))[0].outcome, Outcome::Pass);
        let none = &judge(&CHECK, &facts(&[]))[0];
        assert_eq!((none.outcome, none.again), (Outcome::Fail, Again::UntilTimeout));
    }
}
