//! Every dashboard stands where Grafana's sidecar looks, as a bare model that Grafana takes.

use super::facts::{Need, workload_of};
use super::{Check, Facts, Scope, Severity, Verdict, counted};
use crate::render::bundle::ExpectedDashboard;
use crate::stack;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

pub(super) const CHECK: Check = Check {
    id: "dashboards/provisioned",
    title: "every dashboard is provisioned",
    severity: Severity::Critical,
    hint: "drivemaster-mon plan; drivemaster-mon deploy",
    doc: "docs/checks.md#dashboards-provisioned",
    component: Some("grafana"),
    needs: &[Need::Dashboards, Need::Snapshot],
    judge: judge_dashboards,
};

/// Where the sidecar looks.
#[derive(Debug, PartialEq, Eq)]
struct Sidecar {
    label: String,
    /// Empty takes any value.
    value: String,
    /// `None` is every namespace.
    namespaces: Option<Vec<String>>,
}

fn judge_dashboards(scope: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let monitoring = &scope.config.namespaces.monitoring;
    let (config_maps, snapshot) = match (&facts.dashboards, facts.snapshot(monitoring)) {
        (Ok(config_maps), Ok(snapshot)) => (config_maps, snapshot),
        (Err(why), _) => return vec![Verdict::unknown(why)],
        (_, Err(why)) => return vec![Verdict::unknown(&why)],
    };
    let expected = &scope.bundle.expected.dashboards;
    if expected.is_empty() {
        return vec![Verdict::skip("no dashboard is expected")];
    }
    let grafana = stack::component("grafana")
        .and_then(|component| workload_of(snapshot, component.workload_kind, component.workload));
    let Some(grafana) = grafana else {
        return vec![Verdict::fail("Grafana is not deployed")];
    };
    let Some(sidecar) = sidecar_of(&grafana, monitoring) else {
        return vec![Verdict::fail("Grafana runs without the sidecar that finds dashboards")];
    };
    let wrong: Vec<String> = expected
        .iter()
        .filter_map(|dashboard| {
            let key = (dashboard.namespace.clone(), dashboard.config_map.clone());
            let problem = match config_maps.get(&key).and_then(Option::as_ref) {
                Some(config_map) => judge_config_map(dashboard, config_map, &sidecar).err()?,
                None => "its ConfigMap does not exist".to_owned(),
            };
            Some(format!(
                "`{}` (ConfigMap {}/{}): {problem}",
                dashboard.title, dashboard.namespace, dashboard.config_map
            ))
        })
        .collect();
    vec![if wrong.is_empty() {
        let titles = expected.iter().map(|dashboard| dashboard.title.clone());
        Verdict::pass().evidence(titles.collect())
    } else {
        Verdict::fail(format!("{} of {} not provisioned", wrong.len(), counted(expected.len(), "dashboard")))
            .evidence(wrong)
    }]
}

/// What the sidecar's environment says of the ConfigMaps it takes.
fn sidecar_of(workload: &Value, own_namespace: &str) -> Option<Sidecar> {
    let containers = workload.pointer("/spec/template/spec/containers")?.as_array()?;
    containers.iter().find_map(|container| {
        let variable = |name: &str| {
            let variables = container.get("env")?.as_array()?;
            let found = variables.iter().find(|variable| variable.get("name").and_then(Value::as_str) == Some(name))?;
            found.get("value")?.as_str().map(str::to_owned)
        };
        // Another sidecar of the same program looks for datasources.
        let label = variable("LABEL").filter(|label| !label.contains("datasource"))?;
        let namespaces = match variable("NAMESPACE") {
            Some(all) if all == "ALL" => None,
            Some(list) => Some(list.split(',').map(|name| name.trim().to_owned()).collect()),
            None => Some(vec![own_namespace.to_owned()]),
        };
        Some(Sidecar { label, value: variable("LABEL_VALUE").unwrap_or_default(), namespaces })
    })
}

fn judge_config_map(expected: &ExpectedDashboard, config_map: &ConfigMap, sidecar: &Sidecar) -> Result<(), String> {
    if sidecar.namespaces.as_ref().is_some_and(|namespaces| !namespaces.contains(&expected.namespace)) {
        return Err(format!("the sidecar does not look into namespace `{}`", expected.namespace));
    }
    let label = config_map.metadata.labels.as_ref().and_then(|labels| labels.get(&sidecar.label));
    match label {
        None => return Err(format!("it lacks the label `{}` that the sidecar looks for", sidecar.label)),
        Some(value) if !sidecar.value.is_empty() && *value != sidecar.value => {
            return Err(format!("its label `{}` is `{value}`, not `{}`", sidecar.label, sidecar.value));
        }
        Some(_) => {}
    }
    let files = config_map.data.iter().flatten().filter(|(name, _)| name.ends_with(".json"));
    let mut found = Vec::new();
    for (name, text) in files {
        let model: Value = serde_json::from_str(text).map_err(|error| format!("`{name}` is no JSON: {error}"))?;
        let uid = judge_model(&model).map_err(|problem| format!("`{name}` {problem}"))?;
        if uid == expected.uid {
            return Ok(());
        }
        found.push(format!("`{uid}`"));
    }
    if found.is_empty() {
        return Err("it holds no `.json` file".to_owned());
    }
    Err(format!("it holds the dashboard {}, not `{}`", found.join(", "), expected.uid))
}

