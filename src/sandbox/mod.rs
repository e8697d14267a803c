//! A throwaway real control plane on this machine, with the real Prometheus and Alertmanager behind their pods.
//!
//! Three processes of this executable share the work:
//!
//! - the one that the person started ([`client`]) starts a supervisor, waits until it is ready and goes on;
//! - the *supervisor* knows what a sandbox is made of, watches it and answers on its control socket;
//! - the *guard* is the parent of every program. It ends them all when the supervisor is gone,
//!   however it went, and the kernel ends them when the guard is gone.

pub mod behind;
mod bring_up;
pub mod client;
pub mod control;
pub mod control_plane;
mod credentials;
pub mod guard;
mod guard_process;
mod handshake;
pub mod network;
pub mod objects;
pub mod pki;
pub mod platform;
mod platform_start;
pub mod process;
pub mod programs;
pub mod reserved_ports;
mod shim;
pub mod stand_in;
pub mod state;
mod supervisor;

use std::ffi::OsString;

/// The layer of values that knows the sandbox.
pub const VALUES: &str = include_str!("../../values/sandbox.yaml");

/// First argument of the guard's process.
const GUARD_MODE: &str = "__guard";
/// First argument of the supervisor's process.
const SUPERVISOR_MODE: &str = "__supervisor";
/// First argument of a process that becomes a program bound to the guard's life.
const SHIM_MODE: &str = "__shim";

/// Runs one of the hidden modes in which this executable starts itself again, and gives the
/// process exit code; `None` when `arguments` (without the program's name) ask for none.
///
/// `main` calls it before anything starts a thread: the kernel binds the life of a program to the
/// thread that started it, and a session can only be left before there are others to take along.
pub fn reexec_entry(arguments: &[OsString]) -> Option<u8> {
    let mode = arguments.first()?.to_str()?;
    let rest = arguments.get(1..).unwrap_or_default();
    match mode {
        SUPERVISOR_MODE => Some(supervisor::run()),
        GUARD_MODE => Some(guard_process::run()),
        SHIM_MODE => Some(shim::run(rest)),
        _ => None,
    }
}
