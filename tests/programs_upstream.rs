//! What holds of all upstream charts together, as helm renders them: what a person sets arrives, a changed
//! configuration restarts its pod, few may read Secrets; and the real Loki, Jaeger, Collector and Alloy
//! accept their configuration in every variant.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use drivemaster_mon::render::Bundle;
use drivemaster_mon::render::bundle::Release;
use drivemaster_mon::stack::EXPERIMENTS;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use support::rendered::{self, bundle, containers, find, name_of, of_kind, own, pod_templates};
use support::tool;

fn release<'b>(bundle: &'b Bundle, name: &str) -> &'b Release {
    bundle.releases.iter().find(|release| release.name == name).unwrap()
}

/// What helm makes of one release of the built-in configuration with the layer `more`.
fn objects_of(name: &str, more: &str) -> Vec<Value> {
    rendered::templated(release(&bundle(more), name), "helm")
}

/// What helm makes of every release, and what is ours.
fn everything(more: &str) -> Vec<Value> {
    let bundle = bundle(more);
    let ours = own(&bundle).into_iter().chain(bundle.late_objects.iter().map(|late| late.manifest.0.clone()));
    bundle.releases.iter().flat_map(|release| rendered::templated(release, "helm")).chain(ours).collect()
}

/// A setting, the release it is for, and where its value stands then: kind, name, pointer.
type Setting = (&'static str, &'static str, (&'static str, &'static str, &'static str), Value);

#[test]
fn what_a_person_sets_arrives_where_it_counts() {
    const PROMETHEUS: (&str, &str) = ("Prometheus", "prometheus-kube-prometheus-prometheus");
    const ALERTMANAGER: (&str, &str) = ("Alertmanager", "prometheus-kube-prometheus-alertmanager");
    let prometheus = |pointer| (PROMETHEUS.0, PROMETHEUS.1, pointer);
    let alertmanager = |pointer| (ALERTMANAGER.0, ALERTMANAGER.1, pointer);
    let settings: Vec<Setting> = vec![
        ("", "prometheus", prometheus("/spec/retention"), json!("35d")),
        ("", "prometheus", prometheus("/spec/retentionSize"), json!("45GB")),
        ("", "prometheus", prometheus("/spec/storage/volumeClaimTemplate/spec/storageClassName"), json!("fast-ssd")),
        (
            "",
            "prometheus",
            prometheus("/spec/storage/volumeClaimTemplate/spec/resources/requests/storage"),
            json!("50Gi"),
        ),
        (
            "",
            "prometheus",
            prometheus("/spec/externalLabels"),
            json!({"cluster": "drivemaster", "environment": "production"}),
        ),
        ("", "prometheus", prometheus("/spec/exemplars/maxSize"), json!(100_000)),
        ("", "prometheus", prometheus("/spec/enableFeatures"), json!(["exemplar-storage"])),
        ("", "prometheus", prometheus("/spec/queryLogFile"), json!("/dev/stdout")),
        (
            "prometheus: {retention: 60d, retentionSize: 90GB, storageSize: 100Gi}",
            "prometheus",
            prometheus("/spec/retention"),
            json!("60d"),
        ),
        (
            "prometheus: {storageSize: 100Gi}",
            "prometheus",
            prometheus("/spec/storage/volumeClaimTemplate/spec/resources/requests/storage"),
            json!("100Gi"),
        ),
        (
            "storage: {class: gold}",
            "prometheus",
            alertmanager("/spec/storage/volumeClaimTemplate/spec/storageClassName"),
            json!("gold"),
        ),
        (
            "storage: {class: gold}",
            "loki",
            ("StatefulSet", "loki", "/spec/volumeClaimTemplates/0/spec/storageClassName"),
            json!("gold"),
        ),
        (
            "storage: {class: gold}",
            "prometheus",
            ("PersistentVolumeClaim", "prometheus-grafana", "/spec/storageClassName"),
            json!("gold"),
        ),
        (
            "storage: {class: gold}\njaeger: {storage: badger}",
            "jaeger",
            ("PersistentVolumeClaim", "jaeger", "/spec/storageClassName"),
            json!("gold"),
        ),
        ("prometheus: {replicas: 2}", "prometheus", prometheus("/spec/replicas"), json!(2)),
        ("alertmanager: {replicas: 3}", "prometheus", alertmanager("/spec/replicas"), json!(3)),
        ("prometheus: {otlpReceiver: true}", "prometheus", prometheus("/spec/enableOTLPReceiver"), json!(true)),
        (
            "prometheus: {remoteWrite: [{name: long, url: 'https://long.example.com/w', credentialsSecret: s}]}",
            "prometheus",
            prometheus("/spec/remoteWrite/0"),
            json!({"name": "long", "url": "https://long.example.com/w", "sendExemplars": true, "basicAuth": {
                "username": {"name": "s", "key": "username"}, "password": {"name": "s", "key": "password"}}}),
        ),
        (
            "domain: staging.example.org",
            "prometheus",
            prometheus("/spec/externalUrl"),
            json!("https://prometheus.staging.example.org"),
        ),
        (
            "domain: staging.example.org",
            "jaeger",
            ("Ingress", "jaeger", "/spec/rules/0/host"),
            json!("tracing.staging.example.org"),
        ),
        (
            "ingress: {className: public}",
            "prometheus",
            ("Ingress", "prometheus-grafana", "/spec/ingressClassName"),
            json!("public"),
        ),
        (
            "ingress: {internalClassName: inner}",
            "jaeger",
            ("Ingress", "jaeger", "/spec/ingressClassName"),
            json!("inner"),
        ),
        ("ingress: {tls: false}", "jaeger", ("Ingress", "jaeger", "/spec/tls"), Value::Null),
        (
            "namespaces: {monitoring: watch}",
            "prometheus",
            ("Service", "prometheus-kube-prometheus-prometheus", "/metadata/namespace"),
            json!("watch"),
        ),
        (
            "helmValues: {loki: {loki: {podLabels: {team: a}}}}",
            "loki",
            ("StatefulSet", "loki", "/spec/template/metadata/labels/team"),
            json!("a"),
        ),
        (
            "prometheus: {retention: 40d}\nhelmValues: {prometheus: {prometheus: {prometheusSpec: {retention: 41d}}}}",
            "prometheus",
            prometheus("/spec/retention"),
            json!("41d"),
        ),
        (
            "chaosMesh: {webhookFailurePolicy: Ignore}",
            "chaos-mesh",
            ("ValidatingWebhookConfiguration", "chaos-mesh-validation", "/webhooks/0/failurePolicy"),
            json!("Ignore"),
        ),
        (
            "",
            "chaos-mesh",
            ("ValidatingWebhookConfiguration", "chaos-mesh-validation", "/webhooks/0/failurePolicy"),
            json!("Fail"),
        ),
    ];
    for (more, of, (kind, name, pointer), expected) in settings {
        let objects = objects_of(of, more);
        let found = find(&objects, kind, name).pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, expected, "`{more}`: {kind} {name} {pointer}");
    }
}

#[test]
fn a_changed_configuration_restarts_its_pod() {
    let existing = "loki: {enabled: false, existingUrl: 'https://logs.example.com'}";
    for (of, workload, more) in [
        ("loki", "loki", "loki: {retention: {audit: 9000h}}"),
        ("jaeger", "jaeger", "jaeger: {retention: 100h}"),
        ("jaeger", "jaeger", "jaeger: {storage: badger}"),
        ("otel-collector", "otel-collector", "otelCollector: {samplingPercentage: 11}"),
        ("otel-collector", "otel-collector", existing),
        ("prometheus", "prometheus-grafana", existing),
        ("prometheus", "prometheus-grafana", "domain: example.org"),
    ] {
        let template = |more: &str| {
            let templates: BTreeMap<String, Value> = pod_templates(&objects_of(of, more)).into_iter().collect();
            templates[workload].clone()
        };
        assert_eq!(template(""), template(""), "{workload} restarts for nothing");
        assert_ne!(template(""), template(more), "{workload} goes on with its old configuration: {more}");
    }
    // These read a changed file by themselves, told by a second container.
    let alloy = objects_of("alloy", "");
    let pod = &find(&alloy, "DaemonSet", "alloy")["spec"]["template"]["spec"];
    assert!(containers(pod).any(|container| container["name"] == "config-reloader"), "{pod}");
}

#[test]
fn few_may_read_secrets_and_nobody_those_of_the_whole_cluster() {
    let objects = everything("");
    let reads = |role: &Value| {
        role["rules"].as_array().into_iter().flatten().any(|rule| {
            let resources = rule["resources"].as_array().into_iter().flatten();
            resources.clone().any(|resource| resource == "secrets" || resource == "*")
                && rule["apiGroups"].as_array().into_iter().flatten().any(|group| group == "" || group == "*")
        })
    };
    let roles = of_kind(&objects, "ClusterRole").chain(of_kind(&objects, "Role"));
    let readers: BTreeSet<&str> = roles.filter(|role| reads(role)).map(name_of).collect();
    // Chaos Mesh reads those of its own namespace and of the platform's: its chart has no switch for it.
    assert_eq!(
        readers,
        BTreeSet::from([
            "prometheus-kube-prometheus-operator",
            "chaos-mesh-chaos-controller-manager-control-plane",
            "chaos-mesh-chaos-controller-manager-target-namespace",
        ])
    );
    let everywhere: BTreeSet<&str> = of_kind(&objects, "ClusterRoleBinding")
        .filter_map(|binding| binding["roleRef"]["name"].as_str())
        .filter(|role| readers.contains(role))
        .collect();
    assert_eq!(everywhere, BTreeSet::from(["prometheus-kube-prometheus-operator"]));
}

#[test]
fn correlations_lead_to_datasources_that_are_there() {
    for more in [
        "",
        "jaeger: {enabled: false}",
        "loki: {enabled: false}\nalloy: {enabled: false}",
        "prometheus: {enabled: false}",
    ] {
        let bundle = bundle(more);
        let values = &release(&bundle, "prometheus").values;
        let sources = values["grafana"]["datasources"]["datasources.yaml"]["datasources"].as_array().unwrap();
        let uids: BTreeSet<&str> = sources.iter().map(|source| source["uid"].as_str().unwrap()).collect();
        let mut named = Vec::new();
        for source in sources {
            datasource_uids(source, &mut named);
        }
        for uid in &named {
            assert!(uids.contains(uid), "{more}: `{uid}` is none of {uids:?}");
        }
        if more.is_empty() {
            // Exemplars to traces, logs to traces by text and by metadata, traces to logs, traces to metrics.
            assert_eq!(named, ["jaeger", "jaeger", "jaeger", "loki", "prometheus"]);
        }
    }
}

fn datasource_uids<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("datasourceUid").and_then(Value::as_str));
            map.values().for_each(|below| datasource_uids(below, found));
        }
        Value::Array(items) => items.iter().for_each(|below| datasource_uids(below, found)),
        _ => {}
    }
}

