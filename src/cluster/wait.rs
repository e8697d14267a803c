//! Waits until workloads are ready, and says all the while what they wait for.

mod log;

use crate::cluster::changes::Changes;
use crate::cluster::request::{FORBIDDEN_FOR, NOT_ACCEPTED, ask};
use crate::cluster::snapshot::{further, ready_endpoints};
use crate::error::{Failure, Kind, failure_of};
use crate::event::{Cause, Event, Events};
use crate::object::ObjectRef;
use crate::plan::masked_lines;
use crate::ready::chain::{is_further, services_behind};
use crate::ready::{Class, Ready, Snapshot, class_of, fault_key, judge_workload};
use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Client};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often everything is read again although no watch told of a change.
const READ_AGAIN: Duration = Duration::from_secs(4);
/// How long the API server may refuse the credentials: one that has just started does so for a moment.
const NOT_ACCEPTED_FOR: Duration = Duration::from_secs(10);
/// The shortest time between two reads, however much changes.
const SETTLE: Duration = Duration::from_millis(400);
/// How long a fault must hold in any case. The parts of a cluster lag behind each other: the
/// scheduler calls a pod unschedulable whose claim was made a moment before.
const CONFIRMED: Duration = Duration::from_secs(2);
/// How long a program may take to read a changed configuration, and so to stop rejecting the one before.
const RELOAD: Duration = Duration::from_secs(10);
/// The reason of a program that rejects its configuration.
const CONFIGURATION_REJECTED: &str = "ConfigurationRejected";
/// How many of the last events a failure shows.
const EVENTS_SHOWN: usize = 3;

/// How long a wait may take, and what ends it before.
#[derive(Clone)]
pub struct WaitOptions {
    /// Name of the step, for its events.
    pub step: String,
    /// When the wait ends in any case.
    pub deadline: Instant,
    /// How long a fault that may heal must hold unchanged to end the wait.
    pub fail_after: Duration,
    /// Ends the wait at once.
    pub cancel: CancellationToken,
}

/// What is followed.
enum Awaited<'a> {
    /// These, until all are ready.
    All(&'a [ObjectRef]),
    /// The Jobs that are hooks of this release, in this namespace, as they come and go.
    Hooks { release: &'a str, namespace: &'a str },
}

/// Waits until all `workloads` are ready.
///
/// # Errors
/// [`Kind::Unhealthy`] with the cause when a permanent one appears, a fault held for `fail_after`,
/// or the deadline passed; [`Kind::Interrupted`] when it was cancelled.
pub async fn wait_until_ready(
    client: &Client,
    workloads: &[ObjectRef],
    changes: &Changes,
    options: &WaitOptions,
    events: &Events,
) -> Result<()> {
    follow(client, &Awaited::All(workloads), changes, options, events).await
}

/// Follows the hooks of `release` while helm, which waits for them and says nothing, is at work: tells what they
/// wait for. Ends only with what ends a wait; whoever calls it drops it when helm is done.
///
/// # Errors
/// As [`wait_until_ready`].
pub async fn follow_hooks(
    client: &Client,
    (release, namespace): (&str, &str),
    changes: &Changes,
    options: &WaitOptions,
    events: &Events,
) -> Result<()> {
    follow(client, &Awaited::Hooks { release, namespace }, changes, options, events).await
}

async fn follow(
    client: &Client,
    awaited: &Awaited<'_>,
    changes: &Changes,
    options: &WaitOptions,
    events: &Events,
) -> Result<()> {
    let mut told = changes.listen();
    let mut wait = Wait {
        options,
        events,
        causes: Vec::new(),
        gone: None,
        inherited: None,
        started: Instant::now(),
        held: BTreeMap::new(),
        trouble: None,
        forbidden: None,
        not_accepted: None,
        seen: BTreeMap::new(),
    };
    loop {
        // What changes while we read counts as new.
        told.mark_unchanged();
        let read = async {
            match awaited {
                Awaited::All(workloads) => wait.end_of(read(client, changes, workloads).await, workloads),
                Awaited::Hooks { release, namespace } => {
                    let hooks = match hooks(client, release, namespace).await {
                        Ok(hooks) if hooks.is_empty() => return None,
                        Ok(hooks) => hooks,
                        Err(error) => return wait.bear(error),
                    };
                    // Helm says when all of them are done.
                    wait.end_of(read(client, changes, &hooks).await, &hooks).filter(Result::is_err)
                }
            }
        };
        tokio::select! {
            biased;
            () = options.cancel.cancelled() => return Err(wait.cancelled()),
            end = tokio::time::timeout_at(options.deadline, read) => match end {
                Ok(Some(Ok(()))) => return Ok(()),
                Ok(Some(Err(end))) => return Err(wait.told(client, end).await),
                Ok(None) => {}
                Err(_) => return Err(wait.told(client, wait.timed_out()).await),
            },
        }
        let settled = Instant::now() + SETTLE;
        let again = wait.next_decision().unwrap_or(settled + READ_AGAIN).min(settled + READ_AGAIN).max(settled);
        let change = async {
            // Nobody left to tell of changes: then only the clock does.
            if told.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep_until(settled).await;
        };
        tokio::select! {
            biased;
            () = options.cancel.cancelled() => return Err(wait.cancelled()),
            () = tokio::time::sleep_until(options.deadline) => return Err(wait.told(client, wait.timed_out()).await),
            () = change => {}
            () = tokio::time::sleep_until(again) => {}
        }
    }
}

