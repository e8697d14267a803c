//! What a deploy leaves behind of itself: who did what when, with what, and how it ended. Pure.

mod encode;
mod intent;

pub use encode::{LONGEST_PART, decode_effect, decode_intent, encode_effect, encode_intent};
pub use intent::{ChartSource, Intent, RecordedChart};

use crate::event::Event;
use crate::object::ObjectRef;
use crate::plan::{Action, Inventory, InventoryObject, ObservedRelease, Plan, Reason, Step, Target};
use crate::render::Bundle;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How many records are kept; the last verified one is kept besides.
pub const KEPT: usize = 10;
/// Characters kept of why a deploy failed.
const LONGEST_WHY: usize = 2000;

/// What a list of records shows; it stands in the metadata, so that nothing else must be read for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Its number; each deploy has the next one.
    pub number: u64,
    /// Version of the program.
    pub program: String,
    /// Who did it: `alice@workstation, process 4711`, as the holder of the lock.
    pub holder: String,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What it was for.
    pub trigger: Trigger,
    /// The plan in one line.
    pub summary: String,
    /// The releases that it changed.
    pub releases: Vec<ChangedRelease>,
    /// The releases that it was limited to; empty where it was for all of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub limited_to: BTreeSet<String>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What was put back after it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reversal: Option<Reversal>,
}

impl Head {
    /// Whether what it holds was seen to work as a whole.
    fn is_proven(&self) -> bool {
        self.outcome == Outcome::Verified && self.limited_to.is_empty()
    }

    /// Who did it, without the process.
    pub fn who(&self) -> &str {
        self.holder.split_once(", process ").map_or(&self.holder, |(who, _)| who)
    }
}

/// What a deploy was for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Trigger {
    /// To bring about a configuration.
    Deploy,
    /// To bring back what a record holds.
    Rollback {
        /// Its number.
        to: u64,
    },
}

impl fmt::Display for Trigger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::Deploy => formatter.write_str("deploy"),
            Trigger::Rollback { to } => write!(formatter, "rollback to {to}"),
        }
    }
}

/// How a deploy ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Outcome {
    /// It did not end yet, or was killed: who holds the lock tells.
    Running,
    /// Everything is done and ready; whether it works was not asked, or could not be.
    Applied,
    /// And it was verified.
    Verified,
    /// It failed.
    Failed {
        /// Why: the chain of causes.
        why: String,
    },
    /// It was stopped, or killed.
    Interrupted,
}

impl Outcome {
    /// That of a deploy that failed with `chain`, its causes from the outermost one.
    pub fn failed(chain: &[String]) -> Self {
        Outcome::Failed { why: chain.join(": ").chars().take(LONGEST_WHY).collect() }
    }

    /// The one word for it, also the value of a label.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Running => "running",
            Outcome::Applied => "applied",
            Outcome::Verified => "verified",
            Outcome::Failed { .. } => "failed",
            Outcome::Interrupted => "interrupted",
        }
    }
}

/// What `--on-failure` put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reversal {
    /// The record that it was put back to; `None` where there is no verified one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Ids of the steps that were reversed.
    pub steps: Vec<String>,
    /// Why not all of it could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl fmt::Display for Reversal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.join(", ");
        if let (Some(why), true) = (&self.failure, self.steps.is_empty()) {
            let to = self.to.map(|to| format!(" to record {to}")).unwrap_or_default();
            return write!(formatter, "nothing could be put back{to}: {why}");
        }
        match self.to {
            Some(to) if self.steps.is_empty() => write!(formatter, "nothing had to be put back to record {to}")?,
            Some(to) => write!(formatter, "put back to record {to}: {steps}")?,
            None if self.steps.is_empty() => formatter.write_str("there is no verified record to go back to")?,
            None => write!(formatter, "taken away again: {steps}")?,
        }
        match &self.failure {
            Some(why) => write!(formatter, "; not all of it could be: {why}"),
            None => Ok(()),
        }
    }
}

/// A release that a deploy changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedRelease {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Version of the chart before; `None` where there was none or nobody recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Version of the chart since; `None` where the release was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What came of a deploy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// What stood of ours when it ended.
    pub inventory: Inventory,
    /// The releases as they stood.
    pub releases: Vec<RecordedRelease>,
    /// The steps that were done, in the order in which they ended.
    pub steps: Vec<DoneStep>,
}

