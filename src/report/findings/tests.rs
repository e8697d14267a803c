//! Every format says the same, and is what its readers take.

use super::*;
use crate::validate::finding::Finding;
use crate::validate::place::Place;
use crate::validate::{NotJudged, codes};

fn verdict() -> Verdict {
    let code = codes().into_iter().find(|code| code.id == "promql/unknown-metric").unwrap();
    let finding = |severity: Severity, message: &str, place: Place| Finding {
        code,
        severity,
        message: message.to_owned(),
        fix: "100 % sure: do, this".to_owned(),
        place,
    };
    let line = Place {
        file: "my alerts/a,b:c.yaml".to_owned(),
        rendered: false,
        line: 7,
        column: 9,
        length: 4,
        excerpt: "  expr: nope > 1".to_owned(),
        excerpt_start: 0,
    };
    let whole = Place { file: "b.yaml".to_owned(), ..Place::default() };
    Verdict {
        findings: vec![
            finding(Severity::Error, "alert `A`: <no> & \u{1b}[2J metric", line),
            finding(Severity::Info, "whole\nfile", whole),
        ],
        judged: vec!["2 rules in 2 files".to_owned()],
        not_judged: vec![NotJudged { subject: "x".to_owned(), reason: "y".to_owned() }],
    }
}

fn told(format: Format) -> String {
    text(&verdict(), format, Severity::Error).unwrap()
}