/// The Jobs in `namespace` that are hooks of `release`. Helm puts no mark of its own on them but the annotation,
/// so they are known by the release's name, which charts put into labels or names.
async fn hooks(client: &Client, release: &str, namespace: &str) -> Result<Vec<ObjectRef>> {
    let api: Api<Job> = Api::namespaced(client.clone(), namespace);
    let what = format!("list the Jobs in namespace `{namespace}`");
    let parameters = ListParams::default();
    let jobs = ask(&what, || api.list_metadata(&parameters)).await?.items.into_iter();
    let names = jobs.filter(|job| is_hook_of(&job.metadata, release)).filter_map(|job| job.metadata.name);
    Ok(names.map(|name| ObjectRef::namespaced("batch/v1", "Job", namespace, &name)).collect())
}

fn is_hook_of(job: &ObjectMeta, release: &str) -> bool {
    const HOOK: &str = "helm.sh/hook";
    let label = |key: &str| job.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let by_label = ["app.kubernetes.io/instance", "release"].map(label).contains(&Some(release));
    let by_name = job.name.as_deref().is_some_and(|name| name.starts_with(&format!("{release}-")));
    job.annotations.as_ref().is_some_and(|all| all.contains_key(HOOK)) && (by_label || by_name)
}

/// What the namespaces of `workloads` hold; what has no namespace stands under the empty name.
async fn read(client: &Client, changes: &Changes, workloads: &[ObjectRef]) -> Result<BTreeMap<String, Snapshot>> {
    let namespaces: BTreeSet<String> = workloads.iter().filter_map(|workload| workload.namespace.clone()).collect();
    let mut seen: BTreeMap<String, Snapshot> = BTreeMap::new();
    for namespace in namespaces {
        let found = changes.read(&namespace).await?;
        seen.insert(namespace, found);
    }
    for reference in workloads.iter().filter(|reference| is_further(reference)) {
        let Some(found) = further(client, reference).await? else { continue };
        let place = seen.entry(reference.namespace.clone().unwrap_or_default()).or_default();
        for (namespace, name) in services_behind(reference, &found) {
            let count = ready_endpoints(client, &namespace, &name).await?;
            place.endpoints.insert((namespace, name), count);
        }
        place.others.insert(reference.clone(), found);
    }
    Ok(seen)
}

/// How a wait ended without success.
enum End {
    /// By what is wrong with an object.
    Unhealthy { cause: Cause, message: String },
    /// Without an object that could be blamed.
    Blameless(anyhow::Error),
}

/// What one wait knows.
struct Wait<'a> {
    options: &'a WaitOptions,
    events: &'a Events,
    /// The causes of the last read, the worst last.
    causes: Vec<Cause>,
    /// The fault that was there before: a Job that gives up takes its pods with it.
    gone: Option<Cause>,
    /// Rejections that the first read found: what they reject may be the configuration before this deploy.
    inherited: Option<Vec<Cause>>,
    started: Instant,
    /// Since when each fault holds.
    held: BTreeMap<(ObjectRef, String), Instant>,
    /// Why the last read failed.
    trouble: Option<String>,
    /// Since when the API server forbids to read.
    forbidden: Option<Instant>,
    /// Since when the API server does not accept the credentials.
    not_accepted: Option<Instant>,
    seen: BTreeMap<String, Snapshot>,
}

