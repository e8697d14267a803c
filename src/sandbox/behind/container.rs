//! The container of a pod that a real program stands for: its arguments, its environment, and where
//! it is asked whether it is ready. Pure.

use super::files::{Missing, Objects};
use crate::sandbox::network::program::Program;
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// The container's environment as the kubelet makes it.
///
/// # Errors
/// When a ConfigMap or Secret that it needs, or a key of one, is missing.
pub fn environment_of(
    pod: &Pod,
    container: &Container,
    objects: &Objects,
) -> Result<BTreeMap<String, String>, Missing> {
    let mut environment = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let values = objects.config_map(&reference.name, reference.optional)?;
            environment.extend(values.into_iter().filter_map(|(key, value)| text_entry(prefix, key, value)));
        }
        if let Some(reference) = &source.secret_ref {
            let values = objects.secret(&reference.name, reference.optional)?;
            environment.extend(values.into_iter().filter_map(|(key, value)| text_entry(prefix, key, value)));
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => value_from(pod, source, objects)?,
            (value, None) => Some(expand(value.as_deref().unwrap_or_default(), &environment)),
        };
        if let Some(value) = value {
            environment.insert(variable.name.clone(), value);
        }
    }
    Ok(environment)
}

fn text_entry(prefix: &str, key: String, value: Vec<u8>) -> Option<(String, String)> {
    Some((format!("{prefix}{key}"), String::from_utf8(value).ok()?))
}

fn value_from(pod: &Pod, source: &EnvVarSource, objects: &Objects) -> Result<Option<String>, Missing> {
    if let Some(field) = &source.field_ref {
        return Ok(field_of(pod, &field.field_path));
    }
    let (mut values, key, optional, object) = if let Some(reference) = &source.config_map_key_ref {
        let values = objects.config_map(&reference.name, reference.optional)?;
        (values, &reference.key, reference.optional, format!("ConfigMap {}", reference.name))
    } else if let Some(reference) = &source.secret_key_ref {
        let values = objects.secret(&reference.name, reference.optional)?;
        (values, &reference.key, reference.optional, format!("Secret {}", reference.name))
    } else {
        // Limits of resources mean nothing here.
        return Ok(None);
    };
    match values.remove(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        None if optional == Some(true) => Ok(None),
        None => Err(Missing { volume: None, message: format!("couldn't find key {key} in {object}") }),
    }
}

/// The value of a field of `pod` by the path that the downward API knows it by.
pub fn field_of(pod: &Pod, path: &str) -> Option<String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let entry = |map: &Option<BTreeMap<String, String>>, rest: &str| {
        let key = rest.trim_start_matches("['").trim_end_matches("']");
        map.as_ref().and_then(|map| map.get(key)).cloned()
    };
    match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => spec?.node_name.clone(),
        "spec.serviceAccountName" => spec?.service_account_name.clone(),
        "status.podIP" => status?.pod_ip.clone(),
        "status.hostIP" => status?.host_ip.clone(),
        _ => match (path.strip_prefix("metadata.labels"), path.strip_prefix("metadata.annotations")) {
            (Some(rest), _) => entry(&metadata.labels, rest),
            (_, Some(rest)) => entry(&metadata.annotations, rest),
            _ => None,
        },
    }
}

/// The container's arguments without the program itself, with `$(NAME)` expanded.
pub fn arguments_of(container: &Container, environment: &BTreeMap<String, String>) -> Vec<String> {
    let command = container.command.iter().flatten().skip(1);
    command.chain(container.args.iter().flatten()).map(|argument| expand(argument, environment)).collect()
}

/// Replaces `$(NAME)` as Kubernetes does: `$$` is a dollar, an unknown name stays as it is.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match environment.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

/// What answers 200 when a program is ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// Port of the pod.
    pub port: u16,
    /// Path.
    pub path: String,
    /// Whether the program speaks TLS there.
    pub tls: bool,
}

