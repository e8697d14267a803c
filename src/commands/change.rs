//! One change of one cluster, as `deploy` and `rollback` make it: preflight, lock, plan again, record, apply,
//! wait, verify, record how it ended.

use super::plan::{self as plan_command, Planned};
use super::reverse::Failed;
use super::session::{Session, Target};
use super::{locked, verify as verify_command};
use crate::checks::Report;
use crate::cli::{ChangeArgs, OnFailure};
use crate::cluster::apply::{Applied, ApplyContext, apply};
use crate::cluster::lock::{Lock, own_name};
use crate::cluster::preflight::{Fit, preflight};
use crate::cluster::records::{begin, definitions, effect, end};
use crate::config::Config;
use crate::error::{Failure, Kind, chain_of, failure_of};
use crate::event::{self, Event, Events, Stage, Tee};
use crate::helm::run::ended;
use crate::object::{Manifest, ObjectRef};
use crate::plan::{Plan, moved, narrow};
use crate::record::{
    DoneStep, Effect, Head, Outcome, Reversal, Trigger, changed_releases, done_steps, open_objects, started_steps,
};
use crate::render::Bundle;
use jiff::Timestamp;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the end of a record may take to write: it must not keep a person who interrupted.
const END_PATIENCE: Duration = Duration::from_secs(15);

/// One change of one cluster.
pub(super) struct Change<'r> {
    pub(super) session: &'r Session<'r>,
    pub(super) options: &'r ChangeArgs,
    pub(super) config: &'r Config,
    pub(super) bundle: &'r Bundle,
    pub(super) target: &'r Target,
    pub(super) trigger: Trigger,
    pub(super) on_failure: OnFailure,
    /// What is recorded of it.
    pub(super) intent: Vec<Vec<u8>>,
    /// Whether somebody has seen the plan, and agreed to it alone.
    pub(super) is_agreed: bool,
    /// The releases that it is limited to.
    pub(super) limit: Option<&'r BTreeSet<String>>,
}

/// What came of a change.
#[derive(Default)]
pub(super) struct Changed {
    pub(super) applied: Applied,
    pub(super) report: Option<Report>,
    /// Number of its record; `None` where another deploy had done everything already.
    pub(super) record: Option<u64>,
    /// What was put back after it failed.
    pub(super) reversal: Option<Reversal>,
}

