//! The guard with real processes: nothing it starts outlives it or its supervisor.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use drivemaster_mon::sandbox::guard::{Guard, ProgramSpec, Signal};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

fn program(folder: &Path, name: &str, script: &str) -> ProgramSpec {
    ProgramSpec {
        name: name.to_owned(),
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        directory: folder.to_owned(),
        log: folder.join(format!("{name}.log")),
    }
}

fn start() -> Guard {
    Guard::start(Path::new(env!("CARGO_BIN_EXE_drivemaster-mon"))).unwrap()
}

/// Processes whose command line contains `marker`.
fn processes_with(marker: &str) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(marker)
        })
        .collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Three sleepers: the program itself, a child in its group, and one that left group and session.
fn family(marker: &str) -> String {
    format!("setsid sh -c 'sleep 1000; : {marker}' & sh -c 'sleep 1000; : {marker}' & sleep 1000; : {marker}")
}

#[tokio::test]
async fn a_program_runs_with_its_own_environment_and_its_end_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let guard = start();
    let mut exits = guard.exits();
    let pid = guard.spawn(program(folder.path(), "short", "env; exit 7")).await.unwrap();
    let exit = exits.recv().await.unwrap();
    assert_eq!((exit.name.as_str(), exit.pid, exit.code, exit.signal), ("short", pid, Some(7), None));
    let log = std::fs::read_to_string(folder.path().join("short.log")).unwrap();
    let mut names: Vec<&str> = log.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["PATH", "PWD"]);
    assert!(guard.running().is_empty());
}

#[tokio::test]
async fn stop_ends_what_ignores_sigterm_after_the_grace() {
    let folder = tempfile::tempdir().unwrap();
    let guard = start();
    let mut exits = guard.exits();
    let deaf = program(folder.path(), "deaf", "trap '' TERM; echo deaf; while :; do sleep 0.05; done");
    guard.spawn(deaf.clone()).await.unwrap();
    until("it is deaf", || std::fs::read_to_string(folder.path().join("deaf.log")).unwrap() == "deaf\n").await;
    assert!(guard.spawn(deaf).await.unwrap_err().root_cause().to_string().contains("`deaf` runs already"));
    guard.stop("deaf", Duration::from_millis(200)).await.unwrap();
    assert_eq!(exits.recv().await.unwrap().signal, Some(9));
    guard.stop("deaf", Duration::ZERO).await.unwrap();
    assert!(guard.signal("deaf", Signal::Hangup).await.is_err());
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_ends_with_127_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let guard = start();
    let mut exits = guard.exits();
    let spec = ProgramSpec { program: "/nonexistent/etcd".into(), ..program(folder.path(), "none", "") };
    guard.spawn(spec).await.unwrap();
    assert_eq!(exits.recv().await.unwrap().code, Some(127));
    let log = std::fs::read_to_string(folder.path().join("none.log")).unwrap();
    assert!(log.contains("cannot execute `/nonexistent/etcd`"), "{log}");
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_whole_family() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().display().to_string();
    let guard = start();
    guard.spawn(program(folder.path(), "family", &family(&marker))).await.unwrap();
    until("the family runs", || processes_with(&marker).len() >= 3).await;
    drop(guard);
    until("the family is gone", || processes_with(&marker).is_empty()).await;
}

#[tokio::test]
async fn killing_the_guard_ends_its_programs_and_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().display().to_string();
    let guard = start();
    let mut exits = guard.exits();
    guard.spawn(program(folder.path(), "lonely", &format!("sleep 1000; : {marker}"))).await.unwrap();
    until("it runs", || processes_with(&marker).len() == 1).await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(guard.pid()).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    guard.gone().await;
    assert_eq!(exits.recv().await.unwrap().name, "lonely");
    until("it is gone", || processes_with(&marker).is_empty()).await;
    assert!(guard.spawn(program(folder.path(), "late", "true")).await.is_err());
}
