//! What a person does with sandboxes: start one or attach to it, look at it, work in it, end it.

use super::control::{Answer, Ask, Status, ask};
use super::handshake::{Options, Report, TAKEN};
use super::programs::Programs;
use super::state::{Folder, Record, names};
use super::{SUPERVISOR_MODE, control_plane};
use crate::config::model::Config;
use crate::error::{Failure, Kind};
use crate::event::{Event, Events, Stage};
use anyhow::{Context, Result, anyhow};
use nix::sys::signal::Signal;
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

/// How long to wait while another process starts or ends the same sandbox.
const LOCK_PATIENCE: Duration = Duration::from_secs(180);
/// How long a supervisor may take to end in order.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// How long a killed process may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Largest exit code: a byte.
const SIGNALLED: i32 = 128;

/// What to start.
pub struct UpOptions<'a> {
    /// Name of the sandbox.
    pub name: String,
    /// Folder in which programs are looked for first.
    pub tools: Option<PathBuf>,
    /// The configuration, of which the platform is simulated.
    pub config: &'a Config,
    /// Where progress goes.
    pub events: Events,
    /// The executable that becomes the supervisor: this program, see [`own_executable`].
    pub executable: PathBuf,
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

/// This very program, even if its file was replaced since it was started.
pub fn own_executable() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Starts a sandbox and gives it when it is ready; attaches when it runs and is healthy. What a dead
/// or crippled one left is cleared away first.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when programs are missing or it does not become ready; [`Kind::Refused`]
/// when another process keeps starting or ending it; [`Kind::Usage`] for an impossible name.
pub async fn up(options: UpOptions<'_>) -> Result<Running> {
    let folder = Folder::of(&options.name)?;
    let events = &options.events;
    events.emit(Event::StageStarted { stage: Stage::Sandbox });
    let _lock = folder.lock(LOCK_PATIENCE).await?;
    let attached = attach(&folder, events).await;
    if !attached {
        let programs = Programs::find(options.tools.as_deref())?;
        clear(&folder).await?;
        folder.create()?;
        link_programs(&folder, &programs)?;
        start(&folder, programs, &options).await?;
    }
    let what = if attached { "attached to" } else { "started" };
    events.emit(Event::StageFinished { stage: Stage::Sandbox, summary: format!("{what} sandbox `{}`", folder.name) });
    Ok(running(&folder, attached))
}

/// The sandbox `name`, when it runs.
///
/// # Errors
/// [`Kind::Usage`] for an impossible name.
pub async fn find(name: &str) -> Result<Option<Running>> {
    let folder = Folder::of(name)?;
    Ok(alive_record(&folder).map(|_| running(&folder, true)))
}

/// How the sandbox `name` is; `None` when it does not run.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when its supervisor does not answer; [`Kind::Usage`] for an impossible name.
pub async fn status(name: &str) -> Result<Option<Status>> {
    let folder = Folder::of(name)?;
    match alive_record(&folder) {
        Some(record) => status_of(&record).await.map(Some).map_err(|error| {
            Failure::new(Kind::CouldNotAsk, format!("sandbox `{name}` does not answer"))
                .hint(format!("run `drivemaster-mon sandbox down --name {name}` and start it again"))
                .caused_by(error)
        }),
        None => Ok(None),
    }
}

/// The names of the sandboxes that run, sorted.
///
/// # Errors
/// When their folder cannot be read.
pub async fn list() -> Result<Vec<String>> {
    let mut running = names()?;
    running.retain(|name| Folder::of(name).is_ok_and(|folder| alive_record(&folder).is_some()));
    Ok(running)
}

/// Ends the sandbox `name` and removes everything that belongs to it. Gives whether it ran.
///
/// # Errors
/// [`Kind::Refused`] when another process keeps starting or ending it; when a process does not end.
pub async fn down(name: &str) -> Result<bool> {
    let folder = Folder::of(name)?;
    let _lock = folder.lock(LOCK_PATIENCE).await?;
    let ran = alive_record(&folder).is_some();
    clear(&folder).await?;
    Ok(ran)
}

/// Runs a command against the sandbox `name`: KUBECONFIG names it, PATH starts with its kubectl and
/// helm. Gives the command's exit code, 128 and the signal's number where a signal ended it.
///
/// # Errors
/// [`Kind::CouldNotAsk`] when the sandbox does not run; [`Kind::Usage`] when there is no such command.
pub async fn run(name: &str, command: &[OsString]) -> Result<u8> {
    let Some(sandbox) = find(name).await? else {
        return Err(Failure::new(Kind::CouldNotAsk, format!("sandbox `{name}` does not run"))
            .hint(format!("run `drivemaster-mon sandbox up --name {name}`"))
            .into());
    };
    let (program, arguments) =
        command.split_first().ok_or_else(|| Failure::new(Kind::Usage, "there is no command to run"))?;
    // Ctrl-C reaches the command too, and what it makes of it is its own business.
    let interrupts = tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    let child = Command::new(program).args(arguments).envs(run_environment(&sandbox)).spawn();
    let outcome = match child {
        Ok(mut child) => child.wait().await.context("cannot wait for the command"),
        Err(error) => {
            Err(Failure::new(Kind::Usage, format!("cannot run `{}`", program.to_string_lossy())).caused_by(error))
        }
    };
    interrupts.abort();
    let status = outcome?;
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

async fn status_of(record: &Record) -> Result<Status> {
    match ask(&record.control_socket, &Ask::Status).await? {
        Answer::Status { status } => Ok(*status),
        Answer::Refused { message } => Err(anyhow!(message)),
    }
}

/// Whether there is a healthy sandbox to attach to. Says why not where one runs.
async fn attach(folder: &Folder, events: &Events) -> bool {
    let Some(record) = alive_record(folder) else { return false };
    let problem = match status_of(&record).await {
        Ok(status) => match status.dead().next() {
            Some(program) => format!("its `{}` has ended", program.name),
            None if !status.node.ready => format!("its node is not ready: {}", status.node.reason),
            None => return true,
        },
        Err(error) => format!("{error:#}"),
    };
    let message = format!("sandbox `{}` runs but {problem}: it is started afresh", folder.name);
    events.emit(Event::Warning { message });
    false
}

/// Ends whatever the record names and removes the folder.
async fn clear(folder: &Folder) -> Result<()> {
    if let Some(record) = folder.read_record() {
        let processes = record.processes();
        record.supervisor.signal(Signal::SIGTERM);
        let gone = |deadline| wait_until(deadline, || processes.iter().all(|process| !process.is_alive()));
        if !gone(Instant::now() + END_PATIENCE).await {
            // The guard ends the programs when the supervisor is gone; the rest is for the case that
            // the guard is gone too.
            record.supervisor.signal(Signal::SIGKILL);
            if !gone(Instant::now() + KILL_PATIENCE).await {
                processes.iter().for_each(|process| process.signal(Signal::SIGKILL));
            }
            if !gone(Instant::now() + KILL_PATIENCE).await {
                let left: Vec<String> = processes
                    .iter()
                    .filter(|process| process.is_alive())
                    .map(|process| process.pid.to_string())
                    .collect();
                return Err(Failure::new(Kind::CouldNotAsk, format!("cannot end sandbox `{}`", folder.name))
                    .hint(format!("end these processes yourself: {}", left.join(", ")))
                    .into());
            }
        }
    }
    folder.remove()
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
    let mut child = Command::new(&options.executable)
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
    let supervisor = Options { folder: folder.clone(), programs, config: options.config.clone() };
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
                return input.write_all(taken.as_bytes()).await.context("the supervisor ended when it was ready");
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