impl Wait<'_> {
    /// Takes in one read: how the wait ends by it, or `None` when it goes on.
    fn end_of(&mut self, read: Result<BTreeMap<String, Snapshot>>, workloads: &[ObjectRef]) -> Option<Result<(), End>> {
        match read {
            Ok(seen) => self.seen = seen,
            Err(error) => return self.bear(error),
        }
        self.trouble = None;
        self.forbidden = None;
        self.not_accepted = None;
        let causes = self.judge(workloads);
        if causes.is_empty() {
            return Some(Ok(()));
        }
        for cause in &causes {
            if !self.causes.contains(cause) {
                self.events.emit(Event::StepWaiting { step: self.options.step.clone(), cause: cause.clone() });
            }
        }
        let earlier = std::mem::replace(&mut self.causes, causes);
        let gone =
            earlier.into_iter().rev().find(|cause| class_of(cause) == Class::Fault && !self.causes.contains(cause));
        self.gone = gone.or(self.gone.take());
        let now = Instant::now();
        let rejected = self.causes.iter().filter(|cause| cause.reason == CONFIGURATION_REJECTED).cloned();
        self.inherited.get_or_insert_with(|| rejected.collect());
        let faults = self.causes.iter().filter(|cause| class_of(cause) == Class::Fault);
        let keys: BTreeSet<(ObjectRef, String)> = faults.map(owned_key).collect();
        self.held.retain(|key, _| keys.contains(key));
        for key in keys {
            self.held.entry(key).or_insert(now);
        }
        let ended = self.causes.iter().rev().find(|cause| match class_of(cause) {
            Class::Permanent => !self.is_inherited(cause) || self.started + RELOAD <= now,
            Class::Fault => self.held.get(&owned_key(cause)).is_some_and(|since| *since + self.hold() <= now),
            Class::Transitional => false,
        })?;
        let message = format!("`{}` is not ready: {}", ended.object, ended.reason);
        Some(Err(End::Unhealthy { cause: ended.clone(), message }))
    }

    /// A read that failed ends the wait only where a repetition cannot help.
    fn bear(&mut self, error: anyhow::Error) -> Option<Result<(), End>> {
        if failure_of(&error).is_some_and(|failure| failure.kind == Kind::Refused) {
            // What was allowed before may be forbidden for a moment: the server has just started.
            let is_new = self.seen.is_empty() && self.trouble.is_none();
            if is_new || self.forbidden.get_or_insert_with(Instant::now).elapsed() >= FORBIDDEN_FOR {
                return Some(Err(End::Blameless(error)));
            }
        } else {
            self.forbidden = None;
        }
        let message = error.to_string();
        if !message.ends_with(NOT_ACCEPTED) {
            self.not_accepted = None;
        } else if self.not_accepted.get_or_insert_with(Instant::now).elapsed() >= NOT_ACCEPTED_FOR {
            return Some(Err(End::Blameless(error)));
        }
        if self.trouble.as_ref() != Some(&message) {
            self.events.emit(Event::Warning { message: format!("{message}; trying on") });
            self.trouble = Some(message);
        }
        None
    }

    /// The distinct causes of all workloads that are not ready, the worst last.
    fn judge(&self, workloads: &[ObjectRef]) -> Vec<Cause> {
        let empty = Snapshot::default();
        let mut causes: Vec<Cause> = Vec::new();
        for workload in workloads {
            let place = workload.namespace.clone().unwrap_or_default();
            let seen = self.seen.get(&place).unwrap_or(&empty);
            match judge_workload(workload, seen) {
                Ready::Waiting(cause) | Ready::Failed(cause) if !causes.contains(&cause) => causes.push(cause),
                _ => {}
            }
        }
        causes.sort_by_key(class_of);
        causes
    }

    fn is_inherited(&self, cause: &Cause) -> bool {
        self.inherited.as_ref().is_some_and(|inherited| inherited.contains(cause))
    }

    /// When the first fault will have held long enough.
    fn next_decision(&self) -> Option<Instant> {
        let held = self.held.values().min().map(|since| *since + self.hold());
        let reload = self.causes.iter().any(|cause| self.is_inherited(cause)).then_some(self.started + RELOAD);
        held.into_iter().chain(reload).min()
    }

    /// How long a fault must hold to end the wait.
    fn hold(&self) -> Duration {
        self.options.fail_after.max(CONFIRMED)
    }

    /// How it ended, for people, with what the container that is to blame wrote last.
    async fn told(&self, client: &Client, end: End) -> anyhow::Error {
        let (cause, message) = match end {
            End::Unhealthy { cause, message } => (cause, message),
            End::Blameless(error) => return error,
        };
        let namespace = cause.object.namespace.clone().unwrap_or_default();
        let seen = self.seen.get(&namespace);
        let log = match seen.and_then(|seen| log::container_behind(&cause, seen)) {
            Some(container) => tokio::select! {
                biased;
                () = self.options.cancel.cancelled() => Vec::new(),
                lines = log::last_lines(client, &container) => lines,
            },
            None => Vec::new(),
        };
        self.unhealthy(&cause, message, log)
    }

    fn unhealthy(&self, cause: &Cause, message: String, log: Vec<String>) -> anyhow::Error {
        let namespace = cause.object.namespace.clone().unwrap_or_default();
        let seen = self.seen.get(&namespace);
        let mut events = seen.map(|seen| seen.last_warnings(&cause.object, EVENTS_SHOWN)).unwrap_or_default();
        // The cause often is the message of its newest event.
        events.retain(|event| cause.message.is_empty() || !event.ends_with(&cause.message));
        let reason = if cause.message.is_empty() { &cause.reason } else { &cause.message };
        let reason = masked_end(reason);
        let gone = self.gone.as_ref().filter(|_| cause.object.kind == "Job" && cause.permanent);
        let gone =
            gone.map(|gone| format!("before that `{}`: {}: {}", gone.object, gone.reason, masked_end(&gone.message)));
        // The reason may hold the last line already.
        let log = log.into_iter().filter(|line| line.split_once(": ").is_none_or(|(_, line)| !reason.ends_with(line)));
        let log: Vec<String> = log.collect();
        let lines = std::iter::once(reason).chain(gone).chain(log).chain(events);
        let mut lines = lines.collect::<Vec<_>>().into_iter().rev();
        let innermost = anyhow::anyhow!(lines.next().unwrap_or_default());
        let failure = Failure::new(Kind::Unhealthy, message).hint(hint(cause));
        lines.fold(innermost, anyhow::Error::context).context(failure)
    }

    fn timed_out(&self) -> End {
        let step = &self.options.step;
        match (self.causes.last(), &self.trouble) {
            (Some(cause), None) => {
                let message = format!("`{step}` is not ready in time: last seen `{}`: {}", cause.object, cause.reason);
                End::Unhealthy { cause: cause.clone(), message }
            }
            (cause, Some(trouble)) => {
                let seen = cause.map(|cause| format!("; last seen `{}`: {}", cause.object, cause.reason));
                let message = format!("cannot see whether `{step}` is ready{}", seen.unwrap_or_default());
                End::Blameless(
                    Failure::new(Kind::CouldNotAsk, message)
                        .hint("kubectl get --raw /readyz?verbose")
                        .caused_by(anyhow::anyhow!(trouble.clone())),
                )
            }
            (None, None) => End::Blameless(
                Failure::new(Kind::Unhealthy, format!("`{step}` had no time left to get ready"))
                    .hint("give it more time with --timeout")
                    .into(),
            ),
        }
    }

    fn cancelled(&self) -> anyhow::Error {
        let step = &self.options.step;
        let waited = self.causes.last().map_or_else(
            || "its state was not seen yet".to_owned(),
            |cause| format!("it waited for `{}`: {}", cause.object, cause.reason),
        );
        Failure::new(Kind::Interrupted, format!("stopped waiting for `{step}`; {waited}")).into()
    }
}

