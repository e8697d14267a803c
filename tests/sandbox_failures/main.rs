//! Failures of every kind, seeded one by one: each is named with its cause, at once, and with the right exit code.
//! `make failures` seeds all of them for helm too, and writes what each says, and when, to `docs/failures.md`.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod measure;
mod seeds;
mod table;

use measure::{Ours, deploy, helm};
use seeds::{Seed, seeds};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::fault_proxy::FaultProxy;
use support::sandbox::Sandbox;

/// Failures that are seeded at once.
const AT_ONCE: usize = 3;

/// Applies `manifest`; what kubectl says where it is refused.
fn try_apply(sandbox: &Sandbox, manifest: &str, options: &[&str]) -> Result<(), String> {
    let mut kubectl = Command::new(support::tool("kubectl"))
        .args(["apply", "-f", "-"])
        .args(options)
        .env("KUBECONFIG", sandbox.kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    kubectl.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    let output = kubectl.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn apply(sandbox: &Sandbox, manifest: &str) {
    try_apply(sandbox, manifest, &[]).unwrap();
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Makes the namespace and what stands in it before.
fn plant(sandbox: &Sandbox, seed: &Seed, namespace: &str) {
    sandbox.kubectl(&["create", "namespace", namespace]);
    if !seed.manifest.is_empty() {
        apply(sandbox, &seed.manifest.replace("NAMESPACE", namespace));
    }
    (seed.prepare)(sandbox, namespace);
}

fn uproot(sandbox: &Sandbox, seed: &Seed, namespace: &str) {
    (seed.undo)(sandbox, namespace);
    sandbox.kubectl(&["delete", "namespace", namespace, "--wait=false", "--ignore-not-found"]);
}

/// Runs `each` on every seed, some at once; the namespaces of those that panicked.
fn on_each<T: Send>(seeds: &[Seed], each: impl Fn(&Seed) -> T + Sync) -> (Vec<(Seed, T)>, Vec<&'static str>) {
    let waiting = Mutex::new(seeds.iter());
    let (done, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(seed) = waiting.lock().unwrap().next() else { return };
                    match catch_unwind(AssertUnwindSafe(|| each(seed))) {
                        Ok(result) => done.lock().unwrap().push((*seed, result)),
                        Err(_) => failed.lock().unwrap().push(seed.namespace),
                    }
                }
            });
        }
    });
    (done.into_inner().unwrap(), failed.into_inner().unwrap())
}

/// Seeds the failure for our own deploy, and looks whether it is named.
fn ours(sandbox: &Sandbox, proxy: &FaultProxy, seed: &Seed) -> Ours {
    plant(sandbox, seed, seed.namespace);
    let ours = deploy(sandbox, proxy, seed);
    uproot(sandbox, seed, seed.namespace);
    assert_eq!(ours.code, seed.code, "{}: {}", seed.failure, ours.output);
    for word in seed.says {
        assert!(ours.output.contains(word), "{}: no `{word}` in {}", seed.failure, ours.output);
    }
    assert!(ours.told.is_some(), "{}: `{}` was not told: {}", seed.failure, seed.says[0], ours.output);
    ours
}

#[test]
fn the_page_has_a_row_for_each_failure_where_the_next_run_writes_it() {
    let rows = table::rows_of_page();
    let seeds: Vec<&str> = seeds().iter().map(|seed| seed.failure).collect();
    assert_eq!(rows, seeds);
}

#[test]
fn every_failure_is_named_with_its_cause() {
    let sandbox = Sandbox::up();
    let proxy = FaultProxy::start(&sandbox.kubeconfig());
    let seeds: Vec<Seed> = seeds().into_iter().filter(|seed| seed.in_every_run).collect();
    let (_, failed) = on_each(&seeds, |seed| ours(&sandbox, &proxy, seed));
    assert!(failed.is_empty(), "failed: {failed:?}");
}

#[test]
#[ignore = "waits for helm's timeouts: run by `make failures`"]
fn table_of_all() {
    let sandbox = Sandbox::up();
    let proxy = FaultProxy::start(&sandbox.kubeconfig());
    let (mut rows, failed) = on_each(&seeds(), |seed| {
        let ours = ours(&sandbox, &proxy, seed);
        let namespace = format!("{}-helm", seed.namespace);
        plant(&sandbox, seed, &namespace);
        let helm = helm(&sandbox, seed, &namespace);
        uproot(&sandbox, seed, &namespace);
        println!("{}: told after {:?}, helm after {:?}", seed.failure, ours.told, helm.took);
        (ours, helm)
    });
    assert!(failed.is_empty(), "failed: {failed:?}");
    let order: Vec<&str> = seeds().iter().map(|seed| seed.namespace).collect();
    rows.sort_by_key(|(seed, _)| order.iter().position(|namespace| *namespace == seed.namespace));
    table::write(&rows);
}
