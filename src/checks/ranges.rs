//! What Prometheus answers to the dashboards over a range of time: the same questions as `dashboards/<uid>`
//! asks, to be drawn instead of judged.

use super::gather::prometheus;
use super::reach::Reach;
use crate::config::Config;
use crate::dashboard::answer::{Answer, Answered, Series};
use crate::dashboard::{Dashboard, Expansion, Target};
use crate::error::{Failure, Kind};
use crate::event::Events;
use crate::promql::parse_duration;
use crate::render::Bundle;
use crate::telemetry::{HttpError, Prometheus};
use anyhow::Result;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::Client;
use reqwest::Url;
use std::collections::BTreeMap;
use std::time::Duration;

/// Points that a panel is drawn with.
const POINTS: u32 = 240;
/// How many panels are asked at once.
const AT_ONCE: usize = 4;

/// What is asked, and of whom.
pub struct RangeRequest<'a> {
    /// The cluster, unless `endpoints` names Prometheus.
    pub client: Option<Client>,
    /// The configuration.
    pub config: &'a Config,
    /// The dashboards.
    pub bundle: &'a Bundle,
    /// URLs of programs by component key.
    pub endpoints: BTreeMap<String, Url>,
    /// How far back; as far as each dashboard looks where it is not given.
    pub range: Option<Duration>,
    /// Where warnings go.
    pub events: Events,
}

/// Asks every panel of every dashboard.
///
/// # Errors
/// [`Kind::CouldNotAsk`] where Prometheus does not answer; what it refuses is an answer.
pub async fn ranges(request: RangeRequest<'_>) -> Result<Vec<Answered>> {
    let RangeRequest { client, config, bundle, endpoints, range, events } = request;
    let reach = Reach::new(client, config, endpoints, &events);
    let scraped = parse_duration(&config.prometheus.scrape_interval).unwrap_or(Duration::from_secs(15));
    let dashboards = bundle.expected.dashboards.iter().map(|expected| {
        let model = bundle.model_of(expected).unwrap_or_default();
        Dashboard::parse(&model)
            .map_err(|lacks| Failure::new(Kind::Usage, format!("`{}` is no dashboard: {lacks}", expected.title)).into())
    });
    let dashboards = dashboards.collect::<Result<Vec<Dashboard>>>()?;
    let answered = prometheus(&reach, async |prometheus| {
        let end = prometheus.now().await?.as_second() as f64;
        let mut all = Vec::new();
        for dashboard in dashboards {
            let back = range.unwrap_or(dashboard.range());
            let expansion = Expansion::new(&dashboard, back, scraped, POINTS);
            let span = (end - back.as_secs_f64(), end);
            let asked = stream::iter(dashboard.asking()).map(|panel| async {
                let mut answers = Vec::new();
                for target in &panel.targets {
                    answers.push(ask(&prometheus, &expansion, target, span).await?);
                }
                Ok::<_, HttpError>((panel.id, answers))
            });
            let answers = asked.buffered(AT_ONCE).try_collect().await?;
            all.push(Answered { start: span.0, end, answers, dashboard });
        }
        Ok(all)
    })
    .await;
    reach.close().await;
    answered.map_err(|why| Failure::new(Kind::CouldNotAsk, format!("cannot ask `prometheus`: {}", why.reason)).into())
}

async fn ask(
    prometheus: &Prometheus,
    expansion: &Expansion,
    target: &Target,
    (start, end): (f64, f64),
) -> Result<Answer, HttpError> {
    let query = expansion.query(target);
    let answer = if target.instant {
        let samples = prometheus.query(&query).await;
        samples.map(|samples| {
            let point = |sample: crate::telemetry::prometheus::Sample| Series {
                points: vec![(sample.time, sample.value)],
                labels: sample.labels,
            };
            samples.into_iter().map(point).collect()
        })
    } else {
        let step = expansion.step(target).as_secs_f64();
        let lines = prometheus.query_range(&query, start, end, step).await;
        lines.map(|lines| lines.into_iter().map(|line| Series { labels: line.labels, points: line.points }).collect())
    };
    match answer {
        Ok(series) => Ok(Ok(series)),
        Err(no @ HttpError::Status { .. }) => Ok(Err(no.to_string())),
        Err(error) => Err(error),
    }
}
