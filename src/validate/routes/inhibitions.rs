//! Alerts that silence others.

use super::matchers::{self, alternatives, contradiction};
use super::{Alerts, Report, error, items};
use crate::promql::Matcher;
use crate::validate::finding::{Code, Finding};
use crate::validate::place::Anchor;
use serde_json::Value;

pub(super) const IMPOSSIBLE_INHIBITION: Code = error(
    "routes/impossible-inhibition",
    "an inhibition never silences anything",
    "source and target must be able to be there at the same time, with the same values of the labels in `equal`",
);

/// Judges the inhibitions of `configuration`.
pub(super) fn judge(configuration: &Value, alerts: &Alerts, report: &mut Report<'_>) {
    for (index, rule) in items(configuration, "inhibit_rules").iter().enumerate() {
        let at = format!("/inhibit_rules/{index}");
        let source = matchers::read(rule, ["source_matchers", "source_match", "source_match_re"], &at, alerts, report);
        let target = matchers::read(rule, ["target_matchers", "target_match", "target_match_re"], &at, alerts, report);
        let equal: Vec<&str> = items(rule, "equal").iter().filter_map(Value::as_str).collect();
        if let Some((needle, message)) = problem(&source, &target, &equal) {
            let anchor = Anchor {
                names: vec!["- source_matchers".to_owned()],
                occurrence: index,
                next: &["- source_matchers"],
                key: None,
            };
            let code = &IMPOSSIBLE_INHIBITION;
            report.findings.push(Finding {
                code,
                severity: code.severity,
                message: format!("inhibition {}: {message}", index + 1),
                fix: code.fix.to_owned(),
                place: report.rendered.place_below(&at, &anchor, &[&needle]),
            });
        }
    }
}

/// Why nothing is ever silenced, with the offending text.
fn problem(source: &[Matcher], target: &[Matcher], equal: &[&str]) -> Option<(String, String)> {
    let all = |matchers: &[Matcher]| {
        contradiction(&matchers.iter().collect::<Vec<_>>()).map(|(a, b)| format!("`{a}` and `{b}`"))
    };
    let value = |matcher: &Matcher| format!("{} = \"{}\"", matcher.name, matcher.value);
    if let Some(pair) = all(source) {
        return Some((source.first().map(value)?, format!("its source asks for {pair}")));
    }
    if let Some(pair) = all(target) {
        return Some((target.first().map(value)?, format!("its target asks for {pair}")));
    }
    if source.is_empty() || target.is_empty() {
        let message = "without conditions on both sides, alerts silence themselves or nothing".to_owned();
        return Some(("source_matchers".to_owned(), message));
    }
    // An alert that meets both sides is never silenced by such an alert: with the same conditions on both
    // sides nothing is.
    let same = |one: &[Matcher], other: &[Matcher]| one.iter().all(|matcher| other.contains(matcher));
    if same(source, target) && same(target, source) {
        return Some((source.first().map(value)?, "source and target have the same conditions".to_owned()));
    }
    source.iter().filter(|matcher| equal.contains(&matcher.name.as_str())).find_map(|matcher| {
        let other = target.iter().find(|other| other.name == matcher.name)?;
        let (ours, theirs) = (alternatives(matcher)?, alternatives(other)?);
        let meet = ours.iter().any(|value| theirs.contains(value));
        let message = format!("`{matcher}` and `{other}`, but `{}` must be equal", matcher.name);
        (!meet).then(|| (value(matcher), message))
    })
}