#[test]
fn queries_are_cached_only_where_the_edition_can() {
    let settings = |more: &str| {
        let bundle = bundle(more);
        let values = release(&bundle, "prometheus").values.clone();
        values["grafana"]["grafana.ini"]["caching"].clone()
    };
    assert_eq!(settings(""), Value::Null);
    assert_eq!(settings("grafana: {edition: enterprise}"), json!({"enabled": true}));
    let loki = |more: &str| release(&bundle(more), "loki").values["loki"]["query_range"].clone();
    assert_eq!(loki("")["results_cache"]["cache"]["embedded_cache"]["max_size_mb"], 256);
    assert_eq!(loki("loki: {resultsCacheMegabytes: 0}"), Value::Null);
}

#[test]
fn every_experiment_is_a_paused_schedule_and_no_two_run_at_once() {
    let bundle = bundle("");
    let schedules: Vec<&Value> =
        bundle.late_objects.iter().map(|late| &late.manifest.0).filter(|object| object["kind"] == "Schedule").collect();
    let called: BTreeSet<&str> = schedules.iter().map(|schedule| name_of(schedule)).collect();
    assert_eq!(called, EXPERIMENTS.iter().copied().collect());
    let mut running: BTreeMap<(u32, u32), &str> = BTreeMap::new();
    for schedule in schedules {
        let name = name_of(schedule);
        assert_eq!(schedule["metadata"]["annotations"]["experiment.chaos-mesh.org/pause"], "true", "{name}");
        assert_eq!(schedule["metadata"]["namespace"], "drivemaster", "{name}");
        let spec = &schedule["spec"];
        assert!(spec["historyLimit"].as_u64().unwrap() >= 1 && spec["concurrencyPolicy"] == "Forbid", "{name}");
        let kind = spec["type"].as_str().unwrap();
        let body = &spec[format!("{}{}", kind[..1].to_lowercase(), &kind[1..])];
        assert!(body.is_object(), "{name} is a {kind} without its body");
        assert_eq!(body["selector"]["namespaces"], json!(["drivemaster"]), "{name}");
        let seconds = match body["duration"].as_str() {
            Some(text) if text.ends_with('m') => text.trim_end_matches('m').parse::<u32>().unwrap() * 60,
            Some(text) => text.trim_end_matches('s').parse().unwrap(),
            // Killing has no duration.
            None => 60,
        };
        let words: Vec<&str> = spec["schedule"].as_str().unwrap().split(' ').collect();
        assert_eq!((words.len(), &words[2..]), (5, &["*"; 3][..]), "{name}");
        let minute: u32 = words[0].parse().unwrap();
        let every: u32 = words[1].strip_prefix("*/").map_or(1, |hours| hours.parse().unwrap());
        for hour in (0..24).step_by(every as usize) {
            for at in minute..minute + seconds.div_ceil(60) {
                let other = running.insert((hour, at), name);
                assert_eq!(other, None, "{name} runs at {hour}:{at} too");
            }
        }
    }
}

