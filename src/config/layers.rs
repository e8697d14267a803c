//! The layers of values, merged and resolved.

use super::document::{Document, key_path};
use super::logs::judge_logs;
use super::model::ExporterMode;
use super::objectives::judge_objectives;
use super::profiles::judge_profile;
use super::protection::judge_protection;
use super::samples::judge_samples;
use super::urls::judge_urls;
use super::{Config, Problem, Profile, schema};
use crate::error::{Failure, Kind};
use crate::stack;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const DEFAULTS: &str = include_str!("../../values/defaults.yaml");
const LOCAL: &str = include_str!("../../values/local.yaml");
const PRODUCTION: &str = include_str!("../../values/production.yaml");

/// One layer of values as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// File name for messages.
    pub file: String,
    /// Its text.
    pub text: String,
}

impl Layer {
    /// A layer named `file`.
    pub fn new(file: impl Into<String>, text: impl Into<String>) -> Self {
        Layer { file: file.into(), text: text.into() }
    }
}

/// Resolves the configuration from the built-in layers, the `inner` layers of the command, the
/// `user` layers in order, and `sets` (`key.path=value`). `profile` wins over every file.
///
/// # Errors
/// [`Kind::Usage`] with every problem of every layer at once.
pub fn resolve(profile: Option<Profile>, inner: &[Layer], user: &[Layer], sets: &[String]) -> anyhow::Result<Config> {
    let mut problems = Vec::new();
    let mut outer = documents(user, &mut problems);
    outer.push(Document::synthetic("--set", parse_sets(sets, &mut problems)));
    let profile = profile.unwrap_or_else(|| profile_of(&outer));
    let built_in = match profile {
        Profile::Local => Layer::new("values/local.yaml", LOCAL),
        Profile::Production => Layer::new("values/production.yaml", PRODUCTION),
    };
    let mut lower = vec![Layer::new("values/defaults.yaml", DEFAULTS), built_in];
    lower.extend_from_slice(inner);
    let mut all = documents(&lower, &mut problems);
    let built_in = together(&all);
    all.append(&mut outer);

    let file_schema = schema::of_file();
    problems.extend(all.iter().flat_map(|document| schema::judge(&file_schema, document)));
    fail_on(problems)?;

    let mut merged = together(&all);
    if let Value::Object(map) = &mut merged {
        let name = match profile {
            Profile::Local => "local",
            Profile::Production => "production",
        };
        map.insert("profile".to_owned(), Value::String(name.to_owned()));
    }
    fail_on(schema::judge(&schema::of_config(), &Document::synthetic("the merged configuration", merged.clone())))?;
    let config: Config = serde_json::from_value(merged.clone())
        .map_err(|error| Failure::new(Kind::Usage, "cannot read the configuration").caused_by(error))?;
    let mut problems = judge_profile(&config, &built_in, &merged);
    problems.extend(judge_meaning(&config));
    problems.extend(judge_objectives(&config, all.get(lower.len()..).unwrap_or_default()));
    fail_on(problems.into_iter().map(|(pointer, message)| placed(&all, &pointer, message)).collect())?;
    Ok(config)
}

/// What `documents` say together, the later over the earlier ones.
fn together(documents: &[Document]) -> Value {
    let mut merged = Value::Object(Map::new());
    for document in documents {
        merge(&mut merged, &document.value);
    }
    merged
}

/// The problem with the key at `pointer`, in the last of `documents` that sets it.
fn placed(documents: &[Document], pointer: &str, message: String) -> Problem {
    let place = documents.iter().rev().find(|document| document.value.pointer(pointer).is_some());
    let (line, column) = place.and_then(|document| document.position(pointer)).unwrap_or((0, 0));
    let file = place.map_or("the merged configuration", |document| &document.file).to_owned();
    Problem { file, line, column, path: key_path(pointer), message }
}

fn documents(layers: &[Layer], problems: &mut Vec<Problem>) -> Vec<Document> {
    layers
        .iter()
        .filter_map(|layer| match Document::parse(&layer.file, &layer.text) {
            Ok(document) => Some(document),
            Err(found) => {
                problems.extend(found);
                None
            }
        })
        .collect()
}

fn profile_of(documents: &[Document]) -> Profile {
    let name = documents.iter().rev().find_map(|document| document.value.get("profile").and_then(Value::as_str));
    if name == Some("production") { Profile::Production } else { Profile::Local }
}

