//! What 30 days cost: samples that a real Prometheus reads for one evaluation, ours beside Sloth's and Pyrra's way.

use crate::backfill::{OpenMetrics, Prometheus, USUAL_BLOCKS};
use crate::{DAY, END, expression, rules};

/// Distance of scrapes and evaluations in seconds.
const STEP: i64 = 30;
/// Series of one service: routes, methods and statuses on its pods. Real services have more.
const SERIES: usize = 6;

/// The records and the raw series of one service over 30 days.
fn month() -> OpenMetrics {
    let mut text = OpenMetrics::default();
    let times = || (END - 30 * DAY..=END).step_by(STEP as usize);
    for (record, value) in [("slo:sli_bad:rate5m", 0.02), ("slo:sli_total:rate5m", 10.0), ("sloth:ratio_rate5m", 0.002)]
    {
        text.add(record, r#"slo="error-rate",service="a""#, times().map(|time| (time, value)));
    }
    for series in 0..SERIES {
        let labels =
            format!(r#"service="a",route="/{}",status="{}""#, series / 2, if series % 2 == 0 { 200 } else { 500 });
        text.add("http_requests_total", &labels, times().enumerate().map(|(index, time)| (time, index as f64)));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_days_read_few_samples() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    month().import_in(USUAL_BLOCKS, folder.path());
    let prometheus = Prometheus::start(folder.path()).await;
    let deployed = rules("slo-error-rate.yaml", "30d");
    let ours = expression(&deployed, "slo:sli_error:ratio_rate30d");
    let sloth = "sum_over_time(sloth:ratio_rate5m[30d]) / count_over_time(sloth:ratio_rate5m[30d])";
    let pyrra = "sum by (service, status) (increase(http_requests_total[30d]))";
    let mut read = Vec::new();
    println!("one evaluation of 30 days for one service of {SERIES} series, a sample each {STEP} s:");
    for (way, query) in [("ours", ours), ("Sloth", sloth), ("Pyrra", pyrra)] {
        // The first answer warms the pages of the disk.
        prometheus.answer(query, END).await;
        let data = prometheus.answer(query, END).await;
        assert!(!data["result"].as_array().unwrap().is_empty(), "{query}");
        let samples = data["stats"]["samples"]["totalQueryableSamples"].as_f64().unwrap();
        let seconds = data["stats"]["timings"]["evalTotalTime"].as_f64().unwrap();
        read.push((samples, seconds));
        let (few, quick) = read[0];
        println!(
            "  {way:5} {samples:>8} samples ({:.1} times ours), {:.1} ms ({:.1} times ours)",
            samples / few,
            seconds * 1e3,
            seconds / quick
        );
    }
    assert!(read[0].0 * 5.0 < read[1].0 && read[1].0 < read[2].0, "{read:?}");
}
