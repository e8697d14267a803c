//! Facts that the API server knows.

use super::super::facts::{CannotAsk, Fact, KindNames, ReleaseFact, ServiceFact};
use crate::cluster::forward::message_of;
use crate::cluster::kinds;
use crate::cluster::observe;
use crate::cluster::snapshot::snapshot;
use crate::error::{Kind, chain_of, failure_of};
use crate::plan::model::ObservedRelease;
use crate::ready::Snapshot;
use crate::render::Bundle;
use crate::render::bundle::served_versions;
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Waits for an answer of the API server.
pub(super) async fn answer<T>(question: impl Future<Output = kube::Result<T>>) -> Fact<T> {
    match timeout(ANSWER_LIMIT, question).await {
        Ok(Ok(answer)) => Ok(answer),
        // It answered; asking again would not change its mind.
        Ok(Err(error @ kube::Error::Api(_))) => Err(CannotAsk::lasting(message_of(&error))),
        Ok(Err(error)) => Err(CannotAsk::passing(format!("the API server cannot be reached: {}", message_of(&error)))),
        Err(_) => Err(CannotAsk::passing(format!("the API server did not answer in {} s", ANSWER_LIMIT.as_secs()))),
    }
}

pub(super) async fn list<K>(client: &Client, namespace: &str, parameters: &ListParams) -> Fact<Vec<K>>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    Ok(answer(objects.list(parameters)).await?.items)
}

pub(super) async fn get<K>(client: &Client, namespace: &str, name: &str) -> Fact<Option<K>>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    answer(objects.get_opt(name)).await
}

pub(super) async fn api_server(client: &Client) -> Fact<String> {
    Ok(answer(client.apiserver_version()).await?.git_version)
}

/// The kinds that the API server lists, at least those of the bundle's definitions.
pub(super) async fn kinds(client: &Client, bundle: &Bundle) -> Fact<BTreeMap<String, KindNames>> {
    if let Some(found) = read(kinds::kinds(client)).await? {
        return Ok(found);
    }
    let versions: BTreeSet<String> = bundle.crds.iter().flat_map(|manifest| served_versions(&manifest.0)).collect();
    let lists = versions.iter().map(async |version| {
        let kinds = read(kinds::kinds_of(client, version)).await?;
        Ok(kinds.into_iter().map(move |(plural, names)| (format!("{version}/{plural}"), names)))
    });
    Ok(try_join_all(lists).await?.into_iter().flatten().collect())
}

/// The newest revision of each release of the bundle's namespaces.
pub(in crate::checks) async fn releases(client: &Client, bundle: &Bundle) -> Fact<Vec<ReleaseFact>> {
    let namespaces: BTreeSet<&str> = bundle.releases.iter().map(|release| release.namespace.as_str()).collect();
    let lists = namespaces.into_iter().map(|namespace| read(observe::releases(client, namespace)));
    let found = try_join_all(lists).await?.into_iter().flatten();
    let fact = |((namespace, name), release): ((String, String), ObservedRelease)| ReleaseFact {
        namespace,
        name,
        status: release.status,
        revision: release.revision,
        base: release.base,
        chart_digest: release.chart_digest,
    };
    Ok(found.map(fact).collect())
}

/// What each of `names` holds.
pub(in crate::checks) async fn namespaces(client: Fact<&Client>, names: &[&str]) -> BTreeMap<String, Fact<Snapshot>> {
    let reads = names.iter().map(async |name| {
        let found = match &client {
            Ok(client) => read(snapshot(client, name)).await,
            Err(why) => Err(why.clone()),
        };
        ((*name).to_owned(), found)
    });
    join_all(reads).await.into_iter().collect()
}

