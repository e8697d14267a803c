//! Which rules and panels use a metric.

use super::dashboards::queries_of;
use super::place::{Judged, Text};
use super::rules::expressions_of;
use crate::config::model::Config;
use crate::promql::{parse, selectors};
use crate::render::{Sources, texts};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Who uses a series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// Names of alerts and records.
    pub rules: BTreeSet<String>,
    /// Panels, as `dashboard: panel`.
    pub panels: BTreeSet<String>,
}

/// The rules and panels of `sources` by the series that their expressions ask for.
///
/// # Errors
/// [`crate::error::Kind::Usage`] for a template that cannot be rendered.
pub fn uses(config: &Config, sources: &Sources) -> Result<BTreeMap<String, Uses>> {
    let mut found: BTreeMap<String, Uses> = BTreeMap::new();
    for file in texts(config, sources)? {
        let is_rules = file.path.starts_with("alerts/");
        let judged = Judged::file(Text::new(file.path, file.text));
        let asked = if is_rules { expressions_of(&judged) } else { queries_of(&judged) };
        for (name, expression) in asked {
            let Ok(expression) = parse(&expression) else { continue };
            for metric in selectors(&expression).into_iter().filter_map(|selector| selector.metric) {
                let uses = found.entry(metric).or_default();
                if is_rules { &mut uses.rules } else { &mut uses.panels }.insert(name.clone());
            }
        }
    }
    Ok(found)
}
