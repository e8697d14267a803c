//! Divisors that can be 0.

use super::Problem;
use crate::promql::{Expr, metric_of, visit_while};
use crate::validate::finding::{Code, Severity};
use crate::validate::vocabulary::Vocabulary;
use std::collections::BTreeSet;

pub(super) const ZERO_DIVISOR: Code = Code::new(
    "promql/zero-divisor",
    Severity::Error,
    "the divisor can be 0",
    "divide by `(... > 0)`, or add `and ... > 0`: a quotient by 0 is +Inf, and above every threshold",
)
.foreign(Severity::Warning);

/// Divisions by a literal 0, or by a metric whose 0 has a meaning, without a guard.
pub(super) fn judge(expression: &Expr, vocabulary: &Vocabulary) -> Vec<Problem> {
    let mut problems = Vec::new();
    judge_branch(expression, &BTreeSet::new(), vocabulary, &mut problems);
    problems
}

/// Judges `branch`, one side of an `or`, or the whole; what stands around it is compared as `guarded` says.
fn judge_branch<'e>(
    branch: &'e Expr,
    guarded: &BTreeSet<&'e str>,
    vocabulary: &Vocabulary,
    problems: &mut Vec<Problem>,
) {
    let mut guarded = guarded.clone();
    add_guards(branch, false, &mut guarded);
    visit_while(branch, &mut |part| {
        let Expr::Binary(binary) = part else { return true };
        match binary.op.to_string().as_str() {
            // What one side demands says nothing of the other.
            "or" => {
                judge_branch(&binary.lhs, &guarded, vocabulary, problems);
                judge_branch(&binary.rhs, &guarded, vocabulary, problems);
                return false;
            }
            "/" | "%" => problems.extend(of_divisor(&binary.rhs, &guarded, vocabulary)),
            _ => {}
        }
        true
    });
}

/// What is wrong with `divisor`, each side of an `or` in it by itself.
fn of_divisor<'e>(divisor: &'e Expr, guarded: &BTreeSet<&'e str>, vocabulary: &Vocabulary) -> Vec<Problem> {
    if number(divisor) == Some(0.0) {
        return vec![Problem::new(&ZERO_DIVISOR, "a division by 0".to_owned(), "/ 0")];
    }
    let mut guarded = guarded.clone();
    add_guards(divisor, false, &mut guarded);
    let mut problems = Vec::new();
    visit_while(divisor, &mut |part| {
        match part {
            Expr::Binary(binary) if binary.op.to_string() == "or" => {
                problems.extend(of_divisor(&binary.lhs, &guarded, vocabulary));
                problems.extend(of_divisor(&binary.rhs, &guarded, vocabulary));
                return false;
            }
            // There is at least one of what is counted.
            Expr::Aggregate(aggregate) => {
                return !matches!(aggregate.op.to_string().as_str(), "count" | "group");
            }
            Expr::Call(call) if matches!(call.func.name, "clamp" | "clamp_min") => {
                return call.args.args.get(1).and_then(|least| number(least)).is_none_or(|least| least <= 0.0);
            }
            Expr::VectorSelector(selector) => {
                let name = metric_of(selector).unwrap_or_default();
                let may_be_zero = vocabulary.get(name).is_some_and(|known| known.may_be_zero);
                if may_be_zero && !guarded.contains(name) {
                    let message = format!("a division by `{name}`, which can be 0");
                    problems.push(Problem::new(&ZERO_DIVISOR, message, name));
                }
            }
            _ => {}
        }
        true
    });
    problems
}

/// The number that `expression` is, through brackets and signs.
fn number(expression: &Expr) -> Option<f64> {
    match expression {
        Expr::Paren(paren) => number(&paren.expr),
        Expr::Unary(unary) => number(&unary.expr).map(|number| -number),
        Expr::NumberLiteral(literal) => Some(literal.val),
        _ => None,
    }
}

/// Adds the metrics that a comparison in `branch` demands not to be 0; where the branch is `excluded`, on the right
/// side of an `unless`, those that it demands to be.
fn add_guards<'e>(branch: &'e Expr, excluded: bool, found: &mut BTreeSet<&'e str>) {
    visit_while(branch, &mut |part| {
        let binary = match part {
            // They say that something is not there, or lose whose value it is.
            Expr::Call(call) => return !matches!(call.func.name, "absent" | "absent_over_time" | "scalar"),
            Expr::Binary(binary) => binary,
            _ => return true,
        };
        let operator = binary.op.to_string();
        match operator.as_str() {
            // What one side demands may not hold where the other does; of what is excluded each side is.
            "or" => return excluded,
            "and" => return !excluded,
            "unless" => {
                if !excluded {
                    add_guards(&binary.lhs, false, found);
                    add_guards(&binary.rhs, true, found);
                }
                return false;
            }
            _ => {}
        }
        let is_filter = binary.modifier.as_ref().is_none_or(|modifier| !modifier.return_bool);
        let (compared, held_by_zero) = match (number(&binary.lhs), number(&binary.rhs)) {
            (None, Some(right)) => (&binary.lhs, holds(&operator, 0.0, right)),
            (Some(left), None) => (&binary.rhs, holds(&operator, left, 0.0)),
            _ => return true,
        };
        if is_filter && held_by_zero == Some(excluded) {
            found.extend(metric_that_is_compared(compared));
        }
        true
    });
}

/// Whether the comparison holds; `None` for an operator that compares nothing.
#[allow(clippy::float_cmp)]
fn holds(operator: &str, left: f64, right: f64) -> Option<bool> {
    match operator {
        ">" => Some(left > right),
        ">=" => Some(left >= right),
        "<" => Some(left < right),
        "<=" => Some(left <= right),
        "==" => Some(left == right),
        "!=" => Some(left != right),
        _ => None,
    }
}

/// Only what is compared itself: `a / b > 0.8` guards nothing.
fn metric_that_is_compared(mut compared: &Expr) -> Option<&str> {
    loop {
        compared = match compared {
            Expr::Paren(paren) => &paren.expr,
            // How many there are says nothing of what they are.
            Expr::Aggregate(aggregate) if !matches!(aggregate.op.to_string().as_str(), "count" | "group") => {
                &aggregate.expr
            }
            Expr::VectorSelector(selector) => return metric_of(selector),
            _ => return None,
        };
    }
}
