//! Judges of files of rules.

mod alerts;
mod annotations;
mod expressions;
mod file;
mod structure;

pub(super) use alerts::{RUNBOOKS, SEVERITIES};
pub(super) use file::{MALFORMED, RuleFile};

use super::finding::{Code, Finding, NotJudged, Severity, Verdict};
use super::place::Judged;
use super::vocabulary::Vocabulary;
use crate::promql::Expr;
use file::Rule;
use std::collections::BTreeSet;

/// Every kind of finding about files of rules.
pub(super) const CODES: &[&Code] = &[
    &file::MALFORMED,
    &structure::UNKNOWN_KEY,
    &structure::DUPLICATE_GROUP,
    &structure::DUPLICATE_RULE,
    &structure::NEITHER_OR_BOTH,
    &structure::NO_EXPRESSION,
    &structure::BAD_DURATION,
    &structure::BAD_NAME,
    &structure::OF_ALERTS_ONLY,
    &alerts::NO_CONDITION,
    &alerts::MISSING_LABEL,
    &alerts::UNKNOWN_SEVERITY,
    &alerts::MISSING_ANNOTATION,
    &alerts::NO_RUNBOOK,
    &alerts::NO_DASHBOARD,
    &alerts::NO_TEST,
    &annotations::BAD_TEMPLATE,
    &annotations::UNKEPT_LABEL,
];

/// The most findings that are told.
const MOST_FINDINGS: usize = 500;

/// Whose files are judged, and what is known besides.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Whether the files are ours, so that our conventions hold for them.
    pub(super) own: bool,
    /// Whether the contract is about them, so that what it does not know is not there.
    pub(super) has_contract: bool,
    /// Everything that the unit tests say; `None` where none are at hand.
    pub(super) tests: Option<String>,
    /// The pages about alerts, as paths.
    pub(super) runbooks: BTreeSet<String>,
    /// Where they are published, as alerts name them.
    pub(super) runbooks_url: String,
    /// Where our Grafana is; `None` where nobody knows.
    pub(super) grafana: Option<String>,
    /// The uids of the dashboards; `None` where there may be others.
    pub(super) dashboards: Option<BTreeSet<String>>,
}

impl Scope {
    /// How much a finding of `code` weighs.
    pub(super) fn severity(&self, code: &Code) -> Severity {
        let of_contract = self.has_contract && code.category() == "promql";
        if self.own || of_contract { code.severity } else { code.foreign }
    }
}

/// The rules of `files` with `vocabulary`, which learns what they record.
pub(super) fn judge(files: &[Judged], vocabulary: &mut Vocabulary, scope: &Scope) -> Verdict {
    let mut verdict = Verdict::default();
    let mut readable = Vec::new();
    for judged in files {
        match RuleFile::read(judged) {
            Ok(found) => readable.extend(found),
            Err(findings) => verdict.findings.extend(findings),
        }
    }
    let mut learned: Vec<(String, Expr, BTreeSet<String>)> = Vec::new();
    for rule in readable.iter().flat_map(|file| &file.rules) {
        if let (Some(name), Ok(expression)) = (&rule.record, crate::promql::parse(&rule.expression)) {
            learned.push((name.clone(), expression, rule.labels.keys().cloned().collect()));
        }
    }
    // A record may be made of records that stand behind it: their labels are known at the second time.
    for _ in 0..2 {
        vocabulary.learn(&learned);
    }
    vocabulary.alerts =
        scope.own.then(|| readable.iter().flat_map(|file| &file.rules).filter_map(|rule| rule.alert.clone()).collect());
    structure::judge(&readable, scope, &mut verdict.findings);
    'files: for file in &readable {
        for rule in &file.rules {
            if verdict.findings.len() >= MOST_FINDINGS {
                let reason = format!("there are more than {MOST_FINDINGS} findings");
                verdict.not_judged.push(NotJudged { subject: "the rest of the rules".to_owned(), reason });
                break 'files;
            }
            let expression = expressions::judge(file, rule, vocabulary, scope, &mut verdict.findings);
            alerts::judge(file, rule, expression.as_ref(), scope, &mut verdict.findings);
            annotations::judge(file, rule, expression.as_ref(), vocabulary, scope, &mut verdict.findings);
        }
    }
    let rules: usize = readable.iter().map(|file| file.rules.len()).sum();
    verdict.judged.push(format!("{rules} rules in {} files", files.len()));
    if scope.tests.is_none() {
        let reason = "the files of unit tests of these rules are not at hand".to_owned();
        verdict.not_judged.push(NotJudged { subject: "unit tests of alerts".to_owned(), reason });
    }
    verdict
}

/// The name and the expression of every rule that can be read.
pub(super) fn expressions_of(judged: &Judged) -> Vec<(String, String)> {
    let files = RuleFile::read(judged).unwrap_or_default();
    let rules = files.into_iter().flat_map(|file| file.rules);
    rules.filter_map(|rule| Some((rule.alert.or(rule.record)?, rule.expression))).collect()
}

/// A finding about `rule`: the offending text is one of `needles`, below its `key`.
fn finding(
    file: &RuleFile<'_>,
    rule: &Rule,
    scope: &Scope,
    code: &'static Code,
    key: &str,
    needles: &[&str],
    message: String,
) -> Finding {
    Finding {
        code,
        severity: scope.severity(code),
        message: format!("{}: {message}", rule.title()),
        fix: code.fix.to_owned(),
        place: file.place(rule, key, needles),
    }
}
