//! Takes the stack away, and keeps what holds data.

mod foreign;

use crate::cluster::Cluster;
use crate::cluster::objects;
use crate::cluster::observe::{Owned, owned_objects, releases};
use crate::cluster::outage::Outage;
use crate::cluster::request::{FORBIDDEN_FOR, ask};
use crate::error::{Failure, Kind, chain_of, failure_of};
use crate::event::{Event, Events};
use crate::helm::Helm;
use crate::helm::run::{CutOff, ended};
use crate::object::{FIELD_MANAGER, MANAGED_BY_LABEL, Manifest, ObjectRef};
use crate::plan::Inventory;
use crate::render::Bundle;
use crate::stack::component;
use anyhow::Result;
use foreign::{Kinds, Known, in_namespace, namespaced_kinds, of_definition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{DeleteParams, ListParams, Preconditions};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What Helm writes on the objects of a release.
const RELEASE_ANNOTATION: &str = "meta.helm.sh/release-name";

/// How long helm may take for one release, and how long a namespace may take to go.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What `uninstall` works with.
#[derive(Clone)]
pub struct UninstallContext {
    /// The cluster.
    pub cluster: Cluster,
    /// Helm; bound to the cluster here.
    pub helm: Helm,
    /// Where progress goes.
    pub events: Events,
    /// Stops it in order.
    pub cancel: CancellationToken,
    /// Raised when a removal is cut off.
    pub cut_off: CutOff,
}

/// What goes and what stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UninstallPlan {
    /// What goes, in order.
    pub removes: Vec<Removal>,
    /// What stays, each with the command that removes it.
    pub keeps: Vec<(ObjectRef, String)>,
}

impl UninstallPlan {
    /// Whether `reference` goes or stays, and so is there.
    pub fn mentions(&self, reference: &ObjectRef) -> bool {
        let goes = |removal: &Removal| matches!(removal, Removal::Object { reference: gone, .. } if gone == reference);
        self.removes.iter().any(goes) || self.keeps.iter().any(|(kept, _)| kept == reference)
    }

    /// Whether the object of the removal at `index` must be gone before the next one: a controller of a release that
    /// goes later may have to take it away, and with a namespace its content goes.
    pub(crate) fn is_waited_for(&self, index: usize) -> bool {
        let is_namespace =
            |removal: &Removal| matches!(removal, Removal::Object { reference, .. } if reference.kind == "Namespace");
        self.removes.get(index).is_some_and(is_namespace) || before_releases(self, index)
    }

    /// What goes before `reference`, and what goes from it on.
    pub fn split_at(mut self, reference: &ObjectRef) -> (UninstallPlan, UninstallPlan) {
        let is_it = |removal: &Removal| matches!(removal, Removal::Object { reference: gone, .. } if gone == reference);
        let place = self.removes.iter().position(is_it).unwrap_or(self.removes.len());
        let removes = self.removes.split_off(place);
        (self, UninstallPlan { removes, keeps: Vec::new() })
    }
}

/// One thing that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Removal {
    /// A Helm release, with everything it made.
    Release {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An object.
    Object {
        /// Which.
        reference: ObjectRef,
        /// The UID it must still have.
        uid: String,
    },
}

impl fmt::Display for Removal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Removal::Release { name, .. } => write!(formatter, "release {name}"),
            Removal::Object { reference, .. } => reference.fmt(formatter),
        }
    }
}

/// What stands of ours, as [`survey`] found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Namespace and name of our releases, in the order in which they were deployed.
    pub releases: Vec<(String, String)>,
    /// Our objects that were made once a release was ready: that release takes them away in order.
    pub late: Vec<Owned>,
    /// Our other objects, without the generated Secrets.
    pub objects: Vec<Owned>,
    /// The generated Secrets.
    pub secrets: Vec<Owned>,
    /// The claims of our releases.
    pub claims: Vec<Owned>,
    /// The CRDs with our label, each with the reason why it stays in any case, where there is one.
    pub crds: Vec<(Owned, Option<String>)>,
    /// The namespaces, each with the reason why it stays in any case, where there is one.
    pub namespaces: Vec<(Owned, Option<String>)>,
}

