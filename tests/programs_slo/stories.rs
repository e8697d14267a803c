//! What happens to a service in a month, told once for every objective, as how many times too fast its error budget
//! burns; and the series that services and exporters would have exposed.
//!
//! The last days have a sample each minute. What is older only fills the month's budget, and has a tick of five minutes.

use crate::backfill::{OpenMetrics, Span};
use crate::{DAY, HOUR, MINUTE};
use std::collections::BTreeMap;

/// An objective, and what its alerts are to say.
pub(crate) struct Objective {
    pub(crate) slo: &'static str,
    /// The alert about its burn rates.
    pub(crate) breach: &'static str,
    pub(crate) component: &'static str,
    /// Whether somebody is called when the budget burns fast or is spent.
    pub(crate) pages: bool,
    /// Share of events, or of time, that may be bad.
    budget: f64,
    /// The only thing it is about; else it is about every service.
    pub(crate) of: Option<&'static str>,
}

pub(crate) const OBJECTIVES: [Objective; 8] = [
    Objective {
        slo: "availability",
        breach: "SLOAvailabilityBreach",
        component: "application",
        pages: true,
        budget: 0.001,
        of: None,
    },
    Objective {
        slo: "error-rate",
        breach: "SLOErrorRateBreach",
        component: "application",
        pages: true,
        budget: 0.001,
        of: None,
    },
    Objective {
        slo: "latency",
        breach: "SLOLatencyBreach",
        component: "application",
        pages: false,
        budget: 0.05,
        of: None,
    },
    Objective {
        slo: "learning-effectiveness",
        breach: "SLOLearningEffectivenessBreach",
        component: "adaptive-learning",
        pages: false,
        budget: 0.05,
        of: None,
    },
    Objective {
        slo: "user-engagement",
        breach: "SLOUserEngagementBreach",
        component: "engagement",
        pages: false,
        budget: 0.05,
        of: None,
    },
    Objective {
        slo: "data-freshness",
        breach: "SLODataFreshnessBreach",
        component: "kafka",
        pages: false,
        budget: 0.01,
        of: Some("kafka"),
    },
    Objective {
        slo: "database-availability",
        breach: "SLODatabaseAvailabilityBreach",
        component: "postgresql",
        pages: true,
        budget: 0.001,
        of: Some("postgresql"),
    },
    Objective {
        slo: "cache-hit-ratio",
        breach: "SLOCacheHitRatioBreach",
        component: "redis",
        pages: false,
        budget: 0.05,
        of: Some("redis"),
    },
];

/// The budget burns `times` too fast from `from` until `to` minutes before the end. Time is good or bad by the minute:
/// one bad minute is `last` minutes before the end, the others lie evenly apart.
struct Burn {
    from: i64,
    to: i64,
    times: f64,
    last: i64,
}

/// What happens to the service of the same name.
pub(crate) struct Story {
    pub(crate) service: &'static str,
    burns: &'static [Burn],
    /// What fires: the long windows of burn rates, other alerts by name.
    pub(crate) fires: &'static [&'static str],
}

pub(crate) const EXHAUSTED: &str = "ErrorBudgetExhausted";
pub(crate) const BURN_RATE_HIGH: &str = "ErrorBudgetBurnRateHigh";

/// All is bad for 40 hours: more than the month's budget.
pub(crate) const EVERYTHING: Story = Story {
    service: "everything",
    burns: &[Burn { from: 40 * 60, to: 0, times: 19.0, last: 1 }],
    fires: &["1h", "6h", "1d", "3d", EXHAUSTED],
};
/// Most of the budget is spent, and the last hours would take the rest within three days.
pub(crate) const SOON: Story = Story { service: "soon", burns: NEARLY_SPENT, fires: &[BURN_RATE_HIGH] };
pub(crate) const HEALTHY: Story = Story { service: "healthy", burns: &[], fires: &[] };
/// As `SOON`, but nobody remembers that the condition held before: its `for` begins anew.
pub(crate) const FORGOTTEN: Story = Story { service: "forgotten", burns: NEARLY_SPENT, fires: &[BURN_RATE_HIGH] };

const NEARLY_SPENT: &[Burn] = &[
    Burn { from: 31 * 1_440, to: 7 * 1_440, times: 1.05, last: 7 * 1_440 },
    Burn { from: 180, to: 0, times: 8.0, last: 50 },
];

/// Each burn rate by itself, and what is beside it.
pub(crate) const STORIES: [Story; 10] = [
    EVERYTHING,
    SOON,
    HEALTHY,
    FORGOTTEN,
    Story { service: "hour", burns: &[Burn { from: 70, to: 0, times: 19.0, last: 1 }], fires: &["1h"] },
    Story { service: "hours", burns: &[Burn { from: 378, to: 0, times: 8.0, last: 16 }], fires: &["6h"] },
    // More than a day that burns 3 times too fast is more than a third of three days: those burn too fast as well.
    Story { service: "day", burns: &[Burn { from: 25 * 60, to: 0, times: 4.5, last: 40 }], fires: &["1d", "3d"] },
    Story { service: "days", burns: &[Burn { from: 74 * 60, to: 0, times: 2.0, last: 130 }], fires: &["3d"] },
    Story {
        service: "spent",
        burns: &[Burn { from: 31 * 1_440, to: 420, times: 1.2, last: 420 }],
        fires: &[EXHAUSTED],
    },
    // Six hours as bad as 8 times the budget, but the last half of an hour is good.
    Story { service: "over", burns: &[Burn { from: 220, to: 50, times: 17.0, last: 50 }], fires: &[] },
];