#[test]
fn what_runs_already_takes_what_our_own_would() {
    let more = "prometheus: {enabled: false, existingUrl: 'https://metrics.example.com'}\n\
                loki: {enabled: false, existingUrl: 'https://logs.example.com'}\n\
                jaeger: {elasticsearch: {url: 'https://search.example.com:9200', indexPrefix: theirs}}";
    let bundle = bundle(more);
    let called: BTreeSet<&str> = bundle.releases.iter().map(|release| release.name.as_str()).collect();
    assert!(!called.contains("loki") && called.contains("prometheus"), "{called:?}");
    let text = |name: &str| release(&bundle, name).values.to_string();
    assert!(text("alloy").contains("https://logs.example.com/loki/api/v1/push"));
    assert!(text("otel-collector").contains("https://logs.example.com/otlp"));
    assert!(text("jaeger").contains("https://metrics.example.com"));
    assert!(text("jaeger").contains("https://search.example.com:9200"));
    let all: String = bundle.releases.iter().map(|release| release.values.to_string()).collect();
    assert!(!all.contains("loki.drivemaster-monitoring"), "something still asks a Loki that is not there");
    let asks = ["prometheus-kube-prometheus-prometheus.drivemaster-monitoring.svc", "elasticsearch-master"];
    for name in ["jaeger", "otel-collector"] {
        assert!(!asks.iter().any(|host| text(name).contains(host)), "{name}");
    }
}

