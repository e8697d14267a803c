//! The engine alone on many releases of one small chart, beside helm one after the other.

use crate::measure::{self, Figures, Measured, measure, measure_as};
use crate::support::sandbox::Sandbox;
use crate::support::tool;
use drivemaster_mon::chart::Chart;
use drivemaster_mon::cluster::apply::{ApplyContext, apply};
use drivemaster_mon::cluster::observe::observe;
use drivemaster_mon::cluster::{ConnectOptions, connect};
use drivemaster_mon::event::{Events, Recorder};
use drivemaster_mon::helm::Helm;
use drivemaster_mon::object::Manifest;
use drivemaster_mon::plan::{Inventory, plan};
use drivemaster_mon::render::Bundle;
use drivemaster_mon::render::bundle::Release;
use nix::sys::resource::UsageWho;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many steps run at once, as in the defaults.
const CONCURRENCY: usize = 4;
const NAMESPACE: &str = "many";

const CHART: [(&str, &str); 2] = [
    ("Chart.yaml", "apiVersion: v2\nname: small\nversion: 0.1.0\nappVersion: '1'\n"),
    (
        "templates/all.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\ndata: {a: '{{ .Values.a }}'}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: '{{ .Release.Name }}'}\n\
         spec: {selector: {app: '{{ .Release.Name }}'}, ports: [{port: 80}]}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: '{{ .Release.Name }}'}\n\
         spec:\n  selector: {matchLabels: {app: '{{ .Release.Name }}'}}\n  template:\n    \
         metadata: {labels: {app: '{{ .Release.Name }}'}}\n    \
         spec: {containers: [{name: a, image: example.org/a:1}]}\n",
    ),
];

#[derive(Serialize, Deserialize)]
struct Input {
    kubeconfig: PathBuf,
    helm: PathBuf,
    count: usize,
}

/// What `count` releases cost: helm one after the other, ours, ours once more.
pub fn measure_releases(count: usize) -> (Figures, Figures, Figures) {
    let helm = on_helm(&Sandbox::up(), count);
    let sandbox = Sandbox::up();
    let input = Input { kubeconfig: sandbox.kubeconfig(), helm: tool("helm"), count };
    let input = serde_json::to_string(&input).unwrap();
    let ours = measure_as(&sandbox, "engine_command", &input);
    let nothing = measure_as(&sandbox, "engine_command", &input);
    assert_eq!(nothing.writes, 0);
    (helm, ours, nothing)
}

fn on_helm(sandbox: &Sandbox, count: usize) -> Figures {
    let folder = sandbox.run.home.path().to_owned();
    for (path, text) in CHART {
        sandbox.run.file(&format!("small/{path}"), text);
    }
    sandbox.kubectl(&["create", "namespace", NAMESPACE]);
    let helm = tool("helm").display().to_string();
    let script = format!(
        "for number in $(seq {count}); do '{helm}' upgrade --install many-$number small -n {NAMESPACE} --set a=1 --wait; done"
    );
    let kubeconfig = sandbox.kubeconfig().display().to_string();
    let command = Measured {
        argv: vec!["sh".to_owned(), "-ec".to_owned(), script],
        environment: vec![("KUBECONFIG".to_owned(), kubeconfig), ("HOME".to_owned(), folder.display().to_string())],
        folder,
    };
    measure(sandbox, &command)
}

fn bundle(count: usize) -> Bundle {
    let files: BTreeMap<String, Vec<u8>> =
        CHART.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    let text = |text: &str| text.to_owned();
    let chart = Chart { name: text("small"), version: text("0.1.0"), app_version: text("1"), files };
    let release = |number| Release {
        name: format!("many-{number}"),
        namespace: NAMESPACE.to_owned(),
        chart: chart.clone(),
        values: json!({ "a": 1 }),
        needs: Vec::new(),
    };
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    Bundle { namespaces: vec![Manifest(namespace)], releases: (1..=count).map(release).collect(), ..Bundle::default() }
}

pub fn in_the_child() {
    let Some(input) = measure::input() else { return };
    let input: Input = serde_json::from_str(&input).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let begun = Instant::now();
    let bundle = bundle(input.count);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let options = ConnectOptions { kubeconfig: Some(input.kubeconfig), context: None };
        let events: Events = Arc::new(Recorder::default());
        let cluster = connect(&options, &events).await.unwrap();
        let plan = plan(&bundle, &observe(&cluster, &bundle, Inventory::default()).await.unwrap());
        if plan.is_empty() {
            return;
        }
        let context = ApplyContext {
            cluster,
            helm: Helm::locate(Some(&input.helm), None).unwrap(),
            events,
            deadline: tokio::time::Instant::now() + Duration::from_secs(600),
            release_timeouts: std::collections::BTreeMap::new(),
            fail_after: Duration::from_secs(60),
            concurrency: CONCURRENCY,
            cancel: tokio_util::sync::CancellationToken::new(),
            cut_off: drivemaster_mon::helm::run::CutOff::default(),
        };
        apply(&plan, context).await.unwrap();
    });
    measure::print(begun, UsageWho::RUSAGE_SELF);
}
