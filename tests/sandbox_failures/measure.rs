//! What a deploy says, and how long after its cause could be seen.

use super::seeds::Seed;
use super::support::fault_proxy::FaultProxy;
use super::support::sandbox::Sandbox;
use super::support::tool;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Everything off but Grafana: objects of our own, a release, and no program that has to start.
const SMALL: [&str; 6] = [
    "prometheus.enabled=false",
    "alertmanager.enabled=false",
    "loki.enabled=false",
    "jaeger.enabled=false",
    "otelCollector.enabled=false",
    "verify.timeoutSeconds=20",
];
/// How often it is looked whether the cause can be seen.
const LOOK: Duration = Duration::from_millis(100);
/// How long helm waits.
const HELM_TIMEOUT: &str = "60s";

/// Our own deploy.
pub(super) struct Ours {
    /// When the cause could be seen, from the start.
    pub visible: Duration,
    /// When the cause was named, from the start.
    pub told: Option<Duration>,
    /// When it ended.
    pub took: Duration,
    pub code: i32,
    /// The error: message and causes.
    pub said: String,
    /// Everything it printed.
    pub output: String,
}

/// Helm's.
pub(super) struct Helms {
    pub took: Duration,
    pub said: String,
}

fn words<'a>(verb: &[&'a str], namespace: &'a str, sets: &[&'a str]) -> Vec<&'a str> {
    let mut words = verb.to_vec();
    words.extend(["-n", namespace]);
    words.extend(SMALL.iter().chain(sets).flat_map(|set| ["--set", set]));
    words
}

/// A kubeconfig of somebody who may only look.
fn viewer(sandbox: &Sandbox, namespace: &str) -> PathBuf {
    sandbox.kubectl(&["create", "serviceaccount", "viewer", "-n", namespace]);
    let role = ["create", "clusterrole", namespace, "--verb=get,list,watch", "--resource=*.*"];
    sandbox.kubectl(&role);
    let account = format!("--serviceaccount={namespace}:viewer");
    sandbox.kubectl(&["create", "clusterrolebinding", namespace, &format!("--clusterrole={namespace}"), &account]);
    let token = sandbox.kubectl(&["create", "token", "viewer", "-n", namespace]);
    let own: serde_yaml::Value = serde_yaml::from_str(&std::fs::read_to_string(sandbox.kubeconfig()).unwrap()).unwrap();
    let cluster = serde_json::to_string(&own["clusters"][0]["cluster"]).unwrap();
    sandbox.run.file(
        &format!("{namespace}.kubeconfig"),
        &format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: a, cluster: {cluster}}}]\n\
             users: [{{name: a, user: {{token: {}}}}}]\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n",
            token.trim()
        ),
    )
}

/// Deploys with the failure, and looks at the clock.
pub(super) fn deploy(sandbox: &Sandbox, proxy: &FaultProxy, seed: &Seed) -> Ours {
    if let Some(sets) = seed.first {
        sandbox.run(&words(&["deploy", "--no-verify"], seed.namespace, sets)).exits(0);
    }
    let overlay = seed.overlay(sandbox);
    let mut verb = vec!["deploy", "--yes", "--no-verify", "-o", "json"];
    verb.extend(seed.options);
    verb.extend(overlay.iter().flat_map(|folder| ["--overlay", folder]));
    let mut words = words(&verb, seed.namespace, seed.sets);
    let kubeconfig = seed.by_viewer.then(|| viewer(sandbox, seed.namespace).display().to_string());
    match &kubeconfig {
        Some(file) => words.extend(["--kubeconfig", file]),
        None => words.push("--sandbox"),
    }
    let mut command = sandbox.run.command(&words);
    command.env("PATH", sandbox.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let over = AtomicBool::new(false);
    let (visible, told, lines) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| visible(proxy, seed, begun, &over));
        let mut told = None;
        let mut lines = String::new();
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            if told.is_none() && line.contains(seed.says[0]) {
                told = Some(begun.elapsed());
            }
            lines.push_str(&format!("{line}\n"));
        }
        over.store(true, Ordering::Relaxed);
        (looking.join().unwrap(), told, lines)
    });
    let output = child.wait_with_output().unwrap();
    let took = begun.elapsed();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let document: Value = serde_json::from_str(&stdout).unwrap_or_default();
    let said = said(&document["error"]);
    // What ends it is told with it.
    let told = told.or_else(|| said.contains(seed.says[0]).then_some(took));
    let hint = document["error"]["hint"].as_str().unwrap_or_default();
    Ours {
        // What nobody saw before it was told counts from the start.
        visible: visible.unwrap_or_default(),
        told,
        took,
        code: output.status.code().unwrap_or(-1),
        output: format!("{said}\nhint: {hint}\n{lines}"),
        said,
    }
}

/// Message and causes of an error.
fn said(error: &Value) -> String {
    let causes = error["causes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let message = error["message"].as_str().into_iter();
    message.chain(causes).collect::<Vec<_>>().join(": ")
}

/// When the seed's mark could first be seen in its namespace.
fn visible(proxy: &FaultProxy, seed: &Seed, begun: Instant, over: &AtomicBool) -> Option<Duration> {
    if seed.mark.is_empty() {
        return Some(Duration::ZERO);
    }
    while !over.load(Ordering::Relaxed) {
        for resource in ["pods", "events", "persistentvolumeclaims"] {
            let path = format!("/api/v1/namespaces/{}/{resource}", seed.namespace);
            if get(proxy, &path).is_some_and(|text| text.contains(seed.mark)) {
                return Some(begun.elapsed());
            }
        }
        std::thread::sleep(LOOK);
    }
    None
}

fn get(proxy: &FaultProxy, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(proxy.address()).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Deploys the same chart with the same values and the same failure by helm alone.
pub(super) fn helm(sandbox: &Sandbox, seed: &Seed, namespace: &str) -> Helms {
    let overlay = seed.overlay(sandbox);
    let render = |name: &str, sets: &[&str]| -> PathBuf {
        let folder = sandbox.run.home.path().join(format!("{name}-{namespace}"));
        let path = folder.display().to_string();
        let mut verb = vec!["render", "-o", &path];
        verb.extend(overlay.iter().flat_map(|folder| ["--overlay", folder]));
        sandbox.run(&words(&verb, namespace, sets)).exits(0);
        folder
    };
    let kubeconfig = match seed.by_viewer {
        true => viewer(sandbox, namespace),
        false => sandbox.kubeconfig(),
    };
    let upgrade = |folder: &Path| {
        Command::new(tool("helm"))
            .args(["upgrade", "--install", "prometheus"])
            .arg(folder.join("charts/prometheus"))
            .args(["-n", namespace, "--wait", "--timeout", HELM_TIMEOUT, "-f"])
            .arg(folder.join("02-values/prometheus.yaml"))
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap()
    };
    if let Some(sets) = seed.first {
        assert!(upgrade(&render("first", sets)).status.success());
    }
    let folder = render("bundle", seed.sets);
    let begun = Instant::now();
    let output = upgrade(&folder);
    let took = begun.elapsed();
    assert!(!output.status.success(), "{}: helm goes on", seed.failure);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let error = stderr.rfind("Error:").map_or(stderr.as_str(), |at| &stderr[at..]);
    Helms { took, said: error.split_whitespace().collect::<Vec<_>>().join(" ") }
}
