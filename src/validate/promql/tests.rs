//! Each kind of finding about expressions, with a planted fault and what is right beside it.

use super::*;
use crate::config::{Profile, resolve};
use crate::contract::Contract;
use crate::validate::vocabulary::Vocabulary;

fn vocabulary() -> Vocabulary {
    let config = resolve(Some(Profile::Production), &[], &[], &[]).unwrap();
    let contracts = [Contract::embedded().unwrap(), Contract::programs().unwrap()];
    let jobs = crate::render::scrape_job_names(&config);
    let mut vocabulary = Vocabulary::new(&contracts, &config, jobs);
    let record = crate::promql::parse("sum by (service) (rate(http_requests_total[5m]))").unwrap();
    vocabulary.learn(&[("service:requests:rate5m".to_owned(), record, Default::default())]);
    vocabulary.alerts = Some(["ServiceDown".to_owned()].into());
    vocabulary
}

fn codes_of(text: &str, vocabulary: &Vocabulary) -> Vec<&'static str> {
    let mut codes: Vec<&str> = judge(text, vocabulary).1.iter().map(|problem| problem.code.id).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    let vocabulary = vocabulary();
    for (text, code) in [
        ("sum(rate(http_requests_total[5m])", "promql/syntax"),
        ("up{job=\"redis\"", "promql/syntax"),
        ("up == ", "promql/syntax"),
        ("sum by (job) rate(http_requests_total[5m])", "promql/syntax"),
        ("rate(http_request_total[5m])", "promql/unknown-metric"),
        ("http_request_duration_seconds > 1", "promql/unknown-metric"),
        ("absent(redis_upp)", "promql/unknown-metric"),
        ("http_requests_in_flight{route=\"/\"}", "promql/unknown-label"),
        ("sum by (servce) (rate(http_requests_total[5m]))", "promql/unknown-label"),
        ("sum by (route) (service:requests:rate5m)", "promql/unknown-label"),
        ("pg_up == 0 and on (datname) pg_stat_activity_count > 1", "promql/unknown-label"),
        ("rate(active_users_total[5m])", "promql/rate-of-gauge"),
        ("increase(redis_memory_used_bytes[1h])", "promql/rate-of-gauge"),
        ("rate({__name__=\"active_users_total\"}[5m])", "promql/rate-of-gauge"),
        ("rate((active_users_total)[5m:1m])", "promql/rate-of-gauge"),
        ("rate(sum by (job) (http_requests_total)[5m:1m])", "promql/rate-of-sum"),
        ("deriv(http_requests_total[5m])", "promql/change-of-counter"),
        ("avg_over_time(questions_answered_total[1h])", "promql/change-of-counter"),
        ("http_requests_total > 100", "promql/missing-rate"),
        (
            "sum by (service) (questions_correct_total) / sum by (service) (questions_answered_total)",
            "promql/missing-rate",
        ),
        ("http_request_duration_seconds_sum / http_request_duration_seconds_count", "promql/missing-rate"),
        ("up{job=\"user-servce\"}", "promql/impossible-matcher"),
        ("up{job=~\"user-svc|content-svc\"}", "promql/impossible-matcher"),
        ("pg_up{job=\"redis\"}", "promql/impossible-matcher"),
        ("up{job=\"redis\", job!=\"redis\"}", "promql/impossible-matcher"),
        ("ALERTS{alertname=\"ServiceDwn\"}", "promql/impossible-matcher"),
        ("rate(http_request_duration_seconds_bucket{le=\"0.2\"}[5m])", "promql/impossible-matcher"),
        (
            "sum by (service, route) (rate(http_requests_total[5m])) / sum by (service) (rate(http_requests_total[5m]))",
            "promql/mismatched-labels",
        ),
        ("redis_memory_used_bytes / sum(node_memory_MemTotal_bytes)", "promql/mismatched-labels"),
        ("service:requests:rate5m / sum(rate(http_requests_total[5m]))", "promql/mismatched-labels"),
        (
            "histogram_quantile(0.95, sum by (service) (rate(http_request_duration_seconds_bucket[5m])))",
            "promql/quantile",
        ),
        ("histogram_quantile(95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))", "promql/quantile"),
        ("rate(http_requests_total[20s])", "promql/short-range"),
        ("rate(redis_keyspace_hits_total[45s])", "promql/short-range"),
        ("redis_memory_used_bytes / redis_memory_max_bytes > 0.9", "promql/zero-divisor"),
        ("redis_memory_used_bytes / -(0)", "promql/zero-divisor"),
        ("redis_memory_max_bytes == 0 or redis_memory_used_bytes / redis_memory_max_bytes", "promql/zero-divisor"),
        ("redis_memory_used_bytes / redis_memory_max_bytes and redis_memory_max_bytes >= 0", "promql/zero-divisor"),
        ("redis_memory_used_bytes / redis_memory_max_bytes unless redis_memory_max_bytes > 0", "promql/zero-divisor"),
        (
            "redis_memory_used_bytes / redis_memory_max_bytes unless (redis_memory_max_bytes == 0 and up > 5)",
            "promql/zero-divisor",
        ),
        ("redis_memory_used_bytes / redis_memory_max_bytes and redis_memory_max_bytes > bool 0", "promql/zero-divisor"),
        (
            "redis_memory_used_bytes / redis_memory_max_bytes and on () absent(redis_memory_max_bytes > 0)",
            "promql/zero-divisor",
        ),
        (
            "redis_memory_used_bytes / redis_memory_max_bytes and on () count(redis_memory_max_bytes) > 0",
            "promql/zero-divisor",
        ),
        ("redis_memory_used_bytes / (redis_memory_max_bytes or redis_memory_max_bytes > 0)", "promql/zero-divisor"),
        ("{\"http_requests_total\"} > 1_000", "promql/missing-rate"),
    ] {
        assert_eq!(codes_of(text, &vocabulary), [code], "{text}");
    }
}

