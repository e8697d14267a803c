//! Which step may start next: of those that may, the one with the most work behind it. Pure.

use crate::plan::{Step, Target};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The work of a release, in objects written: helm is started for it and its pods are waited for.
const RELEASE_WORK: usize = 20;

/// The state of every step of a plan.
pub(super) struct Schedule {
    /// The steps that wait, the one with the most work behind it first; of equals, in the order of the plan.
    waiting: BTreeSet<(Reverse<usize>, usize)>,
    undone: BTreeSet<String>,
    ids: Vec<String>,
}

impl Schedule {
    pub(super) fn new(steps: &[Step]) -> Self {
        let ids: Vec<String> = steps.iter().map(|step| step.id.clone()).collect();
        let waiting = chains(steps).into_iter().map(Reverse).zip(0..).collect();
        Schedule { waiting, undone: ids.iter().cloned().collect(), ids }
    }

    /// The step that is to start next, of those that wait and whose needs are all done.
    /// A need that is no step of the plan is satisfied already.
    fn first_free(&self, steps: &[Step]) -> Option<(Reverse<usize>, usize)> {
        let free = |(_, index): &(Reverse<usize>, usize)| {
            steps.get(*index).is_some_and(|step| step.needs.iter().all(|need| !self.undone.contains(need)))
        };
        self.waiting.iter().copied().find(free)
    }

    /// Whether a step may start.
    pub(super) fn has_next(&self, steps: &[Step]) -> bool {
        self.first_free(steps).is_some()
    }

    /// The step that is to start next; it counts as started from now on.
    pub(super) fn next<'a>(&mut self, steps: &'a [Step]) -> Option<(usize, &'a Step)> {
        let next = self.first_free(steps)?;
        self.waiting.remove(&next);
        steps.get(next.1).map(|step| (next.1, step))
    }

    /// The step is done: what needs it may start.
    pub(super) fn done(&mut self, index: usize) {
        if let Some(id) = self.ids.get(index) {
            self.undone.remove(id);
        }
    }

    /// The steps that were never started.
    pub(super) fn never_started(&self) -> impl Iterator<Item = usize> {
        let waiting: BTreeSet<usize> = self.waiting.iter().map(|(_, index)| *index).collect();
        waiting.into_iter()
    }
}

/// The work in the longest chain of steps that begins with each step. What is in a circle or after one is never
/// started, and counts as nothing.
fn chains(steps: &[Step]) -> Vec<usize> {
    let mut dependents: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        for need in &step.needs {
            dependents.entry(need).or_default().push(index);
        }
    }
    let mut chains = vec![None; steps.len()];
    // The last steps of all chains first: each round those whose dependents are all known.
    loop {
        let mut is_settled = true;
        for (index, step) in steps.iter().enumerate().rev() {
            let behind = dependents.get(step.id.as_str()).map(Vec::as_slice).unwrap_or_default();
            let known: Option<Vec<usize>> = behind.iter().map(|other| chains.get(*other).copied().flatten()).collect();
            if let (Some(chain @ None), Some(known)) = (chains.get_mut(index), known) {
                *chain = Some(work(step) + known.into_iter().max().unwrap_or_default());
                is_settled = false;
            }
        }
        if is_settled {
            return chains.into_iter().map(Option::unwrap_or_default).collect();
        }
    }
}

fn work(step: &Step) -> usize {
    match step.target {
        Target::Release { .. } => RELEASE_WORK,
        _ => 1,
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
    fn what_has_most_work_behind_it_starts_first() {
        let steps = [
            step("alone", &[]),
            step("first of two", &[]),
            step("first of three", &[]),
            step("b", &["first of two"]),
            step("c", &["first of three"]),
            step("d", &["c"]),
        ];
        let mut schedule = Schedule::new(&steps);
        assert_eq!(startable(&mut schedule, &steps), ["first of three", "first of two", "alone"]);
    }

    #[test]
    fn a_circle_never_starts() {
        let steps = [step("a", &["b"]), step("b", &["a"]), step("c", &["c"])];
        let mut schedule = Schedule::new(&steps);
        assert!(startable(&mut schedule, &steps).is_empty());
        assert_eq!(schedule.never_started().count(), 3);
    }
}
