//! Rules and dashboards as objects of our own.

use super::bundle::{ExpectedDashboard, ExpectedRuleGroup};
use super::grid;
use super::labelled;
use super::releases::parse_yaml;
use super::sources::Sources;
use super::templates::{SLO_FOLDER, Templates, is_dashboard, is_rule_file, is_slo_definition};
use super::yaml::to_yaml;
use crate::config::duration_seconds;
use crate::config::model::{Config, Profile};
use crate::error::{Failure, Kind};
use crate::object::Manifest;
use crate::promql;
use crate::slo;
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// ConfigMap with every file of rules, mounted where Prometheus looks for them.
const RULES_CONFIG_MAP: &str = "drivemaster-rules";
/// Folder of our dashboards in Grafana.
const DASHBOARD_FOLDER: &str = "DriveMaster";

/// A file of rules or a dashboard: its template and what that renders to.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedFile {
    /// Path among the sources, such as `alerts/application.yaml`.
    pub path: String,
    /// The template.
    pub template: String,
    /// What it renders to; the rules of the objective where it defines one, none where that is wrong.
    pub text: String,
    /// The objective, where it defines one.
    pub objective: Option<RenderedObjective>,
}

/// The definition of an objective.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedObjective {
    /// What its template renders to.
    pub text: String,
    /// What it says, or what is wrong with it.
    pub definition: Result<slo::Definition, Vec<slo::Problem>>,
}

/// Every file of rules and every dashboard as text, whatever is wrong with it.
pub(super) fn texts(config: &Config, sources: &Sources, templates: &Templates<'_>) -> Result<Vec<RenderedFile>> {
    let mut found = rule_texts(config, sources, templates)?;
    found.extend(dashboard_texts(sources, templates)?);
    Ok(found)
}

/// Every file of rules, then every objective that is not disabled.
fn rule_texts(config: &Config, sources: &Sources, templates: &Templates<'_>) -> Result<Vec<RenderedFile>> {
    let mut found = Vec::new();
    for (path, template) in content_of(sources, "alerts/", is_rule_file) {
        let text = templates.render(&path)?;
        found.push(RenderedFile { path, template, text, objective: None });
    }
    let contract = sources.contract()?;
    for (path, template) in content_of(sources, SLO_FOLDER, is_slo_definition) {
        let text = templates.render(&path)?;
        let document = parse_yaml(sources.name_of(&path), &text)?;
        // A definition renders to nothing where its objective is disabled.
        if document.is_null() {
            continue;
        }
        let definition = slo::read(document, &contract);
        let rules = definition.as_ref().map(|definition| to_yaml(&slo_rules(definition, config)));
        let objective = Some(RenderedObjective { text, definition: definition.clone() });
        found.push(RenderedFile { path, template, text: rules.unwrap_or_default(), objective });
    }
    Ok(found)
}

fn slo_rules(definition: &slo::Definition, config: &Config) -> Value {
    slo::rules(definition, &config.slo.interval, &config.alertmanager.runbooks_url)
}

/// Every dashboard, its panels placed where its text can be read.
fn dashboard_texts(sources: &Sources, templates: &Templates<'_>) -> Result<Vec<RenderedFile>> {
    let mut found = Vec::new();
    for (path, template) in content_of(sources, "dashboards/", is_dashboard) {
        let mut text = templates.render(&path)?;
        if let Ok(mut model) = serde_json::from_str::<Value>(&text) {
            if let Some(panels) = model.get_mut("panels").and_then(Value::as_array_mut) {
                grid::place(panels);
            }
            text = format!("{model:#}\n");
        }
        found.push(RenderedFile { path, template, text, objective: None });
    }
    Ok(found)
}

