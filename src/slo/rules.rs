//! The recording rules and alerts of an objective, as the groups of a file of rules.

use super::definition::{Definition, Subject};
use super::indicator::{Expressions, Indicator, quotient};
use super::window::{BURN_WINDOWS, BurnWindows, Window, decimal};
use serde_json::{Map, Value, json};

/// The windows that are read from what is scraped; longer ones are made of records.
const SHORT_WINDOWS: [&str; 3] = ["5m", "30m", "1h"];
/// The longer windows of alerts, with the distance of the records they are made of.
const LONG_WINDOWS: [(&str, &str); 4] = [("2h", "1m"), ("6h", "1m"), ("1d", "5m"), ("3d", "5m")];
/// The long window of each pair of an alert, with the distance of records and how many there are.
const OBSERVED: [(&str, &str, u32); 4] = [("1h", "1m", 60), ("6h", "1m", 360), ("1d", "5m", 288), ("3d", "5m", 864)];
/// Records of five minutes in a day.
const RECORDS_OF_A_DAY: u32 = 288;

/// Share of the budget that is spent when [`EXHAUSTED`] is told.
const NEARLY_SPENT: &str = "0.9";
/// A budget that will be gone within so many days at the pace of six hours is told.
const DAYS_AHEAD: &str = "3";
/// The alert on a budget that is spent but for a tenth.
const EXHAUSTED: &str = "ErrorBudgetExhausted";
/// The alert on a budget that will soon be spent.
const BURN_RATE_HIGH: &str = "ErrorBudgetBurnRateHigh";

/// The file of rules of `definition`: groups `drivemaster-slo-<name>`, with `-windows` and `-alerts`. The
/// longer windows are made anew every `interval`, a Prometheus duration; the pages about alerts stand at `runbooks`.
pub fn rules(definition: &Definition, interval: &str, runbooks: &str) -> Value {
    let name = format!("drivemaster-slo-{}", definition.name);
    json!({ "groups": [
        { "name": name, "rules": short(definition) },
        { "name": format!("{name}-windows"), "interval": interval, "rules": long(definition) },
        { "name": format!("{name}-alerts"), "rules": alerts(definition, runbooks) },
    ] })
}

/// What is recorded at every evaluation: the records of five minutes that all else is made of.
fn short(definition: &Definition) -> Vec<Value> {
    let expressions = Expressions::of(definition);
    let own = expressions.own();
    let (bad, total) = expressions.bad_and_total("5m");
    let ratio = quotient(&format!("slo:sli_bad:rate5m{own}"), &format!("slo:sli_total:rate5m{own}"));
    let burn = format!("slo:sli_error:ratio_rate5m{own} / {}", budget(definition));
    let slice = expressions.slice().map(|slice| record(definition, "slo:sli_slice:bad", &slice));
    let records = [
        record(definition, "slo:sli_bad:rate5m", &bad),
        record(definition, "slo:sli_total:rate5m", &total),
        record(definition, "slo:sli_error:ratio_rate5m", &ratio),
        record(definition, "slo:current_burn_rate:ratio", &burn),
    ];
    slice.into_iter().chain(records).collect()
}

