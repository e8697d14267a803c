//! `status`: one screen.

use super::session::Session;
use crate::checks::status::{StackStatus, stack_status};
use crate::report::table::aligned;
use console::style;

pub(super) async fn run(session: &Session<'_>) -> anyhow::Result<()> {
    let (config, bundle) = session.bundle()?;
    let status = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            let status = stack_status(&target.cluster.client, &config, &bundle).await?;
            Ok((target.cluster.context, status))
        })
        .await?;
    let (context, status) = status;
    let value = serde_json::to_value(&status)?;
    session.terminal.result("status", value, &text(&context, &status));
    Ok(())
}

fn text(context: &str, status: &StackStatus) -> String {
    let head = |names: &[&str]| names.iter().map(|name| style(name).bold().to_string()).collect::<Vec<_>>();
    let mut text = format!("Context {context}\n\n");
    let mut rows = vec![head(&["RELEASE", "CHART", "APP", "STATUS", "REVISION"])];
    rows.extend(status.releases.iter().map(|release| {
        vec![
            release.name.clone(),
            release.chart.clone(),
            release.app_version.clone(),
            release.status.clone().unwrap_or_else(|| "not installed".to_owned()),
            release.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string()),
        ]
    }));
    text.push_str(&aligned(&rows));
    let mut rows = vec![head(&["COMPONENT", "READY", "WORKLOAD"])];
    rows.extend(status.components.iter().map(|component| {
        let ready = format!("{}/{}", component.ready, component.wanted);
        let ready = if component.ready >= component.wanted && component.wanted > 0 {
            style(ready).green().to_string()
        } else {
            style(ready).red().to_string()
        };
        vec![component.title.clone(), ready, component.workload.clone()]
    }));
    text.push('\n');
    text.push_str(&aligned(&rows));
    text.push('\n');
    match (&status.alerts, &status.alerts_unknown) {
        (Some(alerts), _) if alerts.is_empty() => text.push_str("No alert fires.\n"),
        (Some(alerts), _) => {
            let mut rows = vec![head(&["ALERT", "SEVERITY", "SERVICE", "SINCE"])];
            rows.extend(alerts.iter().map(|alert| {
                let severity = match alert.severity.as_str() {
                    "critical" => style(&alert.severity).red().to_string(),
                    "warning" => style(&alert.severity).yellow().to_string(),
                    other => other.to_owned(),
                };
                vec![alert.name.clone(), severity, alert.service.clone(), alert.since.clone()]
            }));
            text.push_str(&aligned(&rows));
        }
        (None, reason) => {
            text.push_str(&format!("Firing alerts unknown: {}\n", reason.as_deref().unwrap_or("not asked")));
        }
    }
    text
}
