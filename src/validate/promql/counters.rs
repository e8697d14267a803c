//! Counters want a rate; gauges want none.

use super::Problem;
use crate::contract::MetricType;
use crate::promql::{BinaryExpr, Expr, VectorSelector, metric_of, visit};
use crate::validate::finding::{Code, Severity};
use crate::validate::vocabulary::Vocabulary;

pub(super) const RATE_OF_GAUGE: Code = Code::new(
    "promql/rate-of-gauge",
    Severity::Error,
    "the rate of a gauge",
    "a gauge goes down too, which a rate takes for a restart: use `deriv`, `delta`, or the value itself",
)
.foreign(Severity::Warning);

pub(super) const RATE_OF_SUM: Code = Code::new(
    "promql/rate-of-sum",
    Severity::Error,
    "the rate of an aggregate",
    "first the rate of each counter, then the aggregate: a restart of one series is lost in the sum",
)
.foreign(Severity::Warning);

pub(super) const CHANGE_OF_COUNTER: Code = Code::new(
    "promql/change-of-counter",
    Severity::Error,
    "a function for gauges, of a counter",
    "`rate` or `increase` take a restart of the program into account",
)
.foreign(Severity::Warning);

pub(super) const MISSING_RATE: Code = Code::new(
    "promql/missing-rate",
    Severity::Error,
    "the value of a counter, without a rate",
    "a counter's value is counted since the program started: use `rate(...[5m])` or `increase(...[5m])`",
)
.foreign(Severity::Warning);

/// Functions that take a fall of the value for a restart.
const OF_COUNTERS: [&str; 4] = ["rate", "irate", "increase", "resets"];
/// Functions to which a fall is a fall. The least value of a counter is the one that it began with.
const OF_GAUGES: [&str; 11] = [
    "delta",
    "idelta",
    "deriv",
    "predict_linear",
    "double_exponential_smoothing",
    "holt_winters",
    "avg_over_time",
    "max_over_time",
    "sum_over_time",
    "quantile_over_time",
    "stddev_over_time",
];
/// Functions and aggregations that ask whether a series is there, not for its value.
const OF_PRESENCE: [&str; 8] =
    ["absent", "absent_over_time", "count", "group", "timestamp", "present_over_time", "count_over_time", "changes"];

/// Counters and gauges that are asked the wrong way.
pub(super) fn judge(expression: &Expr, vocabulary: &Vocabulary) -> Vec<Problem> {
    let mut problems = Vec::new();
    visit(expression, &mut |part| {
        let Expr::Call(call) = part else { return };
        let function = call.func.name;
        for argument in &call.args.args {
            match argument.as_ref() {
                Expr::MatrixSelector(selector) => problems.extend(of_range(function, &selector.vs, vocabulary)),
                Expr::Subquery(subquery) if OF_COUNTERS.contains(&function) => match without_brackets(&subquery.expr) {
                    Expr::VectorSelector(selector) => problems.extend(of_range(function, selector, vocabulary)),
                    Expr::Aggregate(aggregate) if !keeps_series(&aggregate.op.to_string()) => {
                        let message = format!("`{function}` of an aggregate made by `{}`", aggregate.op);
                        problems.push(Problem::new(&RATE_OF_SUM, message, function));
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    });
    raw(expression, vocabulary, &mut problems);
    problems
}

fn of_range(function: &str, selector: &VectorSelector, vocabulary: &Vocabulary) -> Option<Problem> {
    let name = metric_of(selector)?;
    let known = vocabulary.get(name)?;
    let metric_type = known.metric_type?;
    if OF_COUNTERS.contains(&function) && metric_type == MetricType::Gauge && !known.only_grows {
        let message = format!("`{function}` of `{name}`, which is a gauge");
        return Some(Problem::new(&RATE_OF_GAUGE, message, name));
    }
    if OF_GAUGES.contains(&function) && metric_type == MetricType::Counter {
        let message = format!("`{function}` of `{name}`, which is a counter");
        return Some(Problem::new(&CHANGE_OF_COUNTER, message, name));
    }
    None
}

fn without_brackets(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(paren) => without_brackets(&paren.expr),
        _ => expression,
    }
}

/// Whether an aggregation chooses among series instead of making new ones.
fn keeps_series(operation: &str) -> bool {
    matches!(operation, "topk" | "bottomk" | "limitk" | "limit_ratio")
}

/// Counters below `expression` whose value is used as it is.
fn raw(expression: &Expr, vocabulary: &Vocabulary, problems: &mut Vec<Problem>) {
    match expression {
        Expr::VectorSelector(selector) => problems.extend(of_value(selector, vocabulary)),
        Expr::Aggregate(aggregate) => {
            if !OF_PRESENCE.contains(&aggregate.op.to_string().as_str()) {
                raw(&aggregate.expr, vocabulary, problems);
            }
        }
        Expr::Call(call) => {
            let takes_counters = OF_COUNTERS.contains(&call.func.name);
            if !takes_counters && !OF_PRESENCE.contains(&call.func.name) {
                call.args.args.iter().for_each(|argument| raw(argument, vocabulary, problems));
            }
        }
        Expr::Binary(binary) => {
            if is_difference_in_time(binary) {
                return;
            }
            raw(&binary.lhs, vocabulary, problems);
            // Of the right side of these only the labels count.
            if !matches!(binary.op.to_string().as_str(), "and" | "unless") {
                raw(&binary.rhs, vocabulary, problems);
            }
        }
        Expr::Paren(paren) => raw(&paren.expr, vocabulary, problems),
        Expr::Unary(unary) => raw(&unary.expr, vocabulary, problems),
        Expr::Subquery(subquery) => raw(&subquery.expr, vocabulary, problems),
        Expr::MatrixSelector(_) | Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

fn of_value(selector: &VectorSelector, vocabulary: &Vocabulary) -> Option<Problem> {
    let name = metric_of(selector)?;
    let known = vocabulary.get(name)?;
    let is_counter = known.metric_type == Some(MetricType::Counter) && !known.value_tells;
    is_counter.then(|| Problem::new(&MISSING_RATE, format!("the value of `{name}`, which is a counter"), name))
}

/// `a - a offset 1h`: an increase by hand.
fn is_difference_in_time(binary: &BinaryExpr) -> bool {
    match (binary.lhs.as_ref(), binary.rhs.as_ref()) {
        (Expr::VectorSelector(left), Expr::VectorSelector(right)) => {
            binary.op.to_string() == "-" && metric_of(left) == metric_of(right) && left.offset != right.offset
        }
        _ => false,
    }
}
