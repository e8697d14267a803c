//! The real programs behind their pods.
//!
//! What runs is what was deployed: arguments from the pod, files from its volumes as the API server
//! holds them, the token of its own ServiceAccount. What must differ is a closed list ([`rewrite`],
//! [`flags`]). The pod's status says how the program really stands.

pub mod container;
mod controller;
mod disk;
pub mod environment;
pub mod files;
pub mod flags;
mod gather;
mod http;
pub mod kubeconfig;
pub mod listen;
pub mod log;
pub mod places;
pub mod reloader;
pub mod rewrite;
pub mod rewrite_collector;
mod rewrite_loki;
pub mod status;
pub mod version;
mod worker;

use super::guard::Guard;
use super::network::program::{Absence, Listening, Program};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the keeper of the programs needs.
#[derive(Clone)]
pub struct BehindOptions {
    /// A client that may read everything and write the status of pods, events and tokens.
    pub client: kube::Client,
    /// Parent of the programs.
    pub guard: Guard,
    /// The executables of the installed programs.
    pub executables: BTreeMap<Program, PathBuf>,
    /// Where they are to listen.
    pub listening: Listening,
    /// Folder for their files, data and logs; nobody else may read it.
    pub directory: PathBuf,
    /// URL of the API server.
    pub api_server_url: String,
    /// File with the certificate authority of the API server.
    pub ca_file: PathBuf,
    /// URL of the sandbox's proxy.
    pub proxy_url: String,
}

/// What each keeper could last not do, for people.
#[derive(Clone, Default)]
struct Problems(Arc<Mutex<BTreeMap<Program, String>>>);

impl Problems {
    fn set(&self, program: Program, error: Option<anyhow::Error>) {
        let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => drop(problems.insert(program, crate::error::chain_of(&error).join(": "))),
            None => drop(problems.remove(&program)),
        }
    }
}

/// What runs behind a pod and differs from what was deployed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramNote {
    /// Key of the program.
    pub program: String,
    /// Namespace and name of the pod.
    pub pod: String,
    /// Version that the pod's image names, where it is another one than runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deployed_version: Option<String>,
    /// Version that runs in its place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run_version: Option<String>,
    /// The whole in words.
    pub message: String,
}

/// Where a keeper says what concerns people.
#[derive(Clone)]
struct Board {
    problems: Problems,
    notes: Notes,
}

/// The notes of all programs.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<BTreeMap<Program, Vec<ProgramNote>>>>);

impl Notes {
    fn set(&self, program: Program, notes: Vec<ProgramNote>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(program, notes);
    }
}

/// The running keepers. Dropping it leaves the programs to the guard.
pub struct Behind {
    problems: Problems,
    notes: Notes,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Starts to keep the programs behind the pods that ask for them.
///
/// # Errors
/// When the folder cannot be made.
pub fn start(options: BehindOptions) -> Result<Behind> {
    std::fs::create_dir_all(&options.directory)
        .with_context(|| format!("cannot make the folder `{}`", options.directory.display()))?;
    let options = Arc::new(options);
    let (problems, notes) = (Problems::default(), Notes::default());
    let stop = CancellationToken::new();
    let (changed, changes) = watch::channel(0);
    let (pods, sources, ticks) = controller::follow(&options.client);
    let mut tasks = JoinSet::new();
    tasks.spawn(controller::notify(ticks, changed, stop.clone()));
    let kept =
        |program: &Program| options.executables.contains_key(program) || program.row().absence == Absence::Unready;
    for program in Program::ALL.into_iter().filter(kept) {
        let (options, read, changes) = (options.clone(), (pods.clone(), sources.clone()), changes.clone());
        let board = Board { problems: problems.clone(), notes: notes.clone() };
        tasks.spawn(controller::keep(program, options, read, changes, board, stop.clone()));
    }
    Ok(Behind { problems, notes, stop, tasks })
}

impl Behind {
    /// What each program's keeper could last not do, one line each; mostly empty. Why a program
    /// does not run stands in the status of its pod.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.problems.0.lock().unwrap_or_else(PoisonError::into_inner);
        problems.iter().map(|(program, problem)| format!("{}: {problem}", program.title())).collect()
    }

    /// Where what runs differs from what was deployed, so that nobody takes one for a proof of the
    /// other.
    pub fn notes(&self) -> Vec<ProgramNote> {
        let notes = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.values().flatten().cloned().collect()
    }

    /// Ends the programs in order.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
