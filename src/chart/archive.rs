//! Reads a packaged chart (`.tgz`), as `helm package` writes it.

use super::Chart;
use crate::error::{Failure, Kind};
use anyhow::Result;
use flate2::read::GzDecoder;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;

/// The most that a chart may unpack to, in bytes: the largest known is a tenth of it, and what grows
/// beyond is an attack or a mistake.
const LARGEST: u64 = 128 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChartFile {
    name: String,
    version: String,
    #[serde(default)]
    app_version: String,
}

/// The chart in the archive `bytes`, which came from `place` (a path or URL, for messages).
///
/// # Errors
/// [`Kind::Refused`] when it is no archive, is cut short, unpacks to too much, holds a path outside
/// the chart's folder or a link, or has no `Chart.yaml`.
pub fn read(place: &str, bytes: &[u8]) -> Result<Chart> {
    let refuse = |why: String| Failure::new(Kind::Refused, format!("the chart archive `{place}` {why}"));
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(LARGEST + 1));
    let mut files = BTreeMap::new();
    let mut size = 0_u64;
    let entries = archive.entries().map_err(|error| refuse(format!("cannot be read: {error}")))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() {
            return Err(refuse(format!("holds `{path}`, which is no plain file")).into());
        }
        // The first part is the chart's own folder.
        let inner = path.split_once('/').map(|(_, inner)| inner).filter(|inner| !inner.is_empty());
        let odd = |inner: &str| inner.starts_with('/') || inner.split('/').any(|part| part == ".." || part.is_empty());
        let Some(inner) = inner.filter(|inner| !odd(inner)) else {
            return Err(refuse(format!("holds `{path}`, which lies outside the chart's folder")).into());
        };
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|error| refuse(format!("is cut short at `{path}`: {error}")))?;
        size += content.len() as u64;
        if size > LARGEST {
            return Err(refuse(format!("unpacks to more than {} MiB", LARGEST >> 20)).into());
        }
        files.insert(inner.to_owned(), content);
    }
    let text = files.get("Chart.yaml").ok_or_else(|| refuse("has no `Chart.yaml`".to_owned()))?;
    let chart: ChartFile = serde_yaml::from_slice(text)
        .map_err(|error| refuse("has a `Chart.yaml` that cannot be read".to_owned()).caused_by(error))?;
    Ok(Chart { name: chart.name, version: chart.version, app_version: chart.app_version, files })
}
