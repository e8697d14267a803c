//! The guard: parent of every program of a sandbox, and the end of all of them.
//!
//! One thread, no runtime. It must be one thread: the kernel sends the parent-death signal when the
//! *thread* that started a program ends, not when the process does. It waits on two things at once,
//! requests on its standard input and the signals of its children, and answers on its standard
//! output, one JSON document a line. End of file on the input means that the supervisor is gone.

use super::SHIM_MODE;
use super::guard::{Message, ProgramSpec, Request};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the last sweep may take: a killed process can hang in the kernel, the guard must not.
const SWEEP_DEADLINE: Duration = Duration::from_secs(10);
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);

/// Runs the guard until the supervisor is gone and every program has ended; gives the exit code.
pub(super) fn run() -> u8 {
    match Guarded::new().and_then(|mut guarded| {
        let outcome = guarded.serve();
        guarded.sweep();
        outcome
    }) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "guard: {error:#}");
            1
        }
    }
}

struct Guarded {
    /// Running programs by name. Each is the leader of a process group of its own.
    running: BTreeMap<String, Pid>,
    signals: SignalFd,
    input: File,
    output: File,
}

impl Guarded {
    fn new() -> Result<Self> {
        // Children of programs that leave their parent come to us instead of to init.
        set_child_subreaper(true).context("cannot become the reaper of orphans")?;
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block().context("cannot block signals")?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot wait for signals")?;
        // The standard streams are buffered, and a buffer would hide input from `poll`.
        let input = File::from(std::io::stdin().as_fd().try_clone_to_owned().context("a standard stream is closed")?);
        let output = File::from(std::io::stdout().as_fd().try_clone_to_owned().context("a standard stream is closed")?);
        Ok(Guarded { running: BTreeMap::new(), signals, input, output })
    }

    /// Serves requests until end of file or a signal to end.
    fn serve(&mut self) -> Result<()> {
        let mut pending: Vec<u8> = Vec::new();
        loop {
            let (readable, signalled) = {
                let mut descriptors = [
                    PollFd::new(self.input.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                ];
                match poll(&mut descriptors, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(error).context("cannot wait for requests"),
                }
                (descriptors[0].any().unwrap_or(true), descriptors[1].any().unwrap_or(true))
            };
            if signalled && self.take_signals() {
                return Ok(());
            }
            if readable {
                let mut chunk = [0_u8; 65536];
                let length = match self.input.read(&mut chunk) {
                    Ok(0) => return Ok(()),
                    Ok(length) => length,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error).context("cannot read requests"),
                };
                pending.extend_from_slice(&chunk[..length]);
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    let request = serde_json::from_slice(&line).context("a request is not understood")?;
                    self.answer(request);
                }
            }
        }
    }

    /// Takes what the kernel reports; true when the guard itself is to end.
    fn take_signals(&mut self) -> bool {
        let mut end = false;
        while let Ok(Some(information)) = self.signals.read_signal() {
            end |= i32::try_from(information.ssi_signo) != Ok(Signal::SIGCHLD as i32);
        }
        self.reap();
        end
    }

    /// Collects every child that has ended. Several ends can share one signal.
    fn reap(&mut self) {
        loop {
            let (pid, code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Some(code), None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, None, Some(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let Some(name) = self.running.iter().find(|(_, running)| **running == pid).map(|(name, _)| name.clone())
            else {
                continue;
            };
            self.running.remove(&name);
            // What it leaves behind in its group has no purpose without it.
            let _ = killpg(pid, Signal::SIGKILL);
            self.send(&Message::Exited { name, pid: pid.as_raw().unsigned_abs(), code, signal });
        }
    }

    fn answer(&mut self, request: Request) {
        let message = match request {
            Request::Spawn { id, spec } => match self.spawn(&spec) {
                Ok(pid) => Message::Spawned { id, name: spec.name, pid: pid.as_raw().unsigned_abs() },
                Err(error) => Message::Refused { id, message: format!("{error:#}") },
            },
            Request::Signal { id, name, signal } => match self.running.get(&name) {
                Some(pid) => match killpg(*pid, Signal::from(signal)) {
                    Ok(()) => Message::Signalled { id },
                    Err(error) => Message::Refused { id, message: format!("cannot signal `{name}`: {error}") },
                },
                None => Message::Refused { id, message: format!("`{name}` is not running") },
            },
        };
        self.send(&message);
    }

    fn spawn(&mut self, spec: &ProgramSpec) -> Result<Pid> {
        anyhow::ensure!(!self.running.contains_key(&spec.name), "`{}` runs already", spec.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spec.log)
            .with_context(|| format!("cannot open the log `{}`", spec.log.display()))?;
        // This very executable, even if its file was replaced since it was started.
        let child = Command::new("/proc/self/exe")
            .arg0("drivemaster-mon")
            .arg(SHIM_MODE)
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(&spec.program)
            .args(&spec.arguments)
            .env_clear()
            .envs(&spec.environment)
            .current_dir(&spec.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log")?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{}`", spec.name))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("the kernel gave an impossible process id")?);
        self.running.insert(spec.name.clone(), pid);
        Ok(pid)
    }

    /// Sends one message. Nobody listening is no reason to stop: the end of the input says so too.
    fn send(&mut self, message: &Message) {
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            let _ = self.output.write_all(&line);
        }
    }

    /// Ends every program, then everything they have left behind, until no child is left.
    fn sweep(&mut self) {
        let deadline = Instant::now() + SWEEP_DEADLINE;
        for pid in self.running.values() {
            let _ = killpg(*pid, Signal::SIGKILL);
        }
        while Instant::now() < deadline {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return,
                Ok(WaitStatus::StillAlive) | Err(_) => {
                    for child in own_children() {
                        let _ = kill(child, Signal::SIGKILL);
                    }
                    std::thread::sleep(SWEEP_INTERVAL);
                }
                Ok(_) => {}
            }
        }
    }
}

/// The children that the kernel lists for this process, adopted orphans included.
fn own_children() -> Vec<Pid> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .map(Pid::from_raw)
        .collect()
}
