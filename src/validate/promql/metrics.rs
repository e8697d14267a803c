//! Names of metrics and labels, and the label that quantiles need.

use super::Problem;
use super::labels::labels_of;
use crate::config::schema::nearest;
use crate::promql::{Expr, LabelModifier, selectors, visit};
use crate::validate::finding::{Code, Severity};
use crate::validate::vocabulary::Vocabulary;
use std::collections::BTreeSet;

pub(super) const UNKNOWN_METRIC: Code = Code::new(
    "promql/unknown-metric",
    Severity::Error,
    "no contract and no rule knows the metric",
    "correct the name, or add the metric to the contract where a program really exposes it",
)
.foreign(Severity::Info);

pub(super) const UNKNOWN_LABEL: Code = Code::new(
    "promql/unknown-label",
    Severity::Error,
    "nothing there has the label",
    "use a label that the metric has, or add it to the contract where a program really sets it",
)
.foreign(Severity::Info);

pub(super) const QUANTILE: Code = Code::new(
    "promql/quantile",
    Severity::Error,
    "the quantile has no value",
    "`histogram_quantile(0.95, sum by (le, ...) (rate(..._bucket[5m])))`: keep `le`, and a quantile from 0 to 1",
);

/// Metrics that nobody knows.
pub(super) fn judge_names(expression: &Expr, vocabulary: &Vocabulary) -> Vec<Problem> {
    let names: BTreeSet<String> = selectors(expression).into_iter().filter_map(|selector| selector.metric).collect();
    names
        .into_iter()
        .filter(|name| vocabulary.get(name).is_none())
        .map(|name| {
            let near = vocabulary.nearest(&name).map(|near| format!("did you mean `{near}`?"));
            Problem {
                fix: near,
                ..Problem::new(&UNKNOWN_METRIC, format!("nobody exposes or records the metric `{name}`"), name)
            }
        })
        .collect()
}

/// Labels that the metric, or the result of what stands in brackets, cannot have.
pub(super) fn judge_labels(expression: &Expr, vocabulary: &Vocabulary) -> Vec<Problem> {
    let mut problems = Vec::new();
    for selector in selectors(expression) {
        let Some(name) = &selector.metric else { continue };
        let Some(possible) = vocabulary.get(name).and_then(|known| known.labels.as_ref()) else { continue };
        // `a=""` asks for series without it.
        let asked = selector.matchers.iter().filter(|matcher| !matcher.is_match(""));
        for matcher in asked.filter(|matcher| !possible.contains(&matcher.name)) {
            problems.push(unknown(&matcher.name, &format!("`{name}` has no label"), possible));
        }
    }
    visit(expression, &mut |part| match part {
        Expr::Aggregate(aggregate) => {
            if let Some(LabelModifier::Include(by)) = &aggregate.modifier {
                missing(&by.labels, &aggregate.expr, "what is grouped has no label", vocabulary, &mut problems);
            }
        }
        Expr::Binary(binary) => {
            let modifier = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
            if let Some(LabelModifier::Include(on)) = modifier {
                for (side, operand) in [("left", &binary.lhs), ("right", &binary.rhs)] {
                    let what = format!("the {side} side of `{}` has no label", binary.op);
                    missing(&on.labels, operand, &what, vocabulary, &mut problems);
                }
            }
        }
        _ => {}
    });
    problems
}

fn missing(labels: &[String], inner: &Expr, what: &str, vocabulary: &Vocabulary, problems: &mut Vec<Problem>) {
    let there = labels_of(inner, vocabulary);
    let Some(possible) = &there.possible else { return };
    problems
        .extend(labels.iter().filter(|label| !possible.contains(*label)).map(|label| unknown(label, what, possible)));
}

fn unknown(label: &str, what: &str, possible: &BTreeSet<String>) -> Problem {
    let known: Vec<&String> = possible.iter().collect();
    let fix = match nearest(label, &known) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => None,
        None => Some(format!(
            "labels there: {}",
            known.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
        )),
    };
    Problem { fix, ..Problem::new(&UNKNOWN_LABEL, format!("{what} `{label}`"), label) }
}

/// Quantiles that can have no value.
pub(super) fn judge_quantiles(expression: &Expr, vocabulary: &Vocabulary) -> Vec<Problem> {
    let mut problems = Vec::new();
    visit(expression, &mut |part| {
        let (name, quantile, of) = match part {
            Expr::Call(call) if call.func.name == "histogram_quantile" => {
                ("histogram_quantile", call.args.args.first().map(AsRef::as_ref), call.args.args.get(1))
            }
            Expr::Aggregate(aggregate) if aggregate.op.to_string() == "quantile" => {
                ("quantile", aggregate.param.as_deref(), None)
            }
            _ => return,
        };
        if let Some(Expr::NumberLiteral(number)) = quantile
            && !(0.0..=1.0).contains(&number.val)
        {
            let message = format!("the quantile {} is not between 0 and 1", number.val);
            problems.push(Problem::new(&QUANTILE, message, number.val.to_string()));
        }
        if let Some(of) = of
            && !labels_of(of, vocabulary).may_have("le")
            // A native histogram has no `le`.
            && selectors(of).iter().any(|selector| selector.metric.as_deref().is_some_and(|name| name.ends_with("_bucket")))
        {
            let message = "`histogram_quantile` of series without the label `le`".to_owned();
            problems.push(Problem::new(&QUANTILE, message, name));
        }
    });
    problems
}
