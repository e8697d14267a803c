//! Where the upstream charts come from: a folder of the person's, the cache, their repositories.

use crate::chart::lock::{Lock, LockedChart, archive_digest, judge_digest};
use crate::chart::{Chart, Charts, archive};
use crate::error::{Failure, Kind, chain_of};
use crate::event::{Event, Events};
use crate::helm::Helm;
use crate::helm::repository::Repository;
use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many repositories are asked at once.
const CONCURRENCY: usize = 4;
/// How long one repository may take for an answer or an archive, where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Finds helm when a repository must be asked.
pub type FindHelm<'a> = Box<dyn Fn() -> Result<Helm> + Send + Sync + 'a>;

/// The newest version of a chart and of the program it installs, or why nobody could say.
pub type Newest = Result<(String, String), Arc<anyhow::Error>>;

/// The places where locked charts are looked for, in this order.
pub struct Store<'a> {
    /// The lock.
    pub lock: &'a Lock,
    /// The lock's name, for messages.
    pub lock_name: &'a str,
    /// A folder of the person's with archives.
    pub folder: Option<&'a Path>,
    /// The cache; it is made and filled where possible.
    pub cache: Option<PathBuf>,
    /// Finds the helm that asks repositories.
    pub helm: FindHelm<'a>,
    /// How long one repository may take.
    pub patience: Duration,
    /// Where warnings go.
    pub events: Events,
    /// Ends transfers.
    pub cancel: CancellationToken,
}

