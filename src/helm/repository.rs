//! A chart repository or OCI registry, asked by helm itself, so that its logins, certificates, proxies
//! and settings hold.

use crate::chart::index::Index;
use crate::chart::lock::{LockedChart, archive_digest, judge_digest};
use crate::error::{Failure, Kind};
use crate::helm::Helm;
use crate::helm::parse::reasons;
use crate::helm::run::{Call, Ended, Finished};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a repository is called that the person has not added to helm.
const ALIAS: &str = "drivemaster-mon";
/// The most that is kept of what helm prints.
const STDOUT_LIMIT: usize = 4 * 1024 * 1024;

/// A repository that answers.
pub struct Repository {
    helm: Helm,
    url: String,
    /// The name helm knows it by, and its index; an OCI registry has neither.
    listed: Option<(String, Index)>,
    /// Holds helm's own files while the person's have no entry for it.
    _settings: Option<TempDir>,
}

#[derive(Deserialize)]
struct Added {
    name: String,
    url: String,
}

impl Repository {
    /// Opens the repository at `url`: with the name and the login under which it was added to helm, or
    /// else for this run alone. A registry is not asked yet.
    ///
    /// # Errors
    /// [`Kind::CouldNotAsk`] when it does not answer with an index.
    pub async fn open(helm: Helm, url: &str, patience: Duration, cancel: &CancellationToken) -> Result<Repository> {
        let url = url.trim_end_matches('/').to_owned();
        if url.starts_with("oci://") {
            return Ok(Repository { helm, url, listed: None, _settings: None });
        }
        let deadline = Instant::now() + patience;
        let added = added(&helm, &url, deadline, cancel).await?;
        let (helm, alias, cache, settings) = match added {
            Some(name) => {
                let text = ask(&helm, &["env", "HELM_REPOSITORY_CACHE"], &url, deadline, cancel).await?;
                let cache = PathBuf::from(String::from_utf8_lossy(&text).trim());
                ask(&helm, &["repo", "update", &name], &url, deadline, cancel).await?;
                (helm, name, cache, None)
            }
            None => {
                let settings = tempfile::Builder::new()
                    .prefix("drivemaster-mon-helm-")
                    .tempdir()
                    .context("cannot make a temporary folder for helm")?;
                let cache = settings.path().join("cache");
                let helm = helm.with_variables([
                    ("HELM_REPOSITORY_CONFIG".into(), settings.path().join("repositories.yaml").into_os_string()),
                    ("HELM_REPOSITORY_CACHE".into(), cache.clone().into_os_string()),
                ]);
                ask(&helm, &["repo", "add", ALIAS, &url], &url, deadline, cancel).await?;
                (helm, ALIAS.to_owned(), cache, Some(settings))
            }
        };
        let path = cache.join(format!("{alias}-index.yaml"));
        let text = std::fs::read(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))
            .map_err(|error| no_index(&url, error))?;
        let index = Index::parse(&text).map_err(|error| no_index(&url, error))?;
        Ok(Repository { helm, url, listed: Some((alias, index)), _settings: settings })
    }

    /// The bytes of the archive of `locked`; of a repository with an index, those that it speaks of.
    ///
    /// # Errors
    /// [`Kind::Refused`] when it has no such chart or version, or another digest than the lock;
    /// [`Kind::CouldNotAsk`] when it does not answer, wants a login, or breaks off.
    pub async fn pull(&self, locked: &LockedChart, deadline: Instant, cancel: &CancellationToken) -> Result<Vec<u8>> {
        let mut published = None;
        let target = match &self.listed {
            None => locked.oci_reference(),
            Some((alias, index)) => {
                let entry = index.find(locked).ok_or_else(|| self.lacks(locked, index))?;
                published = entry.digest();
                if let (Some(wanted), Some(found)) = (&locked.digest, &published) {
                    judge_digest(locked, &self.url, ("the lock", wanted), found)?;
                }
                format!("{alias}/{}", locked.name)
            }
        };
        let folder = tempfile::Builder::new()
            .prefix("drivemaster-mon-pull-")
            .tempdir()
            .context("cannot make a temporary folder for a chart")?;
        let destination = folder.path().to_string_lossy().into_owned();
        let mut words = vec!["pull", &target, "--version", &locked.version, "--destination", &destination];
        if locked.plain_http && locked.is_oci() {
            words.push("--plain-http");
        }
        let what = format!("{} (chart `{}` {})", self.url, locked.name, locked.version);
        ask(&self.helm, &words, &what, deadline, cancel).await?;
        let bytes = the_archive_in(folder.path())
            .with_context(|| format!("helm wrote no archive of chart `{}` {}", locked.name, locked.version))?;
        if let Some(published) = published {
            judge_digest(locked, &self.url, ("the repository's index", &published), &archive_digest(&bytes))?;
        }
        Ok(bytes)
    }

    /// The newest version of `locked` that is no pre-release.
    ///
    /// # Errors
    /// As [`Repository::pull`].
    pub async fn newest(
        &self,
        locked: &LockedChart,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<(String, String)> {
        if let Some((_, index)) = &self.listed {
            let newest = index.newest(&locked.name).ok_or_else(|| self.lacks(locked, index))?;
            return Ok((newest.version.clone(), newest.app_version.clone()));
        }
        let reference = locked.oci_reference();
        let mut words = vec!["show", "chart", &reference];
        if locked.plain_http {
            words.push("--plain-http");
        }
        let what = format!("{} (chart `{}`)", self.url, locked.name);
        let text = ask(&self.helm, &words, &what, deadline, cancel).await?;
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shown {
            version: String,
            #[serde(default)]
            app_version: String,
        }
        let shown: Shown = serde_yaml::from_slice(&text).map_err(|error| {
            Failure::new(Kind::CouldNotAsk, format!("{what} answers with no chart")).caused_by(error)
        })?;
        Ok((shown.version, shown.app_version))
    }

    fn lacks(&self, locked: &LockedChart, index: &Index) -> anyhow::Error {
        let newest = match index.newest(&locked.name) {
            Some(newest) => format!("; its newest is {}", newest.version),
            None => "; it has no chart of that name".to_owned(),
        };
        let message = format!("{} has no version {} of chart `{}`{newest}", self.url, locked.version, locked.name);
        Failure::new(Kind::Refused, message).hint("drivemaster-mon charts list --outdated").into()
    }
}