fn fail_on(problems: Vec<Problem>) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let count = problems.len();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let head = if count == 1 {
        "the configuration has a problem".to_owned()
    } else {
        format!("the configuration has {count} problems")
    };
    Err(Failure::new(Kind::Usage, format!("{head}\n  {}", lines.join("\n  ")))
        .hint("`drivemaster-mon config schema` prints every key with its meaning")
        .doc("docs/configuration.md")
        .into())
}

/// Lays `over` onto `base`: maps merge, everything else replaces; `null` takes the key away.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

fn parse_sets(sets: &[String], problems: &mut Vec<Problem>) -> Value {
    let mut merged = Value::Object(Map::new());
    for set in sets {
        match parse_set(set) {
            Ok(value) => merge(&mut merged, &value),
            Err(message) => problems.push(Problem {
                file: "--set".to_owned(),
                line: 0,
                column: 0,
                path: set.split('=').next().unwrap_or_default().to_owned(),
                message,
            }),
        }
    }
    merged
}

/// `a.b=value` as `{a: {b: value}}`; the value is read as YAML, so numbers and lists work.
fn parse_set(set: &str) -> Result<Value, String> {
    let Some((path, text)) = set.split_once('=') else {
        return Err("expected `key.path=value`".to_owned());
    };
    if path.split('.').any(str::is_empty) {
        return Err("the key path has an empty part; expected `key.path=value`".to_owned());
    }
    let value = if text.starts_with('#') {
        // A channel of Slack, not a comment that leaves nothing.
        Value::String(text.to_owned())
    } else {
        let document = Document::parse("--set", &format!("value: {text}\n"))
            .map_err(|problems| problems.first().map(|problem| problem.message.clone()).unwrap_or_default())?;
        if document.value.as_object().is_some_and(|map| map.len() > 1) {
            return Err("expected one value, found several lines with keys; use `-f FILE` for them".to_owned());
        }
        document.value["value"].clone()
    };
    Ok(path.rsplit('.').fold(value, |below, key| Value::Object(Map::from_iter([(key.to_owned(), below)]))))
}

