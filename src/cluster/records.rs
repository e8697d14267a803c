//! Records of deploys, in Secrets of the monitoring namespace.

use super::lock::holder;
use crate::cluster::Cluster;
use crate::cluster::objects;
use crate::cluster::observe::releases;
use crate::cluster::request::ask;
use crate::cluster::uninstall::delete;
use crate::error::{Failure, Kind};
use crate::object::{FIELD_MANAGER, MANAGED_BY_LABEL, Manifest, ObjectRef};
use crate::record::{DoneStep, Effect, Head, Intent, Outcome, decode_effect, decode_intent, dropped, encode_effect};
use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Type of the Secrets.
const TYPE: &str = "drivemaster-mon/record";
/// Label with the number of the record.
const NUMBER_LABEL: &str = "drivemaster-mon/record";
/// Label with the number of the part; the first, `0`, also has the head and the effect.
const PART_LABEL: &str = "drivemaster-mon/part";
/// Label with how it ended, in one word.
const OUTCOME_LABEL: &str = "drivemaster-mon/outcome";
/// Annotation with the head, as JSON.
const HEAD_ANNOTATION: &str = "drivemaster-mon/head";
/// Key of what was to stand.
const INTENT: &str = "intent";
/// Key of what came of it, in the first part.
const EFFECT: &str = "effect";
/// How many reads go on at once.
const CONCURRENCY: usize = 16;

/// The records of one namespace.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// The heads, the newest last.
    pub heads: Vec<Head>,
    /// What the newest deploy left.
    pub effect: Effect,
    /// Every Secret of a record, by number and part.
    secrets: BTreeMap<(u64, u64), String>,
}

impl Past {
    /// The number that the next record has. That of a part without a head is never used again.
    pub fn next_number(&self) -> u64 {
        self.secrets.keys().map(|(number, _)| number).max().map_or(1, |number| number + 1)
    }

    /// How many writes a record in `parts` takes: its Secrets, their end, and those that make place.
    pub fn writes(&self, parts: usize) -> u64 {
        (parts + 1 + self.dropped_after(self.next_number()).len()) as u64
    }

    /// The Secrets that are taken away once record `number` is there.
    fn dropped_after(&self, number: u64) -> Vec<&String> {
        let mut heads = self.heads.clone();
        if let Some(last) = heads.last() {
            heads.push(Head { number, outcome: Outcome::Running, ..last.clone() });
        }
        let gone: BTreeSet<u64> = dropped(&heads).into_iter().collect();
        // A part without its first is what a deploy left that was killed while it wrote.
        let of = |key: &u64| *key != number && (gone.contains(key) || !self.secrets.contains_key(&(*key, 0)));
        self.secrets.iter().filter(|((key, _), _)| of(key)).map(|(_, name)| name).collect()
    }
}

/// The records in `namespace`, and what the newest deploy left. A namespace that is not there has none.
///
/// # Errors
/// [`Kind::CouldNotAsk`] without an answer; [`Kind::Refused`] when the newest cannot be read.
pub async fn past(cluster: &Cluster, namespace: &str) -> Result<Past> {
    let mut past = list(cluster, namespace).await?;
    if let Some(newest) = past.heads.last().map(|head| head.number) {
        past.effect = read_part(cluster, namespace, newest, 0).await?.effect(newest)?;
    }
    Ok(past)
}

/// The heads of the records in `namespace`, the newest last; one that does not run any more was interrupted.
///
/// # Errors
/// [`Kind::CouldNotAsk`] without an answer.
pub async fn heads(cluster: &Cluster, namespace: &str) -> Result<Vec<Head>> {
    let mut heads = list(cluster, namespace).await?.heads;
    if heads.iter().any(|head| head.outcome == Outcome::Running) {
        let at_work = holder(cluster, namespace).await?;
        for head in heads.iter_mut().filter(|head| head.outcome == Outcome::Running) {
            if at_work.as_ref() != Some(&head.holder) {
                head.outcome = Outcome::Interrupted;
            }
        }
    }
    Ok(heads)
}