#[test]
fn people_see_the_line_with_the_offending_text_underlined() {
    console::set_colors_enabled(false);
    let text = told(Format::Human);
    for part in [
        "error[promql/unknown-metric]: alert `A`: <no> &  [2J metric",
        "--> my alerts/a,b:c.yaml:7:9",
        "7 |   expr: nope > 1",
        "  |         ^^^^",
        "100 % sure",
        "docs/validate.md#promql-unknown-metric",
        "not judged: x: y",
        "1 error, 1 info",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn errors_come_first_and_a_kind_of_information_is_shown_three_times() {
    console::set_colors_enabled(false);
    let mut verdict = verdict();
    let (error, info) = (verdict.findings[0].clone(), verdict.findings[1].clone());
    verdict.findings = (0..5).map(|number| Finding { message: format!("info {number}"), ..info.clone() }).collect();
    verdict.findings.push(error);
    let text = text(&verdict, Format::Human, Severity::Error).unwrap();
    assert!(text.find("alert `A`").unwrap() < text.find("info 0").unwrap(), "{text}");
    assert!(text.contains("info 2") && !text.contains("info 3"), "{text}");
    assert!(text.contains("2 more of `promql/unknown-metric`") && text.contains("1 error, 5 info"), "{text}");
}

#[test]
fn github_commands_are_escaped() {
    assert_eq!(
        told(Format::Github).lines().next().unwrap(),
        "::error file=my alerts/a%2Cb%3Ac.yaml,line=7,col=9,endColumn=13,title=promql/unknown-metric::\
         alert `A`: <no> & \u{1b}[2J metric%0A100 %25 sure: do, this (docs/validate.md#promql-unknown-metric)"
    );
    assert_eq!(told(Format::Github).lines().count(), 2);
}

#[test]
fn a_line_of_what_was_made_from_a_template_is_not_taken_for_one_of_its_file() {
    let mut verdict = verdict();
    verdict.findings[0].place.rendered = true;
    let told = |format| text(&verdict, format, Severity::Error).unwrap();
    let (github, sarif) = (told(Format::Github), told(Format::Sarif));
    let first = github.lines().next().unwrap();
    assert!(first.starts_with("::error file=my alerts/a%2Cb%3Ac.yaml,title="), "{first}");
    assert!(first.contains("(line 7 of the rendered text: expr: nope > 1)"), "{first}");
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert!(result["locations"][0]["physicalLocation"].get("region").is_none(), "{result}");
    assert!(result["message"]["text"].as_str().unwrap().contains("line 7 of the rendered text"), "{result}");
    assert!(told(Format::Junit).contains("(rendered):7:9"));
}

#[test]
fn junit_is_xml_that_its_own_reader_takes() {
    let text = told(Format::Junit);
    let report = quick_junit::Report::deserialize_from_str(&text).unwrap();
    assert_eq!((report.tests, report.failures), (codes().len() + 1, 1), "{text}");
    assert!(!text.contains('\u{1b}'));
    let strict = text_of_warnings();
    assert_eq!(quick_junit::Report::deserialize_from_str(&strict).unwrap().failures, 2);
}

fn text_of_warnings() -> String {
    text(&verdict(), Format::Junit, Severity::Info).unwrap()
}

#[test]
fn json_is_one_document_with_a_schema() {
    let value: Value = serde_json::from_str(&told(Format::Json)).unwrap();
    assert_eq!(value["schema"], "drivemaster-mon/validate/v1");
    assert_eq!(value["summary"], json!({"errors": 1, "warnings": 0, "infos": 1}));
    assert_eq!(value["findings"][0]["place"]["line"], 7);
    assert_eq!(value["findings"][0]["doc"], "docs/validate.md#promql-unknown-metric");
    assert_eq!(value["notJudged"][0]["subject"], "x");
}

/// The members that SARIF 2.1.0 requires of the objects that we write, with their types (sections 3.13,
/// 3.14, 3.19, 3.20, 3.27 to 3.30, 3.49 and 3.58 of the standard).
fn sarif_schema() -> Value {
    let text = json!({
        "type": "object", "required": ["text"], "properties": { "text": { "type": "string", "minLength": 1 } },
    });
    let level = json!({ "enum": ["none", "note", "warning", "error"] });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
    let number = json!({ "type": "integer", "minimum": 1 });
    let rule = object(
        &["id"],
        json!({
            "id": { "type": "string" }, "shortDescription": text, "help": text,
            "defaultConfiguration": { "properties": { "level": level } },
        }),
    );
    let driver = object(&["name"], json!({ "name": { "type": "string" }, "rules": list(rule) }));
    let region =
        object(&[], json!({ "startLine": number, "startColumn": number, "endColumn": number, "snippet": text }));
    let uri = json!({ "type": "string", "pattern": "^[A-Za-z0-9._~/%:-]+$" });
    let artifact = object(&["uri"], json!({ "uri": uri }));
    let physical = object(&["artifactLocation"], json!({ "artifactLocation": artifact, "region": region }));
    let result = object(
        &["message"],
        json!({
            "ruleId": { "type": "string" }, "ruleIndex": { "type": "integer", "minimum": 0 }, "level": level,
            "message": text, "locations": list(object(&[], json!({ "physicalLocation": physical }))),
        }),
    );
    let notification = object(&["message"], json!({ "message": text, "level": level }));
    let invocation = object(&["executionSuccessful"], json!({ "toolExecutionNotifications": list(notification) }));
    let run = object(
        &["tool"],
        json!({
            "tool": object(&["driver"], json!({ "driver": driver })),
            "columnKind": { "enum": ["utf16CodeUnits", "unicodeCodePoints"] },
            "invocations": list(invocation),
            "results": list(result),
        }),
    );
    object(&["version", "runs"], json!({ "version": { "const": "2.1.0" }, "runs": list(run) }))
}

#[test]
fn sarif_has_what_the_standard_requires() {
    let value: Value = serde_json::from_str(&told(Format::Sarif)).unwrap();
    let validator = jsonschema::validator_for(&sarif_schema()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let run = &value["runs"][0];
    let result = &run["results"][0];
    let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
    assert_eq!(rule["id"], result["ruleId"]);
    let physical = &result["locations"][0]["physicalLocation"];
    assert_eq!(physical["artifactLocation"]["uri"], "my%20alerts/a%2Cb%3Ac.yaml");
    assert_eq!(physical["region"]["endColumn"], 13);
    assert!(run["results"][1]["locations"][0]["physicalLocation"].get("region").is_none());

    // The schema can fail.
    let mut broken = value.clone();
    broken["runs"][0]["results"][0]["message"] = json!({});
    assert!(!validator.is_valid(&broken));
}
