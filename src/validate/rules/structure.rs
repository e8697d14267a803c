//! What Prometheus refuses or takes for something else before it reads any expression.

use super::{RuleFile, Scope, finding};
use crate::config::duration_seconds;
use crate::config::schema::{nearest, unknown};
use crate::validate::finding::{Code, Finding, Severity};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const UNKNOWN_KEY: Code = Code::new(
    "rules/unknown-key",
    Severity::Error,
    "a key that Prometheus does not know",
    "Prometheus refuses the whole file for it; correct or remove the key",
);

pub(super) const DUPLICATE_GROUP: Code = Code::new(
    "rules/duplicate-group",
    Severity::Error,
    "two groups of one file have the same name",
    "Prometheus refuses the whole file for it; rename one of them",
);

pub(super) const DUPLICATE_RULE: Code = Code::new(
    "rules/duplicate-rule",
    Severity::Error,
    "two rules make the same series",
    "keep one, or tell them apart by a label: with the same labels one overwrites the other",
)
.foreign(Severity::Warning);

pub(super) const NEITHER_OR_BOTH: Code = Code::new(
    "rules/kind",
    Severity::Error,
    "a rule is neither an alert nor a record, or both",
    "give it exactly one of `alert` and `record`",
);

pub(super) const NO_EXPRESSION: Code =
    Code::new("rules/no-expression", Severity::Error, "a rule has no expression", "add `expr`");

pub(super) const BAD_DURATION: Code = Code::new(
    "rules/bad-duration",
    Severity::Error,
    "a duration that Prometheus cannot read",
    "write it as `30s`, `5m` or `1h30m`",
);

pub(super) const BAD_NAME: Code = Code::new(
    "rules/bad-name",
    Severity::Error,
    "a name that a metric or label cannot have",
    "metrics: letters, digits, `_` and `:`; labels: letters, digits and `_`, not beginning with `__`",
);

pub(super) const OF_ALERTS_ONLY: Code = Code::new(
    "rules/of-alerts-only",
    Severity::Error,
    "a record has what only an alert can have",
    "Prometheus refuses the whole file for it; take `for`, `keep_firing_for` and `annotations` away",
);

const OF_GROUP: [&str; 8] =
    ["name", "interval", "limit", "query_offset", "labels", "rules", "partial_response_strategy", "source_tenants"];
const OF_RULE: [&str; 7] = ["alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"];