/// What goes and what stays. What holds data stays, unless `all`; a namespace or CRD that somebody else
/// made, or in which something is not ours, always stays.
pub fn uninstall_plan(standing: Standing, all: bool) -> UninstallPlan {
    let mut plan = UninstallPlan::default();
    let remove = |owned: Owned| Removal::Object { reference: owned.reference, uid: owned.uid };
    plan.removes.extend(standing.late.into_iter().map(remove));
    let releases = standing.releases.into_iter().rev();
    plan.removes.extend(releases.map(|(namespace, name)| Removal::Release { namespace, name }));
    plan.removes.extend(standing.objects.into_iter().map(remove));
    for owned in standing.secrets.into_iter().chain(standing.claims) {
        if all {
            plan.removes.push(remove(owned));
        } else {
            plan.keeps.push((owned.reference.clone(), delete_command(&owned.reference)));
        }
    }
    for (owned, foreign) in standing.crds.into_iter().chain(standing.namespaces) {
        match foreign {
            None if all => plan.removes.push(remove(owned)),
            Some(reason) if all => {
                let command = format!("{}  # {reason}", delete_command(&owned.reference));
                plan.keeps.push((owned.reference, command));
            }
            _ => plan.keeps.push((owned.reference.clone(), delete_command(&owned.reference))),
        }
    }
    plan
}

fn delete_command(reference: &ObjectRef) -> String {
    let namespace = reference.namespace.as_ref().map(|name| format!(" -n {name}")).unwrap_or_default();
    format!("kubectl delete{namespace} {}", reference.kubectl_name())
}

/// Finds what stands of the stack, by `bundle` and by what the last deploy left (`inventory`), and plans what
/// of it goes. Reads only.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when the API server does not answer, or does not allow it.
pub async fn survey(cluster: &Cluster, bundle: &Bundle, inventory: &Inventory, all: bool) -> Result<UninstallPlan> {
    let mut standing = Standing::default();
    let mut existing = Vec::new();
    let mut namespaces: Vec<ObjectRef> = bundle.namespaces.iter().map(Manifest::reference).collect();
    let left = inventory.releases.iter().map(|release| &release.namespace);
    namespaces.extend(left.map(|name| ObjectRef::cluster_scoped("v1", "Namespace", name)));
    let mut seen = BTreeSet::new();
    for namespace in namespaces.iter().filter(|namespace| seen.insert(namespace.name.clone())) {
        existing.extend(find_namespace(&cluster.client, namespace).await?);
    }
    let names: Vec<String> = existing.iter().map(|(owned, _)| owned.reference.name.clone()).collect();
    for namespace in &names {
        let found = releases(&cluster.client, namespace).await?.into_iter();
        // A release of the same name that somebody else made has not our labels.
        let ours = found.filter(|(_, release)| release.chart_digest.is_some()).map(|(key, _)| key);
        standing.releases.extend(ours);
    }
    let order: BTreeMap<&str, usize> =
        bundle.releases.iter().enumerate().map(|(index, release)| (release.name.as_str(), index)).collect();
    standing.releases.sort_by_key(|(_, name)| order.get(name.as_str()).copied());

    let generated: BTreeSet<ObjectRef> = bundle
        .generated_secrets
        .iter()
        .map(|secret| ObjectRef::namespaced("v1", "Secret", &secret.namespace, &secret.name))
        .collect();
    let owned = owned_objects(cluster, &names, bundle, inventory).await?;
    let (secrets, objects) = owned.into_iter().partition(|owned| generated.contains(&owned.reference));
    standing.secrets = secrets;
    let late = Inventory::of(bundle).and(inventory.clone()).objects.into_iter().filter(|object| object.late);
    let late_kinds: BTreeSet<String> = late.map(|object| object.reference.kind).collect();
    (standing.late, standing.objects) =
        Vec::into_iter(objects).partition(|owned| late_kinds.contains(&owned.reference.kind));
    // By namespace: a release of the same name elsewhere is somebody else's, and so are its volumes.
    let mut instances: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let expected = bundle.releases.iter().map(|release| (release.namespace.clone(), release.name.clone()));
    for (namespace, name) in expected.chain(standing.releases.iter().cloned()) {
        instances.entry(namespace).or_default().insert(name);
    }
    for (namespace, releases) in instances.iter().filter(|(namespace, _)| names.contains(namespace)) {
        standing.claims.extend(claims(cluster, namespace, releases).await?);
    }
    standing.crds = crds(cluster, all, &Known { standing: &standing, instances: &instances }).await?;
    let kinds = if all { namespaced_kinds(&cluster.client).await? } else { Kinds::default() };
    for (owned, made_by) in existing {
        let known = Known { standing: &standing, instances: &instances };
        let reason = match made_by {
            Some(manager) => Some(format!("made by `{manager}`")),
            None if all => in_namespace(&cluster.client, &owned.reference.name, &kinds, &known).await?,
            None => None,
        };
        standing.namespaces.push((owned, reason));
    }
    Ok(uninstall_plan(standing, all))
}

