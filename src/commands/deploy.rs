//! `deploy`: plan, ask, apply, wait, verify.

use super::session::{Session, Target};
use super::{plan as plan_command, verify as verify_command};
use crate::access::access_rows;
use crate::cli::DeployArgs;
use crate::cluster::apply::{Applied, ApplyContext, apply};
use crate::cluster::preflight::preflight;
use crate::config::Config;
use crate::event::{Event, Stage};
use crate::plan::Plan;
use crate::render::Bundle;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

pub(super) async fn run(session: &Session<'_>, arguments: &DeployArgs) -> anyhow::Result<()> {
    let (config, bundle) = session.bundle().await?;
    let (target, plan) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            let plan = plan_command::make(session, &target, &bundle).await?;
            Ok((target, plan))
        })
        .await?;

    let applied = if plan.is_empty() {
        let message = format!("nothing to change in context `{}` ({})", target.cluster.context, plan.summary());
        session.events.emit(Event::Note { message });
        None
    } else {
        session.terminal.say(&plan_command::text(&plan, &config, &target));
        let question = format!("Apply this plan to context `{}`?", target.cluster.context);
        session.confirm(&target, arguments.yes, &question, "drivemaster-mon deploy").await?;
        Some(change(session, arguments, &config, &bundle, &target, &plan).await?)
    };

    let report = if arguments.no_verify {
        None
    } else {
        let choice = verify_command::Choice::default();
        let judged = verify_command::judge(session, &config, &bundle, &target, &choice);
        let stands = if applied.is_some() { "the plan is applied but not verified" } else { "nothing was changed" };
        Some(session.or_interrupted(judged, stands).await?)
    };
    let verdict = report.as_ref().map_or(Ok(()), verify_command::verdict);
    let rows = access_rows(&config);
    let value = json!({
        "context": target.cluster.context,
        "changed": applied.is_some(),
        "summary": plan.summary(),
        "applied": applied.as_ref().map(|applied| &applied.done),
        "checks": report.as_ref().map(|report| &report.results),
        "summaryOfChecks": report.as_ref().map(|report| &report.summary),
        "access": rows,
    });
    let mut text = String::new();
    if let Some(report) = &report {
        text.push_str(&verify_command::text(report));
    }
    if verdict.is_ok() {
        text.push('\n');
        text.push_str(&super::access::text(&rows, None, &session.sandbox_option()));
        text.push_str(&format!("\nOpen them: drivemaster-mon port-forward{}\n", session.sandbox_option()));
    }
    session.terminal.result("deploy", value, &text);
    verdict
}

async fn change(
    session: &Session<'_>,
    arguments: &DeployArgs,
    config: &Config,
    bundle: &Bundle,
    target: &Target,
    plan: &Plan,
) -> anyhow::Result<Applied> {
    let helm = session.helm(target)?;
    session.events.emit(Event::StageStarted { stage: Stage::Preflight });
    let skipped = session.unless_interrupted(preflight(&target.cluster, &helm, bundle, plan, config)).await?;
    skipped.into_iter().for_each(|message| session.events.emit(Event::Note { message }));
    session.events.emit(Event::StageFinished {
        stage: Stage::Preflight,
        summary: "cluster, permissions, Secrets, storage, room and helm are fit".to_owned(),
    });
    let timeout = Duration::from_secs(arguments.timeout.unwrap_or(config.deploy.timeout_seconds));
    let context = ApplyContext {
        cluster: target.cluster.clone(),
        helm,
        events: session.events.clone(),
        deadline: Instant::now() + timeout,
        fail_after: Duration::from_secs(arguments.fail_after.unwrap_or(config.deploy.fail_after_seconds)),
        concurrency: config.deploy.concurrency,
        cancel: session.cancel.clone(),
    };
    session.events.emit(Event::StageStarted { stage: Stage::Apply });
    let applied = apply(plan, context).await?;
    session
        .events
        .emit(Event::StageFinished { stage: Stage::Apply, summary: format!("{} steps done", applied.done.len()) });
    Ok(applied)
}
