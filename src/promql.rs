//! What a PromQL expression asks for, read with a real parser.

mod dialect;

pub use dialect::{is_closed, tokens};
pub use promql_parser::label::{MatchOp, Matcher};
pub use promql_parser::parser::value::ValueType;
pub use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, VectorMatchCardinality, VectorSelector,
};
pub use promql_parser::util::{display_duration, parse_duration};
use std::fmt;

/// The longest expression that is read, in bytes.
const LONGEST: usize = 64 * 1024;
/// How deep brackets may stand in each other, and how many operators may follow each other: the parser
/// and everything after it go as deep as the tree.
const DEEPEST: usize = 100;
const MOST_OPERATORS: usize = 1000;

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
/// What the parser says is wrong; also for an expression that no person wrote, which it could not bear.
pub fn parse(text: &str) -> Result<Expr, String> {
    if text.len() > LONGEST {
        return Err(format!("longer than {} KiB", LONGEST / 1024));
    }
    let (mut depth, mut deepest, mut operators) = (0_usize, 0, 0);
    for letter in text.bytes() {
        match letter {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'<' | b'>' | b'=' => operators += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    operators += words.filter(|word| matches!(*word, "and" | "or" | "unless" | "atan2")).count();
    if deepest > DEEPEST || operators > MOST_OPERATORS {
        return Err(format!("more than {DEEPEST} brackets in each other or {MOST_OPERATORS} operators"));
    }
    let expression = promql_parser::parser::parse(&dialect::translated(text))?;
    let mut has_or = false;
    visit(&expression, &mut |part| {
        let matchers = match part {
            Expr::VectorSelector(selector) => &selector.matchers,
            Expr::MatrixSelector(selector) => &selector.vs.matchers,
            _ => return,
        };
        has_or |= !matchers.or_matchers.is_empty();
    });
    // Its parser is that of another store, which knows more.
    if has_or { Err("Prometheus knows no `or` between the matchers of a selector".to_owned()) } else { Ok(expression) }
}

/// Functions and aggregations that Prometheus refuses, with the whole file, unless it runs with
/// `--enable-feature=promql-experimental-functions`.
pub const EXPERIMENTAL: [&str; 15] = [
    "double_exponential_smoothing",
    "histogram_quantiles",
    "info",
    "limit_ratio",
    "limitk",
    "mad_over_time",
    "max_of",
    "min_of",
    "sort_by_label",
    "sort_by_label_desc",
    "start_timestamp",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];

/// The first of [`EXPERIMENTAL`] that `expression` calls.
pub fn experimental(expression: &Expr) -> Option<String> {
    let mut found = None;
    visit(expression, &mut |part| {
        let name = match part {
            Expr::Call(call) => call.func.name.to_owned(),
            Expr::Aggregate(aggregate) => aggregate.op.to_string(),
            _ => return,
        };
        if found.is_none() && EXPERIMENTAL.contains(&name.as_str()) {
            found = Some(name);
        }
    });
    found
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

/// The name of the metric that `selector` asks for, before its braces or in them.
pub fn metric_of(selector: &VectorSelector) -> Option<&str> {
    let is_name = |matcher: &&Matcher| matcher.name == "__name__" && matcher.op == MatchOp::Equal;
    let named = || selector.matchers.matchers.iter().find(is_name).map(|matcher| matcher.value.as_str());
    selector.name.as_deref().or_else(named)
}

/// Calls `see` for `expression` and everything in it, the outer before the inner, from left to right.
pub fn visit<'e>(expression: &'e Expr, see: &mut impl FnMut(&'e Expr)) {
    visit_while(expression, &mut |part| {
        see(part);
        true
    });
}

/// Like [`visit`]; what is in a part for which `see` is false is left out.
pub fn visit_while<'e>(expression: &'e Expr, see: &mut dyn FnMut(&'e Expr) -> bool) {
    if !see(expression) {
        return;
    }
    match expression {
        Expr::Aggregate(aggregate) => {
            if let Some(parameter) = &aggregate.param {
                visit_while(parameter, see);
            }
            visit_while(&aggregate.expr, see);
        }
        Expr::Unary(unary) => visit_while(&unary.expr, see),
        Expr::Binary(binary) => {
            visit_while(&binary.lhs, see);
            visit_while(&binary.rhs, see);
        }
        Expr::Paren(paren) => visit_while(&paren.expr, see),
        Expr::Subquery(subquery) => visit_while(&subquery.expr, see),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| visit_while(argument, see)),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => {}
    }
}

fn selector_of(selector: &VectorSelector, is_range: bool) -> Selector {
    let matchers = &selector.matchers.matchers;
    Selector {
        metric: metric_of(selector).map(str::to_owned),
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
            ("{\"a.b\",\"c.d\"=\"x\"} > 1_000", &["a.b(c.d)"]),
            ("{job=\"x\"} offset 5m", &["?(job)"]),
            ("vector(1)", &[]),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }

    #[test]
    fn strings_are_read_as_prometheus_reads_them() {
        let value = |text: &str| {
            let found = selectors(&parse(text).unwrap());
            found[0].matchers.iter().map(|matcher| matcher.value.clone()).collect::<Vec<_>>()
        };
        assert_eq!(value(r#"up{job=~`a\d"b`, x="`\"c`", y='`'} # it's `d"#), ["a\\d\"b", "`\"c`", "`"]);
        let matchers = |text: &str| selectors(&parse(text).unwrap()).remove(0).matchers;
        let of_class = matchers("up{a=~'x[[&&~]'}");
        for (word, expected) in [("x[", true), ("x&", true), ("x~", true), ("x]", false), ("x", false)] {
            assert_eq!(of_class[0].is_match(word), expected, "{word}");
        }
    }

    #[test]
    fn what_only_another_store_takes_is_refused() {
        for text in [r#"up{a="b" or c="d"} == 0"#, r#"rate(up{a="b" or c="d"}[5m])"#] {
            assert!(parse(text).unwrap_err().contains("no `or` between the matchers"), "{text}");
        }
    }

    #[test]
    fn experimental_functions_and_aggregations_are_found_wherever_they_stand() {
        let of = |text: &str| experimental(&parse(text).unwrap());
        assert_eq!(of("sum(limitk by (job) (2, up)) > 1").as_deref(), Some("limitk"));
        assert_eq!(of("1 + max(mad_over_time(up[5m]))").as_deref(), Some("mad_over_time"));
        assert_eq!(of("topk(2, max_over_time(up[5m]))"), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse("sum by (job (up)").is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn what_would_exhaust_the_stack_is_refused() {
        let sum = vec!["a"; 990].join(" + ");
        assert_eq!(selectors(&parse(&sum).unwrap()).len(), 990);
        for text in [
            "(".repeat(60_000),
            format!("{}a{}", "(".repeat(500), ")".repeat(500)),
            "-".repeat(60_000) + "a",
            vec!["a"; 1_100].join(" or "),
            "a".repeat(LONGEST + 1),
        ] {
            assert!(parse(&text).is_err());
        }
    }
}
