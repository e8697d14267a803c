//! `verify`: prove that the monitoring works.

use super::session::{Session, Target};
use crate::checks::registry;
use crate::checks::runner::{Report, Summary, VerifyRequest, known_checks, verify};
use crate::cli::VerifyArgs;
use crate::config::Config;
use crate::error::{Failure, Kind};
use crate::event::{Event, Outcome, Stage};
use crate::render::Bundle;
use crate::report::human::mark;
use crate::report::table::aligned;
use crate::stack;
use console::style;
use reqwest::Url;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which checks run, and how they reach the services.
#[derive(Debug, Default)]
pub(super) struct Choice {
    only: Vec<String>,
    skip: Vec<String>,
    endpoints: BTreeMap<String, Url>,
    timeout: Option<Duration>,
}

pub(super) async fn run(session: &Session<'_>, arguments: &VerifyArgs) -> anyhow::Result<()> {
    if arguments.list {
        list(session);
        return Ok(());
    }
    let choice = Choice {
        only: arguments.only.clone(),
        skip: arguments.skip.clone(),
        endpoints: endpoints(&arguments.endpoints)?,
        timeout: arguments.timeout.map(Duration::from_secs),
    };
    let (config, bundle) = session.bundle().await?;
    known_checks(&bundle, &choice.only, &choice.skip)?;
    let report = session
        .unless_interrupted(async {
            let target = session.target(&config).await?;
            judge(session, &config, &bundle, &target, &choice).await
        })
        .await?;
    let value = json!({ "checks": report.results, "summary": report.summary });
    session.terminal.result("verify", value, &text(&report));
    verdict(&report)
}

/// Runs the checks.
pub(super) async fn judge(
    session: &Session<'_>,
    config: &Config,
    bundle: &Bundle,
    target: &Target,
    choice: &Choice,
) -> anyhow::Result<Report> {
    session.events.emit(Event::StageStarted { stage: Stage::Verify });
    let request = VerifyRequest {
        client: Some(target.cluster.client.clone()),
        config,
        bundle,
        endpoints: choice.endpoints.clone(),
        only: choice.only.clone(),
        skip: choice.skip.clone(),
        timeout: choice.timeout.unwrap_or(Duration::from_secs(config.verify.timeout_seconds)),
        events: session.events.clone(),
    };
    let report = verify(request).await?;
    session.events.emit(Event::StageFinished { stage: Stage::Verify, summary: String::new() });
    Ok(report)
}

/// The failure that `report` means; its table was already shown.
pub(super) fn verdict(report: &Report) -> anyhow::Result<()> {
    report.verdict().map_err(|failure| failure.already_shown().into())
}

/// The checks for people: grouped by category, the bad ones with reason, evidence and fix.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::from("\nVerify:\n");
    let told_before = told_before(report);
    let rows: Vec<Vec<String>> = report
        .results
        .iter()
        .map(|result| {
            let note = match result.outcome {
                Outcome::Unknown if told_before.contains_key(&*result.id) => {
                    format!("unknown: as `{}`", told_before[&*result.id])
                }
                Outcome::Pass => result.reason.clone(),
                // Its reason stands in the JSON: that it may be unknown was decided before.
                Outcome::Unknown if result.unknown_allowed => "unknown (allowed)".to_owned(),
                Outcome::Unknown => format!("unknown: {}", result.reason),
                _ => result.reason.clone(),
            };
            vec![
                format!("  {} {}", mark(result.outcome), result.id),
                style(&result.title).dim().to_string(),
                style(note).dim().to_string(),
            ]
        })
        .collect();
    for (row, result) in aligned(&rows).lines().zip(&report.results) {
        text.push_str(row);
        text.push('\n');
        if matches!(result.outcome, Outcome::Fail | Outcome::Warn)
            || (result.outcome == Outcome::Unknown && !result.unknown_allowed)
        {
            for line in &result.evidence {
                text.push_str(&format!("        {line}\n"));
            }
            if told_before.contains_key(&*result.id) {
                continue;
            }
            if let Some(hint) = &result.hint {
                text.push_str(&format!("        {} {hint}\n", style("hint:").cyan().bold()));
            }
            text.push_str(&format!("        {} {}\n", style("see:").dim(), result.doc));
        }
    }
    let summary = summary_text(&report.summary);
    let coloured = if report.verdict().is_ok() { style(summary).green() } else { style(summary).red() };
    text.push_str(&format!("{coloured}\n"));
    text
}

