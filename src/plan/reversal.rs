//! What puts a failed run back. Pure.

use super::model::{Action, Plan};
use std::collections::BTreeSet;

/// Of `back`, which leads from what stands to what stood before, the steps that undo the `started` ones of
/// `forward`. What `forward` made for the first time is taken away where it is to be `removed`, else it stays.
///
/// The steps keep the order of `back`: what a release needs must be back before it, or it would never become
/// ready; what is taken away goes last, those first that need others.
pub fn reversal(back: &Plan, forward: &Plan, started: &BTreeSet<String>, removed: bool) -> Plan {
    let made = made_first(forward, started);
    let undoes = |id: &String, action: Action| {
        started.contains(id) && (action != Action::Delete || (removed && made.contains(id)))
    };
    let ids = back.steps.iter().filter(|step| undoes(&step.id, step.action)).map(|step| step.id.clone());
    back.only(&ids.collect())
}

/// Ids of what the `started` steps of `plan` made for the first time and `back` would take away again.
pub fn first_installs(back: &Plan, forward: &Plan, started: &BTreeSet<String>) -> Vec<String> {
    let made = made_first(forward, started);
    let gone = back.steps.iter().filter(|step| step.action == Action::Delete && made.contains(&step.id));
    gone.map(|step| step.id.clone()).collect()
}

fn made_first(plan: &Plan, started: &BTreeSet<String>) -> BTreeSet<String> {
    let made = plan.steps.iter().filter(|step| step.action == Action::Create && started.contains(&step.id));
    made.map(|step| step.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Manifest;
    use crate::plan::{Reason, Step, Target};
    use serde_json::json;

    fn plan(steps: &[(&str, Action)]) -> Plan {
        let step = |(id, action): &(&str, Action)| Step {
            id: (*id).to_owned(),
            action: *action,
            reason: Reason::Values,
            needs: Vec::new(),
            changes: Vec::new(),
            target: Target::Object { manifest: Manifest(json!({})) },
        };
        Plan { steps: steps.iter().map(step).collect(), ..Plan::default() }
    }

    #[test]
    fn only_what_this_run_began_is_put_back_and_first_installs_stay_unless_removed() {
        use Action::{Create, Delete, Update};
        let forward =
            plan(&[("new", Create), ("changed", Update), ("later", Update), ("gone", Delete), ("late", Create)]);
        // Somebody changed `other` meanwhile, and left `theirs` behind.
        let back = plan(&[
            ("changed", Update),
            ("other", Update),
            ("gone", Create),
            ("theirs", Delete),
            ("new", Delete),
            ("late", Delete),
        ]);
        let started = ["new", "changed", "gone"].map(str::to_owned).into();
        let ids = |plan: Plan| plan.steps.into_iter().map(|step| step.id).collect::<Vec<_>>();
        assert_eq!(ids(reversal(&back, &forward, &started, false)), ["changed", "gone"]);
        assert_eq!(ids(reversal(&back, &forward, &started, true)), ["changed", "gone", "new"]);
        assert_eq!(first_installs(&back, &forward, &started), ["new"]);
        // What stood before and is not wanted by the record is not ours to take away now.
        let started = ["changed", "theirs"].map(str::to_owned).into();
        assert_eq!(ids(reversal(&plan(&[("changed", Delete)]), &forward, &started, true)), Vec::<String>::new());
    }
}