impl Change<'_> {
    /// Carries out `shown` under the lock, and verifies.
    pub(super) async fn make(&self, shown: &Plan) -> anyhow::Result<Changed> {
        let Change { session, options, config, target, .. } = self;
        let fit = self.preflight(shown).await?;
        session.events.emit(Event::StageStarted { stage: Stage::Apply });
        let namespace = &config.namespaces.monitoring;
        // The lock and the records stand in it.
        let first = BTreeSet::from([ObjectRef::cluster_scoped("v1", "Namespace", namespace).to_string()]);
        let events = Arc::new(Tee::new(session.events.clone()));
        let deadline = self.deadline();
        let applied = self.apply(&shown.only(&first), deadline, session.cancel.clone(), events.clone()).await?;
        let lock = locked::take(session, target, namespace, options.wait_lock).await?;
        // From now on: the time in the queue is not that of applying.
        // In a place of its own: a build without optimisation would need more stack than there is.
        let work = Box::pin(self.under_lock(shown, fit, applied, self.deadline(), &lock, events)).await;
        locked::give_back(session, lock, work).await
    }

    async fn under_lock(
        &self,
        shown: &Plan,
        fit: Fit,
        mut applied: Applied,
        deadline: Instant,
        lock: &Lock,
        events: Arc<Tee>,
    ) -> anyhow::Result<Changed> {
        let session = self.session;
        let (Planned { mut plan, past, .. }, Fit { rendered, .. }, is_as_shown) =
            self.again(shown, fit, &applied).await?;
        narrow(&mut plan, self.bundle, &rendered);
        if plan.is_empty() && applied.done.is_empty() {
            let report = self.judged("nothing was changed").await?;
            return Ok(Changed { report, ..Changed::default() });
        }
        let whole = if is_as_shown { shown } else { &plan };
        let expected = Effect::expected(self.bundle, &past.effect);
        let mut head = Head {
            number: past.next_number(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            holder: own_name(),
            started: Timestamp::now(),
            ended: None,
            trigger: self.trigger.clone(),
            summary: whole.summary(),
            limited_to: self.limit.cloned().unwrap_or_default(),
            releases: changed_releases(&plan, &past.effect),
            outcome: Outcome::Running,
            reversal: None,
        };
        let namespace = &self.config.namespaces.monitoring;
        let lost = lock.lost();
        tokio::select! {
            biased;
            begun = Box::pin(begin(&self.target.cluster, namespace, &past, &head, &self.intent, &expected)) => begun?,
            // Only what is not answered is cut short by it: a record is written in a moment.
            () = ended(&lost) => {
                session.cut_off.raise();
                return Err(super::interrupted("nothing was changed"));
            }
        }
        let work = async {
            applied.done.extend(self.apply(&plan, deadline, lock.lost(), events.clone()).await?.done);
            let summary = format!("{} steps done", applied.done.len());
            session.events.emit(Event::StageFinished { stage: Stage::Apply, summary });
            Ok::<_, anyhow::Error>(())
        };
        let work = work.await;
        let judged = match &work {
            Ok(()) => self.judged("the plan is applied but not verified").await,
            Err(_) => Ok(None),
        };
        head.outcome = outcome(&work, &judged);
        head.ended = Some(Timestamp::now());
        let (seen, steps) = (events.events(), &whole.steps);
        let open = if session.cut_off.is_raised() { open_objects(steps, &seen) } else { BTreeSet::new() };
        self.finish(&head, expected.clone(), done_steps(steps, &seen), &open).await;
        if let Outcome::Failed { why } = &head.outcome
            && self.on_failure != OnFailure::Keep
            && !lock.lost().is_cancelled()
        {
            // What is to be known of it stands in the record by now: the traces in the cluster go.
            session.events.emit(Event::Warning { message: format!("the deploy failed: {why}") });
            let failed = Failed {
                change: self,
                plan: whole,
                started: started_steps(steps, &seen),
                past: &past,
                expected,
                events: session.events.clone(),
                cancel: lock.lost(),
            };
            let (reversal, expected) = Box::pin(failed.reverse(self.on_failure)).await;
            head.reversal = Some(reversal);
            head.ended = Some(Timestamp::now());
            self.finish(&head, expected, done_steps(steps, &seen), &open).await;
        }
        work?;
        Ok(Changed { applied, report: judged?, record: Some(head.number), reversal: head.reversal })
    }

    /// When applying and waiting must be done that begin now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.options.timeout.unwrap_or(self.config.deploy.timeout_seconds))
    }

    /// Writes how it ended; the `open` objects may still come. Where that fails, the deploy itself did not.
    async fn finish(&self, head: &Head, expected: Effect, steps: Vec<DoneStep>, open: &BTreeSet<ObjectRef>) {
        let Change { target, config, session, .. } = self;
        let written = async {
            let inventory = expected.inventory.clone();
            let effect = effect(&target.cluster, expected, steps).await?.with_open(inventory, open);
            end(&target.cluster, &config.namespaces.monitoring, head, &effect).await
        };
        let why = match tokio::time::timeout(END_PATIENCE, written).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => chain_of(&error).join(": "),
            Err(_) => format!("it took longer than {} s", END_PATIENCE.as_secs()),
        };
        let message = format!("the end of record {} could not be written: {why}", head.number);
        session.events.emit(Event::Warning { message });
    }

    async fn preflight(&self, plan: &Plan) -> anyhow::Result<Fit> {
        let Change { session, config, bundle, target, .. } = self;
        let renders = session.renders(target)?;
        session.events.emit(Event::StageStarted { stage: Stage::Preflight });
        let fit = session.unless_interrupted(preflight(&target.cluster, &renders, bundle, plan, config)).await?;
        fit.skipped.iter().for_each(|message| session.events.emit(Event::Note { message: message.clone() }));
        session.events.emit(Event::StageFinished {
            stage: Stage::Preflight,
            summary: "cluster, permissions, Secrets, storage, room and helm are fit".to_owned(),
        });
        Ok(fit)
    }

    /// The plan as the cluster is now that nobody else deploys, and whether it is fit where that changed.
    async fn again(&self, shown: &Plan, fit: Fit, applied: &Applied) -> anyhow::Result<(Planned, Fit, bool)> {
        let planned = async {
            let bundle = self.standing_bundle().await?;
            plan_command::make(self.session, self.target, self.config, &bundle, self.limit).await
        };
        let planned = self.session.unless_interrupted(planned).await?;
        let done: BTreeSet<String> = applied.done.iter().map(|done| done.id.clone()).collect();
        let moved = moved(&shown.outlines(), &planned.plan, &done);
        if moved.is_empty() {
            return Ok((planned, fit, true));
        }
        if self.is_agreed {
            unmoved(moved)?;
        }
        let message = format!("the cluster changed while the lock was waited for: now {}", planned.plan.summary());
        self.session.events.emit(Event::Note { message });
        let fit = self.preflight(&planned.plan).await?;
        Ok((planned, fit, false))
    }

    /// What is to stand. A rollback leaves definitions as they are, and another deploy may have changed them.
    async fn standing_bundle(&self) -> anyhow::Result<Cow<'_, Bundle>> {
        if !matches!(self.trigger, Trigger::Rollback { .. }) {
            return Ok(Cow::Borrowed(self.bundle));
        }
        let references: Vec<ObjectRef> = self.bundle.crds.iter().map(Manifest::reference).collect();
        let crds = definitions(&self.target.cluster, &references).await?;
        Ok(Cow::Owned(Bundle { crds, ..self.bundle.clone() }))
    }

    pub(super) async fn apply(
        &self,
        plan: &Plan,
        deadline: Instant,
        cancel: CancellationToken,
        events: Events,
    ) -> anyhow::Result<Applied> {
        if plan.is_empty() {
            return Ok(Applied::default());
        }
        let Change { session, options, config, target, .. } = self;
        let context = ApplyContext {
            cluster: target.cluster.clone(),
            helm: session.helm(target)?,
            events,
            deadline,
            release_timeouts: (config.deploy.release_timeouts.iter())
                .filter(|_| options.timeout.is_none())
                .map(|(release, seconds)| (release.clone(), Duration::from_secs(*seconds)))
                .collect(),
            fail_after: Duration::from_secs(options.fail_after.unwrap_or(config.deploy.fail_after_seconds)),
            concurrency: config.deploy.concurrency,
            cancel,
            cut_off: session.cut_off.clone(),
        };
        apply(plan, context).await
    }

    /// Verifies, unless it is not wanted.
    pub(super) async fn judged(&self, stands: &str) -> anyhow::Result<Option<Report>> {
        let Change { session, options, config, bundle, target, .. } = self;
        if options.no_verify {
            return Ok(None);
        }
        let choice = verify_command::Choice::default();
        let judged = verify_command::judge(session, config, bundle, target, &choice);
        session.or_interrupted(judged, stands).await.map(Some)
    }
}

