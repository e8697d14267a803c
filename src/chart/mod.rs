//! Helm charts as data: the lock that pins them, files by path read from archives. Pure.

pub mod archive;
pub mod crds;
pub mod index;
pub mod lock;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A chart with its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Version of the program it installs.
    pub app_version: String,
    /// Files by path below the chart's folder.
    #[serde(skip)]
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Charts by their name.
pub type Charts = BTreeMap<String, Chart>;
