//! `plan`: what a deploy would change.

use super::session::{Session, Target};
use crate::cluster::observe;
use crate::config::{Config, Profile};
use crate::error::Kind;
use crate::event::{Event, Stage};
use crate::plan::{Action, Plan, plan};
use crate::render::Bundle;
use crate::report::table::aligned;
use console::style;
use serde_json::json;

/// Shows the plan; 2 when `detailed_exitcode` and there are changes.
pub(super) async fn run(session: &Session<'_>, detailed_exitcode: bool) -> anyhow::Result<u8> {
    let (config, bundle) = session.bundle().await?;
    let (target, plan) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            let plan = make(session, &target, &bundle).await?;
            Ok((target, plan))
        })
        .await?;
    let value = json!({
        "context": target.cluster.context,
        "profile": config.profile,
        "steps": plan.steps.iter().map(|step| json!({
            "id": step.id, "action": step.action, "reason": step.reason, "needs": step.needs, "changes": step.changes,
        })).collect::<Vec<_>>(),
        "unchanged": plan.unchanged,
        "summary": plan.summary(),
    });
    session.terminal.result("plan", value, &text(&plan, &config, &target));
    Ok(if detailed_exitcode && !plan.is_empty() { Kind::ChangesPending.exit_code() } else { 0 })
}

/// Observes the cluster and plans.
pub(super) async fn make(session: &Session<'_>, target: &Target, bundle: &Bundle) -> anyhow::Result<Plan> {
    session.events.emit(Event::StageStarted { stage: Stage::Observe });
    let observed = observe(&target.cluster, bundle).await?;
    session.events.emit(Event::StageFinished { stage: Stage::Observe, summary: String::new() });
    Ok(plan(bundle, &observed))
}

/// The plan for people.
pub(super) fn text(plan: &Plan, config: &Config, target: &Target) -> String {
    let profile = match config.profile {
        Profile::Local => "local",
        Profile::Production => "production",
    };
    let mut text = format!("Plan for context `{}`, profile {profile}:\n", target.cluster.context);
    let rows: Vec<Vec<String>> = plan
        .steps
        .iter()
        .map(|step| {
            let (sign, reason) = (sign(step.action), step.reason.to_string());
            let detail = match step.changes.as_slice() {
                [one] if !one.starts_with('~') && !one.starts_with('+') && !one.starts_with('-') => one.clone(),
                _ => String::new(),
            };
            vec![format!("  {sign} {}", step.id), reason, style(detail).dim().to_string()]
        })
        .collect();
    // Changes of several lines stand below their step, so the table is cut there.
    for (row, step) in aligned(&rows).lines().zip(&plan.steps) {
        text.push_str(row);
        text.push('\n');
        if step.changes.len() > 1 || step.changes.first().is_some_and(|change| change.starts_with(['~', '+', '-'])) {
            for change in &step.changes {
                text.push_str(&format!("      {change}\n"));
            }
        }
    }
    if plan.is_empty() {
        text.push_str("  nothing to do\n");
    }
    text.push_str(&format!("{}.\n", plan.summary()));
    text
}

fn sign(action: Action) -> String {
    match action {
        Action::Create => style("+").green().to_string(),
        Action::Update => style("~").yellow().to_string(),
        Action::Delete => style("-").red().to_string(),
    }
}
