//! Finds helm and runs it: deadline, bounded output, cancellation by SIGTERM and then SIGKILL.

use crate::error::{Failure, Kind};
use crate::helm::argv;
use crate::helm::chart::write_chart;
use crate::helm::parse::{self, Version};
use crate::object::Manifest;
use crate::render::bundle::Release;
use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long helm may go on after SIGTERM, to record the release as `failed`, before SIGKILL.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long after helm's end its word is still waited for.
const AFTER_GRACE: Duration = Duration::from_secs(1);
/// How long the calls that only ask something may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(30);
/// How much later than helm's own `--timeout` we end it, so that its own message comes first.
const DEADLINE_SLACK: Duration = Duration::from_secs(5);
/// The most that is kept of standard error: a head and a tail of half this size each.
const STDERR_LIMIT: usize = 64 * 1024;
/// The most that is read of standard output where it is data.
const STDOUT_LIMIT: usize = 64 * 1024 * 1024;

/// Variables that would send helm to another server, or as another user, than the one we talk to.
const FOREIGN_VARIABLES: &[&str] = &[
    "HELM_KUBEAPISERVER",
    "HELM_KUBEASGROUPS",
    "HELM_KUBEASUSER",
    "HELM_KUBECAFILE",
    "HELM_KUBECONTEXT",
    "HELM_KUBEINSECURE_SKIP_TLS_VERIFY",
    "HELM_KUBETLS_SERVER_NAME",
    "HELM_KUBETOKEN",
    "HELM_NAMESPACE",
];

/// Which cluster helm works on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Options appended to every call, such as `--kube-context NAME`.
    pub arguments: Vec<String>,
    /// Variables set on top of the inherited environment, such as `KUBECONFIG`.
    pub environment: Vec<(OsString, OsString)>,
}

/// The helm executable, bound to a cluster.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    context: Context,
    /// What starts it, with these arguments before its own.
    launcher: Option<(PathBuf, Vec<String>)>,
    grace: Duration,
    version: Arc<OnceCell<Version>>,
    cut_off: CutOff,
}

impl Helm {
    /// Finds helm: `explicit` where given, else the first `helm` in the folders of `path`, the
    /// value of the variable `PATH`. Starts no process.
    ///
    /// # Errors
    /// [`Kind::CouldNotAsk`] when there is none.
    pub fn locate(explicit: Option<&Path>, path: Option<&OsStr>) -> Result<Helm> {
        let program = match explicit {
            Some(program) if is_executable(program) => program.to_owned(),
            Some(program) => {
                return Err(Failure::new(
                    Kind::CouldNotAsk,
                    format!("`{}` is not an executable helm", program.display()),
                )
                .hint("name an existing helm, or leave the option out to search PATH")
                .into());
            }
            None => std::env::split_paths(path.unwrap_or_default())
                .map(|folder| folder.join("helm"))
                .find(|program| is_executable(program))
                .ok_or_else(|| {
                    Failure::new(Kind::CouldNotAsk, "there is no `helm` in any folder of PATH")
                        .hint("install Helm 4 (or 3.14 and later), see https://helm.sh/docs/intro/install")
                })?,
        };
        Ok(Helm {
            program,
            context: Context::default(),
            launcher: None,
            grace: GRACE,
            version: Arc::default(),
            cut_off: CutOff::default(),
        })
    }

    /// The same helm, working on the cluster of `context`.
    #[must_use]
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// The same helm, which raises `cut_off` when it has to be killed.
    #[must_use]
    pub fn raising(mut self, cut_off: CutOff) -> Self {
        self.cut_off = cut_off;
        self
    }

    /// The same helm, started by the program `launcher` with `arguments` before helm's path and words.
    #[must_use]
    pub fn launched_by(mut self, launcher: PathBuf, arguments: Vec<String>) -> Self {
        self.launcher = Some((launcher, arguments));
        self
    }

    /// The same helm with `variables` on top of its environment.
    #[must_use]
    pub fn with_variables(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.context.environment.extend(variables);
        self
    }

    /// The path of the executable.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Helm's version, asked once.
    ///
    /// # Errors
    /// [`Kind::CouldNotAsk`] when the program does not answer with a version.
    pub async fn version(&self) -> Result<Version> {
        let ask = || async {
            let finished = self.ask(argv::version(), Vec::new()).await?;
            let text = String::from_utf8_lossy(&finished.stdout).into_owned();
            parse::version(&text).filter(|_| finished.ended.is_success()).ok_or_else(|| {
                let said = last_line(&finished.stderr).unwrap_or_else(|| first_line(&text));
                Failure::new(Kind::CouldNotAsk, format!("`{}` does not answer as helm does", self.program.display()))
                    .hint("name a working helm with --helm")
                    .caused_by(anyhow::anyhow!("`helm version` said: {said}"))
            })
        };
        self.version.get_or_try_init(ask).await.copied()
    }

