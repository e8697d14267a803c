//! Reads what the cluster holds of a bundle. Never writes, and reads no Secret's data but that of Helm's own
//! records of its releases.

use crate::cluster::Cluster;
use crate::cluster::deployed;
use crate::cluster::listed::{CONCURRENCY, listed};
use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::object::{MANAGED_BY_LABEL, Manifest, ObjectRef};
use crate::plan::model::{
    API_DIGEST_LABEL, CHART_DIGEST_LABEL, FIELD_MANAGER, Observed, ObservedRelease, StoredRelease, VALUES_DIGEST_LABEL,
};
use crate::plan::untouched::is_untouched;
use crate::plan::{ClusterIdentity, Inventory};
use crate::render::Bundle;
use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Reads the namespaces, objects, generated Secrets and releases that `bundle` names, and what else the last
/// deploy left by its `inventory`. What is not there is left out; a missing namespace is no error.
///
/// # Errors
/// [`crate::error::Kind::CouldNotAsk`] when the API server does not answer, or does not allow it.
pub async fn observe(cluster: &Cluster, bundle: &Bundle, inventory: Inventory) -> Result<Observed> {
    let client = &cluster.client;
    let unwanted = inventory.without(&Inventory::of(bundle));
    let manifests: Vec<ObjectRef> =
        bundle.namespaces.iter().chain(bundle.own_objects()).map(Manifest::reference).collect();
    let definitions: BTreeMap<ObjectRef, &Manifest> = bundle.crds.iter().map(|crd| (crd.reference(), crd)).collect();
    let secrets = bundle
        .generated_secrets
        .iter()
        .map(|secret| ObjectRef::namespaced("v1", "Secret", &secret.namespace, &secret.name));
    let certificates = bundle
        .webhook_certificates
        .iter()
        .flat_map(|one| one.configurations.iter().cloned().chain([one.secret_reference()]));
    let left = unwanted.objects.iter().map(|object| object.reference.clone());
    let references: Vec<ObjectRef> = manifests.into_iter().chain(secrets).chain(certificates).chain(left).collect();
    let objects = own_objects(client, references, &definitions);
    let left = unwanted.releases.iter().map(|release| release.namespace.as_str());
    let namespaces: BTreeSet<&str> =
        bundle.releases.iter().map(|release| release.namespace.as_str()).chain(left).collect();
    let releases = async {
        let found: BTreeMap<_, _> = stream::iter(namespaces)
            .map(|namespace| releases(client, namespace))
            .buffer_unordered(CONCURRENCY)
            .try_concat()
            .await?
            .into_iter()
            .collect();
        let stored = stored(client, bundle, &found).await?;
        let wanted = stored.values().flat_map(|stored| &stored.manifest).map(Manifest::reference).collect();
        let defined = bundle.crds.iter().filter_map(defined_kind).collect();
        let live = deployed::live(client, wanted, &defined).await?;
        Ok((found, stored, live))
    };
    let (mut objects, (releases, stored, live), api_versions) =
        tokio::try_join!(objects, releases, api_versions(client))?;
    objects.extend(live.objects);
    Ok(Observed {
        objects,
        releases,
        stored,
        unread: live.unread,
        unwanted,
        api_versions,
        server_version: cluster.server_version.clone(),
        now: jiff::Timestamp::now(),
    })
}

/// Those of `references` that are there; of Secrets the metadata.
async fn own_objects(
    client: &Client,
    references: Vec<ObjectRef>,
    definitions: &BTreeMap<ObjectRef, &Manifest>,
) -> Result<BTreeMap<ObjectRef, Value>> {
    // What is of a kind that is not served yet is not there: its definition is in the plan.
    let listed = listed(client, FIELD_MANAGER, references).await?;
    let found = listed.objects.into_iter().map(|(reference, found)| (reference, Some(found)));
    stream::iter(found.chain(listed.single.into_iter().map(|reference| (reference, None))))
        .map(|(reference, found)| {
            let definition = definitions.get(&reference).copied();
            async move {
                let found = match (definition, found) {
                    (Some(definition), Some(metadata)) => Some(whole(client, definition, metadata).await?),
                    (Some(definition), None) => read_definition(client, definition).await?,
                    (None, Some(found)) => Some(found),
                    (None, None) => read(client, &reference).await?,
                };
                Ok::<_, anyhow::Error>((reference, found))
            }
        })
        .buffer_unordered(CONCURRENCY)
        .try_filter_map(|(reference, found)| async move { Ok(found.map(|found| (reference, found))) })
        .try_collect()
        .await
}

