//! The process that knows what a sandbox is made of, and lives as long as it does.

use super::behind::{self, Behind, BehindOptions, ProgramNote};
use super::bring_up::{PortTaken, bring_up, choose_ports, last_lines};
use super::control::{Answer, Ask, MissingProgram, NodeStatus, ProgramStatus, Status, serve};
use super::control_plane::{ControlPlane, PROGRAMS, Ports, loopback};
use super::credentials;
use super::guard::{Exit, Guard};
use super::handshake::{Options, Report, Reporter, TAKEN};
use super::network::program::{Absence, Program};
use super::network::{self, Network};
use super::objects;
use super::pki::Pki;
use super::platform_start::{Platform, apply, platform_of};
use super::reserved_ports::ReservedPorts;
use super::state::{ProgramRecord, Record};
use crate::error::failure_of;
use crate::process::ProcessRef;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, mpsc};

/// The step that makes the simulated platform's workloads.
const PLATFORM_STEP: &str = "platform";
/// How often ports are chosen again when one was taken meanwhile.
const ATTEMPTS: usize = 3;
/// How long programs may take to end in order: nothing they could save is kept.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How long the programs behind pods may take to end in order.
const BEHIND_GRACE: Duration = Duration::from_secs(3);
/// How long the starting process may take to say that it takes the sandbox.
const TAKE_DEADLINE: Duration = Duration::from_secs(30);
/// How much of a dead program's log the status shows.
const TOLD_LINES: usize = 12;
/// How long the status waits for the API server.
const NODE_DEADLINE: Duration = Duration::from_secs(2);

/// Runs the supervisor, and gives the process exit code.
pub(super) fn run() -> u8 {
    // A session of its own has no terminal, so no Ctrl-C and no hang-up reaches it. It fails only
    // where it is the leader of a group already, which does as well.
    let _ = nix::unistd::setsid();
    match prepare() {
        Ok(()) => 0,
        Err(error) => {
            log(&format!("{error:#}"));
            Reporter.failed(&error);
            1
        }
    }
}

/// Writes one line to the supervisor's log, which is its standard error.
pub(super) fn log(message: &str) {
    let _ = writeln!(std::io::stderr(), "{} {message}", jiff::Timestamp::now());
}

fn prepare() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the options")?;
    let options: Options = serde_json::from_str(&line).context("the options are not understood")?;
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(supervise(options, caller()));
    runtime.shutdown_background();
    outcome
}