/// The results that are unknown for a long reason that another one told before, with the id of that one.
fn told_before(report: &Report) -> BTreeMap<&str, &str> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    let mut told = BTreeMap::new();
    for result in report.results.iter().filter(|result| result.outcome == Outcome::Unknown && !result.unknown_allowed) {
        match first.get(&*result.reason) {
            Some(id) if result.reason.len() > LONG_REASON => drop(told.insert(&*result.id, *id)),
            Some(_) => {}
            None => drop(first.insert(&result.reason, &result.id)),
        }
    }
    told
}

/// The longest reason that is told again, in bytes.
const LONG_REASON: usize = 60;

/// `21 passed, 4 unknown (allowed)`: what did not happen is not named, except a failure.
fn summary_text(summary: &Summary) -> String {
    let mut parts = vec![format!("{} passed", summary.passed), format!("{} failed", summary.failed)];
    let rest = [
        (summary.warned, "with a warning"),
        (summary.unknown, "unknown"),
        (summary.unknown_allowed, "unknown (allowed)"),
        (summary.skipped, "skipped"),
    ];
    parts.extend(rest.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    parts.join(", ")
}

fn list(session: &Session<'_>) {
    let rows: Vec<Vec<String>> =
        registry().iter().map(|check| vec![check.id.to_owned(), check.title.to_owned()]).collect();
    session.terminal.result("checks", json!({ "checks": registry() }), &aligned(&rows));
}

/// The URLs that `COMPONENT=URL` words name.
pub(super) fn endpoints(words: &[String]) -> anyhow::Result<BTreeMap<String, Url>> {
    let keys: Vec<String> = stack::COMPONENTS.iter().map(|component| component.key.to_owned()).collect();
    words
        .iter()
        .map(|word| {
            let usage = |why: String| {
                Failure::new(Kind::Usage, format!("`--endpoint {word}`: {why}"))
                    .hint("`--endpoint prometheus=http://127.0.0.1:9090`")
            };
            let (key, url) = word.split_once('=').ok_or_else(|| usage("expected COMPONENT=URL".to_owned()))?;
            if !keys.iter().any(|known| known == key) {
                return Err(usage(format!("`{key}` is not a component; known: {}", keys.join(", "))).into());
            }
            let url = Url::parse(url).map_err(|error| usage(format!("not a URL: {error}")))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(usage("expected an http or https URL".to_owned()).into());
            }
            Ok((key.to_owned(), url))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CheckResult;

    #[test]
    fn a_long_reason_is_told_once() {
        let long = "pod drivemaster-monitoring/prometheus-0: ConfigurationRejected: a long story".to_owned();
        let result = |id: &str, reason: &str| CheckResult {
            id: id.to_owned(),
            title: String::new(),
            outcome: Outcome::Unknown,
            reason: reason.to_owned(),
            evidence: Vec::new(),
            hint: Some("drivemaster-mon status".to_owned()),
            doc: "docs/checks.md".to_owned(),
            unknown_allowed: false,
        };
        let results = vec![result("a/a", &long), result("a/b", "short"), result("a/c", &long), result("a/d", "short")];
        let summary = Summary { unknown: 4, ..Summary::default() };
        let text = text(&Report { results, summary });
        assert_eq!(text.matches(&long).count(), 1, "{text}");
        assert_eq!(text.matches("unknown: as `a/a`").count(), 1, "{text}");
        assert_eq!(text.matches("unknown: short").count(), 2, "{text}");
        assert_eq!(text.matches("hint:").count(), 3, "{text}");
    }

    #[test]
    fn an_endpoint_is_a_component_and_a_url() {
        assert!(endpoints(&["prometheus=http://127.0.0.1:1".to_owned()]).is_ok());
        for bad in ["prometheus", "nope=http://x", "prometheus=nope", "prometheus=ftp://x"] {
            let error = endpoints(&[bad.to_owned()]).unwrap_err();
            assert_eq!(crate::error::exit_code_of(&error), 64, "{bad}");
        }
    }
}
