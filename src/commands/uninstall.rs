//! `uninstall`: take the stack away, keep what holds data.

use super::locked;
use super::session::{Session, Target};
use crate::cli::UninstallArgs;
use crate::cluster::preflight::may_remove;
use crate::cluster::records::past;
use crate::cluster::uninstall::{UninstallContext, UninstallPlan, survey, uninstall};
use crate::config::Config;
use crate::error::{Failure, Kind};
use crate::event::{Event, Stage};
use crate::object::ObjectRef;
use crate::render::Bundle;
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub(super) async fn run(session: &Session<'_>, arguments: &UninstallArgs) -> anyhow::Result<()> {
    let (config, bundle) = session.bundle().await?;
    let (target, mut plan) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            let plan = look(&target, &config, &bundle, arguments).await?;
            Ok((target, plan))
        })
        .await?;
    let value =
        |plan: &UninstallPlan, done: bool| json!({ "context": target.cluster.context, "removed": done, "plan": plan });
    if plan.removes.is_empty() {
        session.terminal.result(
            "uninstall",
            value(&plan, false),
            &format!("nothing of ours is there\n{}", kept(&plan)),
        );
        return Ok(());
    }
    ask_rights(session, &target, &plan).await?;
    session.terminal.say(&text(&plan));
    let question = format!("Remove this from context `{}`?", target.cluster.context);
    session.confirm(&target, arguments.yes, &question, "drivemaster-mon uninstall").await?;
    let namespace = &config.namespaces.monitoring;
    // The lock stands in it; without it, there is nothing that another deploy could be at work on.
    let monitoring = ObjectRef::cluster_scoped("v1", "Namespace", namespace);
    session.events.emit(Event::StageStarted { stage: Stage::Uninstall });
    if plan.mentions(&monitoring) {
        let lock = locked::take(session, &target, namespace, arguments.wait_lock).await?;
        let now = session.unless_interrupted(look(&target, &config, &bundle, arguments)).await;
        let work = async {
            let now = now?;
            if arguments.yes {
                // Nobody agreed to anything: what goes is what is there now.
                if now != plan {
                    ask_rights(session, &target, &now).await?;
                }
                plan = now;
            } else {
                unmoved(&target, &plan, &now)?;
            }
            let (under_lock, last) = plan.clone().split_at(&monitoring);
            remove(session, &target, &under_lock, lock.lost()).await?;
            // It may be lost in the last step, which ended well; what follows would hit another's deploy.
            if !last.removes.is_empty() && lock.lost().is_cancelled() {
                let stopped = Failure::new(Kind::Interrupted, "stopped before the namespaces were removed");
                return Err(stopped.hint("run it again: what is gone stays gone").into());
            }
            Ok(last)
        };
        let work = work.await;
        // With its namespace the lock goes; it is held until then, and its loss ends nothing any more.
        let gone = match &work {
            Ok(last) => remove(session, &target, last, session.cancel.clone()).await,
            Err(_) => Ok(()),
        };
        locked::give_back(session, lock, work).await?;
        gone?;
    } else {
        remove(session, &target, &plan, session.cancel.clone()).await?;
    }
    let value = value(&plan, true);
    session.terminal.result("uninstall", value, &format!("removed.\n{}", kept(&plan)));
    Ok(())
}

/// What goes and what stays, as the cluster is now.
async fn look(
    target: &Target,
    config: &Config,
    bundle: &Bundle,
    arguments: &UninstallArgs,
) -> anyhow::Result<UninstallPlan> {
    let past = past(&target.cluster, &config.namespaces.monitoring).await?;
    survey(&target.cluster, bundle, &past.effect.inventory, arguments.all).await
}

/// Refuses what may not be taken away, before anything is.
async fn ask_rights(session: &Session<'_>, target: &Target, plan: &UninstallPlan) -> anyhow::Result<()> {
    let helm = session.helm(target)?;
    for message in session.unless_interrupted(may_remove(&target.cluster, &helm, plan)).await? {
        session.events.emit(Event::Note { message });
    }
    Ok(())
}

/// Whether `shown` still holds now that nobody else deploys.
fn unmoved(target: &Target, shown: &UninstallPlan, now: &UninstallPlan) -> anyhow::Result<()> {
    if now == shown {
        return Ok(());
    }
    let message = format!("context `{}` changed since this was shown; nothing was removed", target.cluster.context);
    Err(Failure::new(Kind::Refused, message).hint("run it again to see what would go now").into())
}

async fn remove(
    session: &Session<'_>,
    target: &Target,
    plan: &UninstallPlan,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    if plan.removes.is_empty() {
        return Ok(());
    }
    let helm = session.helm(target)?;
    let context = UninstallContext {
        cluster: target.cluster.clone(),
        helm,
        events: session.events.clone(),
        cancel,
        cut_off: session.cut_off.clone(),
    };
    uninstall(plan, context).await
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
