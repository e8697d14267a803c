//! What one command costs.

use crate::support::sandbox::Sandbox;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// The variable that carries the command into the child.
const COMMAND: &str = "DRIVEMASTER_MON_BENCH_COMMAND";
/// What the line with the child's figures begins with.
const MARK: &str = "figures ";

/// A command with what it needs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its environment, added to the inherited one.
    pub environment: Vec<(String, String)>,
    /// The folder it runs in.
    pub folder: PathBuf,
}

/// What a command took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Seconds by the clock.
    pub seconds: f64,
    /// Seconds of CPU of it and of everything it started.
    pub cpu: f64,
    /// MiB of memory of its largest process.
    pub memory: f64,
    /// Requests to the API server.
    pub requests: usize,
    /// Writes among them.
    pub writes: usize,
}

impl Figures {
    /// The median of each figure.
    pub fn median(all: &[Figures]) -> Figures {
        fn middle<T: Copy + PartialOrd>(values: impl Iterator<Item = T>) -> T {
            let mut values: Vec<T> = values.collect();
            values.sort_by(|one, other| one.partial_cmp(other).unwrap());
            values[values.len() / 2]
        }
        Figures {
            seconds: middle(all.iter().map(|one| one.seconds)),
            cpu: middle(all.iter().map(|one| one.cpu)),
            memory: middle(all.iter().map(|one| one.memory)),
            requests: middle(all.iter().map(|one| one.requests)),
            writes: middle(all.iter().map(|one| one.writes)),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { seconds, cpu, memory, requests, writes } = self;
        write!(formatter, "{seconds:.2} s, {cpu:.2} s CPU, {memory:.0} MiB, {requests} requests, {writes} writes")
    }
}

/// What `command` costs; it must succeed. Requests are those of ours and of Helm on `sandbox`.
pub fn measure(sandbox: &Sandbox, command: &Measured) -> Figures {
    measure_as(sandbox, "measured_command", &serde_json::to_string(command).unwrap())
}

/// What the test `name` of this binary costs as a process of its own with `input`.
pub fn measure_as(sandbox: &Sandbox, name: &str, input: &str) -> Figures {
    let requests = || ["drivemaster-mon/", "Helm"].iter().map(|agent| sandbox.requests_of(agent).len()).sum::<usize>();
    let (requests_before, writes_before) = (requests(), sandbox.writes().len());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name, "--nocapture", "--test-threads=1"])
        .env(COMMAND, input)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.split_once(MARK)).unwrap().1;
    let figures: Figures = serde_json::from_str(line).unwrap();
    // The audit log is written behind.
    std::thread::sleep(std::time::Duration::from_secs(2));
    Figures { requests: requests() - requests_before, writes: sandbox.writes().len() - writes_before, ..figures }
}

/// The input of this process, where it is such a child.
pub fn input() -> Option<String> {
    std::env::var(COMMAND).ok()
}

/// Prints what everything cost since `begun`, and the children in the whole life of this process.
pub fn print(begun: Instant, who: UsageWho) {
    let seconds = begun.elapsed().as_secs_f64();
    let usage = getrusage(who).unwrap();
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let cpu = |usage: &nix::sys::resource::Usage| usage.user_time() + usage.system_time();
    let mut total = cpu(&usage);
    if who != UsageWho::RUSAGE_CHILDREN {
        total = total + cpu(&children);
    }
    let largest = usage.max_rss().max(children.max_rss());
    let figures = Figures {
        seconds,
        cpu: total.num_microseconds() as f64 / 1e6,
        memory: largest as f64 / 1024.0,
        ..Figures::default()
    };
    println!("\n{MARK}{}", serde_json::to_string(&figures).unwrap());
}

pub fn in_the_child() {
    let Some(input) = input() else { return };
    let command: Measured = serde_json::from_str(&input).unwrap();
    let begun = Instant::now();
    let output = Command::new(&command.argv[0])
        .args(&command.argv[1..])
        .envs(command.environment)
        .current_dir(command.folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    print(begun, UsageWho::RUSAGE_CHILDREN);
}
