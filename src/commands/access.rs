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
    session.terminal.result("access", value, &text(&rows, password.as_deref(), &session.sandbox_option()));
    Ok(())
}

/// The table for people. `option` is what a suggested command needs to mean the same cluster.
pub(super) fn text(rows: &[AccessRow], password: Option<&str>, option: &str) -> String {
    let has_ingress = rows.iter().any(|row| row.ingress.is_some());
    let mut heads = vec!["", "IN THE CLUSTER", "PORT-FORWARD"];
    if has_ingress {
        heads.push("INGRESS");
    }
    let mut table: Vec<Vec<String>> = vec![heads.iter().map(|head| style(head).bold().to_string()).collect()];
    table.extend(rows.iter().map(|row| {
        vec![
            row.title.to_owned(),
            row.in_cluster.clone(),
            row.forward.clone().unwrap_or_else(|| "-".to_owned()),
            row.ingress.clone().unwrap_or_default(),
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
                None => format!("`drivemaster-mon access{option} --show-secrets` prints the password"),
            };
            text.push_str(&format!("  {}: user admin, Secret {secret}; {shown}\n", row.title));
        }
    }
    text
}
