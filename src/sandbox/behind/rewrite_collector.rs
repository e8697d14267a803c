//! The part of the closed list of what differs between the deployed and the run configuration that
//! belongs to the OpenTelemetry Collector, and to Jaeger 2, which is built on it. Pure.
//!
//! 1. Every address to listen on (of receivers, of extensions that serve, of the Prometheus exporter
//!    and of the program's own metrics) becomes the loopback port that its deployed port leads to.
//!    Where a default would be listened on, it is written out: what is on the pod's loopback is
//!    reached by nobody, here as there;
//! 2. every file path under a mount of the container becomes its local copy: the values of keys that
//!    end in `_file`, of `path` and `directory`, and of Badger's `directories`;
//! 3. `k8s_attributes` gets `auth_type: kubeConfig`, in place of what a program in a pod finds by
//!    itself: the kubeconfig holds the token of the pod's own ServiceAccount;
//! 4. an HTTP exporter's own `proxy_url` becomes the sandbox's;
//! 5. a Jaeger backend on Elasticsearch or OpenSearch becomes one of the same name in memory, which
//!    [`notes`] says. Any other store outside the pod is refused.
//!
//! Endpoints of exporters stay as they are: what they send goes through the sandbox's proxy by the
//! program's environment, so names of Services and the TLS between programs are really used.

use super::listen::HIDDEN;
use super::places::Places;
use super::rewrite::{Surroundings, child, leaves_the_machine, mapping, set};
use serde_yaml::{Mapping, Value};

/// How many traces a store in memory keeps; Jaeger's own default for its ready-made configuration.
const TRACES_IN_MEMORY: u64 = 100_000;
/// What receivers listen on by default: type, protocol, address.
const RECEIVERS: [(&str, &str, &str); 7] = [
    ("otlp", "grpc", "localhost:4317"),
    ("otlp", "http", "localhost:4318"),
    ("jaeger", "grpc", "localhost:14250"),
    ("jaeger", "thrift_http", "localhost:14268"),
    ("jaeger", "thrift_compact", "localhost:6831"),
    ("jaeger", "thrift_binary", "localhost:6832"),
    ("zipkin", "", "localhost:9411"),
];
/// What extensions that serve listen on by default: type, protocol (none where the address stands
/// in the extension itself), address. `None` where nothing listens unless it is named.
const EXTENSIONS: [(&str, &str, Option<&str>); 10] = [
    ("health_check", "", Some("localhost:13133")),
    ("healthcheckv2", "", None),
    ("healthcheckv2", "http", None),
    ("healthcheckv2", "grpc", None),
    ("pprof", "", Some("localhost:1777")),
    ("zpages", "", Some("localhost:55679")),
    ("jaeger_query", "http", Some(":16686")),
    ("jaeger_query", "grpc", Some(":16685")),
    ("remote_sampling", "http", None),
    ("remote_sampling", "grpc", None),
];
/// Stores of Jaeger that stay in the pod.
const STORES_HERE: [&str; 2] = ["memory", "badger"];
/// Stores of Jaeger that are replaced by memory.
const SEARCH_STORES: [&str; 2] = ["elasticsearch", "opensearch"];

/// Rewrites the configuration of a Collector or of Jaeger.
///
/// # Errors
/// One line for people when it would leave this machine or listen where nobody is led to.
pub(super) fn rewrite(root: &mut Mapping, surroundings: &Surroundings) -> Result<(), String> {
    paths(root, &surroundings.places);
    for (name, receiver) in entries(root, "receivers") {
        for (kind, protocol, default) in RECEIVERS.iter().filter(|(kind, ..)| *kind == kind_of(&name)) {
            if protocol.is_empty() {
                listen(receiver, Some(default), surroundings)?;
            } else if let Some(protocols) = mapping(receiver, "protocols").filter(|all| all.contains_key(*protocol)) {
                listen(child(protocols, protocol), Some(default), surroundings)
                    .map_err(|why| format!("receiver `{kind}`, protocol {protocol}: {why}"))?;
            }
        }
    }
    for (name, extension) in entries(root, "extensions") {
        for (_, protocol, default) in EXTENSIONS.iter().filter(|(kind, ..)| *kind == kind_of(&name)) {
            let served = if protocol.is_empty() {
                Some(&mut *extension)
            } else if default.is_some() {
                Some(child(extension, protocol))
            } else {
                mapping(extension, protocol)
            };
            if let Some(served) = served {
                listen(served, *default, surroundings).map_err(|why| format!("extension `{name}`: {why}"))?;
            }
        }
        if kind_of(&name) == "jaeger_storage" {
            rewrite_storage(extension)?;
        }
    }
    for (name, exporter) in entries(root, "exporters") {
        if kind_of(&name) == "prometheus" {
            listen(exporter, None, surroundings).map_err(|why| format!("exporter `{name}`: {why}"))?;
        }
        if exporter.contains_key("proxy_url") {
            set(exporter, "proxy_url", &surroundings.proxy_url);
        }
    }
    for (name, processor) in entries(root, "processors") {
        if ["k8s_attributes", "k8sattributes"].contains(&kind_of(&name)) {
            set(processor, "auth_type", "kubeConfig");
        }
    }
    rewrite_own_metrics(child(root, "service"), surroundings)
}

