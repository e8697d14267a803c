//! The rules of Grafana's dashboard-linter on the dashboards as they are deployed, by their names there.
//!
//! - `template-datasource`, `uneditable-dashboard`: one variable chooses the datasource; nobody edits.
//! - `template-label-promql`, `template-on-time-change-reload`: variables.
//! - `panel-datasource`, `panel-title-description`, `panel-units`, `panel-no-targets`: for every kind of panel.
//! - `target-promql` (also by promtool, in `dashboards.rs`), `target-rate-interval`.
//! - `target-counter-agg`: by the kind in the contract instead of the end of the name, since `active_users_total` is a
//!   gauge; and no rate of a gauge.
//! - `target-job`: any matcher on `job`. What rules record has no job, and what is asked of all jobs names none.
//! - `template-job`, `template-instance`, `target-instance`: not followed. People choose a namespace and a service, whose
//!   names the jobs have; instances have new names after every deploy.
//! - `target-logql`, `target-logql-auto`: no panel asks Loki.

use crate::dashboards::{Shown, shown};
use crate::metric_of;
use crate::rules::is_recorded;
use drivemaster_mon::contract::MetricType;
use drivemaster_mon::promql::{self, Expr, parse, visit};
use serde_json::{Value, json};

/// Ids of Grafana's units that panels use.
const UNITS: [&str; 11] = ["none", "short", "percentunit", "s", "bytes", "Bps", "reqps", "ops", "mps", "cps", "string"];

/// Metrics that are asked of all jobs on purpose.
const OF_ALL_JOBS: [&str; 3] = ["up", "scrape_duration_seconds", "ALERTS"];

fn rate_like(name: &str) -> bool {
    ["rate", "irate", "increase"].contains(&name)
}

#[test]
fn the_datasource_is_chosen_by_one_variable() {
    for Shown { name, json, .. } in shown() {
        let variables = json["templating"]["list"].as_array().unwrap();
        let sources: Vec<&Value> = variables.iter().filter(|variable| variable["type"] == "datasource").collect();
        assert_eq!(sources.len(), 1, "{name}");
        assert_eq!(
            (&sources[0]["name"], &sources[0]["label"]),
            (&json!("datasource"), &json!("Data source")),
            "{name}"
        );
        assert_eq!(json["editable"], false, "{name}");
    }
}

#[test]
fn variables_ask_for_the_values_of_a_label_anew_in_every_time_range() {
    let mut asked = 0;
    for Shown { name, json, read } in shown() {
        for (variable, json) in read.variables().iter().zip(json["templating"]["list"].as_array().unwrap()) {
            if variable.kind != "query" {
                continue;
            }
            asked += 1;
            let (series, label) = variable.label_values().unwrap_or_else(|| panic!("{name}: {}", variable.name));
            let metrics = promql::selectors(&parse(series).unwrap());
            assert_eq!(metrics.len(), 1, "{name}: {series}");
            assert_eq!(label, variable.name, "{name}");
            assert_eq!(json["refresh"], 2, "{name}");
        }
    }
    assert!(asked > 0);
}

#[test]
fn panels_have_a_title_a_description_a_unit_queries_and_the_chosen_datasource() {
    for shown in shown() {
        for (panel, json) in shown.panels() {
            let place = format!("{}: {}", shown.name, panel.title);
            assert!(!panel.title.is_empty() && !panel.description.is_empty(), "{place}");
            if panel.kind == "text" {
                continue;
            }
            assert!(UNITS.contains(&panel.field_config.defaults.unit.as_deref().unwrap()), "{place}");
            assert!(!panel.targets.is_empty(), "{place}");
            for source in json["targets"].as_array().unwrap().iter().chain([json]) {
                assert_eq!(source["datasource"], json!({ "type": "prometheus", "uid": "${datasource}" }), "{place}");
            }
        }
    }
}

#[test]
fn rates_are_over_the_interval_that_fits_the_panel() {
    // Written in place of the variables before parsing, since a number may be as long as the interval.
    const RATE_INTERVAL: &str = "7w";
    let seconds = 7 * 7 * 86_400;
    for shown in shown() {
        for (panel, _) in shown.panels() {
            for target in &panel.targets {
                let marked = target
                    .expr
                    .replace("$__rate_interval", RATE_INTERVAL)
                    .replace("$__range_s", "1")
                    .replace("$__range", "8w");
                visit(&parse(&marked).unwrap(), &mut |part| {
                    if let Expr::Call(call) = part
                        && ["rate", "irate"].contains(&call.func.name)
                    {
                        for argument in &call.args.args {
                            let Expr::MatrixSelector(selector) = &**argument else { continue };
                            let fits = selector.range.as_secs() == seconds;
                            assert!(fits, "{}: {}: {}", shown.name, panel.title, target.expr);
                        }
                    }
                });
            }
        }
    }
}

#[test]
fn what_is_scraped_is_asked_of_its_job() {
    for shown in shown() {
        for (title, query) in shown.queries() {
            for selector in promql::selectors(&parse(&query).unwrap()) {
                let metric = selector.metric.unwrap();
                let of_job = selector.matchers.iter().any(|matcher| matcher.name == "job");
                let fits = of_job || is_recorded(&metric) || OF_ALL_JOBS.contains(&metric.as_str());
                assert!(fits, "{}: {title}: `{metric}` without its job", shown.name);
            }
        }
    }
}

#[test]
fn counters_are_asked_for_their_rate_and_gauges_are_not() {
    let is_counter = |metric: &str| {
        let known = metric_of(metric).unwrap_or_default();
        known.iter().any(|known| {
            let of_parts = matches!(known.metric_type, MetricType::Histogram | MetricType::Summary);
            known.metric_type == MetricType::Counter || known.only_grows || (of_parts && known.name != metric)
        })
    };
    for shown in shown() {
        for (title, query) in shown.queries() {
            let expression = parse(&query).unwrap();
            let mut rated = Vec::new();
            let mut counted = Vec::new();
            let mut all = Vec::new();
            visit(&expression, &mut |part| match part {
                Expr::Call(call) if rate_like(call.func.name) => {
                    for argument in &call.args.args {
                        if let Expr::MatrixSelector(selector) = &**argument {
                            rated.extend(selector.vs.name.clone());
                        }
                    }
                }
                Expr::Aggregate(aggregate) if aggregate.op.to_string() == "count" => {
                    if let Expr::VectorSelector(selector) = &*aggregate.expr {
                        counted.extend(selector.name.clone());
                    }
                }
                Expr::MatrixSelector(selector) => all.extend(selector.vs.name.clone()),
                Expr::VectorSelector(selector) => all.extend(selector.name.clone()),
                _ => {}
            });
            for metric in &rated {
                assert!(is_counter(metric), "{}: {title}: rate of `{metric}`, which is a gauge", shown.name);
            }
            let count = |list: &[String], metric: &String| list.iter().filter(|other| *other == metric).count();
            // Its level is the time since the start.
            for metric in all.iter().filter(|metric| is_counter(metric) && !metric.ends_with("_uptime_seconds_total")) {
                let fits = count(&rated, metric) + count(&counted, metric) == count(&all, metric);
                assert!(fits, "{}: {title}: `{metric}` counts: ask for its rate", shown.name);
            }
        }
    }
}
