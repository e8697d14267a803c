//! `access`: where each interface is reached.

use super::session::Session;
use crate::access::{AccessRow, access_rows};
use crate::cluster::secret_value;
use crate::report::table::aligned;
use console::style;
use serde_json::json;

pub(super) async fn run(session: &Session<'_>, show_secrets: bool) -> anyhow::Result<()> {
    let config = session.config()?;
    let rows = access_rows(&config);
    let password = if show_secrets && config.grafana.enabled {
        let shown = session
            .unless_interrupted(async {
                let target = session.target(&config).await?;
                secret_value(
                    &target.cluster.client,
                    &config.namespaces.monitoring,
                    &config.grafana.admin_secret,
                    "admin-password",
                )
                .await
            })
            .await?;
        Some(shown)
    } else {
        None
    };
    let value = json!({ "access": rows, "grafanaPassword": password });
    session.terminal.result("access", value, &text(&rows, password.as_deref()));
    Ok(())
}

/// The table for people.
pub(super) fn text(rows: &[AccessRow], password: Option<&str>) -> String {
    let mut table = vec![
        ["", "IN THE CLUSTER", "PORT-FORWARD", "INGRESS"].iter().map(|head| style(head).bold().to_string()).collect(),
    ];
    table.extend(rows.iter().map(|row| {
        vec![
            row.title.to_owned(),
            row.in_cluster.clone(),
            row.forward.clone().unwrap_or_else(|| "-".to_owned()),
            row.ingress.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    let mut text = String::from("Access:\n");
    for line in aligned(&table).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    for row in rows {
        if let Some(secret) = &row.credentials_secret {
            let shown = match password {
                Some(password) => format!("password {password}"),
                None => "`drivemaster-mon access --show-secrets` prints the password".to_owned(),
            };
            text.push_str(&format!("  {}: user admin, Secret {secret}; {shown}\n", row.title));
        }
    }
    text
}
