//! When which scenario was on, and what that does to one target.

use super::forms::Trouble;
use super::scenario::Scenario;
use super::traffic::flow;

/// The time since the first question, cut where the scenarios changed.
///
/// The simulator has no clock: time is what the questions say, and a change takes effect at the
/// latest time anyone has asked about. So no counter that was seen is ever taken back.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    started: Option<f64>,
    latest: f64,
    changes: Vec<(f64, Vec<Scenario>)>,
}

/// What holds for one target during one stretch of time: the troubles with their amounts, oldest
/// first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Effect(Vec<(Trouble, f64)>);

/// One stretch of time for one target.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    /// Seconds that count, following the waves of traffic; 0 while nothing is served.
    pub flow: f64,
    /// The same without the waves.
    pub seconds: f64,
    /// What held.
    pub effect: Effect,
}

impl Timeline {
    /// Takes note that someone asks at `now`; gives the time to answer for.
    pub(super) fn ask(&mut self, now: f64) -> f64 {
        let started = *self.started.get_or_insert(now);
        let now = now.max(started);
        self.latest = self.latest.max(now);
        now
    }

    /// Unix time of the first question; `now` where there was none.
    pub(super) fn started(&self, now: f64) -> f64 {
        self.started.unwrap_or(now)
    }

    /// The scenarios that are on, oldest first.
    pub(super) fn active(&self) -> &[Scenario] {
        self.changes.last().map_or(&[], |(_, active)| active.as_slice())
    }

    /// Turns `scenario` on, in place of one that says the same of the same target.
    pub(super) fn set(&mut self, scenario: Scenario) {
        let mut active = self.active().to_vec();
        active.retain(|known| !scenario.replaces(known));
        active.push(scenario);
        self.change(active);
    }

    /// Turns off what says the same of the same target as `scenario`; tells whether it was on.
    pub(super) fn clear_one(&mut self, scenario: &Scenario) -> bool {
        let mut active = self.active().to_vec();
        let before = active.len();
        active.retain(|known| !scenario.replaces(known));
        let was_on = active.len() < before;
        if was_on {
            self.change(active);
        }
        was_on
    }

    /// Turns every scenario off.
    pub(super) fn clear(&mut self) {
        if !self.active().is_empty() {
            self.change(Vec::new());
        }
    }

    fn change(&mut self, active: Vec<Scenario>) {
        // Before the first question `latest` is 0, so the change holds from the start.
        self.changes.retain(|(from, _)| *from < self.latest);
        self.changes.push((self.latest, active));
    }

    /// What holds for `pod` of `target` at `now`.
    pub(super) fn effect(&self, target: &str, pod: &str, now: f64) -> Effect {
        let active = self.changes.iter().rev().find(|(from, _)| *from <= now);
        active.map_or_else(Effect::default, |(_, active)| Effect::of(target, pod, active))
    }

    /// The stretches from the start until `now`, as `pod` of `target` lives them.
    ///
    /// `phase` is that of the target's waves; nothing is served while `idle` holds.
    pub(super) fn stretches(
        &self,
        (target, pod): (&str, &str),
        now: f64,
        phase: f64,
        idle: impl Fn(&Effect) -> bool,
    ) -> Vec<Stretch> {
        let started = self.started(now);
        let mut from = started;
        let mut effect = Effect::default();
        let mut stretches = Vec::with_capacity(self.changes.len() + 1);
        let ends = self.changes.iter().map(|(at, active)| (*at, Effect::of(target, pod, active)));
        for (until, next) in ends.chain([(now, Effect::default())]) {
            let until = until.clamp(started, now);
            if until > from {
                let (flow, seconds) = if idle(&effect) { (0.0, 0.0) } else { (flow(from, until, phase), until - from) };
                stretches.push(Stretch { flow, seconds, effect });
                from = until;
            }
            effect = next;
        }
        stretches
    }
}

impl Effect {
    fn of(target: &str, pod: &str, active: &[Scenario]) -> Self {
        let strikes = active.iter().filter(|scenario| scenario.strikes(target, pod));
        Effect(strikes.map(|scenario| (scenario.trouble(), scenario.amount())).collect())
    }

    /// The troubles with their amounts, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = (Trouble, f64)> {
        self.0.iter().rev().copied()
    }

    fn amount(&self, trouble: Trouble) -> Option<f64> {
        self.0.iter().find(|(known, _)| *known == trouble).map(|(_, amount)| *amount)
    }

    /// Connections are refused.
    pub(super) fn refused(&self) -> bool {
        self.amount(Trouble::Down).or(self.amount(Trouble::InstanceDown)).is_some()
    }

    /// The program behind the exporter is down.
    pub(super) fn database_down(&self) -> bool {
        self.amount(Trouble::DatabaseDown).is_some()
    }

    /// Share of requests that fail, where a scenario says so.
    pub(super) fn errors(&self) -> Option<f64> {
        self.amount(Trouble::Errors)
    }

    /// What every request takes longer, in seconds.
    pub(super) fn added(&self) -> f64 {
        self.amount(Trouble::Latency).unwrap_or_default() / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(share: f64) -> Scenario {
        let words = ["errors", "user-service", &format!("{}%", share * 100.0)].map(str::to_owned);
        Scenario::parse(&words, &["user-service".to_owned()]).unwrap()
    }

    #[test]
    fn stretches_cover_the_time_and_carry_what_held() {
        let mut timeline = Timeline::default();
        let start = 1_790_000_000.0;
        timeline.ask(start);
        timeline.ask(start + 100.0);
        timeline.set(errors(0.08));
        timeline.ask(start + 160.0);
        timeline.clear();
        let stretches = timeline.stretches(("user-service", "pod"), start + 200.0, 0.0, |_| false);
        let shares: Vec<Option<f64>> = stretches.iter().map(|stretch| stretch.effect.errors()).collect();
        assert_eq!(shares, [None, Some(0.08), None]);
        let whole: f64 = stretches.iter().map(|stretch| stretch.flow).sum();
        assert!((whole - flow(start, start + 200.0, 0.0)).abs() < 1e-6);
        assert_eq!(
            timeline.stretches(("content-service", "pod"), start + 200.0, 0.0, |_| false)[1].effect,
            Effect::default()
        );
    }

    #[test]
    fn a_scenario_set_before_the_first_question_holds_from_the_start() {
        let mut timeline = Timeline::default();
        timeline.set(errors(0.08));
        let now = timeline.ask(1_790_000_000.0);
        assert_eq!(timeline.effect("user-service", "pod", now).errors(), Some(0.08));
        let stretches = timeline.stretches(("user-service", "pod"), now + 10.0, 0.0, |_| false);
        assert_eq!(stretches.len(), 1);
        assert_eq!(stretches[0].effect.errors(), Some(0.08));
    }

    #[test]
    fn the_newer_amount_replaces_the_older_and_a_past_question_is_answered_as_of_then() {
        let mut timeline = Timeline::default();
        timeline.ask(1_000.0);
        timeline.set(errors(0.02));
        timeline.ask(1_010.0);
        timeline.set(errors(0.08));
        assert_eq!(timeline.active(), [errors(0.08)]);
        assert_eq!(timeline.effect("user-service", "pod", 1_005.0).errors(), Some(0.02));
        assert_eq!(timeline.effect("user-service", "pod", 1_010.0).errors(), Some(0.08));
    }
}
