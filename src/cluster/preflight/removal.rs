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
    let refused = refused_of(cluster, wanted.iter().map(Access::of_kind).collect()).await?;
    // A role may allow single objects, by their names.
    let single = wanted.into_iter().filter(|access| refused.contains(&access.of_kind())).collect();
    let denied = refused_of(cluster, single).await?.iter().map(Access::of_kind).collect();
    refuse(judge_access(&denied))?;
    Ok(skipped)
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
    use serde_json::json;

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
