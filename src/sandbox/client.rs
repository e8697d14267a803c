//! What a person does with sandboxes: start one or attach to it, look at it, work in it, end it.

use super::control::{Answer, Ask, Status, ask};
use super::handshake::{Options, Report, TAKEN};
use super::platform_start::platform_of;
use super::process::of_sandbox;
use super::programs::Programs;
use super::state::{Folder, Record, names};
use super::{SUPERVISOR_MODE, control_plane};
use crate::config::model::Config;
use crate::error::{Failure, Kind};
use crate::event::{Event, Events, Stage};
use crate::process::ProcessRef;
use anyhow::{Context, Result, anyhow};
use nix::sys::signal::Signal;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long to wait while another process starts or ends the same sandbox.
const LOCK_PATIENCE: Duration = Duration::from_secs(180);
/// How long a supervisor may take to end in order.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// How long a killed process may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// This very program, even if its file was replaced since it was started.
const OWN_EXECUTABLE: &str = "/proc/self/exe";
/// What shells add to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

/// What to start.
pub struct UpOptions<'a> {
    /// Name of the sandbox.
    pub name: String,
    /// Folder in which programs are looked for first.
    pub tools: Option<PathBuf>,
    /// The configuration, of which the platform is simulated.
    pub config: &'a Config,
    /// Whether it ends with this process, even one that is killed. Means nothing where it ran already.
    pub bound: bool,
    /// How long a pod takes to start that no real program runs behind, as one whose image is pulled. Means
    /// nothing where it ran already.
    pub pods_start_after: Duration,
    /// Where progress goes.
    pub events: Events,
    /// Cancelled when the person does not want it any more.
    pub cancel: CancellationToken,
}

/// A sandbox that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// Its name.
    pub name: String,
    /// Kubeconfig of the person, with one context.
    pub kubeconfig: PathBuf,
    /// Folder with kubectl and helm, for PATH.
    pub path_directory: PathBuf,
    /// Folder with everything that belongs to it.
    pub state_directory: PathBuf,
    /// Audit log of its API server, one JSON document a line.
    pub audit_log: PathBuf,
    /// Whether it ran already.
    pub attached: bool,
}

/// Starts a sandbox and gives it when it is ready; attaches when it runs and is healthy. What a dead
/// or crippled one left is cleared away first.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when programs are missing or it does not become ready; [`Kind::Refused`]
/// when another process keeps starting or ending it; [`Kind::Usage`] for an impossible name;
/// [`Kind::Interrupted`] when it was cancelled, which leaves nothing.
pub async fn up(options: UpOptions<'_>) -> Result<Running> {
    tokio::select! {
        running = bring_up(&options) => running,
        // The dropped future closes the supervisor's input, upon which it undoes everything.
        () = options.cancel.cancelled() => {
            let message = format!("interrupted; sandbox `{}` was not started", options.name);
            Err(Failure::new(Kind::Interrupted, message).into())
        }
    }
}

async fn bring_up(options: &UpOptions<'_>) -> Result<Running> {
    let folder = Folder::of(&options.name)?;
    let events = &options.events;
    events.emit(Event::StageStarted { stage: Stage::Sandbox });
    let _lock = folder.lock(LOCK_PATIENCE).await?;
    let attached = attach(&folder, options).await;
    if !attached {
        let programs = Programs::find(options.tools.as_deref())?;
        clear(&folder).await?;
        folder.create()?;
        link_programs(&folder, &programs)?;
        start(&folder, programs, options).await?;
    }
    let what = if attached { "attached to" } else { "started" };
    events.emit(Event::StageFinished { stage: Stage::Sandbox, summary: format!("{what} sandbox `{}`", folder.name) });
    Ok(running(&folder, attached))
}

/// How the sandbox `name` is; `None` when it does not run.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when its supervisor does not answer; [`Kind::Usage`] for an impossible name.
pub async fn status(name: &str) -> Result<Option<Status>> {
    let folder = Folder::of(name)?;
    match alive_record(&folder) {
        Some(record) => status_of(&record).await.map(Some).map_err(|error| silent(name, error)),
        None => Ok(None),
    }
}

/// The names of the sandboxes that have a folder, sorted, and whether each runs.
///
/// # Errors
/// When their folder cannot be read.
pub fn list() -> Result<Vec<(String, bool)>> {
    names()?
        .into_iter()
        .map(|name| {
            let runs = alive_record(&Folder::of(&name)?).is_some();
            Ok((name, runs))
        })
        .collect()
}

