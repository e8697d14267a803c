//! What is rendered, judged by the programs it is for: helm, promtool, amtool, kubectl.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use drivemaster_mon::config::{Layer, Profile, resolve};
use drivemaster_mon::object::Manifest;
use drivemaster_mon::render::{Bundle, files, render};
use drivemaster_mon::stack::{COMPONENTS, WorkloadKind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::tool;
use tempfile::TempDir;

/// What the program wrote on stdout; its whole output fails the test when it fails.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    out.into_owned()
}

/// The bundle of profile `local` with `more` on top.
fn bundle(more: Value) -> Bundle {
    let config = resolve(Some(Profile::Local), &[], &[Layer::new("test", more.to_string())], &[]).unwrap();
    render(&config).unwrap()
}

fn everything_on() -> Value {
    json!({
        "cluster": "on",
        "environment": "1_000",
        "storage": { "class": "fast-ssd" },
        "ingress": { "enabled": true, "tls": true },
        "alertmanager": { "receivers": {
            "slack": { "enabled": true }, "email": { "enabled": true }, "pagerduty": { "enabled": true },
        } },
    })
}

fn written(bundle: &Bundle) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files::files(bundle) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// What helm makes of every release of the written bundle.
fn templated(bundle: &Bundle, folder: &Path) -> Vec<Value> {
    let mut objects = Vec::new();
    for release in &bundle.releases {
        let mut command = Command::new(tool("helm"));
        command.current_dir(folder).args(["template", &release.name, &format!("charts/{}", release.chart.name)]);
        command.args(["--namespace", &release.namespace, "-f", &format!("02-values/{}.yaml", release.name)]);
        objects.extend(documents(&run(&mut command)));
    }
    objects
}

fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn all_objects(more: Value) -> Vec<Value> {
    let bundle = bundle(more);
    let folder = written(&bundle);
    templated(&bundle, folder.path())
}

#[test]
fn helm_lints_every_chart() {
    let bundle = bundle(everything_on());
    let folder = written(&bundle);
    for release in &bundle.releases {
        let mut command = Command::new(tool("helm"));
        command.current_dir(folder.path()).args(["lint", "--strict", &format!("charts/{}", release.chart.name)]);
        command.args(["-f", &format!("02-values/{}.yaml", release.name)]);
        run(&mut command);
    }
}

#[test]
fn helm_refuses_values_that_the_schema_does_not_know() {
    let bundle = bundle(json!({}));
    let folder = written(&bundle);
    for release in &bundle.releases {
        let mut command = Command::new(tool("helm"));
        command.current_dir(folder.path()).args(["template", "x", &format!("charts/{}", release.chart.name)]);
        command.args(["-f", &format!("02-values/{}.yaml", release.name), "--set", "mistyped=1"]);
        assert!(!command.output().unwrap().status.success(), "{}", release.name);
    }
}

#[test]
fn the_values_files_mean_the_same_to_helm_as_the_values() {
    // One chart that prints what helm read.
    let chart = tempfile::tempdir().unwrap();
    fs::create_dir(chart.path().join("templates")).unwrap();
    fs::write(chart.path().join("Chart.yaml"), "apiVersion: v2\nname: echo\nversion: 0.1.0\n").unwrap();
    fs::write(chart.path().join("templates/echo.yaml"), "{{ toJson .Values }}\n").unwrap();
    let ambiguous = [
        "yes",
        "No",
        "on",
        "OFF",
        "y",
        "n",
        "true",
        "False",
        "null",
        "~",
        "",
        "1_000",
        "0x1f",
        "0o17",
        "017",
        "1e3",
        ".5",
        "1:30",
        "2024-01-01",
        ".inf",
        ".nan",
        "<<",
        "=",
        "- a",
        "a: b",
        "a #b",
        "@a",
        "%a",
        "a\nb",
        "a\nb\n",
        " a\n b",
        "é",
        "{{ x }}",
    ];
    let mut with_words = bundle(everything_on());
    with_words.releases[0].values = json!({
        "words": ambiguous.as_slice(),
        "keys": ambiguous.iter().map(|word| ((*word).to_owned(), json!(word))).collect::<serde_json::Map<_, _>>(),
    });
    let folder = written(&with_words);
    for release in &with_words.releases {
        let mut command = Command::new(tool("helm"));
        command.arg("template").arg("x").arg(chart.path());
        command.arg("-f").arg(folder.path().join(format!("02-values/{}.yaml", release.name)));
        let read = documents(&run(&mut command)).remove(0);
        assert_eq!(numbers_as_floats(&read), numbers_as_floats(&release.values), "{}", release.name);
    }
}

