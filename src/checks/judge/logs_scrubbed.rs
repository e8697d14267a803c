//! What the Collector takes as logs arrives in Loki in its class, without what is private.

use super::facts::{CannotAsk, Need, SentLine};
use super::round_trip::BY_COLLECTOR;
use super::{Again, Check, Facts, Scope, Severity, Verdict};

pub(super) const CHECK: Check = Check {
    id: "logs/scrubbed",
    title: "logs through the Collector are stored without private values",
    severity: Severity::Critical,
    hint: "drivemaster-mon render; look at the pipeline `logs` of the Collector's values",
    doc: "docs/checks.md#logs-scrubbed",
    component: Some("otelCollector"),
    needs: &[Need::LogLines],
    judge: judge_scrubbed,
};

fn judge_scrubbed(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    if !scope.config.loki.enabled {
        return vec![Verdict::skip("`loki.enabled` is false")];
    }
    let verdict = match &facts.log_lines {
        Ok(lines) => judge_lines(lines, scope.config.privacy.pseudonymise),
        Err(why) => Verdict::unknown(why),
    };
    vec![Verdict { component: Some("otelCollector".to_owned()), ..verdict }]
}

fn judge_lines(lines: &[SentLine], pseudonymise: bool) -> Verdict {
    let lines: Vec<&SentLine> = lines.iter().filter(|line| line.way == BY_COLLECTOR).collect();
    if lines.is_empty() {
        return Verdict::unknown(&CannotAsk::passing("the Collector took no line"));
    }
    let missing = lines.iter().filter(|line| line.found.is_none()).count();
    let leaks: Vec<String> = lines
        .iter()
        .flat_map(|line| leaks_of(line, pseudonymise).into_iter().map(|leak| format!("class `{}`: {leak}", line.class)))
        .collect();
    if !leaks.is_empty() {
        return Verdict::fail("private values or wrong labels are stored").evidence(leaks);
    }
    if missing > 0 {
        return Verdict::fail(format!("{missing} of {} lines did not arrive in Loki", lines.len()))
            .again(Again::UntilTimeout);
    }
    Verdict::pass().evidence(vec![format!("{} lines arrived scrubbed", lines.len())])
}

fn leaks_of(line: &SentLine, pseudonymise: bool) -> Vec<String> {
    let Some(found) = &line.found else { return Vec::new() };
    let holds = |wanted: &str| found.text.contains(wanted) || found.labels.values().any(|value| value.contains(wanted));
    let mut leaks = Vec::new();
    // What was planted is test data, but the habit of printing what is private is not one to start.
    let planted = line.planted.iter().filter(|planted| holds(planted)).count();
    if planted > 0 {
        leaks.push(format!("{planted} of {} planted values are stored", line.planted.len()));
    }
    if pseudonymise && holds(&line.user) {
        leaks.push("the plain user id is stored".to_owned());
    }
    if found.labels.get("log_type").map(String::as_str) != Some(line.class) {
        leaks.push("its label `log_type` is not its class".to_owned());
    }
    leaks
}

#[cfg(test)]
mod tests {
    use super::super::facts::FoundLine;
    use super::super::testing::{self, judge};
    use super::*;
    use crate::event::Outcome;

    fn facts(text: &str, label: &str) -> Facts {
        let line = SentLine {
            class: "audit",
            way: BY_COLLECTOR,
            user: "user-7".to_owned(),
            planted: vec!["a@example.com".to_owned()],
            found: Some(FoundLine {
                labels: [("log_type".to_owned(), label.to_owned())].into(),
                text: text.to_owned(),
            }),
        };
        Facts { log_lines: Ok(vec![line]), ..Facts::default() }
    }

    #[test]
    fn a_stored_secret_or_a_lost_class_fails_at_once() {
        assert_eq!(judge(&CHECK, &facts("contact ****", "audit"))[0].outcome, Outcome::Pass);
        let leak = &judge(&CHECK, &facts("contact a@example.com", "audit"))[0];
        assert_eq!((leak.outcome, leak.again), (Outcome::Fail, Again::Never));
        assert_eq!(leak.evidence, ["class `audit`: 1 of 1 planted values are stored"]);
        let lost = &judge(&CHECK, &facts("contact ****", "application"))[0];
        assert_eq!(lost.evidence, ["class `audit`: its label `log_type` is not its class"]);
    }

    #[test]
    fn a_plain_user_id_counts_only_where_pseudonyms_are_wanted() {
        let (mut config, bundle) = testing::scope();
        let mut on = |pseudonymise: bool| {
            config.privacy.pseudonymise = pseudonymise;
            judge_scrubbed(&Scope { config: &config, bundle: &bundle }, &facts("by user-7", "audit"))[0].outcome
        };
        assert_eq!((on(false), on(true)), (Outcome::Pass, Outcome::Fail));
    }

    #[test]
    fn lines_that_were_not_taken_prove_nothing() {
        let facts = Facts { log_lines: Ok(vec![]), ..Facts::default() };
        assert_eq!(judge(&CHECK, &facts)[0].outcome, Outcome::Unknown);
    }
}