async fn list(cluster: &Cluster, namespace: &str) -> Result<Past> {
    let parameters = ListParams::default().labels(&format!("{NUMBER_LABEL},{MANAGED_BY_LABEL}={FIELD_MANAGER}"));
    let secrets = secrets(cluster, namespace);
    let what = format!("list the records of deploys in namespace `{namespace}`");
    let mut past = Past::default();
    for found in ask(&what, || secrets.list_metadata(&parameters)).await?.items {
        let ObjectMeta { name: Some(name), labels: Some(labels), annotations, .. } = found.metadata else { continue };
        let label = |key: &str| labels.get(key).and_then(|text| text.parse::<u64>().ok());
        let (Some(number), Some(part)) = (label(NUMBER_LABEL), label(PART_LABEL)) else { continue };
        past.secrets.insert((number, part), name);
        let head = annotations.as_ref().and_then(|all| all.get(HEAD_ANNOTATION));
        past.heads.extend(head.and_then(|text| serde_json::from_str::<Head>(text).ok()));
    }
    past.heads.sort_by_key(|head| head.number);
    Ok(past)
}

/// What record `number` was to bring about.
///
/// # Errors
/// [`Kind::Refused`] when it cannot be read; [`Kind::CouldNotAsk`] without an answer.
pub async fn intent(cluster: &Cluster, namespace: &str, past: &Past, number: u64) -> Result<Intent> {
    let count = past.secrets.keys().filter(|(key, _)| *key == number).count() as u64;
    let read = stream::iter(0..count).map(|part| read_part(cluster, namespace, number, part));
    let parts: Vec<Part> = read.buffered(CONCURRENCY).try_collect().await?;
    decode_intent(number, &parts.into_iter().map(|part| part.intent).collect::<Vec<_>>())
}

/// One Secret of a record.
struct Part {
    intent: Vec<u8>,
    effect: Vec<u8>,
}

impl Part {
    fn effect(&self, number: u64) -> Result<Effect> {
        decode_effect(number, &self.effect)
    }
}

async fn read_part(cluster: &Cluster, namespace: &str, number: u64, part: u64) -> Result<Part> {
    let name = name(number, part);
    let secrets = secrets(cluster, namespace);
    let what = format!("read `{}`", reference(namespace, &name));
    let mut data = ask(&what, || secrets.get(&name)).await?.data.unwrap_or_default();
    let mut take = |key: &str| data.remove(key).map(|bytes| bytes.0).unwrap_or_default();
    Ok(Part { intent: take(INTENT), effect: take(EFFECT) })
}

/// Writes a record before the first step, and takes away those that it makes superfluous. The head comes
/// last: a record that is listed is whole.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn begin(
    cluster: &Cluster,
    namespace: &str,
    past: &Past,
    head: &Head,
    intent: &[Vec<u8>],
    effect: &Effect,
) -> Result<()> {
    let secrets = secrets(cluster, namespace);
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let effect = encode_effect(effect)?;
    for (part, bytes) in intent.iter().enumerate().rev().map(|(part, bytes)| (part as u64, bytes)) {
        let mut secret = Secret {
            metadata: ObjectMeta {
                name: Some(name(head.number, part)),
                labels: Some(labels(head, part)),
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            data: Some(BTreeMap::from([(INTENT.to_owned(), ByteString(bytes.clone()))])),
            ..Secret::default()
        };
        if part == 0 {
            let text = serde_json::to_string(head)?;
            secret.metadata.annotations = Some(BTreeMap::from([(HEAD_ANNOTATION.to_owned(), text)]));
            secret.data.get_or_insert_default().insert(EFFECT.to_owned(), ByteString(effect.clone()));
        }
        let what = format!("create `{}`", reference(namespace, &name(head.number, part)));
        ask(&what, || async {
            match secrets.create(&parameters, &secret).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    let found = secrets.get(&name(head.number, part)).await?;
                    // The answer to the attempt before got lost.
                    let is_it = (&found.data, found.metadata.annotations.as_ref())
                        == (&secret.data, secret.metadata.annotations.as_ref());
                    if is_it { Ok(()) } else { Err(kube::Error::Api(status)) }
                }
                answer => answer.map(drop),
            }
        })
        .await?;
    }
    for superfluous in past.dropped_after(head.number) {
        delete(&cluster.client, &reference(namespace, superfluous), None).await?;
    }
    Ok(())
}

