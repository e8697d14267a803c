//! What a Lease says of who may deploy. Pure but for a look at the processes of this machine.

use super::holder::Holder;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{Timestamp, Unit};

/// How it stands with the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody holds it, or nobody who is still there.
    Free,
    /// Somebody holds it who should have renewed it by now. The text says who.
    Stale(String),
    /// Somebody holds it. The text says who, and since when.
    Held(String),
}

/// How it stands for `holder` at `now`.
pub(super) fn standing(lease: Option<&Lease>, holder: &Holder, now: Timestamp) -> Standing {
    let Some((lease, spec)) = lease.and_then(|lease| Some((lease, lease.spec.as_ref()?))) else {
        return Standing::Free;
    };
    let Some(name) = spec.holder_identity.as_deref().filter(|name| !name.is_empty()) else {
        return Standing::Free;
    };
    if holder.holds(lease) || holder.neighbour(lease).is_some_and(|process| !process.is_alive()) {
        return Standing::Free;
    }
    let seconds = |since: Timestamp| now.since((Unit::Second, since)).map_or(0, |span| span.get_seconds());
    let ago = |since: Timestamp| match seconds(since) {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds => format!("{} min ago", seconds / 60),
    };
    let mut told = format!("`{name}`");
    if let Some(acquired) = &spec.acquire_time {
        told.push_str(&format!(", begun {}", ago(acquired.0)));
    }
    let Some(renewed) = &spec.renew_time else { return Standing::Stale(told) };
    told.push_str(&format!(", last heard of {}", ago(renewed.0)));
    match seconds(renewed.0) > i64::from(spec.lease_duration_seconds.unwrap_or_default()) {
        true => Standing::Stale(told),
        false => Standing::Held(told),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::process::ProcessRef;
    use std::time::Duration;

    fn holder(name: &str, machine: &str, pid: u32, start: u64) -> Holder {
        Holder { name: name.to_owned(), machine: machine.to_owned(), process: Some(ProcessRef { pid, start }) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    #[test]
    fn one_who_renews_holds_it_and_one_who_stopped_is_stale() {
        let (ours, other) = (holder("b@y", "m2", 1, 1), holder("a@x", "m1", 7, 7));
        let lease = other.lease(None, Duration::from_secs(15), at(0));
        let lease = other.lease(Some(lease), Duration::from_secs(15), at(130));
        let told = "`a@x`, begun 2 min ago, last heard of 5 s ago".to_owned();
        assert_eq!(standing(Some(&lease), &ours, at(135)), Standing::Held(told));
        let told = "`a@x`, begun 2 min ago, last heard of 16 s ago".to_owned();
        assert_eq!(standing(Some(&lease), &ours, at(146)), Standing::Stale(told));
        assert_eq!(standing(Some(&lease), &other, at(146)), Standing::Free);
        assert_eq!(standing(None, &ours, at(0)), Standing::Free);
    }

    #[test]
    fn a_process_that_is_gone_from_this_machine_holds_nothing() {
        let own = Holder::own();
        let gone = ProcessRef { start: own.process.unwrap().start + 1, ..own.process.unwrap() };
        let dead = Holder { name: "a@x".to_owned(), process: Some(gone), ..own.clone() };
        let lease = dead.lease(None, Duration::from_secs(15), at(0));
        assert_eq!(standing(Some(&lease), &own, at(1)), Standing::Free);
        // The same on another machine, of which nothing is known.
        let elsewhere = Holder { machine: "m1".to_owned(), ..dead };
        let lease = elsewhere.lease(None, Duration::from_secs(15), at(0));
        assert!(matches!(standing(Some(&lease), &own, at(1)), Standing::Held(_)));
        // One of this machine that still runs.
        let alive = Holder { name: "a@x".to_owned(), ..own.clone() };
        let lease = alive.lease(None, Duration::from_secs(15), at(0));
        assert!(matches!(standing(Some(&lease), &own, at(1)), Standing::Held(_)));
    }

    #[test]
    fn a_takeover_is_counted_and_a_renewal_is_not() {
        let (one, two) = (holder("a@x", "m1", 7, 7), holder("b@y", "m2", 1, 1));
        let first = one.lease(None, Duration::from_secs(15), at(0));
        let renewed = one.lease(Some(first.clone()), Duration::from_secs(15), at(5));
        let taken = two.lease(Some(renewed.clone()), Duration::from_secs(15), at(30));
        let transitions = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions;
        assert_eq!([&first, &renewed, &taken].map(transitions), [Some(0), Some(0), Some(1)]);
        let acquired = |lease: &Lease| lease.spec.as_ref().unwrap().acquire_time.as_ref().unwrap().0;
        assert_eq!([&first, &renewed, &taken].map(acquired), [at(0), at(0), at(30)]);
    }
}
