//! Reads that many ask for at the same time, done once, and not without end one after the other.

use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The last read of each place.
#[derive(Debug)]
pub(super) struct Shared<T> {
    places: Mutex<BTreeMap<String, Arc<Place<T>>>>,
    /// The shortest time from where one read of a place begins to where the next one does.
    pause: Duration,
}

/// When the last read of one place began, and what it found where it succeeded; locked while one goes on.
type Place<T> = tokio::sync::Mutex<Option<(Instant, Option<T>)>>;

impl<T: Clone> Shared<T> {
    /// Reads of one place that begin no sooner than `pause` after each other: who asks meanwhile waits for the next.
    pub(super) fn every(pause: Duration) -> Self {
        Shared { places: Mutex::default(), pause }
    }

    /// What `place` holds now or a little later, by `read`: a read that begins after the question serves everybody who
    /// asked before it began.
    ///
    /// # Errors
    /// Those of `read`, which are not shared.
    pub(super) async fn get(&self, place: &str, read: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
        let asked = Instant::now();
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(place.to_owned()).or_default())
        };
        let mut last = place.lock().await;
        if let Some((begun, Some(found))) = &*last
            && *begun > asked
        {
            return Ok(found.clone());
        }
        if let Some((begun, _)) = &*last {
            tokio::time::sleep_until(*begun + self.pause).await;
        }
        let begun = Instant::now();
        *last = Some((begun, None));
        let found = read().await?;
        *last = Some((begun, Some(found.clone())));
        Ok(found)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// One read, which takes 50 ms: the how manieth it is.
    async fn next(count: &AtomicUsize) -> Result<usize> {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(number)
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_while_it_is_read_share_the_next_read() {
        let (shared, count) = (Shared::every(Duration::ZERO), AtomicUsize::new(0));
        let ask = async |after: u64, place: &str| {
            tokio::time::sleep(Duration::from_millis(after)).await;
            shared.get(place, async || next(&count).await).await.unwrap()
        };
        let found = tokio::join!(ask(0, "a"), ask(1, "a"), ask(30, "a"), ask(51, "a"), ask(49, "a"));
        assert_eq!(found, (1, 2, 2, 3, 2));
        assert_eq!(ask(0, "a").await, 4, "what was read before the question is no answer");
        assert_eq!(ask(0, "b").await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_of_a_place_begin_no_sooner_than_the_pause_after_each_other() {
        let (shared, count) = (Shared::every(Duration::from_millis(200)), AtomicUsize::new(0));
        let begun = Instant::now();
        let ask = async |after: u64, place: &str| {
            tokio::time::sleep_until(begun + Duration::from_millis(after)).await;
            let found = shared.get(place, async || next(&count).await).await.unwrap();
            (found, begun.elapsed().as_millis())
        };
        let found = tokio::join!(ask(0, "a"), ask(60, "a"), ask(190, "a"), ask(600, "a"));
        assert_eq!(
            found,
            ((1, 50), (2, 250), (2, 250), (3, 650)),
            "the last is not held up, nobody is told what is old"
        );
        assert_eq!(ask(650, "b").await, (4, 700), "another place is not held up by it");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_read_that_failed_there_is_a_pause_as_well() {
        let (shared, count) = (Shared::every(Duration::from_millis(200)), AtomicUsize::new(0));
        let begun = Instant::now();
        shared.get("a", async || anyhow::bail!("no")).await.unwrap_err();
        shared.get("a", async || next(&count).await).await.unwrap();
        assert_eq!(begun.elapsed().as_millis(), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_fails_or_is_given_up_is_not_shared() {
        let (shared, count) = (Shared::every(Duration::ZERO), AtomicUsize::new(0));
        shared.get("a", async || anyhow::bail!("no")).await.unwrap_err();
        let given_up = tokio::time::timeout(Duration::from_millis(10), shared.get("a", async || next(&count).await));
        let later = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            shared.get("a", async || next(&count).await).await
        };
        let (given_up, later) = tokio::join!(given_up, later);
        assert!(given_up.is_err());
        assert_eq!(later.unwrap(), 2);
    }
}
