//! Workflow commands of GitHub Actions, which become annotations of a pull request.

use crate::validate::{Finding, Severity, Verdict};

/// One command a finding.
pub(super) fn commands(verdict: &Verdict) -> String {
    verdict.findings.iter().map(command).collect()
}

fn command(finding: &Finding) -> String {
    let kind = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    };
    let place = &finding.place;
    let mut properties = format!("file={}", property(&place.file));
    if let Some(line) = place.line_of_file() {
        properties.push_str(&format!(",line={line},col={},endColumn={}", place.column, place.column + place.length));
    }
    let message = format!("{}{}\n{} ({})", finding.message, place.line_of_rendered(), finding.fix, finding.code.doc());
    format!("::{kind} {properties},title={}::{}\n", property(finding.code.id), data(&message))
}

/// As the runner's toolkit escapes the text of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As the runner's toolkit escapes a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
