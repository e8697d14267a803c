//! Why a query has no answer: questions to ask Prometheus one after the other, the first of which without
//! an answer is the cause.

use crate::promql::{Expr, MatchOp, Matcher, display_duration, parse, visit};
use std::fmt;

/// How far back a metric may have been seen last.
const SEEN: &str = "1h";

/// Rules that build on slices of five minutes have recorded by then what they can.
const YOUNG: &str = "10m";

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Nothing exposes the metric.
    NeverSeen {
        /// Its name.
        metric: String,
    },
    /// A rule records the metric, and did not have anything to record yet.
    NotRecorded {
        /// Its name.
        metric: String,
    },
    /// It exists, but not with such labels.
    NoMatch {
        /// Its name.
        metric: String,
        /// The matcher after which nothing is left.
        matcher: String,
    },
    /// Its series ended.
    Ended {
        /// The selector.
        selector: String,
    },
    /// A rate needs two samples.
    ShortWindow {
        /// The selector.
        selector: String,
        /// The window, as PromQL.
        window: String,
    },
    /// All its numbers are the quotient of nothing by nothing.
    NoTraffic,
    /// Its series are there, and the expression leaves none of them.
    FilteredOut,
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::NeverSeen { metric } => write!(formatter, "metric `{metric}` was not seen within {SEEN}"),
            Cause::NotRecorded { metric } => {
                write!(formatter, "no rule recorded `{metric}` yet: Prometheus does not look back {YOUNG}")
            }
            Cause::NoMatch { metric, matcher } => write!(formatter, "no series of `{metric}` matches `{matcher}`"),
            Cause::Ended { selector } => write!(formatter, "the series of `{selector}` have ended"),
            Cause::ShortWindow { selector, window } => {
                write!(
                    formatter,
                    "no series of `{selector}` has two samples within {window}: the window is shorter than two scrapes, or the first ones"
                )
            }
            Cause::NoTraffic => formatter.write_str("no traffic: it divides nothing by nothing"),
            Cause::FilteredOut => formatter.write_str("its series are there, but the expression leaves none of them"),
        }
    }
}

/// An expression, and what it means when Prometheus has no answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// PromQL.
    pub expression: String,
    /// Why a query that contains it has none either.
    pub cause: Cause,
}

/// What to ask about the query `expression`, in order.
///
/// # Errors
/// It is no PromQL.
pub fn questions(expression: &str) -> Result<Vec<Question>, String> {
    Ok(questions_of(&parse(expression)?))
}

fn questions_of(expression: &Expr) -> Vec<Question> {
    let mut questions = Vec::new();
    visit(expression, &mut |part| {
        let (selector, window) = match part {
            Expr::VectorSelector(selector) => (selector, None),
            Expr::MatrixSelector(selector) => (&selector.vs, Some(display_duration(&selector.range))),
            _ => return,
        };
        if let Some(metric) = &selector.name {
            of_selector(metric, &selector.matchers.matchers, window, &mut questions);
        }
    });
    questions
}

/// What to ask about the parts of the query `expression` in whose place a constant stands where they have no answer, as
/// in `sum(failures) or vector(0)`: whether their metrics are known at all, of the jobs that they are asked of. No
/// failure is a 0, no metric is none. Of what a rule records its rule tells, and what has alternatives needs but one.
///
/// # Errors
/// It is no PromQL.
pub fn questions_behind_constants(expression: &str) -> Result<Vec<Question>, String> {
    let expression = parse(expression)?;
    let mut asked = Vec::new();
    visit(&expression, &mut |part| {
        let Expr::Binary(binary) = part else { return };
        let is_constant = matches!(&*binary.rhs, Expr::Call(call) if call.func.name == "vector");
        if is_or(part) && is_constant {
            let (mut found, mut has_alternatives) = (Vec::new(), false);
            visit(&binary.lhs, &mut |inner| {
                has_alternatives |= is_or(inner);
                found.extend(of_job(inner));
            });
            asked.extend(found.into_iter().filter(|_| !has_alternatives));
        }
    });
    Ok(asked)
}

fn is_or(part: &Expr) -> bool {
    matches!(part, Expr::Binary(binary) if binary.op.to_string() == "or")
}

/// Whether the metric that `part` selects is known, of its job where it names one.
fn of_job(part: &Expr) -> Option<Question> {
    let selector = match part {
        Expr::VectorSelector(selector) => selector,
        Expr::MatrixSelector(selector) => &selector.vs,
        _ => return None,
    };
    let metric = selector.name.clone().filter(|metric| !metric.contains(':'))?;
    let is_job = |matcher: &&Matcher| matcher.name == "job" && matcher.op == MatchOp::Equal;
    let matcher = selector.matchers.matchers.iter().find(is_job).map(ToString::to_string);
    let selected = matcher.as_ref().map_or_else(|| metric.clone(), |matcher| format!("{metric}{{{matcher}}}"));
    let cause = match matcher {
        Some(matcher) => Cause::NoMatch { metric, matcher },
        None => Cause::NeverSeen { metric },
    };
    Some(Question { expression: seen(&selected), cause })
}

