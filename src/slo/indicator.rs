//! How the bad share of events, or of time, becomes PromQL.

use super::definition::{Definition, Subject};
use schemars::JsonSchema;
use serde::Deserialize;

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Indicator {
    /// Events, each of them good or bad.
    Events(Events),
    /// Time, each evaluation a slice of it that is good or bad.
    Slices(Slices),
}

/// Two selectors of counters, from which the third is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Events {
    /// The bad ones, and all.
    BadOfTotal {
        /// Counts the bad ones.
        bad: String,
        /// Counts all.
        total: String,
    },
    /// The good ones, and all.
    GoodOfTotal {
        /// Counts the good ones.
        good: String,
        /// Counts all.
        total: String,
    },
    /// The good and the bad ones.
    GoodAndBad {
        /// Counts the good ones.
        good: String,
        /// Counts the bad ones.
        bad: String,
    },
}

/// A slice of time is good when a value meets its threshold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slices {
    /// The value; where a service has several, each of them must meet the threshold.
    pub(super) query: String,
    /// How it is compared.
    pub(super) operator: Operator,
    /// With what.
    pub(super) threshold: f64,
    /// Whether a value that is gone, though it was there before, is bad rather than unknown.
    pub(super) vanished_is_bad: bool,
}

/// How a value is compared with its threshold, in OpenSLO's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum Operator {
    /// `<=`
    #[serde(rename = "lte")]
    AtMost,
    /// `<`
    #[serde(rename = "lt")]
    LessThan,
    /// `>=`
    #[serde(rename = "gte")]
    AtLeast,
    /// `>`
    #[serde(rename = "gt")]
    MoreThan,
}

impl Operator {
    /// The comparison that a good value passes, and the one that a bad value passes. NaN passes neither.
    fn comparisons(self) -> (&'static str, &'static str) {
        match self {
            Operator::AtMost => ("<=", ">"),
            Operator::LessThan => ("<", ">="),
            Operator::AtLeast => (">=", "<"),
            Operator::MoreThan => (">", "<="),
        }
    }
}

/// How long a value that vanished is remembered while nothing is evaluated, such as over a restart.
const REMEMBERED: &str = "1h";

/// A record of five minutes stands for all of them: there is none before slices are known for about as
/// long, lest a first bad scrape counts as five bad minutes.
const KNOWN_FOR: &str = "4m";

/// The expressions of one objective.
pub(super) struct Expressions<'d> {
    definition: &'d Definition,
}

impl<'d> Expressions<'d> {
    pub(super) fn of(definition: &'d Definition) -> Self {
        Expressions { definition }
    }

    /// The matchers that select what is recorded for the objective.
    pub(super) fn own(&self) -> String {
        format!("{{slo=\"{}\"}}", self.definition.name)
    }

    /// Rates of bad events and of all events over `window`, or the share of slices that were bad.
    pub(super) fn bad_and_total(&self, window: &str) -> (String, String) {
        match &self.definition.indicator {
            Indicator::Events(events) => self.events(events, window),
            Indicator::Slices(_) => {
                let slices = format!("slo:sli_slice:bad{}", self.own());
                let bad = format!("{}\nand\n{slices} offset {KNOWN_FOR}", self.bad_slices(window));
                // Each slice weighs the same.
                let total = format!("0 * slo:sli_bad:rate5m{} + 1", self.own());
                (bad, total)
            }
        }
    }

    /// The bad share over a short window, from what is scraped.
    pub(super) fn short_ratio(&self, window: &str) -> String {
        match &self.definition.indicator {
            Indicator::Events(events) => {
                let (bad, total) = self.events(events, window);
                quotient(&format!("(\n{}\n)", indented(&bad)), &total)
            }
            Indicator::Slices(_) => self.bad_slices(window),
        }
    }

    /// The share of known slices that were bad.
    fn bad_slices(&self, window: &str) -> String {
        format!("avg_over_time(slo:sli_slice:bad{}[{window}])", self.own())
    }

    /// The bad share over a long window, from the records of five minutes each, `step` apart: bad
    /// events over all events, so busy hours weigh more than quiet ones.
    pub(super) fn long_ratio(&self, window: &str, step: &str) -> String {
        let sum = |record: &str| format!("sum_over_time({record}{}[{window}:{step}])", self.own());
        quotient(&sum("slo:sli_bad:rate5m"), &sum("slo:sli_total:rate5m"))
    }

    /// The same over the month so far.
    pub(super) fn month_ratio(&self) -> String {
        let sum = |record: &str| format!("sum_over_time(\n{}\n)", indented(&self.month_so_far(record)));
        quotient(&sum("slo:sli_bad:rate5m"), &sum("slo:sli_total:rate5m"))
    }

    /// How many of the records of five minutes there are in the month so far.
    pub(super) fn month_count(&self) -> String {
        format!("count_over_time(\n{}\n)", indented(&self.month_so_far("slo:sli_total:rate5m")))
    }

    /// The samples of `record`, five minutes apart, since the month began; no month has more days.
    fn month_so_far(&self, record: &str) -> String {
        let own = self.own();
        format!("({record}{own} and on (slo) slo:time_period:start_seconds{own} @ end() < time())[31d:5m]")
    }

    /// 1 for a bad slice, 0 for a good one, nothing for one of which nobody knows; `None` for events.
    pub(super) fn slice(&self) -> Option<String> {
        let Indicator::Slices(slices) = &self.definition.indicator else { return None };
        let threshold = slices.threshold;
        let (good, bad) = slices.operator.comparisons();
        let query = indented(&format!("(\n{}\n)", indented(&slices.query)));
        let met = |comparison: &str| self.aggregated("group", &format!("\n{query} {comparison} {threshold}\n"));
        let mut slice = format!("{}\nor\n0 * {}", met(bad), met(good));
        if slices.vanished_is_bad {
            let services = self.definition.subject.services().join("|");
            let earlier = format!("slo:sli_slice:bad{{slo=\"{}\",service=~\"{services}\"}}", self.definition.name);
            let known = self.aggregated("group", &format!("last_over_time({earlier}[{REMEMBERED}])"));
            slice = format!("{slice}\nor\n{known}");
        }
        Some(slice)
    }

    fn events(&self, events: &Events, window: &str) -> (String, String) {
        let rate = |selector: &str| self.aggregated("sum", &format!("rate({selector}[{window}])"));
        // What never happened has no series yet: then there was none of it.
        let or_none = |some: &str, others: &str| format!("({some} or 0 * {others})");
        match events {
            Events::BadOfTotal { bad, total } => (format!("{}\nor\n0 * {}", rate(bad), rate(total)), rate(total)),
            Events::GoodOfTotal { good, total } => {
                let good = or_none(&rate(good), &rate(total));
                // The two are equal up to the noise of floating point when nothing is bad.
                (format!("clamp_min({} - {good}, 0)", rate(total)), rate(total))
            }
            Events::GoodAndBad { good, bad } => {
                let (good, bad) = (rate(good), rate(bad));
                (format!("{bad}\nor\n0 * {good}"), format!("({} + {})", or_none(&bad, &good), or_none(&good, &bad)))
            }
        }
    }

    /// `inner` aggregated to one value for each service.
    fn aggregated(&self, operator: &str, inner: &str) -> String {
        match self.definition.subject {
            Subject::One(_) => format!("{operator}({inner})"),
            Subject::Each(_) => format!("{operator} by (service) ({inner})"),
        }
    }
}

/// The quotient where there is anything to divide by, else nothing.
pub(super) fn quotient(dividend: &str, divisor: &str) -> String {
    format!("{dividend}\n/\n({divisor} > 0)")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