/// What Helm keeps of the revisions that it goes from when it upgrades releases of `bundle`.
async fn stored(
    client: &Client,
    bundle: &Bundle,
    found: &BTreeMap<(String, String), ObservedRelease>,
) -> Result<BTreeMap<(String, String), StoredRelease>> {
    let places = bundle.releases.iter().map(|release| (release.namespace.clone(), release.name.clone()));
    let bases = places.filter_map(|place| {
        let base = found.get(&place)?.base?;
        Some((place, base))
    });
    stream::iter(bases)
        .map(|(place, revision)| async move {
            let stored = deployed::stored(client, &place.0, &place.1, revision).await?;
            Ok::<_, anyhow::Error>(stored.map(|stored| (place, stored)))
        })
        .buffer_unordered(CONCURRENCY)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}

/// Group and kind that a definition brings.
fn defined_kind(definition: &Manifest) -> Option<(String, String)> {
    let text = |pointer: &str| definition.0.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some((text("/spec/group")?, text("/spec/names/kind")?))
}

/// The definition as the server holds it.
async fn read_definition(client: &Client, wanted: &Manifest) -> Result<Option<Value>> {
    let reference = wanted.reference();
    let api = objects::api(client, &reference);
    let found = ask(&format!("read `{reference}`"), || api.get_metadata_opt(&reference.name)).await?;
    match found.map(serde_json::to_value).transpose()? {
        Some(metadata) => whole(client, wanted, metadata).await.map(Some),
        None => Ok(None),
    }
}

/// The definition of this `metadata`; read whole only where that does not show that it is `wanted`.
async fn whole(client: &Client, wanted: &Manifest, metadata: Value) -> Result<Value> {
    if !is_untouched(wanted, &metadata) {
        // What went away meanwhile is judged as it was.
        return Ok(read(client, &wanted.reference()).await?.unwrap_or(metadata));
    }
    let mut live = wanted.0.clone();
    live["metadata"] = metadata["metadata"].clone();
    Ok(live)
}

/// The object as the server holds it; of a Secret the metadata alone.
async fn read(client: &Client, reference: &ObjectRef) -> Result<Option<Value>> {
    let what = format!("read `{reference}`");
    let api = objects::api(client, reference);
    if reference.kind == "Secret" {
        let found = ask(&what, || api.get_metadata_opt(&reference.name)).await?;
        return found.map(|found| serde_json::to_value(found).map_err(Into::into)).transpose();
    }
    let get = || async {
        match api.get_opt(&reference.name).await {
            // The kind is not served yet: its definition is in the plan, so there is none of it.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            answer => answer,
        }
    };
    let found = ask(&what, get).await?;
    found.map(|found| serde_json::to_value(found).map_err(Into::into)).transpose()
}

type NamedRelease = ((String, String), ObservedRelease);

/// The newest revision of each Helm release in `namespace`, from the labels of its Secrets.
pub(crate) async fn releases(client: &Client, namespace: &str) -> Result<Vec<NamedRelease>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let what = format!("list the Helm releases in namespace `{namespace}`");
    let parameters = ListParams::default().labels("owner=helm");
    let list = ask(&what, || api.list_metadata(&parameters)).await?;
    let labels = list.items.into_iter().filter_map(|secret| secret.metadata.labels);
    Ok(newest_revisions(labels).into_iter().map(|(name, release)| ((namespace.to_owned(), name), release)).collect())
}

/// The newest revision of each release, by name, from the labels of all release Secrets.
fn newest_revisions(secrets: impl Iterator<Item = BTreeMap<String, String>>) -> BTreeMap<String, ObservedRelease> {
    let mut all: BTreeMap<String, Vec<ObservedRelease>> = BTreeMap::new();
    for labels in secrets {
        let label = |key: &str| labels.get(key).cloned();
        let Some(name) = label("name") else { continue };
        all.entry(name).or_default().push(ObservedRelease {
            status: label("status").unwrap_or_default(),
            revision: label("version").and_then(|version| version.parse().ok()).unwrap_or_default(),
            chart_digest: label(CHART_DIGEST_LABEL),
            values_digest: label(VALUES_DIGEST_LABEL),
            api_digest: label(API_DIGEST_LABEL),
            ..ObservedRelease::default()
        });
    }
    let newest = all.into_iter().filter_map(|(name, mut revisions)| {
        revisions.sort_by_key(|one| one.revision);
        let (count, base) = (revisions.len() as u64, base(&revisions));
        Some((name, ObservedRelease { revisions: count, base, ..revisions.pop()? }))
    });
    newest.collect()
}

