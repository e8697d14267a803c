//! Judges of Alertmanager's configuration: where alerts go, and what silences what.

mod inhibitions;
mod matchers;
mod tree;

use super::finding::{Code, Finding, Severity, Verdict};
use super::place::Judged;
use super::rendered::Rendered;
use serde_json::Value;
use std::collections::BTreeSet;

/// Every kind of finding about routes.
pub(super) const CODES: &[&Code] = &[
    &tree::NO_DEFAULT,
    &tree::UNKNOWN_RECEIVER,
    &tree::UNUSED_RECEIVER,
    &tree::DUPLICATE_RECEIVER,
    &tree::UNREACHABLE,
    &tree::BAD_DURATION,
    &matchers::BAD_MATCHER,
    &matchers::UNKNOWN_ALERT,
    &matchers::UNKNOWN_SEVERITY,
    &inhibitions::IMPOSSIBLE_INHIBITION,
];

/// What is known of the alerts that are routed.
pub(super) struct Alerts {
    /// Names of those that our rules define; others may come too.
    pub(super) names: BTreeSet<String>,
}

/// Collects findings with their places.
struct Report<'r> {
    rendered: &'r Rendered<'r>,
    findings: Vec<Finding>,
}

impl Report<'_> {
    fn add(&mut self, code: &'static Code, pointer: &str, needles: &[&str], message: String, fix: Option<String>) {
        self.findings.push(Finding {
            code,
            severity: code.severity,
            message,
            fix: fix.unwrap_or_else(|| code.fix.to_owned()),
            place: self.rendered.place(pointer, needles),
        });
    }
}

/// Judges `configuration`; `judged` is its text, for places.
pub(super) fn judge(configuration: &Value, judged: &Judged, alerts: &Alerts) -> Verdict {
    let rendered = Rendered::new(judged);
    let mut report = Report { rendered: &rendered, findings: Vec::new() };
    tree::judge(configuration, alerts, &mut report);
    inhibitions::judge(configuration, alerts, &mut report);
    let count = |pointer: &str| configuration.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len);
    let told = format!("{} routes and {} inhibitions", 1 + count("/route/routes"), count("/inhibit_rules"));
    Verdict { findings: report.findings, judged: vec![told], not_judged: Vec::new() }
}

/// The items of the list `key` of `value`.
fn items<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

const fn error(id: &'static str, title: &'static str, fix: &'static str) -> Code {
    Code::new(id, Severity::Error, title, fix)
}
