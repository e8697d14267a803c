//! Becomes a program whose life is bound to its parent's.
//!
//! `__shim PARENT_PID -- PROGRAM ARGUMENTS`: the parent-death signal survives `exec`, so asking for
//! it here and then becoming the program needs no code between `fork` and `exec`.

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Exit code where the shim was called wrongly or came too late.
const NOT_STARTED: u8 = 126;
/// Exit code where the program could not be executed.
const NOT_EXECUTED: u8 = 127;

/// Runs the shim with the arguments that follow its mode. Returns only where the program was not started.
pub(super) fn run(arguments: &[OsString]) -> u8 {
    let [parent, separator, program, rest @ ..] = arguments else {
        return NOT_STARTED;
    };
    let parent = parent.to_str().and_then(|text| text.parse::<i32>().ok());
    if separator != "--" || set_pdeathsig(Signal::SIGKILL).is_err() {
        return NOT_STARTED;
    }
    // A parent that died before the line above sends no signal any more.
    if parent != Some(getppid().as_raw()) {
        return NOT_STARTED;
    }
    let error = Command::new(program).args(rest).exec();
    // Standard error is the program's log.
    let _ = writeln!(std::io::stderr(), "cannot execute `{}`: {error}", program.to_string_lossy());
    NOT_EXECUTED
}
