//! One deploy at a time: a Lease that is held, renewed and taken away again.

mod holder;
mod standing;
#[cfg(test)]
mod tests;

use crate::cluster::Cluster;
use crate::cluster::request::{ask, explain};
use crate::error::{Failure, Kind};
use crate::event::{Cause, Event, Events};
use crate::object::ObjectRef;
use crate::plan::model::FIELD_MANAGER;
use anyhow::Result;
use holder::Holder;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use standing::{Standing, standing};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Name of the Lease, in the monitoring namespace.
pub const LEASE: &str = FIELD_MANAGER;
/// How long a Lease holds that nobody renews.
pub const DURATION: Duration = Duration::from_secs(45);
/// How long the holder goes on without a renewal: its helm, which is given [`crate::helm::run::GRACE`] to stop, is gone
/// when somebody else may begin.
pub const GOES_ON: Duration = Duration::from_secs(30);
/// How often the holder renews it.
const RENEWED_EVERY: Duration = Duration::from_secs(5);
/// How long after a renewal that failed the next one is tried.
const TRIED_AGAIN: Duration = Duration::from_secs(1);
/// How often one who waits looks again.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// What a lock is taken with.
#[derive(Clone)]
pub struct LockContext {
    /// The cluster.
    pub cluster: Cluster,
    /// Namespace of the Lease; it must be there.
    pub namespace: String,
    /// Where the wait is told.
    pub events: Events,
    /// Until when a holder is waited for; `None` waits for nobody.
    pub wait_until: Option<Instant>,
    /// Ends the wait, and is the parent of what [`Lock::lost`] gives.
    pub cancel: CancellationToken,
}

/// The lock, held. It renews itself until it is given back.
#[derive(Debug)]
pub struct Lock {
    api: Api<Lease>,
    holder: Holder,
    lost: CancellationToken,
    trouble: Trouble,
    renewal: JoinHandle<()>,
}

/// Why the lock could not be renewed, where it was lost by that.
type Trouble = Arc<Mutex<Option<anyhow::Error>>>;

/// Takes the lock.
///
/// A holder whose process is gone from this machine, or who has not renewed in time, is taken over
/// from. Whether somebody on another machine still renews is watched by our own clock: clocks differ.
///
/// # Errors
/// [`Kind::Refused`] naming the holder while somebody else holds it; [`Kind::CouldNotAsk`] without an
/// answer; [`Kind::Interrupted`] when it was cancelled.
pub async fn lock(context: LockContext) -> Result<Lock> {
    let api: Api<Lease> = Api::namespaced(context.cluster.client.clone(), &context.namespace);
    let holder = Holder::own();
    let what = format!("read the lock `{}`", reference(&context.namespace));
    // The version last seen, and since when it stands unchanged.
    let mut seen: Option<(String, Instant)> = None;
    // Whether somebody was seen to write it while we waited.
    let mut is_alive = false;
    let mut told = false;
    loop {
        let found = tokio::select! {
            biased;
            () = context.cancel.cancelled() => return Err(interrupted()),
            found = ask(&what, || api.get_opt(LEASE)) => found?,
        };
        let version = found.as_ref().and_then(|lease| lease.metadata.resource_version.clone()).unwrap_or_default();
        let since = match &seen {
            Some((known, since)) if *known == version => *since,
            before => {
                is_alive = before.is_some();
                seen.insert((version, Instant::now())).1
            }
        };
        let other = match standing(found.as_ref(), &holder, Timestamp::now()) {
            Standing::Free => None,
            Standing::Stale(_) | Standing::Held(_) if since.elapsed() > DURATION => None,
            // It may be that only the clocks differ: one renewal more would show it.
            Standing::Stale(other) => Some((other, !is_alive)),
            Standing::Held(other) => Some((other, false)),
        };
        let Some((other, is_stale)) = other else {
            match write(&api, &holder, found).await? {
                Some(lease) => return Ok(Lock::hold(api, holder, &lease, &context.cancel)),
                None => continue,
            }
        };
        if context.wait_until.is_none_or(|until| Instant::now() >= until) && !is_stale {
            return Err(Failure::new(Kind::Refused, format!("another deploy is at work: {other}"))
                .hint("`--wait-lock` queues behind it")
                .into());
        }
        if !std::mem::replace(&mut told, true) {
            let cause = Cause {
                object: reference(&context.namespace),
                reason: "Locked".to_owned(),
                message: other,
                permanent: false,
            };
            context.events.emit(Event::StepWaiting { step: "lock".to_owned(), cause });
        }
        tokio::select! {
            () = context.cancel.cancelled() => return Err(interrupted()),
            () = tokio::time::sleep(LOOKS_EVERY) => {}
        }
    }
}

fn interrupted() -> anyhow::Error {
    let message = "interrupted while waiting for another deploy; nothing was changed";
    Failure::new(Kind::Interrupted, message).into()
}

/// Who holds the lock in `namespace` and is still there, as far as can be told from here.
///
/// # Errors
/// [`Kind::CouldNotAsk`] without an answer.
pub async fn holder(cluster: &Cluster, namespace: &str) -> Result<Option<String>> {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let found = ask(&format!("read the lock `{}`", reference(namespace)), || api.get_opt(LEASE)).await?;
    Ok(match standing(found.as_ref(), &Holder::own(), Timestamp::now()) {
        Standing::Held(_) => found.and_then(|lease| lease.spec?.holder_identity),
        Standing::Free | Standing::Stale(_) => None,
    })
}

