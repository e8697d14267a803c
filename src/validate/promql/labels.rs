//! Which labels the result of an expression can have, and which it has for certain.

use crate::promql::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, MatchOp, VectorMatchCardinality, VectorSelector, metric_of,
};
use crate::validate::vocabulary::Vocabulary;
use std::collections::BTreeSet;

/// Bounds of the labels of an expression's result, from above and from below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::validate) struct Labels {
    /// No other labels than these; `None` where any are possible.
    pub(in crate::validate) possible: Option<BTreeSet<String>>,
    /// These for certain.
    pub(in crate::validate) certain: BTreeSet<String>,
}

impl Labels {
    fn none() -> Self {
        Labels { possible: Some(BTreeSet::new()), certain: BTreeSet::new() }
    }

    fn any() -> Self {
        Labels { possible: None, certain: BTreeSet::new() }
    }

    /// Whether `label` can be there.
    pub(in crate::validate) fn may_have(&self, label: &str) -> bool {
        self.possible.as_ref().is_none_or(|possible| possible.contains(label))
    }

    fn with(mut self, labels: &[String]) -> Self {
        if let Some(possible) = &mut self.possible {
            possible.extend(labels.iter().cloned());
        }
        self
    }

    fn without(mut self, labels: &[String]) -> Self {
        for label in labels {
            self.certain.remove(label);
            if let Some(possible) = &mut self.possible {
                possible.remove(label);
            }
        }
        self
    }

    /// Those of `labels` that can be there.
    fn only(self, labels: &[String]) -> Self {
        let wanted: BTreeSet<String> = labels.iter().cloned().collect();
        let certain = match &self.possible {
            Some(_) => &self.certain & &wanted,
            // Nobody groups by what is not there; if it is not, nothing more can be said.
            None => wanted.clone(),
        };
        Labels { possible: Some(wanted), certain }
    }

    /// Of the results of either.
    fn either(self, other: Self) -> Self {
        Labels {
            possible: self.possible.zip(other.possible).map(|(left, right)| &left | &right),
            certain: &self.certain & &other.certain,
        }
    }
}

/// The labels of the result of `expression`; the name of the metric is none of them.
pub(in crate::validate) fn labels_of(expression: &Expr, vocabulary: &Vocabulary) -> Labels {
    match expression {
        Expr::VectorSelector(selector) => of_selector(selector, vocabulary),
        Expr::MatrixSelector(selector) => of_selector(&selector.vs, vocabulary),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate, vocabulary),
        Expr::Binary(binary) => of_binary(binary, vocabulary),
        Expr::Call(call) => of_call(call, vocabulary),
        Expr::Unary(unary) => labels_of(&unary.expr, vocabulary),
        Expr::Paren(paren) => labels_of(&paren.expr, vocabulary),
        Expr::Subquery(subquery) => labels_of(&subquery.expr, vocabulary),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Labels::none(),
        Expr::Extension(_) => Labels::any(),
    }
}

fn of_selector(selector: &VectorSelector, vocabulary: &Vocabulary) -> Labels {
    let asked = |labels: Labels| {
        // `a="x"` finds only series with the label, even where nobody promised it.
        let given = selector.matchers.matchers.iter().filter(|matcher| match matcher.op {
            MatchOp::Equal => !matcher.value.is_empty() && matcher.name != "__name__",
            _ => false,
        });
        let names: Vec<String> = given.map(|matcher| matcher.name.clone()).collect();
        let mut labels = labels.with(&names);
        labels.certain.extend(names);
        labels
    };
    let name = metric_of(selector);
    match name.and_then(|name| vocabulary.get(name)) {
        Some(known) => asked(Labels { possible: known.labels.clone(), certain: known.certain.clone() }),
        None => asked(Labels::any()),
    }
}

