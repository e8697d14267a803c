//! `plan`: what a deploy would change.

use super::session::{Session, Target};
use crate::chart::lock::Lock;
use crate::cli::PlanArgs;
use crate::cluster::observe::{identity, observe};
use crate::cluster::records::{Past, past};
use crate::config::{Config, Profile};
use crate::error::{Failure, Kind, chain_of};
use crate::event::{Event, Stage};
use crate::helm::RenderedFor;
use crate::object::{Manifest, ObjectRef};
use crate::plan::change::{Rendered, Standing, makes_keys};
use crate::plan::{
    Action, Bookkeeping, Drifted, Frozen, Plan, Reason, ReleaseChange, Step, StoredRelease, Target as PlanTarget,
    limit, narrow, plan_within, release_change,
};
use crate::record::{Intent, encode_intent};
use crate::render::Bundle;
use crate::report::table::aligned;
use console::style;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

/// How many releases are rendered at once.
const CONCURRENCY: usize = 4;
/// Bytes in the longest file of a plan: all charts in base64 are some 10 MiB.
const LONGEST: u64 = 256 << 20;

/// Shows the plan, and writes it to a file where that is wanted; 2 when the exit code shall tell that there
/// are changes.
pub(super) async fn run(session: &Session<'_>, arguments: &PlanArgs) -> anyhow::Result<u8> {
    let (config, bundle) = session.bundle().await?;
    let limit = limit(&bundle, &arguments.limit.only, &arguments.limit.skip)?;
    let (target, mut planned) = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            let mut planned = make(session, &target, &config, &bundle, limit.as_ref()).await?;
            planned.detail(session, &target, &bundle).await?;
            Ok((target, planned))
        })
        .await?;
    planned.book(&config, &bundle, &session.lock()?.0)?;
    let plan = planned.plan;
    let written = match &arguments.out {
        Some(file) => Some(write(session, file, &target, &config, &bundle, &plan).await?),
        None => None,
    };
    let mut value = value(&plan, &config, &target);
    value["digest"] = json!(written);
    let mut text = text(&plan, &config, &target);
    if let (Some(file), Some(digest)) = (&arguments.out, &written) {
        text.push_str(&format!(
            "Written to {} ({digest}).\n  drivemaster-mon deploy{} --plan {}\n",
            file.display(),
            session.sandbox_option(),
            file.display()
        ));
    }
    session.terminal.result("plan", value, &text);
    Ok(if arguments.detailed_exitcode && !plan.is_empty() { Kind::ChangesPending.exit_code() } else { 0 })
}

/// Freezes the plan into `file`, which only its owner may read. Returns its digest.
async fn write(
    session: &Session<'_>,
    file: &Path,
    target: &Target,
    config: &Config,
    bundle: &Bundle,
    plan: &Plan,
) -> anyhow::Result<String> {
    let frozen = Frozen {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: session.unless_interrupted(identity(&target.cluster)).await?,
        configuration: serde_json::to_value(config)?,
        bundle: bundle.clone(),
        lock: session.lock()?.0,
        limited_to: plan.limited_to.clone(),
        steps: plan.outlines(),
    };
    let (text, digest) = frozen.encode()?;
    let put = || {
        // A device or a pipe is written to; putting a file in its place would take it away.
        if file.metadata().is_ok_and(|found| !found.is_file()) {
            return std::fs::write(file, text.as_bytes());
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
        fresh.write_all(text.as_bytes())?;
        fresh.persist(file)?;
        Ok::<_, std::io::Error>(())
    };
    put().map_err(|error| {
        Failure::new(Kind::Usage, format!("cannot write the plan to `{}`", file.display()))
            .hint("`--out FILE` names a file in a folder that can be written")
            .caused_by(error)
    })?;
    Ok(digest)
}

/// Reads the plan of `file`, which this very program must have made.
pub(super) fn read(file: &Path) -> anyhow::Result<(Frozen, Config)> {
    let name = file.display().to_string();
    let text = super::text::read_within(file, LONGEST).map_err(|error| {
        Failure::new(Kind::Usage, format!("cannot read the plan `{name}`"))
            .hint("`drivemaster-mon plan --out FILE` makes one")
            .caused_by(error)
    })?;
    let (frozen, _) = Frozen::decode(&name, &text)?;
    let config = Config::deserialize(&frozen.configuration).map_err(|error| {
        Failure::new(Kind::Usage, format!("the configuration in the plan `{name}` cannot be read"))
            .hint("drivemaster-mon plan --out FILE makes a new one")
            .caused_by(error)
    })?;
    Ok((frozen, config))
}

/// A plan, and the deploys before it.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) past: Past,
    /// What Helm keeps of the releases.
    stored: BTreeMap<(String, String), StoredRelease>,
    /// The objects that stand.
    live: BTreeMap<ObjectRef, Value>,
    /// Those of which that is not known.
    unread: BTreeSet<ObjectRef>,
}

