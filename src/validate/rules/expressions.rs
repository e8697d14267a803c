//! The expression of a rule.

use super::{Rule, RuleFile, Scope};
use crate::promql::Expr;
use crate::validate::finding::Finding;
use crate::validate::promql;
use crate::validate::vocabulary::Vocabulary;

/// Judges the expression of `rule`, and returns it where it can be read.
pub(super) fn judge(
    file: &RuleFile<'_>,
    rule: &Rule,
    vocabulary: &Vocabulary,
    scope: &Scope,
    findings: &mut Vec<Finding>,
) -> Option<Expr> {
    if rule.expression.trim().is_empty() {
        return None;
    }
    let (expression, problems) = promql::judge(&rule.expression, vocabulary);
    for problem in problems {
        let needles: Vec<&str> = problem.needles.iter().map(String::as_str).collect();
        let found = super::finding(file, rule, scope, problem.code, "expr", &needles, problem.message);
        findings.push(Finding { fix: problem.fix.unwrap_or(found.fix), ..found });
    }
    expression
}
