//! Starts the control plane: everything at once, and again what came too early.

use super::control_plane::{API_SERVER, CONTROLLER_MANAGER, ControlPlane, ETCD, KWOK, PROGRAMS, Ports, SCHEDULER};
use super::guard::{Exit, Guard};
use super::handshake::Reporter;
use super::network::program::Program;
use super::objects;
use super::reserved_ports::ReservedPorts;
use anyhow::{Context, Result, anyhow};
use hyper::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// How long the whole bring-up may take: it takes seconds, but the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(120);
/// How often a program that ends is started again.
const RESTARTS: u32 = 3;
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// How much of a log is told with an error.
const TOLD_LINES: usize = 12;

/// Somebody listens on a port although it is kept, as `SO_REUSEADDR` lets everybody do: choose again.
#[derive(Debug)]
pub(super) struct PortTaken(String);

impl fmt::Display for PortTaken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a port of `{}` was taken by another process", self.0)
    }
}

impl std::error::Error for PortTaken {}

/// Chooses ports that are kept as long as what is given beside them; none simulates a pod yet.
///
/// # Errors
/// When the machine has none.
pub(super) fn choose_ports(installed: impl IntoIterator<Item = Program>) -> Result<(Ports, ReservedPorts)> {
    let mut reserved = ReservedPorts::default();
    let mut ports = Ports {
        etcd: reserved.reserve()?,
        etcd_peer: reserved.reserve()?,
        api_server: reserved.reserve()?,
        kwok: reserved.reserve()?,
        behind: BTreeMap::new(),
        simulated: BTreeMap::new(),
    };
    for program in installed {
        let pod_ports = program.row().ports.iter().map(|port| Ok((*port, reserved.reserve()?)));
        ports.behind.insert(program, pod_ports.collect::<Result<_>>()?);
    }
    Ok((ports, reserved))
}

/// Starts every program and waits until the cluster takes pods. Gives a client that acts as the
/// supervisor.
///
/// # Errors
/// [`PortTaken`] when it should be tried again on other ports; else when a program does not stay
/// up or the cluster does not become ready, with the last lines of the log that tells why.
pub(super) async fn bring_up(plane: &ControlPlane<'_>, guard: &Guard, reporter: Reporter) -> Result<Client> {
    for (path, text) in plane.files() {
        super::state::write_private(&path, text.as_bytes())?;
    }
    plane.pki.write_kubeconfigs(
        &format!("sandbox-{}", plane.folder.name),
        super::control_plane::loopback(plane.ports.api_server),
    )?;
    let deadline = Instant::now() + DEADLINE;
    let mut tender = Tender { plane, guard, exits: guard.exits(), restarts: BTreeMap::new() };
    for name in [ETCD, API_SERVER] {
        tender.start(name, reporter).await?;
    }
    let client = client(plane).await?;
    let version = tender.while_running(wait_for_api_server(plane, &client, deadline)).await?;
    reporter.finished(ETCD, &format!("port {}", plane.ports.etcd));
    reporter.finished(API_SERVER, &format!("{version} on port {}", plane.ports.api_server));
    for name in [CONTROLLER_MANAGER, KWOK, SCHEDULER] {
        tender.start(name, reporter).await?;
    }
    let node = async {
        objects::create(&client, &version).await?;
        let waited = objects::wait_for_node(&client, deadline).await;
        waited.map_err(|error| with_log(plane, KWOK, error))?;
        reporter.finished(KWOK, &format!("node `{}` is ready", objects::NODE));
        Ok(())
    };
    let account = async {
        let waited = objects::wait_for_service_account(&client, deadline).await;
        waited.map_err(|error| with_log(plane, CONTROLLER_MANAGER, error))?;
        reporter.finished(CONTROLLER_MANAGER, "controllers run");
        Ok(())
    };
    tender.while_running(async { tokio::try_join!(node, account) }).await?;
    reporter.finished(SCHEDULER, "runs");
    Ok(client)
}

