//! What is wrong with a definition.

use crate::config::schema;
use std::fmt;

/// What a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The form of the definition.
    Definition,
    /// The share that must be good.
    Target,
    /// The time over which the budget is counted.
    Window,
    /// A bound that is no bucket of the histogram.
    OffBucket,
}

/// One thing that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `spec.objectives[0].target`; empty where the whole document is meant.
    pub path: String,
    /// What it is about.
    pub kind: ProblemKind,
    /// What is wrong there.
    pub message: String,
}

impl Problem {
    /// A problem with the form of what stands at `path`.
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { path: path.into(), kind: ProblemKind::Definition, message: message.into() }
    }

    /// The same problem, being one of `kind`.
    pub(super) fn of(mut self, kind: ProblemKind) -> Self {
        self.kind = kind;
        self
    }

    /// Why a document could not be read at all, with the key that is meant where another one is unknown.
    pub(super) fn unreadable(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let path = if error.path().iter().next().is_none() { String::new() } else { error.path().to_string() };
        let said = error.inner().to_string();
        // serde tells the word, and then the known ones.
        let words: Vec<String> = said.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let message = match words.split_first() {
            Some((word, known)) if said.starts_with("unknown field") => schema::unknown(word, known),
            Some((word, known)) if said.starts_with("unknown variant") => match schema::nearest(word, known) {
                Some(near) => format!("`{word}` is unknown; did you mean `{near}`?"),
                None => format!("`{word}` is unknown; known here: {}", known.join(", ")),
            },
            _ => said,
        };
        Problem::new(path, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { path, message, .. } = self;
        if path.is_empty() { formatter.write_str(message) } else { write!(formatter, "`{path}`: {message}") }
    }
}
