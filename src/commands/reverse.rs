//! What `--on-failure` puts back of a deploy that failed.

use super::change::Change;
use super::plan as plan_command;
use super::rollback::Recorded;
use crate::cli::OnFailure;
use crate::cluster::observe::observe;
use crate::cluster::records::{Past, effect};
use crate::error::chain_of;
use crate::event::{Event, Events};
use crate::plan::bookkeeping::helm_writes;
use crate::plan::reversal::{first_installs, reversal};
use crate::plan::{Bookkeeping, Plan, plan};
use crate::record::{Effect, Head, Reversal, verified_before};
use crate::render::Bundle;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long what was cut off may take until it is done, or is not done any more.
const SETTLES: Duration = Duration::from_secs(3);

/// A run that failed.
pub(super) struct Failed<'r> {
    pub(super) change: &'r Change<'r>,
    /// What it was to do, all of it.
    pub(super) plan: &'r Plan,
    /// Ids of the steps that it began.
    pub(super) started: BTreeSet<String>,
    pub(super) past: &'r Past,
    /// What may stand since.
    pub(super) expected: Effect,
    pub(super) events: Events,
    pub(super) cancel: CancellationToken,
}

impl Failed<'_> {
    /// Puts back what the run did. Returns what came of it, and what may stand then.
    pub(super) async fn reverse(self, on_failure: OnFailure) -> (Reversal, Effect) {
        let verified = verified_before(&self.past.heads, u64::MAX);
        let mut told = Reversal { to: verified.map(|head| head.number), steps: Vec::new(), failure: None };
        let mut expected = self.expected.clone();
        if let Err(error) = self.attempt(on_failure, verified, &mut told, &mut expected).await {
            told.failure = Some(chain_of(&error).join(": "));
        }
        self.events.emit(Event::Warning { message: told.to_string() });
        (told, expected)
    }

    async fn attempt(
        &self,
        on_failure: OnFailure,
        verified: Option<&Head>,
        told: &mut Reversal,
        expected: &mut Effect,
    ) -> anyhow::Result<()> {
        let Change { session, target, config, .. } = self.change;
        let namespace = &config.namespaces.monitoring;
        let bundle = match verified {
            Some(head) => Recorded::read(session, target, namespace, self.past, head.number).await?.bundle,
            // Nothing is known that could be put back; what is new can still be taken away.
            None => Bundle::default(),
        };
        if session.cut_off.is_raised() {
            // What was asked for last may still be done: then it is to be seen.
            tokio::time::sleep(SETTLES).await;
        }
        let standing = effect(&target.cluster, self.expected.clone(), Vec::new()).await?;
        let observed = observe(&target.cluster, &bundle, standing.inventory).await?;
        let whole = plan(&bundle, &observed);
        let mut back = reversal(&whole, self.plan, &self.started, on_failure == OnFailure::Remove);
        if on_failure == OnFailure::Rollback {
            let kept = first_installs(&whole, self.plan, &self.started);
            if !kept.is_empty() {
                let message = format!("stays, as it is new (`--on-failure remove` takes it away): {}", kept.join(", "));
                self.events.emit(Event::Warning { message });
            }
        }
        if back.is_empty() {
            return Ok(());
        }
        *expected = Effect::expected(&bundle, expected);
        // The record was written once already, and is written once more.
        back.bookkeeping = Bookkeeping { record: 1, helm: helm_writes(&back, &observed) };
        session.terminal.say(&format!("Putting back what failed. {}", plan_command::text(&back, config, target)));
        told.steps = back.steps.iter().map(|step| step.id.clone()).collect();
        let deadline = self.change.deadline();
        self.change.apply(&back, deadline, self.cancel.clone(), self.events.clone()).await?;
        Ok(())
    }
}