impl Planned {
    /// Asks helm what the steps of releases would change. What it cannot tell is no fault here: it is told
    /// when the plan is carried out.
    pub(super) async fn detail(
        &mut self,
        session: &Session<'_>,
        target: &Target,
        bundle: &Bundle,
    ) -> anyhow::Result<()> {
        let plan = &self.plan;
        let releases = plan.steps.iter().filter_map(|step| match &step.target {
            PlanTarget::Release { release } if step.action != Action::Delete => Some((&step.id, release)),
            _ => None,
        });
        let mut releases: Vec<_> = releases.collect();
        // To make a key takes a second: behind the others it would be waited for alone.
        releases.sort_by_cached_key(|(_, release)| !makes_keys(release));
        if releases.is_empty() {
            return Ok(());
        }
        let cluster = RenderedFor { server_version: &target.cluster.server_version, api_versions: &plan.api_versions };
        let renders = session.renders(target);
        let found: Vec<_> = stream::iter(releases)
            .map(|(id, release)| async {
                let stored = self.stored.get(&(release.namespace.clone(), release.name.clone()));
                let rendered = match &renders {
                    // Of what is new there is nothing to compare it with.
                    Ok(renders) if stored.is_none() => {
                        let objects = renders.objects(release, cluster).await;
                        objects.map(|objects| Rendered { objects, again: None })
                    }
                    Ok(renders) => renders.rendered(release, cluster).await,
                    Err(error) => Err(anyhow::anyhow!(chain_of(error).join(": "))),
                };
                match rendered {
                    Ok(rendered) => {
                        let change =
                            release_change(release, stored, &rendered, &bundle.crds, &self.standing(id, stored));
                        ((id.clone(), change), Some((release.name.clone(), rendered.objects)))
                    }
                    Err(error) => {
                        let why = chain_of(&error).join(": ");
                        ((id.clone(), ReleaseChange::unknown(release, stored, why)), None)
                    }
                }
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let (changes, objects): (_, Vec<_>) = found.into_iter().unzip();
        self.plan.releases = changes;
        narrow(&mut self.plan, bundle, &objects.into_iter().flatten().collect());
        Ok(())
    }

    /// What stands of the objects of the release that the step `id` is about. What is gone of one that is deployed is drift.
    fn standing(&self, id: &str, stored: Option<&StoredRelease>) -> Standing<'_> {
        let is_repair =
            self.plan.steps.iter().any(|step| step.id == id && matches!(step.reason, Reason::Repair { .. }));
        let manifest = stored.filter(|_| is_repair).into_iter().flat_map(|stored| &stored.manifest);
        let gone = manifest.map(Manifest::reference);
        let gone = gone.filter(|object| !self.live.contains_key(object) && !self.unread.contains(object)).collect();
        Standing { live: Some(&self.live), gone }
    }

    /// Reckons the writes of the record of this plan, where it has any step. Returns what is to be recorded.
    pub(super) fn book(&mut self, config: &Config, bundle: &Bundle, lock: &Lock) -> anyhow::Result<Vec<Vec<u8>>> {
        if self.plan.is_empty() {
            return Ok(Vec::new());
        }
        let intent = encode_intent(&Intent::of(serde_json::to_value(config)?, bundle, lock))?;
        self.plan.bookkeeping.record = self.past.writes(intent.len());
        Ok(intent)
    }
}

/// Observes the cluster and plans.
pub(super) async fn make(
    session: &Session<'_>,
    target: &Target,
    config: &Config,
    bundle: &Bundle,
    limit: Option<&BTreeSet<String>>,
) -> anyhow::Result<Planned> {
    session.events.emit(Event::StageStarted { stage: Stage::Observe });
    let past = past(&target.cluster, &config.namespaces.monitoring).await?;
    let observed = observe(&target.cluster, bundle, past.effect.inventory.clone()).await?;
    session.events.emit(Event::StageFinished { stage: Stage::Observe, summary: String::new() });
    Ok(Planned {
        plan: plan_within(bundle, &observed, limit),
        past,
        stored: observed.stored,
        live: observed.objects,
        unread: observed.unread,
    })
}

/// The plan as JSON.
pub(super) fn value(plan: &Plan, config: &Config, target: &Target) -> Value {
    json!({
        "context": target.cluster.context,
        "profile": config.profile,
        "steps": plan.steps.iter().map(|step| json!({
            "id": step.id, "action": step.action, "reason": step.reason, "needs": step.needs, "changes": step.changes,
            "drift": plan.drift.get(&step.id), "release": plan.releases.get(&step.id),
        })).collect::<Vec<_>>(),
        "limitedTo": plan.limited_to,
        "unchanged": plan.unchanged,
        "summary": plan.summary(),
        "bookkeeping": plan.bookkeeping,
    })
}

/// The plan for people.
pub(super) fn text(plan: &Plan, config: &Config, target: &Target) -> String {
    let profile = match config.profile {
        Profile::Local => "local",
        Profile::Production => "production",
    };
    let mut text = format!("Plan for context `{}`, profile {profile}:\n", target.cluster.context);
    if let Some(releases) = &plan.limited_to {
        let releases = releases.iter().cloned().collect::<Vec<_>>().join(", ");
        text.push_str(&format!("Limited to {releases} and what they need; everything else is left as it is.\n"));
    }
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
            for change in changes(plan, step, Timestamp::now()) {
                text.push_str(&format!("      {change}\n"));
            }
        }
        if let Some(change) = plan.releases.get(&step.id) {
            for line in release_lines(change) {
                text.push_str(&format!("      {line}\n"));
            }
        }
    }
    if plan.is_empty() {
        text.push_str("  nothing to do\n");
    }
    text.push_str(&format!("{}.\n", plan.summary()));
    if !plan.is_empty() {
        let Bookkeeping { record, helm } = plan.bookkeeping;
        text.push_str(&format!(
            "bookkeeping: {record} writes of the record of this deploy, {helm} of Helm's releases.\n"
        ));
    }
    text
}