/// Ends the sandbox `name` and removes everything that belongs to it. Gives whether it ran.
///
/// # Errors
/// [`Kind::Refused`] when another process keeps starting or ending it; when a process does not end.
pub async fn down(name: &str, events: &Events) -> Result<bool> {
    let folder = Folder::of(name)?;
    let _lock = folder.lock(LOCK_PATIENCE).await?;
    let step = format!("sandbox {name}");
    events.emit(Event::StepStarted { step: step.clone() });
    let ran = clear(&folder).await?;
    events.emit(Event::StepFinished { step, summary: if ran { "ended" } else { "was not up" }.to_owned() });
    Ok(ran)
}

/// Changes what the simulated platform of the sandbox `name` does, as in `errors user-service 8%`.
/// Gives the scenarios that are on now.
///
/// # Errors
/// [`Kind::Usage`] when `words` name no scenario; [`Kind::CouldNotAsk`] when it does not run.
pub async fn scenario_set(name: &str, words: &[String]) -> Result<Vec<String>> {
    scenarios(name, &Ask::SetScenario { words: words.to_vec() }).await
}

/// Lets the simulated platform of the sandbox `name` run well again, or ends the scenario that
/// `words` name. Gives the scenarios that are still on.
///
/// # Errors
/// [`Kind::Usage`] when `words` name no scenario that is on; [`Kind::CouldNotAsk`] when it does not run.
pub async fn scenario_clear(name: &str, words: &[String]) -> Result<Vec<String>> {
    scenarios(name, &Ask::ClearScenarios { words: words.to_vec() }).await
}

/// The scenarios that are on in the sandbox `name`.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when it does not run.
pub async fn scenario_list(name: &str) -> Result<Vec<String>> {
    scenarios(name, &Ask::Scenarios).await
}

async fn scenarios(name: &str, question: &Ask) -> Result<Vec<String>> {
    let Some(record) = alive_record(&Folder::of(name)?) else {
        return Err(Failure::new(Kind::CouldNotAsk, format!("sandbox `{name}` does not run"))
            .hint(format!("run `drivemaster-mon sandbox up {name}`"))
            .into());
    };
    match ask(&record.control_socket, question).await.map_err(|error| silent(name, error))? {
        Answer::Scenarios { scenarios } => Ok(scenarios),
        Answer::Refused { message, hint } => Err(Failure { hint, ..Failure::new(Kind::Usage, message) }.into()),
        Answer::Status { .. } => Err(anyhow!("the supervisor of sandbox `{name}` answered something else")),
    }
}

/// Runs a command against a sandbox: KUBECONFIG names it, PATH starts with its kubectl and helm.
/// Gives the command's exit code, or 128 and the signal's number where a signal ended it.
///
/// `cancel` is passed on as SIGTERM, except at a terminal, whose Ctrl-C reaches the command anyway.
///
/// # Errors
/// [`Kind::Usage`] when there is no such command.
pub async fn run(sandbox: &Running, command: &[OsString], cancel: &CancellationToken) -> Result<u8> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| Failure::new(Kind::Usage, "there is no command to run"))?;
    let mut child = Command::new(program).args(arguments).envs(run_environment(sandbox)).spawn().map_err(|error| {
        Failure::new(Kind::Usage, format!("cannot run `{}`", program.to_string_lossy())).caused_by(error)
    })?;
    let process = child.id().and_then(ProcessRef::of);
    let pass_on = async {
        cancel.cancelled().await;
        if let (false, Some(process)) = (std::io::stdin().is_terminal(), process) {
            process.signal(Signal::SIGTERM);
        }
        std::future::pending::<()>().await;
    };
    let status = tokio::select! {
        status = child.wait() => status.context("cannot wait for the command")?,
        () = pass_on => return Ok(u8::MAX),
    };
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal)).unwrap_or(SIGNALLED);
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// What differs in the environment of a command that works in the sandbox.
fn run_environment(sandbox: &Running) -> Vec<(&'static str, OsString)> {
    let mut environment = vec![
        ("KUBECONFIG", sandbox.kubeconfig.clone().into_os_string()),
        ("PATH", prepended(sandbox.path_directory.as_os_str(), ':', std::env::var_os("PATH"))),
    ];
    // A proxy of the person's would be asked for loopback.
    for variable in ["NO_PROXY", "no_proxy"] {
        environment.push((variable, prepended(OsStr::new("127.0.0.1,localhost"), ',', std::env::var_os(variable))));
    }
    environment
}