    /// Installs or upgrades `release`, and returns once helm has written it (and its hooks ended).
    /// Does not wait until its objects are ready.
    ///
    /// # Errors
    /// What helm said, classified; [`Kind::Interrupted`] when `cancel` ended it.
    pub async fn upgrade(
        &self,
        release: &Release,
        labels: &argv::Labels,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let version = self.version().await?;
        let chart = write_chart(&release.chart)?;
        let values = serde_json::to_vec(&release.values).context("the values are no JSON")?;
        let timeout = deadline.saturating_duration_since(Instant::now());
        let path = chart.path().to_string_lossy();
        let call = Call {
            argv: argv::upgrade(version, release, &path, labels, timeout),
            stdin: values,
            deadline: deadline + DEADLINE_SLACK,
            stdout_limit: STDERR_LIMIT,
        };
        let finished = self.run(call, cancel).await?;
        self.judge("deploy", finished, &release.name, &release.namespace)
    }

    /// Uninstalls the release `name`; one that is not there is fine.
    ///
    /// # Errors
    /// What helm said, classified; [`Kind::Interrupted`] when `cancel` ended it.
    pub async fn uninstall(
        &self,
        name: &str,
        namespace: &str,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let call = Call {
            argv: argv::uninstall(name, namespace, timeout),
            stdin: Vec::new(),
            deadline: deadline + DEADLINE_SLACK,
            stdout_limit: STDERR_LIMIT,
        };
        let finished = self.run(call, cancel).await?;
        let left = parse::left_behind(&String::from_utf8_lossy(&finished.stdout));
        self.judge("uninstall", finished, name, namespace)?;
        if left.is_empty() {
            return Ok(());
        }
        let message = format!("helm uninstalled the release `{name}` and left objects of it that it could not read");
        let failure = Failure::new(Kind::Unhealthy, message).hint("delete them, with the right to read them");
        Err(failure.caused_by(anyhow::anyhow!(left.join("; "))))
    }

    /// The objects that `release` would make on a cluster of version `server_version` that serves
    /// `api_versions`, hooks included, rendered without asking the cluster.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the chart does not accept the values.
    pub async fn render(
        &self,
        release: &Release,
        server_version: &str,
        api_versions: &BTreeSet<String>,
    ) -> Result<Vec<Manifest>> {
        let chart = write_chart(&release.chart)?;
        let values = serde_json::to_vec(&release.values).context("the values are no JSON")?;
        let argv = argv::template(release, &chart.path().to_string_lossy(), server_version, api_versions);
        let finished = self.ask(argv, values).await?;
        let text = String::from_utf8_lossy(&finished.stdout).into_owned();
        self.judge("render", finished, &release.name, &release.namespace)?;
        parse::manifest(&text).map_err(|error| {
            let program = self.program.display();
            let message = format!("what `{program}` printed for the release `{}` is no YAML", release.name);
            Failure::new(Kind::CouldNotAsk, message).hint("name a working helm with --helm").caused_by(error)
        })
    }

    fn judge(&self, what: &str, finished: Finished, name: &str, namespace: &str) -> Result<()> {
        match finished.ended {
            Ended::Exited(status) if status.success() => Ok(()),
            Ended::Exited(status) if status.signal().is_some() => {
                let signal = status.signal().unwrap_or_default();
                let message = format!("helm was killed by signal {signal} while it worked on the release `{name}`");
                Err(Failure::new(Kind::Unhealthy, message).hint("run it again: what helm left is repaired").into())
            }
            Ended::Exited(_) => Err(parse::explain(what, &finished.stderr, name, namespace)),
            Ended::Cancelled => Err(Failure::new(
                Kind::Interrupted,
                format!("helm was stopped while it worked on the release `{name}`"),
            )
            .into()),
            Ended::TimedOut => {
                let said = last_line(&finished.stderr).unwrap_or_else(|| "it said nothing".to_owned());
                Err(Failure::new(
                    Kind::Unhealthy,
                    format!("helm did not finish with the release `{name}` in time and was stopped"),
                )
                .hint(format!("helm status {name} -n {namespace}"))
                .caused_by(anyhow::anyhow!("the last thing helm said: {said}")))
            }
        }
    }

    async fn ask(&self, argv: Vec<String>, stdin: Vec<u8>) -> Result<Finished> {
        let deadline = Instant::now() + ASK_TIMEOUT;
        let call = Call { argv, stdin, deadline, stdout_limit: STDOUT_LIMIT };
        self.run(call, &CancellationToken::new()).await
    }

