//! `deploy`: plan, ask, lock, plan again, apply, wait, verify.

use super::change::{Change, Changed, unmoved};
use super::session::{Session, Target};
use super::{plan as plan_command, verify as verify_command};
use crate::access::access_rows;
use crate::cli::DeployArgs;
use crate::cluster::observe::identity;
use crate::config::Config;
use crate::error::{Failure, Kind};
use crate::event::Event;
use crate::plan::{ClusterIdentity, Frozen, limit, moved};
use crate::record::Trigger;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

pub(super) async fn run(session: &Session<'_>, arguments: &DeployArgs) -> anyhow::Result<()> {
    let frozen = arguments.plan.as_deref().map(|file| frozen(session, file)).transpose()?;
    let (config, bundle, lock, limit, shown) = match frozen {
        Some((frozen, config)) => {
            let shown = Some((frozen.cluster, frozen.steps));
            (config, frozen.bundle, frozen.lock, frozen.limited_to, shown)
        }
        None => {
            let (config, bundle) = session.bundle().await?;
            let limit = limit(&bundle, &arguments.limit.only, &arguments.limit.skip)?;
            (config, bundle, session.lock()?.0, limit, None)
        }
    };
    let (target, mut planned) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            if let Some((made_for, _)) = &shown {
                same_cluster(made_for, &identity(&target.cluster).await?)?;
            }
            let mut planned = plan_command::make(session, &target, &config, &bundle, limit.as_ref()).await?;
            if session.terminal.speaks() {
                planned.detail(session, &target, &bundle).await?;
            }
            Ok((target, planned))
        })
        .await?;
    if let Some((_, steps)) = &shown {
        unmoved(moved(steps, &planned.plan, &BTreeSet::new()))?;
    }
    let change = Change {
        session,
        options: &arguments.change,
        config: &config,
        bundle: &bundle,
        target: &target,
        trigger: Trigger::Deploy,
        on_failure: arguments.on_failure,
        intent: planned.book(&config, &bundle, &lock)?,
        // What a person has agreed to, or froze, is carried out exactly.
        is_agreed: shown.is_some() || !(arguments.change.yes || target.throwaway),
        limit: limit.as_ref(),
    };
    let plan = &planned.plan;
    let changed = if plan.is_empty() {
        let message = format!("nothing to change in context `{}` ({})", target.cluster.context, plan.summary());
        session.events.emit(Event::Note { message });
        let report = change.judged("nothing was changed").await?;
        Changed { report, ..Changed::default() }
    } else {
        session.terminal.say(&plan_command::text(plan, &config, &target));
        let question = format!("Apply this plan to context `{}`?", target.cluster.context);
        session.confirm(&target, arguments.change.yes, &question, "drivemaster-mon deploy").await?;
        change.make(plan).await?
    };
    tell(session, "deploy", &config, &target, &plan.summary(), &changed)
}

/// Tells what came of a change, as the result of `verb`.
///
/// # Errors
/// When a check failed.
pub(super) fn tell(
    session: &Session<'_>,
    verb: &str,
    config: &Config,
    target: &Target,
    summary: &str,
    changed: &Changed,
) -> anyhow::Result<()> {
    let Changed { applied, report, record, reversal } = changed;
    let verdict = report.as_ref().map_or(Ok(()), verify_command::verdict);
    let rows = access_rows(config);
    let is_changed = !applied.done.is_empty();
    let value = json!({
        "context": target.cluster.context,
        "changed": is_changed,
        "summary": summary,
        "record": record,
        "reversal": reversal,
        "applied": is_changed.then_some(&applied.done),
        "checks": report.as_ref().map(|report| &report.results),
        "summaryOfChecks": report.as_ref().map(|report| &report.summary),
        "access": rows,
    });
    let mut text = String::new();
    if let Some(report) = report {
        text.push_str(&verify_command::text(report));
    }
    if verdict.is_ok() {
        text.push('\n');
        text.push_str(&super::access::text(&rows, None, &session.sandbox_option()));
        text.push_str(&format!("\nOpen them: drivemaster-mon port-forward{}\n", session.sandbox_option()));
    }
    session.terminal.result(verb, value, &text);
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
