//! What in a namespace, or of a kind, somebody else made: it would go with it.

use super::Standing;
use crate::cluster::Cluster;
use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::object::{FIELD_MANAGER, MANAGED_BY_LABEL, ObjectRef};
use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList, ObjectMeta};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};
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

/// What Helm does not say of a hook's object, its chart may.
const HOOK: &str = "helm.sh/hook";
/// The Certificate that cert-manager made a Secret of.
const CERTIFICATE: &str = "cert-manager.io/certificate-name";

/// Who is known: us, and our releases.
pub(super) struct Known<'a> {
    /// What stands of ours.
    pub(super) standing: &'a Standing,
    /// The names of our releases, by namespace.
    pub(super) instances: &'a BTreeMap<String, BTreeSet<String>>,
}

impl Known<'_> {
    /// Whether a Certificate of that name is ours: cert-manager makes a Secret of it, which has no owner.
    fn has_certificate(&self, namespace: &str, name: &str) -> bool {
        let is_it = |reference: &ObjectRef| {
            reference.kind == "Certificate"
                && reference.namespace.as_deref() == Some(namespace)
                && reference.name == name
        };
        self.standing.objects.iter().any(|owned| is_it(&owned.reference))
    }

    /// Whether we, one of our releases, or a program on behalf of something that is judged itself made the object with
    /// `meta`: what has an owner goes with it.
    pub(super) fn made(&self, meta: &ObjectMeta, namespace: &str) -> bool {
        let Known { standing, instances } = self;
        let ours = [&standing.late, &standing.objects, &standing.secrets, &standing.claims];
        let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key));
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|all| all.get(key));
        let is_release = |namespace: &str, name: Option<&String>| {
            instances.get(namespace).zip(name).is_some_and(|(releases, name)| releases.contains(name))
        };
        let made_from = annotation("meta.helm.sh/release-namespace").map_or(namespace, String::as_str);
        meta.uid.as_ref().is_some_and(|uid| ours.into_iter().flatten().any(|owned| owned.uid == *uid))
            || meta.owner_references.as_ref().is_some_and(|owners| !owners.is_empty())
            || label(MANAGED_BY_LABEL).is_some_and(|manager| manager == FIELD_MANAGER)
            || (annotation(HOOK).is_some() && is_release(namespace, label("app.kubernetes.io/instance")))
            || annotation(CERTIFICATE).is_some_and(|name| self.has_certificate(namespace, name))
            || is_release(made_from, annotation("meta.helm.sh/release-name"))
            || (label("owner").is_some_and(|owner| owner == "helm") && is_release(namespace, label("name")))
    }
}

/// What may be in a namespace.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    /// Every namespaced kind whose objects can be listed and deleted, in one version each.
    pub(super) known: Vec<ApiResource>,
    /// The versions of groups whose server is away, so that their kinds are not known.
    pub(super) away: Vec<String>,
}

/// What the API server serves.
pub(super) async fn namespaced_kinds(client: &Client) -> Result<Kinds> {
    let known = KINDS.iter().map(|(group, version, kind)| {
        ApiResource::from_gvk(&GroupVersionKind {
            group: (*group).into(),
            version: (*version).into(),
            kind: (*kind).into(),
        })
    });
    let mut kinds = Kinds { known: known.collect(), away: Vec::new() };
    let groups = ask("list the API groups of the cluster", || client.list_api_groups()).await?.groups;
    let versions = groups.into_iter().flat_map(|group| group.versions).map(|version| version.group_version);
    let lists: Vec<(String, Option<Vec<APIResource>>)> = stream::iter(std::iter::once("v1".to_owned()).chain(versions))
        .map(|version| async move {
            let resources = resources_of(client, &version).await?;
            Ok::<_, anyhow::Error>((version, resources))
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    for (api_version, resources) in lists {
        let Some(resources) = resources else {
            kinds.away.push(api_version);
            continue;
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        for resource in resources {
            let can = |verb: &str| resource.verbs.iter().any(|able| able == verb);
            let is_part = resource.name.contains('/');
            let is_known = kinds.known.iter().any(|known| known.group == group && known.kind == resource.kind)
                || DERIVED.contains(&(group, resource.kind.as_str()));
            if resource.namespaced && !is_part && !is_known && can("list") && can("delete") {
                kinds.known.push(ApiResource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    api_version: api_version.clone(),
                    kind: resource.kind,
                    plural: resource.name,
                });
            }
        }
    }
    Ok(kinds)
}

/// The kinds of `version`; `None` where the server of its group is away.
async fn resources_of(client: &Client, version: &str) -> Result<Option<Vec<APIResource>>> {
    let what = format!("list the kinds of `{version}`");
    let list = ask(&what, || async {
        match version.split_once('/') {
            None => client.list_core_api_resources(version).await.map(Some),
            Some(_) => match client.list_api_group_resources(version).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some(APIResourceList::default())),
                Err(kube::Error::Api(status)) if status.code == 503 => Ok(None),
                found => found.map(Some),
            },
        }
    });
    Ok(list.await?.map(|list| list.resources))
}

/// Why `namespace` must stay for what is in it of `kinds`: something that is not ours, or that may not be looked at.
pub(super) async fn in_namespace(
    client: &Client,
    namespace: &str,
    kinds: &Kinds,
    known: &Known<'_>,
) -> Result<Option<String>> {
    if let Some(version) = kinds.away.first() {
        return Ok(Some(format!("the server of `{version}` is away: what it holds of that cannot be seen")));
    }
    let reasons =
        stream::iter(&kinds.known).map(|resource| of_kind(client, namespace, resource, known)).buffered(CONCURRENCY);
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

/// Whether the object `name` of `kind` is made in every namespace: by Kubernetes itself, OpenShift or Istio.
fn is_of_every_namespace(kind: &str, name: &str) -> bool {
    match kind {
        "ServiceAccount" => ["builder", "default", "deployer"].contains(&name),
        "ConfigMap" => ["istio-ca-root-cert", "kube-root-ca.crt", "openshift-service-ca.crt"].contains(&name),
        "RoleBinding" => ["system:deployers", "system:image-builders", "system:image-pullers"].contains(&name),
        "Secret" => name.contains("-dockercfg-"),
        _ => false,
    }
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
