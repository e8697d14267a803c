//! The registry of checks: facts are gathered (IO), then judged (pure).

mod expected;
pub mod facts;
pub mod gather;
mod judge;
#[cfg(test)]
pub(crate) use judge::testing;
pub mod ranges;
mod reach;
mod round_trip;
pub mod runner;
pub mod status;

pub use facts::{CannotAsk, Fact, Facts, Need};
pub use runner::{Report, Summary, VerifyRequest, verify};

use crate::config::Config;
use crate::event::Outcome;
use crate::render::Bundle;
use serde::Serialize;
use std::time::Duration;

/// What a check that does not hold comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The monitoring does not work: the check fails.
    Critical,
    /// Worth a look: the check warns.
    Warning,
}

/// One check.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// `category/kebab-name`. `category/<word>` makes one result for each thing it is asked of.
    pub id: &'static str,
    /// A positive assertion.
    pub title: &'static str,
    /// What it comes to when it does not hold.
    pub severity: Severity,
    /// What to run or change when it does not hold, unless the verdict knows better.
    pub hint: &'static str,
    /// Documentation anchor.
    pub doc: &'static str,
    /// Key of the component it is about; without that component it is skipped.
    pub component: Option<&'static str>,
    /// The facts it is judged from.
    pub needs: &'static [Need],
    #[serde(skip)]
    judge: fn(&Scope<'_>, &Facts) -> Vec<Verdict>,
}

impl Check {
    /// The first part of its id.
    pub fn category(&self) -> &'static str {
        self.id.split('/').next().unwrap_or(self.id)
    }
}

/// All checks, in the order people see them.
pub fn registry() -> &'static [Check] {
    judge::REGISTRY
}

/// What the checks are judged against.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// What is deployed and expected.
    pub bundle: &'a Bundle,
}

/// Whether asking again may change a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// It is final.
    Never,
    /// For this long since it was first said, in a row.
    Within(Duration),
    /// Until the time is up: something happens for the first time.
    UntilTimeout,
}

/// What one judge says of one thing.
#[derive(Debug, Clone, PartialEq)]
struct Verdict {
    /// Id and title of the result, where they are not those of the check.
    instance: Option<(String, String)>,
    outcome: Outcome,
    reason: String,
    evidence: Vec<String>,
    hint: Option<String>,
    /// Key of the component whose program was asked; without that program it may be unknown.
    component: Option<String>,
    again: Again,
}

impl Verdict {
    fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Verdict {
            instance: None,
            outcome,
            reason: reason.into(),
            evidence: Vec::new(),
            hint: None,
            component: None,
            again: Again::Never,
        }
    }

    fn pass() -> Self {
        Verdict::new(Outcome::Pass, "")
    }

    /// It does not hold; the severity of the check makes it a failure or a warning.
    fn fail(reason: impl Into<String>) -> Self {
        Verdict::new(Outcome::Fail, reason)
    }

    fn skip(reason: impl Into<String>) -> Self {
        Verdict::new(Outcome::Skip, reason)
    }

    fn unknown(why: &CannotAsk) -> Self {
        let again = if why.passing { Again::Within(PASSING) } else { Again::Never };
        Verdict { again, ..Verdict::new(Outcome::Unknown, why.reason.clone()) }
    }

    fn evidence(mut self, mut evidence: Vec<String>) -> Self {
        if evidence.len() > MOST_EVIDENCE {
            let more = evidence.len() - MOST_EVIDENCE;
            evidence.truncate(MOST_EVIDENCE);
            evidence.push(format!("and {more} more"));
        }
        self.evidence = evidence;
        self
    }

    fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// How long a service that cannot be reached is asked again: a pod may just be restarting.
const PASSING: Duration = Duration::from_secs(10);
/// Lines of evidence that one result shows.
const MOST_EVIDENCE: usize = 10;
