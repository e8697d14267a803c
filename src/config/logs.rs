//! What no schema can say of logs and traces: how long Loki keeps a class, where, and what is masked.

use super::model::Config;
use regex::Regex;

/// The shortest retention that Loki accepts, in hours: a table of its index is a day.
const SHORTEST: u64 = 24;

/// The problems, each by the pointer of its key. Pure.
pub(super) fn judge_logs(config: &Config) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut report = |pointer: String, message: String| problems.push((pointer, message));
    let loki = &config.loki;
    if loki.enabled {
        let retention = &loki.retention;
        for (class, kept) in
            [("application", &retention.application), ("security", &retention.security), ("audit", &retention.audit)]
        {
            let hours = kept.strip_suffix('h').and_then(|hours| hours.parse::<u64>().ok());
            if hours.is_none_or(|hours| hours < SHORTEST) {
                report(
                    format!("/loki/retention/{class}"),
                    format!("Loki refuses `{kept}`: the shortest is `{SHORTEST}h`"),
                );
            }
        }
        if loki.object_storage.enabled && loki.object_storage.bucket.is_empty() {
            report(
                "/loki/objectStorage/enabled".to_owned(),
                "needs `loki.objectStorage.bucket`, which is empty".to_owned(),
            );
        }
    }
    for (index, expression) in config.otel_collector.masked_values.iter().enumerate() {
        let pointer = format!("/otelCollector/maskedValues/{index}");
        match Regex::new(expression) {
            Err(error) => report(pointer, format!("`{expression}` is no regular expression: {}", reason(&error))),
            Ok(pattern) if pattern.is_match("") => {
                report(pointer, format!("`{expression}` matches nothing at all as well, and would mask every text"));
            }
            Ok(_) => {}
        }
    }
    problems
}

/// The last line of the error, which says why; the lines before it show where.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::config::{Layer, Profile, resolve};

    #[test]
    fn what_loki_or_a_mask_would_fail_on_is_refused_before() {
        for (text, path, expected) in [
            ("loki: {retention: {audit: 5h}}", "loki.retention.audit", "the shortest is `24h`"),
            (
                "loki: {objectStorage: {enabled: true}}",
                "loki.objectStorage.enabled",
                "needs `loki.objectStorage.bucket`",
            ),
            ("otelCollector: {maskedValues: ['a(b']}", "otelCollector.maskedValues[0]", "unclosed group"),
            ("otelCollector: {maskedValues: [a, '(?=b)']}", "otelCollector.maskedValues[1]", "look-around"),
            ("otelCollector: {maskedValues: ['[0-9]*']}", "otelCollector.maskedValues[0]", "every text"),
        ] {
            let told = resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap_err();
            assert!(told.to_string().contains(&format!("`{path}`")), "{text}: {told}");
            assert!(told.to_string().contains(expected), "{text}: {told}");
            assert!(told.to_string().contains("my.yaml:1:"), "{text}: {told}");
        }
        for text in [
            "loki: {enabled: false, existingUrl: 'https://a.b', retention: {audit: 5h}}",
            "loki: {objectStorage: {enabled: true, bucket: b}, retention: {security: 24h}}",
            r"otelCollector: {maskedValues: ['\bIBAN\d+\b']}",
        ] {
            resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap();
        }
    }
}
