#![allow(clippy::unwrap_used)]
use super::*;
use crate::contract::Contract;
use crate::promql;
use serde_json::{Value, json};

/// The definition of a ratio, with `changes` (pointer and value) made to it; null takes a key away.
fn definition(changes: &[(&str, Value)]) -> Result<Definition, Vec<Problem>> {
    let mut document = json!({
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {
            "name": "orders",
            "displayName": "Orders",
            "labels": { "category": "application", "component": "shop", "owner": "shop" },
        },
        "spec": {
            "services": ["shop", "till"],
            "timeWindow": Window::Rolling { days: 30 }.to_open_slo(),
            "budgetingMethod": "Occurrences",
            "indicator": { "spec": { "ratioMetric": {
                "counter": true,
                "bad": source("orders_total{state=\"lost\"}"),
                "total": source("orders_total"),
            } } },
            "objectives": [{ "target": 0.999 }],
            "alerting": { "name": "OrdersLost", "pages": true, "dashboard": "http://grafana/d/x" },
        },
    });
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(key)
        } else {
            parent.insert(key.to_owned(), value.clone())
        };
    }
    read(document, &Contract::embedded().unwrap())
}

fn told(problems: Vec<Problem>) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn source(query: &str) -> Value {
    json!({ "metricSource": { "type": "Prometheus", "spec": { "query": query } } })
}

