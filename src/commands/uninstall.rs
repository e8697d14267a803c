//! `uninstall`: take the stack away, keep what holds data.

use super::session::Session;
use crate::cli::UninstallArgs;
use crate::cluster::uninstall::{UninstallContext, UninstallPlan, survey, uninstall};
use crate::event::{Event, Stage};
use serde_json::json;

pub(super) async fn run(session: &Session<'_>, arguments: &UninstallArgs) -> anyhow::Result<()> {
    let (config, bundle) = session.bundle().await?;
    let (target, plan) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            let plan = survey(&target.cluster, &bundle, arguments.all).await?;
            Ok((target, plan))
        })
        .await?;
    let value = |done: bool| json!({ "context": target.cluster.context, "removed": done, "plan": plan });
    if plan.removes.is_empty() {
        session.terminal.result("uninstall", value(false), &format!("nothing of ours is there\n{}", kept(&plan)));
        return Ok(());
    }
    session.terminal.say(&text(&plan));
    let question = format!("Remove this from context `{}`?", target.cluster.context);
    session.confirm(&target, arguments.yes, &question, "drivemaster-mon uninstall").await?;
    let helm = session.helm(&target)?;
    session.events.emit(Event::StageStarted { stage: Stage::Uninstall });
    let context = UninstallContext {
        cluster: target.cluster.clone(),
        helm,
        events: session.events.clone(),
        cancel: session.cancel.clone(),
    };
    uninstall(&plan, context).await?;
    session.terminal.result("uninstall", value(true), &format!("removed.\n{}", kept(&plan)));
    Ok(())
}

fn text(plan: &UninstallPlan) -> String {
    let mut text = String::from("Removes:\n");
    for item in &plan.removes {
        text.push_str(&format!("  - {item}\n"));
    }
    text.push_str(&kept(plan));
    text
}

fn kept(plan: &UninstallPlan) -> String {
    if plan.keeps.is_empty() {
        return String::new();
    }
    let mut text = String::from("Keeps:\n");
    for (object, command) in &plan.keeps {
        text.push_str(&format!("  {object}\n      {command}\n"));
    }
    text
}
