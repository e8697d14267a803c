//! Every dashboard is a bare, valid Grafana model, and asks only for what the contract has.

use crate::{config, deployed, promtool, unknown_metrics};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The dashboards by the name of their file, as they are deployed.
fn dashboards() -> BTreeMap<String, Value> {
    let files = deployed(&config("existing"), "drivemaster-dashboard-");
    assert!(!files.is_empty());
    files.into_iter().map(|(name, text)| (name, serde_json::from_str(&text).unwrap())).collect()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

/// Every query, with Grafana's variables replaced by values.
fn queries(dashboard: &Value) -> Vec<String> {
    panels(dashboard)
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| {
            let query = target["expr"].as_str().unwrap();
            query
                .replace("$__rate_interval", "1m")
                .replace("$namespace", "drivemaster")
                .replace("$service", "user-service|adaptive-service")
        })
        .collect()
}

/// Every query of every dashboard.
pub(crate) fn all_queries() -> Vec<String> {
    dashboards().values().flat_map(queries).collect()
}

#[test]
fn a_dashboard_is_a_bare_model_with_a_stable_uid() {
    for (name, dashboard) in dashboards() {
        assert_eq!(dashboard["uid"], format!("drivemaster-{}", name.trim_end_matches(".json")));
        assert!(dashboard["title"].is_string() && dashboard.get("dashboard").is_none(), "{name}");
        assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 41, "{name}");
        let variables: Vec<&str> = dashboard["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        assert_eq!(variables[0], "datasource", "{name}");
    }
}

#[test]
fn panels_have_an_id_of_their_own_a_unit_a_description_and_the_chosen_datasource() {
    for (name, dashboard) in dashboards() {
        let ids: BTreeSet<u64> = panels(&dashboard).iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels(&dashboard).len(), "{name}");
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
            let has_unit = panel["fieldConfig"]["defaults"]["unit"].is_string();
            assert!(has_unit || panel["type"] == "state-timeline", "{title}");
            for source in panel["targets"].as_array().unwrap().iter().chain([panel]) {
                assert_eq!(source["datasource"], json!({ "type": "prometheus", "uid": "${datasource}" }), "{title}");
            }
        }
    }
}

#[test]
fn panels_lie_within_24_columns_and_do_not_overlap() {
    for (_, dashboard) in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in panels(&dashboard) {
            let side = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(side("x") + side("w") <= 24 && side("w") > 0 && side("h") > 0, "{}", panel["title"]);
            for row in side("y")..side("y") + side("h") {
                for column in side("x")..side("x") + side("w") {
                    assert!(taken.insert((row, column)), "{} overlaps", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn queries_ask_only_for_metrics_of_the_contract() {
    for (_, dashboard) in dashboards() {
        for query in queries(&dashboard) {
            assert_eq!(unknown_metrics(&query), Vec::<String>::new(), "{query}");
        }
    }
}

#[test]
fn promtool_parses_every_query() {
    let folder = tempfile::tempdir().unwrap();
    let rules: Vec<Value> = all_queries()
        .iter()
        .enumerate()
        .map(|(index, query)| json!({ "record": format!("query:{index}"), "expr": query }))
        .collect();
    let file = json!({ "groups": [{ "name": "queries", "rules": rules }] });
    std::fs::write(folder.path().join("queries.yaml"), file.to_string()).unwrap();
    assert_eq!(promtool(folder.path(), &["check", "rules"], &["queries.yaml".to_owned()]), Ok(()));
}

#[test]
fn the_application_overview_shows_what_the_specification_lists() {
    let dashboards = dashboards();
    let dashboard = &dashboards["application-overview.json"];
    let titles: BTreeSet<&str> = panels(dashboard).iter().map(|panel| panel["title"].as_str().unwrap()).collect();
    for title in [
        "Service health status",
        "Request rate by service",
        "Response times",
        "Error rate by service",
        "Active users",
        "Learning sessions",
        "Questions answered",
        "Learning effectiveness",
    ] {
        assert!(titles.contains(title), "no panel `{title}`");
    }
}
