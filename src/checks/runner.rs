//! Asks, judges, asks again while that may help, and reports.

use super::facts::{Facts, Need};
use super::gather::{Questions, gather};
use super::reach::Reach;
use super::round_trip::RoundTrips;
use super::{Again, Check, Scope, Severity, Verdict, registry};
use crate::config::{Config, Profile};
use crate::error::{Failure, Kind};
use crate::event::{CheckResult, Event, Events, Outcome};
use crate::render::Bundle;
use crate::stack;
use anyhow::Result;
use kube::Client;
use reqwest::Url;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Pause between two rounds of questions.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be verified.
pub struct VerifyRequest<'a> {
    /// The cluster; without one only what `endpoints` reach is asked.
    pub client: Option<Client>,
    /// The configuration.
    pub config: &'a Config,
    /// What is deployed, and so expected.
    pub bundle: &'a Bundle,
    /// URLs of programs by component key; the others are reached by port-forward.
    pub endpoints: BTreeMap<String, Url>,
    /// Categories or ids to run; empty runs all. Each may hold several, separated by commas.
    pub only: Vec<String>,
    /// Categories or ids to leave out.
    pub skip: Vec<String>,
    /// How long checks that wait for something to happen for the first time are asked again.
    pub timeout: Duration,
    /// Where each result goes.
    pub events: Events,
}

/// How all checks ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The results in the order of the registry.
    pub results: Vec<CheckResult>,
    /// How many of each.
    pub summary: Summary,
}

/// How many checks ended in each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Hold.
    pub passed: usize,
    /// Hold, but are worth a look.
    pub warned: usize,
    /// Do not hold.
    pub failed: usize,
    /// Were not asked.
    pub skipped: usize,
    /// Could not be asked and should have been.
    pub unknown: usize,
    /// Could not be asked, which the configuration allows.
    pub unknown_allowed: usize,
}

impl Report {
    fn new(results: Vec<CheckResult>) -> Self {
        let mut summary = Summary::default();
        for result in &results {
            let count = match result.outcome {
                Outcome::Pass => &mut summary.passed,
                Outcome::Warn => &mut summary.warned,
                Outcome::Fail => &mut summary.failed,
                Outcome::Skip => &mut summary.skipped,
                Outcome::Unknown if result.unknown_allowed => &mut summary.unknown_allowed,
                Outcome::Unknown => &mut summary.unknown,
            };
            *count += 1;
        }
        Report { results, summary }
    }

    /// What the results mean for the exit code.
    ///
    /// # Errors
    /// [`Kind::Negative`] when a check failed, else [`Kind::CouldNotAsk`] when one is unknown that
    /// may not be.
    pub fn verdict(&self) -> Result<(), Failure> {
        let ids = |wanted: &dyn Fn(&CheckResult) -> bool| -> String {
            let ids: Vec<&str> =
                self.results.iter().filter(|result| wanted(result)).map(|result| result.id.as_str()).collect();
            ids.join(", ")
        };
        let of = |count: usize| format!("{count} of {} checks", self.results.len());
        if self.summary.failed > 0 {
            let failed = ids(&|result| result.outcome == Outcome::Fail);
            return Err(Failure::new(Kind::Negative, format!("{} failed: {failed}", of(self.summary.failed)))
                .hint("drivemaster-mon verify -v")
                .doc("docs/checks.md"));
        }
        if self.summary.unknown > 0 {
            let unknown = ids(&|result| result.outcome == Outcome::Unknown && !result.unknown_allowed);
            let message = format!("{} could not be asked: {unknown}", of(self.summary.unknown));
            return Err(Failure::new(Kind::CouldNotAsk, message)
                .hint("list what does not run here in `verify.mayBeUnknown`")
                .doc("docs/checks.md"));
        }
        Ok(())
    }
}

/// Refuses words that name no check and no category, before anything is asked.
///
/// # Errors
/// [`Kind::Usage`] with the nearest name.
pub fn known_checks(bundle: &Bundle, only: &[String], skip: &[String]) -> Result<()> {
    Selection::new(bundle, only, skip).map(drop)
}

/// Runs the checks. Reads only, but for the marked lines and the marked trace that are sent to be found again.
///
/// # Errors
/// `only` or `skip` names no check. What a check finds is in the report, never an error.
pub async fn verify(request: VerifyRequest<'_>) -> Result<Report> {
    let VerifyRequest { client, config, bundle, endpoints, only, skip, timeout, events } = request;
    let selection = Selection::new(bundle, &only, &skip)?;
    let reach = Reach::new(client.clone(), config, endpoints, &events);
    let round_trips = RoundTrips::default();
    let questions = Questions { client: client.as_ref(), config, bundle, reach: &reach, round_trips: &round_trips };
    let scope = Scope { config, bundle };
    let report = run(&scope, &selection, timeout, &events, async |needs| gather(&questions, &needs).await).await;
    reach.close().await;
    Ok(report)
}

