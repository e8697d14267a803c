//! Checks before anything is taken away.

use super::judge::{Access, judge_access, refuse, verbs_of_removal};
use super::{gather, is_allowed_everything, refused_of};
use crate::cluster::Cluster;
use crate::cluster::uninstall::{Removal, UninstallPlan};
use crate::helm::Helm;
use crate::object::{Manifest, ObjectRef};
use crate::plan::change::is_kept;
use anyhow::Result;
use std::collections::BTreeSet;

/// Checks that what `plan` takes away may be, its releases by `helm`. Returns what could not be looked at. Writes
/// nothing.
///
/// # Errors
/// [`crate::error::Kind::Refused`] with every right that is missing; [`crate::error::Kind::CouldNotAsk`] when a
/// question got no answer.
pub async fn may_remove(cluster: &Cluster, helm: &Helm, plan: &UninstallPlan) -> Result<Vec<String>> {
    if is_allowed_everything(cluster).await? {
        return Ok(Vec::new());
    }
    let mut skipped = Vec::new();
    let releases = plan.removes.iter().filter_map(|removal| match removal {
        Removal::Release { namespace, name } => Some((namespace.as_str(), name.as_str())),
        Removal::Object { .. } => None,
    });
    let objects = gather::objects_of_releases(cluster, releases, &mut skipped).await;
    let wanted = accesses(plan, &objects, verbs_of_removal(helm.version().await?));
    refuse(judge_access(&denied(cluster, wanted).await?))?;
    Ok(skipped)
}

/// The kinds among `wanted` of which something would be refused.
async fn denied(cluster: &Cluster, wanted: BTreeSet<Access>) -> Result<BTreeSet<Access>> {
    let refused = refused_of(cluster, wanted.iter().map(Access::of_kind).collect()).await?;
    // A role may allow single objects, by their names.
    let single = wanted.into_iter().filter(|access| refused.contains(&access.of_kind())).collect();
    Ok(refused_of(cluster, single).await?.iter().map(Access::of_kind).collect())
}

/// What `plan` takes, with the `objects` of its releases, with which helm does what `verbs` say.
fn accesses(plan: &UninstallPlan, objects: &[Manifest], verbs: &'static [&'static str]) -> BTreeSet<Access> {
    let access = |kind: &ObjectRef, verb: &'static str| Access { kind: kind.clone(), verb };
    let mut wanted = BTreeSet::new();
    for (index, removal) in plan.removes.iter().enumerate() {
        match removal {
            // Helm keeps its revisions there.
            Removal::Release { namespace, .. } => {
                let secrets = ObjectRef::namespaced("v1", "Secret", namespace, "");
                wanted.extend(["delete", "get", "list"].map(|verb| access(&secrets, verb)));
            }
            Removal::Object { reference, .. } => {
                wanted.insert(access(reference, "delete"));
                if plan.is_waited_for(index) {
                    wanted.insert(access(reference, "get"));
                }
            }
        }
    }
    for object in objects.iter().filter(|object| !is_kept(&object.0)).map(Manifest::reference) {
        wanted.extend(verbs.iter().map(|verb| access(&object, verb)));
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::script::{Answer, scripted};
    use serde_json::json;

    #[tokio::test]
    async fn a_right_on_a_single_object_is_a_right() {
        let (client, log) = scripted(|asked| {
            let is_allowed = asked.body["spec"]["resourceAttributes"]["name"] == "a";
            Answer::Json(201, json!({"metadata": {}, "spec": {}, "status": {"allowed": is_allowed}}))
        });
        let cluster = Cluster::new(client, "test", "https://127.0.0.1", "v1.37.2");
        let delete =
            |kind: &str, name: &str| Access { kind: ObjectRef::namespaced("v1", kind, "m", name), verb: "delete" };
        let wanted = [delete("ConfigMap", "a"), delete("Service", "a"), delete("Service", "b"), delete("Secret", "")];
        let denied = denied(&cluster, wanted.into()).await.unwrap();
        assert_eq!(denied, BTreeSet::from([delete("Secret", ""), delete("Service", "")]));
        assert_eq!(log.lock().unwrap().len(), 3 + 4, "by kind first");
    }

    #[test]
    fn what_is_taken_away_asks_for_its_rights() {
        let object = |kind: &str| Removal::Object {
            reference: ObjectRef::namespaced("v1", kind, "m", "a"),
            uid: "u".to_owned(),
        };
        let release = Removal::Release { namespace: "m".to_owned(), name: "loki".to_owned() };
        let removes = vec![object("Schedule"), release, object("ConfigMap")];
        let plan = UninstallPlan { removes, keeps: Vec::new() };
        let made = |name: &str, policy: &str| {
            let annotations = json!({"helm.sh/resource-policy": policy});
            let metadata = json!({"name": name, "namespace": "m", "annotations": annotations});
            Manifest(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata}))
        };
        let wanted = accesses(&plan, &[made("goes", ""), made("stays", "keep")], &["delete"]);
        let told: Vec<String> =
            wanted.iter().map(|access| format!("{} {} {}", access.verb, access.kind.kind, access.kind.name)).collect();
        assert_eq!(
            told,
            [
                "delete ConfigMap a",
                "delete Schedule a",
                // It must be gone before the release is.
                "get Schedule a",
                "delete Secret ",
                "get Secret ",
                "list Secret ",
                "delete Service goes",
            ]
        );
    }
}
