//! What no schema can say of how long and how much of the samples is kept.

use super::model::{Config, Prometheus, Slo};

/// The problems, each by the pointer of its key. Pure.
pub(super) fn judge_samples(config: &Config) -> Vec<(&'static str, String)> {
    let prometheus = &config.prometheus;
    let mut problems = Vec::new();
    if !prometheus.enabled {
        return problems;
    }
    if !prometheus.existing_url.is_empty() {
        let message = "is for `prometheus.enabled: false`: a Prometheus of our own would stand beside the existing one";
        problems.push(("/prometheus/existingUrl", message.to_owned()));
    }
    if let Some(message) = judge_retention(prometheus, &config.slo) {
        problems.push(("/prometheus/retention", message));
    }
    if let Some(message) = judge_size(prometheus) {
        problems.push(("/prometheus/retentionSize", message));
    }
    problems
}

/// An objective cannot be judged over samples that are gone.
fn judge_retention(prometheus: &Prometheus, slo: &Slo) -> Option<String> {
    let (kept, days) = (seconds(&prometheus.retention)?, slo.longest_window_days()?);
    if kept >= f64::from(days) * 86_400.0 || !prometheus.remote_write.is_empty() {
        return None;
    }
    Some(format!(
        "`{}` is shorter than the window of the objectives (`slo.window`), {days} days: keep samples as long, or send \
         them to a long-term store with `prometheus.remoteWrite`",
        prometheus.retention
    ))
}

/// A full volume stops Prometheus before it throws old samples away.
fn judge_size(prometheus: &Prometheus) -> Option<String> {
    let (kept, volume) = (bytes(&prometheus.retention_size)?, bytes(&prometheus.storage_size)?);
    (kept >= volume).then(|| {
        format!(
            "`{}` does not fit into the volume of `{}`: leave room for what is being written",
            prometheus.retention_size, prometheus.storage_size
        )
    })
}

/// The seconds of a Prometheus duration such as `1h30m`; `None` where it cannot be read.
fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            // As Prometheus counts.
            "y" => 31_536_000.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    Some(total)
}

/// The bytes of a Kubernetes quantity such as `50Gi` or of a size of Prometheus such as `45GB`, whose
/// units are powers of 1024 too.
fn bytes(text: &str) -> Option<f64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit {
        "" | "B" => 0,
        "Ki" | "KB" => 1,
        "Mi" | "MB" => 2,
        "Gi" | "GB" => 3,
        "Ti" | "TB" => 4,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * 1024_f64.powi(power))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Layer, Profile, resolve};

    #[test]
    fn durations_and_sizes_are_compared_as_prometheus_reads_them() {
        assert_eq!(seconds("1h30m"), Some(5_400.0));
        assert!(seconds("5w").unwrap() == seconds("35d").unwrap());
        assert_eq!(seconds("5"), None);
        assert!(bytes("45GB").unwrap() < bytes("50Gi").unwrap());
        assert!(bytes("50GB").unwrap() >= bytes("50Gi").unwrap());
    }

    #[test]
    fn what_could_not_be_kept_is_refused_with_the_way_out() {
        let cases = [
            ("prometheus: {retention: 29d}", "prometheus.remoteWrite"),
            ("prometheus: {retention: 30d}\nslo: {window: month}", "31 days"),
            ("prometheus: {retentionSize: 50GB}", "does not fit"),
            ("prometheus: {existingUrl: 'http://a.b'}", "prometheus.enabled: false"),
        ];
        for (text, expected) in cases {
            let told = resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap_err();
            assert!(told.to_string().contains(expected), "{text}: {told}");
            assert!(told.to_string().contains("my.yaml:1:"), "{text}: {told}");
        }
        for text in [
            "prometheus: {retention: 10d, remoteWrite: [{name: long, url: 'https://a.b'}]}",
            "prometheus: {retention: 28d}\nslo: {window: 28d}",
            "prometheus: {enabled: false, existingUrl: 'http://a.b', retention: 1d}",
        ] {
            resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap();
        }
    }
}
