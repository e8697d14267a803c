//! The lock of charts: for each upstream chart its repository, its one version, and the digest of its
//! archive where it is known.

use crate::error::{Failure, Kind};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The lock that this executable carries.
const EMBEDDED: &str = include_str!("../../charts.lock.yaml");
/// What it is called in messages.
const EMBEDDED_NAME: &str = "charts.lock.yaml";
/// What every digest starts with.
const SHA256: &str = "sha256:";

/// The charts that may be installed, each in one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The charts, in the order of the file.
    pub charts: Vec<LockedChart>,
}

/// One chart of the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedChart {
    /// Name of the chart.
    pub name: String,
    /// URL of the chart repository (`https://...`), or of the OCI registry's folder that holds the
    /// chart (`oci://...`).
    pub repository: String,
    /// The version.
    pub version: String,
    /// Version of the program that it installs.
    pub app_version: String,
    /// `sha256:` and the digest of the archive's bytes, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whether an OCI registry is asked without TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}

impl LockedChart {
    /// Name of its archive, as `helm package` calls it.
    pub fn archive(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }

    /// Whether it is published in an OCI registry.
    pub fn is_oci(&self) -> bool {
        self.repository.starts_with("oci://")
    }

    /// Its reference in an OCI registry.
    pub fn oci_reference(&self) -> String {
        format!("{}/{}", self.repository.trim_end_matches('/'), self.name)
    }
}

impl Lock {
    /// The lock that this executable carries.
    ///
    /// # Errors
    /// Never, as a test reads it.
    pub fn embedded() -> Result<Lock> {
        Lock::parse(EMBEDDED_NAME, EMBEDDED)
    }

    /// The lock in `text`, which came from the file `place`.
    ///
    /// # Errors
    /// [`Kind::Usage`] naming the file and the entry that is wrong.
    pub fn parse(place: &str, text: &str) -> Result<Lock> {
        let refuse = |why: String| Failure::new(Kind::Usage, format!("the lock of charts `{place}` {why}"));
        let lock: Lock = serde_yaml::from_str(text).map_err(|error| {
            refuse("cannot be read".to_owned()).hint("drivemaster-mon charts lock --to FILE").caused_by(error)
        })?;
        let mut seen = BTreeSet::new();
        for (index, chart) in lock.charts.iter().enumerate() {
            if let Some(why) = problem(chart) {
                return Err(refuse(format!("is wrong at `charts[{index}]` (`{}`): {why}", chart.name)).into());
            }
            if !seen.insert(chart.name.as_str()) {
                return Err(refuse(format!("has the chart `{}` a second time", chart.name)).into());
            }
        }
        Ok(lock)
    }

    /// The chart called `name`.
    pub fn get(&self, name: &str) -> Option<&LockedChart> {
        self.charts.iter().find(|chart| chart.name == name)
    }

    /// The lock as YAML, as [`Lock::parse`] reads it.
    ///
    /// # Errors
    /// When a text cannot be written as YAML, which no lock that was parsed has.
    pub fn to_yaml(&self) -> Result<String> {
        Ok(serde_yaml::to_string(self)?)
    }
}

/// What is wrong with one entry. Names and versions become file names and arguments of helm, so only
/// letters that are harmless in both are taken.
fn problem(chart: &LockedChart) -> Option<String> {
    let plain = |text: &str, others: &str| {
        let starts_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        starts_well && text.chars().all(|letter| letter.is_ascii_alphanumeric() || others.contains(letter))
    };
    if !plain(&chart.name, "-_.") {
        return Some("`name` is no name of a chart".to_owned());
    }
    if semver::Version::parse(chart.version.trim_start_matches('v')).is_err() || !plain(&chart.version, "-+.") {
        return Some(format!("`version: {}` is no version such as `1.2.3`", chart.version));
    }
    let scheme = chart.repository.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("https" | "http" | "oci")) || chart.repository.contains(char::is_whitespace) {
        return Some(format!("`repository: {}` starts with none of https://, http:// and oci://", chart.repository));
    }
    if chart.repository.split("://").nth(1).is_some_and(|rest| rest.contains('@')) {
        return Some("`repository` holds credentials; log in with `helm repo add` or `helm registry login`".to_owned());
    }
    let is_digest = |digest: &str| {
        digest
            .strip_prefix(SHA256)
            .is_some_and(|hex| hex.len() == 64 && hex.chars().all(|digit| matches!(digit, '0'..='9' | 'a'..='f')))
    };
    if chart.digest.as_deref().is_some_and(|digest| !is_digest(digest)) {
        return Some("`digest` is not `sha256:` with 64 hexadecimal digits in lower case".to_owned());
    }
    None
}