/// Whether anything of `selector` was there of late.
fn seen(selector: &str) -> String {
    format!("count(last_over_time({selector}[{SEEN}]))")
}

/// What a Prometheus that is old enough for every rule to have recorded something answers.
pub fn is_old_enough() -> String {
    format!("count(up offset {YOUNG})")
}

impl Cause {
    /// The metric that it is about.
    pub fn metric(&self) -> Option<&str> {
        match self {
            Cause::NeverSeen { metric } | Cause::NotRecorded { metric } | Cause::NoMatch { metric, .. } => Some(metric),
            Cause::Ended { .. } | Cause::ShortWindow { .. } | Cause::NoTraffic | Cause::FilteredOut => None,
        }
    }

    /// The cause in a Prometheus that is too young for every rule to have recorded something. A metric that a rule
    /// records has a colon in its name.
    pub fn while_young(self) -> Self {
        match self {
            Cause::NeverSeen { metric } if metric.contains(':') => Cause::NotRecorded { metric },
            other => other,
        }
    }
}

fn of_selector(metric: &str, matchers: &[Matcher], window: Option<String>, questions: &mut Vec<Question>) {
    let mut ask = |expression: String, cause: Cause| questions.push(Question { expression, cause });
    ask(seen(metric), Cause::NeverSeen { metric: metric.to_owned() });
    let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    for (index, matcher) in texts.iter().enumerate() {
        let selector = format!("{metric}{{{}}}", texts[..=index].join(","));
        ask(seen(&selector), Cause::NoMatch { metric: metric.to_owned(), matcher: matcher.clone() });
    }
    let selector = if texts.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", texts.join(",")) };
    ask(format!("count({selector})"), Cause::Ended { selector: selector.clone() });
    if let Some(window) = window {
        ask(format!("count(count_over_time({selector}[{window}]) > 1)"), Cause::ShortWindow { selector, window });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_selector_is_asked_for_from_the_metric_to_the_window() {
        let asked: Vec<(String, String)> = questions("sum(rate(a{b=\"c\", d=~\"e\"}[1m])) / f")
            .unwrap()
            .into_iter()
            .map(|question| (question.expression, question.cause.to_string()))
            .collect();
        let expected = [
            ("count(last_over_time(a[1h]))", "metric `a` was not seen within 1h"),
            ("count(last_over_time(a{b=\"c\"}[1h]))", "no series of `a` matches `b=\"c\"`"),
            ("count(last_over_time(a{b=\"c\",d=~\"e\"}[1h]))", "no series of `a` matches `d=~\"e\"`"),
            ("count(a{b=\"c\",d=~\"e\"})", "the series of `a{b=\"c\",d=~\"e\"}` have ended"),
            (
                "count(count_over_time(a{b=\"c\",d=~\"e\"}[1m]) > 1)",
                "no series of `a{b=\"c\",d=~\"e\"}` has two samples within 1m: the window is shorter than two scrapes, or the first ones",
            ),
            ("count(last_over_time(f[1h]))", "metric `f` was not seen within 1h"),
            ("count(f)", "the series of `f` have ended"),
        ];
        assert_eq!(asked, expected.map(|(expression, cause)| (expression.to_owned(), cause.to_owned())));
    }

    #[test]
    fn only_what_a_rule_records_may_be_missing_while_prometheus_is_young() {
        let never = |metric: &str| Cause::NeverSeen { metric: metric.to_owned() };
        let said = "no rule recorded `slo:a:ratio` yet: Prometheus does not look back 10m";
        assert_eq!(never("slo:a:ratio").while_young().to_string(), said);
        assert_eq!(never("up").while_young(), never("up"));
        assert_eq!(Cause::NoTraffic.while_young(), Cause::NoTraffic);
    }

    #[test]
    fn behind_a_constant_only_the_metrics_of_the_job_are_asked_for() {
        let of_job = "count(last_over_time(a{job=\"x\"}[1h]))";
        for (expression, questions) in [
            ("sum(rate(a{b=\"c\"}[1m])) or vector(0)", &["count(last_over_time(a[1h]))"][..]),
            ("sum(rate(a{b=\"c\", job=\"x\"}[1m])) or vector(0)", &[of_job]),
            ("(sum(a{job=\"x\"}) or vector(0)) / sum(b)", &[of_job]),
            (
                "(count(a{job=\"x\"} unless on (x) b) or vector(0)) + (sum(c) or (vector(1)))",
                &[of_job, "count(last_over_time(b[1h]))"],
            ),
            ("sum(a) or sum(b)", &[]),
            ("sum(a) or sum(b) or vector(0)", &[]),
            ("sum(slo:a:ratio) or vector(0)", &[]),
            ("vector(0) or sum(a)", &[]),
            ("sum(a) and vector(0)", &[]),
        ] {
            let asked = questions_behind_constants(expression).unwrap();
            let asked: Vec<String> = asked.into_iter().map(|question| question.expression).collect();
            assert_eq!(asked, questions, "{expression}");
        }
    }

    #[test]
    fn what_is_no_promql_is_no_question() {
        assert!(questions_behind_constants("sum(").is_err());
        assert!(questions("sum(").is_err());
    }
}
