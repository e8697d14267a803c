//! How much happens when: the traffic model's data, and the arithmetic that turns it into counters.
//!
//! A counter is the integral of its rate since the start, so it is continuous and never falls,
//! whatever a scenario does to the rate in between.

use super::forms::Trouble;
use super::timeline::Effect;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::f64::consts::TAU;

/// The model as text.
const TRAFFIC: &str = include_str!("traffic.yaml");

/// The healthy traffic; the file explains each key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Traffic {
    /// Share of requests that fail on the server.
    pub server_errors: f64,
    /// How the requests that do not fail are answered.
    pub statuses: Vec<StatusShare>,
    /// How the failed ones are answered.
    pub error_statuses: Vec<StatusShare>,
    /// By name of the service.
    pub services: BTreeMap<String, ServiceTraffic>,
    /// A service that is not listed.
    pub other_service: ServiceTraffic,
    /// What every service exposes besides.
    pub every_service: Vec<Series>,
    /// By key of the exporter.
    pub exporters: BTreeMap<String, Vec<Series>>,
}

/// Share of answers with one status.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusShare {
    /// HTTP status.
    pub status: String,
    /// Between 0 and 1; the shares of a list sum to 1.
    pub share: f64,
}

/// The traffic of one service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceTraffic {
    /// How many pods it has.
    pub pods: u32,
    /// Over all its pods.
    pub requests_per_second: f64,
    /// Median response time, in seconds.
    pub median: f64,
    /// How close response times lie to the median.
    pub steepness: f64,
    /// What `/health` checks.
    pub checks: Vec<String>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// What else it exposes.
    pub series: Vec<Series>,
}

/// One route of a service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// HTTP method.
    pub method: String,
    /// Path with its parameters by name.
    pub route: String,
    /// Share of the service's requests; those of a service sum to 1.
    pub share: f64,
}

/// Series of one metric.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "SeriesFile")]
pub(super) struct Series {
    /// Name of the metric in the contract.
    pub metric: String,
    /// Values by label; one series for each combination.
    pub labels: BTreeMap<String, Vec<String>>,
    /// What the series does.
    pub course: Course,
    /// Share by which combinations and pods differ.
    pub differs: f64,
    /// Whether a rate is that of each pod.
    pub each_pod: bool,
    /// What scenarios make of it.
    pub under: BTreeMap<Trouble, Line>,
}

/// A straight line over the amount of a scenario. It stands for the level, the rate or, in a
/// histogram, the median.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// Its value at amount 0.
    #[serde(default)]
    pub base: f64,
    /// What each unit of the amount adds.
    #[serde(default)]
    pub each: f64,
}

/// What a series does over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Course {
    /// Observed values of a histogram.
    Observed {
        /// Observations in a second, over all pods and combinations.
        rate: f64,
        /// Median of the observed values.
        median: f64,
        /// How close they lie to it.
        steepness: f64,
    },
    /// Something counted.
    Counted {
        /// In a second, over all pods and combinations.
        rate: f64,
    },
    /// A level on each pod.
    Level {
        /// Its middle.
        level: f64,
        /// Share by which it follows the waves.
        swing: f64,
    },
}

/// A series as written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeriesFile {
    metric: String,
    #[serde(default)]
    labels: BTreeMap<String, Vec<String>>,
    rate: Option<f64>,
    level: Option<f64>,
    median: Option<f64>,
    steepness: Option<f64>,
    swing: Option<f64>,
    #[serde(default)]
    differs: f64,
    #[serde(default)]
    each_pod: bool,
    #[serde(default)]
    under: BTreeMap<Trouble, Line>,
}

impl TryFrom<SeriesFile> for Series {
    type Error = String;

    fn try_from(file: SeriesFile) -> Result<Self, String> {
        let course = match (file.rate, file.level, file.median, file.steepness, file.swing) {
            (Some(rate), None, Some(median), Some(steepness), None) => Course::Observed { rate, median, steepness },
            (Some(rate), None, None, None, None) => Course::Counted { rate },
            (None, Some(level), None, None, swing) => Course::Level { level, swing: swing.unwrap_or(0.0) },
            _ => return Err(format!("`{}` needs rate, or level, or rate with median and steepness", file.metric)),
        };
        Ok(Series {
            metric: file.metric,
            labels: file.labels,
            course,
            differs: file.differs,
            each_pod: file.each_pod,
            under: file.under,
        })
    }
}

impl Traffic {
    /// The model of this program.
    ///
    /// # Errors
    /// Only when the embedded file is broken, which its tests rule out.
    pub(super) fn embedded() -> anyhow::Result<Self> {
        serde_yaml::from_str(TRAFFIC).map_err(|error| anyhow::anyhow!("cannot read `traffic.yaml`: {error}"))
    }

    /// The traffic of the service `name`.
    pub(super) fn service(&self, name: &str) -> &ServiceTraffic {
        self.services.get(name).unwrap_or(&self.other_service)
    }
}

impl Series {
    /// What the newest scenario that strikes it makes of it.
    pub(super) fn struck(&self, effect: &Effect) -> Option<f64> {
        effect.newest_first().find_map(|(trouble, amount)| {
            let line = self.under.get(&trouble)?;
            Some(line.base + line.each * amount)
        })
    }

    /// Every combination of the label values, in a stable order.
    pub(super) fn combinations(&self) -> Vec<Vec<(&str, &str)>> {
        let mut combinations = vec![Vec::new()];
        for (label, values) in &self.labels {
            combinations = combinations
                .iter()
                .flat_map(|head: &Vec<(&str, &str)>| {
                    values.iter().map(move |value| {
                        let mut combination = head.clone();
                        combination.push((label.as_str(), value.as_str()));
                        combination
                    })
                })
                .collect();
        }
        combinations
    }
}

