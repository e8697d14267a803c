//! The images that Kubernetes objects name. Pure.

use serde_json::Value;
use std::collections::BTreeSet;

/// Kinds whose content is not about the cluster's own containers.
const OTHER_KINDS: &[&str] = &["ConfigMap", "Secret", "CustomResourceDefinition"];

/// Every image that `object` names: of containers and init containers, of custom resources such as
/// Prometheus, and of options and variables by which a controller is told what to run.
pub fn images(object: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let is_other = object["kind"].as_str().is_some_and(|kind| OTHER_KINDS.contains(&kind));
    if !is_other {
        collect(object, &mut found);
    }
    found
}

/// What is wrong with an image: nothing that says which one it is, as tomorrow it may be another.
pub fn problem(image: &str) -> Option<&'static str> {
    if image.contains('@') {
        return None;
    }
    match tag(image) {
        None => Some("no tag: it may be another one tomorrow"),
        Some("latest") => Some("the tag `latest`: it may be another one tomorrow"),
        Some(_) => None,
    }
}

/// The part behind the colon of the last part of the path; a colon before it is a port.
fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split_once(':').map(|(_, tag)| tag).filter(|tag| !tag.is_empty())
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("image" | "baseImage", Value::String(image)) if !image.is_empty() => {
                        found.insert(image.clone());
                    }
                    ("args" | "command", Value::Array(words)) => {
                        found.extend(words.iter().filter_map(Value::as_str).filter_map(of_option));
                    }
                    ("env", Value::Array(variables)) => found.extend(variables.iter().filter_map(of_variable)),
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The image in an option such as `--prometheus-config-reloader=quay.io/x/y:v1`.
fn of_option(word: &str) -> Option<String> {
    let (_, value) = word.split_once('=')?;
    is_image(value).then(|| value.to_owned())
}

/// The image in a variable whose name speaks of one.
fn of_variable(variable: &Value) -> Option<String> {
    let value = variable["value"].as_str()?;
    let named = variable["name"].as_str()?.to_uppercase().contains("IMAGE");
    (named && is_image(value)).then(|| value.to_owned())
}

/// Whether a word can be nothing else than an image: a registry or a folder, a name, and a tag or digest.
/// A tag of digits alone could as well be a port.
fn is_image(word: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "./:@_-".contains(letter);
    let is_path = word.contains('/') && word.starts_with(|first: char| first.is_ascii_alphanumeric());
    is_path
        && !word.contains("://")
        && !word.contains("//")
        && word.chars().all(allowed)
        && (word.contains("@sha256:") || tag(word).is_some_and(|tag| !tag.chars().all(|digit| digit.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn images_are_found_wherever_they_are_named() {
        let pod = json!({"spec": {
            "initContainers": [{"image": "a/init:1"}],
            "containers": [{"image": "a/main:1", "env": [{"name": "PAUSE_IMAGE", "value": "a/pause:3.10"},
                {"name": "PLACE", "value": "a/place:3x"}],
                "args": ["--prometheus-config-reloader=quay.io/a/reloader:v1", "--base-image=quay.io/a/base",
                    "--url=http://a/b:v1", "--listen=0.0.0.0:9090", "--store=loki:3100/x", "--file=/etc/x:y", "b/c:v1"]}]
        }});
        let deployment = json!({"kind": "Deployment", "spec": {"template": pod}});
        let found: Vec<String> = images(&deployment).into_iter().collect();
        assert_eq!(found, ["a/init:1", "a/main:1", "a/pause:3.10", "quay.io/a/reloader:v1"]);
        let operated = json!({"kind": "Prometheus", "spec": {"image": "quay.io/p/p:v3", "containers": []}});
        assert_eq!(images(&operated).into_iter().collect::<Vec<_>>(), ["quay.io/p/p:v3"]);
        assert!(images(&json!({"kind": "ConfigMap", "data": {"image": "a:1"}})).is_empty());
    }

    #[test]
    fn an_image_that_can_change_is_a_finding() {
        let cases = [
            ("a/b:1", false),
            ("host:5000/a/b:1", false),
            ("a/b@sha256:0", false),
            ("a/b:latest", true),
            ("host:5000/a/b", true),
            ("b", true),
            ("a/b:", true),
        ];
        for (image, wrong) in cases {
            assert_eq!(problem(image).is_some(), wrong, "{image}");
        }
    }
}
