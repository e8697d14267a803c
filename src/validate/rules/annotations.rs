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
        if let Err(message) = blocks(&actions) {
            report(&BAD_TEMPLATE, &[name], message.to_owned(), None);
        }
        for function in actions.iter().flat_map(|action| words(action)).filter(|word| !FUNCTIONS.contains(word)) {
            let near = nearest(function, &FUNCTIONS).map(|near| format!("did you mean `{near}`?"));
            report(&BAD_TEMPLATE, &[function], format!("there is no function `{function}`"), near);
        }
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

/// What may stand in an action without a dot or dollar before it: words of Go's templates, their functions and those
/// of Prometheus (https://prometheus.io/docs/prometheus/latest/configuration/template_reference/).
const FUNCTIONS: [&str; 62] = [
    "and",
    "args",
    "block",
    "break",
    "call",
    "continue",
    "define",
    "else",
    "end",
    "eq",
    "externalURL",
    "false",
    "first",
    "ge",
    "graphLink",
    "gt",
    "html",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "if",
    "index",
    "js",
    "label",
    "le",
    "len",
    "lt",
    "match",
    "ne",
    "nil",
    "not",
    "now",
    "or",
    "parseDuration",
    "pathPrefix",
    "print",
    "printf",
    "println",
    "query",
    "range",
    "reReplaceAll",
    "safeHtml",
    "slice",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "template",
    "title",
    "tmpl",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "true",
    "urlQueryEscape",
    "urlquery",
    "value",
    "with",
];

/// Whether each `if`, `range`, `with`, `define` and `block` has its `end`.
fn blocks(actions: &[&str]) -> Result<(), &'static str> {
    let mut open = 0_u32;
    for action in actions {
        match action.trim_start_matches('-').split_whitespace().next() {
            Some("if" | "range" | "with" | "define" | "block") => open += 1,
            Some("end") => open = open.checked_sub(1).ok_or("an `end` ends nothing")?,
            _ => {}
        }
    }
    if open > 0 { Err("an `end` is missing") } else { Ok(()) }
}

/// The words of `action` that are no field, variable, number or text.
fn words(action: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut quote = None;
    let mut before = ' ';
    let mut start = None;
    for (index, letter) in action.char_indices().chain([(action.len(), ' ')]) {
        let is_word = letter.is_alphanumeric() || letter == '_';
        if quote.is_none() && is_word && start.is_none() {
            start = Some((index, before));
        } else if !is_word && let Some((from, before)) = start.take() {
            let word = &action[from..index];
            let is_name = word.starts_with(|first: char| first.is_alphabetic() || first == '_');
            if is_name && !matches!(before, '.' | '$') {
                found.push(word);
            }
        }
        match quote {
            Some(open) if open == letter && before != '\\' => quote = None,
            None if matches!(letter, '"' | '`' | '\'') => quote = Some(letter),
            _ => {}
        }
        before = letter;
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_neither_fields_nor_variables_nor_texts() {
        let of = |action| words(action);
        assert_eq!(of(r#" $value | humanizePercentage "#), ["humanizePercentage"]);
        assert_eq!(of(r#"- with query "sum(up)" | first | value -"#), ["with", "query", "first", "value"]);
        assert_eq!(of(r#" .Labels.instance | nofunc 1e3 "a \"b c" "#), ["nofunc"]);
        assert_eq!(of(r#" printf `%s {{x}}` $labels.job"#), ["printf"]);
    }

    #[test]
    fn each_block_has_its_end() {
        assert_eq!(blocks(&[" if $value ", "- end -", "with .x", " else ", "end"]), Ok(()));
        assert_eq!(blocks(&[" end "]), Err("an `end` ends nothing"));
        assert_eq!(blocks(&[" if $value "]), Err("an `end` is missing"));
    }
}
