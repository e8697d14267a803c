//! What helm prints, understood. Pure.
//!
//! Every failure of helm is exit code 1: only the text tells one from another.

use crate::error::{Failure, Kind};
use crate::object::Manifest;
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// A version of helm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major.
    pub major: u64,
    /// Minor.
    pub minor: u64,
    /// Patch.
    pub patch: u64,
}

/// The oldest helm that is supported: the first with `--labels` on an upgrade that merges, and with
/// `--ignore-not-found`.
pub const OLDEST: Version = Version { major: 3, minor: 14, patch: 0 };
/// The newest major version that is supported.
pub const NEWEST_MAJOR: u64 = 4;

impl Version {
    /// Whether this version is one we know how to call.
    pub fn is_supported(self) -> bool {
        self >= OLDEST && self.major <= NEWEST_MAJOR
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Reads a version such as `v4.3.1`, `3.14.0+g12345` or `v4.0.0-rc.1`.
pub fn version(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches('v');
    let numbers = text.split(['-', '+']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
    let version = Version { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
    parts.next().is_none().then_some(version)
}

/// The objects in a manifest as helm prints it, those of lists one by one.
///
/// # Errors
/// When the text is not YAML.
pub fn manifest(text: &str) -> Result<Vec<Manifest>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document)?;
        match value.pointer("/items").and_then(Value::as_array) {
            Some(items) if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
                objects.extend(items.iter().cloned().map(Manifest));
            }
            _ => objects.push(Manifest(value)),
        }
    }
    objects.retain(|object| {
        let reference = object.reference();
        !reference.kind.is_empty() && !reference.name.is_empty()
    });
    Ok(objects)
}

/// In the chain of an error: helm may get through when it is run again, as the API server was away or went away at
/// work, or may have.
#[derive(Debug)]
pub struct Transient(String);

impl Transient {
    /// Of a release `name` in `namespace` that stands although helm found none to uninstall.
    pub fn at(name: &str, namespace: &str) -> anyhow::Error {
        let failure = Failure::new(Kind::CouldNotAsk, format!("helm did not uninstall the release `{name}`"))
            .hint(format!("helm status {name} -n {namespace}"));
        anyhow::Error::new(Transient("it stands, and helm could not read it".to_owned())).context(failure)
    }
}

impl std::fmt::Display for Transient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Transient {}

/// All that helm says when it could not delete something of a release, whatever the reason.
const NOT_DELETED: &str = "failed to delete release";

/// What a failed helm means for the person, from what it wrote to its standard error when it was to `what` the
/// release `name` in `namespace`.
pub fn explain(what: &str, stderr: &str, name: &str, namespace: &str) -> anyhow::Error {
    let reasons = reasons(stderr);
    let all = reasons.join("; ");
    let lower = all.to_lowercase();
    let is_transient = is_transient(&lower);
    let failure = if is_transient && reasons.iter().all(|reason| reason.to_lowercase().starts_with(NOT_DELETED)) {
        // The server may have been lost, and then it is run again; as likely it is one word for every other reason.
        Failure::new(Kind::Unhealthy, format!("helm could not delete everything of the release `{name}`"))
            .hint(format!("helm uninstall {name} -n {namespace} --debug"))
    } else if is_transient {
        Failure::new(Kind::CouldNotAsk, format!("helm cannot reach the cluster for the release `{name}`"))
            .hint("kubectl get --raw /readyz?verbose")
    } else if lower.contains("another operation (install/upgrade/rollback) is in progress") {
        Failure::new(Kind::Refused, format!("another operation on the release `{name}` is in progress or was killed"))
            .hint(format!("helm history {name} -n {namespace}"))
    } else if lower.contains("cannot be imported into the current release") {
        Failure::new(
            Kind::Refused,
            format!("the release `{name}` would take over objects that belong to somebody else"),
        )
        .hint("delete or rename the named object, or deploy into another namespace")
    } else if lower.contains("is forbidden: user") {
        Failure::new(Kind::Refused, format!("not allowed to write the objects of the release `{name}`"))
            .hint(format!("kubectl auth can-i --list -n {namespace}"))
    } else if lower.contains("has been cancelled") || lower.contains("context canceled") {
        // By somebody else: one that we stop is not asked what it says.
        Failure::new(Kind::Unhealthy, format!("helm was stopped while it worked on the release `{name}`"))
            .hint("run it again: what helm left is repaired")
    } else if lower.contains("failed pre-") || lower.contains("failed post-") {
        Failure::new(Kind::Unhealthy, format!("a hook of the release `{name}` did not finish"))
            .hint(format!("kubectl get pods,jobs -n {namespace}"))
    } else if is_template_error(&lower) {
        // Other releases may stand by the time that one is deployed.
        let kind = if what == "render" { Kind::Usage } else { Kind::Unhealthy };
        Failure::new(kind, format!("the chart of the release `{name}` does not accept its values"))
    } else {
        Failure::new(Kind::Unhealthy, format!("helm could not {what} the release `{name}`"))
            .hint(format!("helm status {name} -n {namespace}"))
    };
    // Innermost first: each refused object is one line below the failure.
    let mut reasons = reasons.into_iter().rev();
    match reasons.next() {
        None => failure.caused_by(anyhow::anyhow!("helm ended without saying why")),
        Some(last) => {
            let last = if is_transient { anyhow::Error::new(Transient(last)) } else { anyhow::anyhow!(last) };
            let chain = reasons.fold(last, anyhow::Error::context);
            chain.context(failure)
        }
    }
}

