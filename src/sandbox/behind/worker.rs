//! Looks after one program: starts, reloads and stops it as its pod says.

use super::container::{Readiness, arguments_of, environment_of, readiness_of};
use super::disk::{self, Disk, LocalFiles};
use super::environment::{self, needs_kubeconfig};
use super::files::{Files, Missing, files_of, needs_of};
use super::flags::{self, CommandLine};
use super::gather::version_of;
use super::gather::{Sources, Tokens, gather};
use super::kubeconfig;
use super::listen::Listen;
use super::log;
use super::places::Places;
use super::reloader::{Unwritten, reloader_needs, written_files};
use super::rewrite::{self, Surroundings};
use super::status::Standing;
use super::version::{image_version, is_same};
use super::{BehindOptions, http};
use super::{ProgramNote, rewrite_collector};
use crate::sandbox::guard::{Exit, ProgramSpec, Signal};
use crate::sandbox::network::program::{Program, Reload};
use anyhow::{Context, Result};
use axum::http::{Method, StatusCode};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// How long a program may take to end in order.
const GRACE: Duration = Duration::from_secs(10);
/// How long the first look for readiness goes on before the pod is told to be starting.
const FIRST_LOOK: Duration = Duration::from_secs(3);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a program may take to read its configuration again after a signal.
const RELOAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long after its end a program is started again; doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How much of a log is read for what a program complains about, in bytes.
const LOG_LIMIT: u64 = 256 << 10;

/// The keeper of one program.
pub(super) struct Worker {
    program: Program,
    options: Arc<BehindOptions>,
    sources: Sources,
    /// `None` where it is not installed.
    executable: Option<PathBuf>,
    /// Where it listens, by the port of its pod.
    listening: BTreeMap<u16, SocketAddr>,
    disk: Disk,
    exits: broadcast::Receiver<Exit>,
    /// What it says its version is; `None` while it was not asked.
    version: Option<String>,
    held: Option<Held>,
}

/// What is known of the pod that the program stands behind.
struct Held {
    uid: String,
    tokens: Tokens,
    /// What was written for it, tokens included.
    written: LocalFiles,
    /// What the program last got or rejected, without tokens.
    given: Option<LocalFiles>,
    places: Option<Places>,
    prefix: String,
    /// What says whether it is ready.
    readiness: Readiness,
    /// Process id while it runs.
    pid: Option<u32>,
    /// Where its log begins, for this start or this reload.
    log_start: u64,
    /// How many times it was started for this pod.
    starts: i32,
    ended: Option<(Instant, Duration)>,
    standing: Standing,
    /// How what runs differs from what was deployed.
    notes: Vec<ProgramNote>,
    /// How many of them were told.
    told_notes: usize,
}

/// What a program is to be run with.
struct Wanted {
    files: Files,
    places: Places,
    line: CommandLine,
    readiness: Readiness,
    environment: BTreeMap<String, String>,
    /// All files.
    local: LocalFiles,
    /// All but the tokens: a new token is no new configuration.
    configuration: LocalFiles,
    /// What the run configuration proves less than the deployed one.
    notes: Vec<String>,
}

/// Why there is nothing to run a program with.
enum Unwanted {
    Missing(Missing),
    Refused(String),
}

impl From<Unwritten> for Unwanted {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Missing(missing) => Unwanted::Missing(missing),
            Unwritten::Refused(why) => Unwanted::Refused(why),
        }
    }
}

impl Worker {
    pub(super) fn new(program: Program, options: Arc<BehindOptions>, sources: Sources) -> Self {
        let executable = options.executables.get(&program).cloned();
        let listening = options.listening.get(&program).cloned().unwrap_or_default();
        let disk = Disk::new(&options.directory, program.key());
        let exits = options.guard.exits();
        Worker { program, options, sources, executable, listening, disk, exits, version: None, held: None }
    }

