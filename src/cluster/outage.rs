//! An API server that goes away under helm. What we ask ourselves is asked again by [`crate::cluster::request`]; helm
//! asks once, so it is run again.

use crate::cluster::request::ask;
use crate::error::{Kind, chain_of, failure_of};
use crate::event::{Event, Events};
use crate::helm::Helm;
use anyhow::Result;
use kube::Client;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often helm is run in all for one release.
const ATTEMPTS: u32 = 3;

/// The attempts of helm at one release.
pub(super) struct Outage<'a> {
    client: &'a Client,
    events: &'a Events,
    cancel: &'a CancellationToken,
    attempt: u32,
}

impl<'a> Outage<'a> {
    /// Before the first attempt; `cancel` ends the wait between two.
    pub(super) fn new(client: &'a Client, events: &'a Events, cancel: &'a CancellationToken) -> Self {
        Outage { client, events, cancel, attempt: 1 }
    }

    /// Returns once the API server answers again, where helm failed at `release` because it did not, and may be run
    /// once more.
    ///
    /// # Errors
    /// `error` itself where it has another cause, where it came too often, or where the wait was cancelled; the
    /// [`Failure`] of the API server that stays away.
    pub(super) async fn outlast(&mut self, release: &str, error: anyhow::Error) -> Result<()> {
        let is_lost = failure_of(&error).is_some_and(|failure| failure.kind == Kind::CouldNotAsk);
        if !is_lost || self.attempt == ATTEMPTS || self.cancel.is_cancelled() {
            return Err(error);
        }
        self.attempt += 1;
        let cause = chain_of(&error).pop().unwrap_or_default();
        let message = format!("helm lost the API server at the release `{release}` ({cause}); it is run again");
        self.events.emit(Event::Warning { message });
        tokio::select! {
            () = self.cancel.cancelled() => Err(error),
            answer = ask("ask the API server for its version", || self.client.apiserver_version()) => answer.map(drop),
        }
    }

    /// Uninstalls the release `name`, one that is not there is fine; `stop` ends helm.
    ///
    /// # Errors
    /// As [`Helm::uninstall`] and [`Outage::outlast`].
    pub(super) async fn uninstall(
        mut self,
        helm: &Helm,
        name: &str,
        namespace: &str,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<()> {
        loop {
            match helm.uninstall(name, namespace, deadline, stop).await {
                Ok(()) => return Ok(()),
                Err(error) => self.outlast(name, error).await?,
            }
        }
    }
}