/// How much has a sample each minute, in seconds: more than the longest window of a burn rate.
const DETAILED: i64 = 76 * HOUR;
/// Seconds of one tick before that.
const TICK: i64 = 5 * MINUTE;
/// A rate over five minutes needs two samples.
const SAMPLES_OF_A_TICK: i64 = 2;
/// How much there is: a little more than the month's window, so that its first record is whole.
const PAST: i64 = 30 * DAY + HOUR;
/// How much is recorded as often as it is evaluated: more than the longest window that is read from slices.
const EVALUATED: i64 = 75 * MINUTE;
/// Between two evaluations, in seconds. Each slice of time weighs the same, so those on the blocks are as long as those
/// that Prometheus adds.
pub(crate) const INTERVAL: i64 = 5;

/// When that which is made of samples is recorded.
pub(crate) fn recorded(end: i64) -> [Span; 3] {
    [
        Span { start: end - PAST + TICK, end: end - DETAILED - TICK, step: TICK },
        Span { start: end - DETAILED, end: end - EVALUATED - MINUTE, step: MINUTE },
        Span { start: end - EVALUATED, end, step: INTERVAL },
    ]
}

/// A sample of a story.
struct Moment {
    time: i64,
    /// Minutes before the end; of a tick, of its end.
    ago: i64,
    /// Minutes since the sample before.
    since: f64,
    is_detailed: bool,
}

fn moments(end: i64) -> impl Iterator<Item = Moment> {
    let step = TICK / SAMPLES_OF_A_TICK;
    let old = (end - PAST..end - DETAILED).step_by(step as usize);
    let mut before = end - PAST - step;
    old.chain((end - DETAILED..=end).step_by(MINUTE as usize)).map(move |time| {
        let is_detailed = time >= end - DETAILED;
        let length = if is_detailed { MINUTE } else { TICK };
        let since = (time - std::mem::replace(&mut before, time)) as f64 / MINUTE as f64;
        Moment { time, ago: (end - time) / length * (length / MINUTE), since, is_detailed }
    })
}

impl Story {
    fn burn(&self, moment: &Moment) -> Option<&Burn> {
        self.burns.iter().find(|burn| (burn.to..burn.from).contains(&moment.ago))
    }

    /// Share of the events that are bad.
    fn share(&self, moment: &Moment, budget: f64) -> f64 {
        self.burn(moment).map_or(0.0, |burn| burn.times * budget)
    }

    /// Whether this minute, or tick, is bad where each bad one is seen as so many.
    fn is_bad(&self, moment: &Moment, budget: f64, seen_as: f64) -> bool {
        let Some(burn) = self.burn(moment) else { return false };
        let length = if moment.is_detailed { 1 } else { TICK / MINUTE };
        let index = (moment.ago - burn.last).div_euclid(length) as f64;
        let share = burn.times * budget / seen_as;
        let so_far = |index: f64| (share * (index - 0.9) + 1.0).floor();
        so_far(index + 1.0) > so_far(index)
    }
}

/// Adds what is exposed where `story` happens to that which `objective` is about.
pub(crate) fn expose(text: &mut OpenMetrics, objective: &Objective, story: &Story, end: i64) {
    let Objective { budget, of, .. } = *objective;
    let service = of.unwrap_or(story.service);
    let labels = |more: &str| format!(r#"job="{service}",service="{service}"{more}"#);
    let mut series: BTreeMap<(&str, String), Vec<(i64, f64)>> = BTreeMap::new();
    // Not from 0: a rate does not reach back to before a counter was 0.
    let (mut all, mut bad, mut sum) = (1e6, 1e6, 1e9);
    for moment in moments(end) {
        let more = 1_000.0 * moment.since;
        let share = story.share(&moment, budget);
        let is_bad = story.is_bad(&moment, budget, 1.0);
        all += more;
        bad += more * share;
        let mut add = |metric, more: &str, value| {
            series.entry((metric, labels(more))).or_default().push((moment.time, value));
        };
        match objective.slo {
            "availability" => add("up", r#",instance="a""#, f64::from(!is_bad)),
            "error-rate" => {
                add("http_requests_total", r#",status="200""#, all - bad + 1e6);
                add("http_requests_total", r#",status="500""#, bad);
            }
            "latency" => {
                add("http_request_duration_seconds_count", "", all);
                add("http_request_duration_seconds_bucket", r#",le="0.1""#, all - bad + 1e6);
            }
            "learning-effectiveness" => {
                add("learning_effectiveness_score", r#",user_id="1""#, if is_bad { 0.74 } else { 0.76 });
            }
            "user-engagement" => {
                // Its mean is of a quarter of an hour, in which one minute of sessions that end at once is too many:
                // 14 minutes, or three ticks, see it.
                let is_bad = story.is_bad(&moment, budget, if moment.is_detailed { 14.0 } else { 3.0 });
                sum += if is_bad { 0.0 } else { 310.0 * more };
                add("user_session_duration_seconds_sum", r#",user_id="1""#, sum);
                add("user_session_duration_seconds_count", r#",user_id="1""#, all);
            }
            "data-freshness" => {
                let unread = if is_bad { 65.0 } else { 55.0 };
                add("kafka_consumergroup_lag_sum", r#",consumergroup="c",topic="t""#, unread);
                let offset = all * MINUTE as f64 / 1_000.0;
                add("kafka_topic_partition_current_offset", r#",topic="t",partition="0""#, offset);
            }
            "database-availability" => add("pg_up", "", f64::from(!is_bad)),
            "cache-hit-ratio" => {
                add("redis_keyspace_hits_total", "", all - bad + 1e6);
                add("redis_keyspace_misses_total", "", bad);
            }
            other => panic!("nobody knows what `{other}` is about"),
        }
    }
    for ((metric, labels), samples) in series {
        text.add(metric, &labels, samples);
    }
}