/// How a change ended that was carried out by `work` and then `judged`.
fn outcome(work: &anyhow::Result<()>, judged: &anyhow::Result<Option<Report>>) -> Outcome {
    let kind = |error: &anyhow::Error| failure_of(error).map(|failure| failure.kind);
    match (work, judged) {
        (Err(error), _) if kind(error) == Some(Kind::Interrupted) => Outcome::Interrupted,
        (Err(error), _) => Outcome::failed(&chain_of(error)),
        (Ok(()), Ok(Some(report))) => match report.verdict() {
            Ok(()) => Outcome::Verified,
            Err(failure) if failure.kind == Kind::Negative => {
                let failed = report.results.iter().filter(|result| result.outcome == event::Outcome::Fail);
                let reasons: Vec<String> = failed
                    .map(|result| {
                        let seen = [&[result.reason.clone()][..], &result.evidence].concat();
                        format!("{}: {}", result.id, seen.join(", "))
                    })
                    .collect();
                let count = format!("{} of {} checks failed", reasons.len(), report.results.len());
                Outcome::failed(&[count, reasons.join("; ")])
            }
            Err(_) => Outcome::Applied,
        },
        (Ok(()), _) => Outcome::Applied,
    }
}

/// Refuses when anything moved.
pub(super) fn unmoved(moved: Vec<String>) -> anyhow::Result<()> {
    if moved.is_empty() {
        return Ok(());
    }
    let message = format!("the cluster is not as the plan saw it:\n  {}", moved.join("\n  "));
    Err(Failure::new(Kind::Refused, message).hint("drivemaster-mon plan shows what would change now").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::runner::Summary;
    use crate::event::CheckResult;

    fn report(outcome: event::Outcome) -> Report {
        let result = CheckResult {
            id: "workloads/ready".to_owned(),
            title: String::new(),
            outcome,
            reason: "1 of 2 not ready".to_owned(),
            evidence: vec!["`loki`: CrashLoopBackOff".to_owned()],
            hint: None,
            doc: String::new(),
            unknown_allowed: false,
        };
        let count = |wanted: event::Outcome| usize::from(outcome == wanted);
        let summary = Summary {
            failed: count(event::Outcome::Fail),
            unknown: count(event::Outcome::Unknown),
            ..Summary::default()
        };
        Report { results: vec![result], summary }
    }

    #[test]
    fn how_it_ended_is_what_was_seen_of_it() {
        let judged = |outcome| super::outcome(&Ok(()), &Ok(Some(report(outcome))));
        assert_eq!(judged(event::Outcome::Pass), Outcome::Verified);
        let why = "1 of 1 checks failed: workloads/ready: 1 of 2 not ready, `loki`: CrashLoopBackOff".to_owned();
        assert_eq!(judged(event::Outcome::Fail), Outcome::Failed { why });
        // Nobody could say that it does not work.
        assert_eq!(judged(event::Outcome::Unknown), Outcome::Applied);
        assert_eq!(super::outcome(&Ok(()), &Ok(None)), Outcome::Applied);
        let error = |kind| anyhow::Error::from(Failure::new(kind, "stopped"));
        assert_eq!(super::outcome(&Ok(()), &Err(error(Kind::Interrupted))), Outcome::Applied);
        let stopped = |kind| Err(error(kind));
        assert_eq!(super::outcome(&stopped(Kind::Interrupted), &Ok(None)), Outcome::Interrupted);
        assert!(matches!(super::outcome(&stopped(Kind::Unhealthy), &Ok(None)), Outcome::Failed { .. }));
    }
}
