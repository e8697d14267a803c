//! Reads everything in a namespace that the verdicts on readiness are made from.

use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::object::ObjectRef;
use crate::ready::Snapshot;
use crate::ready::snapshot::StorageClassSeen;
use anyhow::Result;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// The annotation that makes a StorageClass the default one.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Reads `namespace` as it is now.
///
/// # Errors
/// When the API server does not answer, or does not allow it.
pub async fn snapshot(client: &Client, namespace: &str) -> Result<Snapshot> {
    let all = ListParams::default();
    let warnings = ListParams::default().fields("type=Warning");
    let (deployments, replica_sets, stateful_sets, daemon_sets, jobs, pods, claims, events, storage_classes) = tokio::try_join!(
        list(client, namespace, &all),
        list(client, namespace, &all),
        list(client, namespace, &all),
        list(client, namespace, &all),
        list(client, namespace, &all),
        list(client, namespace, &all),
        list(client, namespace, &all),
        list::<Event>(client, namespace, &warnings),
        storage_classes(client),
    )?;
    let snapshot = Snapshot {
        deployments,
        replica_sets,
        stateful_sets,
        daemon_sets,
        jobs,
        pods,
        claims,
        storage_classes,
        ..Snapshot::default()
    };
    Ok(snapshot.with_events(events))
}

// From the server's store and not from its cache: a cached workload of before our write looks ready.
async fn list<K>(client: &Client, namespace: &str, parameters: &ListParams) -> Result<Vec<K>>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let what = format!("list the objects of kind `{}` in namespace `{namespace}`", K::kind(&()));
    Ok(ask(&what, || api.list(parameters)).await?.items)
}

/// The object of any kind that `reference` names; `None` when there is none.
///
/// # Errors
/// When the API server does not answer, or does not allow it.
pub(crate) async fn further(client: &Client, reference: &ObjectRef) -> Result<Option<serde_json::Value>> {
    let api = objects::api(client, reference);
    let found = ask(&format!("read `{reference}`"), || api.get_opt(&reference.name)).await?;
    Ok(found.map(serde_json::to_value).transpose()?)
}

/// How many ready endpoints the Service has.
///
/// # Errors
/// When the API server does not answer, or does not allow it.
pub(crate) async fn ready_endpoints(client: &Client, namespace: &str, service: &str) -> Result<usize> {
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let slices: Vec<EndpointSlice> = list(client, namespace, &of_service).await?;
    let ready =
        |endpoint: &&Endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
    Ok(slices.iter().flat_map(|slice| &slice.endpoints).filter(ready).count())
}

/// The StorageClasses; `None` where they may not be read.
///
/// # Errors
/// When the API server does not answer.
pub(crate) async fn storage_classes(client: &Client) -> Result<Option<Vec<StorageClassSeen>>> {
    let api: Api<StorageClass> = Api::all(client.clone());
    let what = "list the StorageClasses";
    let parameters = ListParams::default();
    let answer = ask(what, || async {
        match api.list_metadata(&parameters).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            answer => answer.map(Some),
        }
    });
    let Some(list) = answer.await? else { return Ok(None) };
    let seen = list.items.into_iter().filter_map(|class| {
        let default = class.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_CLASS));
        Some(StorageClassSeen { default: default.is_some_and(|value| value == "true"), name: class.metadata.name? })
    });
    Ok(Some(seen.collect()))
}
