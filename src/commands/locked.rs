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
    match (session.cut_off.is_raised(), lost) {
        (false, _) => lock.release().await,
        // It is no longer ours.
        (true, true) => {}
        (true, false) => {
            lock.leave();
            let held = DURATION.as_secs();
            let message = format!("other machines get the lock in {held} s: what was cut off may be done until then");
            session.events.emit(Event::Note { message });
        }
    }
    let Err(error) = work else { return work };
    if lost && !is_interruption(&error) {
        let message = "the lock was lost in the meantime: another deploy may be at work".to_owned();
        session.events.emit(Event::Warning { message });
    }
    Err(told(error, lost, trouble))
}

fn is_interruption(error: &anyhow::Error) -> bool {
    failure_of(error).is_some_and(|failure| failure.kind == Kind::Interrupted)
}

/// `error`, or why it came where that is the loss of the lock, with the `trouble` that this came by.
fn told(error: anyhow::Error, lost: bool, trouble: Option<anyhow::Error>) -> anyhow::Error {
    const HINT: &str = "run it again: what is done is kept";
    if !is_interruption(&error) {
        return error;
    }
    if let Some(trouble) = trouble {
        let hint = failure_of(&trouble).and_then(|failure| failure.hint.clone()).unwrap_or_else(|| HINT.to_owned());
        let message = format!("stopped: the lock could not be renewed for {} s", GOES_ON.as_secs());
        return trouble.context(Failure::new(Kind::CouldNotAsk, message).hint(hint));
    }
    match lost {
        true => error.context(
            Failure::new(Kind::Unhealthy, "stopped: the lock was lost, another deploy may be at work").hint(HINT),
        ),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code_of;

    #[test]
    fn the_loss_of_the_lock_is_told_where_it_is_the_cause() {
        let failed = |kind| anyhow::Error::from(Failure::new(kind, "it ended"));
        let code = |kind, lost, trouble: Option<&str>| {
            exit_code_of(&told(failed(kind), lost, trouble.map(|why| anyhow::anyhow!(why.to_owned()))))
        };
        assert_eq!(code(Kind::Interrupted, false, None), 130, "by Ctrl-C");
        assert_eq!(code(Kind::Interrupted, true, None), 4);
        assert_eq!(code(Kind::Interrupted, true, Some("no answer")), 3);
        // A deploy that failed, and lost its lock while it was put back.
        assert_eq!(code(Kind::Unhealthy, true, Some("no answer")), 4);
        assert_eq!(told(failed(Kind::Refused), true, None).to_string(), "it ended");
    }
}
