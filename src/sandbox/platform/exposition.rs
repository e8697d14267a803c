//! The Prometheus text exposition format, version 0.0.4.

use crate::contract::Metric;
use std::fmt::Write;

/// Content type of a page.
pub(in crate::sandbox) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One page of metrics under way.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Page(String);

impl Page {
    /// Adds the family of `metric` with its `samples`, unless there are none.
    pub(in crate::sandbox) fn append(&mut self, metric: &Metric, samples: Page) {
        if samples.0.is_empty() {
            return;
        }
        let help = metric.meaning.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {} {help}", metric.name);
        let _ = writeln!(self.0, "# TYPE {} {}", metric.name, metric.metric_type.word());
        self.0.push_str(&samples.0);
    }

    /// Begins the family `name` of a kind such as `gauge`, for samples that follow.
    pub(in crate::sandbox) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds the samples of `other`.
    pub(in crate::sandbox) fn extend(&mut self, other: Page) {
        self.0.push_str(&other.0);
    }

    /// One sample.
    pub(in crate::sandbox) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        let mut separator = '{';
        for (label, text) in labels {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{separator}{label}=\"{text}\"");
            separator = ',';
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// The samples of one histogram: `counted` has one cumulative count for each of `bounds`, not
    /// above `count`.
    pub(in crate::sandbox) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        counted: &[f64],
        (sum, count): (f64, f64),
    ) {
        let bucket = format!("{name}_bucket");
        let bounds = bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, value) in bounds.zip(counted.iter().chain([&count])) {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&bucket, &labels, *value);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// The finished page.
    pub(in crate::sandbox) fn into_body(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page::default();
        page.sample("m", &[("a", "x\"y\\z\n")], 1.5);
        page.sample("m", &[], 2.0);
        assert_eq!(page.into_body(), "m{a=\"x\\\"y\\\\z\\n\"} 1.5\nm 2\n");
    }

    #[test]
    fn a_histogram_ends_with_infinity_sum_and_count() {
        let mut page = Page::default();
        page.histogram("h", &[("a", "b")], &[0.1, 1.0], &[2.0, 3.0], (1.25, 4.0));
        assert_eq!(
            page.into_body(),
            "h_bucket{a=\"b\",le=\"0.1\"} 2\nh_bucket{a=\"b\",le=\"1\"} 3\nh_bucket{a=\"b\",le=\"+Inf\"} 4\n\
             h_sum{a=\"b\"} 1.25\nh_count{a=\"b\"} 4\n"
        );
    }
}
