//! What Prometheus answers to the queries of the dashboards, their variables filled in as when a person
//! opens them.

use super::super::facts::{Cause, DashboardFact, PanelFact, QueryFact};
use crate::config::Config;
use crate::contract::Contract;
use crate::dashboard::expand::POINTS;
use crate::dashboard::{Dashboard, Expansion, Question, is_old_enough, questions, questions_behind_constants};
use crate::promql::parse_duration;
use crate::render::Bundle;
use crate::telemetry::{HttpError, Prometheus};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many queries are under way at once.
const AT_ONCE: usize = 4;

/// Something of a dashboard that asks.
struct Asking {
    title: String,
    is_panel: bool,
    may_be_empty: bool,
    expressions: Vec<String>,
}

/// Asks everything that the expected dashboards ask.
///
/// # Errors
/// Prometheus has no usable answer at all; what it says of a single query is a fact.
pub(super) async fn panels(
    prometheus: &Prometheus,
    config: &Config,
    bundle: &Bundle,
) -> Result<BTreeMap<String, DashboardFact>, HttpError> {
    let excused = excused(config);
    let scraped = parse_duration(&config.prometheus.scrape_interval).unwrap_or(Duration::from_secs(15));
    let mut facts = BTreeMap::new();
    for expected in &bundle.expected.dashboards {
        let model = bundle.model_of(expected).unwrap_or_default();
        let fact = match Dashboard::parse(&model) {
            Ok(dashboard) => {
                let asked = stream::iter(asking(&dashboard, scraped)).map(|asking| ask(prometheus, asking, &excused));
                DashboardFact::Panels(asked.buffered(AT_ONCE).try_collect().await?)
            }
            Err(lacks) => DashboardFact::Unreadable(lacks),
        };
        facts.insert(expected.uid.clone(), fact);
    }
    Ok(facts)
}

/// The panels of `dashboard`, its variables and its marks.
fn asking(dashboard: &Dashboard, scraped: Duration) -> Vec<Asking> {
    let expansion = Expansion::new(dashboard, dashboard.range(), scraped, POINTS);
    let panels = dashboard.asking().map(|panel| Asking {
        title: panel.title.clone(),
        is_panel: true,
        may_be_empty: panel.may_be_empty(),
        expressions: panel.targets.iter().map(|target| expansion.query(target)).collect(),
    });
    let variables = dashboard.variables().iter().filter_map(|variable| {
        let (series, label) = variable.label_values()?;
        Some(Asking {
            title: format!("variable `{}`", variable.name),
            is_panel: false,
            may_be_empty: false,
            expressions: vec![format!("group by ({label}) ({})", expansion.text(series))],
        })
    });
    let marks = dashboard.annotations().map(|(name, expression)| Asking {
        title: format!("marks `{name}`"),
        is_panel: false,
        may_be_empty: true,
        expressions: vec![expansion.text(expression)],
    });
    panels.chain(variables).chain(marks).collect()
}

/// The metrics that may be missing while all is well: those that come with an event, and those of programs that need
/// not be there.
fn excused(config: &Config) -> BTreeSet<String> {
    // The embedded files, which their own tests read.
    let (Ok(platform), Ok(programs)) = (Contract::embedded(), Contract::programs()) else { return BTreeSet::new() };
    let may_be_away = |key: &str| config.verify.may_be_unknown.iter().any(|listed| listed == key);
    let here = config.enabled_components().filter(|component| !may_be_away(component.key));
    let here: BTreeSet<&str> =
        here.flat_map(|component| programs.metrics_of(component.key)).map(|metric| metric.name.as_str()).collect();
    let away = config.verify.may_be_unknown.iter().flat_map(|key| programs.metrics_of(key));
    let away = away.filter(|metric| !here.contains(metric.name.as_str()));
    let on_event = [&platform, &programs].into_iter().flat_map(|contract| contract.exporters.values().flatten());
    let on_event = on_event.filter(|metric| metric.on_event);
    away.chain(on_event).map(|metric| metric.name.clone()).collect()
}

async fn ask(prometheus: &Prometheus, asking: Asking, excused: &BTreeSet<String>) -> Result<PanelFact, HttpError> {
    let Asking { title, is_panel, may_be_empty, expressions } = asking;
    let mut queries = Vec::new();
    for expression in expressions {
        queries.push(match prometheus.query(&expression).await {
            Ok(samples) => match samples.iter().filter(|sample| !sample.value.is_nan()).count() {
                0 if may_be_empty => QueryFact::Data(0),
                0 => QueryFact::Empty(cause(prometheus, &expression, !samples.is_empty()).await?),
                numbers if may_be_empty => QueryFact::Data(numbers),
                numbers => match behind_constants(prometheus, &expression, excused).await? {
                    Some(cause) => QueryFact::Constant(cause),
                    None => QueryFact::Data(numbers),
                },
            },
            Err(no @ HttpError::Status { .. }) => QueryFact::Refused(no.to_string()),
            Err(error) => return Err(error),
        });
    }
    Ok(PanelFact { title, is_panel, may_be_empty, queries })
}

/// Why `expression` has no number; `answered` with samples that are none.
async fn cause(prometheus: &Prometheus, expression: &str, answered: bool) -> Result<Cause, HttpError> {
    // What cannot be read here was read by Prometheus.
    for question in questions(expression).unwrap_or_default() {
        if is_unanswered(prometheus, &question.expression).await? {
            let young = matches!(question.cause, Cause::NeverSeen { .. })
                && is_unanswered(prometheus, &is_old_enough()).await?;
            return Ok(if young { question.cause.while_young() } else { question.cause });
        }
    }
    Ok(if answered { Cause::NoTraffic } else { Cause::FilteredOut })
}

/// Which metric is missing, that is not `excused`, behind a constant in `expression`.
async fn behind_constants(
    prometheus: &Prometheus,
    expression: &str,
    excused: &BTreeSet<String>,
) -> Result<Option<Cause>, HttpError> {
    for Question { expression, cause } in questions_behind_constants(expression).unwrap_or_default() {
        let is_excused = cause.metric().is_some_and(|metric| excused.contains(metric));
        if !is_excused && is_unanswered(prometheus, &expression).await? {
            return Ok(Some(cause));
        }
    }
    Ok(None)
}

/// Whether Prometheus has no answer to a question about a query; one that it refuses tells nothing.
async fn is_unanswered(prometheus: &Prometheus, expression: &str) -> Result<bool, HttpError> {
    match prometheus.query(expression).await {
        Ok(samples) => Ok(samples.is_empty()),
        Err(HttpError::Status { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
