//! The real Prometheus and Alertmanager on the sandbox's network, with a rewritten configuration.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use drivemaster_mon::config::model::PlatformService;
use drivemaster_mon::sandbox::behind::flags;
use drivemaster_mon::sandbox::behind::listen::Listen;
use drivemaster_mon::sandbox::behind::places::{Place, Places};
use drivemaster_mon::sandbox::behind::rewrite::{Surroundings, rewrite};
use drivemaster_mon::sandbox::network::program::Program;
use drivemaster_mon::sandbox::network::{self, Network, NetworkOptions, SimulatedPort};
use drivemaster_mon::sandbox::platform::Simulator;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], support::free_port()))
}

/// Runs `program` as it would run behind a pod with this configuration under `/etc/<program>`.
fn run(program: Program, folder: &Path, deployed: &str, address: SocketAddr, network: &Network) -> Running {
    let root = folder.join(program.key());
    let mounted = format!("/etc/{}", program.key());
    let local = root.join(mounted.trim_start_matches('/'));
    std::fs::create_dir_all(&local).unwrap();
    let places =
        Places { root: root.clone(), mounts: vec![Place { container: mounted.clone(), local: local.clone() }] };
    let surroundings = Surroundings {
        places: places.clone(),
        api_server: "https://127.0.0.1:1".into(),
        ca_file: "/nonexistent".into(),
        proxy_url: network.proxy_url(),
        listen: Listen::default(),
    };
    let file = format!("{}.yml", program.key());
    std::fs::write(local.join(&file), rewrite(program, deployed, &surroundings).unwrap()).unwrap();
    std::fs::write(local.join("rules.yml"), RULES).unwrap();
    let line = flags::rewrite(program, &[format!("--config.file={mounted}/{file}")], &places, address);
    let log = std::fs::File::create(folder.join(format!("{}.log", program.key()))).unwrap();
    let mut command = Command::new(support::tool(program.key()));
    command.args(line.arguments).current_dir(&root).env_clear();
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

const RULES: &str = "groups: [{ name: a, rules: [{ alert: Watchdog, expr: vector(1) }] }]";

const PROMETHEUS: &str = "
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [/etc/prometheus/rules.yml]
alerting: { alertmanagers: [{ static_configs: [{ targets: ['alertmanager.monitoring.svc:9093'] }] }] }
scrape_configs:
  - job_name: all
    static_configs:
      - targets:
          - 10.244.0.30:3001
          - 10.244.0.13:9093
          - 10.244.0.12:3000
          - 10.244.0.31:3001
          - example.com:80
";

const ALERTMANAGER: &str = "
route: { receiver: away, group_wait: 0s }
receivers: [{ name: away, webhook_configs: [{ url: 'https://example.com/hook' }] }]
";

fn objects<T: serde::de::DeserializeOwned>(values: Vec<Value>) -> Vec<Arc<T>> {
    values.into_iter().map(|value| Arc::new(serde_json::from_value(value).unwrap())).collect()
}

async fn network(folder: &Path, alertmanager: SocketAddr) -> Network {
    let services = vec![PlatformService { name: "user-service".into(), port: 3001 }];
    let network = network::start(NetworkOptions {
        kubelet: None,
        node: None,
        programs: std::path::PathBuf::new(),
        socket: folder.join("egress.sock"),
        api_server: ([127, 0, 0, 1], 1).into(),
        kwok: ([127, 0, 0, 1], 1).into(),
        real: [(Program::Alertmanager, [(9093, alertmanager)].into())].into(),
        simulated: vec![SimulatedPort { service: "user-service".into(), port: 3001 }],
        namespace: "drivemaster".into(),
        simulator: Arc::new(Simulator::new(services, Vec::new(), "drivemaster", 1).unwrap()),
    })
    .await
    .unwrap();
    let pods = [
        ("drivemaster", "user-service", 3001, "10.244.0.30"),
        ("monitoring", "alertmanager", 9093, "10.244.0.13"),
        ("monitoring", "grafana", 3000, "10.244.0.12"),
    ];
    let pod = |(namespace, name, _, ip): (&str, &str, u16, &str)| {
        json!({
            "metadata": { "namespace": namespace, "name": format!("{name}-0"), "labels": { "app.kubernetes.io/name": name } },
            "spec": { "nodeName": "sandbox-0", "containers": [{ "name": name }] }, "status": { "phase": "Running", "podIP": ip },
        })
    };
    let slice = |(namespace, name, port, ip): (&str, &str, u16, &str)| {
        json!({
            "metadata": { "namespace": namespace, "name": name, "labels": { "kubernetes.io/service-name": name } },
            "addressType": "IPv4", "ports": [{ "name": "http", "port": port }],
            "endpoints": [{ "addresses": [ip],
                "targetRef": { "kind": "Pod", "namespace": namespace, "name": format!("{name}-0") } }],
        })
    };
    let service = |(namespace, name, port, _): (&str, &str, u16, &str)| {
        json!({
            "metadata": { "namespace": namespace, "name": name },
            "spec": { "ports": [{ "name": "http", "port": port }] },
        })
    };
    let all = |make: &dyn Fn((&'static str, &'static str, u16, &'static str)) -> Value| {
        pods.into_iter().map(make).collect::<Vec<Value>>()
    };
    network.know(&objects(all(&pod)), &objects(all(&service)), &objects(all(&slice)));
    network
}

/// Asks until `judge` is content; the last answer stands in the failure.
async fn until(client: &reqwest::Client, url: &str, judge: impl Fn(&str) -> bool) -> String {
    let mut last = String::new();
    // Longer than the minute after which Prometheus sends an alert again.
    for _ in 0..900 {
        last = match client.get(url).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if judge(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{url} never answers as expected; at last: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_programs_reach_what_is_listed_and_nothing_else() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (prometheus, alertmanager) = (free_address(), free_address());
    let network = network(folder.path(), alertmanager).await;
    let _alertmanager = run(Program::Alertmanager, folder.path(), ALERTMANAGER, alertmanager, &network);
    let _prometheus = run(Program::Prometheus, folder.path(), PROMETHEUS, prometheus, &network);

    let targets = until(&client, &format!("http://{prometheus}/api/v1/targets"), |answer| {
        answer.matches("\"health\":\"").count() == 5 && !answer.contains("\"health\":\"unknown\"")
    })
    .await;
    let targets: Value = serde_json::from_str(&targets).unwrap();
    let mut told: Vec<String> = targets["data"]["activeTargets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| {
            format!("{} {}", target["labels"]["instance"].as_str().unwrap(), target["lastError"].as_str().unwrap())
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "10.244.0.12:3000 server returned HTTP status 502 no program runs behind pod monitoring/grafana-0 port 3000 in the sandbox",
            "10.244.0.13:9093 ",
            "10.244.0.30:3001 ",
            "10.244.0.31:3001 server returned HTTP status 502 no pod or Service of the sandbox has the address 10.244.0.31",
            "example.com:80 server returned HTTP status 502 example.com is outside the sandbox: it knows pods and Services only",
        ]
    );

    // The alert goes to Alertmanager by the name of its Service, and no further.
    until(&client, &format!("http://{alertmanager}/api/v2/alerts"), |answer| answer.contains("Watchdog")).await;
    until(&client, &format!("http://{alertmanager}/metrics"), |answer| {
        answer.lines().any(|line| {
            line.starts_with("alertmanager_notification_requests_failed_total{")
                && line.contains("webhook")
                && !line.ends_with(" 0")
        })
    })
    .await;
    let log = std::fs::read_to_string(folder.path().join("alertmanager.log")).unwrap();
    assert!(log.contains("example.com is outside the sandbox"), "{log}");
    network.shutdown().await;
}