/// What this process is called as a holder.
pub fn own_name() -> String {
    Holder::own().name
}

fn reference(namespace: &str) -> ObjectRef {
    ObjectRef::namespaced("coordination.k8s.io/v1", "Lease", namespace, LEASE)
}

/// Makes the Lease ours in the version that was `found`; `None` when somebody was quicker.
async fn write(api: &Api<Lease>, holder: &Holder, found: Option<Lease>) -> Result<Option<Lease>> {
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let lease = holder.lease(found, DURATION, Timestamp::now());
    let is_new = lease.metadata.resource_version.is_none();
    ask(&format!("take the lock `{LEASE}`"), || async {
        let written = match is_new {
            true => api.create(&parameters, &lease).await,
            false => api.replace(LEASE, &parameters, &lease).await,
        };
        match written {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) && !is_terminating(&status) => Ok(None),
            answer => answer.map(Some),
        }
    })
    .await
}

/// Whether the namespace is going away, or is not there to begin with.
fn is_terminating(status: &kube::core::Status) -> bool {
    let message = status.message.to_lowercase();
    message.contains("being terminated") || message.contains("namespaces \"")
}

impl Lock {
    fn hold(api: Api<Lease>, holder: Holder, lease: &Lease, cancel: &CancellationToken) -> Lock {
        let lost = cancel.child_token();
        let trouble = Trouble::default();
        let renewal = renew(api.clone(), holder.clone(), lease.clone(), lost.clone(), Arc::clone(&trouble));
        Lock { api, holder, lost, trouble, renewal: tokio::spawn(renewal) }
    }

    /// Cancelled when the lock is no longer ours, and with the token it was taken with.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Why it could not be renewed, where it was lost by that and not to somebody else.
    pub fn trouble(&self) -> Option<anyhow::Error> {
        self.trouble.lock().ok()?.take()
    }

    /// Gives it back. One that somebody else has by now is left. Where that fails, or takes long, the lock ends
    /// by itself.
    pub async fn release(mut self) {
        let given_back = async {
            self.end_renewal().await;
            self.give_back().await;
        };
        let _ = tokio::time::timeout(RENEWED_EVERY, given_back).await;
    }

    /// Leaves it to end by itself, [`DURATION`] after its last renewal. On this machine the next one begins at once, as
    /// it sees that this process is gone.
    pub fn leave(self) {
        self.renewal.abort();
    }

    /// A renewal on its way would change the version that is written to.
    async fn end_renewal(&mut self) {
        self.lost.cancel();
        let _ = tokio::time::timeout(TRIED_AGAIN, &mut self.renewal).await;
        self.renewal.abort();
    }

    async fn give_back(&self) {
        // Read anew each time: a renewal that was thought lost may still have been carried out.
        let _ = ask("give back the lock", || async {
            let Some(lease) = self.api.get_opt(LEASE).await?.filter(|lease| self.holder.holds(lease)) else {
                return Ok(());
            };
            let preconditions =
                Preconditions { uid: lease.metadata.uid, resource_version: lease.metadata.resource_version };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            self.api.delete(LEASE, &parameters).await.map(drop)
        })
        .await;
    }
}

/// Renews the lock until it is lost.
async fn renew(api: Api<Lease>, holder: Holder, mut lease: Lease, lost: CancellationToken, told: Trouble) {
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let mut renewed = Instant::now();
    let mut pause = RENEWED_EVERY;
    let mut trouble = None;
    loop {
        tokio::select! {
            () = lost.cancelled() => return,
            () = tokio::time::sleep_until(renewed + GOES_ON) => {
                if let Ok(mut told) = told.lock() {
                    *told = trouble;
                }
                return lost.cancel();
            }
            () = tokio::time::sleep(pause) => {}
        }
        // Others count from when they see it, which is later.
        let asked = Instant::now();
        let until = (asked + RENEWED_EVERY).min(renewed + GOES_ON);
        let wanted = holder.lease(Some(lease.clone()), DURATION, Timestamp::now());
        pause = TRIED_AGAIN;
        match tokio::time::timeout_at(until, api.replace(LEASE, &parameters, &wanted)).await {
            Ok(Ok(written)) => {
                lease = written;
                renewed = asked;
                pause = RENEWED_EVERY;
                trouble = None;
            }
            // Somebody else wrote it: the answer may be to a renewal of ours that got lost on its way back.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                match tokio::time::timeout_at(until, api.get_opt(LEASE)).await {
                    Ok(Ok(Some(found))) if holder.holds(&found) => lease = found,
                    Ok(Ok(_)) => return lost.cancel(),
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            Ok(Err(error)) => trouble = Some(explain("renew the lock", &error)),
            // The last one may be cut short: what was heard before it says more.
            Err(_) if trouble.is_some() => {}
            Err(_) => trouble = Some(anyhow::anyhow!("the API server did not answer in {} s", RENEWED_EVERY.as_secs())),
        }
    }
}