/// Path and template of each file below `folder` that `is_content` takes.
fn content_of<'s>(
    sources: &'s Sources,
    folder: &'s str,
    is_content: fn(&str) -> bool,
) -> impl Iterator<Item = (String, String)> {
    let files = sources.below(folder).filter(move |(file, _)| is_content(file));
    files.map(move |(file, template)| (format!("{folder}{file}"), String::from_utf8_lossy(template).into_owned()))
}

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
    templates: &Templates<'_>,
) -> Result<(Vec<Manifest>, Vec<ExpectedRuleGroup>)> {
    let namespace = &config.namespaces.monitoring;
    let mut data = Map::new();
    let mut objects = Vec::new();
    let mut groups = Vec::new();
    for RenderedRules { path, name, text, spec } in rule_files(config, sources, templates)? {
        let rules: RuleFile = serde_json::from_value(spec.clone())
            .map_err(|error| Failure::new(Kind::Usage, format!("`{path}` is not a file of rules")).caused_by(error))?;
        if !rules.groups.is_empty() {
            objects.push(prometheus_rule(namespace, &name, &spec));
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
        data.insert(format!("{name}.yaml"), json!(text.trim_start()));
    }
    if config.profile == Profile::Production {
        return Ok((objects, groups));
    }
    let files = (!data.is_empty()).then(|| config_map(namespace, RULES_CONFIG_MAP, Value::Object(data)));
    Ok((files.into_iter().collect(), groups))
}

/// A file of rules, from a template or made of the definition of an objective.
struct RenderedRules {
    /// What it was made of.
    path: String,
    /// Name of the file without its ending, and of the operator's object without its prefix.
    name: String,
    text: String,
    spec: Value,
}

fn rule_files(config: &Config, sources: &Sources, templates: &Templates<'_>) -> Result<Vec<RenderedRules>> {
    refuse_unread(config, sources)?;
    let mut rendered: Vec<RenderedRules> = Vec::new();
    for RenderedFile { path, text, objective, .. } in rule_texts(config, sources, templates)? {
        let path = sources.name_of(&path).to_owned();
        let (name, spec) = match objective.map(|objective| objective.definition) {
            None => {
                let file = path.rsplit('/').next().unwrap_or(&path);
                (file.trim_end_matches(".yaml").to_owned(), parse_yaml(&path, &text)?)
            }
            Some(Ok(definition)) => {
                refuse_forgotten(&path, &definition, config)?;
                (format!("slo-{}", definition.name), slo_rules(&definition, config))
            }
            Some(Err(problems)) => {
                let problems: Vec<String> = problems.iter().map(|problem| format!("`{path}`: {problem}")).collect();
                return Err(Failure::new(Kind::Usage, problems.join("\n")).doc("docs/slo.md#definitions").into());
            }
        };
        refuse_unreadable(&path, &spec)?;
        if let Some(other) = rendered.iter().find(|other| other.name == name) {
            let message = format!("`{path}` and `{}` both make the file of rules `{name}`", other.path);
            return Err(Failure::new(Kind::Usage, message).into());
        }
        rendered.push(RenderedRules { path, name, text, spec });
    }
    Ok(rendered)
}

/// An objective of the configuration that no definition knows.
///
/// # Errors
/// [`Kind::Usage`] naming its key.
fn refuse_unread(config: &Config, sources: &Sources) -> Result<()> {
    let definitions: Vec<&[u8]> =
        sources.below(SLO_FOLDER).filter(|(file, _)| is_slo_definition(file)).map(|(_, content)| content).collect();
    for name in config.slo.objectives.keys() {
        let is_read = |content: &&[u8]| content.windows(name.len()).any(|part| part == name.as_bytes());
        if !definitions.iter().any(is_read) {
            let message = format!("`slo.objectives.{name}`: no definition in `{SLO_FOLDER}` reads it");
            return Err(Failure::new(Kind::Usage, message).doc("docs/slo.md#configuration").into());
        }
    }
    Ok(())
}

/// A definition with a window of its own, which `prometheus.retention` must reach.
///
/// # Errors
/// [`Kind::Usage`] where samples are gone before the window is over.
fn refuse_forgotten(path: &str, definition: &slo::Definition, config: &Config) -> Result<()> {
    let prometheus = &config.prometheus;
    let days = definition.window().nominal_days();
    let is_kept = duration_seconds(&prometheus.retention).is_none_or(|seconds| seconds >= days * 86_400.0);
    if is_kept || !prometheus.enabled || !prometheus.remote_write.is_empty() {
        return Ok(());
    }
    let message = format!(
        "`{path}`: `spec.timeWindow` is {days} days, and samples are kept for `{}` (`prometheus.retention`)",
        prometheus.retention
    );
    Err(Failure::new(Kind::Usage, message)
        .hint(
            "keep samples as long, shorten the window, or send them to a long-term store with `prometheus.remoteWrite`",
        )
        .doc("docs/slo.md#configuration")
        .into())
}

/// One expression that it does not take, and Prometheus loads no rules at all.
///
/// # Errors
/// [`Kind::Usage`] naming the first such rule.
fn refuse_unreadable(path: &str, spec: &Value) -> Result<()> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for rule in list(&spec["groups"]).iter().flat_map(|group| list(&group["rules"])) {
        let Some(expression) = rule["expr"].as_str() else { continue };
        let wrong = match promql::parse(expression).map(|expression| promql::experimental(&expression)) {
            Ok(None) => continue,
            Ok(Some(function)) => format!("asks for `{function}`, which is experimental"),
            Err(reason) => format!("is no PromQL: {reason}"),
        };
        let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap_or("a rule without a name");
        return Err(Failure::new(Kind::Usage, format!("`{path}`: the expression of `{name}` {wrong}"))
            .hint("drivemaster-mon validate shows where, and everything else that is wrong")
            .into());
    }
    Ok(())
}

/// One ConfigMap for each dashboard, and what Grafana is to show. A template that renders to nothing is none.
///
/// # Errors
/// [`Kind::Usage`] naming the file that is not the bare model of a dashboard.
pub(super) fn dashboards(
    namespace: &str,
    sources: &Sources,
    templates: &Templates<'_>,
) -> Result<(Vec<Manifest>, Vec<ExpectedDashboard>)> {
    let mut manifests = Vec::new();
    let mut expected: Vec<ExpectedDashboard> = Vec::new();
    for RenderedFile { path, text: rendered, .. } in dashboard_texts(sources, templates)? {
        let file = path.strip_prefix("dashboards/").unwrap_or(&path);
        let wrong = |what: String| Failure::new(Kind::Usage, format!("template `{}` {what}", sources.name_of(&path)));
        // It is about something that is not there.
        if rendered.trim().is_empty() {
            continue;
        }
        let model: Value = serde_json::from_str(&rendered)
            .map_err(|error| wrong("renders to invalid JSON".to_owned()).caused_by(error))?;
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
        let mut manifest = config_map(namespace, &config_map_name, json!({ file: rendered }));
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