fn prepended(first: &OsStr, separator: char, rest: Option<OsString>) -> OsString {
    let mut value = first.to_owned();
    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
        value.push(separator.to_string());
        value.push(rest);
    }
    value
}

fn running(folder: &Folder, attached: bool) -> Running {
    Running {
        name: folder.name.clone(),
        kubeconfig: folder.kubeconfig(),
        path_directory: folder.bin(),
        state_directory: folder.directory.clone(),
        audit_log: folder.audit_log(),
        attached,
    }
}

fn alive_record(folder: &Folder) -> Option<Record> {
    folder.read_record().filter(|record| record.supervisor.is_alive())
}

fn silent(name: &str, error: anyhow::Error) -> anyhow::Error {
    Failure::new(Kind::CouldNotAsk, format!("sandbox `{name}` does not answer"))
        .hint(format!("run `drivemaster-mon sandbox down {name}` and start it again"))
        .caused_by(error)
}

async fn status_of(record: &Record) -> Result<Status> {
    match ask(&record.control_socket, &Ask::Status).await? {
        Answer::Status { status } => Ok(*status),
        Answer::Refused { message, .. } => Err(anyhow!(message)),
        Answer::Scenarios { .. } => Err(anyhow!("the supervisor answered something else")),
    }
}

/// Whether there is a healthy sandbox to attach to. Says why not where one runs.
async fn attach(folder: &Folder, options: &UpOptions<'_>) -> bool {
    let Some(record) = alive_record(folder) else { return false };
    let problem = match status_of(&record).await {
        _ if record.version != env!("CARGO_PKG_VERSION") => format!("version {} runs it", record.version),
        Ok(status) => match status.dead().next() {
            Some(program) => format!("its `{}` has ended", program.name),
            None if !status.node.ready => format!("its node is not ready: {}", status.node.reason),
            None => {
                if record.platform != platform_of(options.config) {
                    let message = format!(
                        "sandbox `{name}` simulates another platform than this configuration names; `drivemaster-mon \
                         sandbox down {name}` lets the next run start it afresh",
                        name = folder.name
                    );
                    options.events.emit(Event::Warning { message });
                }
                return true;
            }
        },
        Err(error) => format!("{error:#}"),
    };
    let message = format!("sandbox `{}` runs but {problem}: it is started afresh", folder.name);
    options.events.emit(Event::Warning { message });
    false
}