/// A release as a deploy left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedRelease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Version of the chart that it was to have.
    pub chart_version: String,
    /// Helm's revision; `None` where the deploy was killed before anybody read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoneStep {
    /// Its id.
    pub id: String,
    /// What happened.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// What it came to.
    pub summary: String,
}

impl Effect {
    /// What is known before the first step of a deploy of `bundle` on what `before` left: should it be killed,
    /// the next one still knows what may stand.
    pub fn expected(bundle: &Bundle, before: &Effect) -> Self {
        let releases = bundle.releases.iter().map(|release| RecordedRelease {
            namespace: release.namespace.clone(),
            name: release.name.clone(),
            chart_version: release.chart.version.clone(),
            revision: None,
        });
        let is_left = |known: &&RecordedRelease| {
            !bundle.releases.iter().any(|one| (&one.namespace, &one.name) == (&known.namespace, &known.name))
        };
        Effect {
            inventory: Inventory::of(bundle).and(before.inventory.clone()),
            releases: releases.chain(before.releases.iter().filter(is_left).cloned()).collect(),
            steps: Vec::new(),
        }
    }

    /// The same as it stands once the `steps` were done: `uids` are those of its objects that are there,
    /// `releases` the newest revisions by namespace and name.
    #[must_use]
    pub fn seen(
        mut self,
        uids: &BTreeMap<ObjectRef, String>,
        releases: &BTreeMap<(String, String), ObservedRelease>,
        steps: Vec<DoneStep>,
    ) -> Self {
        self.inventory.objects.retain_mut(|object| match (uids.get(&object.reference), &object.uid) {
            (Some(live), None) => {
                object.uid = Some(live.clone());
                true
            }
            (Some(live), Some(recorded)) => live == recorded,
            (None, _) => false,
        });
        let revision = |namespace: &str, name: &str| {
            releases.get(&(namespace.to_owned(), name.to_owned())).map(|seen| seen.revision)
        };
        self.inventory.releases.retain(|release| revision(&release.namespace, &release.name).is_some());
        for release in &mut self.releases {
            release.revision = revision(&release.namespace, &release.name);
        }
        self.releases.retain(|release| release.revision.is_some());
        self.steps = steps;
        self
    }

    /// The same with those `open` objects of `expected` that were not seen: what was asked for last may still be done.
    #[must_use]
    pub fn with_open(mut self, expected: Inventory, open: &BTreeSet<ObjectRef>) -> Self {
        let seen: BTreeSet<ObjectRef> = self.inventory.objects.iter().map(|object| object.reference.clone()).collect();
        let is_open = |reference: &ObjectRef| open.contains(reference) && !seen.contains(reference);
        let missing = expected.objects.into_iter().filter(|object| is_open(&object.reference));
        let missing = missing.map(|object| InventoryObject { uid: None, ..object });
        self.inventory.objects.extend(missing);
        self
    }
}

/// The releases that `plan` changes, where `before` says what stood.
pub fn changed_releases(plan: &Plan, before: &Effect) -> Vec<ChangedRelease> {
    let from = |namespace: &str, name: &str| {
        let known = before.releases.iter().find(|known| known.namespace == namespace && known.name == name);
        known.map(|known| known.chart_version.clone())
    };
    let changed = |step: &Step| {
        let (namespace, name, to) = match &step.target {
            Target::Release { release } => (&release.namespace, &release.name, Some(release.chart.version.clone())),
            Target::UnwantedRelease { namespace, name } => (namespace, name, None),
            _ => return None,
        };
        let from = if step.action == Action::Create { None } else { from(namespace, name) };
        Some(ChangedRelease { name: name.clone(), reason: step.reason.to_string(), from, to })
    };
    plan.steps.iter().filter_map(changed).collect()
}

/// Those of `steps` that `events` say were done, in the order in which they ended.
pub fn done_steps(steps: &[Step], events: &[Event]) -> Vec<DoneStep> {
    let done = |event: &Event| {
        let Event::StepFinished { step: id, summary } = event else { return None };
        let step = steps.iter().find(|step| step.id == *id)?;
        let (id, action, reason) = (step.id.clone(), step.action, step.reason.clone());
        Some(DoneStep { id, action, reason, summary: summary.clone() })
    };
    events.iter().filter_map(done).collect()
}

