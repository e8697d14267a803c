//! The pages that services and exporters answer with.

use super::exposition::Page;
use super::timeline::{Effect, Stretch};
use super::traffic::{Course, Series, ServiceTraffic, StatusShare, Traffic, fraction, mean, pace, share_up_to};
use crate::contract::{Contract, Metric, SERVICE};
use serde_json::json;

/// One pod at one moment.
pub(super) struct Moment<'a> {
    /// Seed of the simulator.
    pub seed: u64,
    /// Name of the Kubernetes Service.
    pub service: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// Unix time.
    pub now: f64,
    /// Unix time of the start.
    pub started: f64,
    /// Phase of the target's waves.
    pub phase: f64,
    /// Share of the service's traffic that goes to this pod.
    pub weight: f64,
    /// What holds now.
    pub effect: Effect,
    /// The time since the start.
    pub stretches: Vec<Stretch>,
}

impl Moment<'_> {
    /// What a rate of the service has counted since the start; `share` is the part that counts in a
    /// stretch.
    fn counted(&self, rate: f64, share: impl Fn(&Stretch) -> f64) -> f64 {
        self.stretches.iter().map(|stretch| rate * self.weight * stretch.flow * share(stretch)).sum()
    }

    /// The value as an exporter would give it: whole where the unit is countable. Rounded down, so
    /// that what only grows goes on doing so.
    fn sample(&self, page: &mut Page, metric: &Metric, labels: &[(&str, &str)], value: f64) {
        page.sample(&metric.name, labels, rounded(&metric.unit, value));
    }

    /// A histogram of `rate` observations a second; `observed` tells the median in a stretch and
    /// what is added to each observation.
    fn histogram(
        &self,
        page: &mut Page,
        metric: &Metric,
        labels: &[(&str, &str)],
        (rate, steepness): (f64, f64),
        observed: impl Fn(&Stretch) -> (f64, f64),
    ) {
        let up_to = |bound: f64, stretch: &Stretch| {
            let (median, added) = observed(stretch);
            share_up_to(bound, median, steepness, added)
        };
        let mean_of = |stretch: &Stretch| {
            let (median, added) = observed(stretch);
            mean(median, steepness, added)
        };
        let buckets: Vec<f64> =
            metric.buckets.iter().map(|bound| self.counted(rate, |stretch| up_to(*bound, stretch)).floor()).collect();
        let sum = self.counted(rate, mean_of);
        let count = self.counted(rate, |_| 1.0).floor();
        page.histogram(&metric.name, labels, &metric.buckets, &buckets, (rounded(&metric.unit, sum), count));
    }

    /// The samples of `series`, with `own` added to each one's labels.
    fn series(&self, page: &mut Page, metric: &Metric, series: &Series, own: &[(&str, &str)]) {
        let combinations = series.combinations();
        let leanings: Vec<f64> = combinations.iter().map(|combination| self.leaning(series, combination)).collect();
        let sum: f64 = leanings.iter().sum();
        for (combination, leaning) in combinations.iter().zip(leanings) {
            let labels: Vec<(&str, &str)> = combination.iter().chain(own).copied().collect();
            let share = leaning / sum;
            match series.course {
                Course::Counted { rate } => self.sample(page, metric, &labels, self.count(series, rate, share)),
                Course::Observed { rate, median, steepness } => {
                    let observed = |stretch: &Stretch| (series.struck(&stretch.effect).unwrap_or(median), 0.0);
                    self.histogram(page, metric, &labels, (rate * share, steepness), observed);
                }
                Course::Level { level, swing } => {
                    // What a scenario says holds on average over the combinations, on every pod.
                    let struck = series.struck(&self.effect).map(|level| level * share * combinations.len() as f64);
                    let value = struck.unwrap_or_else(|| self.waved(series, level * leaning, swing));
                    let most = if metric.unit == "ratio" { 1.0 } else { f64::INFINITY };
                    self.sample(page, metric, &labels, value.min(most));
                }
            }
        }
    }

    /// How much more or less than the others a combination has. The metric's name is left out: two
    /// metrics of the same thing then differ alike, so that correct answers never outnumber answers.
    fn leaning(&self, series: &Series, combination: &[(&str, &str)]) -> f64 {
        let parts = combination.iter().flat_map(|(label, value)| [*label, *value]);
        1.0 + series.differs * (2.0 * fraction(self.seed, parts) - 1.0)
    }

    /// What the `share` of a counter that belongs to one combination has counted since the start.
    /// A scenario's rate is steady: the waves of traffic would blur its amount.
    fn count(&self, series: &Series, rate: f64, share: f64) -> f64 {
        let weight = if series.each_pod { 1.0 } else { self.weight };
        let counted = |stretch: &Stretch| match series.struck(&stretch.effect) {
            Some(rate) => rate * weight * stretch.seconds,
            None => rate * weight * stretch.flow,
        };
        share * self.stretches.iter().map(counted).sum::<f64>()
    }

    /// A level of this pod now, as the waves have it.
    fn waved(&self, series: &Series, level: f64, swing: f64) -> f64 {
        let pod = 1.0 + series.differs * 0.2 * (2.0 * fraction(self.seed, [self.pod]) - 1.0);
        level * pod * (1.0 + swing * (pace(self.now, self.phase) - 1.0))
    }
}

