//! What can be wrong with an expression: one small change each.

use super::text::{operator, text};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::token::{
    T_ADD, T_AVG, T_COUNT, T_DIV, T_EQL, T_EQL_REGEX, T_EQLC, T_GROUP, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE,
    T_LUNLESS, T_MAX, T_MIN, T_MUL, T_NEQ, T_NEQ_REGEX, T_SUB, T_SUM, TokenId, TokenType,
};
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Expr, LabelModifier, NumberLiteral, VectorMatchCardinality, VectorSelector,
};
use promql_parser::util::display_duration;
use std::time::Duration;

/// A changed expression, and what was changed.
pub(super) type Mutation = (String, Expr);

/// Every mutation of `expression`, each of one place in it.
pub(super) fn mutations(expression: &Expr) -> Vec<Mutation> {
    let mut found = of_node(expression);
    let count = children(&mut expression.clone()).len();
    for index in 0..count {
        let child = children_at(expression, index);
        for (what, changed) in mutations(&child) {
            let mut whole = expression.clone();
            *children(&mut whole)[index] = changed;
            found.push((what, whole));
        }
    }
    found
}

/// The expressions directly in `expression`, from left to right.
fn children(expression: &mut Expr) -> Vec<&mut Expr> {
    match expression {
        Expr::Aggregate(aggregate) => {
            aggregate.param.iter_mut().map(|parameter| &mut **parameter).chain([&mut *aggregate.expr]).collect()
        }
        Expr::Unary(unary) => vec![&mut unary.expr],
        Expr::Binary(binary) => vec![&mut binary.lhs, &mut binary.rhs],
        Expr::Paren(paren) => vec![&mut paren.expr],
        Expr::Subquery(subquery) => vec![&mut subquery.expr],
        Expr::Call(call) => call.args.args.iter_mut().map(|argument| &mut **argument).collect(),
        _ => Vec::new(),
    }
}

fn children_at(expression: &Expr, index: usize) -> Expr {
    children(&mut expression.clone())[index].clone()
}

/// The mutations of the node itself.
fn of_node(expression: &Expr) -> Vec<Mutation> {
    match expression {
        Expr::Binary(binary) => of_binary(binary),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate),
        Expr::NumberLiteral(number) => moved(number.val)
            .into_iter()
            .map(|val| (format!("`{}` becomes `{val}`", number.val), Expr::NumberLiteral(NumberLiteral { val })))
            .collect(),
        Expr::VectorSelector(selector) => {
            of_selector(selector).into_iter().map(|(what, changed)| (what, Expr::VectorSelector(changed))).collect()
        }
        Expr::MatrixSelector(matrix) => {
            let with = |change: &dyn Fn(&mut promql_parser::parser::MatrixSelector)| {
                let mut changed = matrix.clone();
                change(&mut changed);
                Expr::MatrixSelector(changed)
            };
            let name = matrix.vs.name.as_deref().unwrap_or_default();
            let windows = windows(matrix.range).into_iter().map(|window| {
                let what = format!(
                    "the window of `{name}` becomes `{}` instead of `{}`",
                    display_duration(&window),
                    display_duration(&matrix.range)
                );
                (what, with(&|changed| changed.range = window))
            });
            let matched = of_selector(&matrix.vs)
                .into_iter()
                .map(|(what, selector)| (what, with(&|changed| changed.vs = selector.clone())));
            windows.chain(matched).collect()
        }
        Expr::Subquery(subquery) => windows(subquery.range)
            .into_iter()
            .map(|range| {
                let mut changed = subquery.clone();
                changed.range = range;
                let (old, new) = (display_duration(&subquery.range), display_duration(&range));
                (format!("the window of a subquery becomes `{new}` instead of `{old}`"), Expr::Subquery(changed))
            })
            .collect(),
        Expr::Call(call) => {
            let others: &[&str] = match call.func.name {
                "rate" => &["increase"],
                "avg_over_time" => &["max_over_time", "min_over_time"],
                "max_over_time" => &["min_over_time", "avg_over_time"],
                "min_over_time" => &["max_over_time", "avg_over_time"],
                "sum_over_time" => &["avg_over_time", "count_over_time"],
                "count_over_time" => &["sum_over_time"],
                "clamp_max" => &["clamp_min"],
                "clamp_min" => &["clamp_max"],
                _ => &[],
            };
            let arguments: Vec<String> = call.args.args.iter().map(|argument| text(argument)).collect();
            let other = |name: &&str| {
                let changed = drivemaster_mon::promql::parse(&format!("{name}({})", arguments.join(", ")));
                (format!("`{}` becomes `{name}`", call.func.name), changed.expect("the same arguments"))
            };
            others.iter().map(other).collect()
        }
        _ => Vec::new(),
    }
}