/// What the run configuration proves less than the deployed one, one line each.
pub fn notes(deployed: &str) -> Vec<String> {
    let Ok(config) = serde_yaml::from_str::<Value>(deployed) else { return Vec::new() };
    let backends =
        config.get("extensions").and_then(|all| all.get("jaeger_storage")).and_then(|all| all.get("backends"));
    let backends = backends.and_then(Value::as_mapping).into_iter().flatten();
    backends
        .filter_map(|(name, backend)| {
            let store = SEARCH_STORES.into_iter().find(|store| backend.get(store).is_some())?;
            let name = name.as_str().unwrap_or_default();
            Some(format!("backend `{name}` keeps its traces in memory here: nothing is proved of {store}"))
        })
        .collect()
}

/// The type of a component: what stands before the slash of its name.
fn kind_of(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

/// The components of a section by name; one without any setting gets an empty mapping.
fn entries<'a>(root: &'a mut Mapping, section: &str) -> Vec<(String, &'a mut Mapping)> {
    let components = mapping(root, section).into_iter().flat_map(|components| components.iter_mut());
    components
        .filter_map(|(name, component)| {
            if component.is_null() {
                *component = Value::Mapping(Mapping::new());
            }
            Some((name.as_str()?.to_owned(), component.as_mapping_mut()?))
        })
        .collect()
}

/// Rewrites the address that `entry` listens on; without one, `default` is what it stands for.
fn listen(entry: &mut Mapping, default: Option<&str>, surroundings: &Surroundings) -> Result<(), String> {
    let deployed = match entry.get("endpoint") {
        None | Some(Value::Null) => default,
        Some(Value::String(endpoint)) => Some(endpoint.as_str()),
        // The program says what is wrong with it.
        Some(_) => None,
    };
    // A file in the pod is no address.
    let is_socket = entry.get("transport").and_then(Value::as_str) == Some("unix");
    if let Some(deployed) = deployed.filter(|_| !is_socket) {
        let address = surroundings.listen.address(deployed)?;
        set(entry, "endpoint", &address);
    }
    Ok(())
}

fn rewrite_storage(extension: &mut Mapping) -> Result<(), String> {
    for (name, backend) in entries(extension, "backends") {
        for key in backend.keys().filter_map(Value::as_str).filter(|key| !STORES_HERE.contains(key)) {
            if !SEARCH_STORES.contains(&key) {
                return Err(leaves_the_machine(&format!("jaeger_storage.backends.{name}.{key}")));
            }
        }
        if SEARCH_STORES.iter().any(|store| backend.contains_key(store)) {
            backend.clear();
            child(backend, "memory").insert(Value::from("max_traces"), Value::from(TRACES_IN_MEMORY));
        }
    }
    for (name, backend) in entries(extension, "metric_backends") {
        // Asked over HTTP, through the sandbox's proxy.
        if let Some(key) = backend.keys().filter_map(Value::as_str).find(|key| *key != "prometheus") {
            return Err(leaves_the_machine(&format!("jaeger_storage.metric_backends.{name}.{key}")));
        }
    }
    Ok(())
}

/// The metrics of the program itself; on the pod's loopback by default.
fn rewrite_own_metrics(service: &mut Mapping, surroundings: &Surroundings) -> Result<(), String> {
    let metrics = child(child(service, "telemetry"), "metrics");
    if metrics.get("level").and_then(Value::as_str) == Some("none") {
        return Ok(());
    }
    if !metrics.contains_key("readers") {
        let hidden = serde_yaml::from_str("[{ pull: { exporter: { prometheus: { host: localhost, port: 8888 } } } }]");
        metrics.insert(Value::from("readers"), hidden.unwrap_or_default());
    }
    for reader in metrics.get_mut("readers").and_then(Value::as_sequence_mut).into_iter().flatten() {
        let Some(exporter) = reader.get_mut("pull").and_then(|pull| pull.get_mut("exporter")) else { continue };
        let Some(prometheus) = exporter.get_mut("prometheus").and_then(Value::as_mapping_mut) else { continue };
        let part = |key: &str| match prometheus.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let deployed = format!("{}:{}", part("host"), part("port"));
        let address = surroundings.listen.address(&deployed).map_err(|why| format!("its own metrics: {why}"))?;
        let (host, port) = address.rsplit_once(':').unwrap_or(HIDDEN.split_at(HIDDEN.len() - 2));
        set(prometheus, "host", host);
        prometheus.insert(Value::from("port"), Value::from(port.parse::<u16>().unwrap_or_default()));
    }
    Ok(())
}

/// File paths at any depth.
fn paths(entries: &mut Mapping, places: &Places) {
    for (key, value) in entries.iter_mut() {
        let key = key.as_str().unwrap_or_default();
        match (key, &mut *value) {
            ("directories", Value::Mapping(directories)) => {
                for folder in directories.values_mut() {
                    if let Value::String(path) = folder {
                        let unmounted = || places.within_root(path).to_string_lossy().into_owned();
                        *path = places.local(path).unwrap_or_else(unmounted);
                    }
                }
            }
            (key, Value::String(path)) if key.ends_with("_file") || ["path", "directory"].contains(&key) => {
                if let Some(local) = places.local(path) {
                    *path = local;
                }
            }
            (_, Value::Mapping(inner)) => paths(inner, places),
            (_, Value::Sequence(values)) => {
                values.iter_mut().filter_map(Value::as_mapping_mut).for_each(|inner| paths(inner, places));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "rewrite_collector_tests.rs"]
mod tests;