/// What is recorded less often: the longer windows, the budget, and what is known of the objective.
fn long(definition: &Definition) -> Vec<Value> {
    let expressions = Expressions::of(definition);
    let own = expressions.own();
    let each = format!("group by (slo, service) (slo:info{own})");
    let mut records: Vec<Value> =
        definition.subject.services().iter().map(|service| information(definition, service)).collect();
    let mut add = |name: &str, expression: &str| records.push(record(definition, name, expression));
    add("slo:objective:ratio", &format!("{} * {each}", decimal(definition.target)));
    add("slo:error_budget:ratio", &format!("{} * {each}", budget(definition)));
    for window in SHORT_WINDOWS.iter().skip(1) {
        add(&format!("slo:sli_error:ratio_rate{window}"), &expressions.short_ratio(window));
    }
    for (window, step) in LONG_WINDOWS {
        add(&format!("slo:sli_error:ratio_rate{window}"), &expressions.long_ratio(window, step));
    }
    for (window, step, count) in OBSERVED {
        let seen = format!("count_over_time(slo:sli_total:rate5m{own}[{window}:{step}])");
        add(&format!("slo:observed:ratio_{window}"), &format!("{seen} / {count}"));
    }
    let (period, days, seen) = match definition.window {
        Window::Rolling { days } => (
            expressions.long_ratio(&format!("{days}d"), "5m"),
            format!("{days} * {each}"),
            format!("count_over_time(slo:sli_total:rate5m{own}[{days}d:5m])"),
        ),
        Window::Month => (
            expressions.month_ratio(),
            format!("{each} * on () group_left () days_in_month()"),
            expressions.month_count(),
        ),
    };
    if definition.window == Window::Month {
        let start = "time() - 86400 * (day_of_month() - 1) - time() % 86400";
        records.push(json!({
            "record": "slo:time_period:start_seconds", "expr": start, "labels": { "slo": definition.name },
        }));
    }
    let mut add = |name: &str, expression: &str| records.push(record(definition, name, expression));
    let ratio = period_ratio(definition.window);
    add("slo:time_period:days", &days);
    add(&ratio, &period);
    add("slo:observed:days", &format!("{seen} / {RECORDS_OF_A_DAY}"));
    add("slo:period_burn_rate:ratio", &format!("{ratio}{own} / {}", budget(definition)));
    add("slo:period_error_budget_remaining:ratio", &format!("1 - slo:period_burn_rate:ratio{own}"));
    let spent = format!("slo:period_burn_rate:ratio{own} * slo:observed:days{own} / slo:time_period:days{own}");
    add("slo:period_error_budget_spent:ratio", &spent);
    records
}

/// The record of the bad share over the whole window.
fn period_ratio(window: Window) -> String {
    match window {
        Window::Rolling { .. } => format!("slo:sli_error:ratio_rate{}", window.name()),
        Window::Month => "slo:sli_error:ratio_month".to_owned(),
    }
}

fn alerts(definition: &Definition, runbooks: &str) -> Vec<Value> {
    let budget_share = 1.0 - definition.target;
    let own = Expressions::of(definition).own();
    // Where even a total failure does not burn that fast, the alert could never fire.
    let possible = BURN_WINDOWS.iter().filter(|pair| pair.factor(definition.window) * budget_share < 1.0);
    let mut alerts: Vec<Value> = possible.map(|pair| burn_alert(definition, pair, &own)).collect();
    alerts.push(exhausted(definition, &own));
    alerts.push(burn_rate_high(definition, &own));
    for alert in &mut alerts {
        let page = format!("{runbooks}{}.md", alert["alert"].as_str().unwrap_or_default());
        alert["annotations"]["runbook_url"] = json!(page);
    }
    alerts
}

/// The budget burns too fast over both windows of `pair`. Time of which nothing is known burns nothing:
/// a long window that has only just begun must have burnt as much as a whole one.
fn burn_alert(definition: &Definition, pair: &BurnWindows, own: &str) -> Value {
    let factor = decimal(pair.factor(definition.window));
    let budget = budget(definition);
    let (long, short) = (pair.long, pair.short);
    let expression = format!(
        "slo:sli_error:ratio_rate{long}{own} * slo:observed:ratio_{long}{own} > {factor} * {budget}\n\
         and\nslo:sli_error:ratio_rate{short}{own} > {factor} * {budget}\n"
    );
    let mut labels = labels(definition, pair.pages);
    labels.insert("window".to_owned(), json!(long));
    json!({
        "alert": definition.alert,
        "expr": expression,
        "labels": labels,
        "annotations": annotations(
            definition,
            format!("{{{{ $labels.service }}}} burns its error budget of \"{}\" {factor} times too fast", definition.title),
            format!(
                "{{{{ $value | humanizePercentage }}}} of {}, and the last {short} are no better: {factor} times what the \
                 objective of {} over {} allows is {}.",
                bad_of(definition, long),
                percent(definition.target),
                definition.window.name(),
                percent(pair.factor(definition.window) * (1.0 - definition.target)),
            ),
        ),
    })
}