/// What no schema can say: names that must stand in the catalogue, names given twice, keys that
/// only make sense together. Each by the pointer of its key.
fn judge_meaning(config: &Config) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut report = |pointer: String, message: String| problems.push((pointer, message));
    let exporters: Vec<String> = stack::EXPORTERS.iter().map(|exporter| exporter.key.to_owned()).collect();
    for key in config.platform.exporters.keys() {
        if !exporters.contains(key) {
            report(format!("/platform/exporters/{key}"), schema::unknown(key, &exporters));
        }
    }
    let local = config.profile == Profile::Local;
    for (key, _) in config.platform.exporters.iter().filter(|(_, mode)| local && **mode == ExporterMode::Deployed) {
        report(
            format!("/platform/exporters/{key}"),
            "profile `local` deploys no exporters; set it to `existing`, or to `none`".to_owned(),
        );
    }
    let experiments: Vec<String> = stack::EXPERIMENTS.iter().map(|name| (*name).to_owned()).collect();
    for name in config.chaos_mesh.experiments.keys() {
        if !experiments.contains(name) {
            report(format!("/chaosMesh/experiments/{name}"), schema::unknown(name, &experiments));
        }
    }
    if config.alloy.enabled && !config.loki.enabled && config.loki.existing_url.is_empty() {
        report("/alloy/enabled".to_owned(), "nobody takes its logs: enable Loki or set `loki.existingUrl`".to_owned());
    }
    let components: Vec<String> = stack::COMPONENTS.iter().map(|component| component.key.to_owned()).collect();
    for (index, key) in config.verify.may_be_unknown.iter().enumerate() {
        if !components.contains(key) {
            report(
                format!("/verify/mayBeUnknown/{index}"),
                format!("`{key}` is not a component; known: {}", components.join(", ")),
            );
        }
    }
    let mut jobs: BTreeSet<&str> = reserved_jobs(config).collect();
    for (index, service) in config.platform.services.iter().enumerate() {
        if !jobs.insert(&service.name) {
            report(
                format!("/platform/services/{index}/name"),
                format!("another service or scrape job is called `{}`", service.name),
            );
        }
    }
    let names = &config.namespaces;
    for (key, name) in
        [("monitoring", &names.monitoring), ("nodeExporter", &names.node_exporter), ("chaosMesh", &names.chaos_mesh)]
    {
        // What is not ours there would fall under our Pod Security and our policies.
        if name == "default" || name.starts_with("kube-") {
            report(format!("/namespaces/{key}"), format!("`{name}` belongs to the cluster: choose another"));
        }
    }
    if config.namespaces.platform == config.namespaces.monitoring {
        report("/namespaces/monitoring".to_owned(), "must differ from `namespaces.platform`".to_owned());
    }
    let receivers = &config.alertmanager.receivers;
    let (email, slack) = (&receivers.email, &receivers.slack);
    let any = email.enabled || slack.enabled || receivers.pagerduty.enabled || receivers.heartbeat.enabled;
    for (needed, key, value) in [
        (email.enabled, "email/smarthost", &email.smarthost),
        (email.enabled, "email/from", &email.from),
        (email.enabled, "email/criticalTo", &email.critical_to),
        (email.enabled, "email/warningTo", &email.warning_to),
        (slack.enabled, "slack/criticalChannel", &slack.critical_channel),
        (slack.enabled, "slack/warningChannel", &slack.warning_channel),
        (slack.enabled, "slack/infoChannel", &slack.info_channel),
        (any, "credentialsSecret", &receivers.credentials_secret),
    ] {
        if config.alertmanager.enabled && needed && value.is_empty() {
            report(format!("/alertmanager/receivers/{key}"), "is empty, but an enabled receiver needs it".to_owned());
        }
    }
    let releases: Vec<String> = stack::RELEASES.iter().map(|release| release.name.to_owned()).collect();
    for (name, seconds) in &config.deploy.release_timeouts {
        if !releases.contains(name) {
            report(format!("/deploy/releaseTimeouts/{name}"), schema::unknown(name, &releases));
        } else if !(1..=604_800).contains(seconds) {
            report(format!("/deploy/releaseTimeouts/{name}"), format!("`{seconds}` is not from 1 to 604800 seconds"));
        }
    }
    for name in config.helm_values.keys().filter(|name| !releases.contains(name)) {
        report(format!("/helmValues/{name}"), schema::unknown(name, &releases));
    }
    for alert in config.verify.may_fire.iter().filter(|(_, reason)| reason.trim().is_empty()).map(|(alert, _)| alert) {
        report(format!("/verify/mayFire/{alert}"), "is empty: say why that alert is no fault".to_owned());
    }
    for (pointer, message) in judge_protection(config).into_iter().chain(judge_samples(config)) {
        report(pointer.to_owned(), message);
    }
    for (pointer, message) in judge_logs(config).into_iter().chain(judge_urls(config)) {
        report(pointer, message);
    }
    for (key, image) in [
        ("prometheus/image", &config.prometheus.image),
        ("prometheus/reloaderImage", &config.prometheus.reloader_image),
        ("alertmanager/image", &config.alertmanager.image),
        ("grafana/image", &config.grafana.image),
        ("grafana/sidecarImage", &config.grafana.sidecar_image),
        ("loki/image", &config.loki.image),
        ("jaeger/image", &config.jaeger.image),
        ("otelCollector/image", &config.otel_collector.image),
    ] {
        if image.tag == "latest" {
            report(format!("/{key}/tag"), "`latest` is not a version; pin one".to_owned());
        }
    }
    problems
}

