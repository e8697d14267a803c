//! `validate`: judge everything offline.

use super::session::Session;
use crate::cli::{SeverityArg, ValidateArgs};
use crate::config::Config;
use crate::contract::Contract;
use crate::error::{Failure, Kind, chain_of};
use crate::report::findings::{Format, text};
use crate::report::table::aligned;
use crate::validate::{Foreign, ForeignFiles, Judged, Own, Severity, Text, Verdict, codes, judge_foreign, judge_own};
use include_dir::{Dir, include_dir};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The pages about alerts; only their names are looked at.
static RUNBOOKS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/docs/runbooks");

pub(super) async fn run(session: &Session<'_>, arguments: &ValidateArgs) -> anyhow::Result<()> {
    if arguments.list {
        list(session);
        return Ok(());
    }
    known_kinds(&arguments.skip)?;
    let format = session.global.output.as_deref().and_then(Format::named).unwrap_or(Format::Human);
    let fail_on = match arguments.fail_on {
        SeverityArg::Error => Severity::Error,
        SeverityArg::Warning => Severity::Warning,
        SeverityArg::Info => Severity::Info,
    };
    let config = session.config()?;
    let mut verdict = if arguments.rules.is_empty() && arguments.dashboards.is_empty() {
        own(session, &config, arguments)?
    } else {
        judge_foreign(&foreign(arguments)?, &config)?
    };
    let is_skipped = |id: &str| arguments.skip.iter().any(|skip| id == skip || id.split('/').next() == Some(skip));
    verdict.findings.retain(|finding| !is_skipped(finding.code.id));
    session.terminal.stdout(&text(&verdict, format, fail_on)?);
    match verdict.findings.iter().filter(|finding| finding.severity >= fail_on).count() {
        0 => Ok(()),
        count => Err(Failure::new(Kind::Negative, format!("{count} findings")).already_shown().into()),
    }
}

/// Judges what a deploy would install.
fn own(session: &Session<'_>, config: &Config, arguments: &ValidateArgs) -> anyhow::Result<Verdict> {
    let mut sources = session.sources()?;
    if let Some(contract) = contract(arguments)? {
        sources = sources.with_contract(contract);
    }
    // What is wrong with a rule or dashboard keeps it from being rendered, and is told better than by that.
    let bundle = session.bundle_at_hand(config, &sources);
    let own = Own {
        config,
        sources: &sources,
        runbooks: RUNBOOKS.files().map(|file| format!("docs/runbooks/{}", file.path().display())).collect(),
        bundle: bundle.as_ref().map_err(|error| chain_of(error).join(": ")),
    };
    let verdict = judge_own(&own)?;
    match bundle {
        Err(error) if verdict.findings.is_empty() => Err(error),
        _ => Ok(verdict),
    }
}

/// The files that `arguments` name.
fn foreign(arguments: &ValidateArgs) -> anyhow::Result<Foreign> {
    let mut dashboards = BTreeSet::new();
    for folder in &arguments.dashboards {
        collect(folder, 0, &mut dashboards)?;
    }
    Ok(Foreign {
        rules: read_all(&arguments.rules)?,
        dashboards: read_all(&dashboards)?,
        contract: contract(arguments)?,
    })
}

/// The texts of `paths`. One that is too long or no text is a finding about it, and the others are judged.
fn read_all<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> anyhow::Result<ForeignFiles> {
    let mut files = ForeignFiles::default();
    for path in paths {
        let name = path.display().to_string();
        match read_file(path) {
            Ok(text) => files.readable.push(Judged::file(Text::new(name, text))),
            Err(error) if is_of_content(&error) => files.unreadable.push((name, error.root_cause().to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// Whether a file could not be read for what is in it.
fn is_of_content(error: &anyhow::Error) -> bool {
    let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind.is_some_and(|kind| matches!(kind, ErrorKind::FileTooLarge | ErrorKind::InvalidData))
}

/// The contract that `arguments` name.
fn contract(arguments: &ValidateArgs) -> anyhow::Result<Option<Contract>> {
    let Some(path) = &arguments.contract else { return Ok(None) };
    let contract = Contract::parse(&path.display().to_string(), &read_file(path)?).map_err(|error| {
        Failure::new(Kind::Usage, format!("`{}` is no contract", path.display()))
            .hint("it has the form of alerts/contract.yaml")
            .caused_by(error)
    })?;
    if contract.exporters.values().all(Vec::is_empty) {
        return Err(Failure::new(Kind::Usage, format!("the contract `{}` names no metric", path.display()))
            .hint("it has the form of alerts/contract.yaml")
            .into());
    }
    Ok(Some(contract))
}

/// The most dashboards that are read, and how deep folders may stand in each other.
const MOST_DASHBOARDS: usize = 1000;
const DEEPEST: usize = 16;

/// The JSON files below `path`, or itself. Symbolic links are not followed: they may lead anywhere, and in
/// circles; one that a person names is.
fn collect(path: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let failed = || Failure::new(Kind::Usage, format!("cannot read `{}`", path.display()));
    if depth == 0 && !path.is_dir() {
        found.insert(path.to_owned());
        return Ok(());
    }
    if depth > DEEPEST {
        return Err(failed().caused_by(std::io::Error::other(format!("more than {DEEPEST} folders in each other"))));
    }
    for entry in std::fs::read_dir(path).map_err(|error| failed().caused_by(error))? {
        let entry = entry.map_err(|error| failed().caused_by(error))?;
        let kind = entry.file_type().map_err(|error| failed().caused_by(error))?;
        let path = entry.path();
        if kind.is_dir() {
            collect(&path, depth + 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|ending| ending == "json") {
            found.insert(path);
        }
        if found.len() > MOST_DASHBOARDS {
            return Err(failed().caused_by(std::io::Error::other(format!("more than {MOST_DASHBOARDS} dashboards"))));
        }
    }
    if depth == 0 && found.is_empty() {
        return Err(failed().caused_by(std::io::Error::other("there is no `.json` file in it")));
    }
    Ok(())
}

/// The text of a file that a person named.
fn read_file(path: &Path) -> anyhow::Result<String> {
    let failed = || Failure::new(Kind::Usage, format!("cannot read `{}`", path.display()));
    // Reading a pipe would wait for its writer.
    if path.exists() && !path.is_file() {
        return Err(failed().caused_by(std::io::Error::other("it is not a regular file")));
    }
    super::text::read(path).map_err(|error| failed().caused_by(error))
}

/// Fails for a kind or category that there is not.
fn known_kinds(words: &[String]) -> anyhow::Result<()> {
    let is_known = |word: &&String| codes().iter().any(|code| code.id == *word || code.category() == *word);
    match words.iter().find(|word| !is_known(word)) {
        Some(word) => Err(Failure::new(Kind::Usage, format!("`--skip {word}`: there is no such kind of finding"))
            .hint("`drivemaster-mon validate --list` lists them")
            .into()),
        None => Ok(()),
    }
}

fn list(session: &Session<'_>) {
    let rows: Vec<Vec<String>> = codes()
        .iter()
        .map(|code| vec![code.id.to_owned(), code.severity.word().to_owned(), code.title.to_owned()])
        .collect();
    let kinds: Vec<_> = codes()
        .iter()
        .map(|code| {
            json!({
                "code": code.id, "severity": code.severity, "foreign": code.foreign,
                "title": code.title, "fix": code.fix, "doc": code.doc(),
            })
        })
        .collect();
    session.terminal.result("findings", json!({ "kinds": kinds }), &aligned(&rows));
}
