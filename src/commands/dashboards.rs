//! `dashboards`: what a person would see.

use super::session::Session;
use super::verify::endpoints;
use crate::checks::ranges::{RangeRequest, ranges};
use crate::cli::{DashboardsVerb, PreviewArgs};
use crate::error::{Failure, Kind};
use crate::preview::page;
use crate::promql::parse_duration;
use serde_json::json;
use std::path::PathBuf;

pub(super) async fn run(session: &Session<'_>, verb: &DashboardsVerb) -> anyhow::Result<()> {
    match verb {
        DashboardsVerb::Preview(arguments) => preview(session, arguments).await,
    }
}

async fn preview(session: &Session<'_>, arguments: &PreviewArgs) -> anyhow::Result<()> {
    let range = arguments.range.as_deref().map(parse_duration).transpose().map_err(|why| {
        Failure::new(Kind::Usage, format!("`--range`: {why}")).hint("a duration of Prometheus, such as `--range 30m`")
    })?;
    let endpoints = endpoints(&arguments.endpoints)?;
    let (config, bundle) = session.bundle().await?;
    let answered = session
        .unless_interrupted(async {
            let client = match endpoints.contains_key("prometheus") {
                true => None,
                false => Some(session.target(&config).await?.cluster.client),
            };
            let events = session.events.clone();
            ranges(RangeRequest { client, config: &config, bundle: &bundle, endpoints, range, events }).await
        })
        .await?;
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("dashboards.html"));
    let cannot = |error| Failure::new(Kind::Usage, format!("cannot write `{}`", out.display())).caused_by(error);
    std::fs::write(&out, page(&answered)).map_err(cannot)?;
    let panels: usize = answered.iter().map(|answered| answered.answers.len()).sum();
    let value = json!({ "file": out, "dashboards": answered.len(), "panels": panels });
    let text = format!("{panels} panels of {} dashboards in `{}`", answered.len(), out.display());
    session.terminal.result("dashboards-preview", value, &text);
    Ok(())
}
