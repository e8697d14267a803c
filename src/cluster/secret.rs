//! The one place that reads the content of a Secret, because a person asked to see it.

use crate::error::{Failure, Kind};
use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

/// The text under `key` of the Secret `name`.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when it cannot be read; [`Kind::Negative`] when it or the key is not there.
pub async fn secret_value(client: &Client, namespace: &str, name: &str, key: &str) -> Result<String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let what = format!("read Secret `{namespace}/{name}`");
    let secret = super::request::ask(&what, || secrets.get_opt(name)).await?;
    let value = secret.and_then(|secret| secret.data?.remove(key));
    let Some(value) = value else {
        return Err(Failure::new(Kind::Negative, format!("there is no key `{key}` in Secret `{namespace}/{name}`"))
            .hint("`drivemaster-mon deploy` generates it")
            .into());
    };
    Ok(String::from_utf8_lossy(&value.0).into_owned())
}