fn no_index(url: &str, error: impl Into<anyhow::Error>) -> anyhow::Error {
    Failure::new(Kind::CouldNotAsk, format!("the chart repository {url} has no index that can be read"))
        .hint("check `repository` in the lock of charts")
        .caused_by(error)
}

/// The name under which the person added the repository to helm.
async fn added(helm: &Helm, url: &str, deadline: Instant, cancel: &CancellationToken) -> Result<Option<String>> {
    let finished = run(helm, &["repo", "list", "-o", "json"], deadline, cancel).await?;
    // Without any repository helm calls it an error, or prints an empty list.
    let list: Vec<Added> = serde_json::from_slice(&finished.stdout).unwrap_or_default();
    Ok(list.into_iter().find(|added| added.url.trim_end_matches('/') == url).map(|added| added.name))
}

/// Runs helm, and says what went wrong with `what` where it does not succeed.
async fn ask(
    helm: &Helm,
    words: &[&str],
    what: &str,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<Vec<u8>> {
    let finished = run(helm, words, deadline, cancel).await?;
    match finished.ended {
        Ended::Exited(status) if status.success() => Ok(finished.stdout),
        Ended::Exited(_) => Err(explain(what, &finished.stderr)),
        Ended::Cancelled => Err(Failure::new(Kind::Interrupted, "interrupted while charts were pulled").into()),
        Ended::TimedOut => Err(Failure::new(Kind::CouldNotAsk, format!("{what} does not answer"))
            .hint("`--charts DIR` takes charts from a folder and asks nobody")
            .into()),
    }
}

async fn run(helm: &Helm, words: &[&str], deadline: Instant, cancel: &CancellationToken) -> Result<Finished> {
    let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    helm.run(Call { argv, stdin: Vec::new(), deadline, stdout_limit: STDOUT_LIMIT }, cancel).await
}

/// What a refusal of helm to get something from `what` means.
fn explain(what: &str, stderr: &str) -> anyhow::Error {
    let reasons = reasons(stderr);
    let said = reasons.join(": ");
    // Without addresses: a port or a path may hold the digits of a status.
    let words = said.split_whitespace().filter(|word| !word.contains("://"));
    let lower = words.collect::<Vec<_>>().join(" ").to_lowercase();
    let has = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
    let has_status =
        |codes: &[&str]| lower.split(|mark: char| !mark.is_alphanumeric()).any(|word| codes.contains(&word));
    let folder = "`--charts DIR` takes charts from a folder and asks nobody";
    let (kind, why, hint) =
        if has_status(&["401", "403"]) || has(&["unauthorized", "forbidden", "denied", "basic credential not found"]) {
            (Kind::CouldNotAsk, "wants a login, or another one", "helm registry login, or helm repo add --username")
        } else if has_status(&["404"]) || has(&["not found", "name_unknown", "manifest_unknown", "manifest unknown"]) {
            (Kind::Refused, "has no such thing", "check `repository` and `version` in the lock of charts")
        } else if has(&["unexpected eof", "connection reset", "broken pipe", "mismatch", "content size", "short"]) {
            (Kind::CouldNotAsk, "broke off in the middle", "run it again; what came whole is kept")
        } else if has(&["x509", "certificate", "tls"]) {
            (
                Kind::CouldNotAsk,
                "has a certificate that is not trusted",
                "add its authority to the system's, or use --charts DIR",
            )
        } else if has(&[
            "no such host",
            "connection refused",
            "timeout",
            "deadline exceeded",
            "network is unreachable",
            "eof",
        ]) {
            (Kind::CouldNotAsk, "does not answer", folder)
        } else {
            (Kind::CouldNotAsk, "cannot be asked", folder)
        };
    let cause = if said.is_empty() { "helm ended without saying why".to_owned() } else { said };
    Failure::new(kind, format!("{what} {why}")).hint(hint).caused_by(anyhow::anyhow!(cause))
}

fn the_archive_in(folder: &Path) -> Result<Vec<u8>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "tgz") {
            return Ok(std::fs::read(path)?);
        }
    }
    anyhow::bail!("there is no archive")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::failure_of;

    #[test]
    fn the_digits_of_an_address_are_no_status() {
        let told = |stderr: &str| {
            let error = explain("x", stderr);
            failure_of(&error).unwrap().message.clone()
        };
        let missing = "Error: failed to fetch http://127.0.0.1:40343/files/a-1.401.3.tgz : 404 Not Found";
        assert_eq!(told(missing), "x has no such thing");
        assert_eq!(told("Error: dial tcp 127.0.0.1:40140: connect: connection refused"), "x does not answer");
        assert_eq!(
            told("Error: looks like \"http://r\" is not reachable : 401 Unauthorized"),
            "x wants a login, or another one"
        );
    }
}