/// What helm left behind although it says that it uninstalled a release, from its standard output: objects that it
/// could not read, one line each. Helm 4 skips them and forgets the release.
pub fn left_behind(stdout: &str) -> Vec<String> {
    let lines = stdout.lines().skip_while(|line| !line.contains("their ownership could not be verified"));
    lines.skip(1).take_while(|line| line.starts_with('[')).map(str::to_owned).collect()
}

/// Whether the API server was away, or went away at work, or may have. A webhook that could not be asked is another matter.
fn is_transient(lower: &str) -> bool {
    let marks = [
        "cluster unreachable",
        "connect: connection refused",
        "connection reset by peer",
        "client connection lost",
        "\": eof",
        "\": unexpected eof",
        "original error: unexpected eof",
        "server sent goaway",
        "tls handshake timeout",
        "i/o timeout",
        "server is currently unable to handle the request",
        NOT_DELETED,
    ];
    let webhooks = ["failed calling webhook", "conversion webhook for"];
    !webhooks.iter().any(|mark| lower.contains(mark)) && marks.iter().any(|mark| lower.contains(mark))
}

fn is_template_error(lower: &str) -> bool {
    [
        "execution error at (",
        "parse error at (",
        "template: ",
        "yaml parse error on",
        "values don't meet the specifications",
    ]
    .iter()
    .any(|mark| lower.contains(mark))
}

/// The reasons in helm's standard error, one line each, without its own preambles.
pub fn reasons(stderr: &str) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    let mut in_error = false;
    for line in stderr.lines() {
        let line = line.trim();
        if line.is_empty() || is_noise(line) {
            continue;
        }
        if let Some(rest) = line.strip_prefix("Error:") {
            // A second `Error:` repeats or ends the first; the newest one is the answer.
            reasons.clear();
            in_error = true;
            reasons.push(without_preamble(rest));
        } else if in_error {
            reasons.push(without_preamble(line));
        }
    }
    if !in_error {
        // It ended without its usual word: the last line is the best there is.
        reasons
            .extend(stderr.lines().map(str::trim).rfind(|line| !line.is_empty() && !is_noise(line)).map(str::to_owned));
    }
    let mut seen = std::collections::BTreeSet::new();
    reasons.retain(|reason| !reason.is_empty() && seen.insert(reason.clone()));
    reasons.into_iter().map(shortened).collect()
}

/// A line that a person can read: of a longer one both ends.
fn shortened(line: String) -> String {
    const END: usize = 1000;
    let count = line.chars().count();
    if count <= 2 * END {
        return line;
    }
    let (head, tail): (String, String) = (line.chars().take(END).collect(), line.chars().skip(count - END).collect());
    format!("{head} ... {tail}")
}