/// `value` as an exporter of this unit gives it, rounded down.
fn rounded(unit: &str, value: f64) -> f64 {
    if matches!(unit, "ratio" | "seconds" | "load") { (value * 1e4).floor() / 1e4 } else { value.floor() }
}

/// `/metrics` of a service.
pub(super) fn service_page(contract: &Contract, traffic: &Traffic, moment: &Moment<'_>) -> String {
    let model = traffic.service(moment.service);
    let mut page = Page::default();
    for metric in contract.metrics_of(SERVICE) {
        let mut body = Page::default();
        match metric.name.as_str() {
            "http_requests_total" => requests(&mut body, metric, traffic, model, moment),
            "http_request_duration_seconds" => durations(&mut body, metric, model, moment),
            "http_requests_in_flight" => {
                // Little's law: what is in flight is the arrival rate times the time it stays.
                let stay = mean(model.median, model.steepness, moment.effect.added());
                let arriving = model.requests_per_second * moment.weight * pace(moment.now, moment.phase);
                moment.sample(&mut body, metric, &[("service", moment.service)], arriving * stay);
            }
            "process_start_time_seconds" => moment.sample(&mut body, metric, &[], moment.started),
            name => {
                let own = [("service", moment.service)];
                let own = if metric.labels.iter().any(|label| label == "service") { &own[..] } else { &[] };
                let series = model.series.iter().chain(&traffic.every_service);
                for series in series.filter(|series| series.metric == name) {
                    moment.series(&mut body, metric, series, own);
                }
            }
        }
        page.append(metric, body);
    }
    page.into_body()
}

fn requests(page: &mut Page, metric: &Metric, traffic: &Traffic, model: &ServiceTraffic, moment: &Moment<'_>) {
    let failing = |stretch: &Stretch| stretch.effect.errors().unwrap_or(traffic.server_errors);
    for route in &model.routes {
        let rate = model.requests_per_second * route.share;
        let mut answer = |status: &StatusShare, share: &dyn Fn(&Stretch) -> f64| {
            let labels = [
                ("method", route.method.as_str()),
                ("route", route.route.as_str()),
                ("status", status.status.as_str()),
                ("service", moment.service),
            ];
            moment.sample(page, metric, &labels, moment.counted(rate * status.share, share));
        };
        for status in &traffic.statuses {
            answer(status, &|stretch| 1.0 - failing(stretch));
        }
        for status in &traffic.error_statuses {
            answer(status, &failing);
        }
    }
}

fn durations(page: &mut Page, metric: &Metric, model: &ServiceTraffic, moment: &Moment<'_>) {
    for route in &model.routes {
        let labels = [("method", route.method.as_str()), ("route", route.route.as_str()), ("service", moment.service)];
        let rate = model.requests_per_second * route.share;
        let observed = |stretch: &Stretch| (model.median, stretch.effect.added());
        moment.histogram(page, metric, &labels, (rate, model.steepness), observed);
    }
}

/// What a pod uses at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Memory, in bytes.
    pub memory: f64,
    /// Processor time since the start, in seconds.
    pub cpu_seconds: f64,
}

/// What the process of a service's pod uses, as its own page tells it.
pub(super) fn usage(traffic: &Traffic, moment: &Moment<'_>) -> Usage {
    let value = |name: &str| {
        let series = traffic.every_service.iter().find(|series| series.metric == name);
        series.map_or(0.0, |series| match series.course {
            Course::Level { level, swing } => series
                .struck(&moment.effect)
                .unwrap_or_else(|| moment.waved(series, level * moment.leaning(series, &[]), swing)),
            Course::Counted { rate } => moment.count(series, rate, 1.0),
            Course::Observed { .. } => 0.0,
        })
    };
    Usage {
        memory: value("process_resident_memory_bytes").floor(),
        cpu_seconds: rounded("seconds", value("process_cpu_seconds_total")),
    }
}

/// `/metrics` of the exporter with the key `exporter`. With its database down it says only that.
pub(super) fn exporter_page(
    contract: &Contract,
    traffic: &Traffic,
    exporter: &str,
    database_down: bool,
    moment: &Moment<'_>,
) -> String {
    let mut page = Page::default();
    let known = traffic.exporters.get(exporter).map_or(&[][..], Vec::as_slice);
    for metric in contract.metrics_of(exporter) {
        let mut body = Page::default();
        if database_down {
            if metric.availability {
                body.sample(&metric.name, &[], 0.0);
            }
        } else {
            for series in known.iter().filter(|series| series.metric == metric.name) {
                moment.series(&mut body, metric, series, &[]);
            }
        }
        page.append(metric, body);
    }
    page.into_body()
}

/// `/health` of a service: status code and JSON text. Degraded while a database it checks is down.
pub(super) fn health(service: &str, checks: &[(&str, bool)]) -> (u16, String) {
    let healthy = checks.iter().all(|(_, healthy)| *healthy);
    let word = |healthy: bool, not: &'static str| if healthy { "healthy" } else { not };
    let listed: serde_json::Map<String, serde_json::Value> = checks
        .iter()
        .map(|(name, healthy)| ((*name).to_owned(), json!({ "status": word(*healthy, "unhealthy") })))
        .collect();
    let body = json!({ "status": word(healthy, "degraded"), "service": service, "checks": listed });
    (if healthy { 200 } else { 503 }, body.to_string())
}