/// What the starting process says on our standard input: `true` when it takes the sandbox; the
/// channel closes when it is gone.
fn caller() -> mpsc::UnboundedReceiver<()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    // A thread of its own: a runtime would wait for this read before it ends.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line {
                Ok(line) if line == TAKEN => {
                    let _ = sender.send(());
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// The signals that end a sandbox.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> Result<Self> {
        Ok(Ends { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn supervise(options: Options, mut caller: mpsc::UnboundedReceiver<()>) -> Result<()> {
    let mut ends = Ends::new().context("cannot listen for signals")?;
    let guard = Guard::start(Path::new("/proc/self/exe"))?;
    let mut exits = guard.exits();
    let folder = options.folder.clone();
    let started = tokio::select! {
        started = start(options, guard.clone()) => Some(started),
        () = guard.gone() => Some(Err(anyhow::anyhow!("the guard is gone"))),
        () = ends.wait() => None,
        // Only its end is said before it is told that the sandbox is ready.
        _ = caller.recv() => None,
    };
    let sandbox = match started {
        Some(Ok(sandbox)) => Arc::new(sandbox),
        // The logs tell why, so the folder stays.
        Some(Err(error)) => {
            guard.end().await?;
            return Err(error);
        }
        None => {
            guard.end().await?;
            return folder.remove();
        }
    };
    Reporter.send(&Report::Ready);
    let taken = tokio::time::timeout(TAKE_DEADLINE, caller.recv()).await;
    let outcome = if matches!(taken, Ok(Some(()))) {
        log("ready");
        tokio::select! {
            outcome = serve_until_end(&sandbox, &mut ends, &mut exits) => outcome,
            // It says nothing more, so this is its end.
            _ = caller.recv(), if sandbox.options.bound => Ok(()),
        }
    } else {
        Ok(())
    };
    log("ending");
    sandbox.stop().await;
    guard.end().await?;
    outcome?;
    folder.remove()
}

/// A sandbox that runs.
struct Sandbox {
    options: Options,
    ports: Ports,
    /// Keeps [`Self::ports`].
    _reserved: ReservedPorts,
    guard: Guard,
    client: Client,
    listener: UnixListener,
    ready_at: Instant,
    /// The programs of the control plane that ended by themselves.
    ended: Mutex<BTreeMap<String, Ended>>,
    platform: Platform,
    network: Network,
    /// `None` once the sandbox ends.
    behind: Mutex<Option<Behind>>,
}

#[derive(Clone)]
struct Ended {
    how: String,
    last_lines: Vec<String>,
}

async fn start(options: Options, guard: Guard) -> Result<Sandbox> {
    let folder = &options.folder;
    let pki = Pki::create(&folder.pki()).context("cannot make the certificates")?;
    let mut record =
        Record { guard: ProcessRef::of(guard.pid()), ..Record::of_supervisor(folder, std::process::id())? };
    record.platform = platform_of(&options.config);
    folder.write_record(&record)?;
    let platform = Platform::new(&options.config)?;
    let mut attempt = 1;
    let (ports, reserved, network, client) = loop {
        let (mut ports, reserved) = choose_ports(options.programs.all_behind().into_keys())?;
        // Before the API server, which goes through it to reach the node.
        let network = network::start(platform.network(folder, &ports, &pki)).await?;
        ports.simulated = network.simulated();
        let plane = ControlPlane {
            folder,
            pki: &pki,
            ports: &ports,
            programs: &options.programs,
            pods_start_after: options.pods_start_after,
        };
        match bring_up(&plane, &guard, Reporter).await {
            Ok(client) => break (ports, reserved, network, client),
            Err(error) if error.is::<PortTaken>() && attempt < ATTEMPTS => {
                attempt += 1;
                Reporter.send(&Report::Note { message: format!("{error}; trying others") });
                stop_programs(&guard).await;
                network.shutdown().await;
            }
            Err(error) => return Err(error),
        }
    };
    network.watch(client.clone());
    record.proxy = Some(network.proxy_url());
    let behind = behind::start(BehindOptions {
        client: client.clone(),
        guard: guard.clone(),
        executables: options.programs.all_behind(),
        listening: ports.listening(),
        directory: folder.behind(),
        api_server_url: format!("https://{}", loopback(ports.api_server)),
        ca_file: pki.authority(),
        proxy_url: network.proxy_url(),
    })?;
    Reporter.started(PLATFORM_STEP);
    let pods = platform.apply(&client).await?;
    for object in credentials::objects(&options.config)? {
        apply(&client, object).await?;
    }
    Reporter.finished(PLATFORM_STEP, &format!("{pods} pods in namespace `{}`", platform.namespace));
    for (name, pid) in guard.running() {
        if let Some(process) = ProcessRef::of(pid) {
            let program = options.programs.path(&name)?.to_owned();
            record.programs.insert(name.clone(), ProgramRecord { process, port: ports.of(&name), program });
        }
    }
    std::fs::copy(pki.kubeconfig("admin"), folder.kubeconfig()).context("cannot write the kubeconfig")?;
    folder.write_record(&record)?;
    let socket = folder.control_socket();
    let listener = UnixListener::bind(&socket).with_context(|| format!("cannot listen on `{}`", socket.display()))?;
    tokio::spawn(objects::provide_volumes(client.clone()));
    Ok(Sandbox {
        options,
        ports,
        _reserved: reserved,
        guard,
        client,
        listener,
        ready_at: Instant::now(),
        ended: Mutex::default(),
        platform,
        network,
        behind: Mutex::new(Some(behind)),
    })
}

async fn serve_until_end(sandbox: &Arc<Sandbox>, ends: &mut Ends, exits: &mut broadcast::Receiver<Exit>) -> Result<()> {
    loop {
        tokio::select! {
            () = ends.wait() => return Ok(()),
            () = sandbox.guard.gone() => anyhow::bail!("the guard is gone, and every program with it"),
            exit = exits.recv() => if let Ok(exit) = exit {
                sandbox.note_end(&exit);
            },
            connection = sandbox.listener.accept() => {
                let (stream, _) = connection.context("cannot take a connection on the control socket")?;
                let sandbox = sandbox.clone();
                tokio::spawn(serve(stream, async move |ask| sandbox.answer(ask).await));
            }
        }
    }
}

impl Sandbox {
    async fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Status => Answer::Status { status: Box::new(self.status().await) },
            Ask::Scenarios => self.scenarios_after(Ok(())),
            Ask::ClearScenarios { words } => self.scenarios_after(self.platform.clear_scenarios(&words)),
            Ask::SetScenario { words } => self.scenarios_after(self.platform.set_scenario(&words)),
        }
    }

    /// The scenarios that are on after a change that went as `changed` tells.
    fn scenarios_after(&self, changed: Result<()>) -> Answer {
        match changed {
            Ok(()) => Answer::Scenarios { scenarios: self.platform.scenarios() },
            Err(error) => Answer::Refused {
                message: format!("{error:#}"),
                hint: failure_of(&error).and_then(|failure| failure.hint.clone()),
            },
        }
    }

    /// Keeps the end of a program that should not have ended. The programs behind pods come and go.
    fn note_end(&self, exit: &Exit) {
        if PROGRAMS.contains(&exit.name.as_str()) {
            log(&format!("`{}` ended with {}", exit.name, exit.describe()));
            let last_lines = last_lines(&self.options.folder.log(&exit.name), TOLD_LINES);
            let ended = Ended { how: exit.describe(), last_lines };
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(exit.name.clone(), ended);
        }
    }

    async fn status(&self) -> Status {
        let folder = &self.options.folder;
        let node = self.node().await;
        let programs = self.programs();
        Status {
            name: folder.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            healthy: node.ready && programs.iter().all(|program| program.alive),
            supervisor: std::process::id(),
            uptime_seconds: self.ready_at.elapsed().as_secs(),
            server: format!("https://{}", loopback(self.ports.api_server)),
            kubeconfig: folder.kubeconfig(),
            directory: folder.directory.clone(),
            node,
            programs,
            missing: self.options.programs.missing().map(missing_program).collect(),
            proxy: Some(self.network.proxy_url()),
            scenarios: self.platform.scenarios(),
            notes: self.notes(),
            problems: self.problems(),
        }
    }

    async fn node(&self) -> NodeStatus {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let judged = match tokio::time::timeout(NODE_DEADLINE, nodes.get(objects::NODE)).await {
            Ok(Ok(node)) => objects::judge_node(&node),
            Ok(Err(error)) => Err(objects::plain(&error)),
            Err(_) => Err(format!("the API server does not answer within {} s", NODE_DEADLINE.as_secs())),
        };
        NodeStatus { name: objects::NODE.to_owned(), ready: judged.is_ok(), reason: judged.err().unwrap_or_default() }
    }

    fn programs(&self) -> Vec<ProgramStatus> {
        let running = self.guard.running();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let others = running.keys().map(String::as_str).filter(|name| !PROGRAMS.contains(name));
        PROGRAMS
            .iter()
            .copied()
            .chain(others)
            .map(|name| {
                let pid = running.get(name).copied();
                let ended = ended.get(name).filter(|_| pid.is_none());
                ProgramStatus {
                    name: name.to_owned(),
                    alive: pid.is_some(),
                    pid,
                    port: self.ports.of(name),
                    state: match (pid, ended) {
                        (Some(_), _) => "running".to_owned(),
                        (None, Some(ended)) => format!("ended with {}", ended.how),
                        (None, None) => "not running".to_owned(),
                    },
                    last_lines: ended.map(|ended| ended.last_lines.clone()).unwrap_or_default(),
                }
            })
            .collect()
    }

    /// What cannot be kept behind the pods.
    fn problems(&self) -> Vec<String> {
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.as_ref().map(Behind::problems).unwrap_or_default()
    }

    fn notes(&self) -> Vec<ProgramNote> {
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.as_ref().map(Behind::notes).unwrap_or_default()
    }

    async fn stop(&self) {
        // First, or it would start again what is stopped.
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(behind) = behind {
            let _ = tokio::time::timeout(BEHIND_GRACE, behind.shutdown()).await;
        }
        stop_programs(&self.guard).await;
    }
}

/// What the status says of a program that is not installed.
fn missing_program(program: Program) -> MissingProgram {
    let pods = match program.row().absence {
        Absence::Pretended => "its pods are ready without it and answer nothing",
        Absence::Fatal | Absence::Unready => "its pods are not ready",
    };
    MissingProgram { name: program.key().to_owned(), state: format!("not installed (run `make tools`): {pods}") }
}

/// Ends every program in order. What does not end in time is ended with the guard.
async fn stop_programs(guard: &Guard) {
    let running = guard.running();
    futures::future::join_all(running.keys().map(|name| guard.stop(name, STOP_GRACE))).await;
}
