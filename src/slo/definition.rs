//! What a definition of an objective says, read from its file and judged.

use super::indicator::{Events, Indicator, Operator, Slices};
use super::problem::{Problem, ProblemKind};
use super::window::{TimeWindow, Window};
use crate::config::document::Document;
use crate::config::schema;
use crate::contract::{Contract, Metric, MetricType};
use crate::promql::{self, Expr, Selector};
use schemars::JsonSchema;
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
    /// What it asks Prometheus for.
    pub queries: Vec<Query>,
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

/// One query of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its key, such as `spec.indicator.spec.thresholdMetric.metricSource.spec.query`.
    pub path: String,
    /// The expression that it becomes: the rate of a counter over the shortest window, or the value, for each service.
    pub expression: String,
}

impl Definition {
    /// Over which time the budget is counted.
    pub fn window(&self) -> Window {
        self.window
    }
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

    /// What the generator asks for with the `selector` of counters at `place`.
    fn rate(&self, place: &str, selector: &str) -> Query {
        self.query(place, "sum", &format!("rate({selector}[5m])"))
    }

    /// What it asks for with the expression `value`.
    fn value(&self, place: &str, value: &str) -> Query {
        // The expression may end with a comment.
        self.query(place, "group", &format!("\n{value}\n"))
    }

