//! The index of a chart repository, `index.yaml`, as far as it is needed.

use super::lock::LockedChart;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The charts that a repository publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Index {
    #[serde(default)]
    entries: BTreeMap<String, Vec<Published>>,
}

/// One version of a chart, as its repository publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The version.
    pub version: String,
    /// Version of the program that it installs.
    #[serde(default)]
    pub app_version: String,
    /// SHA-256 of the archive in hexadecimal digits; some repositories write `sha256:` before them,
    /// and some none at all.
    #[serde(default)]
    digest: Option<String>,
}

impl Published {
    /// The digest as a lock has it.
    pub fn digest(&self) -> Option<String> {
        let digest = self.digest.as_deref()?;
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        (!hex.is_empty()).then(|| format!("sha256:{}", hex.to_lowercase()))
    }
}

impl Index {
    /// The index in `text`.
    ///
    /// # Errors
    /// When it is no index.
    pub fn parse(text: &[u8]) -> Result<Index, serde_yaml::Error> {
        serde_yaml::from_slice(text)
    }

    /// The locked version of `chart`.
    pub fn find(&self, chart: &LockedChart) -> Option<&Published> {
        let plain = |version: &str| version.trim_start_matches('v').to_owned();
        self.entries.get(&chart.name)?.iter().find(|entry| plain(&entry.version) == plain(&chart.version))
    }

    /// The newest version of the chart `name` that is no pre-release.
    pub fn newest(&self, name: &str) -> Option<&Published> {
        let released = self.entries.get(name)?.iter().filter_map(|entry| Some((release(&entry.version)?, entry)));
        released.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, entry)| entry)
    }
}

fn release(text: &str) -> Option<semver::Version> {
    semver::Version::parse(text.trim_start_matches('v')).ok().filter(|version| version.pre.is_empty())
}

/// Whether `published` is a newer version than `locked`, both as charts write them.
pub fn is_newer(published: &str, locked: &str) -> bool {
    let read = |text: &str| semver::Version::parse(text.trim_start_matches('v')).ok();
    read(published).zip(read(locked)).is_some_and(|(published, locked)| published > locked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::lock::Lock;

    const INDEX: &[u8] = b"apiVersion: v1\nentries:\n  a:\n  - {version: 1.9.0, appVersion: 7, digest: ABC}\n  \
        - {version: v1.10.0, digest: 'sha256:def'}\n  - {version: 2.0.0-rc.1}\n  - {version: odd}\n  b: []\n";

    #[test]
    fn versions_are_found_and_compared_as_numbers() {
        let index = Index::parse(INDEX).unwrap();
        assert_eq!(index.newest("a").unwrap().version, "v1.10.0");
        assert_eq!(index.newest("b"), None);
        assert_eq!(index.newest("c"), None);
        let lock = "charts:\n- {name: a, repository: https://x, version: 1.10.0, appVersion: '1'}\n";
        let found = Lock::parse("x", lock).unwrap();
        assert_eq!(index.find(&found.charts[0]).unwrap().digest().as_deref(), Some("sha256:def"));
        assert!(is_newer("v1.10.0", "1.9.0") && !is_newer("1.9.0", "1.9.0") && !is_newer("odd", "1.0.0"));
    }

    #[test]
    fn what_is_no_index_is_an_error() {
        assert!(Index::parse(b"<html>").is_err());
        assert!(Index::parse(b"a: [").is_err());
    }
}