/// Helm holds every number as a float.
fn numbers_as_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(numbers_as_floats).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), numbers_as_floats(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn services_and_workloads_have_the_names_and_ports_of_the_catalogue() {
    let objects = all_objects(json!({}));
    for component in COMPONENTS.iter().filter(|component| !component.production_only) {
        let service = find(&objects, "Service", component.service);
        let kind = match component.workload_kind {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::StatefulSet => "StatefulSet",
            WorkloadKind::DaemonSet => "DaemonSet",
        };
        let workload = find(&objects, kind, component.workload);
        let pod = &workload["spec"]["template"];
        let labels = pod["metadata"]["labels"].as_object().unwrap();
        for (key, value) in service["spec"]["selector"].as_object().unwrap() {
            assert_eq!(labels.get(key), Some(value), "{}", component.key);
        }
        let ports = service["spec"]["ports"].as_array().unwrap();
        assert_eq!(ports.len(), component.ports.len(), "{}", component.key);
        let containers = pod["spec"]["containers"].as_array().unwrap();
        for (found, expected) in ports.iter().zip(component.ports) {
            assert_eq!((&found["name"], &found["port"]), (&json!(expected.name), &json!(expected.service)));
            let target = containers
                .iter()
                .flat_map(|container| container["ports"].as_array().unwrap())
                .find(|port| port["name"] == found["targetPort"])
                .unwrap();
            assert_eq!(target["containerPort"], json!(expected.container), "{}", component.key);
        }
    }
}

#[test]
fn every_pod_passes_pod_security_restricted_and_is_watched_by_three_probes() {
    let objects = all_objects(everything_on());
    let workloads = objects.iter().filter(|object| object["kind"] == "Deployment" || object["kind"] == "StatefulSet");
    let mut pods = 0;
    for workload in workloads {
        pods += 1;
        let name = &workload["metadata"]["name"];
        let spec = &workload["spec"]["template"]["spec"];
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert!(spec["securityContext"]["fsGroup"].is_u64(), "{name}");
        for volume in spec["volumes"].as_array().unwrap() {
            assert!(volume.get("hostPath").is_none(), "{name}");
        }
        for container in spec["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                assert!(container[probe].is_object(), "{name} {probe}");
            }
            assert!(container["resources"]["requests"]["memory"].is_string(), "{name}");
            assert!(!container["image"].as_str().unwrap().ends_with(":latest"), "{name}");
        }
    }
    assert_eq!(pods, COMPONENTS.iter().filter(|component| !component.production_only).count());
}