/// The objects of those of `steps` that `events` say were begun and did not get done.
pub fn open_objects(steps: &[Step], events: &[Event]) -> BTreeSet<ObjectRef> {
    let (started, done) = (started_steps(steps, events), done_steps(steps, events));
    let open = steps.iter().filter(|step| started.contains(&step.id) && !done.iter().any(|done| done.id == step.id));
    let objects = open.filter_map(|step| match &step.target {
        Target::Object { manifest } => Some(manifest.reference()),
        _ => None,
    });
    objects.collect()
}

/// Ids of those of `steps` that `events` say were begun.
pub fn started_steps(steps: &[Step], events: &[Event]) -> BTreeSet<String> {
    let started = events.iter().filter_map(|event| match event {
        Event::StepStarted { step } => Some(step),
        _ => None,
    });
    started.filter(|id| steps.iter().any(|step| step.id == **id)).cloned().collect()
}

/// The numbers among `heads` that are not kept.
pub fn dropped(heads: &[Head]) -> Vec<u64> {
    let mut newest_first: Vec<&Head> = heads.iter().collect();
    newest_first.sort_by_key(|head| std::cmp::Reverse(head.number));
    let last_verified = newest_first.iter().find(|head| head.is_proven()).map(|head| head.number);
    newest_first
        .into_iter()
        .skip(KEPT)
        .map(|head| head.number)
        .filter(|number| Some(*number) != last_verified)
        .collect()
}