/// Which results are wanted.
struct Selection {
    only: Vec<String>,
    skip: Vec<String>,
}

impl Selection {
    fn new(bundle: &Bundle, only: &[String], skip: &[String]) -> Result<Self> {
        let split = |patterns: &[String]| -> Vec<String> {
            let all = patterns.iter().flat_map(|pattern| pattern.split(',')).map(str::trim);
            all.filter(|pattern| !pattern.is_empty()).map(str::to_owned).collect()
        };
        let selection = Selection { only: split(only), skip: split(skip) };
        let ids: Vec<String> = registry().iter().flat_map(|check| ids_of(check, bundle)).collect();
        let known = |pattern: &String| ids.iter().any(|id| matches(pattern, id));
        if let Some(unknown) = selection.only.iter().chain(&selection.skip).find(|pattern| !known(pattern)) {
            let names = ids.iter().map(String::as_str).chain(registry().iter().map(|check| check.category()));
            let nearest = names.max_by(|one, other| {
                strsim::jaro_winkler(one, unknown).total_cmp(&strsim::jaro_winkler(other, unknown))
            });
            let failure = Failure::new(Kind::Usage, format!("there is no check or category `{unknown}`"));
            let hint = nearest.map_or_else(String::new, |nearest| format!("did you mean `{nearest}`? "));
            return Err(failure.hint(format!("{hint}see: drivemaster-mon verify --list")).into());
        }
        Ok(selection)
    }

    fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| matches(pattern, id))
    }

    fn leaves_out(&self, id: &str) -> bool {
        self.skip.iter().any(|pattern| matches(pattern, id))
    }
}

/// Whether `pattern` is `id` or its category.
fn matches(pattern: &str, id: &str) -> bool {
    pattern == id || id.split_once('/').is_some_and(|(category, _)| category == pattern)
}

/// The ids of the results that a check makes.
fn ids_of(check: &Check, bundle: &Bundle) -> Vec<String> {
    match check.id {
        "targets/<job>" => bundle.expected.targets.iter().map(|target| format!("targets/{}", target.job)).collect(),
        "dashboards/<uid>" => {
            bundle.expected.dashboards.iter().map(|dashboard| format!("dashboards/{}", dashboard.uid)).collect()
        }
        id => vec![id.to_owned()],
    }
}

/// Whether the check is about a component that the profile does not have.
fn is_foreign(check: &Check, config: &Config) -> bool {
    let component = check.component.and_then(stack::component);
    config.profile == Profile::Local && component.is_some_and(|component| component.production_only)
}

/// What became of one check so far.
enum State {
    Final(Vec<CheckResult>),
    Open(Waits),
}

impl State {
    fn is_open(&self) -> bool {
        matches!(self, State::Open(_))
    }
}

/// How each result of a check waits, and since when it has been in that way. A time that ran from the first question
/// on would be over before the second one where the first took long, and leave no second chance to what goes wrong
/// after something else was waited for.
type Waits = BTreeMap<String, (Again, Instant)>;

/// How long a run is asking, and how long it may.
struct Clock {
    started: Instant,
    timeout: Duration,
}

impl Clock {
    /// Whether a result that waits like this `since` then is worth another question.
    fn allows(&self, again: Again, since: Instant) -> bool {
        let age = self.started.elapsed();
        match again {
            Again::Never => false,
            Again::Within(limit) => since.elapsed() < limit.min(self.timeout) && age < self.timeout + limit,
            Again::UntilTimeout => age < self.timeout,
        }
    }
}

