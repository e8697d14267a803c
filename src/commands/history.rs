//! `history`: the deploys before.

use super::session::Session;
use crate::cluster::records::heads;
use crate::record::{ChangedRelease, Head, Outcome};
use crate::report::table::aligned;
use console::style;
use serde_json::json;

pub(super) async fn run(session: &Session<'_>) -> anyhow::Result<()> {
    let config = session.config()?;
    let (context, heads) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            let heads = heads(&target.cluster, &config.namespaces.monitoring).await?;
            Ok((target.cluster.context, heads))
        })
        .await?;
    let value = json!({ "context": context, "records": heads });
    session.terminal.result("history", value, &text(&heads));
    Ok(())
}

fn text(heads: &[Head]) -> String {
    if heads.is_empty() {
        return "no deploy is recorded here\n".to_owned();
    }
    let titles = ["NUMBER", "STARTED", "WHO", "WHAT", "OUTCOME", "RELEASES", "SUMMARY"];
    let mut rows = vec![titles.map(|title| style(title).bold().to_string()).to_vec()];
    rows.extend(heads.iter().rev().map(|head| {
        let releases: Vec<String> = head.releases.iter().map(changed).collect();
        vec![
            head.number.to_string(),
            head.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            head.who().to_owned(),
            head.trigger.to_string(),
            outcome(head),
            if releases.is_empty() { "-".to_owned() } else { releases.join(", ") },
            summary(head),
        ]
    }));
    let mut lines = aligned(&rows);
    for head in heads.iter().rev() {
        if let Outcome::Failed { why } = &head.outcome {
            lines.push_str(&format!("\n{} failed: {why}\n", head.number));
        }
        lines.extend(head.reversal.as_ref().map(|reversal| format!("  {reversal}\n")));
    }
    lines
}

/// A deploy in one line: `deploy of 2026-11-26 04:29:59Z by alice@workstation, verified`.
pub(super) fn line(head: &Head) -> String {
    let started = head.started.strftime("%Y-%m-%d %H:%M:%SZ");
    format!("{} of {started} by {}, {}", head.trigger, head.who(), outcome(head))
}

/// How a deploy ended, in a word.
fn outcome(head: &Head) -> String {
    let word = head.outcome.word();
    match head.outcome {
        Outcome::Verified => style(word).green(),
        Outcome::Failed { .. } | Outcome::Interrupted => style(word).red(),
        Outcome::Running | Outcome::Applied => style(word).yellow(),
    }
    .to_string()
}

/// The plan in one line, with the releases that it was limited to.
fn summary(head: &Head) -> String {
    if head.limited_to.is_empty() {
        return head.summary.clone();
    }
    let only: Vec<&str> = head.limited_to.iter().map(String::as_str).collect();
    format!("{} (only {})", head.summary, only.join(", "))
}

/// A release that changed: `loki 6.0.0 -> 6.1.0`, `loki 6.0.0 (values)`, `loki 6.0.0 (new)`, `loki (gone)`.
fn changed(release: &ChangedRelease) -> String {
    match (&release.from, &release.to) {
        (Some(from), Some(to)) if from != to => format!("{} {from} -> {to}", release.name),
        (_, Some(to)) => format!("{} {to} ({})", release.name, release.reason),
        (_, None) => format!("{} (gone)", release.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_of_a_release_is_told_in_a_few_words() {
        let told = |from: Option<&str>, to: Option<&str>| {
            let version = |text: Option<&str>| text.map(str::to_owned);
            changed(&ChangedRelease {
                name: "loki".to_owned(),
                reason: "values".to_owned(),
                from: version(from),
                to: version(to),
            })
        };
        assert_eq!(told(Some("1"), Some("2")), "loki 1 -> 2");
        assert_eq!(told(Some("1"), Some("1")), "loki 1 (values)");
        assert_eq!(told(Some("1"), None), "loki (gone)");
    }
}