/// A wave of traffic: relative height and period in seconds.
const WAVES: [(f64, f64); 3] = [(0.22, 86_400.0), (0.06, 600.0), (0.03, 97.0)];
/// Seconds after midnight UTC at which the day's wave crosses its middle upwards.
const DAY_RISES_AT: f64 = 36_000.0;

/// The turn (0 to 1) at which each wave stands at the Unix time `at`.
fn turns(at: f64, phase: f64) -> [f64; 3] {
    // Reduced before it becomes an angle: sines of large angles lose the digits that counters need.
    let turn = |time: f64, period: f64| time.rem_euclid(period) / period;
    [turn(at - DAY_RISES_AT, WAVES[0].1), turn(at, WAVES[1].1) + phase, turn(at, WAVES[2].1) + phase * 7.0]
}

/// How long the stretch `from..to` (Unix seconds) counts when traffic follows the waves: the
/// integral of `1 + sum(height * sin)`. The heights sum to less than 1, so it always grows.
pub(super) fn flow(from: f64, to: f64, phase: f64) -> f64 {
    let waves: f64 = WAVES
        .iter()
        .zip(turns(from, phase).iter().zip(turns(to, phase)))
        .map(|((height, period), (start, end))| height * period / TAU * ((start * TAU).cos() - (end * TAU).cos()))
        .sum();
    (to - from) + waves
}

/// How fast traffic is at the Unix time `at`, around 1: what [`flow`] is the integral of.
pub(super) fn pace(at: f64, phase: f64) -> f64 {
    1.0 + WAVES.iter().zip(turns(at, phase)).map(|((height, _), turn)| height * (turn * TAU).sin()).sum::<f64>()
}

/// Share of observations up to `bound`, for a log-logistic distribution moved up by `added`.
///
/// Log-logistic because it has the long tail of response times and a closed form:
/// `1 / (1 + (x / median)^-steepness)`.
pub(super) fn share_up_to(bound: f64, median: f64, steepness: f64, added: f64) -> f64 {
    let value = bound - added;
    if value <= 0.0 { 0.0 } else { 1.0 / (1.0 + (value / median).powf(-steepness)) }
}

/// Mean of that distribution: `median * (pi/b) / sin(pi/b) + added`, for a steepness `b` above 1.
pub(super) fn mean(median: f64, steepness: f64, added: f64) -> f64 {
    let angle = std::f64::consts::PI / steepness;
    median * angle / angle.sin() + added
}

/// A number between 0 and 1 that depends on `seed` and `parts` alone (FNV-1a, then mixed).
pub(in crate::sandbox) fn fraction<'a>(seed: u64, parts: impl IntoIterator<Item = &'a str>) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    // 53 bits are what a f64 holds exactly.
    #[allow(clippy::cast_precision_loss)]
    let top = (hash >> 11) as f64;
    top / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_adds_up_over_any_cut_and_always_grows() {
        let start = 1_790_000_000.0;
        let whole = flow(start, start + 5_000.0, 0.3);
        let cut = flow(start, start + 1_234.5, 0.3) + flow(start + 1_234.5, start + 5_000.0, 0.3);
        assert!((whole - cut).abs() < 1e-6, "{whole} {cut}");
        let mut last = 0.0;
        for step in 1..2_000 {
            let next = flow(start, start + f64::from(step) * 50.0, 0.3);
            assert!(next > last);
            last = next;
        }
        assert!((flow(start, start + 86_400.0 * 97.0, 0.3) / (86_400.0 * 97.0) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn half_of_the_observations_lie_below_the_median_and_none_below_what_was_added() {
        assert!((share_up_to(0.02, 0.02, 3.0, 0.0) - 0.5).abs() < 1e-12);
        assert!((share_up_to(0.32, 0.02, 3.0, 0.3) - 0.5).abs() < 1e-12);
        assert!(share_up_to(0.25, 0.02, 3.0, 0.3).abs() < f64::EPSILON);
    }

    #[test]
    fn fractions_depend_on_seed_and_parts_and_on_where_a_part_ends() {
        let one = fraction(7, ["ab", "c"]);
        assert!((0.0..1.0).contains(&one));
        assert!((one - fraction(7, ["ab", "c"])).abs() < f64::EPSILON);
        assert!((one - fraction(8, ["ab", "c"])).abs() > 1e-9);
        assert!((one - fraction(7, ["a", "bc"])).abs() > 1e-9);
    }

    #[test]
    fn the_shares_of_the_model_sum_to_one() {
        let traffic = Traffic::embedded().unwrap();
        let is_one = |sum: f64| (sum - 1.0).abs() < 1e-9;
        assert!(is_one(traffic.statuses.iter().map(|status| status.share).sum()));
        assert!(is_one(traffic.error_statuses.iter().map(|status| status.share).sum()));
        for (name, service) in &traffic.services {
            assert!(is_one(service.routes.iter().map(|route| route.share).sum()), "{name}");
        }
    }

    #[test]
    fn combinations_are_the_product_of_the_values() {
        let series: Series = serde_yaml::from_str("{metric: m, labels: {a: [x, y], b: [z]}, rate: 1}").unwrap();
        assert_eq!(series.combinations(), [[("a", "x"), ("b", "z")], [("a", "y"), ("b", "z")]]);
    }
}