    /// Runs one call to its end. Must not be dropped before: helm would be killed hard and leave
    /// its release `pending`. Cancel it by the token.
    pub(super) async fn run(&self, call: Call, cancel: &CancellationToken) -> Result<Finished> {
        let mut command = match &self.launcher {
            Some((launcher, arguments)) => {
                let mut command = Command::new(launcher);
                command.args(arguments).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(&call.argv).args(&self.context.arguments);
        for variable in FOREIGN_VARIABLES {
            command.env_remove(variable);
        }
        // Releases are looked for in Secrets; another driver would hide them from the next plan.
        command.env("HELM_DRIVER", "secret");
        if std::env::var_os("GOGC").is_none() {
            // It lives for seconds: a tenth of its time would go into collecting what ends with it.
            command.env("GOGC", "400");
        }
        command.envs(self.context.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C at the terminal reaches us alone, and we end helm in order.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            Failure::new(Kind::CouldNotAsk, format!("cannot start `{}`", self.program.display())).caused_by(error)
        })?;

        if let Some(mut stdin) = child.stdin.take() {
            let input = call.stdin;
            // A helm that ends early closes the pipe; its exit code tells why.
            tokio::spawn(async move {
                let _ = stdin.write_all(&input).await;
            });
        }
        let stdout = capture(child.stdout.take(), call.stdout_limit);
        let stderr = capture(child.stderr.take(), STDERR_LIMIT);
        let ended = tokio::select! {
            status = child.wait() => Ended::Exited(status.context("cannot wait for helm")?),
            () = cancel.cancelled() => self.stop(&mut child).await.map_or(Ended::Cancelled, Ended::Exited),
            () = tokio::time::sleep_until(call.deadline) => {
                self.stop(&mut child).await.map_or(Ended::TimedOut, Ended::Exited)
            }
        };
        let stdout = stdout.finish().await;
        let stderr = String::from_utf8_lossy(&stderr.finish().await).into_owned();
        Ok(Finished { ended, stdout, stderr })
    }

    /// SIGTERM, the grace, SIGKILL to the whole group. A status only where helm still succeeded.
    async fn stop(&self, child: &mut Child) -> Option<ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(child.id()?).ok()?);
        // It may have ended by itself in between; then there is nobody to signal, and that is fine.
        let _ = kill(pid, Signal::SIGTERM);
        let waited = tokio::time::timeout(self.grace, child.wait()).await;
        // Also what helm itself started, such as a plugin that ignores SIGTERM.
        let _ = killpg(pid, Signal::SIGKILL);
        match waited {
            Ok(status) => status.ok().filter(ExitStatus::success),
            Err(_) => {
                self.cut_off.raise();
                let _ = child.wait().await;
                None
            }
        }
    }
}

pub(super) struct Call {
    pub(super) argv: Vec<String>,
    pub(super) stdin: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) stdout_limit: usize,
}

pub(super) struct Finished {
    pub(super) ended: Ended,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

pub(super) enum Ended {
    Exited(ExitStatus),
    Cancelled,
    TimedOut,
}

impl Ended {
    fn is_success(&self) -> bool {
        matches!(self, Ended::Exited(status) if status.success())
    }
}

/// Keeps the head and the tail of a stream, each up to half the limit.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    half: usize,
}

impl Kept {
    fn take(&mut self, bytes: &[u8]) {
        let room = self.half.saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        self.tail.extend_from_slice(rest);
        // Cut only at twice the size, so that a flood is not copied once a read.
        if self.tail.len() > self.half.saturating_mul(2) {
            self.tail.drain(..self.tail.len() - self.half);
        }
    }
}

struct Capture {
    kept: Arc<Mutex<Kept>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Capture {
    /// What was read. A grandchild may hold the pipe open for ever, so the end is not waited for long.
    async fn finish(self) -> Vec<u8> {
        let abort = self.reader.abort_handle();
        if tokio::time::timeout(Duration::from_secs(1), self.reader).await.is_err() {
            abort.abort();
        }
        self.kept.lock().map(|kept| [kept.head.as_slice(), kept.tail.as_slice()].concat()).unwrap_or_default()
    }
}

/// Raised when something was cut off whose last request may still be carried out.
#[derive(Debug, Clone, Default)]
pub struct CutOff(Arc<AtomicBool>);

impl CutOff {
    /// Raises it, for good.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Returns once a helm that `stop` ends is gone, with or without its word, and with it everything else that `stop`
/// is to end: nothing may be sent any more.
pub async fn ended(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE + AFTER_GRACE).await;
}

fn capture(stream: Option<impl AsyncRead + Unpin + Send + 'static>, limit: usize) -> Capture {
    let kept = Arc::new(Mutex::new(Kept { half: limit / 2, ..Kept::default() }));
    let writer = Arc::clone(&kept);
    let reader = tokio::spawn(async move {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            if let (Ok(mut kept), Some(bytes)) = (writer.lock(), buffer.get(..count)) {
                kept.take(bytes);
            }
        }
    });
    Capture { kept, reader }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn last_line(text: &str) -> Option<String> {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("nothing").chars().take(200).collect()
}

#[cfg(test)]
mod tests;
