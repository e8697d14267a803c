//! Checks before anything is written: all problems at once.

mod definitions;
mod demand;
mod gather;
pub mod judge;
mod judge_capacity;
mod judge_standing;
mod rehearsal;
mod removal;

pub use removal::may_remove;

use crate::cluster::Cluster;
use crate::cluster::listed::{listed, unless_refused};
use crate::cluster::objects::resource;
use crate::cluster::request::ask;
use crate::cluster::snapshot::storage_classes;
use crate::config::model::Config;
use crate::helm::{RenderedFor, Renders};
use crate::object::{Manifest, ObjectRef};
use crate::plan::{Plan, Step, Target};
use crate::render::Bundle;
use crate::render::bundle::Release;
use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use judge::{Access, Facts, judge_preflight, refuse};
use judge_capacity::judge_room;
use judge_standing::{Wanted, judge_standing};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many questions go on at once.
const CONCURRENCY: usize = 16;

/// A plan that can be carried out.
#[derive(Debug, Default)]
pub struct Fit {
    /// The objects of the releases that it writes, by their names.
    pub rendered: BTreeMap<String, Vec<Manifest>>,
    /// What could not be looked at.
    pub skipped: Vec<String>,
}

/// Checks that `plan` can be carried out: versions of the server and of helm, permissions, classes,
/// Secrets and their keys, owners, namespaces that are being deleted, releases that are stuck, webhooks,
/// quotas, the room on the nodes, and what the API server would refuse of the releases' objects. Writes nothing.
///
/// # Errors
/// [`crate::error::Kind::Refused`] with every problem; [`crate::error::Kind::Usage`] when a chart
/// does not accept its values; [`crate::error::Kind::CouldNotAsk`] when a question got no answer.
pub async fn preflight(
    cluster: &Cluster,
    renders: &Renders,
    bundle: &Bundle,
    plan: &Plan,
    config: &Config,
) -> Result<Fit> {
    let helm_version = renders.helm.version().await?;
    // A helm that we do not know cannot be trusted to render either.
    let releases = if helm_version.is_supported() { render(cluster, renders, plan).await? } else { Vec::new() };
    let rendered: Vec<Manifest> = releases.iter().flat_map(|(_, objects)| objects.clone()).collect();
    let mut wanted = judge::accesses_of_steps(&plan.steps);
    wanted.extend(judge::accesses_of_records(&config.namespaces.monitoring));
    wanted.extend(judge::accesses_of_objects(&rendered));
    let (mut skipped, mut unread) = (Vec::new(), Vec::new());
    wanted.extend(judge::accesses_of_removed(&gather::unwanted(cluster, plan, &mut skipped).await, helm_version));
    let (denied, storage_classes, terminating, taken, lossy, room, standing, refused) = tokio::try_join!(
        denied(cluster, wanted),
        storage_classes(&cluster.client),
        terminating(cluster, bundle),
        taken(cluster, &releases),
        definitions::problems(cluster, &plan.steps),
        gather::room(cluster, &mut skipped),
        gather::standing(cluster, bundle, plan, config, &rendered, &mut unread),
        rehearsal::refusals(cluster, &rendered, helm_version),
    )?;
    let facts = Facts {
        server_version: cluster.server_version.clone(),
        helm_version,
        denied,
        storage_classes,
        claimed_classes: judge::claimed_classes(&rendered),
        terminating,
        taken,
        stuck: judge::stuck_releases(&plan.steps),
    };
    let demands = demand::demands(&rendered);
    let replaced: Vec<(String, String)> =
        releases.iter().map(|(release, _)| (release.namespace.clone(), release.name.clone())).collect();
    let named = demands.iter().filter_map(|demand| Some((demand.priority_class.clone()?, demand.owner.clone())));
    let wanted = Wanted {
        ingress_classes: &bundle.ingress_classes,
        priority_classes: named.filter(|(name, _)| !makes(&rendered, "PriorityClass", name)).collect(),
        secrets: &bundle.required_secrets,
        objects: rendered.iter().chain(plan.steps.iter().filter_map(written)).collect(),
        namespaces: bundle.namespaces.iter().map(with_its_name).collect(),
    };
    let mut problems = judge_preflight(&facts, &config.storage.class);
    problems.extend(judge_standing(&standing, &wanted));
    problems.extend(lossy);
    problems.extend(refused);
    problems.extend(rehearsal::unserved(&rendered, &plan.api_versions));
    problems.extend(judge_room(&room, &demands, &replaced));
    refuse(problems)?;
    skipped.append(&mut unread);
    let rendered = releases.into_iter().map(|(release, objects)| (release.name.clone(), objects)).collect();
    Ok(Fit { rendered, skipped })
}

/// Whether the cluster-scoped object is among `objects`.
fn makes(objects: &[Manifest], kind: &str, name: &str) -> bool {
    objects.iter().map(Manifest::reference).any(|object| object.kind == kind && object.name == name)
}

/// The object of our own that `step` writes.
fn written(step: &Step) -> Option<&Manifest> {
    match &step.target {
        Target::Object { manifest } => Some(manifest),
        _ => None,
    }
}

