//! The service level objectives.

use super::DurationText;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use std::collections::BTreeMap;

/// The service level objectives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slo {
    /// Over which time each error budget is counted; samples must be kept as long.
    pub window: SloWindow,
    /// How often windows of half an hour and more are computed anew.
    #[schemars(regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    pub interval: DurationText,
    /// The objectives by name, as the definitions in `alerts/slo/` read them.
    pub objectives: BTreeMap<String, Objective>,
}

impl Slo {
    /// The longest window of an enabled objective in days; `None` without any.
    pub fn longest_window_days(&self) -> Option<u32> {
        let any = self.objectives.values().any(|objective| objective.enabled);
        any.then_some(match self.window {
            SloWindow::ThirtyDays => 30,
            SloWindow::FourWeeks => 28,
            SloWindow::Month => 31,
        })
    }
}

/// Over which time an error budget is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SloWindow {
    /// The last 30 days.
    #[serde(rename = "30d")]
    ThirtyDays,
    /// The last 28 days: each weekday counts as often.
    #[serde(rename = "28d")]
    FourWeeks,
    /// The month of the calendar, in UTC.
    #[serde(rename = "month")]
    Month,
}

/// One objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Objective {
    /// Whether it is recorded and alerted on.
    pub enabled: bool,
    /// Share of events or of time that must be good, such as 0.999.
    #[schemars(range(min = 0.0, max = 0.99999))]
    pub target: f64,
    /// What a value is held against, where the definition says so: seconds of latency, of a session or of delay, or
    /// a score. That of the latency is a bound of the histogram's buckets.
    #[serde(default)]
    pub threshold: Option<Number>,
    /// Who answers for it.
    #[schemars(length(min = 1))]
    pub owner: String,
    /// The services it holds for; empty: every service of the platform. Objectives on databases and
    /// queues do not ask.
    #[serde(default)]
    pub services: Vec<String>,
}