fn histogram(bound: f64) -> [(&'static str, Value); 2] {
    [
        (
            "/spec/indicator",
            json!({ "spec": { "histogramMetric": source("http_request_duration_seconds{job=\"a\"}") } }),
        ),
        ("/spec/objectives", json!([{ "target": 0.95, "op": "lte", "value": bound }])),
    ]
}

fn threshold(operator: &str, value: f64, when_vanished: &str) -> [(&'static str, Value); 3] {
    let mut metric = source("a / b");
    metric["whenVanished"] = json!(when_vanished);
    [
        ("/spec/indicator", json!({ "spec": { "thresholdMetric": metric } })),
        ("/spec/objectives", json!([{ "target": 0.95, "op": operator, "value": value }])),
        ("/spec/budgetingMethod", json!("Timeslices")),
    ]
}

/// All rules of a definition.
fn all_rules(definition: &Definition) -> Vec<Value> {
    let file = rules(definition, "30s", "docs/runbooks/");
    let groups = file["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The expression of the record `name`, on one line.
fn expression(definition: &Definition, name: &str) -> String {
    let rules = all_rules(definition);
    let rule = rules.iter().find(|rule| rule["record"] == name).unwrap_or_else(|| panic!("no record {name}"));
    rule["expr"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_wrong_with_a_definition_is_said_with_its_key() {
    let two = json!([{ "target": 0.9 }, { "target": 0.99 }]);
    let range = json!({ "counter": true, "bad": source("rate(a[5m])"), "total": source("a") });
    let offset = json!({ "counter": true, "bad": source("a offset 1d"), "total": source("a") });
    let three = json!({ "counter": true, "good": source("a"), "bad": source("a"), "total": source("a") });
    let gauges = json!({ "counter": false, "bad": source("a"), "total": source("a") });
    let mut other = source("a");
    other["metricSource"]["type"] = json!("Datadog");
    let other = json!({ "counter": true, "bad": other, "total": source("a") });
    for (pointer, value, expected) in [
        ("/apiVersion", json!("openslo/v2"), "`openslo/v2` `SLO` is not"),
        ("/metadata/name", json!("Error Rate"), "`metadata.name`: `Error Rate`"),
        ("/metadata/labels/owner", Value::Null, "`metadata.labels.owner`: missing"),
        ("/spec/services", json!([]), "`spec`: exactly one of `service`"),
        ("/spec/service", json!("shop"), "`spec`: exactly one of `service`"),
        ("/spec/timeWindow", json!([]), "`spec.timeWindow`: exactly one is needed, found 0"),
        ("/spec/timeWindow", json!([{ "duration": "1h", "isRolling": true }]), "`1h` is no rolling window"),
        ("/spec/objectives", two, "`spec.objectives`: exactly one is needed, found 2"),
        ("/spec/objectives", json!([{ "target": 1 }]), "`spec.objectives[0].target`: `1` is no share"),
        ("/spec/objectives", json!([{ "target": 0 }]), "`spec.objectives[0].target`: `0` is no share"),
        ("/spec/objectives", json!([{ "target": 0.9, "value": 3 }]), "say nothing about a ratio"),
        ("/spec/budgetingMethod", json!("Timeslices"), "is counted by `Occurrences`"),
        ("/spec/indicator/spec/ratioMetric", range, "ratioMetric.bad.metricSource.spec.query`: must be one selector"),
        ("/spec/indicator/spec/ratioMetric", offset, "must be one selector by name"),
        ("/spec/indicator/spec/ratioMetric", three, "exactly two of"),
        ("/spec/indicator/spec/ratioMetric", gauges, "only ratios of counters"),
        ("/spec/indicator/spec/ratioMetric", other, "`Datadog` is not `Prometheus`"),
        ("/spec/alerting/page", json!(true), "`spec.alerting.page`: unknown key; did you mean `pages`?"),
        ("/spec/alerting/colour", json!(1), "`spec.alerting.colour`: unknown key; known here: dashboard, name, pages"),
        (
            "/spec/objectives",
            json!([{ "target": "high" }]),
            "`spec.objectives[0].target`: expected a number, found `high`",
        ),
        ("/spec/objectives", json!([{}]), "`spec.objectives[0]`: \"target\" is missing"),
        ("/spec/budgetingMethod", json!("Timeslice"), "found `Timeslice`; did you mean `Timeslices`?"),
        (
            "/spec/indicator/spec",
            json!({ "ratioMetrics": {} }),
            "spec.ratioMetrics`: unknown key; did you mean `ratioMetric`?",
        ),
    ] {
        let said = definition(&[(pointer, value)]).map_err(told).unwrap_err();
        assert!(said.contains(expected), "{pointer}: {said}");
    }
    let both = definition(&[("/metadata/name", json!("")), ("/spec/timeWindow", json!([]))]).unwrap_err();
    assert_eq!(both.len(), 2, "{both:?}");
    let unreadable = definition(&[
        ("/metadata/displayName", Value::Null),
        ("/spec/alerting/page", json!(true)),
        ("/spec/objectives", json!([{ "target": "high" }])),
        ("/spec/indicator/spec/ratioMetric", json!({ "counter": 1, "bad": {}, "total": source("a") })),
    ]);
    let said = unreadable.map_err(told).unwrap_err();
    for part in ["`metadata`:", "alerting.page`", "[0].target`", "ratioMetric.counter`", "ratioMetric.bad`"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

#[test]
fn a_bound_off_the_buckets_is_refused_with_the_nearest() {
    let said = definition(&histogram(0.2)).map_err(told).unwrap_err();
    assert!(said.contains("`0.2` is no bucket bound") && said.contains("the nearest are `0.1` and `0.25`"), "{said}");
    let said = definition(&histogram(99.0)).map_err(told).unwrap_err();
    assert!(said.ends_with("the nearest are `10`\n"), "{said}");
    let mut foreign = histogram(0.1);
    foreign[0].1 = json!({ "spec": { "histogramMetric": source("other_seconds") } });
    assert!(definition(&foreign).map_err(told).unwrap_err().contains("`other_seconds` is no histogram"));
}

#[test]
fn every_expression_of_every_kind_is_promql() {
    let one = [("/spec/services", Value::Null), ("/spec/service", json!("shop"))];
    let month = ("/spec/timeWindow", Window::Month.to_open_slo());
    let good = json!({ "spec": { "ratioMetric": { "counter": true, "good": source("a"), "total": source("b") } } });
    let halves = json!({ "spec": { "ratioMetric": { "counter": true, "good": source("a"), "bad": source("b{}") } } });
    for changes in [
        vec![],
        one.to_vec(),
        vec![month.clone()],
        vec![("/spec/indicator", good)],
        vec![("/spec/indicator", halves), month],
        histogram(0.1).to_vec(),
        histogram(1.0).to_vec(),
        threshold("gte", 0.75, "unknown").to_vec(),
        [threshold("lt", 60.0, "bad").to_vec(), one.to_vec()].concat(),
    ] {
        for rule in all_rules(&definition(&changes).unwrap()) {
            let text = rule["expr"].as_str().unwrap();
            promql::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        }
    }
}

#[test]
fn a_bucket_is_matched_as_programs_and_prometheus_write_it() {
    let bad = |bound: f64| expression(&definition(&histogram(bound)).unwrap(), "slo:sli_bad:rate5m");
    assert!(bad(0.1).contains(r#"rate(http_request_duration_seconds_bucket{job="a",le="0.1"}[5m])"#), "{}", bad(0.1));
    assert!(bad(1.0).contains(r#"le=~"1|1\\.0""#), "{}", bad(1.0));
    assert!(bad(0.1).contains(r#"rate(http_request_duration_seconds_count{job="a"}[5m])"#), "{}", bad(0.1));
}

#[test]
fn long_windows_are_made_of_records_and_weigh_by_events() {
    let definition = definition(&[]).unwrap();
    assert_eq!(
        expression(&definition, "slo:sli_error:ratio_rate30d"),
        "sum_over_time(slo:sli_bad:rate5m{slo=\"orders\"}[30d:5m]) / \
         (sum_over_time(slo:sli_total:rate5m{slo=\"orders\"}[30d:5m]) > 0)"
    );
    assert_eq!(
        expression(&definition, "slo:sli_error:ratio_rate1h"),
        "( sum by (service) (rate(orders_total{state=\"lost\"}[1h])) or 0 * sum by (service) (rate(orders_total[1h])) ) \
         / (sum by (service) (rate(orders_total[1h])) > 0)"
    );
}

#[test]
fn a_threshold_has_slices_that_are_bad_good_or_unknown() {
    let slice = |kind: &str| expression(&definition(&threshold("gte", 0.75, kind)).unwrap(), "slo:sli_slice:bad");
    let known = "group by (service) ( ( a / b ) < 0.75 ) or 0 * group by (service) ( ( a / b ) >= 0.75 )";
    assert_eq!(slice("unknown"), known);
    let earlier = "last_over_time(slo:sli_slice:bad{slo=\"orders\",service=~\"shop|till\"}[1h])";
    assert_eq!(slice("bad"), format!("{known} or group by (service) ({earlier})"));
    let bad = expression(&definition(&threshold("gte", 0.75, "unknown")).unwrap(), "slo:sli_bad:rate5m");
    let slices = "slo:sli_slice:bad{slo=\"orders\"}";
    assert_eq!(bad, format!("avg_over_time({slices}[5m]) and {slices} offset 4m"));
}

#[test]
fn alerts_that_could_never_fire_are_left_out() {
    let windows = |target: f64| -> Vec<String> {
        let definition = definition(&[("/spec/objectives", json!([{ "target": target }]))]).unwrap();
        let rules = all_rules(&definition);
        let burning = rules.iter().filter(|rule| rule["alert"] == "OrdersLost");
        burning.map(|rule| rule["labels"]["window"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(windows(0.999), ["1h", "6h", "1d", "3d"]);
    // All bad burns 20 times too fast at most.
    assert_eq!(windows(0.95), ["1h", "6h", "1d", "3d"]);
    assert_eq!(windows(0.9), ["6h", "1d", "3d"]);
    assert_eq!(windows(0.5), ["3d"]);
}

#[test]
fn only_objectives_that_page_are_critical() {
    let severities = |pages: bool| -> Vec<String> {
        let definition = definition(&[("/spec/alerting/pages", json!(pages))]).unwrap();
        let rules = all_rules(&definition);
        let alerts = rules.iter().filter(|rule| rule.get("alert").is_some());
        alerts.map(|rule| rule["labels"]["severity"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(severities(true), ["critical", "critical", "warning", "warning", "critical", "warning"]);
    assert_eq!(severities(false), ["warning"; 6]);
}

#[test]
fn each_service_is_told_of_and_one_service_is_a_label() {
    let each = all_rules(&definition(&[]).unwrap());
    let told = each.iter().filter(|rule| rule["record"] == "slo:info");
    let services: Vec<&Value> = told.map(|rule| &rule["labels"]["service"]).collect();
    assert_eq!(services, ["shop", "till"]);
    let one = definition(&[("/spec/services", Value::Null), ("/spec/service", json!("shop"))]).unwrap();
    for rule in all_rules(&one).iter().filter(|rule| rule.get("record").is_some()) {
        assert_eq!(rule["labels"]["service"], "shop", "{}", rule["record"]);
    }
}

#[test]
fn each_problem_says_what_it_is_about() {
    let kinds = |changes: &[(&str, Value)]| -> Vec<ProblemKind> {
        definition(changes).unwrap_err().iter().map(|problem| problem.kind).collect()
    };
    assert_eq!(kinds(&[("/spec/timeWindow", json!([]))]), [ProblemKind::Window]);
    assert_eq!(kinds(&[("/spec/objectives", json!([{ "target": 2 }]))]), [ProblemKind::Target]);
    assert_eq!(kinds(&histogram(0.2)), [ProblemKind::OffBucket]);
    assert_eq!(kinds(&[("/metadata/name", json!("bucket of.target"))]), [ProblemKind::Definition]);
}

#[test]
fn small_thresholds_stay_what_they_are() {
    let read = definition(&threshold("gte", 1e-10, "unknown")).unwrap();
    let rules = rules(&read, "5m", "https://a.b/c/").to_string();
    assert!(rules.contains(">= 0.0000000001") && rules.contains("< 0.0000000001"), "{rules}");
}

#[test]
fn queries_are_what_is_asked_for_each_service() {
    let one = [("/spec/services", Value::Null), ("/spec/service", json!("shop"))];
    let queries = |changes: &[(&str, Value)]| -> Vec<(String, String)> {
        let queries = definition(changes).unwrap().queries.into_iter();
        queries.map(|query| (query.path.replace(".metricSource.spec.query", ""), query.expression)).collect()
    };
    let pair = |path: &str, expression: &str| (format!("spec.indicator.spec.{path}"), expression.to_owned());
    assert_eq!(
        queries(&one),
        [
            pair("ratioMetric.bad", "sum (rate(orders_total{state=\"lost\"}[5m]))"),
            pair("ratioMetric.total", "sum (rate(orders_total[5m]))"),
        ]
    );
    let expected = "sum by (service) (rate(http_request_duration_seconds_count{job=\"a\"}[5m]))";
    assert_eq!(queries(&histogram(0.1)), [pair("histogramMetric", expected)]);
    assert_eq!(queries(&threshold("gte", 1.0, "unknown")), [pair("thresholdMetric", "group by (service) (\na / b\n)")]);
}