/// Asks and judges until nothing is left that asking again may change.
async fn run(
    scope: &Scope<'_>,
    selection: &Selection,
    timeout: Duration,
    events: &Events,
    mut ask: impl AsyncFnMut(BTreeSet<Need>) -> Facts,
) -> Report {
    let clock = Clock { started: Instant::now(), timeout };
    let mut states: Vec<(&Check, State)> = Vec::new();
    for check in registry() {
        let ids: Vec<String> = ids_of(check, scope.bundle).into_iter().filter(|id| selection.wants(id)).collect();
        if ids.is_empty() || (selection.only.is_empty() && is_foreign(check, scope.config)) {
            continue;
        }
        let skipped = |reason: &str| -> Vec<CheckResult> {
            let verdict =
                |id: &String| Verdict { instance: Some((id.clone(), check.title.to_owned())), ..Verdict::skip(reason) };
            ids.iter().map(|id| result_of(check, verdict(id), scope.config)).collect()
        };
        let disabled = check.component.filter(|key| !scope.config.component_enabled(key));
        let state = if ids.iter().all(|id| selection.leaves_out(id)) {
            State::Final(skipped("left out by --skip"))
        } else if let Some(key) = disabled {
            State::Final(skipped(&format!("`{key}.enabled` is false")))
        } else {
            State::Open(Waits::new())
        };
        states.push((check, state));
    }
    let mut told = 0;
    let mut waiting_for = String::new();
    loop {
        let open = states.iter().filter(|(_, state)| state.is_open());
        let needs: BTreeSet<Need> = open.flat_map(|(check, _)| check.needs.iter().copied()).collect();
        if !needs.is_empty() {
            let facts = ask(needs).await;
            let mut reasons = Vec::new();
            for (check, state) in &mut states {
                let State::Open(waits) = state else { continue };
                let (results, again) = judge(check, scope, selection, &facts, &clock, waits);
                if again {
                    let waiting = results.iter().filter(|result| result.outcome != Outcome::Pass);
                    reasons.extend(waiting.map(|result| format!("{}: {}", result.id, result.reason)));
                } else {
                    *state = State::Final(results);
                }
            }
            let reasons = reasons.join("; ");
            if reasons != waiting_for && !reasons.is_empty() {
                events.emit(Event::Detail { message: format!("asking again: {reasons}") });
            }
            waiting_for = reasons;
        }
        // Results are told in order: the first open check holds back those after it.
        while let Some((_, State::Final(results))) = states.get(told) {
            results.iter().for_each(|result| events.emit(Event::Check { result: result.clone() }));
            told += 1;
        }
        if told == states.len() {
            break;
        }
        sleep(PAUSE).await;
    }
    let finals = states.into_iter().flat_map(|(_, state)| match state {
        State::Final(results) => results,
        State::Open(_) => Vec::new(),
    });
    Report::new(finals.collect())
}

/// The results of one check, and whether asking again may change any of them.
fn judge(
    check: &Check,
    scope: &Scope<'_>,
    selection: &Selection,
    facts: &Facts,
    clock: &Clock,
    waits: &mut Waits,
) -> (Vec<CheckResult>, bool) {
    let mut results = Vec::new();
    let mut ask_again = false;
    let before = std::mem::take(waits);
    for verdict in (check.judge)(scope, facts) {
        let again = verdict.again;
        let mut result = result_of(check, verdict, scope.config);
        if !selection.wants(&result.id) {
            continue;
        }
        if selection.leaves_out(&result.id) {
            let skipped = Verdict { instance: Some((result.id, result.title)), ..Verdict::skip("left out by --skip") };
            results.push(result_of(check, skipped, scope.config));
            continue;
        }
        if again != Again::Never && !result.unknown_allowed {
            let since = before.get(&result.id).filter(|(kept, _)| *kept == again).map(|(_, since)| *since);
            let since = since.unwrap_or_else(Instant::now);
            waits.insert(result.id.clone(), (again, since));
            if clock.allows(again, since) {
                ask_again = true;
            } else {
                result.reason = format!("{} (asked for {} s)", result.reason, clock.started.elapsed().as_secs());
            }
        }
        results.push(result);
    }
    (results, ask_again)
}

fn result_of(check: &Check, verdict: Verdict, config: &Config) -> CheckResult {
    let (id, title) = verdict.instance.unwrap_or_else(|| (check.id.to_owned(), check.title.to_owned()));
    let outcome = match (verdict.outcome, check.severity) {
        (Outcome::Fail, Severity::Warning) => Outcome::Warn,
        (outcome, _) => outcome,
    };
    let listed = |key: &String| config.verify.may_be_unknown.contains(key);
    let unknown_allowed = outcome == Outcome::Unknown && verdict.component.as_ref().is_some_and(listed);
    // The hint of the check mends what does not hold; what could not be asked needs a look at the stack.
    let hint = match outcome {
        Outcome::Fail | Outcome::Warn => verdict.hint.or_else(|| Some(check.hint.to_owned())),
        Outcome::Unknown if !unknown_allowed => verdict.hint.or_else(|| Some("drivemaster-mon status".to_owned())),
        _ => None,
    };
    CheckResult {
        id,
        title,
        outcome,
        reason: verdict.reason,
        evidence: verdict.evidence,
        hint,
        doc: check.doc.to_owned(),
        unknown_allowed,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
