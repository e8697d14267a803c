//! Profile `production` as the real helm renders it from the real charts.

use super::charts::charts_dir;
use super::tool;
use base64::Engine as _;
use drivemaster_mon::chart::{Chart, Charts};
use drivemaster_mon::config::{Config, Layer, Profile, resolve};
use drivemaster_mon::render::bundle::Release;
use drivemaster_mon::render::{Bundle, Sources, needed_charts, render_from};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The Kubernetes that is rendered for.
pub const KUBERNETES: &str = "1.37.2";

/// The configuration of `profile` with the layer `more`.
pub fn config(profile: Profile, more: &str) -> Config {
    resolve(Some(profile), &[], &[Layer::new("test", more)], &[]).unwrap()
}

/// The archive of the chart called `name`.
pub fn archive_of(name: &str) -> PathBuf {
    let is_version = |rest: &str| rest.starts_with(|letter: char| letter.is_ascii_digit());
    let is_it = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_str().unwrap();
        file.strip_prefix(&format!("{name}-")).is_some_and(is_version)
    };
    let mut entries = std::fs::read_dir(charts_dir()).unwrap().map(|entry| entry.unwrap().path());
    entries.find(is_it).unwrap_or_else(|| panic!("there is no archive of chart `{name}`"))
}

/// The bundle of profile `production` with the layer `more`. Its charts are empty: helm reads the real ones
/// from the archives.
pub fn bundle(more: &str) -> Bundle {
    bundle_of(&config(Profile::Production, more))
}

pub fn bundle_of(config: &Config) -> Bundle {
    let empty = |name: &str| Chart {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        app_version: "1.0.0".to_owned(),
        files: BTreeMap::new(),
    };
    let charts: Charts = needed_charts(config).into_iter().map(|name| (name.to_owned(), empty(name))).collect();
    render_from(config, &Sources::embedded(), &charts).unwrap()
}

/// What `helm` makes of `release`.
pub fn templated(release: &Release, helm: &str) -> Vec<Value> {
    let mut child = Command::new(tool(helm))
        .args(["template", &release.name])
        .arg(archive_of(&release.chart.name))
        .args(["--namespace", &release.namespace, "--skip-crds", "--kube-version", KUBERNETES])
        .args(["--api-versions", "monitoring.coreos.com/v1", "--values", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(release.values.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{helm} on `{}`: {err}", release.name);
    documents(&out)
}

pub fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

pub fn of_kind<'o>(objects: &'o [Value], kind: &'o str) -> impl Iterator<Item = &'o Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub fn names(objects: &[Value], kind: &str) -> BTreeSet<String> {
    of_kind(objects, kind).map(|object| name_of(object).to_owned()).collect()
}

pub fn find<'o>(objects: &'o [Value], kind: &'o str, name: &str) -> &'o Value {
    of_kind(objects, kind)
        .find(|object| object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The configuration of Alertmanager as the chart of the release `prometheus` writes it.
pub fn alertmanager_text(objects: &[Value]) -> String {
    let secret = find(objects, "Secret", "alertmanager-prometheus-kube-prometheus-alertmanager");
    let encoded = secret["data"]["alertmanager.yaml"].as_str().unwrap();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded).unwrap()).unwrap()
}

/// The objects of our own that stand before the releases.
pub fn own(bundle: &Bundle) -> Vec<Value> {
    bundle.objects.iter().map(|manifest| manifest.0.clone()).collect()
}

/// Name and pod template of every workload.
pub fn pod_templates(objects: &[Value]) -> Vec<(String, Value)> {
    let workloads = ["Deployment", "StatefulSet", "DaemonSet", "Job"];
    let is_workload = |object: &&Value| workloads.iter().any(|kind| object["kind"] == *kind);
    let found = objects.iter().filter(is_workload);
    found.map(|object| (name_of(object).to_owned(), object["spec"]["template"].clone())).collect()
}

pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().flat_map(|key| pod[key].as_array().into_iter().flatten())
}
