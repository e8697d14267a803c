//! The rules of the house that a compiler does not check: pure modules name no IO, arrows point
//! down the pipeline, only its own module and the commands name the sandbox.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Modules that compute and do nothing else.
const PURE: &[&str] = &[
    "object.rs",
    "event.rs",
    "labels.rs",
    "quantity.rs",
    "stack.rs",
    "flows.rs",
    "secrets",
    "chart",
    "config",
    "contract",
    "promql",
    "dashboard",
    "preview",
    "slo",
    "render",
    "plan",
    "ready",
    "record",
    "validate",
];

/// What a pure module does not name.
const IO: &[&str] = &[
    "tokio",
    "kube::",
    "reqwest",
    "hyper",
    "axum",
    "nix::",
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "rand::",
];

/// The pipeline from its start; a module uses none of those after it (`commands` use all).
const ARROWS: &[(&str, &[&str])] = &[
    ("object", &[]),
    ("labels", &[]),
    ("error", &[]),
    ("stack", &[]),
    ("event", &["object"]),
    ("chart", &["error", "object"]),
    ("contract", &[]),
    ("promql", &[]),
    ("dashboard", &["promql"]),
    ("preview", &["dashboard"]),
    ("config", &["error", "stack"]),
    ("flows", &["config", "stack"]),
    ("slo", &["config", "contract", "promql"]),
    ("render", &["chart", "config", "contract", "error", "flows", "object", "promql", "slo", "stack"]),
    ("secrets", &["render"]),
    ("validate", &["chart", "config", "contract", "error", "object", "promql", "render", "secrets", "slo", "stack"]),
    ("plan", &["chart", "error", "object", "render", "secrets", "stack"]),
    ("record", &["chart", "error", "event", "object", "plan", "render"]),
    ("ready", &["event", "object"]),
    ("helm", &["chart", "error", "event", "object", "plan", "render"]),
    ("process", &[]),
    (
        "cluster",
        &[
            "chart", "config", "error", "event", "helm", "labels", "object", "plan", "process", "ready", "record",
            "render", "stack",
        ],
    ),
    ("telemetry", &["error"]),
    ("access", &["cluster", "config", "error", "stack"]),
    (
        "checks",
        &[
            "cluster",
            "config",
            "contract",
            "dashboard",
            "error",
            "event",
            "object",
            "promql",
            "ready",
            "render",
            "stack",
            "telemetry",
            "plan",
        ],
    ),
    ("report", &["error", "event", "object", "validate"]),
    ("sandbox", &["config", "contract", "error", "event", "object", "process", "render", "stack", "cluster", "plan"]),
];

fn sources(path: &Path) -> Vec<(PathBuf, String)> {
    if path.is_file() {
        return vec![(path.to_path_buf(), std::fs::read_to_string(path).unwrap())];
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
        .into_iter()
        .filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "rs"))
        .flat_map(|path| sources(&path))
        .collect()
}

/// The lines of code of `text`, numbered, up to its tests, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn module_files(module: &str) -> Vec<(PathBuf, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in [source.join(module), source.join(format!("{module}.rs"))] {
        if path.exists() {
            found.extend(sources(&path));
        }
    }
    assert!(!found.is_empty(), "no module `{module}`");
    found
}

#[test]
fn pure_modules_name_no_io() {
    for module in PURE {
        for (path, text) in module_files(module) {
            for (number, line) in code(&text) {
                for word in IO {
                    assert!(!line.contains(word), "{}:{number} names `{word}`: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn arrows_point_down_the_pipeline() {
    let modules: Vec<&str> = ARROWS.iter().map(|(module, _)| *module).chain(["commands", "cli"]).collect();
    for (module, allowed) in ARROWS {
        for (path, text) in module_files(module) {
            for (number, line) in code(&text) {
                for (index, _) in line.match_indices("crate::") {
                    let rest = &line[index + "crate::".len()..];
                    let end = rest
                        .find(|character: char| !(character.is_alphanumeric() || character == '_'))
                        .unwrap_or(rest.len());
                    let used = &rest[..end];
                    let fine = used == *module || allowed.contains(&used) || !modules.contains(&used);
                    assert!(fine, "{}:{number}: `{module}` must not use `{used}`: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn only_its_own_module_and_the_commands_name_the_sandbox() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (path, text) in sources(&source) {
        let relative = path.strip_prefix(&source).unwrap().to_string_lossy().into_owned();
        let may =
            ["sandbox", "commands/", "cli.rs", "lib.rs", "main.rs"].iter().any(|prefix| relative.starts_with(prefix));
        if may {
            continue;
        }
        for (number, line) in code(&text) {
            assert!(
                !line.contains("sandbox::") && !line.contains("is_sandbox"),
                "{relative}:{number} names the sandbox: {line}"
            );
        }
    }
}

#[test]
fn no_file_outgrows_its_one_purpose() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in sources(&root.join("src")) {
        let lines = text.lines().count();
        assert!(lines <= 600, "{} has {lines} lines: it is two things", path.display());
    }
}
