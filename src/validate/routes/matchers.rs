//! Matchers of labels as Alertmanager writes them, and what follows from them.

use super::{Alerts, Report, error};
use crate::config::schema::nearest;
use crate::promql::{MatchOp, Matcher, parse, selectors};
use crate::validate::finding::Code;
use crate::validate::rules::SEVERITIES;
use serde_json::Value;

pub(super) const BAD_MATCHER: Code = error(
    "routes/bad-matcher",
    "a matcher that Alertmanager cannot read",
    "write it as `label = \"value\"`, with `=`, `!=`, `=~` or `!~`",
);

pub(super) const UNKNOWN_ALERT: Code =
    error("routes/unknown-alert", "a matcher names an alert that there is not", "name an alert that a rule defines");

pub(super) const UNKNOWN_SEVERITY: Code = error(
    "routes/unknown-severity",
    "a matcher asks for a severity that no alert has",
    "use `critical`, `warning`, `info` or `none`",
);

/// The matchers below the keys `key` of `owner` (and of the older forms below `older`), which stands at
/// `pointer`. What cannot be read, or names nothing that there is, is told.
pub(super) fn read(
    owner: &Value,
    keys: [&str; 3],
    pointer: &str,
    alerts: &Alerts,
    report: &mut Report<'_>,
) -> Vec<Matcher> {
    let [key, equal, regex] = keys;
    let mut found = Vec::new();
    for (index, text) in super::items(owner, key).iter().enumerate() {
        let at = format!("{pointer}/{key}/{index}");
        let text = text.as_str().unwrap_or_default();
        match matcher(text) {
            Some(matcher) => {
                judge(&matcher, text, &at, alerts, report);
                found.push(matcher);
            }
            None => report.add(&BAD_MATCHER, &at, &[text], format!("`{text}` is no matcher"), None),
        }
    }
    for (older, operator) in [(equal, "="), (regex, "=~")] {
        for (label, value) in owner.get(older).and_then(Value::as_object).into_iter().flatten() {
            let at = format!("{pointer}/{older}/{label}");
            let text = format!("{label}{operator}{value}");
            match matcher(&text) {
                Some(matcher) => {
                    judge(&matcher, label, &at, alerts, report);
                    found.push(matcher);
                }
                None => report.add(&BAD_MATCHER, &at, &[label], format!("`{text}` is no matcher"), None),
            }
        }
    }
    found
}

/// Reads `label = "value"`, the value with or without quotes.
fn matcher(text: &str) -> Option<Matcher> {
    let start = text.find(['=', '!'])?;
    let (label, rest) = text.split_at(start);
    let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| rest.starts_with(operator))?;
    let value = rest[operator.len()..].trim();
    let value = match value.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"')?,
        None => value,
    };
    let label = label.trim();
    let is_name = |name: &str| {
        let mut letters = name.chars();
        letters.next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    if !is_name(label) {
        return None;
    }
    // The same language; a selector needs something that is not empty beside.
    let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
    let selector = format!("{{{label}{operator}\"{quoted}\", __name__=\"x\"}}");
    let expression = parse(&selector).ok()?;
    let selector = selectors(&expression).into_iter().next()?;
    selector.matchers.into_iter().find(|matcher| matcher.name == label)
}

fn judge(matcher: &Matcher, text: &str, at: &str, alerts: &Alerts, report: &mut Report<'_>) {
    let asked = || alternatives(matcher).unwrap_or_default();
    match matcher.name.as_str() {
        "severity" => {
            for value in asked().iter().filter(|value| !value.is_empty() && !SEVERITIES.contains(&value.as_str())) {
                let near = nearest(value, &SEVERITIES).map(|near| format!("did you mean `{near}`?"));
                let message = format!("no alert has the severity `{value}`");
                report.add(&UNKNOWN_SEVERITY, at, &[text, value], message, near);
            }
        }
        "alertname" => {
            let known: Vec<&String> = alerts.names.iter().collect();
            // Those of upstream charts are not known here, so only what looks like a slip is told.
            for value in asked().iter().filter(|value| !alerts.names.contains(*value)) {
                let Some(near) = nearest(value, &known).filter(|near| strsim::levenshtein(near, value) <= 2) else {
                    continue;
                };
                let message = format!("no rule defines the alert `{value}`");
                report.add(&UNKNOWN_ALERT, at, &[text, value], message, Some(format!("did you mean `{near}`?")));
            }
        }
        _ => {}
    }
}