/// The revision that Helm goes from when it upgrades the release with these, the newest last: the one that is
/// deployed, or else the newest where it failed or is superseded (`prepareUpgrade` in its pkg/action/upgrade.go). One
/// of ours that is `pending-*` is taken away before; after an uninstalled one it installs.
fn base(revisions: &[ObservedRelease]) -> Option<u64> {
    let settled = || revisions.iter().rev().filter(|one| !one.status.starts_with("pending-"));
    let newest = settled().next().filter(|newest| newest.status != "uninstalled")?;
    let deployed = settled().find(|one| one.status == "deployed");
    let failed = || Some(newest).filter(|newest| matches!(newest.status.as_str(), "failed" | "superseded"));
    deployed.or_else(failed).map(|one| one.revision)
}

/// Which cluster this is, however it is reached.
///
/// # Errors
/// [`crate::error::Kind::CouldNotAsk`] when the API server does not answer, or does not allow it.
pub async fn identity(cluster: &Cluster) -> Result<ClusterIdentity> {
    const OLDEST: &str = "kube-system";
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let what = format!("read `{}`", ObjectRef::cluster_scoped("v1", "Namespace", OLDEST));
    let found = ask(&what, || api.get_metadata(OLDEST)).await?;
    Ok(ClusterIdentity { context: cluster.context.clone(), uid: found.metadata.uid.unwrap_or_default() })
}

/// All group versions that the server serves. Charts ask for them, so another set may render other
/// objects.
async fn api_versions(client: &Client) -> Result<BTreeSet<String>> {
    let what = "list the API groups of the cluster";
    let (groups, core) =
        tokio::try_join!(ask(what, || client.list_api_groups()), ask(what, || client.list_core_api_versions()))?;
    let groups = groups.groups.into_iter().flat_map(|group| group.versions).map(|version| version.group_version);
    Ok(groups.chain(core.versions).collect())
}

/// The kinds of objects that we make in every profile; a bundle may have more.
const OWNED_KINDS: &[(&str, &str)] = &[("v1", "ConfigMap"), ("v1", "Secret")];

/// An object of ours, with the UID that it must still have when it is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Which.
    pub reference: ObjectRef,
    /// Its UID.
    pub uid: String,
}

/// Every object that carries our label, of the kinds that we and `bundle` make: those with a namespace
/// in `namespaces`. Of the kinds that the last deploy made too, by its `inventory`.
///
/// # Errors
/// [`crate::error::Kind::CouldNotAsk`] when the API server does not answer, or does not allow it.
pub async fn owned_objects(
    cluster: &Cluster,
    namespaces: &[String],
    bundle: &Bundle,
    inventory: &Inventory,
) -> Result<Vec<Owned>> {
    let selector = format!("{MANAGED_BY_LABEL}={FIELD_MANAGER}");
    let made = bundle.objects.iter().chain(bundle.late_objects.iter().map(|late| &late.manifest));
    let (inside, outside): (BTreeSet<_>, BTreeSet<_>) = {
        let left = inventory.objects.iter().map(|object| object.reference.clone());
        let references: Vec<ObjectRef> = made.map(Manifest::reference).chain(left).collect();
        let (inside, outside): (Vec<_>, Vec<_>) =
            references.into_iter().partition(|reference| reference.namespace.is_some());
        let kinds = |references: Vec<ObjectRef>| {
            references.into_iter().map(|reference| (reference.api_version, reference.kind)).collect()
        };
        (kinds(inside), kinds(outside))
    };
    let kinds: BTreeSet<(&str, &str)> = OWNED_KINDS
        .iter()
        .copied()
        .chain(inside.iter().map(|(api_version, kind): &(String, String)| (api_version.as_str(), kind.as_str())))
        .collect();
    let kinds: Vec<(&str, &str)> = kinds.into_iter().collect();
    let mut found = labelled(cluster, &kinds, namespaces, &selector).await?;
    let parameters = ListParams::default().labels(&selector);
    for (api_version, kind) in &outside {
        let any: ObjectRef = ObjectRef::cluster_scoped(api_version, kind, "");
        found.extend(list(cluster, &any, &parameters, &format!("list the objects of kind `{kind}`")).await?);
    }
    found.sort_by(|one, other| one.reference.cmp(&other.reference));
    Ok(found)
}

