//! Finds what a container's files come from, and asks a program for its version.

use super::files::{Needs, Objects, TokenNeed};
use super::version::said_version;
use anyhow::{Result, anyhow};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, ServiceAccount};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// How long the API server may take for one answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// A token is renewed after this share of its life, as the kubelet does.
const RENEW_AFTER: f64 = 0.8;

/// The tokens of one pod, renewed before they end.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<TokenNeed, (String, Timestamp)>);

/// What the API server holds, as watches tell it.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) config_maps: Store<ConfigMap>,
    pub(super) secrets: Store<Secret>,
    pub(super) claims: Store<PersistentVolumeClaim>,
}

/// Gathers everything in `needs`. What does not exist is left out; so is a token that the API
/// server refuses.
///
/// # Errors
/// When the API server does not answer, so nothing is known.
pub(super) async fn gather(
    client: &Client,
    sources: &Sources,
    pod: &Pod,
    needs: &Needs,
    tokens: &mut Tokens,
) -> Result<Objects> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let claims = find(client, &sources.claims, namespace, &needs.claims).await?;
    let mut objects = Objects {
        config_maps: find(client, &sources.config_maps, namespace, &needs.config_maps).await?,
        secrets: find(client, &sources.secrets, namespace, &needs.secrets).await?,
        claims: claims.into_iter().filter_map(|(name, claim)| Some((name, claim.metadata.uid?))).collect(),
        tokens: BTreeMap::new(),
    };
    for need in &needs.tokens {
        let renewed = match tokens.0.remove(need) {
            Some((token, renew_at)) if Timestamp::now() < renew_at => Some((token, renew_at)),
            _ => request_token(client, namespace, pod, need).await?,
        };
        if let Some((token, renew_at)) = renewed {
            objects.tokens.insert(need.clone(), token.clone());
            tokens.0.insert(need.clone(), (token, renew_at));
        }
    }
    Ok(objects)
}

/// What no watch told of yet is asked for: that it is missing is a fault of whoever deployed the pod.
async fn find<K>(
    client: &Client,
    store: &Store<K>,
    namespace: &str,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + serde::de::DeserializeOwned
        + 'static,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let mut found = BTreeMap::new();
    for name in names {
        let told = store.get(&ObjectRef::new(name).within(namespace)).map(Arc::unwrap_or_clone);
        let object = if told.is_some() { told } else { in_time(api.get_opt(name)).await? };
        if let Some(object) = object {
            found.insert(name.clone(), object);
        }
    }
    Ok(found)
}

/// A token of the pod's own ServiceAccount, bound to the pod, and when to renew it.
async fn request_token(
    client: &Client,
    namespace: &str,
    pod: &Pod,
    need: &TokenNeed,
) -> Result<Option<(String, Timestamp)>> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: need.audience.iter().cloned().collect(),
            expiration_seconds: Some(need.seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..TokenRequest::default()
    };
    let api = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let parameters = PostParams::default();
    match tokio::time::timeout(DEADLINE, api.create_token_request(account, &parameters, &request)).await {
        Err(_) => Err(anyhow!("the API server does not answer")),
        Ok(Err(kube::Error::Api(_))) => Ok(None),
        Ok(Err(error)) => Err(anyhow!(plain(&error))),
        Ok(Ok(answer)) => Ok(answer.status.map(|status| {
            let now = Timestamp::now();
            let life = status.expiration_timestamp.0.duration_since(now).as_secs_f64().max(0.0);
            let keep = SignedDuration::try_from_secs_f64(life * RENEW_AFTER).unwrap_or_default();
            (status.token, now.checked_add(keep).unwrap_or(now))
        })),
    }
}

/// What the program `executable` says its version is; `None` when it says nothing of the kind.
pub(super) async fn version_of(executable: &Path) -> Option<String> {
    let mut command = Command::new(executable);
    let asked = command.arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, asked).await.ok()?.ok()?;
    // Some say it on standard error.
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    said.iter().find_map(|text| said_version(text))
}

/// The answer to a request, within the deadline.
///
/// # Errors
/// When there is none, or it is a refusal.
pub(super) async fn in_time<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(DEADLINE, request).await;
    answer.map_err(|_| anyhow!("the API server does not answer"))?.map_err(|error| anyhow!(plain(&error)))
}

/// An error of the client in plain words: its own text for a refusal appends the whole Status.
fn plain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
