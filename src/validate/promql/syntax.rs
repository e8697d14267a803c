//! An expression that cannot be read.

use super::Problem;
use crate::promql::{Expr, experimental, is_closed, tokens};
use crate::validate::finding::{Code, Severity};
use crate::validate::vocabulary::Vocabulary;

pub(super) const SYNTAX: Code = Code::new(
    "promql/syntax",
    Severity::Error,
    "the expression is no PromQL",
    "Prometheus would refuse the whole file; correct the expression",
);

pub(super) const EXPERIMENTAL: Code = Code::new(
    "promql/experimental",
    Severity::Error,
    "the function is experimental",
    "Prometheus refuses the whole file unless it runs with `--enable-feature=promql-experimental-functions`; ask without it",
);

/// Functions and aggregations that have to be enabled.
pub(super) fn judge(expression: &Expr, _: &Vocabulary) -> Vec<Problem> {
    let named = experimental(expression).into_iter();
    named.map(|name| Problem::new(&EXPERIMENTAL, format!("`{name}` is experimental"), name)).collect()
}

/// What `said` of the expression `text` comes to. The parser tells no place, so brackets are counted.
pub(super) fn problem(text: &str, said: &str) -> Problem {
    let said = said.trim().trim_end_matches('.');
    let message = if said.is_empty() { "the expression is empty".to_owned() } else { format!("no PromQL: {said}") };
    match unbalanced(text) {
        Some((index, letter)) => {
            let mut problem = Problem::new(&SYNTAX, format!("no PromQL: `{letter}` has no partner"), &text[index..]);
            // Of several lines the first that has it.
            problem.needles.extend(text[index..].lines().next().map(str::to_owned));
            problem
        }
        None => Problem::new(&SYNTAX, message, text.lines().next().unwrap_or_default().trim()),
    }
}

/// The first bracket or quote without a partner.
fn unbalanced(text: &str) -> Option<(usize, char)> {
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut index = 0;
    for token in tokens(text) {
        let letter = token.chars().next().unwrap_or_default();
        match letter {
            '"' | '\'' | '`' if !is_closed(token, letter) => return Some((index, letter)),
            '(' | '[' | '{' => open.push((index, letter)),
            ')' | ']' | '}' => {
                let partner = match letter {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop().is_none_or(|(_, opened)| opened != partner) {
                    return Some((index, letter));
                }
            }
            _ => {}
        }
        index += token.len();
    }
    open.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_open_is_found_past_comments() {
        let text = "sum(up) # it's (fine\n/ rate(up[5m]";
        assert_eq!(unbalanced(text), text.rfind('(').map(|at| (at, '(')));
        assert_eq!(unbalanced("up{a=\"#)\"} # )"), None);
        assert_eq!(unbalanced("up{a='b', c=\"'\\\"}"), Some((12, '"')));
    }
}
