//! What Prometheus answers to the panels of a dashboard over a range of time.

use super::model::Dashboard;
use std::collections::BTreeMap;

/// One series, or one number of an instant query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Unix time in seconds, and value.
    pub points: Vec<(f64, f64)>,
}

/// The answer to a query; what Prometheus says where it refuses.
pub type Answer = Result<Vec<Series>, String>;

/// A dashboard with what it is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The dashboard.
    pub dashboard: Dashboard,
    /// Unix time in seconds at which the range begins.
    pub start: f64,
    /// And at which it ends.
    pub end: f64,
    /// The answers to each panel's queries, in their order, by the panel's id.
    pub answers: BTreeMap<u64, Vec<Answer>>,
}

impl Series {
    /// The newest number.
    pub fn last(&self) -> Option<f64> {
        self.points.iter().rev().map(|(_, value)| *value).find(|value| value.is_finite())
    }

    /// The greatest number.
    pub fn greatest(&self) -> Option<f64> {
        self.points.iter().map(|(_, value)| *value).filter(|value| value.is_finite()).reduce(f64::max)
    }

    /// What a legend calls it: `format` with the values of its labels for `{{label}}`, else the labels.
    pub fn name(&self, format: &str) -> String {
        if format.is_empty() {
            let labels: Vec<String> = self.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
            return labels.join(", ");
        }
        let mut name = String::new();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((label, after)) = after.split_once("}}") else { break };
            name.push_str(before);
            name.push_str(self.labels.get(label.trim()).map_or("", String::as_str));
            rest = after;
        }
        name + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_called_as_the_legend_says() {
        let labels = [("job", "kafka"), ("topic", "a")].map(|(label, value)| (label.to_owned(), value.to_owned()));
        let series = Series { labels: BTreeMap::from(labels), points: vec![(0.0, 3.0), (1.0, 2.0), (2.0, f64::NAN)] };
        for (format, name) in [
            ("{{job}} of {{ topic }}.", "kafka of a."),
            ("{{none}}x", "x"),
            ("p95", "p95"),
            ("{{job", "{{job"),
            ("", "job=kafka, topic=a"),
        ] {
            assert_eq!(series.name(format), name);
        }
        assert_eq!((series.last(), series.greatest()), (Some(2.0), Some(3.0)));
    }
}