/// Lines that are not about the failure: warnings, and log lines of client-go (`W1123 21:43:00...`)
/// or of Helm 4's logger (`level=WARN msg=...`).
fn is_noise(line: &str) -> bool {
    let mut characters = line.chars();
    let log_letter = characters.next().is_some_and(|letter| "IWE".contains(letter));
    let log_line = log_letter && characters.clone().take(4).filter(char::is_ascii_digit).count() == 4;
    log_line
        || line.starts_with("WARNING:")
        || line.starts_with("walk.go:")
        || line.starts_with("level=")
        || line.starts_with("time=")
        || (line.starts_with("Release \"") && line.ends_with("Installing it now."))
}

fn without_preamble(line: &str) -> String {
    const PREAMBLES: &[&str] = &[
        "UPGRADE FAILED:",
        "INSTALLATION FAILED:",
        "uninstallation completed with 1 error(s):",
        "release failed:",
        "cannot patch:",
        "unable to continue with install:",
        "unable to continue with update:",
        "server-side apply failed for",
        "failed to create resource:",
        "create: failed to create:",
    ];
    let mut rest = line.trim();
    while let Some(shorter) = PREAMBLES.iter().find_map(|preamble| rest.strip_prefix(preamble)) {
        rest = shorter.trim_start();
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{chain_of, exit_code_of, failure_of};

    #[test]
    fn of_a_flood_both_ends_are_told() {
        let flood = format!("begin {} the last words", "x".repeat(100_000));
        let told = reasons(&flood).remove(0);
        assert!(told.starts_with("begin x") && told.ends_with("x the last words") && told.len() < 3000, "{told}");
    }

    #[test]
    fn versions_are_read_as_helm_prints_them() {
        let cases = [
            ("v4.3.1", Some((4, 3, 1))),
            ("v3.14.0\n", Some((3, 14, 0))),
            ("3.22.0+g9f8e7d6", Some((3, 22, 0))),
            ("v4.0.0-rc.1", Some((4, 0, 0))),
            ("v4.3", None),
            ("v4.3.1.2", None),
            ("", None),
            ("helm: command not found", None),
        ];
        for (text, expected) in cases {
            let found = version(text).map(|version| (version.major, version.minor, version.patch));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn versions_from_3_14_to_4_are_supported() {
        let cases = [("v3.13.9", false), ("v3.14.0", true), ("v3.99.0", true), ("v4.9.9", true), ("v5.0.0", false)];
        for (text, expected) in cases {
            assert_eq!(version(text).unwrap().is_supported(), expected, "{text}");
        }
    }

    #[test]
    fn every_refused_object_is_named() {
        let stderr = "level=WARN msg=\"something\"\nError: server-side apply failed for object t/two /v1, Kind=Service: \
                      Service \"two\" is invalid: spec.ports[0].port: Invalid value: 800000\n\
                      server-side apply failed for object t/two apps/v1, Kind=Deployment: Deployment.apps \"two\" is \
                      invalid: spec.replicas: Invalid value: -1";
        let error = explain("deploy", stderr, "two", "t");
        let chain = chain_of(&error);
        assert_eq!(exit_code_of(&error), 4);
        assert_eq!(chain[0], "helm could not deploy the release `two`");
        assert!(chain[1].starts_with("object t/two /v1, Kind=Service: Service \"two\" is invalid"), "{chain:?}");
        assert!(chain[2].contains("spec.replicas: Invalid value: -1"), "{chain:?}");
    }

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let cases = [
            ("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress", 5),
            ("Error: kubernetes cluster unreachable: Get \"http://localhost:8080/version\": connection refused", 3),
            (
                "Error: unable to continue with install: ConfigMap \"a\" in namespace \"t\" exists and cannot be \
                 imported into the current release: invalid ownership metadata",
                5,
            ),
            ("Error: configmaps is forbidden: User \"jane\" cannot create resource \"configmaps\"", 5),
            ("Error: failed pre-install: resource Pod/t/six-hook not ready\ncontext deadline exceeded", 4),
            ("Error: execution error at (loki/templates/a.yaml:3:4): size is required", 4),
            ("Error: release pend failed: Release \"pend\" has been cancelled", 4),
            (
                "Error: query: failed to query: Get \"https://a/b\": dial tcp 1.2.3.4:6443: connect: connection refused",
                3,
            ),
            ("Error: server-side apply failed for object t/two: Patch \"https://a/b\": unexpected EOF", 3),
            (
                "Error: object m/loki v1, Kind=Service: unexpected error when reading response body. Please retry. \
                 Original error: unexpected EOF",
                3,
            ),
            ("Error: query: failed to query with labels: Get \"https://a/b\": EOF", 3),
            ("Error: http2: server sent GOAWAY and closed the connection; LastStreamID=1", 3),
            ("Error: the server is currently unable to handle the request (get secrets)", 3),
            ("Error: failed to delete release: loki", 4),
            (
                "Error: conversion webhook for a.b/v1 failed: Post \"https://b\": dial tcp: connect: connection refused",
                4,
            ),
            ("Error: failed calling webhook \"a\": Post \"https://b.c.svc\": connect: connection refused", 4),
            ("Error: parse error at (loki/templates/a.yaml:3): unexpected EOF", 4),
            ("Error: something new", 4),
            ("", 4),
        ];
        for (stderr, expected) in cases {
            assert_eq!(exit_code_of(&explain("deploy", stderr, "loki", "m")), expected, "{stderr}");
        }
        let stderr = "Error: execution error at (loki/templates/a.yaml:3:4): size is required";
        assert_eq!(exit_code_of(&explain("render", stderr, "loki", "m")), 64, "nothing stands yet");
    }

    #[test]
    fn what_may_go_away_is_in_the_chain_and_nothing_else_is_taken_for_it() {
        let lost = explain("uninstall", "Error: failed to delete release: loki", "loki", "m");
        assert_eq!(chain_of(&lost)[0], "helm could not delete everything of the release `loki`");
        assert!(lost.is::<Transient>() && lost.context("above").is::<Transient>());
        assert!(Transient::at("loki", "m").is::<Transient>());
        assert!(!explain("uninstall", "Error: something new", "loki", "m").is::<Transient>());
    }

    #[test]
    fn what_an_uninstall_left_is_named() {
        let stdout = "2 resource(s) were not deleted because their ownership could not be verified:\n\
                      [Deployment] a: deployments.apps \"a\" is forbidden\n[Service] b: EOF\n\nrelease \"a\" uninstalled\n";
        let left = left_behind(stdout);
        assert_eq!(left, ["[Deployment] a: deployments.apps \"a\" is forbidden", "[Service] b: EOF"]);
        assert!(left_behind("release \"a\" uninstalled\n").is_empty());
    }

    #[test]
    fn preambles_and_log_lines_are_left_out() {
        let stderr = "WARNING: Kubernetes configuration file is group-readable.\n\
                      W1123 21:43:00.123456 1 warnings.go:70] unknown field\n\
                      Error: UPGRADE FAILED: cannot patch: Service \"a\" is invalid\n";
        assert_eq!(reasons(stderr), ["Service \"a\" is invalid"]);
        assert_eq!(reasons("panic: boom\n\n"), ["panic: boom"]);
        assert!(failure_of(&explain("deploy", stderr, "a", "m")).unwrap().hint.is_some());
    }

    #[test]
    fn a_manifest_names_its_objects() {
        let text = "---\n# Source: a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n---\n---\n\
                    apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: two, namespace: other}\n---\n\
                    apiVersion: v1\nkind: ConfigMapList\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: \
                    {name: three}\n";
        let objects = manifest(text).unwrap();
        let names: Vec<String> = objects.iter().map(|object| object.reference().to_string()).collect();
        assert_eq!(names, ["ConfigMap one", "Deployment other/two", "ConfigMap three"]);
    }

    #[test]
    fn a_broken_manifest_is_an_error_and_not_a_panic() {
        for text in ["a: [", "\u{0}", "- - -\n a"] {
            let _ = manifest(text);
        }
        assert!(manifest("a: [").is_err());
        assert!(manifest("").unwrap().is_empty());
    }
}