/// The newest record before `number` that was verified as a whole: of a limited deploy the rest never stood.
pub fn verified_before(heads: &[Head], number: u64) -> Option<&Head> {
    let verified = heads.iter().filter(|head| head.number < number && head.is_proven());
    verified.max_by_key(|head| head.number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::object::Manifest;
    use crate::plan::InventoryRelease;
    use serde_json::json;

    pub(super) fn head(number: u64, outcome: Outcome) -> Head {
        Head {
            number,
            program: "0.1.0".to_owned(),
            holder: "alice@workstation, process 4711".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            ended: None,
            trigger: Trigger::Rollback { to: 3 },
            summary: "1 to create".to_owned(),
            releases: Vec::new(),
            limited_to: BTreeSet::new(),
            outcome,
            reversal: None,
        }
    }

    #[test]
    fn a_head_is_readable_json_and_comes_back() {
        let failed = head(7, Outcome::failed(&["cannot wait".to_owned(), "no image".to_owned()]));
        let value = serde_json::to_value(&failed).unwrap();
        assert_eq!((&value["outcome"], &value["why"]), (&json!("failed"), &json!("cannot wait: no image")));
        assert_eq!(value["trigger"], json!({"kind": "rollback", "to": 3}));
        assert_eq!(serde_json::from_value::<Head>(value).unwrap(), failed);
        assert_eq!(failed.who(), "alice@workstation");
        let long = Outcome::failed(&["é".repeat(3000)]);
        assert!(matches!(long, Outcome::Failed { why } if why.chars().count() == 2000));
    }

    #[test]
    fn ten_are_kept_and_the_last_verified_one_besides() {
        let heads = |verified: &[u64]| -> Vec<Head> {
            let outcome = |number| if verified.contains(&number) { Outcome::Verified } else { Outcome::Applied };
            (1..=13).map(|number| head(number, outcome(number))).collect()
        };
        assert_eq!(dropped(&heads(&[12])), [3, 2, 1]);
        assert_eq!(dropped(&heads(&[1, 2])), [3, 1]);
        assert_eq!(dropped(&heads(&[]))[..], [3, 2, 1]);
        assert_eq!(verified_before(&heads(&[2, 5, 9]), 9).unwrap().number, 5);
        assert!(verified_before(&heads(&[9]), 9).is_none());
        let mut limited = heads(&[2, 5]);
        limited[4].limited_to.insert("loki".to_owned());
        assert_eq!(verified_before(&limited, 9).unwrap().number, 2);
        assert_eq!(dropped(&limited), [3, 1]);
    }

    #[test]
    fn what_is_gone_or_was_made_anew_by_somebody_leaves_the_inventory() {
        let object = |name: &str, uid: Option<&str>| InventoryObject {
            reference: ObjectRef::namespaced("v1", "ConfigMap", "m", name),
            uid: uid.map(str::to_owned),
            late: false,
        };
        let release =
            |name: &str| InventoryRelease { namespace: "m".to_owned(), name: name.to_owned(), needs: Vec::new() };
        let recorded = |name: &str| RecordedRelease {
            namespace: "m".to_owned(),
            name: name.to_owned(),
            chart_version: "1".to_owned(),
            revision: None,
        };
        let expected = Effect {
            inventory: Inventory {
                objects: vec![
                    object("new", None),
                    object("kept", Some("k")),
                    object("other", Some("o")),
                    object("gone", None),
                ],
                releases: vec![release("a"), release("b")],
            },
            releases: vec![recorded("a"), recorded("b")],
            steps: Vec::new(),
        };
        let uids = [("new", "n"), ("kept", "k"), ("other", "x")]
            .map(|(name, uid)| (object(name, None).reference, uid.to_owned()))
            .into();
        let seen = ObservedRelease { revision: 4, ..ObservedRelease::default() };
        let effect = expected.seen(&uids, &[(("m".to_owned(), "a".to_owned()), seen)].into(), Vec::new());
        assert_eq!(effect.inventory.objects, [object("new", Some("n")), object("kept", Some("k"))]);
        assert_eq!(effect.inventory.releases, [release("a")]);
        assert_eq!(effect.releases, [RecordedRelease { revision: Some(4), ..recorded("a") }]);
    }

    #[test]
    fn what_was_cut_off_stays_in_the_inventory_as_it_may_still_come() {
        let object = |name: &str, uid: Option<&str>| InventoryObject {
            reference: ObjectRef::namespaced("v1", "ConfigMap", "m", name),
            uid: uid.map(str::to_owned),
            late: false,
        };
        let step = |name: &str| Step {
            id: name.to_owned(),
            action: Action::Create,
            reason: Reason::New,
            needs: Vec::new(),
            changes: Vec::new(),
            target: Target::Object {
                manifest: Manifest(
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "m"}}),
                ),
            },
        };
        let steps: Vec<Step> = ["done", "cut", "changed", "never"].map(step).into();
        let started = |name: &str| Event::StepStarted { step: name.to_owned() };
        let finished = Event::StepFinished { step: "done".to_owned(), summary: "created".to_owned() };
        let open = open_objects(&steps, &[started("done"), started("cut"), finished, started("changed")]);
        assert_eq!(open.iter().map(|reference| reference.name.as_str()).collect::<Vec<_>>(), ["changed", "cut"]);

        let names = |objects: &[InventoryObject]| -> Vec<(String, Option<String>)> {
            objects.iter().map(|object| (object.reference.name.clone(), object.uid.clone())).collect()
        };
        let expected = Inventory {
            objects: vec![
                object("done", None),
                object("cut", None),
                object("changed", Some("gone")),
                object("never", None),
            ],
            releases: Vec::new(),
        };
        let seen = Effect {
            inventory: Inventory { objects: vec![object("done", Some("d"))], releases: Vec::new() },
            ..Effect::default()
        };
        let told = names(&seen.with_open(expected, &open).inventory.objects);
        let expected = [("done", Some("d")), ("cut", None), ("changed", None)];
        assert_eq!(told, expected.map(|(name, uid)| (name.to_owned(), uid.map(str::to_owned))));
    }

    #[test]
    fn what_was_put_back_is_told_and_what_could_not_be() {
        let told = |to, steps: &[&str], failure: Option<&str>| {
            let steps = steps.iter().map(|step| (*step).to_owned()).collect();
            Reversal { to, steps, failure: failure.map(str::to_owned) }.to_string()
        };
        assert_eq!(told(Some(3), &["release loki"], None), "put back to record 3: release loki");
        assert_eq!(told(Some(3), &["a"], Some("no")), "put back to record 3: a; not all of it could be: no");
        assert_eq!(told(Some(3), &[], None), "nothing had to be put back to record 3");
        assert_eq!(
            told(Some(3), &[], Some("the chart is gone")),
            "nothing could be put back to record 3: the chart is gone"
        );
        assert_eq!(told(None, &[], Some("no answer")), "nothing could be put back: no answer");
        assert_eq!(told(None, &["a"], None), "taken away again: a");
        assert_eq!(told(None, &[], None), "there is no verified record to go back to");
    }
}
