//! Reads what the judges need of the cluster: a few lists, side by side. What may not be read is skipped
//! and told.

use super::judge_capacity::Room;
use super::judge_standing::{Standing, services_of_webhooks};
use crate::cluster::Cluster;
use crate::cluster::deployed::objects_of;
use crate::cluster::objects::api;
use crate::cluster::request::ask;
use crate::cluster::secret::secret_keys;
use crate::config::model::{Config, IngressKind, InternalTlsMode};
use crate::error::{Kind, failure_of};
use crate::object::{Manifest, ObjectRef};
use crate::plan::{Action, Plan, Target};
use crate::render::Bundle;
use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::ListParams;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How many questions go on at once.
const CONCURRENCY: usize = 16;
/// Classes that every cluster has without an object.
const BUILT_IN_PRIORITIES: [&str; 2] = ["system-cluster-critical", "system-node-critical"];

/// What was skipped because it may not be read, for people.
pub(super) type Skipped = Vec<String>;

/// The answer, or `None` with a line in `skipped` where it is not allowed.
fn or_skipped<T>(answer: Result<T>, what: &str, skipped: &mut Skipped) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if failure_of(&error).is_some_and(|failure| failure.kind == Kind::Refused) => {
            skipped.push(format!("preflight skips {what}: not allowed to read it"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Every object of a kind, in all namespaces; of a kind that is not served, none.
async fn list(cluster: &Cluster, api_version: &str, kind: &str) -> Result<Vec<Value>> {
    let api = api(&cluster.client, &ObjectRef::cluster_scoped(api_version, kind, ""));
    let parameters = ListParams::default();
    let what = format!("list the objects of kind `{kind}`");
    let items = ask(&what, || async {
        match api.list(&parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            answer => answer.map(|list| list.items),
        }
    });
    items.await?.into_iter().map(|item| serde_json::to_value(item).map_err(Into::into)).collect()
}

/// The metadata of an object; `None` where there is none, or where its kind is not served.
pub(super) async fn metadata(cluster: &Cluster, object: &ObjectRef) -> Result<Option<Value>> {
    let api = api(&cluster.client, object);
    let found = ask(&format!("read `{object}`"), || async {
        match api.get_metadata_opt(&object.name).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            answer => answer,
        }
    })
    .await?;
    found.map(|found| serde_json::to_value(found).map_err(Into::into)).transpose()
}

/// Nodes, pods, quotas and limit ranges.
pub(super) async fn room(cluster: &Cluster, skipped: &mut Skipped) -> Result<Room> {
    let (nodes, pods, quotas, limit_ranges) = futures::join!(
        list(cluster, "v1", "Node"),
        list(cluster, "v1", "Pod"),
        list(cluster, "v1", "ResourceQuota"),
        list(cluster, "v1", "LimitRange"),
    );
    Ok(Room {
        nodes: or_skipped(nodes, "the room on the nodes", skipped)?,
        pods: or_skipped(pods, "what runs on the nodes", skipped)?,
        quotas: or_skipped(quotas, "the quotas", skipped)?,
        limit_ranges: or_skipped(limit_ranges, "the limit ranges", skipped)?,
    })
}

/// Classes, definitions, Secrets, owners and webhooks; `rendered` are the objects of the releases.
pub(super) async fn standing(
    cluster: &Cluster,
    bundle: &Bundle,
    plan: &Plan,
    config: &Config,
    rendered: &[Manifest],
    skipped: &mut Skipped,
) -> Result<Standing> {
    let (ingress_classes, priority_classes, validating, mutating, needed, secrets, own) = futures::join!(
        list(cluster, "networking.k8s.io/v1", "IngressClass"),
        list(cluster, "scheduling.k8s.io/v1", "PriorityClass"),
        list(cluster, "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
        list(cluster, "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
        needed(cluster, config),
        secrets(cluster, bundle),
        own(cluster, plan),
    );
    let mut webhooks = or_skipped(validating, "validating webhooks", skipped)?.unwrap_or_default();
    webhooks.extend(or_skipped(mutating, "mutating webhooks", skipped)?.unwrap_or_default());
    let made: BTreeSet<(String, String)> = rendered
        .iter()
        .map(Manifest::reference)
        .filter(|object| object.kind == "Service")
        .filter_map(|object| Some((object.namespace?, object.name)))
        .collect();
    let services = services_of_webhooks(&webhooks, &made);
    let without_endpoints = without_endpoints(cluster, services).await;
    let names = |objects: Vec<Value>| -> BTreeSet<String> {
        objects.iter().filter_map(|object| object.pointer("/metadata/name")?.as_str().map(str::to_owned)).collect()
    };
    let priority_classes = or_skipped(priority_classes, "priority classes", skipped)?.map(names).map(|mut names| {
        names.extend(BUILT_IN_PRIORITIES.map(str::to_owned));
        names
    });
    let (secrets, unread) = secrets?;
    skipped.extend(unread);
    Ok(Standing {
        ingress_classes: or_skipped(ingress_classes, "ingress classes", skipped)?.map(names),
        priority_classes,
        needed: or_skipped(needed, "definitions of cert-manager and the Gateway API", skipped)?.unwrap_or_default(),
        secrets,
        own: or_skipped(own, "the owners of our objects", skipped)?.unwrap_or_default(),
        webhooks,
        without_endpoints: or_skipped(without_endpoints, "what stands behind webhooks", skipped)?.unwrap_or_default(),
    })
}

/// The objects of the releases that `plan` takes away.
pub(super) async fn unwanted(cluster: &Cluster, plan: &Plan, skipped: &mut Skipped) -> Vec<Manifest> {
    let releases = plan.steps.iter().filter_map(|step| match &step.target {
        Target::UnwantedRelease { namespace, name } => Some((namespace.as_str(), name.as_str())),
        _ => None,
    });
    objects_of_releases(cluster, releases, skipped).await
}

/// The objects of `releases`, each a namespace and a name, that go with them.
pub(super) async fn objects_of_releases(
    cluster: &Cluster,
    releases: impl Iterator<Item = (&'_ str, &'_ str)>,
    skipped: &mut Skipped,
) -> Vec<Manifest> {
    let mut objects = Vec::new();
    for (namespace, name) in releases {
        match objects_of(&cluster.client, namespace, name).await {
            Ok(found) => objects.extend(found),
            // Helm says itself what it cannot do; the rights that were asked for here are an earlier word.
            Err(_) => skipped.push(format!("preflight skips the objects of the release `{name}`: cannot read them")),
        }
    }
    objects
}

/// Definitions and Gateways of others that `config` names, and whether each is there.
async fn needed(cluster: &Cluster, config: &Config) -> Result<Vec<(ObjectRef, bool)>> {
    let definition =
        |name: &str| ObjectRef::cluster_scoped("apiextensions.k8s.io/v1", "CustomResourceDefinition", name);
    let (ingress, tls) = (&config.ingress, &config.security.internal_tls);
    let mut wanted = Vec::new();
    let issues = ingress.enabled && ingress.tls && !ingress.cluster_issuer.is_empty();
    if tls.mode == InternalTlsMode::CertManager || issues {
        wanted.push(definition("certificates.cert-manager.io"));
    }
    if ingress.enabled && ingress.kind == IngressKind::Gateway {
        wanted.push(definition("httproutes.gateway.networking.k8s.io"));
        let gateway = |name: &str| {
            ObjectRef::namespaced("gateway.networking.k8s.io/v1", "Gateway", &ingress.gateway.namespace, name)
        };
        wanted.push(gateway(&ingress.gateway.name));
        wanted.push(gateway(&ingress.gateway.internal_name));
    }
    wanted.dedup();
    stream::iter(wanted)
        .map(|object| async move {
            let found = metadata(cluster, &object).await?;
            Ok((object, found.is_some()))
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await
}

type Secrets = BTreeMap<(String, String), Option<BTreeSet<String>>>;

/// The keys of the required Secrets, and what may not be read.
async fn secrets(cluster: &Cluster, bundle: &Bundle) -> Result<(Secrets, Skipped)> {
    let places = bundle.required_secrets.iter().map(|secret| (secret.namespace.clone(), secret.name.clone()));
    let answers: Vec<_> = stream::iter(places)
        .map(|place| async move {
            let keys = secret_keys(&cluster.client, &place.0, &place.1).await;
            (place, keys)
        })
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let (mut found, mut skipped) = (Secrets::new(), Skipped::new());
    for (place, keys) in answers {
        let what = format!("the Secret `{}/{}`", place.0, place.1);
        if let Some(keys) = or_skipped(keys, &what, &mut skipped)? {
            found.insert(place, keys);
        }
    }
    Ok((found, skipped))
}

/// The metadata of the objects of our own that stand and would be changed.
async fn own(cluster: &Cluster, plan: &Plan) -> Result<Vec<(ObjectRef, Value)>> {
    let changed =
        plan.steps.iter().filter(|step| step.action == Action::Update).filter_map(|step| match &step.target {
            Target::Object { manifest } => Some(manifest.reference()),
            _ => None,
        });
    stream::iter(changed)
        .map(|object| async move {
            let found = metadata(cluster, &object).await?;
            Ok::<_, anyhow::Error>(found.map(|found| (object, found)))
        })
        .buffered(CONCURRENCY)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}

/// Those of `services` that no ready endpoint stands behind.
async fn without_endpoints(
    cluster: &Cluster,
    services: BTreeSet<(String, String)>,
) -> Result<BTreeSet<(String, String)>> {
    stream::iter(services)
        .map(|(namespace, name)| async move {
            let slices =
                api(&cluster.client, &ObjectRef::namespaced("discovery.k8s.io/v1", "EndpointSlice", &namespace, ""));
            let parameters = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
            let what = format!("list the endpoints of Service `{namespace}/{name}`");
            let found = ask(&what, || slices.list(&parameters)).await?;
            let endpoints = found.items.iter().filter_map(|slice| slice.data.get("endpoints")?.as_array()).flatten();
            let ready =
                |endpoint: &Value| endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false);
            let any = endpoints.into_iter().any(ready);
            Ok::<_, anyhow::Error>((!any).then_some((namespace, name)))
        })
        .buffer_unordered(CONCURRENCY)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}
