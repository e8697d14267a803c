//! Templates in labels and annotations of an alert: Prometheus' own language, not ours.

use super::{Rule, RuleFile, Scope, finding};
use crate::config::schema::nearest;
use crate::promql::Expr;
use crate::validate::finding::{Code, Finding, Severity};
use crate::validate::promql::labels::labels_of;
use crate::validate::vocabulary::Vocabulary;

pub(super) const BAD_TEMPLATE: Code = Code::new(
    "alerts/bad-template",
    Severity::Error,
    "a template that Prometheus cannot fill in",
    "the variables are `$labels`, `$value`, `$externalLabels` and `$externalURL`; every `{{` has its `}}`",
);

pub(super) const UNKEPT_LABEL: Code = Code::new(
    "alerts/unkept-label",
    Severity::Error,
    "a text asks for a label that the expression does not keep",
    "keep the label in `by (...)`, or ask for another one: in its place people would read nothing",
)
.foreign(Severity::Warning);

/// The variables that Prometheus sets.
const VARIABLES: [&str; 4] = ["labels", "value", "externalLabels", "externalURL"];

/// Judges the labels and annotations of `rule` where it is an alert.
pub(super) fn judge(
    file: &RuleFile<'_>,
    rule: &Rule,
    expression: Option<&Expr>,
    vocabulary: &Vocabulary,
    scope: &Scope,
    findings: &mut Vec<Finding>,
) {
    if rule.alert.is_none() {
        return;
    }
    let kept = expression.map(|expression| labels_of(expression, vocabulary));
    let texts = rule.labels.iter().map(|entry| ("labels", entry));
    for (key, (name, text)) in texts.chain(rule.annotations.iter().map(|entry| ("annotations", entry))) {
        let mut report = |code: &'static Code, needles: &[&str], message: String, fix: Option<String>| {
            let found = finding(file, rule, scope, code, key, needles, format!("`{name}`: {message}"));
            findings.push(Finding { fix: fix.unwrap_or(found.fix), ..found });
        };
        let actions = match actions(text) {
            Ok(actions) => actions,
            Err(message) => {
                report(&BAD_TEMPLATE, &[name], message.to_owned(), None);
                continue;
            }
        };
        for action in actions {
            for (variable, rest) in variables(action) {
                let declared = text.contains(&format!("${variable} :=")) || text.contains(&format!("${variable},"));
                if !VARIABLES.contains(&variable) && !declared {
                    let near = nearest(variable, &VARIABLES).map(|near| format!("did you mean `${near}`?"));
                    let needle = format!("${variable}");
                    report(&BAD_TEMPLATE, &[&needle], format!("there is no variable `${variable}`"), near);
                }
                let Some(label) = field(rest).filter(|_| variable == "labels") else { continue };
                // The name of the metric stays where nothing is calculated.
                if label == "__name__" || kept.as_ref().is_none_or(|kept| kept.may_have(label)) {
                    continue;
                }
                let known: Vec<String> =
                    kept.iter().filter_map(|kept| kept.possible.as_ref()).flatten().cloned().collect();
                let fix = match nearest(label, &known) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None if known.is_empty() => None,
                    None => Some(format!("the expression keeps {}", list(&known))),
                };
                let needle = format!("$labels.{label}");
                report(&UNKEPT_LABEL, &[&needle], format!("the expression does not keep the label `{label}`"), fix);
            }
        }
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What stands between `{{` and `}}`, comments left out.
fn actions(text: &str) -> Result<Vec<&str>, &'static str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let inner = &rest[start + 2..];
        let end = inner.find("}}").ok_or("a `{{` has no `}}`")?;
        if !inner[..end].trim_start_matches('-').trim_start().starts_with("/*") {
            found.push(&inner[..end]);
        }
        rest = &inner[end + 2..];
    }
    if rest.contains("}}") { Err("a `}}` has no `{{`") } else { Ok(found) }
}

/// Every `$name` in `action`, with what follows it; texts in quotes are left out.
fn variables(action: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut quote = None;
    for (index, letter) in action.char_indices() {
        match quote {
            Some(open) if open == letter => quote = None,
            Some(_) => {}
            None if letter == '"' || letter == '`' => quote = Some(letter),
            None if letter == '$' => {
                let rest = &action[index + 1..];
                let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
                // `$` alone is the whole data.
                if end > 0 {
                    found.push((&rest[..end], &rest[end..]));
                }
            }
            None => {}
        }
    }
    found
}

/// `x` of `.x y`.
fn field(rest: &str) -> Option<&str> {
    let name = rest.strip_prefix('.')?;
    let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(name.len());
    (end > 0).then(|| &name[..end])
}
