//! The pages that the program itself writes: `UPDATE_GOLDEN=1` (`make golden`) rewrites them.

#![allow(clippy::unwrap_used)]

mod support;

use drivemaster_mon::config::{Layer, Profile, resolve, schema};
use drivemaster_mon::flows::{Peer, flows};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::alerts::{Alert, alerts_of_every_profile, longest_window, tested_to_fire};
use support::firing::{Firing, Way, firing};
use support::routing::{Labels, configuration, inhibited, receiver, ways};

/// One key of the configuration.
struct Key {
    path: String,
    kind: String,
    meaning: String,
}

fn keys(schema: &Value, root: &Value, path: &str, found: &mut Vec<Key>) {
    let here = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let Some(properties) = here.get("properties").and_then(Value::as_object) else { return };
    for (name, below) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let target = match below.get("$ref").and_then(Value::as_str) {
            Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => below,
        };
        if target.get("properties").is_some() {
            keys(below, root, &path, found);
            continue;
        }
        let meaning =
            below.get("description").or_else(|| target.get("description")).and_then(Value::as_str).unwrap_or_default();
        found.push(Key { path, kind: kind(target), meaning: meaning.replace('\n', " ") });
    }
}

fn kind(schema: &Value) -> String {
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        return choices.iter().filter_map(|choice| choice["const"].as_str()).collect::<Vec<_>>().join(" \\| ");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => "text",
        Some("boolean") => "true \\| false",
        Some("integer" | "number") => "number",
        Some("array") => "list",
        _ => "map",
    }
    .to_owned()
}

fn default(config: &Value, path: &str) -> String {
    let value = config.pointer(&format!("/{}", path.replace('.', "/"))).unwrap();
    match value {
        Value::String(text) if text.is_empty() => "(empty)".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) if items.len() > 3 => format!("{} entries", items.len()),
        Value::Object(map) => format!("{} entries", map.len()),
        other => format!("`{other}`"),
    }
}

fn configuration_page() -> String {
    let schema = schema::of_file();
    let mut found = Vec::new();
    keys(&schema, &schema, "", &mut found);
    let local = serde_json::to_value(resolve(Some(Profile::Local), &[], &[], &[]).unwrap()).unwrap();
    let production = serde_json::to_value(resolve(Some(Profile::Production), &[], &[], &[]).unwrap()).unwrap();
    let mut page = String::from(
        "# Configuration\n\n\
         Layers, lowest first: the built-in defaults, those of the profile, those of the sandbox with `--sandbox`, \
         `drivemaster-mon.yaml` (or each `-f FILE` in order), `--set key.path=value`. Maps merge, everything else \
         replaces. An unknown key is refused with the nearest one.\n\n\
         `drivemaster-mon config show` prints the result, `drivemaster-mon config schema` a JSON Schema for editors.\n\n\
         | key | kind | profile `local` | profile `production` | meaning |\n|---|---|---|---|---|\n",
    );
    for key in found {
        let (local, production) = (default(&local, &key.path), default(&production, &key.path));
        page.push_str(&format!("| `{}` | {} | {local} | {production} | {} |\n", key.path, key.kind, key.meaning));
    }
    page.push_str(
        "\nA smaller stack on a cluster without the platform's exporters:\n\n```yaml\n\
         cluster: staging\nloki: { enabled: false }\nplatform:\n  services:\n    - { name: user-service, port: 3001 }\n    - { name: adaptive-service, port: 3002 }\n  \
         exporters: { postgresql: none, redis: none, kafka: none, elasticsearch: none, node: none, kubeState: none }\n```\n",
    );
    page
}

#[test]
fn the_configuration_page_is_what_the_program_knows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = configuration_page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "docs/configuration.md is stale; run `make golden`");
}

#[test]
fn the_example_of_the_configuration_page_is_accepted() {
    let page = configuration_page();
    let example = page.split("```").nth(1).unwrap().trim_start_matches("yaml\n");
    let config = resolve(None, &[], &[Layer::new("example", example)], &[]).unwrap();
    assert!(!config.loki.enabled);
}

