//! How many writes a plan takes besides its steps: helm's records of its releases, and ours of the deploy.

use super::model::{Observed, ObservedRelease, Plan, Reason, Step, Target};
use serde::Serialize;

/// How many revisions of a release Helm keeps.
pub const HISTORY_MAX: u64 = 10;

/// Writes besides those of the steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bookkeeping {
    /// Of the record of this deploy, and to take older ones away.
    pub record: u64,
    /// Of the Secrets in which Helm keeps the revisions of its releases.
    pub helm: u64,
}

/// How often helm writes the revisions of releases while `plan` is carried out.
pub fn helm_writes(plan: &Plan, observed: &Observed) -> u64 {
    let writes = |step: &Step| match &step.target {
        Target::Release { release } => {
            let seen = observed.releases.get(&(release.namespace.clone(), release.name.clone()));
            seen.map_or(INSTALL, |seen| upgrade(seen, &step.reason))
        }
        Target::UnwantedRelease { namespace, name } => {
            // It is marked, then every revision of it goes.
            let seen = observed.releases.get(&(namespace.clone(), name.clone()));
            seen.map_or(0, |seen| 1 + seen.revisions)
        }
        _ => 0,
    };
    plan.steps.iter().map(writes).sum()
}

/// A revision is made `pending-install` and becomes `deployed`.
const INSTALL: u64 = 2;
/// A revision is made `pending-upgrade`, the one before it is `superseded`, and it becomes `deployed`.
const UPGRADE: u64 = 3;

fn upgrade(seen: &ObservedRelease, reason: &Reason) -> u64 {
    // One that a killed helm left is taken away first.
    let forgotten = u64::from(matches!(reason, Reason::Repair { status } if status.starts_with("pending-")));
    let kept = seen.revisions.saturating_sub(forgotten);
    let dropped = (kept + 1).saturating_sub(HISTORY_MAX);
    forgotten + if kept == 0 { INSTALL } else { UPGRADE + dropped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helm_writes_what_its_history_asks_for() {
        let writes = |revisions: u64, status: Option<&str>| {
            let reason = status.map_or(Reason::Values, |status| Reason::Repair { status: status.to_owned() });
            upgrade(&ObservedRelease { revisions, ..ObservedRelease::default() }, &reason)
        };
        assert_eq!([writes(1, None), writes(9, None), writes(10, None), writes(12, None)], [3, 3, 4, 6]);
        assert_eq!([writes(1, Some("failed")), writes(1, Some("pending-install"))], [3, 3]);
        assert_eq!(writes(2, Some("pending-upgrade")), 4);
    }
}
