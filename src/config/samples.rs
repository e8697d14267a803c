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
    let slo = &config.slo.interval;
    for (pointer, interval, longest, why) in [
        ("/prometheus/scrapeInterval", &prometheus.scrape_interval, 60.0, "a rate over 2m needs two samples"),
        (
            "/prometheus/exporterScrapeInterval",
            &prometheus.exporter_scrape_interval,
            120.0,
            "a rate over 5m needs two samples",
        ),
        ("/prometheus/evaluationInterval", &prometheus.evaluation_interval, 60.0, "alerts wait for 30 s and more"),
        ("/slo/interval", slo, 240.0, "what is recorded less often is gone before it is made anew"),
    ] {
        if duration_seconds(interval).is_some_and(|seconds| seconds <= 0.0 || seconds > longest) {
            problems.push((pointer, format!("`{interval}` must be more than 0 and at most {longest} s: {why}")));
        }
    }
    if let Some(message) = judge_size(prometheus) {
        problems.push(("/prometheus/retentionSize", message));
    }
    let names = prometheus.remote_write.iter().map(|target| &target.name);
    let twice = names.clone().enumerate().find(|(index, name)| names.clone().take(*index).any(|other| other == *name));
    if let Some((_, name)) = twice {
        let message = format!("two targets are called `{name}`, and Prometheus refuses that");
        problems.push(("/prometheus/remoteWrite", message));
    }
    problems
}

/// An objective cannot be judged over samples that are gone.
fn judge_retention(prometheus: &Prometheus, slo: &Slo) -> Option<String> {
    let (kept, days) = (duration_seconds(&prometheus.retention)?, slo.longest_window_days()?);
    // What is sent elsewhere as well does not come back: the rules are evaluated here.
    (kept < f64::from(days) * 86_400.0).then(|| {
        format!(
            "`{}` is shorter than the window of the objectives (`slo.window`), {days} days: keep samples as long",
            prometheus.retention
        )
    })
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

/// The seconds of a Prometheus duration such as `1h30m`: each unit once, from the longest to the
/// shortest; `None` for what is none.
pub fn duration_seconds(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] = [
        // As Prometheus counts.
        ("y", 31_536_000.0),
        ("w", 604_800.0),
        ("d", 86_400.0),
        ("h", 3_600.0),
        ("m", 60.0),
        ("s", 1.0),
        ("ms", 0.001),
    ];
    if text == "0" {
        return Some(0.0);
    }
    let mut rest = text;
    let mut total = 0.0;
    let mut shorter = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let found = UNITS.iter().position(|(name, _)| *name == unit).filter(|found| *found >= shorter)?;
        shorter = found + 1;
        total += number.parse::<f64>().ok()? * UNITS[found].1;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
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
        assert_eq!(duration_seconds("1h30m"), Some(5_400.0));
        assert_eq!(duration_seconds("1500ms"), Some(1.5));
        assert_eq!(duration_seconds("0"), Some(0.0));
        assert_eq!(duration_seconds("5w"), duration_seconds("35d"));
        for none in ["", "5", "m", "1m1h", "1m1m", "5 m", "1.5h", "-5m"] {
            assert_eq!(duration_seconds(none), None, "{none}");
        }
        assert!(bytes("45GB").unwrap() < bytes("50Gi").unwrap());
        assert!(bytes("50GB").unwrap() >= bytes("50Gi").unwrap());
    }

    #[test]
    fn what_could_not_be_kept_is_refused_with_the_way_out() {
        let cases = [
            ("prometheus: {retention: 29d}", "keep samples as long"),
            ("prometheus: {retention: 10d, remoteWrite: [{name: long, url: 'https://a.b'}]}", "keep samples as long"),
            ("prometheus: {retention: 30d}\nslo: {window: month}", "31 days"),
            ("prometheus: {retentionSize: 50GB}", "does not fit"),
            ("prometheus: {scrapeInterval: 0s}", "must be more than 0 and at most 60 s"),
            ("prometheus: {evaluationInterval: 1h}", "alerts wait for 30 s"),
            ("slo: {interval: 10m}", "gone before it is made anew"),
            ("prometheus: {existingUrl: 'http://a.b'}", "prometheus.enabled: false"),
            (
                "prometheus: {remoteWrite: [{name: a, url: 'https://a.b'}, {name: a, url: 'https://c.d'}]}",
                "two targets are called `a`",
            ),
        ];
        for (text, expected) in cases {
            let told = resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap_err();
            assert!(told.to_string().contains(expected), "{text}: {told}");
            assert!(told.to_string().contains("my.yaml:1:"), "{text}: {told}");
        }
        for text in [
            "prometheus: {retention: 28d}\nslo: {window: 28d}",
            "prometheus: {enabled: false, existingUrl: 'http://a.b', retention: 1d}",
        ] {
            resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap();
        }
    }
}