    fn query(&self, place: &str, operator: &str, inner: &str) -> Query {
        let by = if matches!(self, Subject::Each(_)) { " by (service)" } else { "" };
        Query { path: query_of(place), expression: format!("{operator}{by} ({inner})") }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DefinitionFile {
    api_version: String,
    kind: String,
    metadata: MetadataFile,
    spec: SpecFile,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetadataFile {
    name: String,
    display_name: String,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SpecFile {
    /// For readers of the file.
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default)]
    #[schemars(with = "String")]
    service: Option<String>,
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    services: Option<Vec<String>>,
    indicator: IndicatorFile,
    time_window: Vec<TimeWindow>,
    budgeting_method: BudgetingMethod,
    objectives: Vec<ObjectiveFile>,
    alerting: AlertingFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
enum BudgetingMethod {
    Occurrences,
    Timeslices,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IndicatorFile {
    #[serde(default, rename = "metadata")]
    _metadata: BTreeMap<String, Value>,
    #[schemars(with = "IndicatorSpecForm")]
    spec: IndicatorSpecFile,
}

/// The keys of [`IndicatorSpecFile`], so that each problem below them is told, and not that none of them fits.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code)]
struct IndicatorSpecForm {
    #[schemars(default, with = "RatioFile")]
    ratio_metric: Option<RatioFile>,
    #[schemars(default, with = "SourceFile")]
    histogram_metric: Option<SourceFile>,
    #[schemars(default, with = "ThresholdFile")]
    threshold_metric: Option<ThresholdFile>,
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

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RatioFile {
    counter: bool,
    #[serde(default)]
    #[schemars(with = "SourceFile")]
    good: Option<SourceFile>,
    #[serde(default)]
    #[schemars(with = "SourceFile")]
    bad: Option<SourceFile>,
    #[serde(default)]
    #[schemars(with = "SourceFile")]
    total: Option<SourceFile>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ThresholdFile {
    metric_source: MetricSourceFile,
    #[serde(default)]
    when_vanished: WhenVanished,
}

/// What a slice is worth in which the value is gone, though it was there before.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum WhenVanished {
    #[default]
    Unknown,
    Bad,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SourceFile {
    metric_source: MetricSourceFile,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetricSourceFile {
    #[serde(rename = "type")]
    kind: String,
    spec: QueryFile,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QueryFile {
    query: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ObjectiveFile {
    #[serde(default, rename = "displayName")]
    _display_name: String,
    target: f64,
    #[serde(default)]
    #[schemars(with = "Operator")]
    op: Option<Operator>,
    #[serde(default)]
    #[schemars(with = "f64")]
    value: Option<f64>,
}

#[derive(Deserialize, JsonSchema)]
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
pub fn read(document: Value, contract: &Contract) -> Result<Definition, Vec<Problem>> {
    let file: DefinitionFile =
        serde_path_to_error::deserialize(&document).map_err(|error| unreadable(&document, &error))?;
    let mut problems = Vec::new();
    let DefinitionFile { api_version, kind, metadata, spec } = file;
    if api_version != "openslo/v1" || kind != "SLO" {
        let message = format!("`{api_version}` `{kind}` is not `openslo/v1` `SLO`");
        problems.push(Problem::new(if kind == "SLO" { "apiVersion" } else { "kind" }, message));
    }
    if !is_name(&metadata.name) {
        let message = format!("`{}` is not made of lower case letters, digits and hyphens", metadata.name);
        problems.push(Problem::new("metadata.name", message));
    }
    let identifier = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let alert = &spec.alerting.name;
    if alert.is_empty() || !alert.chars().all(identifier) || alert.starts_with(|first: char| first.is_ascii_digit()) {
        let message =
            format!("`{alert}` is no name of an alert: letters, digits and underscores, such as `CheckoutBreach`");
        problems.push(Problem::new("spec.alerting.name", message));
    }
    // It becomes a part of annotations, which Prometheus reads as templates.
    if metadata.display_name.contains("{{") {
        problems.push(Problem::new("metadata.displayName", "`{{` would begin a template"));
    }
    let mut label = |name: &str| {
        let value = metadata.labels.get(name).filter(|value| !value.is_empty());
        value.cloned().unwrap_or_else(|| {
            problems.push(Problem::new(format!("metadata.labels.{name}"), "missing or empty"));
            String::new()
        })
    };
    let (category, component, owner) = (label("category"), label("component"), label("owner"));
    let subject = subject(spec.service, spec.services).unwrap_or_else(|problem| {
        problems.push(problem);
        Subject::Each(Vec::new())
    });
    let window = match spec.time_window.as_slice() {
        [window] => Window::read(window),
        several => Err(format!("exactly one is needed, found {}", several.len())),
    };
    let window = window.map_err(|message| Problem::new("spec.timeWindow", message).of(ProblemKind::Window));
    let objective = match spec.objectives.as_slice() {
        [objective] => Ok(objective),
        several => {
            let message = format!("exactly one is needed, found {}", several.len());
            Err(vec![Problem::new("spec.objectives", message)])
        }
    };
    let found = objective.and_then(|objective| {
        if !(objective.target > 0.0 && objective.target <= HIGHEST_TARGET) {
            let message = format!("`{}` is no share between 0 and {HIGHEST_TARGET}, such as 0.999", objective.target);
            return Err(vec![Problem::new(format!("{OBJECTIVE}.target"), message).of(ProblemKind::Target)]);
        }
        let (indicator, queries) = indicator(spec.indicator.spec, objective, &subject, contract)?;
        let fitting = match indicator {
            Indicator::Events(_) => BudgetingMethod::Occurrences,
            Indicator::Slices(_) => BudgetingMethod::Timeslices,
        };
        if spec.budgeting_method != fitting {
            let word = if fitting == BudgetingMethod::Occurrences { "Occurrences" } else { "Timeslices" };
            let message = format!("this indicator is counted by `{word}`");
            return Err(vec![Problem::new("spec.budgetingMethod", message)]);
        }
        Ok((indicator, queries, objective.target))
    });
    match (window, found) {
        (Ok(window), Ok((indicator, queries, target))) if problems.is_empty() => Ok(Definition {
            name: metadata.name,
            title: metadata.display_name,
            category,
            component,
            owner,
            subject,
            indicator,
            queries,
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

/// Every key that cannot be read; `error` names the first.
fn unreadable(document: &Value, error: &serde_path_to_error::Error<serde_json::Error>) -> Vec<Problem> {
    let schema = schemars::schema_for!(DefinitionFile).to_value();
    let found = schema::judge(&schema, &Document::synthetic("", document.clone()));
    let problems: Vec<Problem> = found.into_iter().map(|problem| Problem::new(problem.path, problem.message)).collect();
    if problems.is_empty() { vec![Problem::unreadable(error)] } else { problems }
}

/// The one objective of a definition.
const OBJECTIVE: &str = "spec.objectives[0]";

/// Fit for a label, a file and an object of Kubernetes.
fn is_name(name: &str) -> bool {
    let fine = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(fine) && !name.starts_with('-') && !name.ends_with('-')
}

fn subject(service: Option<String>, services: Option<Vec<String>>) -> Result<Subject, Problem> {
    match (service, services) {
        (Some(service), None) if is_name(&service) => Ok(Subject::One(service)),
        (None, Some(services)) if !services.is_empty() && services.iter().all(|name| is_name(name)) => {
            Ok(Subject::Each(services))
        }
        _ => Err(Problem::new("spec", "exactly one of `service` and `services` is needed, of names in lower case")),
    }
}

/// What is measured, and the queries that it is measured by.
fn indicator(
    written: IndicatorSpecFile,
    objective: &ObjectiveFile,
    subject: &Subject,
    contract: &Contract,
) -> Result<(Indicator, Vec<Query>), Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let misplaced = |message: &str| Err(vec![Problem::new(OBJECTIVE, message)]);
    match (written, objective.op, objective.value) {
        (IndicatorSpecFile::Ratio(ratio), None, None) => ratio_of(ratio, subject),
        (IndicatorSpecFile::Histogram(source), Some(Operator::AtMost), Some(bound)) => {
            let place = "spec.indicator.spec.histogramMetric";
            let selector = selector(place, &source.metric_source).map_err(one)?;
            let (good, total) = histogram(place, &selector, bound, contract).map_err(one)?;
            let queries = vec![subject.rate(place, &total)];
            Ok((Indicator::Events(Events::GoodOfTotal { good, total }), queries))
        }
        (IndicatorSpecFile::Threshold(threshold), Some(operator), Some(value)) => {
            let place = "spec.indicator.spec.thresholdMetric";
            let query = query(place, &threshold.metric_source).map_err(one)?;
            let vanished_is_bad = threshold.when_vanished == WhenVanished::Bad;
            let queries = vec![subject.value(place, &query)];
            Ok((Indicator::Slices(Slices { query, operator, threshold: value, vanished_is_bad }), queries))
        }
        (IndicatorSpecFile::Ratio(_), _, _) => misplaced("`op` and `value` say nothing about a ratio"),
        (IndicatorSpecFile::Histogram(_), _, _) => misplaced("a histogram needs `op: lte` and the bound as `value`"),
        (IndicatorSpecFile::Threshold(_), _, _) => misplaced("a threshold needs `op` and `value`"),
    }
}

fn ratio_of(ratio: RatioFile, subject: &Subject) -> Result<(Indicator, Vec<Query>), Vec<Problem>> {
    let place = "spec.indicator.spec.ratioMetric";
    if !ratio.counter {
        return Err(vec![Problem::new(format!("{place}.counter"), "only ratios of counters are supported")]);
    }
    let (mut problems, mut queries) = (Vec::new(), Vec::new());
    let mut read = |part: &str, source: Option<SourceFile>| {
        let place = format!("{place}.{part}");
        let read = selector(&place, &source?.metric_source).map(|selector| selector.to_string());
        let selector = read.map_err(|problem| problems.push(problem)).ok()?;
        queries.push(subject.rate(&place, &selector));
        Some(selector)
    };
    let parts = (read("good", ratio.good), read("bad", ratio.bad), read("total", ratio.total));
    if !problems.is_empty() {
        return Err(problems);
    }
    let events = match parts {
        (None, Some(bad), Some(total)) => Events::BadOfTotal { bad, total },
        (Some(good), None, Some(total)) => Events::GoodOfTotal { good, total },
        (Some(good), Some(bad), None) => Events::GoodAndBad { good, bad },
        _ => return Err(vec![Problem::new(place, "exactly two of `good`, `bad` and `total` are needed")]),
    };
    Ok((Indicator::Events(events), queries))
}

/// Counters of the events at or under `bound`, which are the good ones, and of all events.
fn histogram(place: &str, selector: &Selector, bound: f64, contract: &Contract) -> Result<(String, String), Problem> {
    let name = selector.metric.as_deref().unwrap_or_default();
    let metrics = contract.exporters.values().flatten();
    let metric =
        metrics.filter(|metric| metric.metric_type == MetricType::Histogram).find(|metric| metric.name == name);
    let metric = metric
        .ok_or_else(|| Problem::new(query_of(place), format!("`{name}` is no histogram of the metrics contract")))?;
    if !metric.buckets.contains(&bound) {
        let message = format!(
            "`{bound}` is no bucket bound of `{name}`: what lies between two bounds cannot be told apart; \
             the nearest are {}",
            nearest_bounds(metric, bound)
        );
        return Err(Problem::new(format!("{OBJECTIVE}.value"), message).of(ProblemKind::OffBucket));
    }
    let mut good = selector.clone();
    good.metric = Some(format!("{name}_bucket"));
    let mut total = selector.clone();
    total.metric = Some(format!("{name}_count"));
    Ok((with_matcher(&good.to_string(), &bucket_matcher(bound)), total.to_string()))
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

/// The path of the query of the source at `place`.
fn query_of(place: &str) -> String {
    format!("{place}.metricSource.spec.query")
}

fn query(place: &str, source: &MetricSourceFile) -> Result<String, Problem> {
    if source.kind != "Prometheus" {
        let message = format!("`{}` is not `Prometheus`", source.kind);
        return Err(Problem::new(format!("{place}.metricSource.type"), message));
    }
    let query = source.spec.query.trim();
    promql::parse(query).map_err(|error| Problem::new(query_of(place), error))?;
    Ok(query.to_owned())
}

/// The selector of counters that `source` names: rates and windows are the generator's.
fn selector(place: &str, source: &MetricSourceFile) -> Result<Selector, Problem> {
    let text = query(place, source)?;
    let wrong = || Problem::new(query_of(place), "must be one selector by name, without rate or window");
    let expression = promql::parse(&text).map_err(|error| Problem::new(query_of(place), error))?;
    let plain = matches!(&expression, Expr::VectorSelector(selector)
        if selector.offset.is_none() && selector.at.is_none() && selector.matchers.or_matchers.is_empty());
    let found = promql::selectors(&expression).into_iter().next();
    found.filter(|selector| plain && selector.metric.is_some()).ok_or_else(wrong)
}
