//! What a deploy costs beside the sequence of `helm upgrade --install --wait` and beside helmfile: the same
//! charts with the same values on sandboxes of their own, in one run. `make bench` runs it; it asserts that
//! each of them did its work and no speed.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub)]

mod contenders;
mod engine;
mod measure;
mod report;
#[path = "../support/mod.rs"]
mod support;

use contenders::{Change, Contender, Ground};
use measure::Figures;
use std::collections::BTreeMap;

/// How often everything is measured; medians are reported.
fn rounds() -> usize {
    std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// Everybody who can deploy here.
fn contenders() -> Vec<Contender> {
    let mut contenders = vec![Contender::Ours];
    contenders.extend(contenders::helmfile().map(|_| Contender::Helmfile));
    contenders.extend([false, true].map(|as_shipped| Contender::Helm { as_shipped }));
    contenders.push(Contender::Planned);
    contenders
}

/// One run of everything, round by round and in turns, so that a busy hour hits all of them.
#[test]
#[ignore = "a benchmark, of a quarter of an hour: make bench"]
fn deploys_beside_their_peers() {
    let mut measured: BTreeMap<(u64, Change, Contender), Vec<Figures>> = BTreeMap::new();
    let mut brought_up = Vec::new();
    for pods_start_after in [0, 10] {
        let rounds = if pods_start_after == 0 { rounds() } else { 1 };
        for _ in 0..rounds {
            for contender in contenders() {
                let ground = Ground::new(contender, pods_start_after);
                let is_first_alone = pods_start_after > 0 || contender == Contender::Planned;
                brought_up.push(ground.brought_up);
                let changes = if is_first_alone { &[Change::Cold] } else { Change::ALL };
                let alike = |change: &&Change| **change != Change::Unkept || contender == Contender::Ours;
                for change in changes.iter().filter(alike) {
                    let figures = ground.measure(*change);
                    eprintln!("{pods_start_after:>2} s pods, {change}, {contender}: {figures}");
                    measured.entry((pods_start_after, *change, contender)).or_default().push(figures);
                }
            }
        }
    }
    let medians = measured.into_iter().map(|(key, figures)| (key, Figures::median(&figures))).collect();
    report::write("deploys", &report::deploys(&medians));
    report::write("sandbox", &report::sandboxes(brought_up));
}

/// How cost grows with the number of releases.
#[test]
#[ignore = "a benchmark, of some minutes: make bench"]
fn many_small_releases() {
    let mut measured = Vec::new();
    for count in [1, 10, 50] {
        let (helm, ours, nothing) = engine::measure_releases(count);
        eprintln!("{count} releases: helm {helm}; ours {ours}; no change {nothing}");
        measured.push((count, helm, ours, nothing));
    }
    report::write("releases", &report::releases(&measured));
}

/// Runs the command of the environment and prints what it cost: a process of its own, so that what the
/// kernel counts of its children is that command alone.
#[test]
#[ignore = "a part of the benchmarks"]
fn measured_command() {
    measure::in_the_child();
}

/// Carries out a plan of small releases; a process of its own, for the same reason.
#[test]
#[ignore = "a part of the benchmarks"]
fn engine_command() {
    engine::in_the_child();
}
