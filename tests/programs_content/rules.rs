//! Every rule file is valid and its unit tests pass, with all exporters and with none.

use crate::{ROOT, context, promtool, render, unknown_metrics};
use drivemaster_mon::stack::EXPORTERS;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Names of the files in `alerts/` whose name `takes` takes.
fn alert_files(takes: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir(Path::new(ROOT).join("alerts")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| takes(name));
    names.sort();
    names
}

fn is_rule_file(name: &str) -> bool {
    name.ends_with(".yaml") && !name.ends_with(".test.yaml") && name != "contract.yaml"
}

fn is_test_file(name: &str) -> bool {
    name.ends_with(".test.yaml")
}

/// Names of the rule files.
pub(crate) fn rule_files() -> Vec<String> {
    alert_files(is_rule_file)
}

/// A folder with every rendered rule file.
pub(crate) fn rendered(context: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in rule_files() {
        std::fs::write(folder.path().join(&name), render(context, &format!("alerts/{name}"))).unwrap();
    }
    folder
}

/// The rules of every file.
fn rules(context: &Value) -> Vec<Value> {
    rule_files()
        .iter()
        .flat_map(|name| {
            let file: Value = serde_yaml::from_str(&render(context, &format!("alerts/{name}"))).unwrap();
            let groups = file["groups"].as_array().unwrap_or_else(|| panic!("{name} has no list of groups")).clone();
            groups.into_iter().flat_map(|group| group["rules"].as_array().unwrap().clone())
        })
        .collect()
}

#[test]
fn every_rule_file_is_valid_with_all_exporters_and_with_none() {
    for exporters in ["existing", "none"] {
        let folder = rendered(&context(exporters));
        let checked = promtool(folder.path(), &["check", "rules", "--lint=all", "--lint-fatal"], &rule_files());
        assert_eq!(checked, Ok(()));
    }
}

#[test]
fn every_unit_test_of_the_rules_passes() {
    let folder = rendered(&context("existing"));
    let tests = alert_files(is_test_file);
    for name in &tests {
        std::fs::copy(Path::new(ROOT).join("alerts").join(name), folder.path().join(name)).unwrap();
    }
    if let Err(said) = promtool(folder.path(), &["test", "rules"], &tests) {
        panic!("{said}");
    }
}

#[test]
fn without_an_exporter_no_rule_asks_for_it() {
    for rule in rules(&context("none")) {
        for exporter in EXPORTERS {
            let expression = rule["expr"].as_str().unwrap();
            assert!(!expression.contains(&format!("\"{}\"", exporter.job)), "{}", rule["alert"]);
        }
    }
}

#[test]
fn rules_ask_only_for_metrics_of_the_contract() {
    for rule in rules(&context("existing")) {
        let expression = rule["expr"].as_str().unwrap();
        assert_eq!(unknown_metrics(expression), Vec::<String>::new(), "{expression}");
    }
}

#[test]
fn every_alert_says_what_a_person_needs_has_a_runbook_and_is_tested() {
    let tests: String = alert_files(is_test_file)
        .iter()
        .map(|name| std::fs::read_to_string(Path::new(ROOT).join("alerts").join(name)).unwrap())
        .collect();
    let mut pages = BTreeSet::new();
    for rule in rules(&context("existing")) {
        let name = rule["alert"].as_str().unwrap();
        for label in ["severity", "service", "component"] {
            assert!(rule["labels"][label].is_string(), "`{name}` has no label `{label}`");
        }
        for annotation in ["summary", "description", "runbook_url", "dashboard"] {
            assert!(rule["annotations"][annotation].is_string(), "`{name}` has no annotation `{annotation}`");
        }
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info", "none"].contains(&severity), "`{name}`: {severity}");
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert_eq!(runbook, format!("docs/runbooks/{name}.md"));
        assert!(Path::new(ROOT).join(runbook).exists(), "{runbook} is missing");
        pages.insert(format!("{name}.md"));
        assert!(tests.contains(&format!("\"{name}\"")), "`{name}` has no unit test");
    }
    let written: BTreeSet<String> = std::fs::read_dir(Path::new(ROOT).join("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(written, pages, "runbooks and alerts go together");
}