/// Whether Grafana takes the model from a file; its uid when it does.
fn judge_model(model: &Value) -> Result<&str, String> {
    let text = |key: &str| model.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if model.get("dashboard").is_some_and(Value::is_object) {
        return Err("is wrapped in `dashboard`, as the HTTP API takes it; files hold the bare model".to_owned());
    }
    if text("title").is_none() {
        return Err("has no title".to_owned());
    }
    if model.get("panels").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err("has no panels".to_owned());
    }
    if model.get("schemaVersion").and_then(Value::as_u64).is_none() {
        return Err("has no schemaVersion".to_owned());
    }
    // A number here would collide with a dashboard that Grafana made itself.
    if model.get("id").is_some_and(|id| !id.is_null()) {
        return Err("has an id of its own, which only Grafana may give".to_owned());
    }
    text("uid").ok_or_else(|| "has no uid".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{deployment, holding, judge, snapshot_of};
    use super::*;
    use crate::event::Outcome;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn grafana(namespace: &str) -> Value {
        let sidecar = json!({"name": "sidecar", "env": [
            {"name": "LABEL", "value": "grafana_dashboard"}, {"name": "LABEL_VALUE", "value": "1"},
            {"name": "NAMESPACE", "value": namespace}]});
        let program = json!({"name": "grafana", "env": [{"name": "SECRET", "valueFrom": {}}]});
        deployment("prometheus-grafana", json!({"template": {"spec": {"containers": [program, sidecar]}}}))
    }

    fn problem(namespace: &str, labels: Value, model: &str) -> Option<String> {
        let config_map: ConfigMap =
            serde_json::from_value(json!({"metadata": {"labels": labels}, "data": {"d.json": model}})).unwrap();
        let facts = Facts {
            namespaces: holding(snapshot_of(&[grafana(namespace)])).namespaces,
            dashboards: Ok(BTreeMap::from([(
                ("drivemaster-monitoring".to_owned(), "dashboard-overview".to_owned()),
                Some(config_map),
            )])),
            ..Facts::default()
        };
        let verdict = judge(&CHECK, &facts).remove(0);
        match verdict.outcome {
            Outcome::Pass => None,
            _ => Some(verdict.evidence.join("\n").rsplit("overview): ").next().unwrap().to_owned()),
        }
    }

    #[test]
    fn each_way_to_miss_grafana_is_named() {
        let good = json!({"title": "Overview", "uid": "overview", "schemaVersion": 41, "panels": [{}], "id": null});
        let labelled = json!({"grafana_dashboard": "1"});
        let without = |key: &str| {
            let mut model = good.clone();
            model.as_object_mut().unwrap().remove(key);
            model.to_string()
        };
        let with = |key: &str, value: Value| {
            let mut model = good.clone();
            model[key] = value;
            model.to_string()
        };
        assert_eq!(problem("ALL", labelled.clone(), &good.to_string()), None);
        assert_eq!(problem("other,drivemaster-monitoring", labelled.clone(), &good.to_string()), None);
        let cases = [
            (
                "other",
                labelled.clone(),
                good.to_string(),
                "the sidecar does not look into namespace `drivemaster-monitoring`",
            ),
            ("ALL", json!({}), good.to_string(), "it lacks the label `grafana_dashboard` that the sidecar looks for"),
            (
                "ALL",
                json!({"grafana_dashboard": "true"}),
                good.to_string(),
                "its label `grafana_dashboard` is `true`, not `1`",
            ),
            (
                "ALL",
                labelled.clone(),
                json!({"dashboard": good}).to_string(),
                "`d.json` is wrapped in `dashboard`, as the HTTP API takes it; files hold the bare model",
            ),
            ("ALL", labelled.clone(), without("title"), "`d.json` has no title"),
            ("ALL", labelled.clone(), without("uid"), "`d.json` has no uid"),
            ("ALL", labelled.clone(), without("schemaVersion"), "`d.json` has no schemaVersion"),
            ("ALL", labelled.clone(), with("panels", json!([])), "`d.json` has no panels"),
            (
                "ALL",
                labelled.clone(),
                with("id", json!(7)),
                "`d.json` has an id of its own, which only Grafana may give",
            ),
            ("ALL", labelled.clone(), with("uid", json!("x")), "it holds the dashboard `x`, not `overview`"),
            ("ALL", labelled, "{".to_owned(), "`d.json` is no JSON: EOF while parsing an object at line 1 column 1"),
        ];
        for (namespace, labels, model, expected) in cases {
            assert_eq!(problem(namespace, labels, &model).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_missing_config_map_and_a_grafana_without_sidecar_fail() {
        let facts = |grafana: Value| Facts {
            namespaces: holding(snapshot_of(&[grafana])).namespaces,
            dashboards: Ok(BTreeMap::new()),
            ..Facts::default()
        };
        let missing = &judge(&CHECK, &facts(grafana("ALL")))[0];
        assert!(missing.evidence[0].ends_with("its ConfigMap does not exist"));
        let bare = &judge(&CHECK, &facts(deployment("prometheus-grafana", json!({}))))[0];
        let none = &judge(&CHECK, &Facts { dashboards: Ok(BTreeMap::new()), ..holding(snapshot_of(&[])) })[0];
        assert_eq!((none.outcome, none.reason.as_str()), (Outcome::Fail, "Grafana is not deployed"));
        assert_eq!(
            (bare.outcome, bare.reason.as_str()),
            (Outcome::Fail, "Grafana runs without the sidecar that finds dashboards")
        );
    }
}
