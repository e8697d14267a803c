//! The supervisor's control socket: one JSON line asks, one JSON line answers.

use super::behind::ProgramNote;
use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// How long one exchange may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest line that is read.
const LINE_LIMIT: u64 = 1024 * 1024;

/// What can be asked of a running sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
pub(super) enum Ask {
    /// How it is.
    Status,
    /// Which scenarios are on.
    Scenarios,
    /// One more scenario.
    SetScenario {
        /// As the person wrote it, such as `errors user-service 8%`.
        words: Vec<String>,
    },
    /// No scenario any more, or one fewer.
    ClearScenarios {
        /// The one to end, as the person wrote it; empty for all.
        words: Vec<String>,
    },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub(super) enum Answer {
    /// How it is.
    Status { status: Box<Status> },
    /// The scenarios that are on now.
    Scenarios { scenarios: Vec<String> },
    /// It does not do that.
    Refused {
        message: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        hint: Option<String>,
    },
}

/// How a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Version of this program that runs it.
    pub version: String,
    /// Whether the node is ready and every program runs.
    pub healthy: bool,
    /// Process id of its supervisor.
    pub supervisor: u32,
    /// Seconds since it was ready.
    pub uptime_seconds: u64,
    /// Address of its API server.
    pub server: String,
    /// Kubeconfig of the person.
    pub kubeconfig: PathBuf,
    /// Folder with its logs, its audit log and everything else.
    pub directory: PathBuf,
    /// The node.
    pub node: NodeStatus,
    /// Its programs.
    pub programs: Vec<ProgramStatus>,
    /// The programs that are not installed, so that the pods that ask for them have none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub missing: Vec<MissingProgram>,
    /// Where what runs behind a pod differs from what was deployed there.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<ProgramNote>,
    /// The proxy that scrapes go through.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proxy: Option<String>,
    /// The scenarios that change the simulated platform; none when all is well there.
    pub scenarios: Vec<String>,
    /// What cannot be kept behind the pods, one line each; why a program does not run stands in the
    /// status of its pod.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<String>,
}

impl Status {
    /// The programs that should run and do not.
    pub fn dead(&self) -> impl Iterator<Item = &ProgramStatus> {
        self.programs.iter().filter(|program| !program.alive)
    }
}

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Whether it takes pods.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
}

/// How a program is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramStatus {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub alive: bool,
    /// Its process id while it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<u32>,
    /// Its port on loopback, where it listens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
    /// `running`, or how it ended.
    pub state: String,
    /// The last lines of its log, where it ended.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub last_lines: Vec<String>,
}

/// A program that is not installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingProgram {
    /// Its name.
    pub name: String,
    /// What its pods are without it.
    pub state: String,
}

/// Asks the supervisor that listens on `socket`.
pub(super) async fn ask(socket: &Path, ask: &Ask) -> Result<Answer> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.context("cannot connect")?;
        write_line(&mut stream, ask).await?;
        read_line(&mut stream).await
    };
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| Err(anyhow!("no answer within {} s", DEADLINE.as_secs())))
        .with_context(|| format!("cannot ask the supervisor at `{}`", socket.display()))
}

/// Answers one connection with what `answer` makes of its question.
pub(super) async fn serve<F: Future<Output = Answer>>(mut stream: UnixStream, answer: impl FnOnce(Ask) -> F) {
    let exchange = async {
        let reply = match read_line(&mut stream).await {
            Ok(ask) => answer(ask).await,
            Err(error) => Answer::Refused { message: format!("the question is not understood: {error:#}"), hint: None },
        };
        write_line(&mut stream, &reply).await
    };
    // Whoever hangs up or falls silent needs no answer.
    let _ = tokio::time::timeout(DEADLINE, exchange).await;
}

async fn write_line(stream: &mut UnixStream, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await.context("the connection broke")
}

async fn read_line<T: serde::de::DeserializeOwned>(stream: &mut UnixStream) -> Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut line).await.context("the connection broke")?;
    serde_json::from_str(&line).context("not the expected JSON")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_that_is_not_understood_is_refused_and_does_not_hang() {
        for (question, answered) in [("{\"ask\":\"status\"}\n", "fine"), ("{\"ask\":\"dance\"}\n", "not understood")] {
            let (mut client, server) = UnixStream::pair().unwrap();
            tokio::spawn(serve(server, async |_| Answer::Refused { message: "fine".to_owned(), hint: None }));
            client.write_all(question.as_bytes()).await.unwrap();
            let answer: Answer = read_line(&mut client).await.unwrap();
            let Answer::Refused { message, .. } = answer else { panic!("{answer:?}") };
            assert!(message.contains(answered), "{message}");
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let error = ask(Path::new("/nonexistent/control.sock"), &Ask::Status).await.unwrap_err();
        assert!(error.to_string().contains("`/nonexistent/control.sock`"));
    }
}
