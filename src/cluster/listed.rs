//! Many objects of a kind in one request. Never writes.

use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::error::{Kind, failure_of};
use crate::object::{MANAGED_BY_LABEL, ObjectRef};
use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use kube::Client;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many reads go on at once.
pub(super) const CONCURRENCY: usize = 16;
/// From how many objects of a kind in a namespace on one list is cheaper than a read of each.
const LIST_FROM: usize = 3;
/// Kinds of which the metadata is enough: what else is in them is secret, or long.
const METADATA_ALONE: &[&str] = &[DEFINITION, "Secret"];
/// The metadata of all that a cluster holds of these are long, too.
const DEFINITION: &str = "CustomResourceDefinition";

/// What lists told of the objects that were looked for.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The objects that are there; of some kinds their metadata.
    pub(super) objects: Vec<(ObjectRef, Value)>,
    /// Those that must be asked for one by one: few of a kind, or there without the label, which somebody may have
    /// taken away.
    pub(super) single: Vec<ObjectRef>,
    /// Those of kinds that the server does not serve.
    pub(super) of_no_kind: Vec<ObjectRef>,
}

/// Looks for `references` in lists of what carries the label of `manager`.
pub(super) async fn listed(
    client: &Client,
    manager: &str,
    references: impl IntoIterator<Item = ObjectRef>,
) -> Result<Listed> {
    let mut kinds: BTreeMap<ObjectRef, Vec<ObjectRef>> = BTreeMap::new();
    for reference in references {
        let any = ObjectRef { name: String::new(), ..reference.clone() };
        kinds.entry(any).or_default().push(reference);
    }
    let (many, few): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|(_, references)| references.len() >= LIST_FROM);
    let lists = stream::iter(many)
        .map(
            |(any, references)| async move { Ok::<_, anyhow::Error>((references, list(client, &any, manager).await?)) },
        )
        .buffer_unordered(CONCURRENCY)
        .try_collect::<Vec<_>>()
        .await?;
    let single = few.into_iter().flat_map(|(_, references)| references).collect();
    let mut listed = Listed { single, ..Listed::default() };
    for (references, found) in lists {
        let (references, mut found) = match found {
            Answer::Objects(found) => (references, found),
            Answer::NoKind => {
                listed.of_no_kind.extend(references);
                continue;
            }
            Answer::Refused => (references, BTreeMap::new()),
        };
        let mut missing = Vec::new();
        for reference in references {
            match found.remove(&reference.name) {
                Some(object) => listed.objects.push((reference, object)),
                None => missing.push(reference),
            }
        }
        listed.single.extend(unless_absent(client, missing).await?);
    }
    Ok(listed)
}

/// Without those of `references`, of one kind in one namespace, of which a list of all names says that they are not
/// there: before the first deploy none is.
async fn unless_absent(client: &Client, mut references: Vec<ObjectRef>) -> Result<Vec<ObjectRef>> {
    let Some(first) = references.first().filter(|first| first.kind != DEFINITION) else { return Ok(references) };
    if references.len() < LIST_FROM {
        return Ok(references);
    }
    let api = objects::api(client, first);
    let parameters = ListParams::default();
    let what = format!("list the names of kind `{}`", first.kind);
    let answer = ask(&what, || api.list_metadata(&parameters)).await;
    if let Some(list) = unless_refused(answer)? {
        let names: BTreeSet<String> = list.items.into_iter().filter_map(|object| object.metadata.name).collect();
        references.retain(|reference| names.contains(&reference.name));
    }
    Ok(references)
}

enum Answer {
    /// By their names.
    Objects(BTreeMap<String, Value>),
    NoKind,
    Refused,
}

