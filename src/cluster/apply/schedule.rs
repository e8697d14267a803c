//! Which step may start next. Pure.

use crate::plan::Step;
use std::collections::BTreeSet;

/// The state of every step of a plan.
pub(super) struct Schedule {
    waiting: BTreeSet<usize>,
    undone: BTreeSet<String>,
    ids: Vec<String>,
}

impl Schedule {
    pub(super) fn new(steps: &[Step]) -> Self {
        let ids: Vec<String> = steps.iter().map(|step| step.id.clone()).collect();
        Schedule { waiting: (0..steps.len()).collect(), undone: ids.iter().cloned().collect(), ids }
    }

    /// The first step that waits and whose needs are all done; it counts as started from now on.
    /// A need that is no step of the plan is satisfied already.
    pub(super) fn next<'a>(&mut self, steps: &'a [Step]) -> Option<(usize, &'a Step)> {
        let free = |index: &usize| {
            steps.get(*index).is_some_and(|step| step.needs.iter().all(|need| !self.undone.contains(need)))
        };
        let index = self.waiting.iter().copied().find(free)?;
        self.waiting.remove(&index);
        steps.get(index).map(|step| (index, step))
    }

    /// The step is done: what needs it may start.
    pub(super) fn done(&mut self, index: usize) {
        if let Some(id) = self.ids.get(index) {
            self.undone.remove(id);
        }
    }

    /// The steps that were never started.
    pub(super) fn never_started(&self) -> impl Iterator<Item = usize> {
        self.waiting.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Manifest;
    use crate::plan::{Action, Reason, Target};
    use serde_json::json;

    fn step(id: &str, needs: &[&str]) -> Step {
        Step {
            id: id.to_owned(),
            action: Action::Create,
            reason: Reason::New,
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            changes: Vec::new(),
            target: Target::Object { manifest: Manifest(json!({})) },
        }
    }

    fn startable(schedule: &mut Schedule, steps: &[Step]) -> Vec<String> {
        std::iter::from_fn(|| schedule.next(steps).map(|(_, step)| step.id.clone())).collect()
    }

    #[test]
    fn a_step_starts_once_all_it_needs_is_done() {
        let steps = [step("a", &[]), step("b", &["a"]), step("c", &["a", "b"]), step("d", &["stands already"])];
        let mut schedule = Schedule::new(&steps);
        assert_eq!(startable(&mut schedule, &steps), ["a", "d"]);
        schedule.done(3);
        assert!(startable(&mut schedule, &steps).is_empty());
        schedule.done(0);
        assert_eq!(startable(&mut schedule, &steps), ["b"]);
        schedule.done(1);
        assert_eq!(startable(&mut schedule, &steps), ["c"]);
        assert_eq!(schedule.never_started().count(), 0);
    }

    #[test]
    fn a_circle_never_starts() {
        let steps = [step("a", &["b"]), step("b", &["a"]), step("c", &["c"])];
        let mut schedule = Schedule::new(&steps);
        assert!(startable(&mut schedule, &steps).is_empty());
        assert_eq!(schedule.never_started().count(), 3);
    }
}