/// The claims of `releases` in `namespace`: by their label, or by what Helm writes on what a chart has outright.
async fn claims(cluster: &Cluster, namespace: &str, releases: &BTreeSet<String>) -> Result<Vec<Owned>> {
    let any = ObjectRef::namespaced("v1", "PersistentVolumeClaim", namespace, "");
    let api = objects::api(&cluster.client, &any);
    let parameters = ListParams::default();
    let what = format!("list the claims in namespace `{namespace}`");
    let found = ask(&what, || api.list_metadata(&parameters)).await?.items;
    let claimants = claimants(releases);
    let owned = found.into_iter().map(|item| item.metadata).filter_map(|meta| {
        let instance = meta.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/instance"));
        let release = meta.annotations.as_ref().and_then(|all| all.get(RELEASE_ANNOTATION));
        let is_ours = instance.is_some_and(|name| claimants.contains(&name.as_str()))
            || release.is_some_and(|name| releases.contains(name));
        Some(Owned { reference: ObjectRef { name: meta.name?, ..any.clone() }, uid: meta.uid? }).filter(|_| is_ours)
    });
    Ok(owned.collect())
}

/// What the claims of `releases` name as their instance: the release, or the object that an operator made them of.
fn claimants(releases: &BTreeSet<String>) -> Vec<&str> {
    let operated = ["alertmanager", "prometheus"].into_iter().filter_map(component);
    let operated = operated.filter(|component| releases.contains(component.release)).map(|component| component.service);
    releases.iter().map(String::as_str).chain(operated).collect()
}

/// The namespace where it exists, with who made it where that was not us.
async fn find_namespace(client: &Client, reference: &ObjectRef) -> Result<Option<(Owned, Option<String>)>> {
    let api = objects::api(client, reference);
    let found = ask(&format!("read `{reference}`"), || api.get_metadata_opt(&reference.name)).await?;
    Ok(found.and_then(|found| {
        let made_by = other_maker(&found.metadata);
        Some((Owned { reference: reference.clone(), uid: found.metadata.uid? }, made_by))
    }))
}

/// The first field manager besides us that wrote more than the status of an object. One that we
/// made has only ours; one that was there before keeps that of its maker.
fn other_maker(meta: &ObjectMeta) -> Option<String> {
    let writers =
        meta.managed_fields.iter().flatten().filter(|entry| entry.subresource.as_deref().unwrap_or("").is_empty());
    writers.filter_map(|entry| entry.manager.clone()).find(|manager| manager != FIELD_MANAGER)
}

/// The CRDs with our label. When `all` is to go, each with who made it where that was not us, or an
/// object of its kind that is not ours: with its definition every object of a kind goes.
async fn crds(cluster: &Cluster, all: bool, known: &Known<'_>) -> Result<Vec<(Owned, Option<String>)>> {
    let any = ObjectRef::cluster_scoped("apiextensions.k8s.io/v1", "CustomResourceDefinition", "");
    let api = objects::api(&cluster.client, &any);
    let parameters = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={FIELD_MANAGER}"));
    let list = ask("list the CRDs", || async {
        match api.list_metadata(&parameters).await {
            // Without the right to read them we made none either.
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            answer => answer.map(Some),
        }
    });
    let items = list.await?.map(|list| list.items).unwrap_or_default();
    let mut found = Vec::new();
    for item in items {
        let made_by = other_maker(&item.metadata);
        let (Some(name), Some(uid)) = (item.metadata.name, item.metadata.uid) else { continue };
        let reference = ObjectRef::cluster_scoped(&any.api_version, &any.kind, &name);
        let reason = match made_by {
            Some(manager) => Some(format!("made by `{manager}`")),
            None if all => {
                of_definition(cluster, &reference, known).await?.map(|foreign| format!("`{foreign}` is not ours"))
            }
            None => None,
        };
        found.push((Owned { reference, uid }, reason));
    }
    Ok(found)
}

