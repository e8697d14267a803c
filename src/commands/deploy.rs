//! `deploy`: plan, ask, lock, plan again, apply, wait, verify.

use super::session::{Session, Target};
use super::{locked, plan as plan_command, verify as verify_command};
use crate::access::access_rows;
use crate::cli::DeployArgs;
use crate::cluster::apply::{Applied, ApplyContext, apply};
use crate::cluster::preflight::preflight;
use crate::checks::Report;
use crate::config::Config;
use crate::error::{Failure, Kind};
use crate::event::{Event, Stage};
use crate::object::ObjectRef;
use crate::plan::Plan;
use crate::render::Bundle;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) async fn run(session: &Session<'_>, arguments: &DeployArgs) -> anyhow::Result<()> {
    let (config, bundle) = session.bundle().await?;
    let (target, plan) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            let plan = plan_command::make(session, &target, &bundle).await?;
            Ok((target, plan))
        })
        .await?;

    let (applied, report) = if plan.is_empty() {
        let message = format!("nothing to change in context `{}` ({})", target.cluster.context, plan.summary());
        session.events.emit(Event::Note { message });
        (None, judged(session, arguments, &config, &bundle, &target, "nothing was changed").await?)
    } else {
        session.terminal.say(&plan_command::text(&plan, &config, &target));
        let question = format!("Apply this plan to context `{}`?", target.cluster.context);
        session.confirm(&target, arguments.yes, &question, "drivemaster-mon deploy").await?;
        let run = Run { session, arguments, config: &config, bundle: &bundle, target: &target };
        let (applied, report) = run.change(&plan).await?;
        (Some(applied), report)
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

/// Verifies, unless it is not wanted.
async fn judged(
    session: &Session<'_>,
    arguments: &DeployArgs,
    config: &Config,
    bundle: &Bundle,
    target: &Target,
    stands: &str,
) -> anyhow::Result<Option<Report>> {
    if arguments.no_verify {
        return Ok(None);
    }
    let choice = verify_command::Choice::default();
    let judged = verify_command::judge(session, config, bundle, target, &choice);
    session.or_interrupted(judged, stands).await.map(Some)
}

/// One change of one cluster.
struct Run<'r> {
    session: &'r Session<'r>,
    arguments: &'r DeployArgs,
    config: &'r Config,
    bundle: &'r Bundle,
    target: &'r Target,
}

impl Run<'_> {
    /// Carries out `shown` under the lock, and verifies.
    async fn change(&self, shown: &Plan) -> anyhow::Result<(Applied, Option<Report>)> {
        let Run { session, arguments, config, bundle, target } = self;
        self.preflight(shown).await?;
        let deadline = Instant::now()
            + Duration::from_secs(arguments.timeout.unwrap_or(config.deploy.timeout_seconds));
        session.events.emit(Event::StageStarted { stage: Stage::Apply });
        let namespace = &config.namespaces.monitoring;
        // The lock stands in it.
        let first = BTreeSet::from([ObjectRef::cluster_scoped("v1", "Namespace", namespace).to_string()]);
        let mut applied = self.apply(&shown.only(&first), deadline, session.cancel.clone()).await?;
        let lock = locked::take(session, target, namespace, arguments.wait_lock).await?;
        let work = async {
            let plan = self.again(shown, &applied).await?;
            applied.done.extend(self.apply(&plan, deadline, lock.lost()).await?.done);
            let summary = format!("{} steps done", applied.done.len());
            session.events.emit(Event::StageFinished { stage: Stage::Apply, summary });
            let stands = "the plan is applied but not verified";
            let report = judged(session, arguments, config, bundle, target, stands).await?;
            Ok((applied, report))
        };
        let work = work.await;
        locked::give_back(session, lock, work).await
    }

    async fn preflight(&self, plan: &Plan) -> anyhow::Result<()> {
        let Run { session, config, bundle, target, .. } = self;
        let helm = session.helm(target)?;
        session.events.emit(Event::StageStarted { stage: Stage::Preflight });
        let skipped = session.unless_interrupted(preflight(&target.cluster, &helm, bundle, plan, config)).await?;
        skipped.into_iter().for_each(|message| session.events.emit(Event::Note { message }));
        session.events.emit(Event::StageFinished {
            stage: Stage::Preflight,
            summary: "cluster, permissions, Secrets, storage, room and helm are fit".to_owned(),
        });
        Ok(())
    }

    /// The plan as the cluster is now that nobody else deploys: still the one that was `shown`.
    async fn again(&self, shown: &Plan, applied: &Applied) -> anyhow::Result<Plan> {
        let planned = plan_command::make(self.session, self.target, self.bundle);
        let plan = self.session.unless_interrupted(planned).await?;
        let done: BTreeSet<String> = applied.done.iter().map(|done| done.id.clone()).collect();
        let moved = shown.moved(&plan, &done);
        if moved.is_empty() {
            return Ok(plan);
        }
        let message = format!("the cluster is not as the plan saw it:\n  {}", moved.join("\n  "));
        Err(Failure::new(Kind::Refused, message).hint("drivemaster-mon plan shows what would change now").into())
    }

    async fn apply(&self, plan: &Plan, deadline: Instant, cancel: CancellationToken) -> anyhow::Result<Applied> {
        if plan.is_empty() {
            return Ok(Applied::default());
        }
        let Run { session, arguments, config, target, .. } = self;
        let context = ApplyContext {
            cluster: target.cluster.clone(),
            helm: session.helm(target)?,
            events: session.events.clone(),
            deadline,
            fail_after: Duration::from_secs(arguments.fail_after.unwrap_or(config.deploy.fail_after_seconds)),
            concurrency: config.deploy.concurrency,
            cancel,
        };
        apply(plan, context).await
    }
}