#[test]
fn nothing_calls_home() {
    let loki: Value = serde_yaml::from_str(&file_of(&objects_of("loki", ""), "loki", "config.yaml")).unwrap();
    assert_eq!(loki["analytics"]["reporting_enabled"], false);
    let alloy = objects_of("alloy", "");
    let pod = &find(&alloy, "DaemonSet", "alloy")["spec"]["template"]["spec"];
    let mut arguments = containers(pod).flat_map(|container| container["args"].as_array().into_iter().flatten());
    assert!(arguments.any(|argument| argument == "--disable-reporting"), "{pod}");
    let grafana = file_of(&objects_of("prometheus", ""), "prometheus-grafana", "grafana.ini");
    for line in ["check_for_updates = false", "check_for_plugin_updates = false", "reporting_enabled = false"] {
        assert!(grafana.lines().any(|written| written == line), "no `{line}` in {grafana}");
    }
}

/// The file that a ConfigMap holds under `key`.
fn file_of(objects: &[Value], name: &str, key: &str) -> String {
    let data = &find(objects, "ConfigMap", name)["data"];
    data[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {data}")).to_owned()
}

/// What `program` says of `text`, given as the file behind `arguments`.
fn judged(program: &str, arguments: &[&str], text: &str, variables: &[(&str, &str)]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let arguments = arguments.iter().map(|word| word.replace("FILE", path.to_str().unwrap()));
    let mut command = Command::new(tool(program));
    command.args(arguments).current_dir(folder.path()).env_clear().envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Layers that change what a program is told.
const VARIANTS: [&str; 8] = [
    "",
    "security: {internalTls: {mode: secret}}",
    "privacy: {pseudonymise: false}",
    "jaeger: {storage: badger}",
    "jaeger: {archive: {enabled: false}, elasticsearch: {credentialsSecret: ''}}",
    "loki: {objectStorage: {enabled: true, bucket: b, endpoint: 'https://s3.example.com', credentialsSecret: s}}",
    "loki: {enabled: false, existingUrl: 'https://logs.example.com'}\nprometheus: {enabled: false, existingUrl: 'https://metrics.example.com'}",
    "otelCollector: {maskedValues: ['IBAN[0-9]{20}$']}\njaeger: {enabled: false}",
];

#[test]
fn loki_accepts_its_configuration_in_every_variant() {
    let arguments = ["-config.file=FILE", "-verify-config", "-config.expand-env=true"];
    let mut judged_variants = 0;
    for more in VARIANTS {
        let bundle = bundle(more);
        let Some(release) = bundle.releases.iter().find(|release| release.name == "loki") else { continue };
        let objects = rendered::templated(release, "helm");
        // The certificate is looked for at once.
        let text = file_of(&objects, "loki", "config.yaml");
        let variables = [("S3_ACCESS_KEY_ID", "a"), ("S3_SECRET_ACCESS_KEY", "b")];
        judged("loki", &arguments, &text, &variables).unwrap_or_else(|said| panic!("{more}: {said}"));
        judged_variants += 1;
        let short = text.replace("8760h", "5h");
        assert!(
            text.contains("8760h") && judged("loki", &arguments, &short, &variables).is_err(),
            "it accepts anything"
        );
    }
    assert!(judged_variants >= 6);
}

#[test]
fn jaeger_accepts_its_configuration_in_every_variant() {
    let mut judged_variants = 0;
    for more in VARIANTS {
        let bundle = bundle(more);
        let Some(release) = bundle.releases.iter().find(|release| release.name == "jaeger") else { continue };
        let objects = rendered::templated(release, "helm");
        let text = file_of(&objects, "user-config", "user-config.yaml");
        let variables = [("ES_USERNAME", "a"), ("ES_PASSWORD", "b")];
        let arguments = ["validate", "--config", "FILE"];
        judged("jaeger", &arguments, &text, &variables).unwrap_or_else(|said| panic!("{more}: {said}"));
        judged_variants += 1;
        let wrong = text.replace("jaeger_storage_exporter", "no_such_exporter");
        assert!(judged("jaeger", &arguments, &wrong, &variables).is_err(), "it accepts anything");
    }
    assert!(judged_variants >= 6);
}

#[test]
fn the_collector_accepts_its_configuration_in_every_variant() {
    for more in VARIANTS {
        let objects = objects_of("otel-collector", more);
        let text = file_of(&objects, "otel-collector", "relay");
        let arguments = ["validate", "--config", "FILE"];
        let variables = [("PSEUDONYM_KEY", "a")];
        judged("otelcol", &arguments, &text, &variables).unwrap_or_else(|said| panic!("{more}: {said}"));
        let wrong = text.replace("memory_limiter", "no_such_processor");
        assert!(judged("otelcol", &arguments, &wrong, &variables).is_err(), "it accepts anything");
    }
}

#[test]
fn alloy_accepts_its_configuration_in_every_variant() {
    let mut judged_variants = 0;
    for more in VARIANTS {
        let bundle = bundle(more);
        let Some(release) = bundle.releases.iter().find(|release| release.name == "alloy") else { continue };
        let text = file_of(&rendered::templated(release, "helm"), "alloy", "config.alloy");
        judged("alloy", &["validate", "FILE"], &text, &[]).unwrap_or_else(|said| panic!("{more}: {said}"));
        judged_variants += 1;
        let wrong = text.replace("stage.label_drop", "stage.no_such_stage");
        assert!(judged("alloy", &["validate", "FILE"], &wrong, &[]).is_err(), "it accepts anything");
    }
    assert!(judged_variants >= 6);
}
