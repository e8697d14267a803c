//! `status`: one screen.

use super::history;
use super::session::{Session, Target};
use crate::checks::status::{Asked, ComponentStatus, FiringAlerts, ReleaseStatus, Status, StatusRequest, status};
use crate::cli::StatusArgs;
use crate::cluster::observe;
use crate::cluster::records::heads;
use crate::config::Config;
use crate::error::{Failure, Kind, chain_of};
use crate::object::ObjectRef;
use crate::plan::{Drifted, Inventory, plan};
use crate::record::Head;
use crate::render::Bundle;
use crate::report::table::aligned;
use console::style;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What one look found.
struct Look {
    status: Status,
    drift: Asked<Vec<Drifted>>,
    last: Asked<Option<Head>>,
}

pub(super) async fn run(session: &Session<'_>, arguments: &StatusArgs) -> anyhow::Result<()> {
    let (config, bundle) = session.bundle().await?;
    let target = session.unless_interrupted(session.target(&config)).await?;
    let context = target.cluster.context.clone();
    if !arguments.watch {
        let seen = session.unless_interrupted(async { Ok(look(session, &config, &bundle, &target).await) }).await?;
        session.terminal.result("status", value(&seen)?, &text(&context, &seen));
        return Ok(());
    }
    let mut before: Option<BTreeMap<String, String>> = None;
    loop {
        let looked = async { Ok(look(session, &config, &bundle, &target).await) };
        let Ok(seen) = session.unless_interrupted(looked).await else { return Err(stopped()) };
        let facts = facts(&seen);
        let now = Timestamp::now();
        let screen = format!("{}\n{}", text(&context, &seen), style(now.strftime("%H:%M:%SZ")).dim());
        let changes = changes(before.as_ref(), &facts);
        let lines: Vec<String> = changes.iter().map(|line| format!("{} {line}", now.strftime("%H:%M:%SZ"))).collect();
        session.terminal.look("status", value(&seen)?, &screen, &lines);
        before = Some(facts);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(arguments.interval)) => {}
            () = session.cancel.cancelled() => return Err(stopped()),
        }
    }
}

/// The end of a watch, of which there is nothing to say.
fn stopped() -> anyhow::Error {
    Failure { shown: true, ..Failure::new(Kind::Interrupted, "stopped watching") }.into()
}

async fn look(session: &Session<'_>, config: &Config, bundle: &Bundle, target: &Target) -> Look {
    let request = StatusRequest {
        client: Some(target.cluster.client.clone()),
        config,
        bundle,
        endpoints: BTreeMap::new(),
        events: session.events.clone(),
    };
    let (mut status, observed, heads) = tokio::join!(
        status(request),
        observe(&target.cluster, bundle, Inventory::default()),
        heads(&target.cluster, &config.namespaces.monitoring),
    );
    if let Ok(observed) = &observed {
        status.learn_versions(&observed.stored);
    }
    let drift = match observed {
        Ok(observed) => Asked::Known(plan(bundle, &observed).drift.into_values().flatten().collect()),
        Err(error) => Asked::Unknown(chain_of(&error).join(": ")),
    };
    let last = match heads {
        Ok(mut heads) => Asked::Known(heads.pop()),
        Err(error) => Asked::Unknown(chain_of(&error).join(": ")),
    };
    Look { status, drift, last }
}

fn value(seen: &Look) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(&seen.status)?;
    value["drift"] = serde_json::to_value(&seen.drift)?;
    value["lastDeploy"] = serde_json::to_value(&seen.last)?;
    Ok(value)
}

fn text(context: &str, seen: &Look) -> String {
    let Look { status, drift, last } = seen;
    format!(
        "Context {context}\n{}\n{}\n{}\n{}\n{}",
        asked(last, "last deploy", |last| last_text(last.as_ref())),
        asked(&status.releases, "releases", |releases| releases_text(releases)),
        asked(drift, "drift", |drift| drift_text(drift)),
        asked(&status.components, "components", |components| components_text(components)),
        asked(&status.alerts, "firing alerts", alerts_text),
    )
}