/// The names of the scrape jobs that are not those of the platform's services.
fn reserved_jobs(config: &Config) -> impl Iterator<Item = &'static str> {
    let exporters = stack::EXPORTERS.iter().filter(|exporter| config.exporter_mode(exporter.key) != ExporterMode::None);
    [stack::SPAN_METRICS, stack::ANNOTATED_SERVICES, stack::HEALTH_PROBES, stack::URL_PROBES]
        .into_iter()
        .chain(stack::KUBERNETES_JOBS.iter().map(|row| row.job))
        .chain(config.enabled_components().map(|component| config.job_of(component)))
        .chain(exporters.map(|exporter| exporter.job))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(user: &str, sets: &[&str]) -> anyhow::Result<Config> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        resolve(None, &[], &[Layer::new("my.yaml", user)], &sets)
    }

    #[test]
    fn the_built_in_layers_are_complete() {
        let config = local("", &[]).unwrap();
        assert_eq!(config.profile, Profile::Local);
        assert_eq!(config.platform.services.len(), 5);
        resolve(Some(Profile::Production), &[], &[], &[]).unwrap();
    }

    #[test]
    fn later_layers_win_and_set_wins_over_all() {
        let config = local("prometheus: {retention: 80d}\ncluster: mine\n", &["prometheus.retention=90d"]).unwrap();
        assert_eq!(config.prometheus.retention, "90d");
        assert_eq!(config.cluster, "mine");
    }

    #[test]
    fn a_set_value_is_read_as_yaml() {
        let config = local("", &["platform.services=[{name: one, port: 1}]", "loki.enabled=false"]).unwrap();
        assert_eq!(config.platform.services[0].name, "one");
        assert!(!config.loki.enabled);
        let config = local("", &["alertmanager.receivers.slack.criticalChannel=#ops"]).unwrap();
        assert_eq!(config.alertmanager.receivers.slack.critical_channel, "#ops");
    }

    #[test]
    fn a_set_with_keys_on_further_lines_is_refused() {
        let told = local("", &["cluster=a\ndomain: b"]).unwrap_err().to_string();
        assert!(told.contains("--set: `cluster`: expected one value"), "{told}");
    }

    #[test]
    fn problems_of_all_layers_come_together() {
        let error = local("prometheus: {retenton: 3d}\n", &["loki.enable=false", "noequals"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("3 problems"), "{text}");
        assert!(text.contains("my.yaml:1:14: `prometheus.retenton`: unknown key; did you mean `retention`?"), "{text}");
        assert!(text.contains("--set: `loki.enable`: unknown key"), "{text}");
        assert!(text.contains("--set: `noequals`: expected `key.path=value`"), "{text}");
        assert_eq!(crate::error::exit_code_of(&error), 64);
    }

    #[test]
    fn what_no_schema_can_say_is_said_too() {
        let cases = [
            ("platform: {exporters: {postgres: none}}", "did you mean `postgresql`?"),
            ("chaosMesh: {experiments: {pod-kil: true}}", "did you mean `pod-kill`?"),
            ("alloy: {enabled: true}\nloki: {enabled: false}", "nobody takes its logs"),
            ("verify: {mayBeUnknown: [grafna]}", "is not a component"),
            ("platform: {exporters: {redis: deployed}}", "profile `local` deploys no exporters"),
            ("platform: {services: [{name: a, port: 1}, {name: a, port: 2}]}", "scrape job is called `a`"),
            ("platform: {services: [{name: redis, port: 1}]}", "scrape job is called `redis`"),
            ("platform: {services: [{name: annotated-services, port: 1}]}", "called `annotated-services`"),
            ("namespaces: {monitoring: drivemaster}", "must differ"),
            ("namespaces: {monitoring: kube-system}", "belongs to the cluster"),
            ("namespaces: {monitoring: default}", "belongs to the cluster"),
            ("deploy: {timeoutSeconds: 604801}", "604800"),
            ("helmValues: {lokki: {}}", "did you mean `loki`?"),
            ("deploy: {releaseTimeouts: {lokki: 3}}", "did you mean `loki`?"),
            ("deploy: {releaseTimeouts: {loki: 0}}", "`0` is not from 1 to 604800"),
            ("verify: {mayFire: {Some: ' '}}", "say why that alert is no fault"),
            ("grafana: {image: {tag: latest}}", "pin one"),
            ("grafana: {sidecarImage: {tag: latest}}", "pin one"),
            ("alertmanager: {receivers: {email: {enabled: true, smarthost: ''}}}", "email.smarthost`: is empty"),
            (
                "alertmanager: {receivers: {slack: {enabled: true}, credentialsSecret: ''}}",
                "credentialsSecret`: is empty",
            ),
        ];
        for (text, expected) in cases {
            let told = local(text, &[]).unwrap_err().to_string();
            assert!(told.contains(expected), "{text}: {told}");
            assert!(told.contains("my.yaml:1:"), "{text}: {told}");
        }
    }

    #[test]
    fn null_takes_a_key_back_to_missing() {
        let told = local("domain: null\n", &[]).unwrap_err().to_string();
        assert!(told.contains("domain"), "{told}");
    }
}
