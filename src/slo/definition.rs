//! What a definition of an objective says, read from its file and judged.

use super::indicator::{Events, Indicator, Operator, Slices};
use super::window::{TimeWindow, Window};
use crate::contract::{Contract, Metric, MetricType};
use crate::promql::{self, Expr, Selector};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One service level objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Label `slo` of everything recorded for it.
    pub name: String,
    /// Name for people.
    pub(super) title: String,
    /// What it is about: `application`, `learning`, `infrastructure` and the like.
    pub(super) category: String,
    /// Label `component` of its alerts.
    pub(super) component: String,
    /// Who answers for it.
    pub(super) owner: String,
    /// Whose objective it is.
    pub(super) subject: Subject,
    /// What is measured.
    pub(super) indicator: Indicator,
    /// Share of events or of time that must be good; more than 0, less than 1.
    pub(super) target: f64,
    /// Over which time the budget is counted.
    pub(super) window: Window,
    /// Name of the alerts on its burn rate.
    pub(super) alert: String,
    /// Whether fast burning calls a person at once.
    pub(super) pages: bool,
    /// URL of the dashboard that the alerts point to.
    pub(super) dashboard: String,
}

/// The strictest target: 26 seconds in a month.
const HIGHEST_TARGET: f64 = 0.99999;

/// Whose objective it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Subject {
    /// One service, whose series need no label `service`.
    One(String),
    /// Each of several, told apart by the label `service` of their series.
    Each(Vec<String>),
}