fn drift_text(drift: &[Drifted]) -> String {
    if drift.is_empty() {
        return format!("{}\n", style("Nothing was changed by others.").green());
    }
    let objects: BTreeSet<&ObjectRef> = drift.iter().map(|one| &one.object).collect();
    let mut text = format!("{} (`plan` shows more, `deploy` puts it back)\n", style(drifted(objects.len())).yellow());
    for object in objects {
        let of: Vec<&Drifted> = drift.iter().filter(|one| one.object == *object).collect();
        let who: BTreeSet<&str> = of.iter().filter_map(|one| Some(one.by.as_ref()?.manager.as_str())).collect();
        let who = if who.is_empty() { String::new() } else { format!(" by {}", Vec::from_iter(who).join(", ")) };
        text.push_str(&format!("  {object}: {}{who}\n", what_drifted(&of)));
    }
    text
}

fn drifted(count: usize) -> String {
    if count == 1 {
        "1 object was changed by others".to_owned()
    } else {
        format!("{count} objects were changed by others")
    }
}

/// `gone`, or the fields.
fn what_drifted(of: &[&Drifted]) -> String {
    let paths: Vec<&str> = of.iter().map(|one| one.path.as_str()).filter(|path| !path.is_empty()).collect();
    if paths.is_empty() { "gone".to_owned() } else { paths.join(", ") }
}

/// What is known of each thing, in a few words.
fn facts(seen: &Look) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut unknown = |what: &str, why: &str| facts.insert(what.to_owned(), format!("unknown: {why}"));
    let Look { status, drift, last } = seen;
    for (what, why) in [
        ("last deploy", reason(last)),
        ("releases", reason(&status.releases)),
        ("components", reason(&status.components)),
        ("firing alerts", reason(&status.alerts)),
        ("drift", reason(drift)),
    ] {
        if let Some(why) = why {
            unknown(what, why);
        }
    }
    if let Asked::Known(releases) = &status.releases {
        facts.extend(releases.iter().map(|release| {
            let revision = release.revision.map_or_else(String::new, |revision| format!(", revision {revision}"));
            (format!("release {}", release.name), format!("{}{revision}", release.status))
        }));
    }
    if let Asked::Known(components) = &status.components {
        facts.extend(components.iter().filter(|component| component.enabled).map(|component| {
            let problem = component.problem.as_ref().map_or_else(String::new, |problem| format!(": {problem}"));
            (component.title.to_owned(), format!("{}/{} ready{problem}", component.ready, component.wanted))
        }));
    }
    if let Asked::Known(alerts) = &status.alerts {
        facts.extend(alerts.by_severity.iter().flat_map(|(severity, alerts)| {
            alerts.iter().map(move |alert| {
                let labels: Vec<String> = alert.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                (format!("alert {}{{{}}}", alert.name, labels.join(",")), format!("fires ({severity})"))
            })
        }));
    }
    if let Asked::Known(Some(head)) = last {
        let state = format!("{} of record {}: {}", head.trigger, head.number, head.outcome.word());
        facts.insert("last deploy".to_owned(), state);
    }
    if let Asked::Known(drift) = drift {
        facts.extend(
            drift.iter().map(|one| (format!("drift {one}"), one.lines(None).into_iter().next().unwrap_or_default())),
        );
    }
    facts
}

fn reason<T>(asked: &Asked<T>) -> Option<&str> {
    match asked {
        Asked::Known(_) => None,
        Asked::Unknown(reason) => Some(reason),
    }
}

/// What is otherwise than `before`, one line each: everything at the first look.
fn changes(before: Option<&BTreeMap<String, String>>, now: &BTreeMap<String, String>) -> Vec<String> {
    let none = BTreeMap::new();
    let before = before.unwrap_or(&none);
    let new = now.iter().filter(|(what, state)| before.get(*what) != Some(*state));
    let gone = before.keys().filter(|what| !now.contains_key(*what));
    new.map(|(what, state)| format!("{what}: {state}")).chain(gone.map(|what| format!("{what}: no more"))).collect()
}

fn asked<T>(asked: &Asked<T>, what: &str, show: impl Fn(&T) -> String) -> String {
    match asked {
        Asked::Known(value) => show(value),
        Asked::Unknown(reason) => format!("{what} unknown: {reason}\n"),
    }
}

/// The last deploy in one line, such as `Last deploy 7: deploy of 2026-11-26 04:29:59Z by alice@workstation, verified`.
fn last_text(last: Option<&Head>) -> String {
    match last {
        Some(head) => format!("Last deploy {}: {}\n", head.number, history::line(head)),
        None => "Last deploy: none is recorded\n".to_owned(),
    }
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| style(name).bold().to_string()).collect()
}

