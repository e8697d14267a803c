//! Checks before anything is taken away.

use super::judge::{Access, accesses_of_removed, judge_access, refuse};
use super::{gather, is_allowed_everything, refused_of};
use crate::cluster::Cluster;
use crate::cluster::uninstall::{Removal, UninstallPlan};
use crate::object::ObjectRef;
use anyhow::Result;
use std::collections::BTreeSet;

/// Checks that what `plan` takes away may be: helm would say that a release is gone, and leave what it may not read.
/// Returns what could not be looked at. Writes nothing.
///
/// # Errors
/// [`crate::error::Kind::Refused`] with every right that is missing; [`crate::error::Kind::CouldNotAsk`] when a
/// question got no answer.
pub async fn may_remove(cluster: &Cluster, plan: &UninstallPlan) -> Result<Vec<String>> {
    if is_allowed_everything(cluster).await? {
        return Ok(Vec::new());
    }
    let mut skipped = Vec::new();
    let releases = plan.removes.iter().filter_map(|removal| match removal {
        Removal::Release { namespace, name } => Some((namespace.as_str(), name.as_str())),
        Removal::Object { .. } => None,
    });
    let mut wanted = accesses(plan);
    wanted.extend(accesses_of_removed(&gather::objects_of_releases(cluster, releases, &mut skipped).await));
    let denied = refused_of(cluster, wanted).await?;
    refuse(judge_access(&denied))?;
    Ok(skipped)
}

/// What `plan` takes without the objects of its releases.
fn accesses(plan: &UninstallPlan) -> BTreeSet<Access> {
    let of = |removal: &Removal| match removal {
        // Helm keeps its revisions there.
        Removal::Release { namespace, .. } => {
            let kind = ObjectRef::namespaced("v1", "Secret", namespace, "");
            ["delete", "get", "list", "update"].map(|verb| Access { kind: kind.clone(), verb }).into()
        }
        Removal::Object { reference, .. } => {
            let kind = ObjectRef { name: String::new(), ..reference.clone() };
            BTreeSet::from([Access { kind, verb: "delete" }])
        }
    };
    plan.removes.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_asks_for_its_rights() {
        let reference = ObjectRef::namespaced("v1", "ConfigMap", "m", "rules");
        let object = Removal::Object { reference, uid: "u".to_owned() };
        let release = Removal::Release { namespace: "m".to_owned(), name: "loki".to_owned() };
        let plan = UninstallPlan { removes: vec![object, release], keeps: Vec::new() };
        let told: Vec<String> =
            accesses(&plan).iter().map(|access| format!("{} {}", access.verb, access.kind.kind)).collect();
        assert_eq!(told, ["delete ConfigMap", "delete Secret", "get Secret", "list Secret", "update Secret"]);
    }
}
