//! The `drivemaster-mon` executable: parse, run, exit code.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    #[cfg(feature = "sandbox")]
    if let Some(code) = drivemaster_mon::sandbox::reexec_entry(&arguments) {
        return ExitCode::from(code);
    }
    ExitCode::SUCCESS
}
