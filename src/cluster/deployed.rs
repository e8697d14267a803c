//! Reads what Helm keeps of the deployed releases, and what became of their objects. Never writes.

use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::error::{Kind, failure_of};
use crate::helm::stored::decode;
use crate::object::{MANAGED_BY_LABEL, ObjectRef};
use crate::plan::StoredRelease;
use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How many reads go on at once.
const CONCURRENCY: usize = 16;
/// From how many objects of a kind in a namespace on one list is cheaper than a read of each.
const LIST_FROM: usize = 3;

/// What was read of the objects of releases.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The objects that are there; of Secrets the metadata.
    pub(super) objects: BTreeMap<ObjectRef, Value>,
    /// Objects of which is not known whether they are there: not to be read, or of a kind that is not served.
    pub(super) unread: BTreeSet<ObjectRef>,
}

/// What Helm keeps of `revision` of the release `name`; `None` where it may not be read, or cannot be understood:
/// then nothing is known of its objects.
pub(super) async fn stored(
    client: &Client,
    namespace: &str,
    name: &str,
    revision: u64,
) -> Result<Option<StoredRelease>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = format!("sh.helm.release.v1.{name}.v{revision}");
    let read = ask(&format!("read Secret `{namespace}/{secret}`"), || api.get_opt(&secret)).await;
    let Some(found) = unless_refused(read)?.flatten() else { return Ok(None) };
    let Some(content) = found.data.and_then(|mut data| data.remove("release")) else { return Ok(None) };
    let namespace = namespace.to_owned();
    let decoded = tokio::task::spawn_blocking(move || decode(&content.0, &namespace).ok());
    decoded.await.context("cannot read a release")
}

/// The objects of `wanted` as they are now; the kinds in `defined` (group and kind) will be served although
/// they may not be yet.
pub(super) async fn live(
    client: &Client,
    wanted: BTreeSet<ObjectRef>,
    defined: &BTreeSet<(String, String)>,
) -> Result<Live> {
    let mut kinds: BTreeMap<ObjectRef, Vec<ObjectRef>> = BTreeMap::new();
    for reference in wanted {
        let any = ObjectRef { name: String::new(), ..reference.clone() };
        kinds.entry(any).or_default().push(reference);
    }
    let (many, few): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|(_, references)| references.len() >= LIST_FROM);
    let listed = stream::iter(many)
        .map(|(any, references)| async move {
            let found = list(client, &any).await?;
            Ok::<_, anyhow::Error>((references, found))
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    let mut live = Live::default();
    let mut single: Vec<ObjectRef> = few.into_iter().flat_map(|(_, references)| references).collect();
    for (references, mut found) in listed {
        for reference in references {
            match found.remove(&reference.name) {
                Some(object) => drop(live.objects.insert(reference, object)),
                // Whatever is not in the list is asked for: somebody may have taken its label away.
                None => single.push(reference),
            }
        }
    }
    let mut read = stream::iter(single)
        .map(|reference| async move { Ok::<_, anyhow::Error>((read(client, &reference).await?, reference)) })
        .buffer_unordered(CONCURRENCY);
    while let Some((found, reference)) = read.try_next().await? {
        match found {
            Found::Object(object) => drop(live.objects.insert(reference, object)),
            Found::Nothing => {}
            Found::NoKind if defined.contains(&kind_of(&reference)) => {}
            Found::NoKind | Found::Refused => drop(live.unread.insert(reference)),
        }
    }
    Ok(live)
}

/// Group and kind.
pub(super) fn kind_of(reference: &ObjectRef) -> (String, String) {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    (group.to_owned(), reference.kind.clone())
}

/// Helm's objects of a kind in a namespace, by name; none where they cannot be listed.
async fn list(client: &Client, any: &ObjectRef) -> Result<BTreeMap<String, Value>> {
    let api = objects::api(client, any);
    let parameters = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}=Helm"));
    let what = format!("list the objects of kind `{}`", any.kind);
    let named = |name: Option<String>, object: serde_json::Result<Value>| Some((name?, object.ok()?));
    if any.kind == "Secret" {
        let answer = unless_refused(ask(&what, || none_if_missing(api.list_metadata(&parameters))).await)?.flatten();
        let items = answer.map(|list| list.items).unwrap_or_default().into_iter();
        return Ok(items.filter_map(|item| named(item.metadata.name.clone(), serde_json::to_value(item))).collect());
    }
    let answer = unless_refused(ask(&what, || none_if_missing(api.list(&parameters))).await)?.flatten();
    let items = answer.map(|list| list.items).unwrap_or_default().into_iter();
    Ok(items.filter_map(|item| named(item.metadata.name.clone(), serde_json::to_value(item))).collect())
}

enum Found {
    Object(Value),
    Nothing,
    /// The server does not serve the kind, or under another plural than we think.
    NoKind,
    Refused,
}

async fn read(client: &Client, reference: &ObjectRef) -> Result<Found> {
    let api = objects::api(client, reference);
    let what = format!("read `{reference}`");
    let missing = |status: &kube::core::Status| {
        // Only an object that is missing is named in the answer.
        let is_named = status.details.as_ref().is_some_and(|details| details.name == reference.name);
        if is_named { Found::Nothing } else { Found::NoKind }
    };
    let answer = ask(&what, || async {
        let found = if reference.kind == "Secret" {
            api.get_metadata(&reference.name).await.map(serde_json::to_value)
        } else {
            api.get(&reference.name).await.map(serde_json::to_value)
        };
        match found {
            Ok(object) => object.map(Found::Object).map_err(kube::Error::SerdeError),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(missing(&status)),
            Err(error) => Err(error),
        }
    });
    Ok(unless_refused(answer.await)?.unwrap_or(Found::Refused))
}

async fn none_if_missing<T>(answer: impl Future<Output = kube::Result<T>>) -> kube::Result<Option<T>> {
    match answer.await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        answer => answer.map(Some),
    }
}

/// The answer; `None` where it is not allowed.
fn unless_refused<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) if failure_of(&error).is_some_and(|failure| failure.kind == Kind::Refused) => Ok(None),
        answer => answer.map(Some),
    }
}
