//! Finds the programs that a sandbox is made of.

use super::network::program::{Absence, Program};
use crate::error::{Failure, Kind};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program and where it comes from when it was not built by `make tools`.
#[derive(Clone, Copy)]
struct Needed {
    name: &'static str,
    origin: &'static str,
}

/// What every sandbox runs besides the programs behind pods, in the order people see it.
const NEEDED: &[Needed] = &[
    Needed { name: "etcd", origin: "go.etcd.io/etcd/server/v3" },
    Needed { name: "kube-apiserver", origin: "k8s.io/kubernetes/cmd/kube-apiserver" },
    Needed { name: "kube-controller-manager", origin: "k8s.io/kubernetes/cmd/kube-controller-manager" },
    Needed { name: "kube-scheduler", origin: "k8s.io/kubernetes/cmd/kube-scheduler" },
    Needed { name: "kwok", origin: "sigs.k8s.io/kwok/cmd/kwok" },
    Needed { name: "kubectl", origin: "k8s.io/kubernetes/cmd/kubectl" },
    Needed { name: "helm", origin: "helm.sh/helm/v4/cmd/helm" },
];

/// What there is no sandbox without.
fn needed() -> impl Iterator<Item = Needed> {
    let behind = Program::ALL.into_iter().map(Program::row).filter(|row| row.absence == Absence::Fatal);
    let behind = behind.map(|row| Needed { name: row.executable, origin: row.origin });
    NEEDED.iter().copied().chain(behind)
}

/// The programs that were found: all that there is no sandbox without, and of the others those
/// that are installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Finds the programs: first in `tools` (or its `bin`), then on PATH, then in the tool cache.
    ///
    /// # Errors
    /// [`Kind::CouldNotAsk`] naming every needed program that is missing, and how to get each;
    /// [`Kind::Usage`] where `tools` is no folder.
    pub fn find(tools: Option<&Path>) -> Result<Self> {
        if let Some(tools) = tools.filter(|tools| !tools.is_dir()) {
            return Err(Failure::new(Kind::Usage, format!("`--tools {}` is not a folder", tools.display()))
                .hint("leave it out, and PATH and the tool cache are searched")
                .into());
        }
        let cache = tool_cache();
        Self::find_in(&folders(tools, std::env::var_os("PATH").as_deref(), cache.as_deref()), cache.as_deref())
    }

    fn find_in(folders: &[PathBuf], cache: Option<&Path>) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        let look = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| is_executable(path));
        for needed in needed() {
            match look(needed.name) {
                Some(path) => drop(found.insert(needed.name.to_owned(), path)),
                None => missing.push(needed),
            }
        }
        for name in Program::ALL.map(|program| program.row().executable) {
            found.extend(look(name).map(|path| (name.to_owned(), path)));
        }
        if missing.is_empty() {
            return Ok(Programs(found));
        }
        let names: Vec<String> =
            missing.iter().map(|needed| format!("`{}` (Go package {})", needed.name, needed.origin)).collect();
        let place = cache.map_or_else(|| "the tool cache".to_owned(), |cache| format!("`{}`", cache.display()));
        Err(Failure::new(Kind::CouldNotAsk, format!("a sandbox needs programs that are missing: {}", names.join(", ")))
            .hint(format!(
                "run `make tools`, which builds every one of them into {place}; or put them on PATH or name their folder with `--tools DIR`"
            ))
            .into())
    }

    /// All of them in one folder, whether they are there or not.
    #[cfg(test)]
    pub(super) fn installed_in(folder: &Path) -> Self {
        Programs(needed().map(|needed| (needed.name.to_owned(), folder.join(needed.name))).collect())
    }

    /// The executable of `program`, where it is installed.
    pub fn behind(&self, program: Program) -> Option<&Path> {
        self.0.get(program.row().executable).map(PathBuf::as_path)
    }

    /// The executables of the programs behind pods that are installed.
    pub fn all_behind(&self) -> BTreeMap<Program, PathBuf> {
        let installed = |program: Program| Some((program, self.behind(program)?.to_owned()));
        Program::ALL.into_iter().filter_map(installed).collect()
    }

    /// The programs behind pods that are not installed.
    pub fn missing(&self) -> impl Iterator<Item = Program> {
        Program::ALL.into_iter().filter(|program| self.behind(*program).is_none())
    }

    /// Where the program `name` is; one behind pods by its key.
    ///
    /// # Errors
    /// When `name` is none of a sandbox's programs, which is a fault of this program.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let behind = Program::ALL.into_iter().find(|program| program.key() == name);
        self.0
            .get(behind.map_or(name, |program| program.row().executable))
            .map(PathBuf::as_path)
            .ok_or_else(|| anyhow::anyhow!("`{name}` is not a program of the sandbox"))
    }
}

