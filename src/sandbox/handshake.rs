//! What the supervisor tells the process that started it, until it is ready: JSON lines on its
//! standard output. The other way goes one line with the options, and one that says that the
//! sandbox was taken. End of file before that means that nobody wants it any more.

use super::programs::Programs;
use super::state::Folder;
use crate::config::model::Config;
use crate::error::chain_of;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::Duration;

/// What the person says when the sandbox is ready.
pub(super) const TAKEN: &str = "taken";

/// Everything that a supervisor needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Options {
    pub folder: Folder,
    pub programs: Programs,
    /// The platform that is simulated and the namespaces come from here.
    pub config: Config,
    /// Whether it ends with the process that started it, however that ends.
    pub bound: bool,
    /// How long a pod takes to start that no real program runs behind.
    pub pods_start_after: Duration,
}

/// One thing that the supervisor tells.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "camelCase")]
pub(super) enum Report {
    Started { step: String },
    Finished { step: String, summary: String },
    Note { message: String },
    Ready,
    Failed { chain: Vec<String> },
}

/// Writes reports. Nobody listening is fine: the end of the standard input says so too.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reporter;

impl Reporter {
    pub(super) fn send(self, report: &Report) {
        if let Ok(mut line) = serde_json::to_vec(report) {
            line.push(b'\n');
            let mut output = std::io::stdout().lock();
            let _ = output.write_all(&line).and_then(|()| output.flush());
        }
    }

    pub(super) fn started(self, step: &str) {
        self.send(&Report::Started { step: step.to_owned() });
    }

    pub(super) fn finished(self, step: &str, summary: &str) {
        self.send(&Report::Finished { step: step.to_owned(), summary: summary.to_owned() });
    }

    pub(super) fn failed(self, error: &anyhow::Error) {
        self.send(&Report::Failed { chain: chain_of(error) });
    }
}