/// The digest of an archive's bytes, as a lock has it.
pub fn archive_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(SHA256.to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Refuses `found` as the digest of the archive of `chart`, which came from `place`, where the lock or
/// whoever else says `wanted`.
///
/// # Errors
/// [`Kind::Refused`] with both digests when they differ.
pub fn judge_digest(chart: &LockedChart, place: &str, wanted: (&str, &str), found: &str) -> Result<()> {
    let (who, digest) = wanted;
    if digest == found {
        return Ok(());
    }
    let message = format!(
        "the archive of chart `{}` {} from `{place}` is not the one of {who}: it has digest `{found}` instead of `{digest}`",
        chart.name, chart.version
    );
    Err(Failure::new(Kind::Refused, message)
        .hint("find out who changed the archive; `drivemaster-mon charts lock` writes a lock of what is published now")
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code_of;
    use crate::stack::RELEASES;

    const ONE: &str = "charts:\n- {name: a, repository: https://charts.example.org, version: 1.2.3, appVersion: '1'}\n";

    #[test]
    fn the_embedded_lock_has_exactly_the_charts_of_the_releases() {
        let lock = Lock::embedded().unwrap();
        let locked: BTreeSet<&str> = lock.charts.iter().map(|chart| chart.name.as_str()).collect();
        let needed: BTreeSet<&str> = RELEASES.iter().map(|release| release.chart).collect();
        assert_eq!(locked, needed);
        assert!(lock.charts.iter().all(|chart| chart.repository.starts_with("https://")));
    }

    #[test]
    fn a_lock_is_written_as_it_is_read() {
        let mut lock = Lock::parse("x", ONE).unwrap();
        assert_eq!(lock.get("a").unwrap().archive(), "a-1.2.3.tgz");
        assert_eq!(lock.get("b"), None);
        lock.charts[0].digest = Some(archive_digest(b"bytes"));
        lock.charts[0].app_version = "1.10".to_owned();
        assert_eq!(Lock::parse("x", &lock.to_yaml().unwrap()).unwrap(), lock);
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let cases = [
            ("name: a", "name: -a", "`name` is no name"),
            ("name: a", "name: ../a", "`name` is no name"),
            ("version: 1.2.3", "version: '1.2'", "is no version such as"),
            ("version: 1.2.3", "version: latest", "is no version such as"),
            ("https://charts", "ftp://charts", "starts with none of"),
            ("https://charts", "https://me:pw@charts", "holds credentials"),
            ("appVersion: '1'", "appVersion: '1', digest: sha256:abc", "`digest` is not"),
            ("appVersion: '1'", "appVersion: '1', sha256: abc", "cannot be read"),
            ("appVersion: '1'", "", "cannot be read"),
        ];
        for (from, to, words) in cases {
            let error = Lock::parse("my.lock", &ONE.replace(from, to)).unwrap_err();
            assert_eq!(exit_code_of(&error), 64, "{to}");
            let text = error.to_string();
            assert!(text.contains("`my.lock`") && text.contains(words) && !text.contains("pw@"), "{to}: {text}");
        }
        let twice = format!("{ONE}{}", ONE.lines().nth(1).unwrap());
        assert!(Lock::parse("x", &twice).unwrap_err().to_string().contains("a second time"));
    }

    #[test]
    fn a_digest_that_differs_is_refused_with_both() {
        let lock = Lock::parse("x", ONE).unwrap();
        let (one, other) = (archive_digest(b"one"), archive_digest(b"other"));
        assert!(judge_digest(&lock.charts[0], "p", ("the lock", &one), &one).is_ok());
        let error = judge_digest(&lock.charts[0], "p", ("the lock", &one), &other).unwrap_err();
        assert_eq!(exit_code_of(&error), 5);
        assert!(error.to_string().contains(&one) && error.to_string().contains(&other), "{error}");
    }
}
