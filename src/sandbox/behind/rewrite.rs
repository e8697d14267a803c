//! From the configuration as it was deployed to the one that runs here: the closed list of what
//! differs. Pure. (The same for flags stands in [`super::flags`], for the environment in
//! [`super::environment`], for Loki, Jaeger and the Collector in files of their own.)
//!
//! Prometheus and Alertmanager:
//! 1. every file path under a mount of the container becomes its local copy: the values of keys
//!    that end in `_file`, and of `rule_files`, `templates` and the `files` of `file_sd_configs`;
//! 2. every `oauth2` gets `proxy_url`, and `tracing.endpoint` becomes a loopback port that refuses.
//!
//! Prometheus:
//! 3. every `kubernetes_sd_configs` entry of a scrape configuration or an alerting one gets
//!    `api_server`, `tls_config.ca_file` and `authorization.credentials_file`, which is the token
//!    of the pod's own ServiceAccount, in place of what a program in a pod finds by itself. One
//!    with credentials of its own keeps them;
//! 4. every scrape configuration, `alerting.alertmanagers` entry, `remote_write`, `remote_read` and
//!    `http_sd_configs` entry gets `proxy_url`.
//!
//! Alertmanager:
//! 5. `global.http_config` (made if there is none) and every other `http_config` gets `proxy_url`,
//!    so what a receiver posts goes to the sandbox's proxy, which refuses what is not in it;
//! 6. `global.smtp_smarthost` and every receiver's `smarthost`, where set, become a loopback port
//!    that refuses, for mail takes no proxy.
//!
//! Where `proxy_url` is set, `no_proxy`, `proxy_from_environment` and `proxy_connect_header` go:
//! they would contradict it. What can neither be proxied nor kept on loopback is refused.

use super::listen::Listen;
use super::places::Places;
use super::{rewrite_collector, rewrite_loki};
use crate::sandbox::network::program::Program;
use serde_yaml::{Mapping, Value};

/// A loopback port that nothing listens on, so a connection is refused at once.
pub const REFUSING: &str = "127.0.0.1:1";

/// Keys of service discovery that stays on loopback, or goes through the proxy.
const DISCOVERY: [&str; 4] = ["static_configs", "file_sd_configs", "http_sd_configs", "kubernetes_sd_configs"];
/// Keys of `remote_write` that fetch credentials from a cloud, past every proxy.
const CLOUD_CREDENTIALS: [&str; 3] = ["sigv4", "azuread", "google_iam"];
/// Keys by which a `kubernetes_sd_configs` entry brings its own credentials.
const CREDENTIALS: [&str; 6] =
    ["authorization", "basic_auth", "oauth2", "bearer_token", "bearer_token_file", "kubeconfig_file"];
/// Keys that would contradict a `proxy_url`.
const OTHER_PROXY: [&str; 3] = ["no_proxy", "proxy_from_environment", "proxy_connect_header"];

/// What a run differs in from the deployment.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where the container's paths lie here.
    pub places: Places,
    /// URL of the API server.
    pub api_server: String,
    /// File with the certificate authority of the API server.
    pub ca_file: String,
    /// URL of the sandbox's proxy.
    pub proxy_url: String,
    /// Where the program is to listen, and the environment that its addresses may name.
    pub listen: Listen,
}

/// The configuration to run `program` with in place of `deployed`.
///
/// # Errors
/// One line for people when `deployed` is no YAML or cannot be kept on loopback.
pub fn rewrite(program: Program, deployed: &str, surroundings: &Surroundings) -> Result<String, String> {
    let mut config: Value = serde_yaml::from_str(deployed).map_err(|error| error.to_string())?;
    // A merged-in entry is rewritten like any other.
    config.apply_merge().map_err(|error| error.to_string())?;
    match program {
        Program::Prometheus | Program::Alertmanager => rewrite_value(program, &mut config, surroundings)?,
        Program::Loki | Program::Jaeger | Program::Collector => {
            if let Value::Mapping(root) = &mut config {
                match program {
                    Program::Loki => rewrite_loki::rewrite(root, surroundings)?,
                    _ => rewrite_collector::rewrite(root, surroundings)?,
                }
            }
            // Loki reads an older YAML, in which a bare `on` is no text; JSON means the same to all.
            if let Ok(json) = serde_json::to_string_pretty(&config) {
                return Ok(json);
            }
        }
        Program::ChaosControllerManager | Program::Operator => {}
    }
    serde_yaml::to_string(&config).map_err(|error| error.to_string())
}

fn rewrite_value(program: Program, config: &mut Value, surroundings: &Surroundings) -> Result<(), String> {
    // Before our own paths come in: they may lie below a path that is a mount in the container, such as /tmp.
    rewrite_everywhere(config, surroundings);
    // A configuration of any other shape goes to the program as it is, which says what is wrong with it.
    let Value::Mapping(root) = config else { return Ok(()) };
    if let Some(tracing) = mapping(root, "tracing").filter(|tracing| tracing.contains_key("endpoint")) {
        set(tracing, "endpoint", REFUSING);
    }
    match program {
        Program::Prometheus => rewrite_prometheus(root, surroundings),
        _ => rewrite_alertmanager(root, surroundings),
    }
}

