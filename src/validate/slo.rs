//! What is wrong with an objective, told at its definition. The arithmetic itself is judged where
//! definitions are read.

use super::finding::{Code, Finding, Severity};
use super::place::{Anchor, Judged};
use super::promql;
use super::rendered::Rendered;
use super::vocabulary::Vocabulary;
use crate::slo::{Problem, ProblemKind, Query};
use std::collections::BTreeSet;

/// Every kind of finding about objectives.
pub(super) const CODES: &[&Code] = &[&DEFINITION, &TARGET, &WINDOW, &OFF_BUCKET];

const DEFINITION: Code = Code::new(
    "slo/definition",
    Severity::Error,
    "a definition of an objective cannot be read",
    "correct it; docs/slo.md says what stands where",
);

const TARGET: Code = Code::new(
    "slo/target",
    Severity::Error,
    "the target of an objective is no share that can be missed and met",
    "write it as a share, such as 0.999 for 99.9 %: with 1 there is no budget to burn",
);

const WINDOW: Code = Code::new(
    "slo/window",
    Severity::Error,
    "the window of an objective is none that its budget can be counted over",
    "use one rolling window of whole days, such as 30d, or a calendar month",
);

const OFF_BUCKET: Code = Code::new(
    "slo/off-bucket",
    Severity::Error,
    "the bound of an objective is none of its histogram's buckets",
    "take a bound that the contract names, or have the services expose that bucket: between two buckets nothing is known",
);

/// `problems` of the definition `judged`.
pub(super) fn findings(judged: &Judged, problems: &[Problem]) -> Vec<Finding> {
    let rendered = Rendered::new(judged);
    let one = |problem: &Problem| {
        let code = match problem.kind {
            ProblemKind::Definition => &DEFINITION,
            ProblemKind::Target => &TARGET,
            ProblemKind::Window => &WINDOW,
            ProblemKind::OffBucket => &OFF_BUCKET,
        };
        let last = problem.path.rsplit('.').next().unwrap_or_default();
        let key = format!("{}:", last.split('[').next().unwrap_or_default());
        Finding {
            code,
            severity: code.severity,
            message: problem.to_string(),
            fix: code.fix.to_owned(),
            place: rendered.place(&pointer_of(&problem.path), &[&key]),
        }
    };
    problems.iter().map(one).collect()
}

/// The JSON pointer of the key `path`.
fn pointer_of(path: &str) -> String {
    format!("/{}", path.replace(['.', '['], "/").replace(']', ""))
}

/// What is wrong with the `queries` of the definition `judged`.
pub(super) fn of_queries(judged: &Judged, queries: &[Query], vocabulary: &Vocabulary) -> Vec<Finding> {
    let rendered = Rendered::new(judged);
    let mut findings = Vec::new();
    for Query { path, expression } in queries {
        // In the template the query stands below the key of its metric.
        let metric = path.split(".metricSource").next().and_then(|path| path.rsplit('.').next()).unwrap_or_default();
        let anchor = Anchor {
            names: vec![format!("{metric}:")],
            occurrence: 0,
            next: &["good:", "bad:", "total:", "objectives:"],
            key: Some("query:".to_owned()),
        };
        for problem in promql::judge(expression, vocabulary).1 {
            let needles: Vec<&str> = problem.needles.iter().map(String::as_str).chain(["query:"]).collect();
            findings.push(Finding {
                code: problem.code,
                severity: problem.code.severity,
                message: format!("`{path}`: {}", problem.message),
                fix: problem.fix.unwrap_or_else(|| problem.code.fix.to_owned()),
                place: rendered.place_below(&pointer_of(path), &anchor, &needles),
            });
        }
    }
    findings
}

/// Of the findings `generated` about the rules that the definition `judged` became, what `of_queries` does
/// not say already, each once: there is a rule for each window. What an alert needs is told where the definition
/// names it.
pub(super) fn of_rules(judged: &Judged, generated: Vec<Finding>, of_queries: &[Finding]) -> Vec<Finding> {
    let rendered = Rendered::new(judged);
    let anchor = Anchor { names: vec!["alerting:".to_owned()], occurrence: 0, next: &[], key: None };
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for mut finding in generated {
        if of_queries.iter().any(|other| other.code == finding.code) {
            continue;
        }
        if finding.code.category() == "alerts" {
            let key = if finding.code.id == "alerts/no-dashboard" { "dashboard" } else { "name" };
            let pointer = format!("/spec/alerting/{key}");
            finding.place = rendered.place_below(&pointer, &anchor, &[&format!("{key}:")]);
        }
        if told.insert((finding.code.id, finding.place.text())) {
            findings.push(finding);
        }
    }
    findings
}