fn of_aggregate(aggregate: &AggregateExpr, vocabulary: &Vocabulary) -> Labels {
    let inner = labels_of(&aggregate.expr, vocabulary);
    match (aggregate.op.to_string().as_str(), &aggregate.modifier, aggregate.param.as_deref()) {
        // These choose series and leave them as they are.
        ("topk" | "bottomk" | "limitk" | "limit_ratio", _, _) => inner,
        (_, Some(LabelModifier::Include(labels)), None) => inner.only(&labels.labels),
        (_, Some(LabelModifier::Exclude(labels)), None) => inner.without(&labels.labels),
        (_, None, None) => Labels::none(),
        (operation, modifier, Some(parameter)) => {
            let grouped = match modifier {
                Some(LabelModifier::Include(labels)) => inner.only(&labels.labels),
                Some(LabelModifier::Exclude(labels)) => inner.without(&labels.labels),
                None => Labels::none(),
            };
            match (operation, parameter) {
                ("count_values", Expr::StringLiteral(label)) => grouped.with(std::slice::from_ref(&label.val)),
                _ => grouped,
            }
        }
    }
}

fn of_binary(binary: &BinaryExpr, vocabulary: &Vocabulary) -> Labels {
    use crate::promql::ValueType::Scalar;
    let left = || labels_of(&binary.lhs, vocabulary);
    let right = || labels_of(&binary.rhs, vocabulary);
    match (binary.lhs.value_type(), binary.rhs.value_type()) {
        (_, Scalar) => return left(),
        (Scalar, _) => return right(),
        _ => {}
    }
    match binary.op.to_string().as_str() {
        "or" => return left().either(right()),
        "and" | "unless" => return left(),
        _ => {}
    }
    let modifier = binary.modifier.as_ref();
    match modifier.map(|modifier| &modifier.card) {
        Some(VectorMatchCardinality::ManyToOne(further)) => left().with(&further.labels),
        Some(VectorMatchCardinality::OneToMany(further)) => right().with(&further.labels),
        _ => match modifier.and_then(|modifier| modifier.matching.as_ref()) {
            Some(LabelModifier::Include(labels)) => left().only(&labels.labels),
            Some(LabelModifier::Exclude(labels)) => left().without(&labels.labels),
            // Both sides have the same labels, so those of either bound the result.
            None => {
                let (left, right) = (left(), right());
                let possible = match (left.possible, right.possible) {
                    (Some(left), Some(right)) => Some(&left & &right),
                    (left, right) => left.or(right),
                };
                Labels { possible, certain: &left.certain | &right.certain }
            }
        },
    }
}

fn of_call(call: &Call, vocabulary: &Vocabulary) -> Labels {
    let arguments = &call.args.args;
    let text = |index: usize| match arguments.get(index).map(AsRef::as_ref) {
        Some(Expr::StringLiteral(text)) => Some(text.val.clone()),
        _ => None,
    };
    let first_vector = || {
        use crate::promql::ValueType::{Matrix, Vector};
        arguments.iter().find(|argument| matches!(argument.value_type(), Vector | Matrix))
    };
    match call.func.name {
        "absent" | "absent_over_time" => of_absent(arguments.first().map(AsRef::as_ref)),
        "info" => Labels::any(),
        "label_replace" | "label_join" => {
            let made: Vec<String> = text(1).into_iter().collect();
            let mut labels = first_vector().map_or_else(Labels::any, |inner| labels_of(inner, vocabulary)).with(&made);
            // It may be made empty.
            labels.certain.retain(|label| !made.contains(label));
            labels
        }
        "histogram_quantile" => {
            first_vector().map_or_else(Labels::any, |inner| labels_of(inner, vocabulary)).without(&["le".to_owned()])
        }
        _ => first_vector().map_or_else(Labels::none, |inner| labels_of(inner, vocabulary)),
    }
}

/// `absent` makes labels of what its selector demands to be equal.
fn of_absent(argument: Option<&Expr>) -> Labels {
    let selector = match argument {
        Some(Expr::VectorSelector(selector)) => selector,
        Some(Expr::MatrixSelector(selector)) => &selector.vs,
        Some(Expr::Paren(paren)) => return of_absent(Some(&paren.expr)),
        _ => return Labels::none(),
    };
    let equal = selector.matchers.matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal);
    let labels: BTreeSet<String> =
        equal.map(|matcher| matcher.name.clone()).filter(|name| name != "__name__").collect();
    Labels { possible: Some(labels.clone()), certain: labels }
}
