//! Carries out a plan: its steps as a parallel graph, each started once what it needs is done.

mod certificate;
mod definition;
mod release;
mod schedule;
mod step;
#[cfg(test)]
mod tests;

use crate::cluster::Cluster;
use crate::cluster::changes::Changes;
use crate::cluster::shared::Shared;
use crate::error::{Failure, Kind, chain_of, failure_of};
use crate::event::{Event, Events};
use crate::helm::run::CutOff;
use crate::helm::{self, Helm};
use crate::plan::{Plan, Step, Target};
use anyhow::Result;
use schedule::Schedule;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a plan is carried out with.
#[derive(Clone)]
pub struct ApplyContext {
    /// The cluster.
    pub cluster: Cluster,
    /// Helm; bound to the cluster here.
    pub helm: Helm,
    /// Where progress goes.
    pub events: Events,
    /// When all of it must be done.
    pub deadline: Instant,
    /// How long a release may take from where it begins, by its name.
    pub release_timeouts: BTreeMap<String, Duration>,
    /// How long a fault that may heal must hold unchanged to end the wait for a release.
    pub fail_after: Duration,
    /// How many steps are at work at once: those that only wait for something to become ready do not count.
    pub concurrency: usize,
    /// Stops everything in order.
    pub cancel: CancellationToken,
    /// Raised when a step is cut off.
    pub cut_off: CutOff,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// The steps that are done, in the order in which they ended.
    pub done: Vec<Done>,
}

/// A step that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// Its id.
    pub id: String,
    /// What it came to.
    pub summary: String,
}

/// Carries out `plan`.
///
/// After the first failure no step is started any more; waits end, and a helm that is at work may
/// finish within [`helm::run::GRACE`] before it is stopped. When `cancel` comes, helm is stopped at
/// once, and no step sends anything after [`helm::run::ended`]. Either way a note tells what is done, what was
/// cut short and what was not started.
///
/// # Errors
/// The first failure; [`Kind::Interrupted`] when it was cancelled.
pub async fn apply(plan: &Plan, context: ApplyContext) -> Result<Applied> {
    let mut run = Run::new(plan, context);
    let mut tasks: JoinSet<(usize, Result<String>)> = JoinSet::new();
    loop {
        let may_start = run.may_start();
        if tasks.is_empty() && !may_start {
            return run.end();
        }
        tokio::select! {
            biased;
            Some(ended) = tasks.join_next() => match ended {
                Ok((index, result)) => run.take(index, result),
                Err(error) => {
                    run.fail(Failure::new(Kind::Internal, "a step ended by a fault of this program").caused_by(error));
                }
            },
            Ok(slot) = run.slots.clone().acquire_owned(), if may_start => run.start(&mut tasks, slot),
            () = run.grace_over() => run.worker.stop_helm.cancel(),
        }
    }
}

/// What every step works with.
#[derive(Clone)]
struct Worker {
    cluster: Cluster,
    helm: Helm,
    events: Events,
    deadline: Instant,
    fail_after: Duration,
    /// The digests of the API versions that releases ask for, by their names.
    api_digests: Arc<BTreeMap<String, String>>,
    changes: Arc<Changes>,
    /// The names that the API server lists, of kinds in a version and of everything.
    kinds: Arc<Shared<BTreeSet<String>>>,
    /// Ends waits.
    stop_waiting: CancellationToken,
    /// Ends helm.
    stop_helm: CancellationToken,
    cut_off: CutOff,
}

