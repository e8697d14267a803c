//! SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format).

use crate::validate::{Finding, Severity, Verdict, codes};
use serde_json::{Value, json};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The log of one run.
pub(super) fn document(verdict: &Verdict) -> Value {
    let codes = codes();
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| {
            json!({
                "id": code.id,
                "shortDescription": { "text": code.title },
                "help": { "text": format!("{} ({})", code.fix, code.doc()) },
                "defaultConfiguration": { "level": level(code.severity) },
                "properties": { "tags": [code.category()] },
            })
        })
        .collect();
    let results: Vec<Value> = verdict
        .findings
        .iter()
        .map(|finding| {
            let index = codes.iter().position(|code| code.id == finding.code.id);
            json!({
                "ruleId": finding.code.id,
                "ruleIndex": index,
                "level": level(finding.severity),
                "message": { "text": format!("{}{}. {}", finding.message, finding.place.line_of_rendered(), finding.fix) },
                "locations": [location(finding)],
            })
        })
        .collect();
    let notifications: Vec<Value> = verdict
        .not_judged
        .iter()
        .map(|what| json!({ "level": "note", "message": { "text": format!("not judged: {}: {}", what.subject, what.reason) } }))
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "drivemaster-mon",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": [{ "executionSuccessful": true, "toolExecutionNotifications": notifications }],
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

fn location(finding: &Finding) -> Value {
    let place = &finding.place;
    let mut physical = json!({ "artifactLocation": { "uri": uri(&place.file) } });
    if let Some(line) = place.line_of_file() {
        physical["region"] = json!({
            "startLine": line,
            "startColumn": place.column,
            "endColumn": place.column + place.length,
            "snippet": { "text": place.excerpt },
        });
    }
    json!({ "physicalLocation": physical })
}

/// `path` as a URI reference: relative paths stay relative, to the root of the repository.
fn uri(path: &str) -> String {
    let absolute = if path.starts_with('/') { "file://" } else { "" };
    let escaped: String = path
        .trim_start_matches("./")
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("{absolute}{escaped}")
}
