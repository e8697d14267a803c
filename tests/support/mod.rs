//! What the test binaries share.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod alerts;
#[cfg(feature = "sandbox")]
pub mod charts;
#[cfg(feature = "sandbox")]
pub mod fault_proxy;
pub mod firing;
pub mod own_objective;
#[cfg(feature = "sandbox")]
pub mod production;
pub mod program;
#[cfg(feature = "sandbox")]
pub mod rendered;
pub mod routing;
#[cfg(feature = "sandbox")]
pub mod sandbox;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program under test, in a folder of its own with nothing of the person's environment.
pub struct Run {
    pub home: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Default for Run {
    fn default() -> Self {
        Run { home: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }
}

impl Run {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable for every later call.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file into the folder the program runs in.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drivemaster-mon"));
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DRIVEMASTER_MON_TOOLS", tool_cache())
            .envs(self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        command
    }

    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Answer {
        Answer::from(self.command(arguments).output().unwrap())
    }
}

/// What a run printed, and how it ended.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answer {
    /// Ends the test unless the run ended with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\nstderr:\n{}", self.told(), self.stderr);
        self
    }

    /// Standard output, of a report the checks that did not pass: a log keeps the beginning and the end of what is long.
    fn told(&self) -> String {
        let document = serde_json::from_str::<serde_json::Value>(&self.stdout).unwrap_or_default();
        let Some(checks) = document["checks"].as_array() else {
            return format!("stdout:\n{}", self.stdout);
        };
        let open = |check: &&serde_json::Value| check["outcome"] != "pass";
        let rest: Vec<String> = checks.iter().filter(open).map(|check| format!("{check:#}")).collect();
        format!("checks that did not pass:\n{}", rest.join("\n"))
    }

    /// Ends the test unless standard error contains `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no `{text}` in:\n{}", self.stderr);
        self
    }

    /// Ends the test unless standard output contains `text`.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no `{text}` in:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.stdout, self.stderr))
    }
}

/// A port of loopback that no sandbox and no other test chooses as long as this process lives.
#[cfg(feature = "sandbox")]
pub fn free_port() -> u16 {
    let mut reserved = drivemaster_mon::sandbox::reserved_ports::ReservedPorts::default();
    let port = reserved.reserve().unwrap();
    std::mem::forget(reserved);
    port
}

/// Where the real programs are.
pub fn tool_cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("DRIVEMASTER_MON_TOOLS") {
        return PathBuf::from(folder);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache")).join("drivemaster-mon/tools")
}

/// A real program; the test fails when it is not there.
pub fn tool(name: &str) -> PathBuf {
    let path = tool_cache().join("bin").join(name);
    assert!(path.is_file(), "`{name}` is not in the tool cache; run `make tools`");
    path
}