/// Waits for what a read of the cluster found.
async fn read<T>(found: impl Future<Output = anyhow::Result<T>>) -> Fact<T> {
    match timeout(ANSWER_LIMIT, found).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            let reason = chain_of(&error).join(": ");
            // What is not allowed now will not be allowed in a minute.
            let refused = failure_of(&error).is_some_and(|failure| failure.kind == Kind::Refused);
            Err(if refused { CannotAsk::lasting(reason) } else { CannotAsk::passing(reason) })
        }
        Err(_) => Err(CannotAsk::passing(format!("the API server did not answer in {} s", ANSWER_LIMIT.as_secs()))),
    }
}

pub(super) async fn services(client: &Client, bundle: &Bundle) -> Fact<BTreeMap<String, ServiceFact>> {
    let expected = &bundle.expected.targets;
    let namespaces: BTreeSet<&str> = expected.iter().map(|target| target.namespace.as_str()).collect();
    let everything = ListParams::default();
    let lists = namespaces.into_iter().map(async |namespace| {
        let services = list::<Service>(client, namespace, &everything).await?;
        let slices = list::<EndpointSlice>(client, namespace, &everything).await?;
        Ok((namespace, (services, slices)))
    });
    let found: BTreeMap<&str, (Vec<Service>, Vec<EndpointSlice>)> = try_join_all(lists).await?.into_iter().collect();
    let facts = expected.iter().filter_map(|target| {
        let (services, slices) = found.get(target.namespace.as_str())?;
        let exists = services.iter().any(|service| service.metadata.name.as_deref() == Some(&target.service));
        let fact = if exists {
            ServiceFact::Endpoints(ready_endpoints(slices, &target.service))
        } else {
            ServiceFact::Missing
        };
        Some((target.job.clone(), fact))
    });
    Ok(facts.collect())
}

/// How many pods (or addresses without a pod) of the Service are ready.
fn ready_endpoints(slices: &[EndpointSlice], service: &str) -> usize {
    let of_service = slices.iter().filter(|slice| {
        slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name")).map(String::as_str)
            == Some(service)
    });
    let ready = of_service
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
    // A pod with two address families stands in two slices.
    let names: BTreeSet<&str> = ready
        .filter_map(|endpoint| {
            let pod = endpoint.target_ref.as_ref().and_then(|reference| reference.name.as_deref());
            pod.or_else(|| endpoint.addresses.first().map(String::as_str))
        })
        .collect();
    names.len()
}

pub(super) async fn dashboards(
    client: &Client,
    bundle: &Bundle,
) -> Fact<BTreeMap<(String, String), Option<ConfigMap>>> {
    let all = bundle.expected.dashboards.iter().map(async |dashboard| {
        let found = get::<ConfigMap>(client, &dashboard.namespace, &dashboard.config_map).await?;
        Ok(((dashboard.namespace.clone(), dashboard.config_map.clone()), found))
    });
    Ok(try_join_all(all).await?.into_iter().collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn what_is_forbidden_is_not_asked_again() {
        for (kind, passing) in [(Kind::Refused, false), (Kind::CouldNotAsk, true)] {
            let found = read(async { Err::<(), _>(Failure::new(kind, "no").into()) }).await;
            assert_eq!(found.unwrap_err().passing, passing);
        }
    }

    #[test]
    fn only_ready_pods_of_the_service_are_counted_and_each_once() {
        let slice = |service: &str, endpoints: Value| -> EndpointSlice {
            let labels = json!({"kubernetes.io/service-name": service});
            serde_json::from_value(
                json!({"addressType": "IPv4", "metadata": {"labels": labels}, "endpoints": endpoints}),
            )
            .unwrap()
        };
        let pod = |name: &str, ready: bool| json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"name": name}});
        let slices = [
            slice("a", json!([pod("one", true), pod("two", false)])),
            slice("a", json!([pod("one", true), {"addresses": ["192.0.2.1"]}])),
            slice("b", json!([pod("three", true)])),
        ];
        assert_eq!(ready_endpoints(&slices, "a"), 2);
        assert_eq!(ready_endpoints(&slices, "c"), 0);
    }
}
