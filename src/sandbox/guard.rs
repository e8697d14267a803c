//! The supervisor's side of the guard: start, signal and stop programs that never outlive it.

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{broadcast, oneshot, watch};

/// How long the guard may take to answer one request.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a killed program may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// How long the guard may take to end everything; it gives up by itself after 10 s.
const END_DEADLINE: Duration = Duration::from_secs(12);
/// Ends that a slow listener may lag behind.
const EXIT_BACKLOG: usize = 256;

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSpec {
    /// Name within the sandbox, such as `etcd`; one program of a name runs at a time.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments. Other processes can read them: no secrets.
    pub arguments: Vec<String>,
    /// Its whole environment; nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// File that its output is appended to.
    pub log: PathBuf,
}

/// A signal that programs of the sandbox understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// SIGHUP: read the configuration again.
    Hangup,
    /// SIGTERM: end in order.
    Terminate,
    /// SIGKILL: end now.
    Kill,
}

impl From<Signal> for nix::sys::signal::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Hangup => Self::SIGHUP,
            Signal::Terminate => Self::SIGTERM,
            Signal::Kill => Self::SIGKILL,
        }
    }
}

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its name.
    pub name: String,
    /// The process that ended: a successor of the same name has another.
    pub pid: u32,
    /// Its exit code, where it ended by itself.
    pub code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// How it ended, for people: `exit code 1` or `signal 9`.
    pub fn describe(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit code".to_owned(),
        }
    }
}

/// What the supervisor asks of the guard's process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "asks", rename_all = "camelCase")]
pub(super) enum Request {
    Spawn { id: u64, spec: ProgramSpec },
    Signal { id: u64, name: String, signal: Signal },
}

/// What the guard's process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "camelCase")]
pub(super) enum Message {
    Spawned { id: u64, name: String, pid: u32 },
    Signalled { id: u64 },
    Refused { id: u64, message: String },
    Exited { name: String, pid: u32, code: Option<i32>, signal: Option<i32> },
}

/// A handle on the guard's process. When the last clone is dropped, the guard ends every program.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
}

struct Shared {
    pid: u32,
    /// `None` once the guard was told to end.
    input: tokio::sync::Mutex<Option<ChildStdin>>,
    exits: broadcast::Sender<Exit>,
    /// False once the guard's process is gone.
    alive: watch::Receiver<bool>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<u32, String>>>,
    running: BTreeMap<String, u32>,
}

impl Guard {
    /// Starts the guard's process from `executable`, which must be this program: whatever calls
    /// [`super::reexec_entry`] first.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(executable: &Path) -> Result<Self> {
        let mut child = Command::new(executable)
            .arg0("drivemaster-mon")
            .arg(super::GUARD_MODE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start the guard `{}`", executable.display()))?;
        let pid = child.id().context("the guard ended at once")?;
        let input = child.stdin.take().context("the guard has no input")?;
        let output = child.stdout.take().context("the guard has no output")?;
        let (exits, _) = broadcast::channel(EXIT_BACKLOG);
        let (alive_sender, alive) = watch::channel(true);
        let state = Arc::new(Mutex::new(State::default()));
        tokio::spawn(listen(child, output, state.clone(), exits.clone(), alive_sender));
        let input = tokio::sync::Mutex::new(Some(input));
        Ok(Guard { shared: Arc::new(Shared { pid, input, exits, alive, state }) })
    }

    /// Process id of the guard.
    pub fn pid(&self) -> u32 {
        self.shared.pid
    }