#[test]
fn what_is_right_is_left_alone() {
    let vocabulary = vocabulary();
    for text in [
        "max by (job) (up{job=~\"user-service|gone-service\"}) == 0 or absent(up{job=\"user-service\"})",
        "up{job=~\"user-service\"} == 0 and on (job) max by (job) (up) == 1",
        "sum by (service) (rate(http_requests_total{status=~\"5..\"}[2m])) / sum by (service) (rate(http_requests_total[2m])) > 0.05",
        "histogram_quantile(0.95, sum by (service, le) (rate(http_request_duration_seconds_bucket[5m])))",
        "sum by (service) (rate(http_request_duration_seconds_bucket{le=\"0.1\"}[5m]))",
        "sum by (job, pod) (process_resident_memory_bytes) / on (pod) group_left () sum by (pod) (kube_pod_container_resource_limits)",
        "redis_memory_used_bytes / redis_memory_max_bytes > 0.9 and redis_memory_max_bytes > 0",
        "redis_memory_used_bytes / (redis_memory_max_bytes > 0) > 0.9",
        "redis_memory_used_bytes / redis_memory_max_bytes > 0.9 unless redis_memory_max_bytes == 0",
        "(redis_memory_used_bytes / redis_memory_max_bytes or up) and 1 <= redis_memory_max_bytes",
        "rate(topk(1, http_requests_total)[5m:1m])",
        "sum by (\"job\") (up{job=~\"[[r]edis\"}) > 1_000",
        "rate(kafka_topic_partition_current_offset[5m])",
        "rate(redis_keyspace_hits_total[5m]) / (rate(redis_keyspace_hits_total[5m]) + rate(redis_keyspace_misses_total[5m]))",
        "count by (service) (http_requests_total)",
        "http_requests_total - http_requests_total offset 1h",
        "absent(http_requests_total)",
        "max_over_time(service:requests:rate5m[1h])",
        "min_over_time(http_requests_total[5m]) unless http_requests_total offset 5m",
        "redis_memory_used_bytes / (redis_memory_max_bytes > 0 or vector(1))",
        "redis_memory_used_bytes / clamp_min(redis_memory_max_bytes, 1)",
        "redis_memory_used_bytes / clamp(redis_memory_max_bytes, 1, 9)",
        "sum by (job) (redis_memory_used_bytes) / count by (job) (redis_memory_max_bytes)",
        "redis_memory_used_bytes / redis_memory_max_bytes unless (redis_memory_max_bytes == 0 or up == 0)",
        "rate(service:requests:rate5m[5m])",
        "label_replace(up, \"service\", \"$1\", \"job\", \"(.*)\")",
        "sum by (new) (label_replace(up, \"new\", \"$1\", \"job\", \"(.*)\"))",
        "count_values by (job) (\"value\", up)",
        "topk by (job) (3, up)",
        "ALERTS{alertname=\"ServiceDown\", slo=\"x\"}",
        "pg_stat_activity_count{state=\"active\"} / on (instance) group_left () pg_settings_max_connections",
        "sum(up) / count(up)",
        "vector(1)",
        "up * 0 + 1",
        "alertmanager_notification_latency_seconds_bucket{le=\"5.0\"} > bool 0 unless on (job, instance) up",
        "time() - process_start_time_seconds{job=\"prometheus-kube-prometheus-prometheus\"}",
        "prometheus_engine_query_duration_seconds{quantile=\"0.9\"}",
        "up{job=\"\"}",
    ] {
        let found = codes_of(text, &vocabulary);
        let expected: &[&str] = if text.starts_with("alertmanager") { &["promql/missing-rate"] } else { &[] };
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn the_nearest_name_is_told() {
    let fix = |text: &str| judge(text, &vocabulary()).1.remove(0).fix.unwrap_or_default();
    assert_eq!(fix("rate(http_request_total[5m])"), "did you mean `http_requests_total`?");
    assert_eq!(fix("sum by (servce) (rate(http_requests_total[5m]))"), "did you mean `service`?");
    assert_eq!(fix("up{job=\"user-servce\"}"), "did you mean `user-service`?");
}