/// A peer for people.
fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Group(name) => (*name).to_owned(),
        Peer::Stack => "every pod of the monitoring namespace".to_owned(),
        Peer::Namespace(name) => format!("namespace `{name}`"),
        Peer::Dns => "the cluster's DNS".to_owned(),
        Peer::ControlPlane => "control plane and nodes".to_owned(),
        Peer::Networks(ranges) => ranges.join(", "),
        Peer::Anywhere => "anywhere".to_owned(),
    }
}

#[test]
fn the_page_about_security_lists_the_flows_of_the_catalogue() {
    let config = resolve(Some(Profile::Production), &[], &[], &[]).unwrap();
    let mut table = String::from("\n| from | to | ports | why |\n|---|---|---|---|\n");
    for flow in flows(&config) {
        let ports: Vec<String> = flow
            .ports
            .iter()
            .map(|ports| match ports.numbers.as_slice() {
                [] => format!("every {} port", ports.protocol),
                numbers => {
                    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                    format!("{} {}", ports.protocol, numbers.join(", "))
                }
            })
            .collect();
        table.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            peer(&flow.from),
            peer(&flow.to),
            ports.join("; "),
            flow.why
        ));
    }
    table.push('\n');
    assert_generated("docs/security.md", "flows", &table);
}

#[cfg(feature = "sandbox")]
#[test]
fn the_page_about_scenarios_and_the_help_list_those_of_the_simulator() {
    use clap::CommandFactory;
    use drivemaster_mon::sandbox::platform::forms::FORMS;

    let mut table = String::from("\n| scenario | what happens | where an amount is left out |\n|---|---|---|\n");
    for form in FORMS {
        let usual = form.amount.map_or_else(|| "-".to_owned(), |amount| format!("`{}`", amount.written(amount.usual)));
        table.push_str(&format!("| `{}` | {} | {usual} |\n", form.usage().replace('|', "\\|"), form.meaning));
    }
    table.push('\n');
    assert_generated("docs/scenarios.md", "scenarios", &table);

    let mut command = drivemaster_mon::cli::Cli::command();
    command.build();
    let path = ["sandbox", "scenario", "set"];
    let set = path.iter().fold(&command, |command, name| command.find_subcommand(name).unwrap());
    let help = set.get_after_help().unwrap().to_string();
    let lines = help.lines().skip_while(|line| !line.starts_with("Scenarios")).skip(1);
    let listed: Vec<&str> = lines.map_while(|line| line.strip_prefix("  ")).collect();
    assert_eq!(listed, FORMS.iter().map(|form| form.usage()).collect::<Vec<_>>());
}

/// How `row` shows that its alert fires, for people.
fn shown(row: &Firing) -> String {
    match (row.way, &row.scenario) {
        (Way::Live, Some(scenario)) => format!("live: `{scenario}`"),
        (Way::Live, None) => "live: it always fires".to_owned(),
        (Way::Backfill, _) => "backfilled blocks".to_owned(),
    }
}

#[test]
fn the_page_about_alerts_says_of_each_one_how_it_is_shown_to_fire() {
    let rows = firing();
    let mut table = String::from("\n| alert | what | after | severity | shown |\n|---|---|---|---|---|\n");
    for alert in alerts_of_every_profile() {
        let name = &alert.name;
        let of_alert: Vec<String> = rows.iter().filter(|row| &row.alert == name).map(shown).collect();
        assert!(!of_alert.is_empty(), "`{name}` has no row in `alerts/firing.yaml`");
        let Alert { summary, lasting, severity, .. } = &alert;
        let line = format!(
            "| [{name}](runbooks/{name}.md) | {summary} | {lasting} | {severity} | {} |\n",
            of_alert.join("; ")
        );
        if !table.contains(&line) {
            table.push_str(&line);
        }
    }
    table.push('\n');
    assert_generated("docs/alerts.md", "firing", &table);
}

