//! What in a namespace, or of a kind, somebody else made: it would go with it.

use super::Standing;
use crate::cluster::Cluster;
use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::object::ObjectRef;
use anyhow::Result;
use futures::stream::{self, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::discovery::{Scope, verbs};
use kube::{Api, Client, Discovery};
use std::collections::{BTreeMap, BTreeSet};

/// How many lists are read at once.
const CONCURRENCY: usize = 8;
/// The kinds that are looked at whatever the API server says it serves.
const KINDS: &[(&str, &str, &str)] = &[
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "StatefulSet"),
    ("apps", "v1", "DaemonSet"),
    ("batch", "v1", "CronJob"),
    ("batch", "v1", "Job"),
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "PersistentVolumeClaim"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Secret"),
];
/// Kinds that programs make of what is there, without saying whose it is.
const DERIVED: &[(&str, &str)] = &[
    ("", "Endpoints"),
    ("", "Event"),
    ("coordination.k8s.io", "Lease"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("events.k8s.io", "Event"),
];

/// Who is known: us, and our releases.
pub(super) struct Known<'a> {
    /// What stands of ours.
    pub(super) standing: &'a Standing,
    /// The names of our releases, by namespace.
    pub(super) instances: &'a BTreeMap<String, BTreeSet<String>>,
}

impl Known<'_> {
    /// Whether we, one of our releases, or a controller on behalf of something made the object with `meta`.
    fn made(&self, meta: &ObjectMeta, namespace: &str) -> bool {
        let Known { standing, instances } = self;
        let ours = [&standing.late, &standing.objects, &standing.secrets, &standing.claims];
        let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key));
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|all| all.get(key));
        let is_release = |namespace: &str, name: Option<&String>| {
            instances.get(namespace).zip(name).is_some_and(|(releases, name)| releases.contains(name))
        };
        let made_from = annotation("meta.helm.sh/release-namespace").map_or(namespace, String::as_str);
        meta.uid.as_ref().is_some_and(|uid| ours.into_iter().flatten().any(|owned| owned.uid == *uid))
            || meta.owner_references.iter().flatten().any(|owner| owner.controller == Some(true))
            || is_release(made_from, annotation("meta.helm.sh/release-name"))
            || (label("owner").is_some_and(|owner| owner == "helm") && is_release(namespace, label("name")))
    }
}

/// Every namespaced kind whose objects can be listed and deleted, in one version each.
pub(super) async fn namespaced_kinds(client: &Client) -> Result<Vec<ApiResource>> {
    let discovery = ask("list the kinds of the cluster", || async {
        match Discovery::new(client.clone()).run_aggregated().await {
            // Before Kubernetes 1.26 no one answer holds them all.
            Err(kube::Error::SerdeError(_)) => Discovery::new(client.clone()).run().await,
            found => found,
        }
    })
    .await?;
    let known = KINDS.iter().map(|(group, version, kind)| {
        ApiResource::from_gvk(&GroupVersionKind {
            group: (*group).into(),
            version: (*version).into(),
            kind: (*kind).into(),
        })
    });
    let mut kinds: Vec<ApiResource> = known.collect();
    for group in discovery.groups_alphabetical() {
        let mut found = group.resources_by_stability();
        found.sort_by(|(one, _), (other, _)| one.kind.cmp(&other.kind));
        for (resource, able) in found {
            let is_named = |(group, kind): &(&str, &str)| resource.group == *group && resource.kind == *kind;
            let is_known = KINDS.iter().any(|(group, _, kind)| is_named(&(group, kind)));
            let lives = able.scope == Scope::Namespaced
                && able.supports_operation(verbs::LIST)
                && able.supports_operation(verbs::DELETE);
            if lives && !is_known && !DERIVED.iter().any(is_named) {
                kinds.push(resource);
            }
        }
    }
    Ok(kinds)
}

/// Why `namespace` must stay for what is in it of `kinds`: something that is not ours, or that may not be looked at.
pub(super) async fn in_namespace(
    client: &Client,
    namespace: &str,
    kinds: &[ApiResource],
    known: &Known<'_>,
) -> Result<Option<String>> {
    let reasons = stream::iter(kinds).map(|resource| of_kind(client, namespace, resource, known)).buffered(CONCURRENCY);
    let mut reasons = std::pin::pin!(reasons);
    while let Some(reason) = reasons.next().await {
        if let Some(reason) = reason? {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

async fn of_kind(
    client: &Client,
    namespace: &str,
    resource: &ApiResource,
    known: &Known<'_>,
) -> Result<Option<String>> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    let what = format!("list the objects of kind `{}` in namespace `{namespace}`", resource.kind);
    let parameters = ListParams::default();
    let list = ask(&what, || async {
        match api.list_metadata(&parameters).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 403..=405) => Ok(Err(status.code)),
            answer => answer.map(Ok),
        }
    });
    let items = match list.await? {
        Ok(list) => list.items,
        Err(403) => return Ok(Some(format!("objects of kind `{}` in it may not be listed", resource.kind))),
        // The kind has gone in the meantime, or is none of which objects are kept.
        Err(_) => return Ok(None),
    };
    let foreign = items.into_iter().map(|item| item.metadata).find(|meta| {
        !known.made(meta, namespace) && !is_of_every_namespace(&resource.kind, meta.name.as_deref().unwrap_or_default())
    });
    Ok(foreign.map(|meta| {
        let name = meta.name.unwrap_or_default();
        let object = ObjectRef::namespaced(&resource.api_version, &resource.kind, namespace, &name);
        format!("`{object}` in it is not ours")
    }))
}

/// Whether the control plane makes the object `name` of `kind` in every namespace.
fn is_of_every_namespace(kind: &str, name: &str) -> bool {
    matches!((kind, name), ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt"))
}

/// An object of the kind that the definition `crd` brings which neither we nor our releases made, where there is one.
pub(super) async fn of_definition(cluster: &Cluster, crd: &ObjectRef, known: &Known<'_>) -> Result<Option<ObjectRef>> {
    let definitions = objects::api(&cluster.client, crd);
    let Some(definition) = ask(&format!("read `{crd}`"), || definitions.get_opt(&crd.name)).await? else {
        return Ok(None);
    };
    let definition = serde_json::to_value(definition)?;
    let Some(resource) = objects::defined(&definition) else { return Ok(None) };
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    let parameters = ListParams::default();
    let what = format!("list the objects of kind `{}`", resource.kind);
    for item in ask(&what, || api.list_metadata(&parameters)).await?.items {
        let meta = item.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        if !known.made(&meta, &namespace) {
            let name = meta.name.unwrap_or_default();
            let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
            return Ok(Some(ObjectRef { api_version: resource.api_version, kind: resource.kind, namespace, name }));
        }
    }
    Ok(None)
}
