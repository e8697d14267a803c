//! Reads what Helm keeps of the revisions of releases, and what became of their objects. Never writes.

use crate::cluster::listed::{CONCURRENCY, listed, unless_refused};
use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::error::{Failure, Kind};
use crate::helm::stored::decode;
use crate::object::{Manifest, ObjectRef};
use crate::plan::StoredRelease;
use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
    let secret = format!("sh.helm.release.v1.{name}.v{revision}");
    let read = read_stored(client, namespace, &secret).await;
    Ok(unless_refused(read)?.flatten().and_then(Result::ok))
}

/// What the Secret of a revision holds, understood or not; `None` where there is none.
async fn read_stored(client: &Client, namespace: &str, secret: &str) -> Result<Option<Result<StoredRelease>>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = ask(&format!("read Secret `{namespace}/{secret}`"), || api.get_opt(secret)).await?;
    let Some(content) = found.and_then(|found| found.data?.remove("release")) else { return Ok(None) };
    let namespace = namespace.to_owned();
    let decoded = tokio::task::spawn_blocking(move || decode(&content.0, &namespace));
    decoded.await.context("cannot read a release").map(Some)
}

/// The objects of the newest revision of the release `name`, as Helm stored them a moment ago.
///
/// # Errors
/// When it cannot be read, may not be, or cannot be understood.
pub(super) async fn objects_of(client: &Client, namespace: &str, name: &str) -> Result<Vec<Manifest>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let revisions = ListParams::default().labels(&format!("owner=helm,name={name}"));
    let list = ask(&format!("list the revisions of the release `{name}`"), || api.list_metadata(&revisions)).await?;
    let number = |secret: &str| secret.rsplit_once(".v").and_then(|(_, number)| number.parse::<u64>().ok());
    let secrets = list.items.into_iter().filter_map(|secret| secret.metadata.name);
    let stored = match secrets.max_by_key(|secret| number(secret)) {
        Some(secret) => read_stored(client, namespace, &secret).await?,
        None => None,
    };
    let stored = stored.unwrap_or_else(|| Err(anyhow::anyhow!("there is none")));
    stored.map(|stored| stored.manifest).map_err(|why| {
        Failure::new(Kind::CouldNotAsk, format!("cannot read what helm stored of the release `{name}`"))
            .hint(format!("helm get manifest {name} -n {namespace}"))
            .caused_by(why)
    })
}

/// The objects of `wanted` as they are now; the kinds in `defined` (group and kind) will be served although
/// they may not be yet.
pub(super) async fn live(
    client: &Client,
    wanted: BTreeSet<ObjectRef>,
    defined: &BTreeSet<(String, String)>,
) -> Result<Live> {
    let listed = listed(client, "Helm", wanted).await?;
    let mut live = Live { objects: listed.objects.into_iter().collect(), ..Live::default() };
    // Of a kind that is not served each is asked for: it may be under another plural than we think.
    let single = listed.single.into_iter().chain(listed.of_no_kind);
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