    /// Stops the program, if it runs, and forgets its pod.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) async fn release(&mut self) -> Result<()> {
        if self.held.take().is_some() {
            self.options.guard.stop(self.program.key(), GRACE).await?;
        }
        Ok(())
    }

    /// The version that runs behind the pod; `None` when none does or it is not known.
    pub(super) fn version(&self) -> Option<&str> {
        self.held.as_ref().and_then(|held| held.pid).and(self.version.as_deref())
    }

    /// How what runs differs from what was deployed.
    pub(super) fn notes(&self) -> Vec<ProgramNote> {
        self.held.as_ref().map(|held| held.notes.clone()).unwrap_or_default()
    }

    /// Those of [`Self::notes`] that were not told yet, once.
    pub(super) fn news(&mut self) -> Vec<ProgramNote> {
        let Some(held) = &mut self.held else { return Vec::new() };
        let told = std::mem::replace(&mut held.told_notes, held.notes.len());
        held.notes.iter().skip(told).cloned().collect()
    }

    fn notes_of(&self, pod: &Pod, container: &Container, less: &[String]) -> Vec<ProgramNote> {
        let name = |value: &Option<String>| value.clone().unwrap_or_default();
        let note = |message: String| ProgramNote {
            program: self.program.key().to_owned(),
            pod: format!("{}/{}", name(&pod.metadata.namespace), name(&pod.metadata.name)),
            deployed_version: None,
            run_version: None,
            message,
        };
        let deployed = container.image.as_deref().and_then(image_version);
        let other = deployed.zip(self.version.clone()).filter(|(deployed, run)| !is_same(deployed, run));
        let version = other.map(|(deployed, run)| ProgramNote {
            deployed_version: Some(deployed.clone()),
            run_version: Some(run.clone()),
            ..note(format!("{} {run} runs here in place of {deployed}", self.program.title()))
        });
        version.into_iter().chain(less.iter().cloned().map(note)).collect()
    }

    /// Brings the program where `pod` wants it and tells how it stands, and how many times it was
    /// started again.
    ///
    /// # Errors
    /// When that cannot be found out now; ask again.
    pub(super) async fn tend(&mut self, pod: &Pod) -> Result<(Standing, i32)> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if self.held.as_ref().is_some_and(|held| held.uid != uid) {
            self.release().await?;
        }
        // Taken out while it is worked on, so that after an error it is not taken for good.
        let mut held = self.held.take().unwrap_or_else(|| Held::new(uid));
        let outcome = self.tend_held(pod, &mut held).await;
        let told = (held.standing.clone(), (held.starts - 1).max(0));
        self.held = Some(held);
        outcome.map(|()| told)
    }

    async fn tend_held(&mut self, pod: &Pod, held: &mut Held) -> Result<()> {
        self.notice_end(held);
        let row = self.program.row();
        let (Some(container), Some(executable)) = (self.program.container(pod), self.executable.clone()) else {
            let message = format!(
                "the sandbox needs `{}` (Go package {}) behind this pod, which is missing: run `make tools`",
                row.executable, row.origin
            );
            held.standing = Standing::Waiting { reason: "ProgramMissing", message };
            return Ok(());
        };
        let mut needs = needs_of(pod, container);
        needs.add(reloader_needs(pod));
        let objects = gather(&self.options.client, &self.sources, pod, &needs, &mut held.tokens).await?;
        let wanted = match self.wanted(pod, container, &objects) {
            Ok(wanted) => wanted,
            // As with the kubelet, what goes missing under a running program changes nothing.
            Err(Unwanted::Missing(_)) if held.pid.is_some() => return self.look(held).await,
            Err(Unwanted::Missing(missing)) => {
                let message = match missing.volume {
                    Some(volume) => format!("MountVolume.SetUp failed for volume \"{volume}\" : {}", missing.message),
                    None => missing.message,
                };
                held.standing = Standing::Waiting { reason: "CreateContainerConfigError", message };
                return Ok(());
            }
            Err(Unwanted::Refused(message)) => {
                held.standing = Standing::Rejected { message };
                held.given = None;
                return Ok(());
            }
        };
        let changed = held.given.as_ref() != Some(&wanted.configuration);
        if held.pid.is_none() {
            let rested = held.ended.is_none_or(|(at, pause)| at.elapsed() >= pause);
            if !changed && !rested {
                return Ok(());
            }
            if self.version.is_none() {
                self.version = version_of(&executable).await;
            }
            held.notes = self.notes_of(pod, container, &wanted.notes);
            return self.start(held, executable, wanted, changed).await;
        }
        disk::write(&wanted.local, &held.written)?;
        held.written = wanted.local;
        if changed && row.reload == Reload::OnRequest {
            held.given = Some(wanted.configuration);
            return self.reload(held).await;
        }
        self.look(held).await
    }

    /// What `container` is to be run with.
    fn wanted(&self, pod: &Pod, container: &Container, objects: &super::files::Objects) -> Result<Wanted, Unwanted> {
        let mut files = files_of(pod, container, objects).map_err(Unwanted::Missing)?;
        files.contents.extend(written_files(pod, container, objects)?);
        let environment = environment_of(pod, container, objects).map_err(Unwanted::Missing)?;
        let places = self.disk.places(&files, pod.metadata.uid.as_deref().unwrap_or_default());
        let arguments = arguments_of(container, &environment);
        // Some programs choose their port, as with TLS or without.
        let port = flags::web_port(&arguments).filter(|port| self.listening.contains_key(port));
        let address = self.address_of(port.unwrap_or_else(|| self.program.port()));
        let line = flags::rewrite(self.program, &arguments, &places, address);
        let surroundings = Surroundings {
            places: places.clone(),
            api_server: self.options.api_server_url.clone(),
            ca_file: self.options.ca_file.to_string_lossy().into_owned(),
            proxy_url: self.options.proxy_url.clone(),
            listen: Listen { ports: self.listening.clone(), environment },
        };
        if let Some(unknown) = unknown_config(self.program, &line, &files) {
            return Err(Unwanted::Refused(unknown));
        }
        let mut local = LocalFiles::new();
        let mut configuration = LocalFiles::new();
        let mut notes = Vec::new();
        for (path, file) in &files.contents {
            let content = if line.configs.contains(path) {
                let deployed = String::from_utf8_lossy(&file.content);
                if self.program == Program::Jaeger {
                    notes.extend(rewrite_collector::notes(&deployed));
                }
                let run = rewrite::rewrite(self.program, &deployed, &surroundings);
                run.map_err(|reason| Unwanted::Refused(format!("{path}: {reason}")))?.into_bytes()
            } else {
                file.content.clone()
            };
            let place = places.local(path).map_or_else(|| places.within_root(path), PathBuf::from);
            if !file.token {
                configuration.insert(place.clone(), (content.clone(), file.mode));
            }
            local.insert(place, (content, file.mode));
        }
        let readiness = readiness_of(container, self.program, &line.prefix);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let environment = environment::rewrite(self.program, namespace, &surroundings).map_err(Unwanted::Refused)?;
        if needs_kubeconfig(self.program) {
            let place = places.within_root(kubeconfig::PLACE);
            local.insert(place, (kubeconfig::kubeconfig(&surroundings).into_bytes(), 0o600));
        }
        Ok(Wanted { files, places, line, readiness, environment, local, configuration, notes })
    }

    /// Where it listens for `port` of its pod; nobody listens on port 0.
    fn address_of(&self, port: u16) -> SocketAddr {
        self.listening.get(&port).copied().unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    async fn start(&mut self, held: &mut Held, executable: PathBuf, wanted: Wanted, changed: bool) -> Result<()> {
        let working = flags::working_directory(self.program);
        let working = wanted.places.local(working).map_or_else(|| wanted.places.within_root(working), PathBuf::from);
        self.disk.prepare(&wanted.files, &wanted.places, &held.uid, &working)?;
        disk::write(&wanted.local, &LocalFiles::new())?;
        held.log_start = size_of(&self.disk.log);
        // Ends of former processes are of no interest.
        self.exits = self.options.guard.exits();
        let spec = ProgramSpec {
            name: self.program.key().to_owned(),
            program: executable,
            arguments: wanted.line.arguments,
            environment: wanted.environment,
            directory: working,
            log: self.disk.log.clone(),
        };
        held.pid = Some(self.options.guard.spawn(spec).await?);
        held.written = wanted.local;
        held.given = Some(wanted.configuration);
        held.prefix = wanted.line.prefix;
        held.readiness = wanted.readiness;
        held.places = Some(wanted.places);
        held.starts += 1;
        if changed {
            held.ended = None;
        }
        held.standing = Standing::Starting { message: format!("{} is starting", self.program.title()) };
        let deadline = Instant::now() + FIRST_LOOK;
        while held.pid.is_some() && held.standing != Standing::Ready && Instant::now() < deadline {
            tokio::time::sleep(LOOK_INTERVAL).await;
            self.look(held).await?;
        }
        Ok(())
    }

    /// Takes notice of the end of the program.
    fn notice_end(&mut self, held: &mut Held) {
        let mut end = None;
        while let Ok(exit) = self.exits.try_recv() {
            if Some(exit.pid) == held.pid {
                end = Some(exit);
            }
        }
        // A lagging receiver misses ends; the list of what runs does not.
        let gone = held.pid.is_some() && self.options.guard.pid_of(self.program.key()) != held.pid;
        if end.is_none() && !gone {
            return;
        }
        held.pid = None;
        let pause = held.ended.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
        held.ended = Some((Instant::now(), pause));
        let ended =
            end.as_ref().map_or_else(|| "it ended".to_owned(), |exit| format!("ended with {}", exit.describe()));
        held.standing = match self.complaint(held) {
            Some(complaint) if complaint.rejected => Standing::Rejected { message: complaint.message },
            complaint => {
                let said = complaint.map(|complaint| format!(": {}", complaint.message)).unwrap_or_default();
                let code = end.and_then(|exit| exit.code.or(exit.signal.map(|signal| 128 + signal))).unwrap_or(1);
                Standing::Crashed { code, message: format!("{} {ended}{said}", self.program.title()) }
            }
        };
    }

    /// Asks the running program whether it is ready. One that rejected its configuration stays so
    /// until it takes one.
    async fn look(&mut self, held: &mut Held) -> Result<()> {
        self.notice_end(held);
        if held.pid.is_none() || matches!(held.standing, Standing::Rejected { .. }) {
            return Ok(());
        }
        let Readiness { port, path, tls } = held.readiness.clone();
        held.standing = match http::ask(self.address_of(port), tls, Method::GET, &path).await {
            Ok((StatusCode::OK, _)) => Standing::Ready,
            Ok((status, _)) => Standing::Starting { message: format!("{path} answers {}", status.as_u16()) },
            Err(error) => Standing::Starting { message: format!("{path}: {error}") },
        };
        Ok(())
    }

    /// Has the program read its configuration again.
    async fn reload(&mut self, held: &mut Held) -> Result<()> {
        held.log_start = size_of(&self.disk.log);
        let path = format!("{}/-/reload", held.prefix);
        let (status, body) =
            match http::ask(self.address_of(self.program.port()), held.readiness.tls, Method::POST, &path).await {
                Ok(answer) => answer,
                Err(error) => {
                    // It did not get the configuration, so it is asked again.
                    held.given = None;
                    self.notice_end(held);
                    return if held.pid.is_none() { Ok(()) } else { Err(error) };
                }
            };
        let outcome = if status == StatusCode::OK {
            Ok(())
        } else if status == StatusCode::FORBIDDEN || status == StatusCode::METHOD_NOT_ALLOWED {
            // Reloading over HTTP is off, as it is by default.
            self.reload_by_signal(held).await?
        } else {
            // Of a broken rule file the answer says nothing, the log everything.
            let complaint = self.complaint(held).filter(|complaint| complaint.rejected);
            Err(complaint.map_or_else(|| self.in_words_of_container(held, body.trim()), |complaint| complaint.message))
        };
        held.standing = match outcome {
            Ok(()) => Standing::Starting { message: "it has read its configuration again".to_owned() },
            Err(message) => Standing::Rejected { message },
        };
        self.look(held).await
    }

    async fn reload_by_signal(&mut self, held: &mut Held) -> Result<Result<(), String>> {
        self.options.guard.signal(self.program.key(), Signal::Hangup).await?;
        let deadline = Instant::now() + RELOAD_DEADLINE;
        while Instant::now() < deadline {
            if let Some(outcome) = log::reload_outcome(&read_from(&self.disk.log, held.log_start)) {
                return Ok(outcome.map_err(|complaint| self.in_words_of_container(held, &complaint.message)));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        held.given = None;
        anyhow::bail!("{} does not say whether it has read its configuration again", self.program.title())
    }

    /// What the program complains about since it was last started or asked to reload.
    fn complaint(&self, held: &Held) -> Option<log::Complaint> {
        let complaint = log::complaint_of(&read_from(&self.disk.log, held.log_start))?;
        Some(log::Complaint { message: self.in_words_of_container(held, &complaint.message), ..complaint })
    }

    fn in_words_of_container(&self, held: &Held, text: &str) -> String {
        held.places.as_ref().map_or_else(|| text.to_owned(), |places| places.as_in_container(text))
    }
}

impl Held {
    fn new(uid: String) -> Self {
        Held {
            uid,
            tokens: Tokens::default(),
            written: LocalFiles::new(),
            given: None,
            places: None,
            prefix: String::new(),
            readiness: Readiness::default(),
            pid: None,
            log_start: 0,
            starts: 0,
            ended: None,
            standing: Standing::Starting { message: "it is being looked at".to_owned() },
            notes: Vec::new(),
            told_notes: 0,
        }
    }
}

/// Why the configuration that the command line names cannot be known here.
fn unknown_config(program: Program, line: &CommandLine, files: &Files) -> Option<String> {
    if !matches!(program, Program::Loki | Program::Jaeger | Program::Collector) {
        return None;
    }
    if line.configs.is_empty() {
        return Some("it is given no configuration, so where it would listen is not known".to_owned());
    }
    let unknown = line.configs.iter().find(|config| !files.contents.contains_key(*config))?;
    Some(format!("its configuration `{unknown}` is no file of a volume, so what it says is not known"))
}

fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The text of a file from `start` on, at most the last [`LOG_LIMIT`] bytes of it.
fn read_from(path: &Path, start: u64) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> Result<Vec<u8>> {
        let mut file = std::fs::File::open(path).context("no log")?;
        let from = start.max(file.metadata()?.len().saturating_sub(LOG_LIMIT));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(LOG_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // Without a log there is nothing to complain about.
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}
