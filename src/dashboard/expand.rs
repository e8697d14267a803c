//! What Grafana puts in place of the variables of a query.

use super::model::{Dashboard, Target};
use crate::promql::parse_duration;
use std::collections::BTreeMap;
use std::time::Duration;

/// Points that a panel asks for: about one a pixel of a panel as wide as the screen.
pub const POINTS: u32 = 1000;

/// The values of a dashboard's variables, for one time range.
#[derive(Debug, Clone, PartialEq)]
pub struct Expansion {
    chosen: BTreeMap<String, String>,
    range: Duration,
    scrape_interval: Duration,
    points: u32,
}

impl Expansion {
    /// With the values that are chosen when `dashboard` is opened, over `range`, in about `points` steps. The datasource is
    /// scraped every `scrape_interval`.
    pub fn new(dashboard: &Dashboard, range: Duration, scrape_interval: Duration, points: u32) -> Self {
        let chosen = dashboard.variables().iter().filter(|variable| variable.kind != "datasource");
        let chosen = chosen.filter_map(|variable| Some((variable.name.clone(), variable.chosen()?))).collect();
        Expansion { chosen, range, scrape_interval, points: points.max(1) }
    }

    /// The step of a query, `$__interval`: the range shared out over the points, in whole seconds, and never
    /// shorter than its metrics are scraped. (Grafana rounds it to a handsome number besides.)
    pub fn step(&self, target: &Target) -> Duration {
        let shared = Duration::from_secs((self.range / self.points).as_secs());
        shared.max(self.least_step(target)).max(Duration::from_secs(1))
    }

    /// `$__rate_interval`: long enough for two scrapes at every step, and for four in any case.
    fn rate_interval(&self, target: &Target) -> Duration {
        let scrape = self.least_step(target);
        (self.step(target) + scrape).max(scrape * 4)
    }

    fn least_step(&self, target: &Target) -> Duration {
        let own = target.interval.as_deref().and_then(|interval| parse_duration(interval).ok());
        own.unwrap_or(self.scrape_interval)
    }

    /// The query of `target` as it is sent.
    pub fn query(&self, target: &Target) -> String {
        let step = self.step(target);
        let seconds = |duration: Duration| format!("{}s", duration.as_secs().max(1));
        self.replace(&target.expr, |name| match name {
            "__interval" => Some(seconds(step)),
            "__interval_ms" => Some(step.as_millis().to_string()),
            "__rate_interval" => Some(seconds(self.rate_interval(target))),
            _ => None,
        })
    }

    /// The same for a query that no panel has: of a variable or of marks on the time axis.
    pub fn text(&self, expression: &str) -> String {
        self.replace(expression, |_| None)
    }

    /// `text` with `$name`, `${name}` and `${name:format}` replaced; what no variable is called stays.
    fn replace(&self, text: &str, of_query: impl Fn(&str) -> Option<String>) -> String {
        let value = |name: &str| {
            of_query(name).or_else(|| match name {
                "__range" => Some(format!("{}s", self.range.as_secs())),
                "__range_s" => Some(self.range.as_secs().to_string()),
                "__range_ms" => Some(self.range.as_millis().to_string()),
                _ => self.chosen.get(name).cloned(),
            })
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('$') {
            expanded.push_str(&rest[..start]);
            let after = &rest[start + 1..];
            let (name, length) = match after.strip_prefix('{') {
                Some(inner) => match inner.find('}') {
                    Some(end) => (inner[..end].split(':').next().unwrap_or_default(), end + 2),
                    None => ("", 0),
                },
                None => {
                    let end = after.find(|letter| !is_name(letter)).unwrap_or(after.len());
                    (&after[..end], end)
                }
            };
            match value(name) {
                Some(value) => expanded.push_str(&value),
                None => expanded.push_str(&rest[start..=start + length]),
            }
            rest = &after[length..];
        }
        expanded.push_str(rest);
        expanded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expansion(range: u64) -> Expansion {
        let model = json!({ "uid": "u", "title": "T", "time": { "from": "now-1h" }, "annotations": { "list": [] }, "panels": [],
            "templating": { "list": [
                { "name": "datasource", "type": "datasource", "current": { "value": "default" } },
                { "name": "service", "type": "custom", "query": "a,b", "current": { "value": ["$__all"] } },
                { "name": "slo", "type": "query", "allValue": ".+", "current": { "value": "latency" } },
            ] } });
        let dashboard = Dashboard::parse(&model).unwrap();
        Expansion::new(&dashboard, Duration::from_secs(range), Duration::from_secs(15), POINTS)
    }

    fn target(expr: &str, interval: Option<&str>) -> Target {
        serde_json::from_value(json!({ "refId": "A", "expr": expr, "interval": interval })).unwrap()
    }

    #[test]
    fn variables_are_replaced_however_they_are_written() {
        for (text, expected) in [
            ("a{b=~\"$service\", c=\"${slo}\"}", "a{b=~\"a|b\", c=\"latency\"}"),
            ("a{b=~\"${service:regex}\"}", "a{b=~\"a|b\"}"),
            ("$slos $ ${ $nobody ${1}xx $", "$slos $ ${ $nobody ${1}xx $"),
            ("x[$__range] * $__range_s", "x[3600s] * 3600"),
            ("${datasource}", "${datasource}"),
        ] {
            assert_eq!(expansion(3600).query(&target(text, None)), expected);
        }
    }

    #[test]
    fn intervals_follow_the_range_and_how_often_is_scraped() {
        let text = "$__interval $__rate_interval";
        // An hour in 1000 steps is shorter than the scrapes lie apart.
        assert_eq!(expansion(3600).query(&target(text, None)), "15s 60s");
        assert_eq!(expansion(3600).query(&target(text, Some("30s"))), "30s 120s");
        assert_eq!(expansion(86_400).query(&target(text, None)), "86s 101s");
        assert_eq!(expansion(86_400).query(&target("$__interval_ms", None)), "86000");
    }
}