/// One run of a plan.
struct Run<'a> {
    plan: &'a Plan,
    schedule: Schedule,
    worker: Worker,
    release_timeouts: BTreeMap<String, Duration>,
    cancel: CancellationToken,
    /// One for each step that is at work. What only waits has given its own back.
    slots: Arc<Semaphore>,
    done: Vec<Done>,
    cut_short: Vec<String>,
    failed: Vec<String>,
    failure: Option<anyhow::Error>,
    grace_ends: Option<Instant>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, context: ApplyContext) -> Self {
        let stop_helm = context.cancel.child_token();
        let releases = plan.steps.iter().filter_map(|step| match &step.target {
            Target::Release { release } => Some(release.namespace.as_str()),
            _ => None,
        });
        let namespaces: BTreeSet<&str> = releases.collect();
        let worker = Worker {
            helm: context.helm.with_context(context.cluster.helm_context()).raising(context.cut_off.clone()),
            events: context.events,
            deadline: context.deadline,
            fail_after: context.fail_after,
            api_digests: Arc::new(plan.api_digests.clone()),
            changes: Arc::new(Changes::watch(&context.cluster.client, namespaces)),
            kinds: Arc::new(Shared::every(definition::BETWEEN_READS)),
            cluster: context.cluster,
            stop_waiting: stop_helm.child_token(),
            stop_helm,
            cut_off: context.cut_off,
        };
        Run {
            plan,
            schedule: Schedule::new(&plan.steps),
            worker,
            release_timeouts: context.release_timeouts,
            cancel: context.cancel,
            slots: Arc::new(Semaphore::new(context.concurrency.max(1))),
            done: Vec::new(),
            cut_short: Vec::new(),
            failed: Vec::new(),
            failure: None,
            grace_ends: None,
        }
    }

    /// Whether a step may start.
    fn may_start(&self) -> bool {
        self.failure.is_none() && !self.cancel.is_cancelled() && self.schedule.has_next(&self.plan.steps)
    }

    /// Starts the next step, unless everything was stopped while its place was waited for.
    fn start(&mut self, tasks: &mut JoinSet<(usize, Result<String>)>, slot: OwnedSemaphorePermit) {
        if !self.may_start() {
            return;
        }
        let Some((index, step)) = self.schedule.next(&self.plan.steps) else { return };
        let (mut worker, step): (Worker, Step) = (self.worker.clone(), step.clone());
        if let Target::Release { release } = &step.target
            && let Some(timeout) = self.release_timeouts.get(&release.name)
        {
            worker.deadline = worker.deadline.min(Instant::now() + *timeout);
        }
        self.worker.events.emit(Event::StepStarted { step: step.id.clone() });
        tasks.spawn(async move {
            let result = tokio::select! {
                biased;
                result = step::carry_out(&step, &worker, slot) => result,
                () = helm::run::ended(&worker.stop_helm) => {
                    worker.cut_off.raise();
                    let message = format!("`{}` was cut off; what it asked for last may still be done", step.id);
                    Err(Failure::new(Kind::Interrupted, message).into())
                }
            };
            (index, result)
        });
    }

    /// Takes in how a step ended.
    fn take(&mut self, index: usize, result: Result<String>) {
        let Some(step) = self.plan.steps.get(index) else { return };
        let id = step.id.clone();
        match result {
            Ok(summary) => {
                self.schedule.done(index);
                self.worker.events.emit(Event::StepFinished { step: id.clone(), summary: summary.clone() });
                self.done.push(Done { id, summary });
            }
            Err(error) => {
                let message = chain_of(&error).join(": ");
                self.worker.events.emit(Event::StepFailed { step: id.clone(), message });
                let stopped = failure_of(&error).is_some_and(|failure| failure.kind == Kind::Interrupted);
                if stopped && (self.failure.is_some() || self.cancel.is_cancelled()) {
                    self.cut_short.push(id);
                } else {
                    self.failed.push(id);
                    self.fail(error);
                }
            }
        }
    }

    /// Stops everything because of `error`; the first one is the one that is told.
    fn fail(&mut self, error: anyhow::Error) {
        if self.failure.is_none() {
            self.failure = Some(error);
            self.grace_ends = Some(Instant::now() + helm::run::GRACE);
            self.worker.stop_waiting.cancel();
        }
    }

    async fn grace_over(&self) {
        match self.grace_ends {
            Some(at) if !self.worker.stop_helm.is_cancelled() => tokio::time::sleep_until(at).await,
            _ => std::future::pending().await,
        }
    }

    fn end(self) -> Result<Applied> {
        let not_started: Vec<String> = self
            .schedule
            .never_started()
            .filter_map(|index| self.plan.steps.get(index))
            .map(|step| step.id.clone())
            .collect();
        let unfinished = !(not_started.is_empty() && self.cut_short.is_empty());
        let error = match self.failure {
            failure if self.cancel.is_cancelled() && (unfinished || failure.is_some()) => {
                let stopped = Failure::new(Kind::Interrupted, "stopped before the plan was done")
                    .hint("run it again: what is done is kept");
                match failure {
                    Some(failure) => failure.context(stopped),
                    None => stopped.into(),
                }
            }
            Some(error) => error,
            None if !not_started.is_empty() => Failure::new(
                Kind::Internal,
                format!("these steps need each other in a circle: {}", not_started.join(", ")),
            )
            .into(),
            None => return Ok(Applied { done: self.done }),
        };
        let done: Vec<String> = self.done.into_iter().map(|done| done.id).collect();
        let parts =
            [("done", done), ("failed", self.failed), ("cut short", self.cut_short), ("not started", not_started)];
        for (name, ids) in parts.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            self.worker.events.emit(Event::Note { message: format!("{name}: {}", ids.join(", ")) });
        }
        Err(error)
    }
}
