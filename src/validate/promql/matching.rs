//! Two sides whose series never find each other.

use super::Problem;
use super::labels::labels_of;
use crate::promql::{BinaryExpr, Expr, LabelModifier, ValueType, visit};
use crate::validate::finding::{Code, Severity};
use crate::validate::vocabulary::Vocabulary;
use std::collections::BTreeSet;

pub(super) const MISMATCHED_LABELS: Code = Code::new(
    "promql/mismatched-labels",
    Severity::Error,
    "the series of the two sides have different labels and never match",
    "group both sides by the same labels, or say `on (...)` with `group_left` or `group_right`",
)
.foreign(Severity::Warning);

/// Operations between vectors whose results are always empty.
pub(super) fn judge(expression: &Expr, vocabulary: &Vocabulary) -> Vec<Problem> {
    let mut problems = Vec::new();
    visit(expression, &mut |part| {
        if let Expr::Binary(binary) = part {
            problems.extend(of_binary(binary, vocabulary));
        }
    });
    problems
}

fn of_binary(binary: &BinaryExpr, vocabulary: &Vocabulary) -> Option<Problem> {
    let operator = binary.op.to_string();
    let is_vector = |side: &Expr| side.value_type() == ValueType::Vector;
    // `or` is there for the series without a partner.
    if operator == "or" || !is_vector(&binary.lhs) || !is_vector(&binary.rhs) {
        return None;
    }
    let ignored: &[String] = match binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()) {
        // Whether these labels are there is asked elsewhere.
        Some(LabelModifier::Include(_)) => return None,
        Some(LabelModifier::Exclude(labels)) => &labels.labels,
        None => &[],
    };
    let (left, right) = (labels_of(&binary.lhs, vocabulary), labels_of(&binary.rhs, vocabulary));
    let lacking = |certain: &BTreeSet<String>, possible: &Option<BTreeSet<String>>| -> Vec<String> {
        let lacks = |label: &&String| {
            !ignored.contains(label) && possible.as_ref().is_some_and(|possible| !possible.contains(*label))
        };
        certain.iter().filter(lacks).map(|label| format!("`{label}`")).collect()
    };
    let (of_left, of_right) = (lacking(&left.certain, &right.possible), lacking(&right.certain, &left.possible));
    if of_left.is_empty() && of_right.is_empty() {
        return None;
    }
    let says = |side: &str, labels: &[String]| match labels {
        [] => None,
        labels => Some(format!("only the {side} side has {}", labels.join(", "))),
    };
    let told: Vec<String> = says("left", &of_left).into_iter().chain(says("right", &of_right)).collect();
    Some(Problem::new(&MISMATCHED_LABELS, format!("no series match over `{operator}`: {}", told.join("; ")), operator))
}