/// The values that `matcher` asks for, where it lists them; `None` where it says more or less than that.
pub(super) fn alternatives(matcher: &Matcher) -> Option<Vec<String>> {
    match matcher.op {
        MatchOp::Equal => Some(vec![matcher.value.clone()]),
        MatchOp::Re(_) => {
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_- |".contains(letter);
            matcher.value.chars().all(is_plain).then(|| matcher.value.split('|').map(str::to_owned).collect())
        }
        _ => None,
    }
}

/// Whether no label set meets both `one` and `other`.
fn exclude(one: &Matcher, other: &Matcher) -> bool {
    let none_of = |listed: &Matcher, against: &Matcher| {
        alternatives(listed).is_some_and(|values| !values.iter().any(|value| against.is_match(value)))
    };
    one.name == other.name && (none_of(one, other) || none_of(other, one))
}

/// The first two of `matchers` that exclude each other.
pub(super) fn contradiction<'m>(matchers: &[&'m Matcher]) -> Option<(&'m Matcher, &'m Matcher)> {
    matchers.iter().enumerate().find_map(|(index, one)| {
        let other = matchers[index + 1..].iter().find(|other| exclude(one, other))?;
        Some((*one, *other))
    })
}

/// Whether every label set that meets all of `narrow` meets all of `wide`.
pub(super) fn covers(wide: &[Matcher], narrow: &[&Matcher]) -> bool {
    wide.iter().all(|wide| {
        narrow.iter().any(|narrow| {
            let listed = || alternatives(narrow).is_some_and(|values| values.iter().all(|value| wide.is_match(value)));
            narrow.name == wide.name && (*narrow == wide || listed())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_as_alertmanager_reads_them() {
        for (text, expected) in [
            ("severity = \"critical\"", Some("severity=critical")),
            ("severity=critical", Some("severity=critical")),
            ("component = \"\"", Some("component=")),
            ("alertname =~ \"A|B\"", Some("alertname=~A|B")),
            ("a!~\"x.*\"", Some("a!~x.*")),
            ("severity", None),
            ("a b = c", None),
            ("a = \"x", None),
            ("a =~ \"(\"", None),
        ] {
            let told = matcher(text).map(|matcher| format!("{}{}{}", matcher.name, matcher.op, matcher.value));
            assert_eq!(told.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_covers_and_what_excludes() {
        let all = |texts: &[&str]| texts.iter().map(|text| matcher(text).unwrap()).collect::<Vec<Matcher>>();
        let covered = |wide: &[&str], narrow: &[&str]| covers(&all(wide), &all(narrow).iter().collect::<Vec<_>>());
        assert!(covered(&[], &["a=b"]));
        assert!(covered(&["a=b"], &["a=b", "c=d"]));
        assert!(covered(&["a=~\"b|c\""], &["a=b"]));
        assert!(covered(&["a!=\"\""], &["a=~\"b|c\""]));
        assert!(!covered(&["a=b"], &["a=~\"b|c\""]));
        assert!(!covered(&["a=b"], &["c=b"]));
        let excluded = |texts: &[&str]| contradiction(&all(texts).iter().collect::<Vec<_>>()).is_some();
        assert!(excluded(&["a=b", "a=c"]));
        assert!(excluded(&["a=~\"b|c\"", "a=d"]));
        assert!(excluded(&["a=\"\"", "a!=\"\""]));
        assert!(!excluded(&["a=~\"b|c\"", "a=c"]));
        assert!(!excluded(&["a=~\"b.*\"", "a=~\"c.*\""]));
    }
}