/// A client that acts as the supervisor, whatever proxies the environment names.
async fn client(plane: &ControlPlane<'_>) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(plane.pki.kubeconfig("supervisor")).context("cannot read a kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .context("cannot use a kubeconfig")?;
    config.proxy_url = None;
    let agent = concat!("drivemaster-mon-sandbox/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    Client::try_from(config).map_err(|error| anyhow!("cannot make a client: {}", objects::plain(&error)))
}

/// Waits until the API server says that it is ready, and gives its version.
async fn wait_for_api_server(plane: &ControlPlane<'_>, client: &Client, deadline: Instant) -> Result<String> {
    let waited = objects::until("the API server is not ready", deadline, async || {
        // The path also waits for the permissions that the controllers need.
        let request = hyper::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
        client.request_text(request).await.map_err(|error| objects::plain(&error))?;
        client.apiserver_version().await.map(|version| version.git_version).map_err(|error| objects::plain(&error))
    })
    .await;
    waited.map_err(|error| with_log(plane, API_SERVER, error))
}

/// Keeps programs up while something is waited for.
struct Tender<'a> {
    plane: &'a ControlPlane<'a>,
    guard: &'a Guard,
    exits: broadcast::Receiver<Exit>,
    restarts: BTreeMap<String, u32>,
}

impl Tender<'_> {
    async fn start(&self, name: &str, reporter: Reporter) -> Result<()> {
        reporter.started(name);
        self.guard.spawn(self.plane.spec(name)?).await.map(|_| ())
    }

    /// Waits for `work`, and meanwhile starts again what ends.
    async fn while_running<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                exit = self.exits.recv() => match exit {
                    Ok(exit) => self.restart(&exit).await?,
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => anyhow::bail!("the guard is gone"),
                },
            }
        }
    }

    async fn restart(&mut self, exit: &Exit) -> Result<()> {
        if !PROGRAMS.contains(&exit.name.as_str()) {
            return Ok(());
        }
        let told = last_lines(&self.plane.folder.log(&exit.name), TOLD_LINES);
        if told.iter().any(|line| line.contains("address already in use")) {
            return Err(PortTaken(exit.name.clone()).into());
        }
        let restarts = self.restarts.entry(exit.name.clone()).or_default();
        *restarts += 1;
        if *restarts > RESTARTS {
            let error = anyhow!("`{}` does not stay up: it ended with {}", exit.name, exit.describe());
            return Err(with_log(self.plane, &exit.name, error));
        }
        tokio::time::sleep(RESTART_PAUSE).await;
        self.guard.spawn(self.plane.spec(&exit.name)?).await.map(|_| ())
    }
}

/// Adds the last lines of the log of `program` to `error`, as its cause.
fn with_log(plane: &ControlPlane<'_>, program: &str, error: anyhow::Error) -> anyhow::Error {
    let lines = last_lines(&plane.folder.log(program), TOLD_LINES);
    if lines.is_empty() {
        return error;
    }
    anyhow!("the log of `{program}` ends with\n{}", lines.join("\n")).context(error)
}

/// The last lines of a text file; none where it cannot be read.
pub(super) fn last_lines(path: &Path, count: usize) -> Vec<String> {
    const READ_BYTES: u64 = 16 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(READ_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(READ_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(count)).map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_all_different() {
        let (ports, _reserved) = choose_ports(Program::ALL).unwrap();
        let behind = ports.behind.values().flat_map(BTreeMap::values).copied();
        let all: Vec<u16> =
            [ports.etcd, ports.etcd_peer, ports.api_server, ports.kwok].into_iter().chain(behind).collect();
        let different: std::collections::BTreeSet<u16> = all.iter().copied().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all.len(), 4 + Program::ALL.iter().map(|program| program.row().ports.len()).sum::<usize>());
    }

    #[test]
    fn the_last_lines_of_a_long_log_are_told_and_a_missing_log_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let text: String = (0..10_000).map(|line| format!("line {line}\n")).collect();
        std::fs::write(&path, text).unwrap();
        assert_eq!(last_lines(&path, 2), ["line 9998", "line 9999"]);
        std::fs::write(&path, b"caf\xe9").unwrap();
        assert_eq!(last_lines(&path, 2).len(), 1);
        assert!(last_lines(&folder.path().join("none"), 2).is_empty());
    }
}