/// Other values close to `number`: one beside it where it is small and whole, else 5 % away from it; a
/// share of one stays between 0 and 1.
fn moved(number: f64) -> [f64; 2] {
    let step = if number.fract() == 0.0 && number.abs() <= 20.0 {
        1.0
    } else if 0.0 < number && number < 1.0 {
        0.05 * number.min(1.0 - number)
    } else {
        0.05 * number
    };
    // Without the dust of binary fractions.
    [number - step, number + step].map(|moved| (moved * 1e9).round() / 1e9)
}

fn windows(window: Duration) -> [Duration; 2] {
    [window / 2, window * 2]
}

fn of_binary(binary: &BinaryExpr) -> Vec<Mutation> {
    let others: &[TokenId] = match binary.op.id() {
        T_GTR => &[T_GTE, T_LSS],
        T_GTE => &[T_GTR, T_LTE],
        T_LSS => &[T_LTE, T_GTR],
        T_LTE => &[T_LSS, T_GTE],
        T_EQLC => &[T_NEQ],
        T_NEQ => &[T_EQLC],
        T_DIV => &[T_MUL],
        T_MUL => &[T_DIV],
        T_ADD => &[T_SUB],
        T_SUB => &[T_ADD],
        T_LAND => &[T_LUNLESS],
        T_LUNLESS => &[T_LAND],
        _ => &[],
    };
    let side = |side: &Expr| text(side).chars().take(60).collect::<String>();
    let mut found: Vec<Mutation> = others
        .iter()
        .map(|other| {
            let mut changed = binary.clone();
            changed.op = TokenType::new(*other);
            let what = format!("`{}` becomes `{}` before `{}`", binary.op, changed.op, side(&binary.rhs));
            (what, Expr::Binary(changed))
        })
        .collect();
    let alone =
        |which: &str, kept: &Expr| (format!("only the {which} of `{}`: `{}`", binary.op, side(kept)), kept.clone());
    match binary.op.id() {
        T_LOR => found.extend([alone("left", &binary.lhs), alone("right", &binary.rhs)]),
        T_LAND | T_LUNLESS => found.push(alone("left", &binary.lhs)),
        _ => {}
    }
    let Some(modifier) = &binary.modifier else { return found };
    if let Some(LabelModifier::Include(labels)) = &modifier.matching {
        for index in 0..labels.labels.len() {
            let mut changed = binary.clone();
            let mut kept = labels.clone();
            let dropped = kept.labels.remove(index);
            if let Some(modifier) = &mut changed.modifier {
                modifier.matching = Some(LabelModifier::Include(kept));
            }
            found.push((format!("`{}` matches without `{dropped}`", operator(binary)), Expr::Binary(changed)));
        }
    }
    if matches!(modifier.card, VectorMatchCardinality::ManyToOne(_) | VectorMatchCardinality::OneToMany(_)) {
        let mut changed = binary.clone();
        if let Some(modifier) = &mut changed.modifier {
            modifier.card = VectorMatchCardinality::OneToOne;
        }
        found.push((format!("`{}` matches one to one", operator(binary)), Expr::Binary(changed)));
    }
    found
}

fn of_aggregate(aggregate: &AggregateExpr) -> Vec<Mutation> {
    let others: &[TokenId] = match aggregate.op.id() {
        T_SUM => &[T_MAX, T_AVG],
        T_MAX => &[T_MIN, T_SUM],
        T_MIN => &[T_MAX, T_SUM],
        T_AVG => &[T_MAX, T_SUM],
        T_COUNT => &[T_SUM],
        T_GROUP => &[T_COUNT],
        _ => &[],
    };
    let inner: String = text(&aggregate.expr).chars().take(60).collect();
    let mut found: Vec<Mutation> = others
        .iter()
        .map(|other| {
            let mut changed = aggregate.clone();
            changed.op = TokenType::new(*other);
            (format!("`{}` becomes `{}` of `{inner}`", aggregate.op, changed.op), Expr::Aggregate(changed))
        })
        .collect();
    if let Some(LabelModifier::Include(labels)) = &aggregate.modifier {
        for index in 0..labels.labels.len() {
            let mut changed = aggregate.clone();
            let mut kept = labels.clone();
            let dropped = kept.labels.remove(index);
            changed.modifier = Some(LabelModifier::Include(kept));
            found.push((format!("`{}` without `{dropped}` of `{inner}`", aggregate.op), Expr::Aggregate(changed)));
        }
    }
    found
}