#[test]
fn every_alert_is_shown_to_fire_in_the_way_that_its_windows_allow() {
    let alerts = alerts_of_every_profile();
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let tested = tested_to_fire();
    for row in firing() {
        let name = row.alert.as_str();
        assert!(names.contains(name), "`alerts/firing.yaml` has a row for `{name}`, which is no alert");
        let before: Vec<&String> = row.after.iter().filter(|before| !names.contains(before.as_str())).collect();
        assert!(before.is_empty(), "`{name}` is to come after {before:?}, which are no alerts");
        let windows: Vec<u64> = alerts.iter().filter(|alert| alert.name == name).map(longest_window).collect();
        let short = windows.iter().all(|seconds| *seconds <= 300);
        match row.way {
            Way::Live => assert!(short, "`{name}` is called live with windows of {windows:?} s"),
            Way::Backfill => assert!(!short, "`{name}` can be shown live: its windows are {windows:?} s"),
        }
        if let Some(binary) = &row.by {
            assert_eq!(row.way, Way::Backfill, "`{name}` is shown by `{binary}`");
            let sources = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(binary)).unwrap();
            let source = sources.map(|source| std::fs::read_to_string(source.unwrap().path()).unwrap());
            assert!(source.collect::<String>().contains(&format!("\"{name}")), "`{binary}` does not name `{name}`");
        }
        assert!(tested.contains(name), "no unit test lets `{name}` fire");
    }
}