/// The archive of a locked chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// What the lock says.
    pub locked: LockedChart,
    /// Where it came from.
    pub place: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Store<'_> {
    /// The charts `needed`, by their names.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a chart that the lock has not, [`Kind::Refused`] for an archive that is not
    /// the locked one, [`Kind::CouldNotAsk`] when a repository must be asked and cannot.
    pub async fn load(&self, needed: &[&str]) -> Result<Charts> {
        let archives = self.archives(needed).await?;
        self.warn_of_missing_digests(&archives);
        archives.iter().map(|archive| Ok((archive.locked.name.clone(), read(archive)?))).collect()
    }

    /// The same for one who knows the charts by their content, and needs no digest of the archives.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn load_known(&self, needed: &[&str]) -> Result<Charts> {
        let archives = self.archives(needed).await?;
        archives.iter().map(|archive| Ok((archive.locked.name.clone(), read(archive)?))).collect()
    }

    /// Those of the charts `needed` that no repository must be asked for, by their names.
    ///
    /// # Errors
    /// As [`Store::load`], but for what must be asked.
    pub fn load_at_hand(&self, needed: &[&str]) -> Result<Charts> {
        let mut charts = Charts::new();
        for name in needed {
            if let Some(archive) = self.at_hand(self.locked(name)?)? {
                charts.insert((*name).to_owned(), read(&archive)?);
            }
        }
        Ok(charts)
    }

    fn at_hand(&self, locked: &LockedChart) -> Result<Option<Archive>> {
        Ok(match self.in_folder(locked)? {
            Some(archive) => Some(archive),
            None => self.in_cache(locked),
        })
    }

    /// The archives of the charts `needed`, each of the locked version and digest.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn archives(&self, needed: &[&str]) -> Result<Vec<Archive>> {
        let mut found = Vec::new();
        let mut missing: BTreeMap<(&str, bool), Vec<&LockedChart>> = BTreeMap::new();
        for name in needed {
            let locked = self.locked(name)?;
            match self.at_hand(locked)? {
                Some(archive) => found.push(archive),
                None => missing.entry((&locked.repository, locked.plain_http)).or_default().push(locked),
            }
        }
        if !missing.is_empty() {
            let helm = (self.helm)().map_err(|error| {
                let names: Vec<&str> = missing.values().flatten().map(|chart| chart.name.as_str()).collect();
                let message = format!("there is no helm to get the charts {} with", quoted(&names));
                Failure::new(Kind::CouldNotAsk, message)
                    .hint("`--charts DIR` names a folder with them")
                    .caused_by(error)
            })?;
            let pulled: Vec<Vec<Archive>> = stream::iter(missing)
                .map(|((repository, _), charts)| self.pull_all(helm.clone(), repository, charts))
                .buffer_unordered(CONCURRENCY)
                .try_collect()
                .await?;
            found.extend(pulled.into_iter().flatten());
        }
        found.sort_by(|one, other| one.locked.name.cmp(&other.locked.name));
        Ok(found)
    }

    /// The locked chart called `name`.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the lock has none.
    pub fn locked(&self, name: &str) -> Result<&LockedChart> {
        self.lock.get(name).ok_or_else(|| {
            Failure::new(Kind::Usage, format!("the lock of charts `{}` has no chart `{name}`", self.lock_name))
                .hint("drivemaster-mon charts list")
                .into()
        })
    }

    /// The newest published version of every chart of the lock, by the chart's name.
    pub async fn newest(&self) -> BTreeMap<String, Newest> {
        let mut by_repository: BTreeMap<(&str, bool), Vec<&LockedChart>> = BTreeMap::new();
        for locked in &self.lock.charts {
            by_repository.entry((&locked.repository, locked.plain_http)).or_default().push(locked);
        }
        let asked: Vec<Vec<(String, Newest)>> = stream::iter(by_repository)
            .map(|((repository, _), charts)| async move {
                let opened = async { Repository::open((self.helm)()?, repository, self.patience, &self.cancel).await };
                let repository = match opened.await {
                    Ok(repository) => repository,
                    Err(error) => {
                        let told = Arc::new(error);
                        return charts.iter().map(|chart| (chart.name.clone(), Err(Arc::clone(&told)))).collect();
                    }
                };
                let mut newest = Vec::new();
                for chart in charts {
                    let deadline = Instant::now() + self.patience;
                    let found = repository.newest(chart, deadline, &self.cancel).await;
                    newest.push((chart.name.clone(), found.map_err(Arc::new)));
                }
                newest
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        asked.into_iter().flatten().collect()
    }

    /// Where the archive is in the cache: apart for each repository, as two may publish different
    /// charts under one name and version.
    pub fn cached_at(&self, locked: &LockedChart) -> Option<PathBuf> {
        let digest = Sha256::digest(locked.repository.trim_end_matches('/'));
        let folder: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Some(self.cache.as_ref()?.join(folder).join(locked.archive()))
    }

    fn in_folder(&self, locked: &LockedChart) -> Result<Option<Archive>> {
        let Some(folder) = self.folder else { return Ok(None) };
        let path = folder.join(locked.archive());
        let place = path.display().to_string();
        match std::fs::read(&path) {
            Ok(bytes) => {
                let archive = Archive { locked: locked.clone(), place, bytes };
                judge(&archive)?;
                Ok(Some(archive))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match other_version(folder, locked)? {
                Some(other) => Err(Failure::new(
                    Kind::Refused,
                    format!(
                        "the folder of charts `{}` has `{other}` where the lock names version {} of chart `{}`",
                        folder.display(),
                        locked.version,
                        locked.name
                    ),
                )
                .hint(format!("put `{}` there, or give a lock of your own with --charts-lock FILE", locked.archive()))
                .into()),
                None => Ok(None),
            },
            Err(error) => {
                Err(Failure::new(Kind::Refused, format!("cannot read the chart archive `{place}`")).caused_by(error))
            }
        }
    }

    /// The archive in the cache. One that is not the locked one is taken away.
    fn in_cache(&self, locked: &LockedChart) -> Option<Archive> {
        let path = self.cached_at(locked)?;
        let bytes = std::fs::read(&path).ok()?;
        let archive = Archive { locked: locked.clone(), place: path.display().to_string(), bytes };
        let judged = judge(&archive).and_then(|()| read(&archive).map(|_| ()));
        let Err(error) = judged else { return Some(archive) };
        let message = format!("left the cache aside: {}", chain_of(&error).join(": "));
        self.events.emit(Event::Warning { message });
        // Where it cannot be taken away it will be found and left aside again.
        let _ = std::fs::remove_file(&path);
        None
    }

    async fn pull_all(&self, helm: Helm, repository: &str, charts: Vec<&LockedChart>) -> Result<Vec<Archive>> {
        let repository = Repository::open(helm, repository, self.patience, &self.cancel).await?;
        let mut archives = Vec::new();
        for locked in charts {
            self.events.emit(Event::Detail {
                message: format!("pulling chart {} {} from {}", locked.name, locked.version, locked.repository),
            });
            let bytes = repository.pull(locked, Instant::now() + self.patience, &self.cancel).await?;
            let archive = Archive { locked: locked.clone(), place: locked.repository.clone(), bytes };
            judge(&archive)?;
            read(&archive)?;
            if let Err(error) = self.keep(&archive) {
                let message = format!("the chart `{}` is not kept in the cache: {error:#}", locked.name);
                self.events.emit(Event::Detail { message });
            }
            archives.push(archive);
        }
        Ok(archives)
    }

    /// Writes the archive to the cache, whole or not at all.
    fn keep(&self, archive: &Archive) -> Result<()> {
        let Some(path) = self.cached_at(&archive.locked) else { return Ok(()) };
        write_whole(&path, &archive.bytes)
    }

    /// Says which of `archives` were accepted by their version alone.
    pub fn warn_of_missing_digests(&self, archives: &[Archive]) {
        let without: Vec<&str> = archives
            .iter()
            .filter(|archive| archive.locked.digest.is_none())
            .map(|archive| archive.locked.name.as_str())
            .collect();
        if !without.is_empty() {
            let message = format!(
                "accepted by version alone, as the lock `{}` has no digest of them: {}; `drivemaster-mon charts lock` \
                 writes a lock with digests",
                self.lock_name,
                quoted(&without)
            );
            self.events.emit(Event::Warning { message });
        }
    }
}

/// Writes `bytes` to `path` so that nobody ever sees a part of them.
///
/// # Errors
/// When the folder cannot be made or written to.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".drivemaster-mon-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(|_| ()).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Refuses an archive whose digest is not that of the lock.
fn judge(archive: &Archive) -> Result<()> {
    match &archive.locked.digest {
        Some(digest) => {
            judge_digest(&archive.locked, &archive.place, ("the lock", digest), &archive_digest(&archive.bytes))
        }
        None => Ok(()),
    }
}

/// The chart in `archive`, which must be the locked one by its own word too.
fn read(archive: &Archive) -> Result<Chart> {
    let Archive { locked, place, bytes } = archive;
    let chart = archive::read(place, bytes)?;
    if chart.name == locked.name && chart.version.trim_start_matches('v') == locked.version.trim_start_matches('v') {
        return Ok(chart);
    }
    let message = format!(
        "the archive `{place}` holds chart `{}` {} where the lock names `{}` {}",
        chart.name, chart.version, locked.name, locked.version
    );
    Err(Failure::new(Kind::Refused, message).hint("drivemaster-mon charts pull --to DIR").into())
}

/// An archive of another version of the chart in `folder`.
fn other_version(folder: &Path, locked: &LockedChart) -> Result<Option<String>> {
    let listed = std::fs::read_dir(folder).map_err(|error| {
        Failure::new(Kind::Usage, format!("cannot list the folder of charts `{}`", folder.display()))
            .hint("`--charts DIR` names the folder")
            .caused_by(error)
    })?;
    let mut names: Vec<String> =
        listed.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    let is_it = |file: &String| {
        let version = file.strip_prefix(&locked.name).and_then(|rest| rest.strip_prefix('-'));
        version
            .and_then(|rest| rest.strip_suffix(".tgz"))
            .is_some_and(|version| semver::Version::parse(version.trim_start_matches('v')).is_ok())
    };
    Ok(names.into_iter().find(is_it))
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
