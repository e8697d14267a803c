//! Judges of our own Kubernetes objects: the built-in kinds by their types, custom ones by the schema of
//! their definitions.

mod custom;
mod typed;

use super::finding::{Code, Finding, NotJudged, Severity, Verdict};
use super::place::{Judged, Text};
use super::rendered::Rendered;
use crate::object::Manifest;
use crate::render::{Bundle, object_files, to_yaml};
use custom::Definitions;
use std::collections::BTreeMap;

/// Every kind of finding about objects.
pub(super) const CODES: &[&Code] = &[&UNKNOWN_FIELD, &REFUSED];

const UNKNOWN_FIELD: Code = Code::new(
    "objects/unknown-field",
    Severity::Error,
    "an object has a field that its kind does not have",
    "the API server drops it or refuses the object; correct the name, or take it away",
);

const REFUSED: Code = Code::new(
    "objects/refused",
    Severity::Error,
    "an object is not what its kind demands",
    "the API server refuses the object; correct the value",
);

/// Something wrong with an object.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    /// Whether a field is too much; else a value is wrong.
    pub(super) is_unknown: bool,
    /// Where in the object.
    pub(super) pointer: String,
    /// What is wrong.
    pub(super) message: String,
}

/// `text` without an end that nobody reads: messages repeat the value they are about.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Judges the objects of `bundle` that are ours.
pub(super) fn judge(bundle: &Bundle) -> Verdict {
    let definitions = Definitions::of(&bundle.crds);
    let mut verdict = Verdict::default();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    for (path, manifest) in object_files(bundle) {
        let problems = match (typed::judge(manifest), definitions.judge(manifest)) {
            (Some(problems), _) => {
                *counts.entry("by the types of Kubernetes").or_default() += 1;
                problems
            }
            (None, Some(Ok(problems))) => {
                *counts.entry("by their definitions").or_default() += 1;
                problems
            }
            (None, Some(Err(reason))) => {
                verdict.not_judged.push(NotJudged { subject: manifest.reference().to_string(), reason });
                continue;
            }
            (None, None) => {
                let reference = manifest.reference();
                *missing.entry(format!("{} of {}", reference.kind, reference.api_version)).or_default() += 1;
                continue;
            }
        };
        if !problems.is_empty() {
            verdict.findings.extend(findings(&path, manifest, to_yaml(&manifest.0), problems));
        }
    }
    verdict.judged.extend(counts.into_iter().map(|(how, count)| format!("{count} objects {how}")));
    verdict.not_judged.extend(missing.into_iter().map(|(kind, count)| NotJudged {
        subject: format!("{count} objects {kind}"),
        reason: "the chart with the definition is not at hand; `--charts DIR` names its folder".to_owned(),
    }));
    verdict
}

fn findings(path: &str, manifest: &Manifest, text: String, problems: Vec<Problem>) -> Vec<Finding> {
    let name = manifest.reference();
    let judged = Judged { text: Text::new(path, text), template: Some(Text::new(path, "")) };
    let rendered = Rendered::new(&judged);
    let found = problems.into_iter().map(|problem| {
        let code = if problem.is_unknown { &UNKNOWN_FIELD } else { &REFUSED };
        let key = format!("{}:", problem.pointer.rsplit('/').next().unwrap_or_default());
        Finding {
            code,
            severity: code.severity,
            message: format!("{name}: {}", problem.message),
            fix: code.fix.to_owned(),
            place: rendered.place(&problem.pointer, &[&key]),
        }
    });
    found.collect()
}
