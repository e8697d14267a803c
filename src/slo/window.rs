//! Over which time a budget is counted, and how fast it may burn before somebody is told.

use crate::config::model::SloWindow;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Over which time an error budget is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The last so many days.
    Rolling {
        /// How many.
        days: u32,
    },
    /// The month of the calendar, in UTC.
    Month,
}

/// The window as OpenSLO writes it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TimeWindow {
    /// `30d`, `4w` or `1M`.
    duration: String,
    /// Whether it ends now; else it follows the calendar.
    #[serde(default)]
    is_rolling: bool,
    /// Which calendar.
    #[serde(default)]
    #[schemars(with = "Calendar")]
    calendar: Option<Calendar>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Calendar {
    /// When a first window began; the first of a month.
    #[allow(dead_code)]
    start_time: String,
    time_zone: String,
}

/// The shortest rolling window: of a shorter one the three days that an alert looks back are so great a part
/// that it would fire while the objective is kept.
const FEWEST_DAYS: u32 = 28;
/// The longest rolling window.
const MOST_DAYS: u32 = 92;
/// A month is taken for this long where its length must be one number.
const DAYS_OF_A_MONTH: u32 = 30;

impl Window {
    /// Reads what a definition says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(written: &TimeWindow) -> Result<Self, String> {
        let TimeWindow { duration, is_rolling, calendar } = written;
        if !is_rolling {
            let utc = calendar.as_ref().is_none_or(|calendar| calendar.time_zone == "UTC");
            return match (duration.as_str(), utc) {
                ("1M", true) => Ok(Window::Month),
                ("1M", false) => Err("a calendar window is counted in time zone `UTC` only".to_owned()),
                _ => Err(format!("`{duration}` is no calendar window; `1M` is")),
            };
        }
        let days = duration.strip_suffix('d').map(|days| (days, 1));
        let weeks = || duration.strip_suffix('w').map(|weeks| (weeks, 7));
        days.or_else(weeks)
            .and_then(|(number, days)| number.parse::<u32>().ok()?.checked_mul(days))
            .filter(|days| (FEWEST_DAYS..=MOST_DAYS).contains(days))
            .map(|days| Window::Rolling { days })
            .ok_or_else(|| {
                format!("`{duration}` is no rolling window of {FEWEST_DAYS} to {MOST_DAYS} days, such as `30d` or `4w`")
            })
    }

    /// The window as OpenSLO writes it, for the templates of definitions.
    pub fn to_open_slo(self) -> Value {
        match self {
            Window::Rolling { days } => json!([{ "duration": format!("{days}d"), "isRolling": true }]),
            Window::Month => json!([{
                "duration": "1M",
                "isRolling": false,
                "calendar": { "startTime": "2020-01-01 00:00:00", "timeZone": "UTC" },
            }]),
        }
    }

    /// Its name at the end of records and for people: `30d` or `month`.
    pub(super) fn name(self) -> String {
        match self {
            Window::Rolling { days } => format!("{days}d"),
            Window::Month => "month".to_owned(),
        }
    }

    /// Its length in days; that of an average month where it is one.
    pub fn nominal_days(self) -> f64 {
        f64::from(match self {
            Window::Rolling { days } => days,
            Window::Month => DAYS_OF_A_MONTH,
        })
    }
}

impl From<SloWindow> for Window {
    fn from(window: SloWindow) -> Self {
        match window {
            SloWindow::ThirtyDays => Window::Rolling { days: 30 },
            SloWindow::FourWeeks => Window::Rolling { days: 28 },
            SloWindow::Month => Window::Month,
        }
    }
}

/// A pair of windows over both of which the budget must burn too fast: the long one says that it
/// matters, the short one that it has not ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BurnWindows {
    /// The long window, as Prometheus writes it.
    pub(super) long: &'static str,
    /// Its length in hours.
    pub(super) long_hours: f64,
    /// The short window.
    pub(super) short: &'static str,
    /// Share of the budget that is gone when the long window has burnt at the threshold all along.
    pub(super) budget_share: f64,
    /// Whether a person is called at once.
    pub(super) pages: bool,
}

/// The pairs of "Alerting on SLOs" in the Site Reliability Workbook (table 5-8), as Sloth has them.
pub(super) const BURN_WINDOWS: [BurnWindows; 4] = [
    BurnWindows { long: "1h", long_hours: 1.0, short: "5m", budget_share: 0.02, pages: true },
    BurnWindows { long: "6h", long_hours: 6.0, short: "30m", budget_share: 0.05, pages: true },
    BurnWindows { long: "1d", long_hours: 24.0, short: "2h", budget_share: 0.1, pages: false },
    BurnWindows { long: "3d", long_hours: 72.0, short: "6h", budget_share: 0.1, pages: false },
];

impl BurnWindows {
    /// How many times faster than evenly the budget of `window` burns at the threshold: 14.4, 6, 3 and 1
    /// for 30 days.
    pub(super) fn factor(&self, window: Window) -> f64 {
        self.budget_share * window.nominal_days() * 24.0 / self.long_hours
    }
}

/// `number` as a decimal without the noise of binary fractions: 1 - 0.999 is 0.001.
pub(super) fn decimal(number: f64) -> String {
    let text = format!("{number:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Window, String> {
        Window::read(&serde_yaml::from_str(text).unwrap())
    }

    #[test]
    fn factors_follow_the_length_of_the_window() {
        let factors = |window: Window| BURN_WINDOWS.map(|pair| decimal(pair.factor(window)));
        assert_eq!(factors(Window::Rolling { days: 30 }), ["14.4", "6", "3", "1"]);
        assert_eq!(factors(Window::Rolling { days: 28 }), ["13.44", "5.6", "2.8", "0.933333333"]);
        assert_eq!(factors(Window::Month), factors(Window::Rolling { days: 30 }));
    }

    #[test]
    fn windows_are_read_as_open_slo_writes_them() {
        assert_eq!(read("{duration: 30d, isRolling: true}"), Ok(Window::Rolling { days: 30 }));
        assert_eq!(read("{duration: 4w, isRolling: true}"), Ok(Window::Rolling { days: 28 }));
        for window in [Window::Rolling { days: 28 }, Window::Month] {
            let written: Vec<TimeWindow> = serde_json::from_value(window.to_open_slo()).unwrap();
            assert_eq!(Window::read(&written[0]), Ok(window));
        }
        for (text, expected) in [
            ("{duration: 1d, isRolling: true}", "no rolling window"),
            ("{duration: 99999999999w, isRolling: true}", "no rolling window"),
            ("{duration: 1Q}", "`1Q` is no calendar window"),
            ("{duration: 1M, calendar: {startTime: 2020-01-01, timeZone: Europe/Berlin}}", "time zone"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }

    #[test]
    fn decimals_have_no_noise() {
        assert_eq!([1.0 - 0.999, 1.0 - 0.95, 14.4, 6.0].map(decimal), ["0.001", "0.05", "14.4", "6"]);
    }
}
