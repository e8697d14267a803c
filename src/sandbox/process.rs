//! Process ids that cannot be confused: the kernel uses an id again, but not with the same start time.

use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One process of this machine, past or present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessRef {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since the machine's start (field 22 of `/proc/PID/stat`).
    pub start: u64,
}

impl ProcessRef {
    /// The process that has the id `pid` now.
    pub fn of(pid: u32) -> Option<Self> {
        let (_, start) = state_and_start(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        Some(ProcessRef { pid, start })
    }

    /// Whether it still runs. One that ended but was not collected by its parent does not.
    pub fn is_alive(self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .ok()
            .and_then(|stat| state_and_start(&stat))
            .is_some_and(|(state, start)| start == self.start && !matches!(state, 'Z' | 'X'))
    }

    /// Sends `signal` if it still runs. One that is gone needs none.
    pub fn signal(self, signal: nix::sys::signal::Signal) {
        if let (true, Ok(pid)) = (self.is_alive(), i32::try_from(self.pid)) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        }
    }
}

/// The processes of the sandbox in `directory` as the kernel knows them, whatever its record says.
pub(super) fn of_sandbox(directory: &Path) -> Vec<ProcessRef> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| {
            let environment = std::fs::read(entry.path().join("environ"));
            let place = std::fs::read_link(entry.path().join("cwd"));
            // Those of other users cannot be read, and are not ours.
            matches!((environment, place), (Ok(environment), Ok(place)) if belongs(directory, &environment, &place))
        })
        .filter_map(|entry| ProcessRef::of(entry.file_name().to_str()?.parse().ok()?))
        .filter(|process| process.is_alive())
        .collect()
}

/// Whether a process with this `environment` and working folder is one of the sandbox in
/// `directory`. The sandbox's own have its folder as home; those behind pods have what their pod
/// gave them, mostly nothing, and work below the folder. A person's shell in the folder is neither.
fn belongs(directory: &Path, environment: &[u8], place: &Path) -> bool {
    let mut variables = environment.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    let home = variables
        .clone()
        .find_map(|variable| variable.strip_prefix(b"HOME="))
        .map(|home| Path::new(OsStr::from_bytes(home)));
    home == Some(directory)
        || place.starts_with(directory.join("behind"))
            && !variables.any(|variable| variable.starts_with(b"HOME=") || variable.starts_with(b"USER="))
}

/// State and start time in the text of `/proc/PID/stat`. The name in its second field may hold
/// spaces and brackets, so counting starts behind the last bracket.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3";
        assert_eq!(state_and_start(stat), Some(('S', 987_654)));
        assert_eq!(state_and_start("42 (a"), None);
        assert_eq!(state_and_start(""), None);
    }

    #[test]
    fn the_processes_of_a_sandbox_are_told_from_a_shell_in_its_folder() {
        let directory = Path::new("/state/sandboxes/one");
        let cases: [(&[u8], &str, bool); 6] = [
            (b"HOME=/state/sandboxes/one\0PATH=/bin\0", "/", true),
            (b"", "/state/sandboxes/one/behind/claims/x", true),
            (b"GOGC=50\0", "/state/sandboxes/one/behind/claims/x (deleted)", true),
            (b"HOME=/root\0PATH=/bin\0", "/state/sandboxes/one/behind/claims", false),
            (b"HOME=/state/sandboxes/one2\0", "/state/sandboxes/one2", false),
            (b"", "/state/sandboxes/one2/behind", false),
        ];
        for (environment, place, expected) in cases {
            let told = belongs(directory, environment, Path::new(place));
            assert_eq!(told, expected, "{} in {place}", String::from_utf8_lossy(environment));
        }
    }

    #[test]
    fn a_process_is_found_by_its_home() {
        let home = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").env("HOME", home.path()).spawn().unwrap();
        let found = of_sandbox(home.path());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [child.id()]);
        assert!(of_sandbox(home.path()).is_empty());
    }

    #[test]
    fn this_process_is_alive_and_one_of_its_id_with_another_start_is_not() {
        let own = ProcessRef::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessRef { start: own.start + 1, ..own }.is_alive());
    }
}
