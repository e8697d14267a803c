//! The one place that reads or writes the content of a Secret, because a person asked for it.

use super::request::ask;
use crate::error::{Failure, Kind};
use crate::object::{FIELD_MANAGER, Manifest, ObjectRef};
use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Type of a Secret with which images are pulled, by its one key.
const DOCKER_CONFIG: (&str, &str) = (".dockerconfigjson", "kubernetes.io/dockerconfigjson");

/// The text under `key` of the Secret `name`.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when it cannot be read; [`Kind::Negative`] when it or the key is not there.
pub async fn secret_value(client: &Client, namespace: &str, name: &str, key: &str) -> Result<String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let what = format!("read Secret `{namespace}/{name}`");
    let secret = ask(&what, || secrets.get_opt(name)).await?;
    let value = secret.and_then(|secret| secret.data?.remove(key));
    let Some(value) = value else {
        return Err(Failure::new(Kind::Negative, format!("there is no key `{key}` in Secret `{namespace}/{name}`"))
            .hint("`drivemaster-mon deploy` generates it")
            .into());
    };
    Ok(String::from_utf8_lossy(&value.0).into_owned())
}

/// The keys of the Secret `name`, without its values; `None` where there is no such Secret.
///
/// Who wrote which key stands in the metadata, so the values are not even transferred. Only where that
/// was wiped are they read, and dropped at once.
///
/// # Errors
/// When the API server does not answer, or does not allow it.
pub async fn secret_keys(client: &Client, namespace: &str, name: &str) -> Result<Option<BTreeSet<String>>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let what = format!("read Secret `{namespace}/{name}`");
    let Some(found) = ask(&what, || secrets.get_metadata_opt(name)).await? else { return Ok(None) };
    let keys = written_keys(found.metadata.managed_fields.as_deref().unwrap_or_default());
    if !keys.is_empty() {
        return Ok(Some(keys));
    }
    Ok(secret_content(client, namespace, name).await?.map(|content| content.into_keys().collect()))
}

/// The keys under `data` that some field manager wrote.
fn written_keys(entries: &[ManagedFieldsEntry]) -> BTreeSet<String> {
    let data = entries.iter().filter_map(|entry| entry.fields_v1.as_ref()?.0.get("f:data")?.as_object());
    data.flat_map(|fields| fields.keys()).filter_map(|key| key.strip_prefix("f:")).map(str::to_owned).collect()
}

/// Everything in the Secret `name`; `None` where there is no such Secret. Never to be shown.
///
/// # Errors
/// When the API server does not answer, or does not allow it.
pub async fn secret_content(client: &Client, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let what = format!("read Secret `{namespace}/{name}`");
    let found = ask(&what, || secrets.get_opt(name)).await?;
    Ok(found.map(|secret| secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()))
}

/// Stores `value` under `key` of the Secret `name`, which is made where there is none. Other keys stay:
/// each key has a field manager of its own. It carries no label of ours, so `uninstall` keeps it.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn store_secret(client: &Client, namespace: &str, name: &str, key: &str, value: &[u8]) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "namespace": namespace },
        "data": { key: BASE64_STANDARD.encode(value) },
    });
    if key == DOCKER_CONFIG.0 {
        object["type"] = json!(DOCKER_CONFIG.1);
    }
    let parameters = PatchParams::apply(&format!("{FIELD_MANAGER}-secret-{key}")).force().validation_strict();
    let patch = Patch::Apply(&object);
    ask(&format!("store `{key}` in Secret `{namespace}/{name}`"), || secrets.patch(name, &parameters, &patch)).await?;
    Ok(())
}

/// Makes `namespace`, as a deploy would, where it is not there.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn ensure_namespace(client: &Client, namespace: &Manifest) -> Result<()> {
    let reference: ObjectRef = namespace.reference();
    let api = super::objects::api(client, &reference);
    if ask(&format!("read `{reference}`"), || api.get_metadata_opt(&reference.name)).await?.is_some() {
        return Ok(());
    }
    let parameters = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
    let patch = Patch::Apply(&namespace.0);
    ask(&format!("apply `{reference}`"), || api.patch(&reference.name, &parameters, &patch)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_stand_in_the_metadata() {
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([
            {"manager": "a", "fieldsV1": {"f:data": {".": {}, "f:one": {}}, "f:type": {}}},
            {"manager": "b", "fieldsV1": {"f:data": {"f:two.x": {}}}},
            {"manager": "c", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
            {"manager": "d"},
        ]))
        .unwrap();
        assert_eq!(written_keys(&entries), BTreeSet::from(["one".to_owned(), "two.x".to_owned()]));
        assert!(written_keys(&[]).is_empty());
    }
}
