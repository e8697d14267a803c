//! The findings of `validate`, for people and for the programs that show them.

mod github;
mod human;
mod junit;
mod sarif;

use crate::validate::{Severity, Verdict};
use serde_json::{Value, json};

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people, with the offending text underlined.
    Human,
    /// One JSON document of ours.
    Json,
    /// SARIF 2.1.0, which code hosts show beside the lines.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
    /// JUnit's XML, which every CI reads.
    Junit,
}

impl Format {
    /// Every format by its word.
    pub const ALL: [(&'static str, Format); 5] = [
        ("human", Format::Human),
        ("json", Format::Json),
        ("sarif", Format::Sarif),
        ("github", Format::Github),
        ("junit", Format::Junit),
    ];

    /// The format that `word` names.
    pub fn named(word: &str) -> Option<Format> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, format)| *format)
    }
}

/// `verdict` as text in `format`; findings that weigh `fail_on` or more fail a run.
///
/// # Errors
/// None in practice: what is written are plain texts.
pub fn text(verdict: &Verdict, format: Format, fail_on: Severity) -> anyhow::Result<String> {
    match format {
        Format::Human => Ok(human::text(verdict)),
        Format::Json => Ok(format!("{:#}\n", super::json::document("validate", json(verdict)))),
        Format::Sarif => Ok(format!("{:#}\n", sarif::document(verdict))),
        Format::Github => Ok(github::commands(verdict)),
        Format::Junit => junit::report(verdict, fail_on),
    }
}

fn json(verdict: &Verdict) -> Value {
    let findings: Vec<Value> = verdict
        .findings
        .iter()
        .map(|finding| {
            json!({
                "code": finding.code.id,
                "severity": finding.severity,
                "title": finding.code.title,
                "message": finding.message,
                "fix": finding.fix,
                "doc": finding.code.doc(),
                "place": finding.place,
            })
        })
        .collect();
    json!({
        "findings": findings,
        "judged": verdict.judged,
        "notJudged": verdict.not_judged,
        "summary": {
            "errors": verdict.count(Severity::Error),
            "warnings": verdict.count(Severity::Warning),
            "infos": verdict.count(Severity::Info),
        },
    })
}

/// `text` with every control character replaced: what others wrote must not drive a terminal or break a line.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests;