/// Writes how the deploy of `head` ended.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn end(cluster: &Cluster, namespace: &str, head: &Head, effect: &Effect) -> Result<()> {
    let name = name(head.number, 0);
    let patch = json!({
        "metadata": {
            "labels": labels(head, 0),
            "annotations": { HEAD_ANNOTATION: serde_json::to_string(head)? },
        },
        "data": { EFFECT: ByteString(encode_effect(effect)?) },
    });
    let secrets = secrets(cluster, namespace);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let what = format!("write the end of `{}`", reference(namespace, &name));
    let patch = Patch::Merge(&patch);
    ask(&what, || secrets.patch(&name, &parameters, &patch)).await?;
    Ok(())
}

/// What of `expected` stands in the cluster, where the `steps` were done.
///
/// # Errors
/// When the API server does not answer, or does not allow it.
pub async fn effect(cluster: &Cluster, expected: Effect, steps: Vec<DoneStep>) -> Result<Effect> {
    let references = expected.inventory.objects.iter().map(|object| object.reference.clone());
    let uids = stream::iter(references).map(|reference| async move {
        let api = objects::api(&cluster.client, &reference);
        let what = format!("read `{reference}`");
        let found = ask(&what, || async {
            match api.get_metadata_opt(&reference.name).await {
                // Its kind is not served any more.
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                answer => answer,
            }
        });
        Ok::<_, anyhow::Error>(found.await?.and_then(|found| Some((reference, found.metadata.uid?))))
    });
    let uids = uids.buffer_unordered(CONCURRENCY).try_filter_map(|found| async move { Ok(found) }).try_collect();
    let namespaces: BTreeSet<&str> =
        expected.inventory.releases.iter().map(|release| release.namespace.as_str()).collect();
    let revisions = stream::iter(namespaces)
        .map(|namespace| releases(&cluster.client, namespace))
        .buffer_unordered(CONCURRENCY)
        .try_concat();
    let (uids, revisions) = tokio::try_join!(uids, revisions)?;
    Ok(expected.seen(&uids, &revisions.into_iter().collect(), steps))
}

/// The definitions as they stand.
///
/// # Errors
/// [`Kind::Refused`] naming one that is gone.
pub async fn definitions(cluster: &Cluster, references: &[ObjectRef]) -> Result<Vec<Manifest>> {
    stream::iter(references)
        .map(|reference| async move {
            let api = objects::api(&cluster.client, reference);
            let found = ask(&format!("read `{reference}`"), || api.get_opt(&reference.name)).await?;
            let found = found.ok_or_else(|| {
                Failure::new(Kind::Refused, format!("`{reference}` is gone"))
                    .hint("drivemaster-mon deploy brings it back")
            })?;
            Ok(Manifest(serde_json::to_value(found)?))
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await
}

fn labels(head: &Head, part: u64) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (MANAGED_BY_LABEL.to_owned(), FIELD_MANAGER.to_owned()),
        (NUMBER_LABEL.to_owned(), head.number.to_string()),
        (PART_LABEL.to_owned(), part.to_string()),
    ]);
    if part == 0 {
        labels.insert(OUTCOME_LABEL.to_owned(), head.outcome.word().to_owned());
    }
    labels
}