/// Ends every process of the sandbox and removes its folder. Gives whether there was any process.
/// The record may be damaged, older than the program or gone, so the kernel is asked as well.
async fn clear(folder: &Folder) -> Result<bool> {
    let record = folder.read_record();
    let recorded = record.iter().flat_map(Record::processes).filter(|process| process.is_alive());
    let mut processes: Vec<ProcessRef> = recorded.chain(of_sandbox(&folder.directory)).collect();
    processes.sort_by_key(|process| process.pid);
    processes.dedup();
    let ran = !processes.is_empty();
    let gone = |deadline| wait_until(deadline, || processes.iter().all(|process| !process.is_alive()));
    // The supervisor ends the others in order, and the guard ends them when the supervisor is gone;
    // the rest is for the case that both are.
    let supervisor = record.map(|record| record.supervisor).filter(|supervisor| supervisor.is_alive());
    if let Some(supervisor) = supervisor {
        supervisor.signal(Signal::SIGTERM);
        if !gone(Instant::now() + END_PATIENCE).await {
            supervisor.signal(Signal::SIGKILL);
        }
    } else {
        processes.iter().for_each(|process| process.signal(Signal::SIGTERM));
    }
    if !gone(Instant::now() + KILL_PATIENCE).await {
        processes.iter().for_each(|process| process.signal(Signal::SIGKILL));
    }
    // What was started meanwhile has lost those that could end it.
    let deadline = Instant::now() + KILL_PATIENCE;
    let left = loop {
        let mut left = of_sandbox(&folder.directory);
        left.extend(processes.iter().filter(|process| process.is_alive()));
        if left.is_empty() || Instant::now() >= deadline {
            break left;
        }
        left.iter().for_each(|process| process.signal(Signal::SIGKILL));
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    if !left.is_empty() {
        let left: BTreeSet<u32> = left.iter().map(|process| process.pid).collect();
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        return Err(Failure::new(Kind::CouldNotAsk, format!("cannot end sandbox `{}`", folder.name))
            .hint(format!("end these processes yourself: {}", left.join(", ")))
            .into());
    }
    folder.remove()?;
    Ok(ran)
}

async fn wait_until(deadline: Instant, mut holds: impl FnMut() -> bool) -> bool {
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    true
}

/// Makes one folder for PATH, as kubectl and helm may come from different ones.
fn link_programs(folder: &Folder, programs: &Programs) -> Result<()> {
    for name in ["kubectl", "helm"] {
        let link = folder.bin().join(name);
        std::os::unix::fs::symlink(programs.path(name)?, &link)
            .with_context(|| format!("cannot link `{}`", link.display()))?;
    }
    Ok(())
}

/// Starts a supervisor and waits until it is ready. When this future is dropped or this process
/// ends before that, the supervisor sees the end of its input and undoes everything.
async fn start(folder: &Folder, programs: Programs, options: &UpOptions<'_>) -> Result<()> {
    let log = folder.log("supervisor");
    let log_file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log)
        .with_context(|| format!("cannot open `{}`", log.display()))?;
    let mut child = Command::new(OWN_EXECUTABLE)
        .arg0("drivemaster-mon")
        .arg(SUPERVISOR_MODE)
        // For whoever looks at the list of processes.
        .arg(&folder.directory)
        .env_clear()
        .envs(control_plane::environment(&folder.directory))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn()
        .context("cannot start the supervisor")?;
    let mut input = child.stdin.take().context("the supervisor has no input")?;
    let output = child.stdout.take().context("the supervisor has no output")?;
    // It does nothing before it has its options, so from its first deed on others find it.
    let pid = child.id().context("the supervisor ended at once")?;
    folder.write_record(&Record::of_supervisor(folder, pid)?)?;
    let supervisor = Options {
        folder: folder.clone(),
        programs,
        config: options.config.clone(),
        bound: options.bound,
        pods_start_after: options.pods_start_after,
    };
    let mut line = serde_json::to_vec(&supervisor)?;
    line.push(b'\n');
    input.write_all(&line).await.context("cannot tell the supervisor its options")?;
    let mut reports = BufReader::new(output).lines();
    while let Some(line) = reports.next_line().await.context("cannot listen to the supervisor")? {
        match serde_json::from_str(&line).context("the supervisor is not understood")? {
            Report::Started { step } => options.events.emit(Event::StepStarted { step }),
            Report::Finished { step, summary } => options.events.emit(Event::StepFinished { step, summary }),
            Report::Note { message } => options.events.emit(Event::Note { message }),
            Report::Ready => {
                let taken = format!("{TAKEN}\n");
                input.write_all(taken.as_bytes()).await.context("the supervisor ended when it was ready")?;
                if options.bound {
                    // The kernel closes it with this process, which no code of ours could promise.
                    std::mem::forget(input);
                }
                return Ok(());
            }
            Report::Failed { chain } => return Err(start_failure(folder, chain)),
        }
    }
    Err(start_failure(folder, super::bring_up::last_lines(&log, 12)))
}

/// The failure of a start from the messages that the supervisor gave, outermost first.
fn start_failure(folder: &Folder, chain: Vec<String>) -> anyhow::Error {
    let mut messages = chain.into_iter().rev();
    let root = messages.next().unwrap_or_else(|| "the supervisor ended without a word".to_owned());
    let error = messages.fold(anyhow!(root), |error, message| error.context(message));
    Failure::new(Kind::CouldNotAsk, format!("sandbox `{}` did not start", folder.name))
        .hint(format!("read the logs in `{}`", folder.logs().display()))
        .caused_by(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_tells_the_causes_in_order_and_where_the_logs_are() {
        let folder = Folder::of("x").unwrap();
        let error = start_failure(&folder, vec!["the API server is not ready".to_owned(), "no space left".to_owned()]);
        let chain = crate::error::chain_of(&error);
        assert_eq!(chain, ["sandbox `x` did not start", "the API server is not ready", "no space left"]);
        assert_eq!(crate::error::exit_code_of(&error), 3);
    }

    #[test]
    fn the_own_folder_comes_first_on_path() {
        assert_eq!(prepended(OsStr::new("/a"), ':', Some("/b:/c".into())), "/a:/b:/c");
        assert_eq!(prepended(OsStr::new("/a"), ':', None), "/a");
        assert_eq!(prepended(OsStr::new("/a"), ':', Some(OsString::new())), "/a");
    }
}