fn rewrite_prometheus(root: &mut Mapping, surroundings: &Surroundings) -> Result<(), String> {
    if root.contains_key("scrape_config_files") {
        return Err("`scrape_config_files` would scrape past the sandbox's proxy: use `scrape_configs`".to_owned());
    }
    for key in ["remote_write", "remote_read"] {
        for remote in mappings(root, key) {
            if let Some(cloud) = CLOUD_CREDENTIALS.into_iter().find(|cloud| remote.contains_key(cloud)) {
                return Err(leaves_the_machine(&format!("{key}.{cloud}")));
            }
            set_proxy(remote, surroundings);
        }
    }
    for scrape in mappings(root, "scrape_configs") {
        set_proxy(scrape, surroundings);
        rewrite_discovery(scrape, surroundings)?;
    }
    if let Some(alerting) = mapping(root, "alerting") {
        for alertmanager in mappings(alerting, "alertmanagers") {
            set_proxy(alertmanager, surroundings);
            rewrite_discovery(alertmanager, surroundings)?;
        }
    }
    Ok(())
}

fn rewrite_discovery(entry: &mut Mapping, surroundings: &Surroundings) -> Result<(), String> {
    let keys = entry.keys().filter_map(Value::as_str);
    if let Some(key) = keys.into_iter().find(|key| key.ends_with("_sd_configs") && !DISCOVERY.contains(key)) {
        return Err(leaves_the_machine(key));
    }
    for discovery in mappings(entry, "http_sd_configs") {
        set_proxy(discovery, surroundings);
    }
    for discovery in mappings(entry, "kubernetes_sd_configs") {
        for key in OTHER_PROXY.into_iter().chain(["proxy_url"]) {
            discovery.remove(key);
        }
        if CREDENTIALS.iter().any(|key| discovery.contains_key(key)) {
            if !discovery.contains_key("kubeconfig_file") {
                set(discovery, "api_server", &surroundings.api_server);
            }
            continue;
        }
        set(discovery, "api_server", &surroundings.api_server);
        set(child(discovery, "tls_config"), "ca_file", &surroundings.ca_file);
        set(child(discovery, "authorization"), "credentials_file", &surroundings.places.token());
    }
    Ok(())
}

fn rewrite_alertmanager(root: &mut Mapping, surroundings: &Surroundings) -> Result<(), String> {
    let global = child(root, "global");
    set_proxy(child(global, "http_config"), surroundings);
    if global.contains_key("smtp_smarthost") {
        set(global, "smtp_smarthost", REFUSING);
    }
    for receiver in mappings(root, "receivers") {
        // Its credentials come from a cloud, past every proxy.
        if receiver.contains_key("sns_configs") {
            return Err(leaves_the_machine("sns_configs"));
        }
        for email in mappings(receiver, "email_configs") {
            if email.contains_key("smarthost") {
                set(email, "smarthost", REFUSING);
            }
        }
        for integration in receiver.values_mut().filter_map(Value::as_sequence_mut).flatten() {
            if let Some(http) = integration.as_mapping_mut().and_then(|integration| mapping(integration, "http_config"))
            {
                set_proxy(http, surroundings);
            }
        }
    }
    Ok(())
}

pub(super) fn leaves_the_machine(key: &str) -> String {
    format!("`{key}` would leave this machine, which a sandbox never does")
}

/// What holds at any depth: file paths and `oauth2`.
fn rewrite_everywhere(value: &mut Value, surroundings: &Surroundings) {
    match value {
        Value::Sequence(values) => values.iter_mut().for_each(|value| rewrite_everywhere(value, surroundings)),
        Value::Mapping(mapping) => {
            for (key, value) in mapping.iter_mut() {
                let key = key.as_str().unwrap_or_default();
                if names_files(key) {
                    rewrite_paths(value, &surroundings.places);
                } else if key == "file_sd_configs" {
                    for entry in value.as_sequence_mut().into_iter().flatten() {
                        if let Some(files) = entry.get_mut("files") {
                            rewrite_paths(files, &surroundings.places);
                        }
                    }
                } else {
                    if let (Value::Mapping(oauth2), "oauth2") = (&mut *value, key) {
                        set_proxy(oauth2, surroundings);
                    }
                    rewrite_everywhere(value, surroundings);
                }
            }
        }
        _ => {}
    }
}

fn names_files(key: &str) -> bool {
    key.ends_with("_file") || ["rule_files", "templates"].contains(&key)
}

fn rewrite_paths(value: &mut Value, places: &Places) {
    match value {
        Value::String(path) => {
            if let Some(local) = places.local(path) {
                *path = local;
            }
        }
        Value::Sequence(paths) => paths.iter_mut().for_each(|path| rewrite_paths(path, places)),
        _ => {}
    }
}

fn set_proxy(entry: &mut Mapping, surroundings: &Surroundings) {
    for key in OTHER_PROXY {
        entry.remove(key);
    }
    set(entry, "proxy_url", &surroundings.proxy_url);
}

pub(super) fn set(entry: &mut Mapping, key: &str, value: &str) {
    entry.insert(Value::from(key), Value::from(value));
}

pub(super) fn mapping<'a>(entry: &'a mut Mapping, key: &str) -> Option<&'a mut Mapping> {
    entry.get_mut(key)?.as_mapping_mut()
}

fn mappings<'a>(entry: &'a mut Mapping, key: &str) -> impl Iterator<Item = &'a mut Mapping> + use<'a> {
    entry.get_mut(key).and_then(Value::as_sequence_mut).into_iter().flatten().filter_map(Value::as_mapping_mut)
}

/// The mapping under `key`, made if there is none. Anything else there (`key: null`, as YAML reads
/// an empty value) means the same as none.
pub(super) fn child<'a>(entry: &'a mut Mapping, key: &str) -> &'a mut Mapping {
    let value = entry.entry(Value::from(key)).or_insert(Value::Null);
    if !value.is_mapping() {
        *value = Value::Mapping(Mapping::new());
    }
    match value {
        Value::Mapping(mapping) => mapping,
        _ => unreachable!("it has just become a mapping"),
    }
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
pub(super) mod tests;
