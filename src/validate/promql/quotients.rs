//! Divisors that can be 0.

use super::Problem;
use crate::promql::{Expr, visit};
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
    let guarded = guarded(expression);
    let mut problems = Vec::new();
    visit(expression, &mut |part| {
        let Expr::Binary(binary) = part else { return };
        if !matches!(binary.op.to_string().as_str(), "/" | "%") {
            return;
        }
        visit(&binary.rhs, &mut |divisor| match divisor {
            Expr::NumberLiteral(number) if number.val == 0.0 && is_alone(&binary.rhs) => {
                problems.push(Problem::new(&ZERO_DIVISOR, "a division by 0".to_owned(), "/ 0"));
            }
            Expr::VectorSelector(selector) => {
                let name = selector.name.as_deref().unwrap_or_default();
                let may_be_zero = vocabulary.get(name).is_some_and(|known| known.may_be_zero);
                if may_be_zero && !guarded.contains(name) {
                    let message = format!("a division by `{name}`, which can be 0");
                    problems.push(Problem::new(&ZERO_DIVISOR, message, name));
                }
            }
            _ => {}
        });
    });
    problems
}

/// Whether `expression` is a number, through brackets and signs.
fn is_alone(expression: &Expr) -> bool {
    match expression {
        Expr::Paren(paren) => is_alone(&paren.expr),
        Expr::Unary(unary) => is_alone(&unary.expr),
        Expr::NumberLiteral(_) => true,
        _ => false,
    }
}

/// The metrics that `expression` compares with a number somewhere.
fn guarded(expression: &Expr) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    visit(expression, &mut |part| {
        let Expr::Binary(binary) = part else { return };
        let compares = matches!(binary.op.to_string().as_str(), ">" | ">=" | "!=" | "==" | "<" | "<=");
        if !compares || !is_alone(&binary.rhs) {
            return;
        }
        // Only what is compared itself: `a / b > 0.8` guards nothing.
        let mut compared = binary.lhs.as_ref();
        loop {
            compared = match compared {
                Expr::Paren(paren) => &paren.expr,
                Expr::Aggregate(aggregate) => &aggregate.expr,
                _ => break,
            };
        }
        if let Expr::VectorSelector(selector) = compared {
            found.extend(selector.name.as_deref());
        }
    });
    found
}
