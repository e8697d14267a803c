//! Matchers that no series can meet.

use super::Problem;
use crate::config::schema::nearest;
use crate::promql::{Expr, MatchOp, Matcher, Selector, selectors};
use crate::validate::finding::{Code, Severity};
use crate::validate::vocabulary::Vocabulary;
use std::collections::BTreeSet;

pub(super) const IMPOSSIBLE_MATCHER: Code = Code::new(
    "promql/impossible-matcher",
    Severity::Error,
    "no series can meet the matcher",
    "ask for a value that the label can have",
)
.foreign(Severity::Info);

/// Matchers that leave nothing.
pub(super) fn judge(expression: &Expr, vocabulary: &Vocabulary) -> Vec<Problem> {
    let mut problems = Vec::new();
    for selector in selectors(expression) {
        problems.extend(contradiction(&selector));
        let known = selector.metric.as_deref().and_then(|name| vocabulary.get(name));
        for matcher in &selector.matchers {
            match (matcher.name.as_str(), known) {
                ("job", Some(known)) => {
                    let jobs = known.jobs.as_ref().unwrap_or(&vocabulary.jobs);
                    problems.extend(of_values(matcher, jobs, "scrape job", selector.metric.as_deref()));
                }
                ("alertname", _) if selector.metric.as_deref().is_some_and(|name| name.starts_with("ALERTS")) => {
                    let alerts = vocabulary.alerts.iter();
                    problems.extend(alerts.filter_map(|alerts| of_values(matcher, alerts, "alert", None)));
                }
                ("le", Some(known)) if !known.buckets.is_empty() => {
                    problems.extend(of_bounds(matcher, &known.buckets, selector.metric.as_deref()));
                }
                _ => {}
            }
        }
    }
    problems
}

fn problem(matcher: &Matcher, message: String) -> Problem {
    // As people write it; the template may have other blanks.
    Problem {
        needles: vec![matcher.value.clone(), matcher.name.clone()],
        ..Problem::new(&IMPOSSIBLE_MATCHER, message, String::new())
    }
}

/// A matcher that none of the `values` meets.
fn of_values(matcher: &Matcher, values: &BTreeSet<String>, what: &str, metric: Option<&str>) -> Option<Problem> {
    // An empty value is one that may be missing.
    if values.is_empty() || matcher.is_match("") || values.iter().any(|value| matcher.is_match(value)) {
        return None;
    }
    let of = metric.map(|metric| format!(" of `{metric}`")).unwrap_or_default();
    let message = match matcher.op {
        MatchOp::Equal => format!("no {what}{of} is called `{}`", matcher.value),
        _ => format!("no {what}{of} meets `{matcher}`"),
    };
    let known: Vec<&String> = values.iter().collect();
    let fix = match nearest(&matcher.value, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let few: Vec<String> = known.iter().take(12).map(|value| format!("`{value}`")).collect();
            format!("there are {}{}", few.join(", "), if known.len() > few.len() { ", and others" } else { "" })
        }
    };
    Some(Problem { fix: Some(fix), ..problem(matcher, message) })
}

/// `le="0.2"` of a histogram that has no such bucket.
fn of_bounds(matcher: &Matcher, bounds: &[f64], metric: Option<&str>) -> Option<Problem> {
    if matcher.op != MatchOp::Equal || matcher.value == "+Inf" {
        return None;
    }
    // Since version 3 Prometheus writes whole numbers as `1.0`.
    let asked = matcher.value.parse::<f64>().ok();
    if asked.is_some_and(|asked| bounds.contains(&asked)) {
        return None;
    }
    let told: Vec<String> = bounds.iter().map(ToString::to_string).collect();
    let message = format!("`{}` has no bucket `{}`", metric.unwrap_or_default(), matcher.value);
    Some(Problem { fix: Some(format!("its buckets are {}", told.join(", "))), ..problem(matcher, message) })
}

/// Two matchers of one label that exclude each other.
fn contradiction(selector: &Selector) -> Option<Problem> {
    selector.matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal).find_map(|equal| {
        let against = selector
            .matchers
            .iter()
            .find(|other| other.name == equal.name && *other != equal && !other.is_match(&equal.value))?;
        let message = format!("`{equal}` and `{against}` exclude each other");
        Some(Problem { fix: Some("leave one of them".to_owned()), ..problem(against, message) })
    })
}