/// The objects of a kind in a namespace that carry the label of `manager`.
async fn list(client: &Client, any: &ObjectRef, manager: &str) -> Result<Answer> {
    let api = objects::api(client, any);
    let parameters = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={manager}"));
    let what = format!("list the objects of kind `{}`", any.kind);
    let answer = ask(&what, || async {
        let items: kube::Result<Vec<serde_json::Result<Value>>> = if METADATA_ALONE.contains(&any.kind.as_str()) {
            let list = api.list_metadata(&parameters).await;
            list.map(|list| list.items.into_iter().map(serde_json::to_value).collect())
        } else {
            let list = api.list(&parameters).await;
            list.map(|list| list.items.into_iter().map(serde_json::to_value).collect())
        };
        match items {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            items => items.map(Some),
        }
    });
    let items = match unless_refused(answer.await)? {
        None => return Ok(Answer::Refused),
        Some(None) => return Ok(Answer::NoKind),
        Some(Some(items)) => items,
    };
    let named = items.into_iter().flatten().filter_map(|mut object| {
        let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
        // What is in a list does not say what it is.
        object["apiVersion"] = json!(any.api_version);
        object["kind"] = json!(any.kind);
        Some((name, object))
    });
    Ok(Answer::Objects(named.collect()))
}

/// The answer; `None` where it is not allowed.
pub(super) fn unless_refused<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) if failure_of(&error).is_some_and(|failure| failure.kind == Kind::Refused) => Ok(None),
        answer => answer.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::script::{self, Asked, refusal, scripted};

    fn config_maps(names: &[&str]) -> Vec<ObjectRef> {
        names.iter().map(|name| ObjectRef::namespaced("v1", "ConfigMap", "m", name)).collect()
    }

    fn names(references: &[ObjectRef]) -> Vec<&str> {
        references.iter().map(|reference| reference.name.as_str()).collect()
    }

    async fn found(references: &[&str], answer: fn(&Asked) -> script::Answer) -> (Listed, usize) {
        let (client, log) = scripted(answer);
        let listed = listed(&client, "us", config_maps(references)).await.unwrap();
        let asked = log.lock().unwrap().len();
        (listed, asked)
    }

    #[tokio::test]
    async fn one_without_our_label_is_left_to_be_asked_for_alone() {
        let (listed, asked) = found(&["a", "b", "c"], |asked| {
            assert!(asked.path.contains("labelSelector=app.kubernetes.io%2Fmanaged-by%3Dus"), "{}", asked.path);
            script::list(
                json!([{"metadata": {"name": "a"}}, {"metadata": {"name": "c"}}, {"metadata": {"name": "other"}}]),
            )
        })
        .await;
        assert_eq!(listed.objects.iter().map(|(object, _)| object.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(listed.objects[0].1["kind"], "ConfigMap");
        assert_eq!((names(&listed.single), asked), (vec!["b"], 1));
    }

    #[tokio::test]
    async fn many_that_are_missing_are_looked_for_among_all_names() {
        let (listed, asked) = found(&["a", "b", "c", "d"], |asked| {
            let is_labelled = asked.path.contains("labelSelector");
            if is_labelled { script::empty() } else { script::list(json!([{"metadata": {"name": "b"}}])) }
        })
        .await;
        assert_eq!((names(&listed.single), asked), (vec!["b"], 2));
        assert!(listed.objects.is_empty() && listed.of_no_kind.is_empty());
    }

    #[tokio::test]
    async fn few_are_asked_for_alone_and_so_are_those_that_may_not_be_listed() {
        let (listed, asked) = found(&["a", "b"], |_| script::empty()).await;
        assert_eq!((names(&listed.single), asked), (vec!["a", "b"], 0));
        let (listed, _) = found(&["a", "b", "c"], |_| {
            refusal(403, "Forbidden", "configmaps is forbidden: User \"jane\" cannot list")
        })
        .await;
        assert_eq!(names(&listed.single), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_kind_that_is_not_served_has_no_objects() {
        let (listed, _) = found(&["a", "b", "c"], |_| refusal(404, "NotFound", "no")).await;
        assert_eq!(names(&listed.of_no_kind), ["a", "b", "c"]);
    }
}