fn name(number: u64, part: u64) -> String {
    match part {
        0 => format!("drivemaster-mon.record.{number}"),
        part => format!("drivemaster-mon.record.{number}.{part}"),
    }
}

fn reference(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef::namespaced("v1", "Secret", namespace, name)
}

fn secrets(cluster: &Cluster, namespace: &str) -> Api<Secret> {
    Api::namespaced(cluster.client.clone(), namespace)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cluster::script::{list as answered, scripted};
    use serde_json::Value;

    fn metadata(number: u64, part: u64, head: Option<&str>) -> Value {
        let annotations = head.map(|text| json!({ HEAD_ANNOTATION: text }));
        json!({"metadata": {"name": name(number, part), "namespace": "m", "annotations": annotations,
            "labels": {NUMBER_LABEL: number.to_string(), PART_LABEL: part.to_string()}}})
    }

    fn head(number: u64, outcome: &str) -> String {
        json!({"number": number, "program": "0.1.0", "holder": "alice@workstation, process 4711",
            "started": "2026-11-26T04:00:00Z", "trigger": {"kind": "deploy"}, "summary": "", "releases": [],
            "outcome": outcome})
        .to_string()
    }

    async fn listed(items: Vec<Value>) -> Past {
        let (client, _log) = scripted(move |_| answered(json!(items)));
        let cluster = Cluster::new(client, "test", "https://127.0.0.1", "v1.37.2");
        list(&cluster, "m").await.unwrap()
    }

    #[tokio::test]
    async fn superfluous_records_and_parts_without_a_head_make_place_and_what_is_unreadable_stays() {
        let mut items: Vec<Value> = (1..=11)
            .filter(|number| *number != 3)
            .map(|number| metadata(number, 0, Some(&head(number, "applied"))))
            .collect();
        items.push(metadata(1, 1, None));
        items.push(metadata(3, 0, Some(r#"{"of": "another version"}"#)));
        items.push(metadata(12, 1, None));
        let past = listed(items).await;
        assert_eq!(past.heads.len(), 10);
        assert_eq!(past.heads.last().unwrap().number, 11);
        assert_eq!(past.next_number(), 13);
        assert_eq!(past.dropped_after(13), [&name(1, 0), &name(1, 1), &name(12, 1)]);
        assert_eq!(past.writes(2), 6);
    }

    #[tokio::test]
    async fn the_first_record_has_number_one_and_takes_nothing_away() {
        let past = listed(Vec::new()).await;
        assert_eq!((past.next_number(), past.writes(1)), (1, 2));
        // All that is left of a deploy that was killed while it wrote the first record of all.
        let past = listed(vec![metadata(1, 1, None)]).await;
        assert_eq!((past.next_number(), past.writes(1)), (2, 3));
    }

    #[tokio::test]
    async fn a_head_is_written_last_and_taken_for_interrupted_once_nobody_holds_the_lock() {
        let (client, log) = scripted(|asked| {
            if asked.path.contains("/leases/") {
                crate::cluster::script::refusal(404, "NotFound", "no lease")
            } else if asked.method == http::Method::GET {
                answered(json!([metadata(4, 0, Some(&head(4, "running")))]))
            } else {
                crate::cluster::script::Answer::Json(201, asked.body.clone())
            }
        });
        let cluster = Cluster::new(client, "test", "https://127.0.0.1", "v1.37.2");
        let found = heads(&cluster, "m").await.unwrap();
        assert_eq!(found[0].outcome, Outcome::Interrupted);
        let parts = [b"one".to_vec(), b"two".to_vec()];
        begin(&cluster, "m", &Past::default(), &found[0], &parts, &Effect::default()).await.unwrap();
        let written: Vec<String> = log
            .lock()
            .unwrap()
            .iter()
            .filter(|asked| asked.method == http::Method::POST)
            .map(|asked| asked.body["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(written, [name(4, 1), name(4, 0)]);
    }
}
