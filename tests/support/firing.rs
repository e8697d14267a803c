//! The table of how each alert is shown to fire: `alerts/firing.yaml`.

use serde::Deserialize;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    Live,
    Backfill,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firing {
    pub alert: String,
    pub way: Way,
    /// Words of `sandbox scenario set`.
    pub scenario: Option<String>,
    /// The label `service` of the alert that fires.
    pub service: Option<String>,
    /// Alerts that must be over before.
    #[serde(default)]
    pub after: Vec<String>,
    /// The test binary that shows it on blocks, where it is another one than `programs_backfill`.
    pub by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    alerts: Vec<Firing>,
}

/// Every row, in the order of the file.
pub fn firing() -> Vec<Firing> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/firing.yaml");
    serde_yaml::from_str::<Table>(&std::fs::read_to_string(path).unwrap()).unwrap().alerts
}

/// The rows that are shown in the way `way`.
pub fn shown(way: Way) -> Vec<Firing> {
    firing().into_iter().filter(|row| row.way == way).collect()
}