/// What of a label set the table of routes varies.
fn labelled(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn the_page_about_routing_has_the_truth_table() {
    let enabled =
        ["slack", "email", "pagerduty", "heartbeat"].map(|way| format!("alertmanager.receivers.{way}.enabled=true"));
    let configuration = configuration(&enabled.each_ref().map(String::as_str));
    let or_none = |value: &str| if value.is_empty() { "(none)".to_owned() } else { format!("`{value}`") };
    let mut table = String::from("\n| alert | severity | receiver | tells |\n|---|---|---|---|\n");
    for alertname in ["Watchdog", "InfoInhibitor", "any other"] {
        for severity in ["critical", "warning", "info", "none", "any other", ""] {
            let receiver = receiver(&configuration, &labelled(&[("alertname", alertname), ("severity", severity)]));
            let tells = match ways(&configuration, receiver).join(", ") {
                nobody if nobody.is_empty() => "nobody".to_owned(),
                ways => ways,
            };
            let [alertname, severity] = [alertname, severity].map(or_none);
            table.push_str(&format!("| {alertname} | {severity} | `{receiver}` | {tells} |\n"));
        }
    }
    table.push('\n');
    assert_generated("docs/routing.md", "routes", &table);

    let mut pairs = String::from(
        "\n| fires | is silent beside it | same service | other service, same namespace | nothing in common |\n|---|---|---|---|---|\n",
    );
    let kinds: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::from([
        ("ours, critical", vec![("alertname", "Ours"), ("severity", "critical"), ("component", "x")]),
        ("ours, warning", vec![("alertname", "Ours"), ("severity", "warning"), ("component", "x")]),
        ("objective, critical", vec![("alertname", "Of"), ("severity", "critical"), ("component", "x"), ("slo", "s")]),
        ("objective, warning", vec![("alertname", "Of"), ("severity", "warning"), ("component", "x"), ("slo", "s")]),
        ("ours, info", vec![("alertname", "Ours"), ("severity", "info"), ("component", "x")]),
        ("upstream, critical", vec![("alertname", "Theirs"), ("severity", "critical")]),
        ("upstream, warning", vec![("alertname", "Theirs"), ("severity", "warning")]),
        ("upstream, info", vec![("alertname", "Theirs"), ("severity", "info")]),
        ("InfoInhibitor", vec![("alertname", "InfoInhibitor"), ("severity", "none")]),
    ]);
    for (source, of_source) in &kinds {
        for (target, of_target) in kinds.iter().filter(|(target, _)| *target != source) {
            let silent = [("a", "a"), ("b", "a"), ("b", "b")].map(|(service, namespace)| {
                let place = [("service", service), ("namespace", namespace)];
                let source = labelled(&[of_source.as_slice(), &[("service", "a"), ("namespace", "a")]].concat());
                let target = labelled(&[of_target.as_slice(), &place].concat());
                if inhibited(&configuration, &[source, target])[1] { "silent" } else { "-" }
            });
            if silent.contains(&"silent") {
                pairs.push_str(&format!("| {source} | {target} | {} |\n", silent.join(" | ")));
            }
        }
    }
    pairs.push('\n');
    assert_generated("docs/routing.md", "inhibitions", &pairs);
}

#[test]
fn the_page_about_validate_lists_every_kind_of_finding() {
    use drivemaster_mon::validate::codes;
    let mut text = String::new();
    let mut category = "";
    for code in codes() {
        if code.category() != category {
            category = code.category();
            text.push_str(&format!("\n### {category}\n"));
        }
        let anchor = code.id.replace('/', "-");
        let weight = match code.severity == code.foreign {
            true => code.severity.word().to_owned(),
            false => format!("{}; {} in other people's files", code.severity.word(), code.foreign.word()),
        };
        text.push_str(&format!("\n<a id=\"{anchor}\"></a>\n`{}` ({weight}): {}. {}.\n", code.id, code.title, code.fix));
    }
    text.push('\n');
    assert_generated("docs/validate.md", "findings", &text);
}

#[test]
fn the_page_about_metrics_says_who_uses_each_metric_of_the_contract() {
    use drivemaster_mon::contract::Contract;
    use drivemaster_mon::render::Sources;
    use drivemaster_mon::validate::uses;

    let uses = uses(&resolve(Some(Profile::Production), &[], &[], &[]).unwrap(), &Sources::embedded()).unwrap();
    let list = |names: Vec<&String>| match names.len() {
        0 => "-".to_owned(),
        _ => names.iter().map(|name| name.replace('|', "\\|")).collect::<Vec<_>>().join(", "),
    };
    let mut text = String::new();
    for (file, contract) in [("contract", Contract::embedded()), ("programs", Contract::programs())] {
        for (exporter, metrics) in contract.unwrap().exporters {
            text.push_str(&format!("\n### {exporter} (`alerts/{file}.yaml`)\n\n"));
            text.push_str(
                "| metric | type | unit | labels | meaning | rules | panels |\n|---|---|---|---|---|---|---|\n",
            );
            for metric in metrics {
                let series = ["", "_bucket", "_sum", "_count"].map(|end| format!("{}{end}", metric.name));
                let of = || series.iter().filter_map(|name| uses.get(name));
                let rules: std::collections::BTreeSet<&String> = of().flat_map(|uses| &uses.rules).collect();
                let panels: std::collections::BTreeSet<&String> = of().flat_map(|uses| &uses.panels).collect();
                let specified = metric.specified_as.as_ref().filter(|name| **name != metric.name);
                let name = match specified {
                    Some(specified) => format!("`{}` (specified as `{specified}`)", metric.name),
                    None => format!("`{}`", metric.name),
                };
                text.push_str(&format!(
                    "| {name} | {} | {} | {} | {} | {} | {} |\n",
                    metric.metric_type.word(),
                    metric.unit,
                    metric.labels.join(", "),
                    metric.meaning.replace('|', "\\|"),
                    list(rules.into_iter().collect()),
                    list(panels.into_iter().collect()),
                ));
            }
        }
    }
    text.push('\n');
    assert_generated("docs/metrics.md", "metrics", &text);
}

/// Holds the part `name` of a page against `wanted`, or writes it with `UPDATE_GOLDEN`.
fn assert_generated(page: &str, name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let (start, end) = (format!("<!-- {name}: generated, `make golden` -->\n"), format!("<!-- end of {name} -->"));
    let (head, rest) = text.split_once(&start).unwrap();
    let (_, tail) = rest.split_once(&end).unwrap();
    let wanted = format!("{head}{start}{wanted}{end}{tail}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted, "{page} is stale; run `make golden`");
}
