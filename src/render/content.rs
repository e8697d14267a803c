//! Rules and dashboards as objects of our own.

use super::bundle::{ExpectedDashboard, ExpectedRuleGroup};
use super::grid;
use super::labelled;
use super::releases::parse_yaml;
use super::sources::Sources;
use super::templates::{Templates, is_dashboard, is_rule_file};
use crate::config::model::{Config, Profile};
use crate::error::{Failure, Kind};
use crate::object::Manifest;
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// ConfigMap with every file of rules, mounted where Prometheus looks for them.
const RULES_CONFIG_MAP: &str = "drivemaster-rules";
/// Folder of our dashboards in Grafana.
const DASHBOARD_FOLDER: &str = "DriveMaster";

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
struct RuleGroup {
    name: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
}

/// The objects with the rules, and the groups Prometheus is to load: in profile `local` one ConfigMap
/// of files, in profile `production` an object of the operator for each file.
///
/// # Errors
/// [`Kind::Usage`] naming the file that is not a file of rules.
pub(super) fn rules(
    config: &Config,
    sources: &Sources,
    templates: &Templates,
) -> Result<(Vec<Manifest>, Vec<ExpectedRuleGroup>)> {
    let namespace = &config.namespaces.monitoring;
    let mut data = Map::new();
    let mut objects = Vec::new();
    let mut groups = Vec::new();
    for (file, _) in sources.below("alerts/").filter(|(file, _)| is_rule_file(file)) {
        let path = format!("alerts/{file}");
        let text = templates.render(&path)?;
        let spec = parse_yaml(&path, &text)?;
        let rules: RuleFile = serde_json::from_value(spec.clone())
            .map_err(|error| Failure::new(Kind::Usage, format!("`{path}` is not a file of rules")).caused_by(error))?;
        if !rules.groups.is_empty() {
            objects.push(prometheus_rule(namespace, file.trim_end_matches(".yaml"), &spec));
        }
        for group in rules.groups {
            let names = group.rules.into_iter().map(|rule| {
                rule.alert.or(rule.record).ok_or_else(|| {
                    let message = format!("group `{}` of `{path}` has a rule without `alert` or `record`", group.name);
                    Failure::new(Kind::Usage, message).into()
                })
            });
            let rules = names.collect::<Result<Vec<String>>>()?;
            groups.push(ExpectedRuleGroup { name: group.name, rules });
        }
        data.insert(file.to_owned(), json!(text.trim_start()));
    }
    if config.profile == Profile::Production {
        return Ok((objects, groups));
    }
    let files = (!data.is_empty()).then(|| config_map(namespace, RULES_CONFIG_MAP, Value::Object(data)));
    Ok((files.into_iter().collect(), groups))
}

/// One ConfigMap for each dashboard, and what Grafana is to show. A template that renders to nothing is none.
///
/// # Errors
/// [`Kind::Usage`] naming the file that is not the bare model of a dashboard.
pub(super) fn dashboards(
    namespace: &str,
    sources: &Sources,
    templates: &Templates,
) -> Result<(Vec<Manifest>, Vec<ExpectedDashboard>)> {
    let mut manifests = Vec::new();
    let mut expected: Vec<ExpectedDashboard> = Vec::new();
    for (file, _) in sources.below("dashboards/").filter(|(file, _)| is_dashboard(file)) {
        let path = format!("dashboards/{file}");
        let wrong = |what: String| Failure::new(Kind::Usage, format!("template `{path}` {what}"));
        let text = templates.render(&path)?;
        // It is about something that is not there.
        if text.trim().is_empty() {
            continue;
        }
        let mut model: Value = serde_json::from_str(&text)
            .map_err(|error| wrong("renders to invalid JSON".to_owned()).caused_by(error))?;
        if let Some(panels) = model.get_mut("panels").and_then(Value::as_array_mut) {
            grid::place(panels);
        }
        let text = |key: &str| {
            let value = model.get(key).and_then(Value::as_str).filter(|value| !value.is_empty());
            value
                .map(str::to_owned)
                .ok_or_else(|| wrong(format!("has no `{key}`: it must be the bare dashboard model")))
        };
        let (uid, title) = (text("uid")?, text("title")?);
        if let Some(other) = expected.iter().find(|other| other.uid == uid) {
            return Err(wrong(format!("has the same `uid` as ConfigMap `{}`", other.config_map)).into());
        }
        let config_map_name = format!("drivemaster-dashboard-{}", file.trim_end_matches(".json"));
        let mut manifest = config_map(
            namespace,
            &config_map_name,
            json!({ file: format!("{}\n", serde_json::to_string_pretty(&model)?) }),
        );
        manifest.0["metadata"]["labels"]["grafana_dashboard"] = json!("1");
        manifest.0["metadata"]["annotations"] = json!({ "grafana_folder": DASHBOARD_FOLDER });
        manifests.push(manifest);
        expected.push(ExpectedDashboard { namespace: namespace.to_owned(), config_map: config_map_name, uid, title });
    }
    Ok((manifests, expected))
}

/// The operator's object with the groups of one file of rules.
fn prometheus_rule(namespace: &str, file: &str, spec: &Value) -> Manifest {
    labelled(json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": { "name": format!("drivemaster-{file}"), "namespace": namespace },
        "spec": spec,
    }))
}

fn config_map(namespace: &str, name: &str, data: Value) -> Manifest {
    labelled(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": namespace },
        "data": data,
    }))
}
