//! `deploy`: plan, ask, lock, plan again, apply, wait, verify.

use super::session::{Session, Target};
use super::{locked, plan as plan_command, verify as verify_command};
use crate::access::access_rows;
use crate::checks::Report;
use crate::cli::DeployArgs;
use crate::cluster::apply::{Applied, ApplyContext, apply};
use crate::cluster::observe::identity;
use crate::cluster::preflight::preflight;
use crate::config::Config;
use crate::error::{Failure, Kind};
use crate::event::{Event, Stage};
use crate::object::ObjectRef;
use crate::plan::{ClusterIdentity, Frozen, Plan, moved};
use crate::render::Bundle;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) async fn run(session: &Session<'_>, arguments: &DeployArgs) -> anyhow::Result<()> {
    let frozen = arguments.plan.as_deref().map(|file| frozen(session, file)).transpose()?;
    let (config, bundle, shown) = match frozen {
        Some((frozen, config)) => (config, frozen.bundle, Some((frozen.cluster, frozen.steps))),
        None => {
            let (config, bundle) = session.bundle().await?;
            (config, bundle, None)
        }
    };
    let (target, plan) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            if let Some((made_for, _)) = &shown {
                same_cluster(made_for, &identity(&target.cluster).await?)?;
            }
            let plan = plan_command::make(session, &target, &bundle).await?;
            Ok((target, plan))
        })
        .await?;
    if let Some((_, steps)) = &shown {
        unmoved(moved(steps, &plan, &BTreeSet::new()))?;
    }

    let (applied, report) = if plan.is_empty() {
        let message = format!("nothing to change in context `{}` ({})", target.cluster.context, plan.summary());
        session.events.emit(Event::Note { message });
        (None, judged(session, arguments, &config, &bundle, &target, "nothing was changed").await?)
    } else {
        session.terminal.say(&plan_command::text(&plan, &config, &target));
        let question = format!("Apply this plan to context `{}`?", target.cluster.context);
        session.confirm(&target, arguments.yes, &question, "drivemaster-mon deploy").await?;
        // What a person has agreed to, or froze, is carried out exactly.
        let is_agreed = shown.is_some() || !(arguments.yes || target.throwaway);
        let run = Run { session, arguments, config: &config, bundle: &bundle, target: &target, is_agreed };
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

/// The plan of `file`. What else would say what to deploy is refused beside it.
fn frozen(session: &Session<'_>, file: &Path) -> anyhow::Result<(Frozen, Config)> {
    let global = &session.global;
    let given = [
        ("-f", !global.files.is_empty()),
        ("--set", !global.sets.is_empty()),
        ("--profile", global.profile.is_some()),
        ("--overlay", global.overlay.is_some()),
        ("--charts", global.charts.is_some()),
        ("--charts-lock", global.charts_lock.is_some()),
        ("--namespace", global.namespace.is_some()),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
        let message = format!("`{option}` cannot be used with `--plan`: the plan holds its own configuration");
        return Err(Failure::new(Kind::Usage, message)
            .hint(format!("leave `{option}` out, or make a new plan"))
            .into());
    }
    plan_command::read(file)
}

fn same_cluster(made_for: &ClusterIdentity, here: &ClusterIdentity) -> anyhow::Result<()> {
    if made_for.uid == here.uid {
        return Ok(());
    }
    let message = format!(
        "the plan was made for another cluster (context `{}`) than that of context `{}`; nothing was changed",
        made_for.context, here.context
    );
    Err(Failure::new(Kind::Refused, message).hint("`--context NAME` chooses the cluster").into())
}

/// Refuses when anything moved.
fn unmoved(moved: Vec<String>) -> anyhow::Result<()> {
    if moved.is_empty() {
        return Ok(());
    }
    let message = format!("the cluster is not as the plan saw it:\n  {}", moved.join("\n  "));
    Err(Failure::new(Kind::Refused, message).hint("drivemaster-mon plan shows what would change now").into())
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
    /// Whether somebody has seen the plan, and agreed to it alone.
    is_agreed: bool,
}

impl Run<'_> {
    /// Carries out `shown` under the lock, and verifies.
    async fn change(&self, shown: &Plan) -> anyhow::Result<(Applied, Option<Report>)> {
        let Run { session, arguments, config, bundle, target, .. } = self;
        self.preflight(shown).await?;
        let deadline = Instant::now() + Duration::from_secs(arguments.timeout.unwrap_or(config.deploy.timeout_seconds));
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

    /// The plan as the cluster is now that nobody else deploys.
    async fn again(&self, shown: &Plan, applied: &Applied) -> anyhow::Result<Plan> {
        let planned = plan_command::make(self.session, self.target, self.bundle);
        let plan = self.session.unless_interrupted(planned).await?;
        let done: BTreeSet<String> = applied.done.iter().map(|done| done.id.clone()).collect();
        let moved = moved(&shown.outlines(), &plan, &done);
        if moved.is_empty() {
            return Ok(plan);
        }
        if self.is_agreed {
            unmoved(moved)?;
        }
        let message = format!("the cluster changed while the lock was waited for: now {}", plan.summary());
        self.session.events.emit(Event::Note { message });
        self.preflight(&plan).await?;
        Ok(plan)
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