#[test]
fn permissions_are_as_small_as_they_work() {
    let objects = all_objects(everything_on());
    let of_kind = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).cloned().collect::<Vec<_>>();
    assert!(of_kind("ClusterRole").is_empty() && of_kind("ClusterRoleBinding").is_empty());
    let roles = of_kind("Role");
    let places: Vec<(&str, &str)> = roles
        .iter()
        .map(|role| (role["metadata"]["namespace"].as_str().unwrap(), role["metadata"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(
        places,
        [
            ("drivemaster-monitoring", "prometheus-grafana"),
            ("drivemaster", "prometheus-kube-prometheus-prometheus"),
            ("drivemaster-monitoring", "prometheus-kube-prometheus-prometheus"),
        ]
    );
    for rule in roles.iter().flat_map(|role| role["rules"].as_array().unwrap()) {
        assert_eq!(rule["verbs"], json!(["get", "list", "watch"]));
        assert!(!rule["resources"].to_string().contains("secrets") && !rule["resources"].to_string().contains('*'));
    }
    let tokens: Vec<&str> = objects
        .iter()
        .filter(|object| object.pointer("/spec/template/spec/automountServiceAccountToken") == Some(&json!(true)))
        .map(|object| object["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(tokens, ["prometheus-grafana", "prometheus-prometheus-kube-prometheus-prometheus"]);
}

#[test]
fn no_storage_class_is_named_where_the_default_is_meant() {
    for (class, expected) in [("", Value::Null), ("fast-ssd", json!("fast-ssd"))] {
        let objects = all_objects(json!({ "storage": { "class": class } }));
        let claims: Vec<Value> = objects
            .iter()
            .filter(|object| object["kind"] == "PersistentVolumeClaim")
            .map(|claim| claim["spec"].clone())
            .chain(
                objects.iter().filter_map(|object| Some(object.pointer("/spec/volumeClaimTemplates/0/spec")?.clone())),
            )
            .collect();
        assert_eq!(claims.len(), 5);
        for claim in claims {
            assert_eq!(claim["storageClassName"], expected);
        }
    }
}

#[test]
fn each_web_interface_gets_its_ingress_when_asked() {
    let ingresses = |more| {
        let objects = all_objects(more);
        let of_kind = objects.iter().filter(|object| object["kind"] == "Ingress");
        of_kind.map(|ingress| ingress.pointer("/spec/rules/0/host").unwrap().clone()).collect::<Vec<_>>()
    };
    assert!(ingresses(json!({})).is_empty());
    let mut hosts: Vec<String> =
        ingresses(everything_on()).iter().map(|host| host.as_str().unwrap().to_owned()).collect();
    hosts.sort();
    assert_eq!(
        hosts,
        ["alerts.drivemaster.com", "grafana.drivemaster.com", "prometheus.drivemaster.com", "tracing.drivemaster.com"]
    );
}

#[test]
fn the_configuration_in_the_cluster_is_the_one_that_was_rendered() {
    let bundle = bundle(everything_on());
    let folder = written(&bundle);
    let objects = templated(&bundle, folder.path());
    let values = |release: &str| &bundle.releases.iter().find(|found| found.name == release).unwrap().values;
    for (config_map, key, rendered) in [
        ("prometheus-kube-prometheus-prometheus", "prometheus.yml", &values("prometheus")["prometheus"]["config"]),
        (
            "prometheus-kube-prometheus-alertmanager",
            "alertmanager.yml",
            &values("prometheus")["alertmanager"]["config"],
        ),
        ("loki", "loki.yaml", &values("loki")["config"]),
        ("jaeger", "config.yaml", &values("jaeger")["config"]),
        ("otel-collector", "config.yaml", &values("otel-collector")["config"]),
    ] {
        let text = find(&objects, "ConfigMap", config_map)["data"][key].as_str().unwrap();
        let read: Value = serde_yaml::from_str(text).unwrap();
        assert_eq!(numbers_as_floats(&read), numbers_as_floats(rendered), "{config_map}");
    }
}

#[test]
fn promtool_accepts_the_configuration_and_the_rules() {
    for more in
        [json!({}), everything_on(), json!({ "alertmanager": { "enabled": false }, "platform": { "services": [] } })]
    {
        let bundle = bundle(more);
        let folder = written(&bundle);
        let objects = templated(&bundle, folder.path());
        let config = find(&objects, "ConfigMap", "prometheus-kube-prometheus-prometheus");
        // Rules are where the deployed configuration says, below a folder of the test.
        let text = config["data"]["prometheus.yml"].as_str().unwrap();
        let text = text.replace("/etc/prometheus/rules", &folder.path().join("rules").display().to_string());
        fs::create_dir(folder.path().join("rules")).unwrap();
        for (name, rules) in rule_files(&bundle.objects) {
            fs::write(folder.path().join("rules").join(name), rules).unwrap();
        }
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, text).unwrap();
        run(Command::new(tool("promtool")).args(["check", "config"]).arg(&path));
    }
}

fn rule_files(objects: &[Manifest]) -> Vec<(String, String)> {
    let rules = objects.iter().find(|object| object.reference().name == "drivemaster-rules");
    let data = rules.and_then(|rules| rules.0["data"].as_object().cloned()).unwrap_or_default();
    data.into_iter().map(|(name, text)| (name, text.as_str().unwrap().to_owned())).collect()
}

#[test]
fn amtool_accepts_the_configuration_and_routes_by_severity() {
    for more in [
        json!({}),
        everything_on(),
        json!({ "alertmanager": { "receivers": { "email": { "enabled": true, "username": "" } } } }),
    ] {
        let objects = all_objects(more);
        let config = find(&objects, "ConfigMap", "prometheus-kube-prometheus-alertmanager");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alertmanager.yml");
        fs::write(&path, config["data"]["alertmanager.yml"].as_str().unwrap()).unwrap();
        run(Command::new(tool("amtool")).arg("check-config").arg(&path));
        for (labels, receiver) in [
            (vec!["severity=critical", "alertname=A"], "critical"),
            (vec!["severity=warning", "alertname=A"], "warning"),
            (vec!["severity=info", "alertname=A"], "info"),
            (vec!["severity=none", "alertname=Watchdog"], "null"),
            (vec!["alertname=A"], "info"),
        ] {
            let mut command = Command::new(tool("amtool"));
            command.args(["config", "routes", "test", "--config.file"]).arg(&path).args(labels);
            assert_eq!(run(&mut command).trim(), receiver);
        }
    }
}

#[test]
fn kubectl_reads_the_stream_as_namespaces_and_objects() {
    let bundle = bundle(json!({}));
    let stream = files::stream(&bundle);
    let names: Vec<String> =
        documents(&stream).into_iter().map(|object| Manifest(object).reference().to_string()).collect();
    let expected: Vec<String> =
        bundle.namespaces.iter().chain(&bundle.objects).map(|object| object.reference().to_string()).collect();
    assert_eq!(names, expected);
    for release in &bundle.releases {
        assert!(stream.contains(&format!("# Values of release {} ", release.name)));
    }
}

#[test]
fn the_line_of_the_readme_that_makes_the_password_makes_one() {
    let readme = String::from_utf8(files::files(&bundle(json!({})))["README.md"].clone()).unwrap();
    let start = readme.find("printf ").unwrap();
    let line = &readme[start..start + readme[start..].find("```").unwrap()];
    let make = || {
        let script = format!("{} --dry-run=client -o json", line.trim_end());
        let path = std::env::join_paths(
            std::iter::once(tool("kubectl").parent().unwrap().to_owned())
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let secret: Value =
            serde_json::from_str(&run(Command::new("sh").args(["-c", &script]).env("PATH", path.unwrap()))).unwrap();
        secret["data"].clone()
    };
    let (first, second) = (make(), make());
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["admin-password", "admin-user"]);
    assert_eq!(first["admin-user"], "YWRtaW4=");
    assert!(first["admin-password"].as_str().unwrap().len() >= 40);
    assert_ne!(first["admin-password"], second["admin-password"]);
}