/// `message` with what a container said last masked; what Kubernetes says itself, of Secrets too, stays.
fn masked_end(message: &str) -> String {
    let said = message.split_once(" ends with code ").and_then(|(_, end)| end.split_once(": "));
    let Some((_, said)) = said else { return message.to_owned() };
    format!("{}{}", message.strip_suffix(said).unwrap_or_default(), masked_lines(said.lines()).join("\n"))
}

fn owned_key(cause: &Cause) -> (ObjectRef, String) {
    let (object, reason) = fault_key(cause);
    (object, reason.to_owned())
}

/// The one thing to run or to change for this cause.
fn hint(cause: &Cause) -> String {
    let object = &cause.object;
    let namespace = object.namespace.as_deref().unwrap_or_default();
    match cause.reason.as_str() {
        "StorageClassNotFound" | "NoStorageClass" => {
            "set `storage.class` to one of `kubectl get storageclass`".to_owned()
        }
        "CrashLoopBackOff" | "OOMKilled" if cause.message.contains("OOMKilled") || cause.reason == "OOMKilled" => {
            "raise the container's memory limit, `resources.limits.memory`".to_owned()
        }
        "CrashLoopBackOff" | "Error" => {
            format!("kubectl logs -n {namespace} {} --all-containers --previous", object.name)
        }
        "FailedCreate" if cause.message.contains("quota") => format!("kubectl describe resourcequota -n {namespace}"),
        _ => format!("kubectl describe -n {namespace} {}", object.kubectl_name()),
    }
}

#[cfg(test)]
mod tests;
