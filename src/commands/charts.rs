//! `charts`: what is locked, what is published, and the archives themselves.

use super::session::Session;
use crate::chart::index::is_newer;
use crate::chart::lock::{Lock, LockedChart, archive_digest};
use crate::cli::{ChartsListArgs, ChartsLockArgs, ChartsPullArgs, ChartsVerb};
use crate::error::{Failure, Kind, chain_of};
use crate::event::Event;
use crate::helm::charts::{Newest, Store, write_whole};
use crate::report::table::aligned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub(super) async fn run(session: &Session<'_>, verb: &ChartsVerb) -> anyhow::Result<()> {
    match verb {
        ChartsVerb::List(arguments) => list(session, arguments).await,
        ChartsVerb::Lock(arguments) => lock(session, arguments).await,
        ChartsVerb::Pull(arguments) => pull(session, arguments).await,
    }
}

fn store<'l>(session: &'l Session<'_>, lock: &'l Lock, name: &'l str, timeout: Option<u64>) -> Store<'l> {
    let mut store = session.store(lock, name);
    store.patience = timeout.map_or(store.patience, Duration::from_secs);
    store
}

async fn list(session: &Session<'_>, arguments: &ChartsListArgs) -> anyhow::Result<()> {
    let (lock, name) = session.lock()?;
    let store = store(session, &lock, &name, arguments.timeout);
    let newest = if arguments.outdated { store.newest().await } else { BTreeMap::new() };
    let cached = |chart: &LockedChart| store.cached_at(chart).is_some_and(|path| path.is_file());
    let rows: Vec<Value> = lock.charts.iter().map(|chart| row(chart, cached(chart), newest.get(&chart.name))).collect();
    let value = json!({ "lock": name, "charts": rows });
    session.terminal.result("charts", value, &table(&lock, &cached, &newest, arguments.outdated));
    let failed = newest.values().filter_map(|newest| newest.as_ref().err()).count();
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(Kind::CouldNotAsk, "not every repository could be asked").already_shown().into()),
    }
}

fn row(chart: &LockedChart, cached: bool, newest: Option<&Newest>) -> Value {
    let mut row = json!({
        "name": chart.name, "version": chart.version, "appVersion": chart.app_version,
        "repository": chart.repository, "digest": chart.digest, "cached": cached,
    });
    match newest {
        Some(Ok((version, app_version))) => {
            row["newest"] = json!(version);
            row["newestAppVersion"] = json!(app_version);
            row["outdated"] = json!(is_newer(version, &chart.version));
        }
        Some(Err(error)) => row["problem"] = json!(chain_of(error)),
        None => {}
    }
    row
}

fn table(
    lock: &Lock,
    cached: &dyn Fn(&LockedChart) -> bool,
    newest: &BTreeMap<String, Newest>,
    outdated: bool,
) -> String {
    let mut head = vec!["CHART", "VERSION", "APP", "DIGEST", "CACHED"];
    if outdated {
        head.push("NEWEST");
    }
    head.push("REPOSITORY");
    let mut rows: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    for chart in &lock.charts {
        let mut row = vec![
            chart.name.clone(),
            chart.version.clone(),
            chart.app_version.clone(),
            yes(chart.digest.is_some()),
            yes(cached(chart)),
        ];
        if outdated {
            row.push(match newest.get(&chart.name) {
                Some(Ok((version, app))) if is_newer(version, &chart.version) => format!("{version} (app {app})"),
                Some(Ok(_)) => "-".to_owned(),
                _ => "?".to_owned(),
            });
        }
        row.push(chart.repository.clone());
        rows.push(row);
    }
    let mut text = aligned(&rows);
    let mut told = Vec::new();
    for error in newest.values().filter_map(|newest| newest.as_ref().err()) {
        let line = chain_of(error).join(": ");
        if !told.contains(&line) {
            text.push_str(&format!("? {line}\n"));
            told.push(line);
        }
    }
    text
}

/// Writes the lock again, with the digest of every archive as its repository, or the folder of
/// `--charts`, has it now.
async fn lock(session: &Session<'_>, arguments: &ChartsLockArgs) -> anyhow::Result<()> {
    let (mut lock, name) = session.lock()?;
    for chart in &mut lock.charts {
        chart.digest = None;
    }
    let mut store = store(session, &lock, &name, arguments.timeout);
    // What is kept here says nothing of what is published.
    store.cache = None;
    let names: Vec<&str> = lock.charts.iter().map(|chart| chart.name.as_str()).collect();
    let digests: BTreeMap<String, String> = store
        .archives(&names)
        .await?
        .into_iter()
        .map(|archive| (archive.locked.name, archive_digest(&archive.bytes)))
        .collect();
    let mut locked = lock.clone();
    for chart in &mut locked.charts {
        chart.digest = digests.get(&chart.name).cloned();
    }
    let text = locked.to_yaml()?;
    let value = json!({ "file": arguments.to, "charts": locked.charts });
    match &arguments.to {
        Some(file) => {
            write_whole(file, text.as_bytes()).map_err(|error| refused(file, error))?;
            let message = format!("locked {} charts in {}\n", locked.charts.len(), file.display());
            session.terminal.result("charts-lock", value, &message);
        }
        None => session.terminal.result("charts-lock", value, &text),
    }
    Ok(())
}

async fn pull(session: &Session<'_>, arguments: &ChartsPullArgs) -> anyhow::Result<()> {
    let (lock, name) = session.lock()?;
    let store = store(session, &lock, &name, arguments.timeout);
    let names: Vec<&str> = match arguments.names.as_slice() {
        [] => lock.charts.iter().map(|chart| chart.name.as_str()).collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    let archives = store.archives(&names).await?;
    let mut rows = Vec::new();
    for archive in &archives {
        let locked = &archive.locked;
        let mut row = json!({
            "name": locked.name, "version": locked.version, "from": archive.place,
            "digest": archive_digest(&archive.bytes), "bytes": archive.bytes.len(),
        });
        if let Some(folder) = &arguments.to {
            let path = folder.join(locked.archive());
            write_whole(&path, &archive.bytes).map_err(|error| refused(&path, error))?;
            row["file"] = json!(path);
        }
        rows.push(row);
    }
    store.warn_of_missing_digests(&archives);
    let place = match (&arguments.to, &store.cache) {
        (Some(folder), _) => folder.display().to_string(),
        (None, Some(cache)) => cache.display().to_string(),
        (None, None) => {
            session.events.emit(Event::Warning { message: "there is no cache, and no folder with --to".to_owned() });
            "nowhere".to_owned()
        }
    };
    let text = format!("{} charts are in {place}\n", archives.len());
    session.terminal.result("charts-pull", json!({ "charts": rows }), &text);
    Ok(())
}

fn refused(path: &Path, error: anyhow::Error) -> anyhow::Error {
    Failure::new(Kind::Refused, format!("cannot write `{}`", path.display())).caused_by(error)
}