impl Subject {
    /// The services.
    pub(super) fn services(&self) -> &[String] {
        match self {
            Subject::One(service) => std::slice::from_ref(service),
            Subject::Each(services) => services,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DefinitionFile {
    api_version: String,
    kind: String,
    metadata: MetadataFile,
    spec: SpecFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetadataFile {
    name: String,
    display_name: String,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpecFile {
    /// For readers of the file.
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    services: Option<Vec<String>>,
    indicator: IndicatorFile,
    time_window: Vec<TimeWindow>,
    budgeting_method: BudgetingMethod,
    objectives: Vec<ObjectiveFile>,
    alerting: AlertingFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
enum BudgetingMethod {
    Occurrences,
    Timeslices,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IndicatorFile {
    #[serde(default, rename = "metadata")]
    _metadata: BTreeMap<String, Value>,
    spec: IndicatorSpecFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum IndicatorSpecFile {
    #[serde(rename = "ratioMetric")]
    Ratio(RatioFile),
    #[serde(rename = "histogramMetric")]
    Histogram(SourceFile),
    #[serde(rename = "thresholdMetric")]
    Threshold(ThresholdFile),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RatioFile {
    counter: bool,
    #[serde(default)]
    good: Option<SourceFile>,
    #[serde(default)]
    bad: Option<SourceFile>,
    #[serde(default)]
    total: Option<SourceFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ThresholdFile {
    metric_source: MetricSourceFile,
    #[serde(default)]
    when_vanished: WhenVanished,
}

/// What a slice is worth in which the value is gone, though it was there before.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WhenVanished {
    #[default]
    Unknown,
    Bad,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SourceFile {
    metric_source: MetricSourceFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetricSourceFile {
    #[serde(rename = "type")]
    kind: String,
    spec: QueryFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryFile {
    query: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ObjectiveFile {
    #[serde(default, rename = "displayName")]
    _display_name: String,
    target: f64,
    #[serde(default)]
    op: Option<Operator>,
    #[serde(default)]
    value: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AlertingFile {
    name: String,
    pages: bool,
    dashboard: String,
}

/// Reads and judges a definition.
///
/// # Errors
/// Everything that is wrong with it, each problem with the path of its key.
pub fn read(document: Value, contract: &Contract) -> Result<Definition, Vec<String>> {
    let file: DefinitionFile = serde_json::from_value(document).map_err(|error| vec![error.to_string()])?;
    let mut problems = Vec::new();
    let DefinitionFile { api_version, kind, metadata, spec } = file;
    if api_version != "openslo/v1" || kind != "SLO" {
        problems.push(format!("`{api_version}` `{kind}` is not `openslo/v1` `SLO`"));
    }
    if !is_name(&metadata.name) {
        problems.push(format!(
            "`metadata.name`: `{}` is not made of lower case letters, digits and hyphens",
            metadata.name
        ));
    }
    let mut label = |name: &str| {
        let value = metadata.labels.get(name).filter(|value| !value.is_empty());
        value.cloned().unwrap_or_else(|| {
            problems.push(format!("`metadata.labels.{name}` is missing or empty"));
            String::new()
        })
    };
    let (category, component, owner) = (label("category"), label("component"), label("owner"));
    let subject = subject(spec.service, spec.services).unwrap_or_else(|problem| {
        problems.push(problem);
        Subject::Each(Vec::new())
    });
    let window = match spec.time_window.as_slice() {
        [window] => Window::read(window).map_err(|problem| format!("`spec.timeWindow`: {problem}")),
        several => Err(format!("`spec.timeWindow`: exactly one is needed, found {}", several.len())),
    };
    let objective = match spec.objectives.as_slice() {
        [objective] => Ok(objective),
        several => Err(vec![format!("`spec.objectives`: exactly one is needed, found {}", several.len())]),
    };
    let found = objective.and_then(|objective| {
        if !(objective.target > 0.0 && objective.target <= HIGHEST_TARGET) {
            return Err(vec![format!(
                "`spec.objectives[0].target`: `{}` is no share between 0 and {HIGHEST_TARGET}, such as 0.999",
                objective.target
            )]);
        }
        let indicator = indicator(spec.indicator.spec, objective, contract)?;
        let fitting = match indicator {
            Indicator::Events(_) => BudgetingMethod::Occurrences,
            Indicator::Slices(_) => BudgetingMethod::Timeslices,
        };
        if spec.budgeting_method != fitting {
            let word = if fitting == BudgetingMethod::Occurrences { "Occurrences" } else { "Timeslices" };
            return Err(vec![format!("`spec.budgetingMethod`: this indicator is counted by `{word}`")]);
        }
        Ok((indicator, objective.target))
    });
    match (window, found) {
        (Ok(window), Ok((indicator, target))) if problems.is_empty() => Ok(Definition {
            name: metadata.name,
            title: metadata.display_name,
            category,
            component,
            owner,
            subject,
            indicator,
            target,
            window,
            alert: spec.alerting.name,
            pages: spec.alerting.pages,
            dashboard: spec.alerting.dashboard,
        }),
        (window, found) => {
            problems.extend(window.err());
            problems.extend(found.err().into_iter().flatten());
            Err(problems)
        }
    }
}

/// Fit for a label, a file and an object of Kubernetes.
fn is_name(name: &str) -> bool {
    let fine = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(fine) && !name.starts_with('-') && !name.ends_with('-')
}

fn subject(service: Option<String>, services: Option<Vec<String>>) -> Result<Subject, String> {
    match (service, services) {
        (Some(service), None) if is_name(&service) => Ok(Subject::One(service)),
        (None, Some(services)) if !services.is_empty() && services.iter().all(|name| is_name(name)) => {
            Ok(Subject::Each(services))
        }
        _ => Err("exactly one of `spec.service` and `spec.services` is needed, of names in lower case".to_owned()),
    }
}

fn indicator(
    written: IndicatorSpecFile,
    objective: &ObjectiveFile,
    contract: &Contract,
) -> Result<Indicator, Vec<String>> {
    let one = |problem: String| vec![problem];
    match (written, objective.op, objective.value) {
        (IndicatorSpecFile::Ratio(ratio), None, None) => ratio_of(ratio),
        (IndicatorSpecFile::Histogram(source), Some(Operator::AtMost), Some(bound)) => {
            let place = "spec.indicator.spec.histogramMetric";
            let selector = selector(place, &source.metric_source).map_err(one)?;
            histogram(place, &selector, bound, contract).map_err(one)
        }
        (IndicatorSpecFile::Threshold(threshold), Some(operator), Some(value)) => {
            let query = query("spec.indicator.spec.thresholdMetric", &threshold.metric_source).map_err(one)?;
            let vanished_is_bad = threshold.when_vanished == WhenVanished::Bad;
            Ok(Indicator::Slices(Slices { query, operator, threshold: value, vanished_is_bad }))
        }
        (IndicatorSpecFile::Ratio(_), _, _) => {
            Err(one("`spec.objectives[0]`: `op` and `value` say nothing about a ratio".to_owned()))
        }
        (IndicatorSpecFile::Histogram(_), _, _) => {
            Err(one("`spec.objectives[0]`: a histogram needs `op: lte` and the bound as `value`".to_owned()))
        }
        (IndicatorSpecFile::Threshold(_), _, _) => {
            Err(one("`spec.objectives[0]`: a threshold needs `op` and `value`".to_owned()))
        }
    }
}

fn ratio_of(ratio: RatioFile) -> Result<Indicator, Vec<String>> {
    let place = "spec.indicator.spec.ratioMetric";
    if !ratio.counter {
        return Err(vec![format!("`{place}.counter`: only ratios of counters are supported")]);
    }
    let mut problems = Vec::new();
    let mut read = |part: &str, source: Option<SourceFile>| {
        let source = source?;
        let read = selector(&format!("{place}.{part}"), &source.metric_source);
        read.map(|selector| selector.to_string()).map_err(|problem| problems.push(problem)).ok()
    };
    let parts = (read("good", ratio.good), read("bad", ratio.bad), read("total", ratio.total));
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Indicator::Events(match parts {
        (None, Some(bad), Some(total)) => Events::BadOfTotal { bad, total },
        (Some(good), None, Some(total)) => Events::GoodOfTotal { good, total },
        (Some(good), Some(bad), None) => Events::GoodAndBad { good, bad },
        _ => return Err(vec![format!("`{place}`: exactly two of `good`, `bad` and `total` are needed")]),
    }))
}

/// The events at or under `bound` are the good ones: a bucket of the histogram counts them.
fn histogram(place: &str, selector: &Selector, bound: f64, contract: &Contract) -> Result<Indicator, String> {
    let name = selector.metric.as_deref().unwrap_or_default();
    let metrics = contract.exporters.values().flatten();
    let metric =
        metrics.filter(|metric| metric.metric_type == MetricType::Histogram).find(|metric| metric.name == name);
    let metric = metric.ok_or_else(|| format!("`{place}`: `{name}` is no histogram of the metrics contract"))?;
    if !metric.buckets.contains(&bound) {
        return Err(format!(
            "`spec.objectives[0].value`: `{bound}` is no bucket bound of `{name}`: what lies between two bounds \
             cannot be told apart; the nearest are {}",
            nearest_bounds(metric, bound)
        ));
    }
    let mut good = selector.clone();
    good.metric = Some(format!("{name}_bucket"));
    let mut total = selector.clone();
    total.metric = Some(format!("{name}_count"));
    let good = with_matcher(&good.to_string(), &bucket_matcher(bound));
    Ok(Indicator::Events(Events::GoodOfTotal { good, total: total.to_string() }))
}

/// Prometheus writes whole bounds with a decimal place, unlike most programs that expose them.
fn bucket_matcher(bound: f64) -> String {
    if bound.fract() == 0.0 { format!(r#"le=~"{bound}|{bound}\\.0""#) } else { format!(r#"le="{bound}""#) }
}

/// `selector` with one more matcher.
fn with_matcher(selector: &str, matcher: &str) -> String {
    match selector.strip_suffix('}') {
        Some(start) => format!("{start},{matcher}}}"),
        None => format!("{selector}{{{matcher}}}"),
    }
}

fn nearest_bounds(metric: &Metric, bound: f64) -> String {
    let below = metric.buckets.iter().rev().find(|candidate| **candidate < bound);
    let above = metric.buckets.iter().find(|candidate| **candidate > bound);
    below.into_iter().chain(above).map(|bound| format!("`{bound}`")).collect::<Vec<_>>().join(" and ")
}

fn query(place: &str, source: &MetricSourceFile) -> Result<String, String> {
    if source.kind != "Prometheus" {
        return Err(format!("`{place}.metricSource.type`: `{}` is not `Prometheus`", source.kind));
    }
    let query = source.spec.query.trim();
    promql::parse(query).map_err(|error| format!("`{place}.metricSource.spec.query`: {error}"))?;
    Ok(query.to_owned())
}

/// The selector of counters that `source` names: rates and windows are the generator's.
fn selector(place: &str, source: &MetricSourceFile) -> Result<Selector, String> {
    let text = query(place, source)?;
    let wrong = || format!("`{place}.metricSource.spec.query`: must be one selector by name, without rate or window");
    let expression = promql::parse(&text)?;
    let plain = matches!(&expression, Expr::VectorSelector(selector)
        if selector.offset.is_none() && selector.at.is_none() && selector.matchers.or_matchers.is_empty());
    let found = promql::selectors(&expression).into_iter().next();
    found.filter(|selector| plain && selector.metric.is_some()).ok_or_else(wrong)
}
