//! Process ids that cannot be confused: the kernel uses an id again, but not with the same start time.

use serde::{Deserialize, Serialize};

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

/// State and start time in the text of `/proc/PID/stat`. The name in its second field may hold
/// spaces and brackets, so counting starts behind the last bracket.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// First argument of a run of this program that becomes another program, which ends with its parent.
#[cfg(target_os = "linux")]
pub const BOUND_MODE: &str = "__ends-with-parent";

/// Becomes the program that `arguments` name behind [`BOUND_MODE`] and the parent's process id. The kernel
/// kills it when the parent is gone, however that ended: what it would still do, nobody would know of.
/// Returns the exit code where it cannot, and nothing where the arguments are others.
#[cfg(target_os = "linux")]
pub fn reexec_entry(arguments: &[std::ffi::OsString]) -> Option<u8> {
    use std::os::unix::process::CommandExt;
    let [mode, parent, program, rest @ ..] = arguments else { return None };
    if mode.to_str() != Some(BOUND_MODE) {
        return None;
    }
    let cannot = |error: &dyn std::fmt::Display| {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("cannot start `{}`: {error}\n", program.display()),
        );
        Some(126)
    };
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
        return cannot(&error);
    }
    // It may have ended before the kernel was told to watch it.
    if parent.to_str() != Some(&nix::unistd::getppid().to_string()) {
        return cannot(&"its parent is gone");
    }
    cannot(&std::process::Command::new(program).args(rest).exec())
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
    fn this_process_is_alive_and_one_of_its_id_with_another_start_is_not() {
        let own = ProcessRef::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessRef { start: own.start + 1, ..own }.is_alive());
    }
}
