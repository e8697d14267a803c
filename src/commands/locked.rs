//! Changing the cluster while nobody else does.

use super::session::{Session, Target};
use crate::cluster::lock::{DURATION, GOES_ON, Lock, LockContext, lock};
use crate::error::{Failure, Kind, failure_of};
use crate::event::Event;
use anyhow::Result;
use std::time::Duration;
use tokio::time::Instant;

/// How long `--wait-lock` waits for another deploy.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Takes the lock in `namespace`, which must be there.
///
/// # Errors
/// As [`lock`].
pub(super) async fn take(session: &Session<'_>, target: &Target, namespace: &str, wait: bool) -> Result<Lock> {
    lock(LockContext {
        cluster: target.cluster.clone(),
        namespace: namespace.to_owned(),
        events: session.events.clone(),
        wait_until: wait.then(|| Instant::now() + PATIENCE),
        cancel: session.cancel.clone(),
    })
    .await
}

/// Gives the lock back, however `work` ended; says so where it ended because the lock was lost. Where something was cut
/// off that may still be carried out, the lock is left to end by itself.
///
/// # Errors
/// That of `work`.
pub(super) async fn give_back<T>(session: &Session<'_>, lock: Lock, work: Result<T>) -> Result<T> {
    let lost = lock.lost().is_cancelled() && !session.cancel.is_cancelled();
    let trouble = lock.trouble();
    if session.cut_off.is_raised() {
        lock.leave();
        if !lost {
            let held = DURATION.as_secs();
            let message = format!("the lock ends by itself within {held} s: what was cut off may be done until then");
            session.events.emit(Event::Note { message });
        }
    } else {
        lock.release().await;
    }
    if let (Err(_), Some(trouble)) = (&work, trouble) {
        let hint = failure_of(&trouble).and_then(|failure| failure.hint.clone());
        let message = format!("stopped: the lock could not be renewed for {} s", GOES_ON.as_secs());
        let failure = Failure::new(Kind::CouldNotAsk, message);
        return Err(
            trouble.context(failure.hint(hint.unwrap_or_else(|| "run it again: what is done is kept".to_owned())))
        );
    }
    match work {
        Err(error) if lost => Err(error.context(
            Failure::new(Kind::Unhealthy, "stopped: the lock was lost, another deploy may be at work")
                .hint("run it again: what is done is kept"),
        )),
        work => work,
    }
}
