//! A sandbox for a test binary, taken away when it is dropped.

use super::{Answer, Run, tool_cache};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// Fields that differ between two installations of the same thing.
const FLEETING: &[&str] = &["clusterIP", "clusterIPs", "volumeName", "nodeName"];

pub struct Sandbox {
    pub run: Run,
}

impl Sandbox {
    pub fn up() -> Self {
        Self::up_for(&[])
    }

    /// A sandbox with the platform that `options` name.
    pub fn up_for(options: &[&str]) -> Self {
        let run = Run::new();
        let state = run.home.path().join("state");
        let sandbox = Sandbox { run: run.variable("DRIVEMASTER_MON_STATE", state.to_str().unwrap()) };
        sandbox.run(&[&["sandbox", "up"], options].concat()).exits(0);
        sandbox
    }

    /// Runs a verb on this sandbox.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        Answer::from(self.command(arguments).output().unwrap())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut arguments: Vec<&str> = arguments.to_vec();
        if arguments[0] != "sandbox" {
            arguments.extend(["--sandbox", "--quiet"]);
        }
        self.run.command(&arguments)
    }

    pub fn directory(&self) -> PathBuf {
        self.run.home.path().join("state/sandboxes/default")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory().join("kubeconfig")
    }

    /// PATH with the sandbox's programs first.
    pub fn path(&self) -> OsString {
        let mut path = tool_cache().join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output =
            Command::new(super::tool("kubectl")).args(arguments).env("KUBECONFIG", self.kubeconfig()).output().unwrap();
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the API server recorded of every request.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory().join("audit.log")).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The audited requests whose user agent starts with `agent`.
    pub fn requests_of(&self, agent: &str) -> Vec<Value> {
        let of = |event: &Value| event["userAgent"].as_str().is_some_and(|name| name.starts_with(agent));
        self.audit().into_iter().filter(of).collect()
    }

    /// What we and the helm we started wrote, as the design defines a write.
    pub fn writes(&self) -> Vec<String> {
        [self.own_writes(), self.writes_of("Helm")].concat()
    }

    /// What we wrote ourselves.
    pub fn own_writes(&self) -> Vec<String> {
        self.writes_of(concat!("drivemaster-mon/", env!("CARGO_PKG_VERSION")))
    }

    /// What those wrote whose user agent starts with `agent`.
    pub fn writes_of(&self, agent: &str) -> Vec<String> {
        self.requests_of(agent)
            .into_iter()
            .filter(|event| {
                let verb = event["verb"].as_str().unwrap_or_default();
                let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
                let address = event["requestURI"].as_str().unwrap_or_default();
                ["create", "update", "patch", "delete", "deletecollection"].contains(&verb)
                    && !["selfsubjectaccessreviews", "events", "leases"].contains(&resource)
                    // A port-forward is a `create` of a stream, which stores nothing.
                    && event["objectRef"]["subresource"] != "portforward"
                    && !address.contains("dryRun=All")
            })
            .map(|event| format!("{} {}", event["verb"].as_str().unwrap(), event["requestURI"].as_str().unwrap()))
            .collect()
    }

    /// Every object that a deploy makes in `namespace`.
    fn objects(&self, namespace: &str) -> Vec<Value> {
        let kinds = "deployments,daemonsets,statefulsets,services,configmaps,secrets,serviceaccounts,roles,rolebindings,ingresses,persistentvolumeclaims";
        let list: Value = serde_json::from_str(&self.kubectl(&["get", kinds, "-n", namespace, "-o", "json"])).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    pub fn resource_versions(&self, namespace: &str) -> BTreeMap<String, String> {
        self.objects(namespace)
            .iter()
            .map(|object| (name_of(object), object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()))
            .collect()
    }

    /// Labels and content of every object, without what the API server adds.
    pub fn specifications(&self, namespace: &str) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        for mut object in self.objects(namespace) {
            let name = name_of(&object);
            // The records of Helm and of deploys, and the generated password, differ each time.
            let is_record = name.contains("sh.helm.release") || name.contains("drivemaster-mon.record");
            if is_record || name.contains("grafana-admin") || name.contains("kube-root-ca") {
                continue;
            }
            let labels = object["metadata"]["labels"].clone();
            let fields = object.as_object_mut().unwrap();
            fields.remove("metadata");
            fields.remove("status");
            fields.insert("labels".to_owned(), labels);
            forget(&mut object);
            found.insert(name, object);
        }
        found
    }

    /// Names of the alerts that Prometheus says fire.
    pub fn firing(&self) -> Vec<String> {
        let status = self.run(&["status", "-o", "json"]).exits(0).json();
        let severities = status["alerts"]["known"]["bySeverity"].as_object().cloned().unwrap_or_default();
        severities
            .values()
            .flat_map(|alerts| alerts.as_array().unwrap())
            .map(|alert| alert["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Alert and service of everything the real Alertmanager holds.
    pub fn held_by_alertmanager(&self) -> Vec<(String, String)> {
        let path = format!(
            "/api/v1/namespaces/drivemaster-monitoring/services/{}:9093/proxy/api/v2/alerts",
            "prometheus-kube-prometheus-alertmanager"
        );
        let alerts: Value = serde_json::from_str(&self.kubectl(&["get", "--raw", &path])).unwrap();
        let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        alerts.as_array().unwrap().iter().map(|alert| (label(alert, "alertname"), label(alert, "service"))).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.run.run(&["sandbox", "down"]);
    }
}

fn name_of(object: &Value) -> String {
    format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(map) => {
            FLEETING.iter().for_each(|name| {
                map.remove(*name);
            });
            map.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}