/// What to ask whether the program is ready: the container's own probe where it has one on a port
/// of the program. `prefix` is what the program's paths begin with.
pub fn readiness_of(container: &Container, program: Program, prefix: &str) -> Readiness {
    let asked = container.readiness_probe.as_ref().and_then(|probe| probe.http_get.as_ref()).and_then(|get| {
        let port = match &get.port {
            IntOrString::Int(number) => *number,
            IntOrString::String(name) => {
                container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name))?.container_port
            }
        };
        let port = u16::try_from(port).ok().filter(|port| program.row().ports.contains(port))?;
        let tls = get.scheme.as_deref() == Some("HTTPS");
        Some(Readiness { port, path: get.path.clone().unwrap_or_else(|| "/".to_owned()), tls })
    });
    let (port, path) = program.row().ready;
    asked.unwrap_or_else(|| Readiness { port, path: format!("{prefix}{path}"), tls: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "p-0", "namespace": "m", "labels": { "app/x": "one" } },
            "spec": { "containers": containers }, "status": { "podIP": "10.0.0.1" },
        }))
        .unwrap()
    }

    #[test]
    fn arguments_and_environment_are_expanded_as_the_kubelet_does() {
        let pod = pod(json!([{
            "name": "prometheus", "command": ["/bin/prometheus", "--first"],
            "args": ["--a=$(POD_IP):1", "--b=$$(POD_IP)", "--c=$(NOPE)$", "--d=$(CLUSTER)"],
            "env": [
                { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                { "name": "LABEL", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app/x']" } } },
                { "name": "CLUSTER", "value": "$(LABEL)-c" },
            ],
        }]));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let environment = environment_of(&pod, container, &Objects::default()).unwrap();
        assert_eq!(
            arguments_of(container, &environment),
            ["--first", "--a=10.0.0.1:1", "--b=$(POD_IP)", "--c=$(NOPE)$", "--d=one-c"]
        );
    }

    #[test]
    fn readiness_is_asked_as_the_kubelet_asks_it() {
        for (probe, expected) in [
            (json!({ "httpGet": { "port": "http-web", "path": "/p/-/ready" } }), (9090, "/p/-/ready", false)),
            (json!({ "httpGet": { "port": 9090, "scheme": "HTTPS" } }), (9090, "/", true)),
            (json!({ "httpGet": { "port": 8080, "path": "/x" } }), (9090, "/sub/-/ready", false)),
            (json!({ "httpGet": { "port": "gone", "path": "/x" } }), (9090, "/sub/-/ready", false)),
            (json!({ "tcpSocket": { "port": 9090 } }), (9090, "/sub/-/ready", false)),
        ] {
            let pod = pod(json!([{ "name": "prometheus", "readinessProbe": probe,
                "ports": [{ "name": "http-web", "containerPort": 9090 }] }]));
            let readiness = readiness_of(&pod.spec.unwrap().containers[0], Program::Prometheus, "/sub");
            assert_eq!((readiness.port, readiness.path.as_str(), readiness.tls), expected, "{probe}");
        }
    }

    #[test]
    fn a_missing_key_or_object_is_told_as_the_kubelet_does() {
        let from = |source: serde_json::Value| {
            let pod = pod(json!([{ "name": "prometheus", "env": [{ "name": "A", "valueFrom": source }] }]));
            let mut objects = Objects::default();
            objects
                .config_maps
                .insert("there".into(), serde_json::from_value(json!({ "data": { "k": "v" } })).unwrap());
            environment_of(&pod, &pod.spec.as_ref().unwrap().containers[0], &objects).map_err(|missing| missing.message)
        };
        assert_eq!(from(json!({ "configMapKeyRef": { "name": "there", "key": "k" } })).unwrap()["A"], "v");
        assert_eq!(
            from(json!({ "configMapKeyRef": { "name": "there", "key": "x" } })).unwrap_err(),
            "couldn't find key x in ConfigMap there"
        );
        assert_eq!(from(json!({ "secretKeyRef": { "name": "s", "key": "x" } })).unwrap_err(), "secret \"s\" not found");
        assert!(from(json!({ "secretKeyRef": { "name": "s", "key": "x", "optional": true } })).unwrap().is_empty());
    }
}
