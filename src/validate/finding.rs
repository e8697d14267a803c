//! What a judge says: one finding, of one kind, at one place.

use super::place::Place;
use serde::Serialize;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Probably not what was meant.
    Warning,
    /// Cannot work, or cannot work as it was meant.
    Error,
}

impl Severity {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One kind of finding. The id never changes its meaning.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `category/kebab-name`.
    pub id: &'static str,
    /// What it says, in one line.
    pub title: &'static str,
    /// How much it weighs in content of our own.
    pub severity: Severity,
    /// How much it weighs in somebody else's files, about whose metrics and conventions we know little.
    pub foreign: Severity,
    /// What to do about it.
    pub fix: &'static str,
}

impl Code {
    /// A kind that weighs the same everywhere.
    pub(super) const fn new(id: &'static str, severity: Severity, title: &'static str, fix: &'static str) -> Self {
        Code { id, title, severity, foreign: severity, fix }
    }

    /// The same kind, weighing `severity` in somebody else's files.
    pub(super) const fn foreign(mut self, severity: Severity) -> Self {
        self.foreign = severity;
        self
    }

    /// The part of the id before the slash.
    pub fn category(&self) -> &'static str {
        self.id.split('/').next().unwrap_or(self.id)
    }

    /// Where the documentation speaks of it: `docs/validate.md#promql-unknown-metric`.
    pub fn doc(&self) -> String {
        format!("docs/validate.md#{}", self.id.replace('/', "-"))
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Its kind.
    pub code: &'static Code,
    /// How much it weighs here.
    pub severity: Severity,
    /// What is wrong, with the names of this case.
    pub message: String,
    /// What to do about it here.
    pub fix: String,
    /// Where it is.
    pub place: Place,
}

/// Something that could not be judged, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NotJudged {
    /// What.
    pub subject: String,
    /// Why.
    pub reason: String,
}

/// What a run of the judges came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// What is wrong, in the order of files and lines.
    pub findings: Vec<Finding>,
    /// What was judged, counted in words: `6 files of rules`.
    pub judged: Vec<String>,
    /// What was not.
    pub not_judged: Vec<NotJudged>,
}

impl Verdict {
    /// Adds everything of `other`.
    pub fn extend(&mut self, other: Verdict) {
        self.findings.extend(other.findings);
        self.judged.extend(other.judged);
        self.not_judged.extend(other.not_judged);
    }

    /// Sorts the findings by place and takes repetitions away.
    pub fn settle(&mut self) {
        let key = |finding: &Finding| {
            let place = &finding.place;
            (place.file.clone(), place.line, place.column, finding.code.id, finding.message.clone())
        };
        self.findings.sort_by_key(key);
        self.findings.dedup();
        self.not_judged.sort();
        self.not_judged.dedup();
    }

    /// How many findings weigh exactly `severity`.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}
