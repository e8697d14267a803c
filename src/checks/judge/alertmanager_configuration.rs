//! Alertmanager runs with the routes and receivers that were deployed.

use super::facts::{CannotAsk, Need};
use super::{Again, Check, Facts, Scope, Severity, Verdict, counted};
use serde_yaml::Value;

pub(super) const CHECK: Check = Check {
    id: "alertmanager/configuration-loaded",
    title: "Alertmanager runs with the deployed routes and receivers",
    severity: Severity::Critical,
    hint: "kubectl logs of the Alertmanager pod say why it kept the former configuration",
    doc: "docs/checks.md#alertmanager-configuration-loaded",
    component: Some("alertmanager"),
    needs: &[Need::DeployedRoutes, Need::LoadedRoutes],
    judge: judge_configuration,
};

fn judge_configuration(_: &Scope<'_>, facts: &Facts) -> Vec<Verdict> {
    let (deployed, loaded) = match (&facts.deployed_routes, &facts.loaded_routes) {
        (Ok(deployed), Ok(loaded)) => (deployed, loaded),
        (Err(why), _) | (_, Err(why)) => return vec![Verdict::unknown(why)],
    };
    let (deployed, loaded) = match (outline("the deployed", deployed), outline("the loaded", loaded)) {
        (Ok(deployed), Ok(loaded)) => (deployed, loaded),
        (Err(reason), _) | (_, Err(reason)) => return vec![Verdict::unknown(&CannotAsk::lasting(reason))],
    };
    let only_in = |one: &[String], other: &[String], word: &str| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).map(|line| format!("{word}: {line}")).collect()
    };
    let mut differences = only_in(&deployed, &loaded, "not loaded");
    differences.extend(only_in(&loaded, &deployed, "loaded but not deployed"));
    if differences.is_empty() && deployed != loaded {
        // The same routes in another order: the first that matches wins.
        differences.push("the routes stand in another order".to_owned());
    }
    let receivers = deployed.iter().filter(|line| line.starts_with("receiver ")).count();
    vec![if differences.is_empty() {
        let routes = deployed.len() - receivers;
        Verdict::pass().evidence(vec![format!("{} to {}", counted(routes, "route"), counted(receivers, "receiver"))])
    } else {
        // The reloader needs a moment after a deploy.
        Verdict::fail("Alertmanager runs with another configuration").evidence(differences).again(Again::UntilTimeout)
    }]
}

/// The receivers and the tree of routes of a configuration, one line each, without what
/// Alertmanager fills in by itself.
fn outline(which: &str, text: &str) -> Result<Vec<String>, String> {
    let value: Value =
        serde_yaml::from_str(text).map_err(|error| format!("{which} configuration is no YAML: {error}"))?;
    let receivers = value.get("receivers").and_then(Value::as_sequence).into_iter().flatten();
    let mut lines: Vec<String> = receivers
        .map(|receiver| format!("receiver {}", receiver.get("name").map(scalar).unwrap_or_default()))
        .collect();
    lines.sort();
    match value.get("route") {
        Some(route) => outline_route("route", route, &mut lines),
        None => return Err(format!("{which} configuration has no route")),
    }
    Ok(lines)
}

fn outline_route(path: &str, route: &Value, lines: &mut Vec<String>) {
    let list = |key: &str| route.get(key).and_then(Value::as_sequence).into_iter().flatten();
    let mut matchers: Vec<String> = list("matchers").map(|matcher| normal_matcher(&scalar(matcher))).collect();
    for (key, operator) in [("match", "="), ("match_re", "=~")] {
        let old = route.get(key).and_then(Value::as_mapping).into_iter().flatten();
        matchers.extend(old.map(|(label, value)| format!("{}{operator}{}", scalar(label), scalar(value))));
    }
    matchers.sort();
    let receiver = route.get("receiver").map(scalar).unwrap_or_default();
    let goes_on = if route.get("continue").and_then(Value::as_bool).unwrap_or(false) { " and goes on" } else { "" };
    lines.push(format!("{path} [{}] to `{receiver}`{goes_on}", matchers.join(", ")));
    for (number, child) in list("routes").enumerate() {
        outline_route(&format!("{path}.{}", number + 1), child, lines);
    }
}

/// A matcher without the blanks and quotes that Alertmanager rewrites.
fn normal_matcher(matcher: &str) -> String {
    matcher.chars().filter(|letter| !letter.is_whitespace() && *letter != '"').collect()
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "null".to_owned(),
        other => serde_yaml::to_string(other).unwrap_or_default().trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::judge;
    use super::*;
    use crate::event::Outcome;

    const DEPLOYED: &str = r##"
route: {receiver: default, group_by: [alertname], routes: [
  {matchers: ['severity = "critical"'], receiver: critical, continue: true},
  {matchers: ['alertname="Watchdog"'], receiver: "null"}]}
receivers: [{name: default}, {name: critical, slack_configs: [{channel: "#a"}]}, {name: "null"}]
"##;

    /// As a real Alertmanager returns it.
    const LOADED: &str = r#"
global:
  resolve_timeout: 5m
route:
  receiver: default
  group_by:
  - alertname
  continue: false
  routes:
  - receiver: critical
    matchers:
    - severity="critical"
    continue: true
  - receiver: "null"
    matchers:
    - alertname="Watchdog"
    continue: false
receivers:
- name: default
- name: critical
  slack_configs:
  - api_url: <secret>
- name: "null"
templates: []
"#;

    fn facts(deployed: &str, loaded: &str) -> Facts {
        Facts { deployed_routes: Ok(deployed.to_owned()), loaded_routes: Ok(loaded.to_owned()), ..Facts::default() }
    }

    #[test]
    fn what_alertmanager_fills_in_is_no_difference() {
        let verdict = &judge(&CHECK, &facts(DEPLOYED, LOADED))[0];
        assert_eq!(
            (verdict.outcome, verdict.evidence.as_slice()),
            (Outcome::Pass, &["3 routes to 3 receivers".to_owned()][..])
        );
    }

    #[test]
    fn each_difference_is_named() {
        let cases = [
            (
                LOADED.replace("severity=\"critical\"", "severity=\"warning\""),
                "not loaded: route.1 [severity=critical] to `critical` and goes on",
            ),
            (LOADED.replace("- name: \"null\"", "- name: void"), "not loaded: receiver null"),
            (
                LOADED.replace("    continue: true", "    continue: false"),
                "not loaded: route.1 [severity=critical] to `critical` and goes on",
            ),
        ];
        for (loaded, expected) in cases {
            let verdict = &judge(&CHECK, &facts(DEPLOYED, &loaded))[0];
            assert_eq!(verdict.outcome, Outcome::Fail);
            assert_eq!(verdict.evidence[0], expected);
            assert_eq!(verdict.again, Again::UntilTimeout);
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_unknown() {
        for (deployed, loaded) in [("a: [", LOADED), (DEPLOYED, "receivers: []"), ("", "")] {
            assert_eq!(judge(&CHECK, &facts(deployed, loaded))[0].outcome, Outcome::Unknown);
        }
    }
}