fn of_selector(selector: &VectorSelector) -> Vec<(String, VectorSelector)> {
    let name = selector.name.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for (index, matcher) in selector.matchers.matchers.iter().enumerate() {
        if matcher.name == "__name__" {
            continue;
        }
        let mut with = |what: String, replaced: Option<Matcher>| {
            let mut changed = selector.clone();
            match replaced {
                Some(other) => changed.matchers.matchers[index] = other,
                None => drop(changed.matchers.matchers.remove(index)),
            }
            found.push((what, changed));
        };
        let label = &matcher.name;
        let of = |operator: TokenId, value: &str| {
            Matcher::new_matcher(operator, label.clone(), value.to_owned()).expect("a value that was one before")
        };
        with(format!("`{name}` without the matcher of `{label}`"), None);
        let (same, opposite) = match matcher.op {
            MatchOp::Equal => (T_EQL, T_NEQ),
            MatchOp::NotEqual => (T_NEQ, T_EQL),
            MatchOp::Re(_) => (T_EQL_REGEX, T_NEQ_REGEX),
            MatchOp::NotRe(_) => (T_NEQ_REGEX, T_EQL_REGEX),
        };
        with(format!("`{name}` with the opposite of `{matcher}`"), Some(of(opposite, &matcher.value)));
        let alternatives: Vec<&str> = matcher.value.split('|').collect();
        let is_choice = matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_)) && alternatives.len() > 1;
        for dropped in alternatives.iter().filter(|_| is_choice && !matcher.value.contains('(')) {
            let kept: Vec<&str> = alternatives.iter().filter(|kept| kept != &dropped).copied().collect();
            let what = format!("`{name}` without `{dropped}` among the values of `{label}`");
            with(what, Some(of(same, &kept.join("|"))));
        }
    }
    if selector.offset.is_some() {
        let mut changed = selector.clone();
        changed.offset = None;
        found.push((format!("`{name}` without its offset"), changed));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use drivemaster_mon::promql::parse;

    fn changed(expression: &str) -> Vec<String> {
        mutations(&parse(expression).unwrap()).iter().map(|(_, changed)| text(changed)).collect()
    }

    #[test]
    fn each_kind_of_mistake_is_made() {
        for (expression, expected) in [
            ("a > 0.8", &["a >= 0.8", "a < 0.8", "a > 0.79", "a > 0.81"][..]),
            ("a == 0", &["a != 0", "a == -1", "a == 1"]),
            ("a < 1000", &["a <= 1000", "a > 1000", "a < 950", "a < 1050"]),
            ("a / b", &["a * b"]),
            ("a or b", &["a", "b"]),
            ("a and on (x) b", &["a unless on (x) b", "a", "a and on () b"]),
            (
                "a / on (x) group_left () b",
                &["a * on (x) group_left () b", "a / on () group_left () b", "a / on (x) b"],
            ),
            ("sum by (x, y) (a)", &["max by (x, y) (a)", "avg by (x, y) (a)", "sum by (y) (a)", "sum by (x) (a)"]),
            ("quantile(0.5, a)", &["quantile(0.475, a)", "quantile(0.525, a)"]),
            ("rate(a[5m])", &["increase(a[5m])", "rate(a[2m30s])", "rate(a[10m])"]),
            ("a{x=\"1\"}", &["a", "a{x!=\"1\"}"]),
            ("a{x=~\"5..\"}", &["a", "a{x!~\"5..\"}"]),
            ("a{x!~\"b|c\"}", &["a", "a{x=~\"b|c\"}", "a{x!~\"c\"}", "a{x!~\"b\"}"]),
            (
                "max_over_time(a[1h:5m])",
                &[
                    "min_over_time(a[1h:5m])",
                    "avg_over_time(a[1h:5m])",
                    "max_over_time(a[30m:5m])",
                    "max_over_time(a[2h:5m])",
                ],
            ),
            ("a offset 1h", &["a"]),
        ] {
            assert_eq!(changed(expression), expected, "{expression}");
        }
    }
}