/// The groups and rules of all `files`.
pub(super) fn judge(files: &[RuleFile<'_>], scope: &Scope, findings: &mut Vec<Finding>) {
    let mut series: BTreeMap<(&str, Option<&str>, Labels<'_>), &str> = BTreeMap::new();
    for file in files {
        of_groups(file, scope, findings);
        for rule in &file.rules {
            of_rule(file, rule, scope, findings);
            let group = &file.groups[rule.group];
            let key = (
                rule.record.as_deref().or(rule.alert.as_deref()).unwrap_or_default(),
                // The labels of an alert are also those of its expression.
                rule.alert.as_ref().map(|_| rule.expression.as_str()),
                labels(group.keys.get("labels"), rule.keys.get("labels")),
            );
            if let Some(other) = series.insert(key, &group.name) {
                let message = format!("the group `{other}` has it too, with the same labels");
                findings.push(finding(file, rule, scope, &DUPLICATE_RULE, "", &[], message));
            }
        }
    }
}

type Labels<'a> = BTreeMap<&'a str, String>;

fn labels<'a>(of_group: Option<&'a Value>, of_rule: Option<&'a Value>) -> Labels<'a> {
    let maps = [of_group, of_rule].into_iter().flatten().filter_map(Value::as_object);
    maps.flatten().map(|(name, value)| (name.as_str(), value.to_string())).collect()
}

fn of_groups(file: &RuleFile<'_>, scope: &Scope, findings: &mut Vec<Finding>) {
    let mut report = |code: &'static Code, pointer: &str, needle: &str, message: String, fix: Option<String>| {
        findings.push(Finding {
            code,
            severity: scope.severity(code),
            message,
            fix: fix.unwrap_or_else(|| code.fix.to_owned()),
            place: file.place_at(pointer, &[needle]),
        });
    };
    let mut names = BTreeSet::new();
    for group in &file.groups {
        let name = &group.name;
        if name.is_empty() {
            report(&BAD_NAME, &group.pointer, "", "a group has no name".to_owned(), Some("add `name`".to_owned()));
        } else if !names.insert(name) {
            let message = format!("another group of this file is called `{name}`");
            report(&DUPLICATE_GROUP, &format!("{}/name", group.pointer), name, message, None);
        }
        for key in group.keys.keys().filter(|key| !OF_GROUP.contains(&key.as_str())) {
            let message = format!("group `{name}`: {}", told(key, &OF_GROUP));
            report(&UNKNOWN_KEY, &format!("{}/{key}", group.pointer), key, message, None);
        }
        for key in ["interval", "query_offset"] {
            if let Some(text) = bad_duration(&group.keys, key) {
                let message = format!("group `{name}`: `{key}: {text}` is no duration");
                report(&BAD_DURATION, &format!("{}/{key}", group.pointer), &text, message, None);
            }
        }
    }
}

fn of_rule(file: &RuleFile<'_>, rule: &super::Rule, scope: &Scope, findings: &mut Vec<Finding>) {
    let mut report = |code: &'static Code, key: &str, needles: &[&str], message: String| {
        findings.push(finding(file, rule, scope, code, key, needles, message));
    };
    for key in rule.keys.keys().filter(|key| !OF_RULE.contains(&key.as_str())) {
        report(&UNKNOWN_KEY, key, &[key], told(key, &OF_RULE));
    }
    match (&rule.alert, &rule.record) {
        (Some(_), Some(_)) => report(&NEITHER_OR_BOTH, "record", &[], "it is an alert and a record".to_owned()),
        (None, None) => report(&NEITHER_OR_BOTH, "", &["expr"], "it has neither `alert` nor `record`".to_owned()),
        _ => {}
    }
    if rule.expression.trim().is_empty() {
        report(&NO_EXPRESSION, "expr", &[], "there is no expression".to_owned());
    }
    for key in ["for", "keep_firing_for"] {
        if let Some(text) = bad_duration(&rule.keys, key) {
            report(&BAD_DURATION, key, &[&text], format!("`{key}: {text}` is no duration"));
        }
    }
    if let Some(record) = &rule.record {
        if !is_metric_name(record) {
            report(&BAD_NAME, "record", &[record], format!("`{record}` is no name of a metric"));
        }
        for key in ["for", "keep_firing_for", "annotations"] {
            if rule.alert.is_none() && rule.keys.contains_key(key) {
                report(&OF_ALERTS_ONLY, key, &[key], format!("only an alert has `{key}`"));
            }
        }
    }
    for label in rule.labels.keys() {
        if !is_label_name(label) {
            report(&BAD_NAME, "labels", &[label], format!("`{label}` is no name of a label"));
        }
    }
}

fn told(key: &str, known: &[&str]) -> String {
    let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
    match nearest(key, &known) {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => unknown(key, &known).replacen("unknown key", &format!("unknown key `{key}`"), 1),
    }
}

/// The value of `key` where it is no duration.
fn bad_duration(keys: &Map<String, Value>, key: &str) -> Option<String> {
    let text = match keys.get(key)? {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    duration_seconds(&text).is_none().then_some(text)
}

fn is_metric_name(name: &str) -> bool {
    let mut letters = name.chars();
    let is_first = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == ':';
    letters.next().is_some_and(is_first) && letters.all(|letter| is_first(letter) || letter.is_ascii_digit())
}

fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':') && !name.starts_with("__")
}
