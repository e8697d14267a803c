//! Text of an expression. The parser's own printing loses the space of `and on (x)`.

use promql_parser::parser::{BinModifier, BinaryExpr, Expr, LabelModifier, VectorMatchCardinality};
use promql_parser::util::display_duration;

/// `expression` as text that reads back as the same expression.
pub(super) fn text(expression: &Expr) -> String {
    match expression {
        Expr::Aggregate(aggregate) => {
            let grouping = match &aggregate.modifier {
                Some(LabelModifier::Include(labels)) if !labels.is_empty() => format!(" by ({labels}) "),
                Some(LabelModifier::Exclude(labels)) => format!(" without ({labels}) "),
                _ => String::new(),
            };
            let parameter =
                aggregate.param.as_ref().map(|parameter| format!("{}, ", text(parameter))).unwrap_or_default();
            format!("{}{grouping}({parameter}{})", aggregate.op, text(&aggregate.expr))
        }
        Expr::Unary(unary) => format!("-{}", text(&unary.expr)),
        Expr::Binary(binary) => format!("{} {} {}", text(&binary.lhs), operator(binary), text(&binary.rhs)),
        Expr::Paren(paren) => format!("({})", text(&paren.expr)),
        Expr::Subquery(subquery) => {
            let step = subquery.step.as_ref().map(display_duration).unwrap_or_default();
            let at = subquery.at.as_ref().map(|at| format!(" {at}")).unwrap_or_default();
            let offset = subquery.offset.as_ref().map(|offset| format!(" offset {offset}")).unwrap_or_default();
            format!("{}[{}:{step}]{at}{offset}", text(&subquery.expr), display_duration(&subquery.range))
        }
        Expr::Call(call) => {
            let arguments: Vec<String> = call.args.args.iter().map(|argument| text(argument)).collect();
            format!("{}({})", call.func.name, arguments.join(", "))
        }
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => expression.to_string(),
    }
}

/// The operator of `binary` with how it matches the two sides.
pub(super) fn operator(binary: &BinaryExpr) -> String {
    let mut words = vec![binary.op.to_string()];
    if let Some(BinModifier { card, matching, return_bool, .. }) = &binary.modifier {
        words.extend(return_bool.then(|| "bool".to_owned()));
        match matching {
            Some(LabelModifier::Include(labels)) => words.push(format!("on ({labels})")),
            Some(LabelModifier::Exclude(labels)) if !labels.is_empty() => words.push(format!("ignoring ({labels})")),
            _ => {}
        }
        match card {
            VectorMatchCardinality::ManyToOne(labels) => words.push(format!("group_left ({labels})")),
            VectorMatchCardinality::OneToMany(labels) => words.push(format!("group_right ({labels})")),
            VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => {}
        }
    }
    words.join(" ")
}
