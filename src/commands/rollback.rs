//! `rollback`: bring back what a record holds.

use super::change::{Change, Changed};
use super::deploy::tell;
use super::session::{Session, Target};
use super::{history, plan as plan_command};
use crate::chart::Charts;
use crate::chart::lock::Lock;
use crate::cli::{OnFailure, RollbackArgs};
use crate::cluster::records::{Past, definitions, intent, past};
use crate::config::Config;
use crate::error::{Failure, Kind, chain_of};
use crate::event::Event;
use crate::record::{Head, Intent, Trigger, verified_before};
use crate::render::Bundle;
use serde::Deserialize;
use serde_json::json;

pub(super) async fn run(session: &Session<'_>, arguments: &RollbackArgs) -> anyhow::Result<()> {
    // It says which cluster and namespace; what is to stand there, the record does.
    let here = session.config()?;
    let namespace = &here.namespaces.monitoring;
    let found = session.unless_interrupted(async {
        let target = session.target(&here).await?;
        let past = past(&target.cluster, namespace).await?;
        let to = chosen(&past.heads, arguments.number, namespace)?.clone();
        let recorded = Recorded::read(session, &target, namespace, &past, to.number).await?;
        let mut planned = plan_command::make(session, &target, &recorded.config, &recorded.bundle, None).await?;
        if arguments.dry_run || session.terminal.speaks() {
            planned.detail(session, &target, &recorded.bundle).await?;
        }
        Ok((target, to, recorded, planned))
    });
    let (target, to, Recorded { config, bundle, lock }, mut planned) = found.await?;
    let intent = planned.book(&config, &bundle, &lock)?;
    let plan = &planned.plan;
    let title = format!("Rollback to record {}: {}.\n", to.number, history::line(&to));
    if arguments.dry_run {
        let mut value = plan_command::value(plan, &config, &target);
        value["rollbackTo"] = json!(to.number);
        session.terminal.result("plan", value, &format!("{title}{}", plan_command::text(plan, &config, &target)));
        return Ok(());
    }
    let change = Change {
        session,
        options: &arguments.change,
        config: &config,
        bundle: &bundle,
        target: &target,
        trigger: Trigger::Rollback { to: to.number },
        on_failure: OnFailure::Keep,
        intent,
        is_agreed: !(arguments.change.yes || target.throwaway),
        limit: None,
    };
    let changed = if plan.is_empty() {
        let message = format!("everything stands as in record {} ({})", to.number, plan.summary());
        session.events.emit(Event::Note { message });
        let report = change.judged("nothing was changed").await?;
        Changed { report, ..Changed::default() }
    } else {
        session.terminal.say(&format!("{title}{}", plan_command::text(plan, &config, &target)));
        let question = format!("Roll context `{}` back to record {}?", target.cluster.context, to.number);
        session.confirm(&target, arguments.change.yes, &question, "drivemaster-mon rollback").await?;
        change.make(plan).await?
    };
    tell(session, "rollback", &config, &target, &plan.summary(), &changed)
}

/// The record to go back to.
fn chosen<'h>(heads: &'h [Head], number: Option<u64>, namespace: &str) -> anyhow::Result<&'h Head> {
    let refuse = |message: String| Failure::new(Kind::Refused, message).hint("drivemaster-mon history");
    let Some(present) = heads.last() else {
        return Err(refuse(format!("no deploy is recorded in namespace `{namespace}`")).into());
    };
    match number {
        Some(number) => heads
            .iter()
            .find(|head| head.number == number)
            .ok_or_else(|| refuse(format!("there is no record {number} in namespace `{namespace}`")).into()),
        None => verified_before(heads, present.number).ok_or_else(|| {
            refuse(format!("there is no verified record before the present one, {}", present.number))
                .hint("`drivemaster-mon history` lists them; name one that was not verified by its number")
                .into()
        }),
    }
}

/// What a record was to bring about, ready to be planned again.
pub(super) struct Recorded {
    pub(super) config: Config,
    pub(super) bundle: Bundle,
    /// Where its published charts come from.
    pub(super) lock: Lock,
}

impl Recorded {
    /// Reads record `number`, and gets the charts that it only names.
    ///
    /// # Errors
    /// [`Kind::Refused`] when it cannot be read by this program, or a chart of it is gone or another.
    pub(super) async fn read(
        session: &Session<'_>,
        target: &Target,
        namespace: &str,
        past: &Past,
        number: u64,
    ) -> anyhow::Result<Recorded> {
        let intent = intent(&target.cluster, namespace, past, number).await?;
        let config = Config::deserialize(&intent.configuration).map_err(|error| {
            let made_by = past.heads.iter().find(|head| head.number == number).map(|head| head.program.clone());
            let message = format!("this version of the program does not know the configuration of record {number}");
            Failure::new(Kind::Refused, message)
                .hint(format!("use version {}, which made it", made_by.unwrap_or_default()))
                .caused_by(error)
        })?;
        let lock = Lock { charts: intent.published().cloned().collect() };
        let published = published(session, &lock, number, &intent).await?;
        let definitions = definitions(&target.cluster, &intent.definitions).await?;
        Ok(Recorded { config, bundle: intent.bundle(&published, definitions)?, lock })
    }
}

/// The charts that record `number` only names.
async fn published(session: &Session<'_>, lock: &Lock, number: u64, intent: &Intent) -> anyhow::Result<Charts> {
    let name = format!("record {number}");
    let store = session.store(lock, &name);
    let needed: Vec<&str> = intent.published().map(|chart| chart.name.as_str()).collect();
    let error = match store.load_known(&needed).await {
        Ok(charts) => return Ok(charts),
        Err(error) => error,
    };
    // Which of them it is that cannot be had.
    let mut gone = Vec::new();
    for chart in intent.published() {
        if let Err(error) = store.load_known(&[&chart.name]).await {
            gone.push(format!("`{}` {}: {}", chart.name, chart.version, chain_of(&error).join(": ")));
        }
    }
    let message = format!("charts of record {number} cannot be had:\n  {}", gone.join("\n  "));
    Err(Failure::new(Kind::Refused, message).hint("`--charts DIR` names a folder with their archives").caused_by(error))
}