/// The tool cache: where `make tools` builds.
fn tool_cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("DRIVEMASTER_MON_TOOLS").or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
        Some(cache.join("drivemaster-mon").join("tools"))
    })
}

/// The folders to look in, in order. Relative entries of PATH depend on where one stands and are left out.
fn folders(tools: Option<&Path>, path: Option<&OsStr>, cache: Option<&Path>) -> Vec<PathBuf> {
    let with_bin = |folder: &Path| [folder.to_owned(), folder.join("bin")];
    let mut folders: Vec<PathBuf> = tools.map(with_bin).into_iter().flatten().collect();
    folders.extend(path.map(std::env::split_paths).into_iter().flatten().filter(|folder| folder.is_absolute()));
    folders.extend(cache.map(with_bin).into_iter().flatten());
    folders
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::failure_of;

    fn install(folder: &Path, names: &[&str], mode: u32) {
        std::fs::create_dir_all(folder).unwrap();
        for name in names {
            let path = folder.join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    #[test]
    fn the_tools_folder_comes_before_path_and_path_before_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let [tools, path, cache] = ["tools", "path", "cache"].map(|name| root.path().join(name));
        let all: Vec<&str> = needed().map(|needed| needed.name).collect();
        install(&tools.join("bin"), &["etcd"], 0o755);
        install(&path, &["etcd", "helm"], 0o755);
        install(&cache.join("bin"), &all, 0o755);
        let folders = folders(Some(&tools), Some(path.as_os_str()), Some(&cache));
        let programs = Programs::find_in(&folders, Some(&cache)).unwrap();
        assert_eq!(programs.path("etcd").unwrap(), tools.join("bin/etcd"));
        assert_eq!(programs.path("helm").unwrap(), path.join("helm"));
        assert_eq!(programs.path("kwok").unwrap(), cache.join("bin/kwok"));
        assert_eq!(programs.behind(Program::Loki), None);
        install(&path, &["loki"], 0o755);
        let programs = Programs::find_in(&folders, Some(&cache)).unwrap();
        assert_eq!(programs.behind(Program::Loki), Some(path.join("loki").as_path()));
    }

    #[test]
    fn all_missing_programs_are_named_at_once_and_a_file_that_cannot_be_executed_is_missing() {
        let root = tempfile::tempdir().unwrap();
        install(root.path(), &["etcd", "helm"], 0o755);
        install(root.path(), &["kwok"], 0o644);
        let error = Programs::find_in(&[root.path().to_owned()], Some(Path::new("/cache"))).unwrap_err();
        let failure = failure_of(&error).unwrap();
        assert_eq!(failure.kind, Kind::CouldNotAsk);
        for needed in needed() {
            let named = failure.message.contains(&format!("`{}` (Go package {})", needed.name, needed.origin));
            assert_eq!(named, !["etcd", "helm"].contains(&needed.name), "{}: {}", needed.name, failure.message);
        }
        assert!(failure.hint.as_deref().unwrap().contains("`make tools`"));
        assert!(failure.hint.as_deref().unwrap().contains("`/cache`"));
    }

    #[test]
    fn relative_entries_of_path_are_not_searched() {
        assert_eq!(folders(None, Some(OsStr::new("bin:/usr/bin:.")), None), [PathBuf::from("/usr/bin")]);
    }
}
