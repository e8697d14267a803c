//! The files a bundle is rendered from, embedded in the executable; a person's own may lie over them.

use crate::contract::Contract;
use crate::error::{Failure, Kind};
use anyhow::Result;
use include_dir::{Dir, include_dir};
use std::collections::BTreeMap;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");
static VALUES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/values");
static ALERTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/alerts");
static DASHBOARDS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/dashboards");

/// The files with the metrics contract and the metrics of other programs; those of an overlay have metrics besides the
/// built-in ones.
const CONTRACT: &str = "alerts/contract.yaml";
const PROGRAMS: &str = "alerts/programs.yaml";

/// Files by path, such as `templates/values/local/loki.yaml` or `alerts/application.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sources {
    files: BTreeMap<String, Vec<u8>>,
    /// Metrics that are known besides those of the files.
    more_metrics: Option<Contract>,
    /// What a person calls the files that are not embedded, by path.
    names: BTreeMap<String, String>,
}

impl Sources {
    /// The files embedded in this executable: `templates/`, `alerts/` and `dashboards/`.
    pub fn embedded() -> Self {
        let mut files = BTreeMap::new();
        for (folder, embedded) in [("templates", &TEMPLATES), ("alerts", &ALERTS), ("dashboards", &DASHBOARDS)] {
            collect(embedded, folder, &mut files);
        }
        Sources { files, more_metrics: None, names: BTreeMap::new() }
    }

    /// No files at all.
    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Sources { files: BTreeMap::new(), more_metrics: None, names: BTreeMap::new() }
    }

    /// The same files with those of `overlay` in place of, or beside, the ones of the same path.
    #[must_use]
    pub fn with_overlay(mut self, overlay: BTreeMap<String, String>) -> Self {
        self.files.extend(overlay.into_iter().map(|(path, text)| (path, text.into_bytes())));
        self
    }

    /// [`Sources::with_overlay`], read from `folder`, which is named in messages.
    #[must_use]
    pub fn with_overlay_at(mut self, folder: &str, overlay: BTreeMap<String, String>) -> Self {
        let named = |path: &String| (path.clone(), format!("{}/{path}", folder.trim_end_matches('/')));
        self.names.extend(overlay.keys().map(named));
        self.with_overlay(overlay)
    }

    /// What a person calls the file at `path`.
    pub fn name_of<'s>(&'s self, path: &'s str) -> &'s str {
        self.names.get(path).map_or(path, String::as_str)
    }

    /// The same files, with the metrics of `contract` known too.
    #[must_use]
    pub fn with_contract(mut self, contract: Contract) -> Self {
        self.more_metrics = Some(contract);
        self
    }

    /// The metrics that rules, objectives and dashboards may ask for: the built-in contract, with what the
    /// overlay's has besides.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a file that is no contract.
    pub fn contract(&self) -> Result<Contract> {
        let contract = self.with_those_of(CONTRACT, Contract::embedded()?)?;
        Ok(match &self.more_metrics {
            Some(more) => contract.with(more.clone()),
            None => contract,
        })
    }

    /// The metrics of other programs that rules and dashboards may ask for: the built-in ones, with what the overlay's
    /// file has besides.
    ///
    /// # Errors
    /// As [`Sources::contract`].
    pub fn programs(&self) -> Result<Contract> {
        self.with_those_of(PROGRAMS, Contract::programs()?)
    }

    fn with_those_of(&self, path: &str, built_in: Contract) -> Result<Contract> {
        let Some(file) = self.get(path) else { return Ok(built_in) };
        let name = self.name_of(path);
        let read = Contract::parse(name, &String::from_utf8_lossy(file)).map_err(|error| {
            Failure::new(Kind::Usage, format!("`{name}` is no contract"))
                .hint("it has the form of the built-in one, and only the metrics that are added")
                .doc("docs/slo.md#an-objective-of-your-own")
                .caused_by(error)
        })?;
        Ok(built_in.with(read))
    }

    /// The files below `folder`, which ends with `/`, by their path below it.
    pub fn below<'s>(&'s self, folder: &'s str) -> impl Iterator<Item = (&'s str, &'s [u8])> {
        self.files.iter().filter_map(move |(path, content)| Some((path.strip_prefix(folder)?, content.as_slice())))
    }

    /// The file at `path`.
    pub(super) fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }
}

/// The embedded layer of values `name`, such as `defaults` or `sandbox`, as YAML text.
pub fn values_layer(name: &str) -> Option<&'static str> {
    VALUES.get_file(format!("{name}.yaml"))?.contents_utf8()
}

fn collect(folder: &Dir<'_>, name: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for file in folder.files() {
        files.insert(format!("{name}/{}", slashed(file.path())), file.contents().to_vec());
    }
    for inner in folder.dirs() {
        collect(inner, name, files);
    }
}

/// Paths are the same on every system the executable is built on.
fn slashed(path: &std::path::Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