/// Carries out `plan`, one removal after the other.
///
/// # Errors
/// The first failure; [`Kind::Interrupted`] when it was cancelled. What is gone is gone: running it
/// again takes up where it ended.
pub async fn uninstall(plan: &UninstallPlan, context: UninstallContext) -> Result<()> {
    let helm = context.helm.with_context(context.cluster.helm_context()).raising(context.cut_off.clone());
    let client = &context.cluster.client;
    for (index, removal) in plan.removes.iter().enumerate() {
        let step = removal.to_string();
        if context.cancel.is_cancelled() {
            return Err(Failure::new(Kind::Interrupted, format!("stopped before `{step}` was removed"))
                .hint("run it again: what is gone stays gone")
                .into());
        }
        context.events.emit(Event::StepStarted { step: step.clone() });
        let result = match removal {
            Removal::Release { namespace, name } => {
                let deadline = Instant::now() + TIMEOUT;
                let outage = Outage::new(client, &context.events, deadline, &context.cancel);
                outage.uninstall(&helm, name, namespace, &context.cancel).await
            }
            Removal::Object { reference, uid } => {
                let deleted = tokio::select! {
                    biased;
                    deleted = delete(client, reference, Some(uid)) => deleted,
                    () = ended(&context.cancel) => {
                        context.cut_off.raise();
                        let message = format!("the removal of `{reference}` was cut off; it may still go");
                        let failure = Failure::new(Kind::Interrupted, message);
                        Err(failure.hint("run it again: what is gone stays gone").into())
                    }
                };
                match deleted {
                    Ok(()) if plan.is_waited_for(index) => {
                        until_gone(client, reference, uid, Instant::now() + TIMEOUT, &context.cancel).await
                    }
                    deleted => deleted,
                }
            }
        };
        match result {
            Ok(()) => context.events.emit(Event::StepFinished { step, summary: "removed".to_owned() }),
            Err(error) => {
                let message = chain_of(&error).join(": ");
                context.events.emit(Event::StepFailed { step, message });
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Whether a release is removed after the removal at `index`.
fn before_releases(plan: &UninstallPlan, index: usize) -> bool {
    plan.removes.iter().skip(index + 1).any(|removal| matches!(removal, Removal::Release { .. }))
}

/// The group of the experiments.
const CHAOS_MESH: &str = "chaos-mesh.org/";

/// How the object is deleted. What a Schedule started is gone before the Schedule is: its faults are taken back by the
/// controllers, which go next.
fn deletion(reference: &ObjectRef) -> DeleteParams {
    if reference.api_version.starts_with(CHAOS_MESH) { DeleteParams::foreground() } else { DeleteParams::background() }
}

/// Deletes the object; with `uid`, only that very one. One that is gone, or has made place for
/// another of its name, is fine.
pub(crate) async fn delete(client: &Client, reference: &ObjectRef, uid: Option<&str>) -> Result<()> {
    let api = objects::api(client, reference);
    let mut parameters = deletion(reference);
    if let Some(uid) = uid {
        parameters = parameters.preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    }
    ask(&format!("delete `{reference}`"), || async {
        match api.delete(&reference.name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            // The namespace controller is at it already.
            Err(kube::Error::Api(status)) if uid.is_some() && status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    })
    .await
}

/// Waits until the object is gone, or has made place for another of its name.
pub(crate) async fn until_gone(
    client: &Client,
    reference: &ObjectRef,
    uid: &str,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<()> {
    let api = objects::api(client, reference);
    let mut last = "it was not seen yet".to_owned();
    // That a namespace goes was accepted, so that it is there.
    let (mut was_seen, mut forbidden) = (reference.kind == "Namespace", None);
    let stopped = || Failure::new(Kind::Interrupted, format!("stopped waiting until `{reference}` is gone"));
    loop {
        let what = format!("read `{reference}`");
        let found = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(stopped().into()),
            () = tokio::time::sleep_until(deadline) => break,
            found = ask(&what, || api.get_opt(&reference.name)) => found,
        };
        match found {
            Ok(None) => return Ok(()),
            Ok(Some(found)) if found.metadata.uid.as_deref() != Some(uid) => return Ok(()),
            Ok(Some(found)) => {
                (was_seen, forbidden) = (true, None);
                last = remaining(&found.data);
            }
            // What was allowed before may be forbidden for a moment: the server has just started.
            Err(error) if failure_of(&error).is_some_and(|failure| failure.kind == Kind::Refused) => {
                if was_seen && forbidden.get_or_insert_with(Instant::now).elapsed() < FORBIDDEN_FOR {
                    last = error.to_string();
                } else if was_seen && reference.kind == "Namespace" {
                    // The role that allowed it was in the namespace, and went first.
                    return Ok(());
                } else {
                    return Err(error);
                }
            }
            Err(error) => last = error.to_string(),
        }
        tokio::select! {
            () = cancel.cancelled() => return Err(stopped().into()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    let failure = Failure::new(Kind::Unhealthy, format!("`{reference}` is still being deleted"));
    if reference.api_version.starts_with(CHAOS_MESH) {
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        return Err(failure
            .hint(format!("kubectl get podchaos,networkchaos,stresschaos -n {namespace}"))
            .caused_by(anyhow::anyhow!("Chaos Mesh has not taken back what it started: {last}")));
    }
    Err(failure.hint(format!("kubectl get {} -o yaml", reference.kubectl_name())).caused_by(anyhow::anyhow!(last)))
}

/// What the namespace controller says is left.
fn remaining(data: &serde_json::Value) -> String {
    let conditions = data.pointer("/status/conditions").and_then(serde_json::Value::as_array);
    let messages: Vec<&str> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| condition["message"].as_str())
        .collect();
    if messages.is_empty() { "its content is being deleted".to_owned() } else { messages.join("; ") }
}

#[cfg(test)]
mod tests;
