//! `status`: one screen.

use super::history;
use super::session::Session;
use crate::checks::status::{Asked, ComponentStatus, FiringAlerts, ReleaseStatus, Status, StatusRequest, status};
use crate::cluster::records::heads;
use crate::error::chain_of;
use crate::record::Head;
use crate::report::table::aligned;
use console::style;
use std::collections::BTreeMap;

pub(super) async fn run(session: &Session<'_>) -> anyhow::Result<()> {
    let (config, bundle) = session.bundle().await?;
    let (context, seen, last) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            let request = StatusRequest {
                client: Some(target.cluster.client.clone()),
                config: &config,
                bundle: &bundle,
                endpoints: BTreeMap::new(),
                events: session.events.clone(),
            };
            let (seen, heads) = tokio::join!(status(request), heads(&target.cluster, &config.namespaces.monitoring));
            let last = match heads {
                Ok(mut heads) => Asked::Known(heads.pop()),
                Err(error) => Asked::Unknown(chain_of(&error).join(": ")),
            };
            Ok((target.cluster.context, seen, last))
        })
        .await?;
    let mut value = serde_json::to_value(&seen)?;
    value["lastDeploy"] = serde_json::to_value(&last)?;
    session.terminal.result("status", value, &text(&context, &seen, &last));
    Ok(())
}

fn text(context: &str, status: &Status, last: &Asked<Option<Head>>) -> String {
    format!(
        "Context {context}\n{}\n{}\n{}\n{}",
        asked(last, "last deploy", |last| last_text(last.as_ref())),
        asked(&status.releases, "releases", |releases| releases_text(releases)),
        asked(&status.components, "components", |components| components_text(components)),
        asked(&status.alerts, "firing alerts", alerts_text),
    )
}

fn asked<T>(asked: &Asked<T>, what: &str, show: impl Fn(&T) -> String) -> String {
    match asked {
        Asked::Known(value) => show(value),
        Asked::Unknown(reason) => format!("{what} unknown: {reason}\n"),
    }
}

/// The last deploy in one line, such as `Last deploy 7: deploy of 2026-11-26 04:29:59Z by alice@workstation, verified`.
fn last_text(last: Option<&Head>) -> String {
    match last {
        Some(head) => format!("Last deploy {}: {}\n", head.number, history::line(head)),
        None => "Last deploy: none is recorded\n".to_owned(),
    }
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| style(name).bold().to_string()).collect()
}

fn releases_text(releases: &[ReleaseStatus]) -> String {
    let mut rows = vec![head(&["RELEASE", "CHART", "APP", "STATUS", "REVISION", ""])];
    rows.extend(releases.iter().map(|release| {
        let revision = release.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string());
        vec![
            release.name.clone(),
            release.chart_version.clone(),
            release.app_version.clone(),
            release.status.clone(),
            revision,
            if release.differs { "made from another chart; see `plan`".to_owned() } else { String::new() },
        ]
    }));
    aligned(&rows)
}

fn components_text(components: &[ComponentStatus]) -> String {
    let mut rows = vec![head(&["COMPONENT", "READY", ""])];
    rows.extend(components.iter().map(|component| {
        if !component.enabled {
            return vec![component.title.to_owned(), style("off").dim().to_string(), String::new()];
        }
        let ready = format!("{}/{}", component.ready, component.wanted);
        let ready = if component.problem.is_none() { style(ready).green() } else { style(ready).red() };
        vec![component.title.to_owned(), ready.to_string(), component.problem.clone().unwrap_or_default()]
    }));
    aligned(&rows)
}

fn alerts_text(alerts: &FiringAlerts) -> String {
    // The Watchdog always fires: that it does is what `verify` asks about.
    let firing: Vec<(&String, _)> = alerts
        .by_severity
        .iter()
        .flat_map(|(severity, list)| list.iter().map(move |alert| (severity, alert)))
        .filter(|(severity, _)| *severity != "none")
        .collect();
    if firing.is_empty() {
        return format!("{}\n", style("No alert fires.").green());
    }
    let mut rows = vec![head(&["FIRING", "SEVERITY", "SERVICE", "SUMMARY"])];
    rows.extend(firing.iter().map(|(severity, alert)| {
        let severity = match severity.as_str() {
            "critical" => style(severity).red().to_string(),
            "warning" => style(severity).yellow().to_string(),
            other => other.to_owned(),
        };
        let service = alert.labels.get("service").cloned().unwrap_or_default();
        vec![alert.name.clone(), severity, service, alert.summary.clone()]
    }));
    aligned(&rows)
}