fn exhausted(definition: &Definition, own: &str) -> Value {
    json!({
        "alert": EXHAUSTED,
        "expr": format!("slo:period_error_budget_spent:ratio{own} > {NEARLY_SPENT}"),
        "for": "1m",
        "labels": labels(definition, true),
        "annotations": annotations(
            definition,
            format!("{{{{ $labels.service }}}} has spent its error budget of \"{}\"", definition.title),
            format!(
                "{{{{ $value | humanizePercentage }}}} of the error budget is spent (objective {} over {}); told from 90 % on.",
                percent(definition.target),
                definition.window.name(),
            ),
        ),
    })
}

fn burn_rate_high(definition: &Definition, own: &str) -> Value {
    let spent = format!("slo:period_error_budget_spent:ratio{own}");
    let cost = format!(
        "slo:sli_error:ratio_rate6h{own} * slo:observed:ratio_6h{own} / {} * {DAYS_AHEAD} / slo:time_period:days{own}",
        budget(definition)
    );
    json!({
        "alert": BURN_RATE_HIGH,
        "expr": format!("{cost}\n> 1 - {spent}\nand {spent} <= {NEARLY_SPENT}\n"),
        "for": "5m",
        "labels": labels(definition, false),
        "annotations": annotations(
            definition,
            format!(
                "{{{{ $labels.service }}}} will have spent its error budget of \"{}\" within {DAYS_AHEAD} days",
                definition.title
            ),
            format!(
                "At the pace of the last 6 hours the next {DAYS_AHEAD} days cost {{{{ $value | humanizePercentage }}}} of the \
                 error budget, more than is left (objective {} over {}).",
                percent(definition.target),
                definition.window.name(),
            ),
        ),
    })
}

fn labels(definition: &Definition, urgent: bool) -> Map<String, Value> {
    let severity = if urgent && definition.pages { "critical" } else { "warning" };
    Map::from_iter([
        ("severity".to_owned(), json!(severity)),
        ("service".to_owned(), json!("{{ $labels.service }}")),
        ("component".to_owned(), json!(definition.component)),
        ("slo".to_owned(), json!("{{ $labels.slo }}")),
    ])
}

fn annotations(definition: &Definition, summary: String, description: String) -> Value {
    json!({
        "summary": summary,
        "description": description,
        "dashboard": definition.dashboard,
    })
}

fn record(definition: &Definition, name: &str, expression: &str) -> Value {
    let mut labels = json!({ "slo": definition.name });
    if let Subject::One(service) = &definition.subject {
        labels["service"] = json!(service);
    }
    json!({ "record": name, "expr": expression, "labels": labels })
}

/// What is known of the objective of one service; there whether it has data or not.
fn information(definition: &Definition, service: &str) -> Value {
    json!({
        "record": "slo:info",
        "expr": "vector(1)",
        "labels": {
            "slo": definition.name,
            "service": service,
            "owner": definition.owner,
            "category": definition.category,
            "objective": percent(definition.target),
            "window": definition.window.name(),
        },
    })
}

fn budget(definition: &Definition) -> String {
    decimal(1.0 - definition.target)
}

fn percent(share: f64) -> String {
    format!("{}%", decimal(share * 100.0))
}

/// What was bad over `window`, behind a share.
fn bad_of(definition: &Definition, window: &str) -> String {
    match definition.indicator {
        Indicator::Events(_) => format!("all events in the last {window} were bad"),
        Indicator::Slices(_) => format!("the last {window} was bad"),
    }
}
