//! The configuration of Alertmanager as it was deployed.

use super::super::facts::{CannotAsk, Fact};
use super::cluster::{answer, get};
use crate::stack;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::Value;

/// The configuration file of the deployed Alertmanager: that of the object which its operator made
/// the workload from, else the one that the workload's argument and volume lead to.
pub(super) async fn deployed_routes(client: &Client, namespace: &str) -> Fact<String> {
    let component =
        stack::component("alertmanager").ok_or_else(|| CannotAsk::lasting("the catalogue has no Alertmanager"))?;
    let found = get::<StatefulSet>(client, namespace, component.workload).await?;
    let found = found.ok_or_else(|| CannotAsk::lasting(format!("`{}` does not exist", component.workload)))?;
    let owner = found.owner_references().iter().find(|owner| owner.kind == "Alertmanager").map(|owner| &owner.name);
    if let Some(owner) = owner.cloned() {
        let source = source_of_operator(client, namespace, &owner).await?;
        return text_of(client, namespace, &source).await;
    }
    let workload = serde_json::to_value(found).map_err(|error| CannotAsk::lasting(error.to_string()))?;
    let source = configuration_source(&workload).ok_or_else(|| {
        CannotAsk::lasting("the workload names no configuration file that comes from a ConfigMap or Secret")
    })?;
    text_of(client, namespace, &source).await
}

/// Where the Alertmanager object `name` has its configuration: the operator makes the file that runs from it.
async fn source_of_operator(client: &Client, namespace: &str, name: &str) -> Fact<Source> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", "Alertmanager"));
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let object = answer(objects.get(name)).await?;
    let named = object.data.pointer("/spec/configSecret").and_then(Value::as_str).filter(|name| !name.is_empty());
    Ok(Source::Secret {
        name: named.map_or_else(|| format!("alertmanager-{name}"), str::to_owned),
        key: "alertmanager.yaml".to_owned(),
    })
}

async fn text_of(client: &Client, namespace: &str, source: &Source) -> Fact<String> {
    let text = match source {
        Source::ConfigMap { name, key } => {
            let found = get::<ConfigMap>(client, namespace, name).await?;
            found.and_then(|found| found.data?.remove(key))
        }
        Source::Secret { name, key } => {
            let found = get::<Secret>(client, namespace, name).await?;
            found.and_then(|found| String::from_utf8(found.data?.remove(key)?.0).ok())
        }
    };
    text.ok_or_else(|| {
        CannotAsk::lasting(match source {
            Source::ConfigMap { name, key } => format!("key `{key}` of ConfigMap `{namespace}/{name}` does not exist"),
            Source::Secret { name, key } => format!("key `{key}` of Secret `{namespace}/{name}` does not exist"),
        })
    })
}

/// Where a file of a container comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    ConfigMap { name: String, key: String },
    Secret { name: String, key: String },
}

/// Follows `--config.file` of the first container that has it through its mount to the volume.
fn configuration_source(workload: &Value) -> Option<Source> {
    let pod = workload.pointer("/spec/template/spec")?;
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    for container in list(pod, "containers") {
        let arguments = list(&container, "args");
        let Some(file) =
            arguments.iter().filter_map(Value::as_str).find_map(|argument| argument.strip_prefix("--config.file="))
        else {
            continue;
        };
        let mount = list(&container, "volumeMounts").into_iter().find_map(|mount| {
            let path = text(&mount, "mountPath")?;
            let below = file.strip_prefix(path.trim_end_matches('/'))?;
            let key = match (below.strip_prefix('/'), text(&mount, "subPath")) {
                (Some(key), None) => key.to_owned(),
                (None, Some(key)) if below.is_empty() => key,
                _ => return None,
            };
            Some((text(&mount, "name")?, key))
        });
        let (volume, key) = mount?;
        let volume =
            list(pod, "volumes").into_iter().find(|candidate| text(candidate, "name").as_ref() == Some(&volume))?;
        if let Some(name) = volume.get("configMap").and_then(|source| text(source, "name")) {
            return Some(Source::ConfigMap { name, key });
        }
        return volume
            .get("secret")
            .and_then(|source| text(source, "secretName"))
            .map(|name| Source::Secret { name, key });
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_configuration_file_is_followed_to_its_source() {
        let workload = |mount: Value, volume: Value| {
            json!({"spec": {"template": {"spec": {
                "containers": [{"args": ["--listen"]}, {"args": ["--config.file=/etc/am/config/am.yml"], "volumeMounts": [
                    {"name": "other", "mountPath": "/etc/amx"}, mount]}],
                "volumes": [{"name": "other", "emptyDir": {}}, volume],
            }}}})
        };
        let config_map = json!({"name": "config", "configMap": {"name": "am"}});
        let folder = json!({"name": "config", "mountPath": "/etc/am/config/"});
        let found = |name: &str, key: &str| Some(Source::ConfigMap { name: name.to_owned(), key: key.to_owned() });
        assert_eq!(configuration_source(&workload(folder.clone(), config_map.clone())), found("am", "am.yml"));
        let one_file = json!({"name": "config", "mountPath": "/etc/am/config/am.yml", "subPath": "routes.yml"});
        assert_eq!(configuration_source(&workload(one_file, config_map)), found("am", "routes.yml"));
        let secret = json!({"name": "config", "secret": {"secretName": "am"}});
        let expected = Source::Secret { name: "am".to_owned(), key: "am.yml".to_owned() };
        assert_eq!(configuration_source(&workload(folder.clone(), secret)), Some(expected));
        assert_eq!(configuration_source(&workload(folder, json!({"name": "config", "emptyDir": {}}))), None);
        assert_eq!(configuration_source(&json!({})), None);
    }
}