    /// Ends every program by force and then the guard itself.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn end(&self) -> Result<()> {
        drop(self.shared.input.lock().await.take());
        tokio::time::timeout(END_DEADLINE, self.gone())
            .await
            .with_context(|| format!("the guard (process {}) does not end", self.shared.pid))
    }

    /// Waits until the guard's process is gone, and every program with it.
    pub async fn gone(&self) {
        let mut alive = self.shared.alive.clone();
        // An error means that the sender is gone, which happens only after the guard is.
        let _ = alive.wait_for(|alive| !*alive).await;
    }

    /// Starts a program and gives its process id.
    ///
    /// # Errors
    /// When a program of that name runs, its log cannot be opened or the guard is gone. A program
    /// that cannot be executed is reported as an [`Exit`] with code 127.
    pub async fn spawn(&self, spec: ProgramSpec) -> Result<u32> {
        let name = spec.name.clone();
        self.ask(|id| Request::Spawn { id, spec }).await.with_context(|| format!("cannot start `{name}`"))
    }

    /// Sends a signal to the process group of the program `name`.
    ///
    /// # Errors
    /// When it is not running or the guard is gone.
    pub async fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let name = name.to_owned();
        self.ask(|id| Request::Signal { id, name, signal }).await.map(|_| ())
    }

    /// Ends the program `name` in order, after `grace` by force, and waits until it is gone. One
    /// that is not running is already stopped.
    ///
    /// # Errors
    /// When it cannot be ended or the guard is gone.
    pub async fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        let mut exits = self.exits();
        let Some(pid) = self.pid_of(name) else { return Ok(()) };
        for (signal, patience) in [(Signal::Terminate, grace), (Signal::Kill, KILL_DEADLINE)] {
            if let Err(error) = self.signal(name, signal).await {
                // It may have ended between the look and the signal.
                return if self.pid_of(name) == Some(pid) { Err(error) } else { Ok(()) };
            }
            if tokio::time::timeout(patience, wait_for_exit(&mut exits, pid)).await.is_ok() {
                return Ok(());
            }
        }
        Err(anyhow!("`{name}` (process {pid}) does not end, not even by SIGKILL"))
    }

    /// Ends of programs from now on.
    pub fn exits(&self) -> broadcast::Receiver<Exit> {
        self.shared.exits.subscribe()
    }

    /// Process id of the program `name` while it runs.
    pub fn pid_of(&self, name: &str) -> Option<u32> {
        lock(&self.shared.state).running.get(name).copied()
    }

    /// The running programs and their process ids.
    pub fn running(&self) -> BTreeMap<String, u32> {
        lock(&self.shared.state).running.clone()
    }

    async fn ask(&self, request: impl FnOnce(u64) -> Request) -> Result<u32> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut state = lock(&self.shared.state);
            state.next_id += 1;
            let id = state.next_id;
            state.waiting.insert(id, sender);
            id
        };
        let mut line = serde_json::to_vec(&request(id)).context("cannot write a request")?;
        line.push(b'\n');
        let exchange = async {
            {
                let mut input = self.shared.input.lock().await;
                let input = input.as_mut().context("the guard is gone")?;
                input.write_all(&line).await.context("the guard is gone")?;
                input.flush().await.context("the guard is gone")?;
            }
            receiver.await.context("the guard is gone")?.map_err(|message| anyhow!(message))
        };
        let answer = tokio::time::timeout(ANSWER_DEADLINE, exchange).await;
        lock(&self.shared.state).waiting.remove(&id);
        answer.with_context(|| format!("the guard (process {}) does not answer", self.shared.pid))?
    }
}

/// Reads the guard's messages until it is gone.
async fn listen(
    mut child: Child,
    output: ChildStdout,
    state: Arc<Mutex<State>>,
    exits: broadcast::Sender<Exit>,
    alive: watch::Sender<bool>,
) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
        take(message, &state, &exits);
    }
    let _ = child.wait().await;
    // Whoever waits for an answer learns by the dropped sender, whoever waits for an end by the exits.
    let running = {
        let mut state = lock(&state);
        state.waiting.clear();
        std::mem::take(&mut state.running)
    };
    for (name, pid) in running {
        let _ = exits.send(Exit { name, pid, code: None, signal: None });
    }
    let _ = alive.send(false);
}

fn take(message: Message, state: &Mutex<State>, exits: &broadcast::Sender<Exit>) {
    let (id, answer) = match message {
        Message::Spawned { id, name, pid } => {
            lock(state).running.insert(name, pid);
            (id, Ok(pid))
        }
        Message::Signalled { id } => (id, Ok(0)),
        Message::Refused { id, message } => (id, Err(message)),
        Message::Exited { name, pid, code, signal } => {
            lock(state).running.retain(|_, running| *running != pid);
            // Nobody listening is fine.
            let _ = exits.send(Exit { name, pid, code, signal });
            return;
        }
    };
    let waiting = lock(state).waiting.remove(&id);
    if let Some(sender) = waiting {
        let _ = sender.send(answer);
    }
}

async fn wait_for_exit(exits: &mut broadcast::Receiver<Exit>, pid: u32) {
    loop {
        match exits.recv().await {
            Ok(exit) if exit.pid == pid => return,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// The state holds plain data, so it is usable even after a panic elsewhere.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
