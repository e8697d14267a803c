//! Which processes belong to a sandbox.

use crate::process::ProcessRef;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
}
