//! A marked line of each class goes into Loki and comes out again, with its labels.

use super::facts::{Need, SentLine};
use super::round_trip::{BY_LOKI, CLASSES};
use super::{Again, Check, Facts, Scope, Severity, Verdict};

pub(super) const CHECK: Check = Check {
    id: "logs/round-trip",
    title: "a log line of each class is stored and found again",
    severity: Severity::Critical,
    hint: "drivemaster-mon verify --only loki; kubectl logs of the Loki pod say what it refused",
    doc: "docs/checks.md#logs-round-trip",
    component: Some("loki"),
    needs: &[Need::LogLines],
    judge: judge_round_trip,
};

fn judge_round_trip(_: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let verdict = match &facts.log_lines {
        Ok(lines) => judge_lines(lines),
        Err(why) => Verdict::unknown(why),
    };
    vec![Verdict { component: Some("loki".to_owned()), ..verdict }]
}

fn judge_lines(lines: &[SentLine]) -> Verdict {
    let problems: Vec<String> = CLASSES
        .iter()
        .filter_map(|class| {
            let line = lines.iter().find(|line| line.way == BY_LOKI && line.class == *class);
            problem_of(class, line).map(|problem| format!("class `{class}`: {problem}"))
        })
        .collect();
    if problems.is_empty() {
        return Verdict::pass().evidence(vec![format!("found: {}", CLASSES.join(", "))]);
    }
    // What was stored is found once the ingester answers for it.
    Verdict::fail(format!("{} of {} classes not found", problems.len(), CLASSES.len()))
        .evidence(problems)
        .again(Again::UntilTimeout)
}

fn problem_of(class: &str, line: Option<&SentLine>) -> Option<String> {
    let Some(found) = line.and_then(|line| line.found.as_ref()) else {
        return Some("the line was taken and is not found".to_owned());
    };
    match found.labels.get("log_type") {
        Some(label) if label == class => None,
        Some(label) => Some(format!("its label `log_type` is `{label}`")),
        None => Some("it lost its label `log_type`, by which it is kept".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{CannotAsk, FoundLine};
    use super::super::testing::judge;
    use super::*;
    use crate::event::Outcome;

    fn facts(labels: &[Option<&str>; 3]) -> Facts {
        let line = |(class, label): (&&'static str, &Option<&str>)| SentLine {
            class,
            way: BY_LOKI,
            user: String::new(),
            planted: vec![],
            found: label.map(|label| FoundLine {
                labels: [("log_type".to_owned(), label.to_owned())].into(),
                text: String::new(),
            }),
        };
        Facts { log_lines: Ok(CLASSES.iter().zip(labels).map(line).collect()), ..Facts::default() }
    }

    #[test]
    fn every_class_must_come_back_under_its_label() {
        let good = facts(&[Some("application"), Some("security"), Some("audit")]);
        assert_eq!(judge(&CHECK, &good)[0].outcome, Outcome::Pass);
        let bad = &judge(&CHECK, &facts(&[Some("application"), None, Some("application")]))[0];
        assert_eq!((bad.outcome, bad.again), (Outcome::Fail, Again::UntilTimeout));
        assert_eq!(bad.reason, "2 of 3 classes not found");
        assert_eq!(
            bad.evidence,
            [
                "class `security`: the line was taken and is not found",
                "class `audit`: its label `log_type` is `application`"
            ]
        );
    }

    #[test]
    fn a_loki_that_does_not_answer_is_unknown() {
        let facts = Facts { log_lines: Err(CannotAsk::lasting("no program")), ..Facts::default() };
        let verdict = &judge(&CHECK, &facts)[0];
        assert_eq!((verdict.outcome, verdict.component.as_deref()), (Outcome::Unknown, Some("loki")));
    }
}
