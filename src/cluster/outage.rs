//! An API server that goes away under helm. What we ask ourselves is asked again by [`crate::cluster::request`]; helm
//! asks once, so it is run again. Under the lock an outage of up to 25 s is outlasted: a longer one loses it.

use crate::cluster::observe::releases;
use crate::cluster::request::FORBIDDEN_FOR;
use crate::error::chain_of;
use crate::event::{Event, Events};
use crate::helm::{Helm, Transient};
use anyhow::Result;
use kube::Client;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often helm is run in all for one release.
const ATTEMPTS: u32 = 3;
/// How long the API server is waited for in all.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take for one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(500);

/// The attempts of helm at one release.
pub(super) struct Outage<'a> {
    client: &'a Client,
    events: &'a Events,
    deadline: Instant,
    cancel: &'a CancellationToken,
    attempt: u32,
}

impl<'a> Outage<'a> {
    /// Before the first attempt; no other begins after `deadline`, or once `cancel` came.
    pub(super) fn new(
        client: &'a Client,
        events: &'a Events,
        deadline: Instant,
        cancel: &'a CancellationToken,
    ) -> Self {
        Outage { client, events, deadline, cancel, attempt: 1 }
    }

    /// Returns `error` once the API server is ready again, where helm failed at `release` for what may have gone away,
    /// and may be run once more.
    ///
    /// # Errors
    /// `error` too where it has another cause, where it came too often, or where there is no time left.
    pub(super) async fn outlast(&mut self, release: &str, error: anyhow::Error) -> Result<anyhow::Error> {
        if !error.is::<Transient>() || self.attempt == ATTEMPTS || self.is_over() {
            return Err(error);
        }
        self.attempt += 1;
        let cause = chain_of(&error).pop().unwrap_or_default();
        let message = format!("helm did not get through with the release `{release}` ({cause}); it is run again");
        self.events.emit(Event::Warning { message });
        let until = self.deadline.min(Instant::now() + PATIENCE);
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(error),
            () = tokio::time::sleep_until(until) => Err(error),
            () = ready(self.client) => Ok(error),
        }
    }

    /// Whether nothing may begin any more.
    pub(super) fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || Instant::now() >= self.deadline
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
        stop: &CancellationToken,
    ) -> Result<()> {
        loop {
            let done = match helm.uninstall(name, namespace, self.deadline, stop).await {
                Ok(()) => self.is_gone(name, namespace).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => return Ok(()),
                Err(error) => drop(self.outlast(name, error).await?),
            }
        }
    }

    /// Helm takes a release that it could not read for one that is not there.
    async fn is_gone(&self, name: &str, namespace: &str) -> Result<()> {
        let stands = releases(self.client, namespace).await?.iter().any(|((_, found), _)| found == name);
        if stands { Err(Transient::at(name, namespace)) } else { Ok(()) }
    }
}

/// Returns once the API server says that it is ready: until then it may refuse what it will grant.
async fn ready(client: &Client) {
    let begun = Instant::now();
    loop {
        let Ok(question) = http::Request::get("/readyz").body(Vec::new()) else { return };
        match tokio::time::timeout(ANSWER, client.request_text(question)).await {
            Ok(Ok(_)) => return,
            Ok(Err(kube::Error::Api(status))) if status.code == 403 && begun.elapsed() >= FORBIDDEN_FOR => return,
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