fn releases_text(releases: &[ReleaseStatus]) -> String {
    let mut rows = vec![head(&["RELEASE", "CHART", "APP", "STATUS", "REVISION", ""])];
    rows.extend(releases.iter().map(|release| {
        let revision = release.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string());
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
        let configured = &release.configured_chart_version;
        let standing = release.standing_revision.filter(|standing| release.revision != Some(*standing));
        let standing = standing.map(|standing| format!("revision {standing} stands"));
        let other = match &release.chart_version {
            Some(installed) if installed != configured => Some(format!("`deploy` brings chart {configured}")),
            _ if release.differs && standing.is_none() => Some("made from another chart; see `plan`".to_owned()),
            _ => None,
        };
        let note = standing.into_iter().chain(other).collect::<Vec<_>>().join("; ");
        vec![
            release.name.clone(),
            version(&release.chart_version),
            version(&release.app_version),
            release.status.clone(),
            revision,
            note,
        ]
    }));
    aligned(&rows)
}

fn components_text(components: &[ComponentStatus]) -> String {
    let mut rows = vec![head(&["COMPONENT", "READY", ""])];
    rows.extend(components.iter().map(|component| {
        if !component.enabled {
            return vec![component.title.to_owned(), style("off").dim().to_string(), String::new()];
        }
        let ready = format!("{}/{}", component.ready, component.wanted);
        let ready = if component.problem.is_none() { style(ready).green() } else { style(ready).red() };
        vec![component.title.to_owned(), ready.to_string(), component.problem.clone().unwrap_or_default()]
    }));
    aligned(&rows)
}

fn alerts_text(alerts: &FiringAlerts) -> String {
    // The Watchdog always fires: that it does is what `verify` asks about.
    let firing: Vec<(&String, _)> = alerts
        .by_severity
        .iter()
        .flat_map(|(severity, list)| list.iter().map(move |alert| (severity, alert)))
        .filter(|(severity, _)| *severity != "none")
        .collect();
    if firing.is_empty() {
        return format!("{}\n", style("No alert fires.").green());
    }
    let mut rows = vec![head(&["FIRING", "SEVERITY", "SERVICE", "SUMMARY"])];
    rows.extend(firing.iter().map(|(severity, alert)| {
        let severity = match severity.as_str() {
            "critical" => style(severity).red().to_string(),
            "warning" => style(severity).yellow().to_string(),
            other => other.to_owned(),
        };
        let service = alert.labels.get("service").cloned().unwrap_or_default();
        vec![alert.name.clone(), severity, service, alert.summary.clone()]
    }));
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_tells_what_changed_and_what_is_no_more() {
        let facts = |facts: &[(&str, &str)]| -> BTreeMap<String, String> {
            facts.iter().map(|(what, state)| ((*what).to_owned(), (*state).to_owned())).collect()
        };
        let first = facts(&[("Loki", "0/1 ready"), ("Grafana", "1/1 ready"), ("alert A", "fires")]);
        assert_eq!(changes(None, &first), ["Grafana: 1/1 ready", "Loki: 0/1 ready", "alert A: fires"]);
        assert!(changes(Some(&first), &first).is_empty());
        let second = facts(&[("Loki", "1/1 ready"), ("Grafana", "1/1 ready")]);
        assert_eq!(changes(Some(&first), &second), ["Loki: 1/1 ready", "alert A: no more"]);
    }

    #[test]
    fn drift_is_told_by_object_with_who() {
        assert_eq!(drift_text(&[]), "Nothing was changed by others.\n");
        let object = |name: &str| ObjectRef::namespaced("apps/v1", "Deployment", "m", name);
        let field = |path: &str| Drifted {
            object: object("b"),
            path: path.to_owned(),
            changes: Vec::new(),
            by: Some(crate::plan::drift::Author {
                manager: "kubectl-edit".to_owned(),
                operation: "Update".to_owned(),
                time: None,
            }),
        };
        let text = drift_text(&[Drifted::gone(object("a")), field("spec.replicas"), field("spec.paused")]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("2 objects were changed by others"), "{text}");
        assert_eq!(
            lines[1..],
            ["  Deployment m/a: gone", "  Deployment m/b: spec.replicas, spec.paused by kubectl-edit"]
        );
    }
}
