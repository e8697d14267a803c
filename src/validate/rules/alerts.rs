//! What a person who is woken needs of an alert.

use super::{Rule, RuleFile, Scope, finding};
use crate::promql::{Expr, metric_of, selectors, visit};
use crate::validate::dashboards::uid_of;
use crate::validate::finding::{Code, Finding, Severity};

pub(super) const NO_CONDITION: Code = Code::new(
    "alerts/no-condition",
    Severity::Error,
    "the alert fires as long as its series are there",
    "compare the expression with a threshold; a value of 0 fires too",
)
.foreign(Severity::Warning);

pub(super) const MISSING_LABEL: Code = Code::new(
    "alerts/missing-label",
    Severity::Error,
    "the alert lacks a label that routes and people go by",
    "every alert has the labels `severity`, `service` and `component`",
)
.foreign(Severity::Info);

pub(super) const UNKNOWN_SEVERITY: Code = Code::new(
    "alerts/unknown-severity",
    Severity::Error,
    "no route knows the severity",
    "use `critical`, `warning`, `info` or `none`",
)
.foreign(Severity::Info);

pub(super) const MISSING_ANNOTATION: Code = Code::new(
    "alerts/missing-annotation",
    Severity::Error,
    "the alert does not say what a person needs",
    "every alert has the annotations `summary`, `description`, `runbook_url` and `dashboard`",
)
.foreign(Severity::Info);

pub(super) const NO_RUNBOOK: Code = Code::new(
    "alerts/no-runbook",
    Severity::Error,
    "the page that the alert names is not there",
    "write the page: meaning, first queries, likely causes, how to silence",
)
.foreign(Severity::Info);

pub(super) const NO_DASHBOARD: Code = Code::new(
    "alerts/no-dashboard",
    Severity::Error,
    "the dashboard that the alert names is not there",
    "name the uid of a dashboard that is deployed; in another Grafana than ours nobody can look (a warning)",
)
.foreign(Severity::Info);

pub(super) const NO_TEST: Code = Code::new(
    "alerts/no-test",
    Severity::Error,
    "no unit test names the alert",
    "add a test to the file `<topic>.test.yaml` beside: it fires, and it is silent just below its threshold",
)
.foreign(Severity::Info);

/// Labels of every alert.
const LABELS: [&str; 3] = ["severity", "service", "component"];
/// Annotations of every alert.
const ANNOTATIONS: [&str; 4] = ["summary", "description", "runbook_url", "dashboard"];
/// Values of `severity`; `none` is for alerts that nobody is to read.
pub(in crate::validate) const SEVERITIES: [&str; 4] = ["critical", "warning", "info", "none"];
/// Where pages about alerts stand; one elsewhere is named by its URL.
pub(in crate::validate) const RUNBOOKS: &str = "docs/runbooks/";

/// Judges `rule` where it is an alert.
pub(super) fn judge(
    file: &RuleFile<'_>,
    rule: &Rule,
    expression: Option<&Expr>,
    scope: &Scope,
    findings: &mut Vec<Finding>,
) {
    let Some(alert) = &rule.alert else { return };
    let mut report = |code: &'static Code, key: &str, needles: &[&str], message: String| {
        findings.push(finding(file, rule, scope, code, key, needles, message));
    };
    if let Some(expression) = expression
        && !selectors(expression).is_empty()
        && !has_condition(expression)
    {
        report(&NO_CONDITION, "expr", &[], "nothing in its expression is compared".to_owned());
    }
    for label in LABELS {
        if rule.labels.get(label).is_none_or(String::is_empty) {
            report(&MISSING_LABEL, "labels", &[], format!("there is no label `{label}`"));
        }
    }
    if let Some(severity) = rule.labels.get("severity").filter(|severity| !severity.contains("{{"))
        && !SEVERITIES.contains(&severity.as_str())
    {
        report(&UNKNOWN_SEVERITY, "labels", &[severity], format!("the severity `{severity}` is unknown"));
    }
    for annotation in ANNOTATIONS {
        if rule.annotations.get(annotation).is_none_or(String::is_empty) {
            report(&MISSING_ANNOTATION, "annotations", &[], format!("there is no annotation `{annotation}`"));
        }
    }
    let url = rule.annotations.get("runbook_url").filter(|_| scope.own);
    let page = url.and_then(|url| url.strip_prefix(&scope.runbooks_url).or_else(|| url.strip_prefix(RUNBOOKS)));
    if let (Some(url), Some(page)) = (url, page)
        && !scope.runbooks.contains(&format!("{RUNBOOKS}{page}"))
    {
        let message = format!("there is no page `{RUNBOOKS}{page}`");
        report(&NO_RUNBOOK, "annotations", &[url, page, "runbook_url"], message);
    }
    if let Some(tests) = &scope.tests
        && !names(tests, alert)
    {
        report(&NO_TEST, "", &[], "no unit test names it".to_owned());
    }
    findings.extend(unknown_dashboard(file, rule, scope));
}

/// What is wrong with the dashboard that `rule` leads to.
fn unknown_dashboard(file: &RuleFile<'_>, rule: &Rule, scope: &Scope) -> Option<Finding> {
    let url = rule.annotations.get("dashboard")?;
    let uid = uid_of(url).filter(|uid| scope.dashboards.as_ref().is_some_and(|known| !known.contains(uid)))?;
    let message = format!("no dashboard has the uid `{uid}`");
    let found = finding(file, rule, scope, &NO_DASHBOARD, "annotations", &[&uid, "dashboard"], message);
    let grafana = scope.grafana.as_deref().unwrap_or_default();
    if !url.contains("://") || url.strip_prefix(grafana).is_some_and(|rest| rest.starts_with('/')) {
        return Some(found);
    }
    let message = format!("{} in our Grafana, and we cannot look into that of `{url}`", found.message);
    Some(Finding { severity: found.severity.min(Severity::Warning), message, ..found })
}

/// Whether a comparison, or the absence of something, decides.
fn has_condition(expression: &Expr) -> bool {
    let mut found = false;
    visit(expression, &mut |part| {
        found |= match part {
            Expr::Binary(binary) => {
                let compares =
                    matches!(binary.op.to_string().as_str(), ">" | ">=" | "<" | "<=" | "==" | "!=" | "unless");
                compares && !binary.modifier.as_ref().is_some_and(|modifier| modifier.return_bool)
            }
            Expr::Call(call) => matches!(call.func.name, "absent" | "absent_over_time"),
            // Alerts that fire are a condition themselves.
            Expr::VectorSelector(selector) => metric_of(selector) == Some("ALERTS"),
            _ => false,
        };
    });
    found
}

/// Whether `tests` has the whole word `name`.
fn names(tests: &str, name: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    tests.match_indices(name).any(|(index, _)| {
        let before = tests[..index].chars().next_back();
        let after = tests[index + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}
