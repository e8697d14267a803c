//! Waits until a CustomResourceDefinition that was written is served.

use super::Worker;
use crate::chart::crds::served_versions;
use crate::cluster::kinds::{kinds, kinds_of};
use crate::cluster::objects;
use crate::cluster::request::ask;
use crate::error::{Failure, Kind};
use crate::event::{Cause, Event};
use crate::object::{Manifest, ObjectRef};
use crate::plan::{Action, Step};
use crate::ready::{Ready, crd};
use anyhow::Result;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// The pause between two looks; doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest while what is asked is read once for all of them.
const LONGEST_SHARED_PAUSE: Duration = Duration::from_millis(200);
/// The shortest time between two reads of what the API server lists, however many definitions are waited for.
pub(super) const BETWEEN_READS: Duration = Duration::from_millis(100);
/// How long it takes as a rule, many at once on a small machine: until then nothing is read or told.
const USUAL: Duration = Duration::from_secs(3);

/// Whether `reference` names a definition.
pub(super) fn is_definition(reference: &ObjectRef) -> bool {
    reference.kind == "CustomResourceDefinition"
}

/// Waits until the API server serves the kind of the definition `manifest` and lists it, as everybody
/// who makes objects of it looks there first. One that is changed is listed all the time: its names are judged too.
pub(super) async fn until_served(step: &Step, manifest: &Manifest, worker: &Worker) -> Result<()> {
    let reference = manifest.reference();
    let api = objects::api(&worker.cluster.client, &reference);
    let what = format!("read `{reference}`");
    let mut pause = FIRST_PAUSE;
    let mut told: Option<Cause> = None;
    let mut cause = not_listed(&reference);
    let started = Instant::now();
    loop {
        let look = async {
            // What is new and listed is established, and known not to go away since it was written.
            let is_listed = is_listed(manifest, worker).await?;
            // Read for its reasons, and late: a definition can be a megabyte.
            let is_read = if is_listed { step.action == Action::Update } else { started.elapsed() >= USUAL };
            let found = if is_read { Some(ask(&what, || api.get(&reference.name)).await?) } else { None };
            Ok::<_, anyhow::Error>((is_listed, found))
        };
        let (is_listed, found) = tokio::select! {
            biased;
            () = worker.stop_waiting.cancelled() => return Err(stopped(&reference, &cause)),
            () = tokio::time::sleep_until(worker.deadline) => return Err(unhealthy(&reference, &cause)),
            seen = look => seen?,
        };
        let ready =
            found.map_or(Ok(Ready::Ready), |found| serde_json::to_value(&found).map(|found| crd::judge(&found)));
        match ready? {
            Ready::Ready if is_listed => return Ok(()),
            Ready::Ready => cause = not_listed(&reference),
            Ready::Waiting(seen) => cause = seen,
            // That of its former names may still stand there.
            Ready::Failed(seen) if started.elapsed() < USUAL => cause = seen,
            // It goes on being served under its former names, and nothing is gained by stopping everything.
            Ready::Failed(seen) if is_listed => {
                worker.events.emit(Event::Warning { message: format!("`{reference}`: {}", seen.message) });
                return Ok(());
            }
            Ready::Failed(cause) => return Err(unhealthy(&reference, &cause)),
        }
        if told.as_ref() != Some(&cause) && started.elapsed() >= USUAL {
            worker.events.emit(Event::StepWaiting { step: step.id.clone(), cause: cause.clone() });
            told = Some(cause.clone());
        }
        tokio::select! {
            () = worker.stop_waiting.cancelled() => return Err(stopped(&reference, &cause)),
            () = tokio::time::sleep_until(worker.deadline) => return Err(unhealthy(&reference, &cause)),
            () = tokio::time::sleep(pause) => {}
        }
        let is_shared = started.elapsed() < USUAL;
        pause = (pause * 2).min(if is_shared { LONGEST_SHARED_PAUSE } else { LONGEST_PAUSE });
    }
}

fn not_listed(reference: &ObjectRef) -> Cause {
    let message = "the API server does not list its kind yet".to_owned();
    Cause { object: reference.clone(), reason: "Establishing".to_owned(), message, permanent: false }
}

/// Whether the server lists the kind in every version. Its lists are made one after the other, and
/// helm reads the one over all groups.
async fn is_listed(manifest: &Manifest, worker: &Worker) -> Result<bool> {
    let client = &worker.cluster.client;
    let plural = manifest.0.pointer("/spec/names/plural").and_then(Value::as_str).unwrap_or_default();
    let versions = served_versions(&manifest.0);
    for version in &versions {
        let found =
            worker.kinds.get(version, async || Ok(kinds_of(client, version).await?.into_keys().collect())).await?;
        if !found.contains(plural) {
            return Ok(false);
        }
    }
    let all = worker.kinds.get("", async || Ok(kinds(client).await?.unwrap_or_default().into_keys().collect())).await?;
    Ok(all.is_empty() || versions.iter().all(|version| all.contains(&format!("{version}/{plural}"))))
}

fn stopped(reference: &ObjectRef, cause: &Cause) -> anyhow::Error {
    let message = format!("stopped waiting for `{reference}`; {}", cause.message);
    Failure::new(Kind::Interrupted, message).into()
}

fn unhealthy(reference: &ObjectRef, cause: &Cause) -> anyhow::Error {
    Failure::new(Kind::Unhealthy, format!("`{reference}` is not served: {}", cause.reason))
        .hint(format!("kubectl describe {}", reference.kubectl_name()))
        .caused_by(anyhow::anyhow!(cause.message.clone()))
}