/// The lines below `step`; where others changed something, with how long ago.
fn changes(plan: &Plan, step: &Step, now: Timestamp) -> Vec<String> {
    match plan.drift.get(&step.id) {
        Some(drifted) if matches!(step.target, PlanTarget::Release { .. }) => {
            // What helm is run for stands first, where it is something else.
            let others = step.changes.iter().take(usize::from(step.reason != Reason::Drift)).cloned();
            others.chain(drifted.iter().flat_map(|one| one.lines(Some(now)))).collect()
        }
        Some(drifted) => step.changes.iter().map(|line| with_age(line, drifted, now)).collect(),
        None => step.changes.clone(),
    }
}

/// What the step of a release would change.
fn release_lines(change: &ReleaseChange) -> Vec<String> {
    let mut lines = Vec::new();
    match &change.from_version {
        Some(from) if *from != change.to_version => lines.push(format!("chart {from} -> {}", change.to_version)),
        _ => {}
    }
    if !change.values.is_empty() {
        lines.push("values:".to_owned());
        lines.extend(change.values.iter().map(|line| format!("  {line}")));
    }
    let made = change.objects.iter().filter(|object| object.action == Action::Create);
    if change.from_version.is_none() {
        // All of a new release are new.
        lines.push(format!("{} objects", made.count()));
    } else {
        for object in &change.objects {
            lines.push(format!("{} {}", sign(object.action), object.object));
            lines.extend(object.changes.iter().map(|line| format!("    {line}")));
        }
    }
    lines.extend(change.hooks.iter().map(|hook| format!("runs {} ({})", hook.object, hook.event)));
    lines.extend(change.problems.iter().map(|problem| format!("{} {problem}", style("!").red())));
    lines
}

/// `line`, with who took its field over and when.
fn with_age(line: &str, drifted: &[Drifted], now: Timestamp) -> String {
    let authors =
        drifted.iter().filter_map(|one| one.by.as_ref().filter(|_| line.starts_with(&format!("~ {}:", one.path))));
    authors
        .filter_map(|author| Some(format!("{}{}", line.strip_suffix(&author.shown(None))?, author.shown(Some(now)))))
        .next()
        .unwrap_or_else(|| line.to_owned())
}

fn sign(action: Action) -> String {
    match action {
        Action::Create => style("+").green().to_string(),
        Action::Update => style("~").yellow().to_string(),
        Action::Delete => style("-").red().to_string(),
    }
}
