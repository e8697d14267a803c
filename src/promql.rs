//! What a PromQL expression asks for, read with a real parser.

pub use promql_parser::label::{MatchOp, Matcher};
pub use promql_parser::parser::Expr;
use promql_parser::parser::VectorSelector;
use std::fmt;

/// One selector of series in an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// Name of the metric; `None` where the expression leaves it open.
    pub metric: Option<String>,
    /// What it demands of labels, `__name__` left out.
    pub matchers: Vec<Matcher>,
    /// Whether a range of samples is asked for, as in `m[5m]`.
    pub is_range: bool,
}

impl fmt::Display for Selector {
    /// As PromQL, without any range.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.metric.as_deref().unwrap_or_default())?;
        let matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        if matchers.is_empty() { Ok(()) } else { write!(formatter, "{{{}}}", matchers.join(",")) }
    }
}

/// Reads `text`.
///
/// # Errors
/// What the parser says is wrong.
pub fn parse(text: &str) -> Result<Expr, String> {
    promql_parser::parser::parse(text)
}

/// Every selector of `expression`, from left to right.
pub fn selectors(expression: &Expr) -> Vec<Selector> {
    let mut found = Vec::new();
    visit(expression, &mut |part| match part {
        Expr::VectorSelector(selector) => found.push(selector_of(selector, false)),
        Expr::MatrixSelector(selector) => found.push(selector_of(&selector.vs, true)),
        _ => {}
    });
    found
}

/// Calls `see` for `expression` and everything in it, the outer before the inner, from left to right.
pub fn visit<'e>(expression: &'e Expr, see: &mut impl FnMut(&'e Expr)) {
    see(expression);
    match expression {
        Expr::Aggregate(aggregate) => {
            if let Some(parameter) = &aggregate.param {
                visit(parameter, see);
            }
            visit(&aggregate.expr, see);
        }
        Expr::Unary(unary) => visit(&unary.expr, see),
        Expr::Binary(binary) => {
            visit(&binary.lhs, see);
            visit(&binary.rhs, see);
        }
        Expr::Paren(paren) => visit(&paren.expr, see),
        Expr::Subquery(subquery) => visit(&subquery.expr, see),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| visit(argument, see)),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => {}
    }
}

fn selector_of(selector: &VectorSelector, is_range: bool) -> Selector {
    let matchers = &selector.matchers.matchers;
    let named = matchers.iter().find(|matcher| matcher.name == "__name__" && matcher.op == MatchOp::Equal);
    Selector {
        metric: selector.name.clone().or_else(|| named.map(|matcher| matcher.value.clone())),
        matchers: matchers.iter().filter(|matcher| matcher.name != "__name__").cloned().collect(),
        is_range,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Vec<String> {
        let of = |selector: Selector| {
            let labels: Vec<String> = selector.matchers.iter().map(|matcher| matcher.name.clone()).collect();
            let name = selector.metric.unwrap_or_else(|| "?".to_owned());
            format!("{name}({}){}", labels.join(","), if selector.is_range { "[]" } else { "" })
        };
        selectors(&parse(text).unwrap()).into_iter().map(of).collect()
    }

    #[test]
    fn selectors_are_found_wherever_they_stand() {
        for (text, expected) in [
            ("up", &["up()"][..]),
            ("sum by (job) (rate(a_total{job=\"x\"}[5m])) / -b", &["a_total(job)[]", "b()"]),
            ("topk(scalar(n), c)", &["n()", "c()"]),
            ("max_over_time((a + on (x) group_left () b)[1h:5m])", &["a()", "b()"]),
            ("{__name__=\"slo:sli_error:ratio_rate5m\", slo=\"x\"}", &["slo:sli_error:ratio_rate5m(slo)"]),
            ("{job=\"x\"} offset 5m", &["?(job)"]),
            ("vector(1)", &[]),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse("sum by (job (up)").is_err());
        assert!(parse("").is_err());
    }
}