/// A namespace by its name, with the label of its name that the API server adds.
fn with_its_name(namespace: &Manifest) -> (String, Value) {
    let name = namespace.reference().name;
    let mut object = namespace.0.clone();
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
    (name, object)
}

/// The objects of every release that the plan writes, each with its namespace.
async fn render<'p>(cluster: &Cluster, renders: &Renders, plan: &'p Plan) -> Result<Vec<(&'p Release, Vec<Manifest>)>> {
    let releases = plan.steps.iter().filter_map(|step: &Step| match &step.target {
        Target::Release { release } => Some(release),
        _ => None,
    });
    let rendered_for = RenderedFor { server_version: &cluster.server_version, api_versions: &plan.api_versions };
    stream::iter(releases)
        .map(|release| async move {
            let objects = renders.objects(release, rendered_for).await?;
            Ok::<_, anyhow::Error>((release, objects))
        })
        .buffer_unordered(4)
        .try_collect()
        .await
}

/// The objects that a release would make but that exist and belong to somebody else: helm would
/// refuse that release after others are applied.
async fn taken(cluster: &Cluster, releases: &[(&Release, Vec<Manifest>)]) -> Result<Vec<(ObjectRef, String)>> {
    let made = |(release, objects): &(&Release, Vec<Manifest>)| {
        let ours = format!("{}/{}", release.namespace, release.name);
        objects.iter().map(|object| (object.reference(), ours.clone())).collect::<Vec<_>>()
    };
    let wanted: BTreeMap<ObjectRef, String> = releases.iter().flat_map(made).collect();
    let listed = listed(&cluster.client, "Helm", wanted.keys().cloned()).await?;
    let single = stream::iter(listed.single)
        .map(|reference| async move {
            // What may not be read is told as a missing permission.
            let found = unless_refused(gather::metadata(cluster, &reference).await)?.flatten();
            Ok::<_, anyhow::Error>(found.map(|found| (reference, found)))
        })
        .buffer_unordered(CONCURRENCY)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect::<Vec<_>>()
        .await?;
    let owned = listed.objects.into_iter().chain(single).filter_map(|(reference, object)| {
        let words = |pointer: &str| BTreeMap::deserialize(object.pointer(pointer)?).ok();
        let [labels, annotations] =
            ["/metadata/labels", "/metadata/annotations"].map(|at| words(at).unwrap_or_default());
        let owner = judge::owner(&labels, &annotations);
        (owner.as_ref() != wanted.get(&reference)).then(|| (reference, owner.unwrap_or_default()))
    });
    let mut taken: Vec<(ObjectRef, String)> = owned.collect();
    taken.sort();
    Ok(taken)
}

/// The accesses among `wanted` that the API server would refuse.
async fn denied(cluster: &Cluster, wanted: BTreeSet<Access>) -> Result<BTreeSet<Access>> {
    // Who may do everything need not be asked about each.
    if is_allowed_everything(cluster).await? { Ok(BTreeSet::new()) } else { refused_of(cluster, wanted).await }
}

async fn is_allowed_everything(cluster: &Cluster) -> Result<bool> {
    is_allowed(cluster, &json!({"group": "*", "resource": "*", "verb": "*"})).await
}

/// The same, each asked by itself.
async fn refused_of(cluster: &Cluster, wanted: BTreeSet<Access>) -> Result<BTreeSet<Access>> {
    stream::iter(wanted)
        .map(|access| async move {
            let any = ObjectRef { namespace: None, name: String::new(), ..access.kind.clone() };
            let resource = resource(&any);
            // A namespace counts as being in itself: a role in it may allow to delete it.
            let itself = Some(&access.kind.name).filter(|name| access.kind.kind == "Namespace" && !name.is_empty());
            let attributes = json!({
                "group": resource.group, "version": resource.version, "resource": resource.plural,
                "namespace": access.kind.namespace.as_ref().or(itself), "name": access.kind.name, "verb": access.verb,
            });
            Ok::<_, anyhow::Error>((!is_allowed(cluster, &attributes).await?).then_some(access))
        })
        .buffer_unordered(CONCURRENCY)
        .try_filter_map(|denied| async move { Ok(denied) })
        .try_collect()
        .await
}

/// Whether we may do what `attributes` say.
async fn is_allowed(cluster: &Cluster, attributes: &Value) -> Result<bool> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let review: SelfSubjectAccessReview = serde_json::from_value(json!({"spec": {"resourceAttributes": attributes}}))?;
    let parameters = PostParams::default();
    let answer = ask("ask for our own permissions", || api.create(&parameters, &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The namespaces of the bundle that are being deleted.
async fn terminating(cluster: &Cluster, bundle: &Bundle) -> Result<Vec<String>> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let mut terminating = Vec::new();
    for namespace in &bundle.namespaces {
        let reference = namespace.reference();
        let found = ask(&format!("read `{reference}`"), || api.get_metadata_opt(&reference.name)).await?;
        if found.is_some_and(|found| found.metadata.deletion_timestamp.is_some()) {
            terminating.push(reference.name);
        }
    }
    Ok(terminating)
}
