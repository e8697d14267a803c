//! What a cluster did between two looks at it, judged by what the plan would write. Pure.

use super::model::{Action, Plan, Reason, Step};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a person saw of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outline {
    /// Id of the step.
    pub id: String,
    /// What happens.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// What changes, one line each, secrets masked.
    pub changes: Vec<String>,
}

impl From<&Step> for Outline {
    fn from(step: &Step) -> Self {
        let Step { id, action, reason, changes, .. } = step.clone();
        Outline { id, action, reason, changes }
    }
}

impl Plan {
    /// The steps with these ids, as a plan of its own.
    #[must_use]
    pub fn only(&self, ids: &BTreeSet<String>) -> Plan {
        let steps = self.steps.iter().filter(|step| ids.contains(&step.id)).cloned().collect();
        Plan { steps, ..self.clone() }
    }

    /// What a person sees of the steps.
    pub fn outlines(&self) -> Vec<Outline> {
        self.steps.iter().map(Outline::from).collect()
    }
}

/// What makes `now` another plan than the one that was `shown`, one line each; the steps in `done` were
/// carried out since. Versions of objects do not count, only what a step would make, change or take away.
pub fn moved(shown: &[Outline], now: &Plan, done: &BTreeSet<String>) -> Vec<String> {
    let now = now.outlines();
    let by_id = |outlines: &[Outline]| -> BTreeMap<String, Outline> {
        outlines.iter().map(|outline| (outline.id.clone(), outline.clone())).collect()
    };
    let (then, now) = (by_id(shown), by_id(&now));
    let mut moved = Vec::new();
    for (id, step) in then.iter().filter(|(id, _)| !done.contains(*id)) {
        match now.get(id) {
            None => moved.push(format!("`{id}` needs no step any more: somebody else brought it about")),
            Some(other) if other.action != step.action || other.reason != step.reason => {
                moved.push(format!("`{id}` would be {} now, and was {}", told(other), told(step)));
            }
            Some(other) if other.changes != step.changes => {
                moved.push(format!("`{id}` stands otherwise than it did: its changes are others"));
            }
            Some(_) => {}
        }
    }
    let new = now.iter().filter(|(id, _)| !then.contains_key(*id));
    moved.extend(new.map(|(id, step)| format!("`{id}` would be {} now, and was no step", told(step))));
    moved
}

fn told(step: &Outline) -> String {
    format!("{} ({})", step.action.done(), step.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Manifest;
    use crate::plan::Target;
    use serde_json::json;

    fn step(id: &str, action: Action, reason: Reason, changes: &[&str]) -> Step {
        Step {
            id: id.to_owned(),
            action,
            reason,
            needs: Vec::new(),
            changes: changes.iter().map(|change| (*change).to_owned()).collect(),
            target: Target::Object { manifest: Manifest(json!({})) },
        }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan { steps, ..Plan::default() }
    }

    #[test]
    fn whatever_changes_what_would_be_written_has_moved() {
        let new = |id: &str| step(id, Action::Create, Reason::New, &[]);
        let shown = plan(vec![new("a"), new("b"), step("c", Action::Update, Reason::Values, &["~ x: 1 -> 2"])]);
        let none = BTreeSet::new();
        assert!(moved(&shown.outlines(), &shown, &none).is_empty());
        let done = BTreeSet::from(["a".to_owned()]);
        let rest = shown.only(&BTreeSet::from(["b".to_owned(), "c".to_owned()]));
        assert!(moved(&shown.outlines(), &rest, &done).is_empty());
        let now = plan(vec![
            step("b", Action::Update, Reason::Values, &["~ x: 0 -> 1"]),
            step("c", Action::Update, Reason::Values, &["~ x: 0 -> 2"]),
            new("d"),
        ]);
        assert_eq!(
            moved(&shown.outlines(), &now, &none),
            [
                "`a` needs no step any more: somebody else brought it about",
                "`b` would be updated (values) now, and was created (new)",
                "`c` stands otherwise than it did: its changes are others",
                "`d` would be created (new) now, and was no step",
            ]
        );
    }
}
