//! Every rule file is valid and its unit tests pass, with all exporters and with none.

use crate::{ROOT, config, deployed, promtool, support};
use drivemaster_mon::chart::Charts;
use drivemaster_mon::config::Config;
use drivemaster_mon::promql::EXPERIMENTAL;
use drivemaster_mon::render::{Sources, render_from};
use drivemaster_mon::stack::EXPORTERS;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

/// The rule files by name, as they are deployed.
pub(crate) fn rule_files(config: &Config) -> BTreeMap<String, String> {
    deployed(config, "drivemaster-rules")
}

/// A folder with every rule file, and their names.
pub(crate) fn written(config: &Config) -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let files = rule_files(config);
    for (name, text) in &files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    (folder, files.into_keys().collect())
}

/// The rules of every file.
fn rules(config: &Config) -> Vec<Value> {
    let list = |value: &Value| value.as_array().unwrap().clone();
    let groups = |text: &String| list(&serde_yaml::from_str::<Value>(text).unwrap()["groups"]);
    rule_files(config).values().flat_map(groups).flat_map(|group| list(&group["rules"])).collect()
}

/// Whether a rule records the series `metric`.
pub(crate) fn is_recorded(metric: &str) -> bool {
    static RECORDED: OnceLock<BTreeSet<String>> = OnceLock::new();
    let recorded = RECORDED.get_or_init(|| {
        let rules = rules(&config("existing"));
        rules.iter().filter_map(|rule| rule["record"].as_str()).map(str::to_owned).collect()
    });
    recorded.contains(metric)
}

/// The names of the alerts, with the dashboards that they lead to.
pub(crate) fn dashboards_of_alerts(config: &Config) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let alerts = rules(config).into_iter().filter(|rule| rule["alert"].is_string());
    alerts.map(|rule| (text(&rule["alert"]), text(&rule["annotations"]["dashboard"]))).collect()
}

/// Names and texts of the unit tests in `alerts/` and `alerts/slo/`.
pub(crate) fn unit_tests() -> Vec<(String, String)> {
    let folders = ["alerts", "alerts/slo"].map(|folder| std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap());
    let entries = folders.into_iter().flatten().map(|entry| entry.unwrap());
    let tests = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let tests = tests.filter(|(name, _)| name.ends_with(".test.yaml"));
    tests.map(|(name, path)| (name, std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_rule_file_is_valid_with_all_exporters_and_with_none() {
    for exporters in ["existing", "none"] {
        let (folder, files) = written(&config(exporters));
        let checked = promtool(folder.path(), &["check", "rules", "--lint=all", "--lint-fatal"], &files);
        assert_eq!(checked, Ok(()));
    }
}

#[test]
fn promtool_refuses_what_is_called_experimental() {
    let folder = tempfile::tempdir().unwrap();
    for function in EXPERIMENTAL {
        // The parameters of aggregations are looked at before their name.
        let arguments = if function.starts_with("limit") { "1, up" } else { "" };
        let rules = format!("groups: [{{ name: a, rules: [{{ record: 'a:b', expr: '{function}({arguments})' }}] }}]");
        std::fs::write(folder.path().join("a.yaml"), rules).unwrap();
        let refused = promtool(folder.path(), &["check", "rules"], &["a.yaml".to_owned()]).unwrap_err();
        assert!(refused.contains("not enabled") || refused.contains("is experimental"), "{refused}");
    }
}

#[test]
fn every_unit_test_of_the_rules_passes() {
    let (folder, _) = written(&config("existing"));
    let tests = unit_tests();
    for (name, text) in &tests {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let tests: Vec<String> = tests.into_iter().map(|(name, _)| name).collect();
    if let Err(said) = promtool(folder.path(), &["test", "rules"], &tests) {
        panic!("{said}");
    }
}

#[test]
fn without_an_exporter_no_rule_asks_for_it() {
    for rule in rules(&config("none")) {
        for exporter in EXPORTERS {
            let expression = rule["expr"].as_str().unwrap();
            assert!(!expression.contains(&format!("\"{}\"", exporter.job)), "{}", rule["alert"]);
        }
    }
}

#[test]
fn every_alert_says_what_a_person_needs_has_a_runbook_and_is_tested() {
    let tests: String = unit_tests().into_iter().map(|(_, text)| text).collect();
    let mut pages = BTreeSet::new();
    for rule in rules(&config("existing")) {
        let Some(name) = rule["alert"].as_str() else {
            let record = rule["record"].as_str().unwrap();
            assert!(tests.contains(record), "`{record}` has no unit test");
            continue;
        };
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

#[test]
fn the_unit_test_of_the_documented_objective_passes() {
    let config = config("existing");
    let files = support::own_objective::files();
    let test = files["alerts/slo/checkout.test.yaml"].clone();
    let sources = Sources::embedded().with_overlay(files);
    let objects = render_from(&config, &sources, &Charts::new()).unwrap().objects;
    let rules = objects.iter().find_map(|object| object.0["data"]["slo-checkout.yaml"].as_str()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("slo-checkout.yaml"), rules).unwrap();
    std::fs::write(folder.path().join("checkout.test.yaml"), test).unwrap();
    assert_eq!(promtool(folder.path(), &["test", "rules"], &["checkout.test.yaml".to_owned()]), Ok(()));
}
