//! What Prometheus answers to the queries of the dashboards, their variables filled in as when a person
//! opens them.

use super::super::facts::{Cause, DashboardFact, PanelFact, QueryFact};
use crate::config::Config;
use crate::dashboard::expand::POINTS;
use crate::dashboard::{Dashboard, Expansion, Question, is_old_enough, questions, questions_behind_constants};
use crate::promql::parse_duration;
use crate::render::Bundle;
use crate::telemetry::{HttpError, Prometheus};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeMap;
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
    let scraped = parse_duration(&config.prometheus.scrape_interval).unwrap_or(Duration::from_secs(15));
    let mut facts = BTreeMap::new();
    for expected in &bundle.expected.dashboards {
        let model = bundle.model_of(expected).unwrap_or_default();
        let fact = match Dashboard::parse(&model) {
            Ok(dashboard) => {
                let asked = stream::iter(asking(&dashboard, scraped)).map(|asking| ask(prometheus, asking));
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

async fn ask(prometheus: &Prometheus, asking: Asking) -> Result<PanelFact, HttpError> {
    let Asking { title, is_panel, may_be_empty, expressions } = asking;
    let mut queries = Vec::new();
    for expression in expressions {
        queries.push(match prometheus.query(&expression).await {
            Ok(samples) => match samples.iter().filter(|sample| !sample.value.is_nan()).count() {
                0 if may_be_empty => QueryFact::Data(0),
                0 => QueryFact::Empty(cause(prometheus, &expression, !samples.is_empty()).await?),
                numbers if may_be_empty => QueryFact::Data(numbers),
                numbers => match unanswered(prometheus, questions_behind_constants(&expression)).await? {
                    Some(cause @ Cause::NeverSeen { .. }) => QueryFact::Constant(cause),
                    _ => QueryFact::Data(numbers),
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
    let unanswered = unanswered(prometheus, questions(expression)).await?;
    Ok(unanswered.unwrap_or(if answered { Cause::NoTraffic } else { Cause::FilteredOut }))
}

/// The cause of the first of `questions` that has no answer. What cannot be read here was read by Prometheus.
async fn unanswered(
    prometheus: &Prometheus,
    questions: Result<Vec<Question>, String>,
) -> Result<Option<Cause>, HttpError> {
    for question in questions.unwrap_or_default() {
        if prometheus.query(&question.expression).await?.is_empty() {
            let young = matches!(question.cause, Cause::NeverSeen { .. })
                && prometheus.query(&is_old_enough()).await?.is_empty();
            return Ok(Some(if young { question.cause.while_young() } else { question.cause }));
        }
    }
    Ok(None)
}
