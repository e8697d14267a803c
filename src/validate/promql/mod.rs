//! Judges of one PromQL expression.

mod counters;
pub(super) mod labels;
mod matchers;
mod matching;
mod metrics;
mod quotients;
mod ranges;
mod syntax;

use super::finding::Code;
use super::vocabulary::Vocabulary;
use crate::promql::{Expr, parse};

/// Something wrong with an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    /// Its kind.
    pub(super) code: &'static Code,
    /// What is wrong.
    pub(super) message: String,
    /// The offending text, the best first; it stands in the expression so, or almost so.
    pub(super) needles: Vec<String>,
    /// What to do about it, where it is more than the kind says.
    pub(super) fix: Option<String>,
}

impl Problem {
    fn new(code: &'static Code, message: String, needle: impl Into<String>) -> Self {
        Problem { code, message, needles: vec![needle.into()], fix: None }
    }
}

/// Every kind of finding about expressions.
pub(super) const CODES: &[&Code] = &[
    &syntax::SYNTAX,
    &syntax::EXPERIMENTAL,
    &metrics::UNKNOWN_METRIC,
    &metrics::UNKNOWN_LABEL,
    &counters::RATE_OF_GAUGE,
    &counters::RATE_OF_SUM,
    &counters::CHANGE_OF_COUNTER,
    &counters::MISSING_RATE,
    &matchers::IMPOSSIBLE_MATCHER,
    &matching::MISMATCHED_LABELS,
    &metrics::QUANTILE,
    &ranges::SHORT_RANGE,
    &quotients::ZERO_DIVISOR,
];

/// A judge of an expression that could be read.
type Judge = fn(&Expr, &Vocabulary) -> Vec<Problem>;

const JUDGES: &[Judge] = &[
    syntax::judge,
    metrics::judge_names,
    metrics::judge_labels,
    metrics::judge_quantiles,
    counters::judge,
    matchers::judge,
    matching::judge,
    ranges::judge,
    quotients::judge,
];

/// Everything that is wrong with the expression `text`, and the expression, where it can be read.
pub(super) fn judge(text: &str, vocabulary: &Vocabulary) -> (Option<Expr>, Vec<Problem>) {
    match parse(text) {
        Ok(expression) => {
            let problems = JUDGES.iter().flat_map(|judge| judge(&expression, vocabulary)).collect();
            (Some(expression), problems)
        }
        Err(said) => (None, vec![syntax::problem(text, &said)]),
    }
}

#[cfg(test)]
mod tests;