/// The metadata of all objects of `kinds` in `namespaces` that `selector` selects.
async fn labelled(
    cluster: &Cluster,
    kinds: &[(&str, &str)],
    namespaces: &[String],
    selector: &str,
) -> Result<Vec<Owned>> {
    let parameters = ListParams::default().labels(selector);
    let mut found = Vec::new();
    for namespace in namespaces {
        for (api_version, kind) in kinds {
            let any = ObjectRef::namespaced(api_version, kind, namespace, "");
            let what = format!("list the objects of kind `{kind}` in namespace `{namespace}`");
            found.extend(list(cluster, &any, &parameters, &what).await?);
        }
    }
    Ok(found)
}

/// The objects of the kind and namespace of `any`; none where the server does not know the kind.
async fn list(cluster: &Cluster, any: &ObjectRef, parameters: &ListParams, what: &str) -> Result<Vec<Owned>> {
    let api = objects::api(&cluster.client, any);
    let list = ask(what, || async {
        match api.list_metadata(parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            answer => answer.map(|list| list.items),
        }
    });
    let owned = list.await?.into_iter().filter_map(|item| {
        let reference = ObjectRef { name: item.metadata.name?, ..any.clone() };
        Some(Owned { reference, uid: item.metadata.uid? })
    });
    Ok(owned.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::script::{Answer, scripted};

    fn secret(name: &str, version: &str, status: &str) -> BTreeMap<String, String> {
        [("name", name), ("version", version), ("status", status), (CHART_DIGEST_LABEL, "c")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    #[tokio::test]
    async fn a_kind_that_the_server_does_not_know_has_no_objects() {
        // In words, as it answers for a group that it does not have.
        let (client, _log) = scripted(|_| Answer::Json(404, serde_json::json!("404 page not found")));
        let cluster = Cluster::new(client, "test", "https://127.0.0.1", "v1.37.2");
        let kinds = [("chaos-mesh.org/v1alpha1", "Schedule")];
        let found = labelled(&cluster, &kinds, &["m".to_owned()], "a=b").await.unwrap();
        assert!(found.is_empty());
    }

    #[test]
    fn the_newest_revision_counts_by_number_and_not_by_text() {
        let secrets = [
            secret("a", "9", "superseded"),
            secret("a", "10", "failed"),
            secret("a", "2", "superseded"),
            secret("b", "1", "deployed"),
        ];
        let found = newest_revisions(secrets.into_iter());
        assert_eq!(found.len(), 2);
        assert_eq!((found["a"].revision, found["a"].revisions, found["a"].status.as_str()), (10, 3, "failed"));
        assert_eq!(found["b"].chart_digest.as_deref(), Some("c"));
        assert_eq!(found["b"].values_digest, None);
    }

    #[test]
    fn helm_goes_from_what_is_deployed_or_failed_last() {
        let base_of = |statuses: &[&str]| {
            let revisions = statuses.iter().zip(1..).map(|(status, number)| secret("a", &format!("{number}"), status));
            newest_revisions(revisions)["a"].base
        };
        assert_eq!(base_of(&["superseded", "deployed"]), Some(2));
        assert_eq!(base_of(&["deployed", "failed", "failed"]), Some(1), "what failed is not what stands");
        assert_eq!(base_of(&["superseded", "failed"]), Some(2));
        assert_eq!(base_of(&["deployed", "pending-upgrade"]), Some(1));
        assert_eq!(base_of(&["failed", "pending-install"]), Some(1));
        for installs in [&["pending-install"][..], &["superseded", "uninstalled"], &["deployed", "uninstalled"]] {
            assert_eq!(base_of(installs), None, "{installs:?}");
        }
    }

    #[test]
    fn a_secret_with_odd_labels_is_no_panic() {
        let odd = [BTreeMap::new(), secret("a", "many", "")];
        assert_eq!(newest_revisions(odd.into_iter())["a"].revision, 0);
    }
}
