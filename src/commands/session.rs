//! What every verb shares: the configuration, the cluster, helm, and the way out.

use crate::chart::lock::Lock;
use crate::chart::{Chart, Charts};
use crate::cli::{GlobalArgs, ProfileArg};
use crate::cluster::{Cluster, ConnectOptions, connect};
use crate::config::{Config, Layer, Profile, resolve};
use crate::error::{Failure, Kind};
use crate::event::Events;
use crate::helm::charts::{PATIENCE, Store};
use crate::helm::run::CutOff;
use crate::helm::{Helm, Renders};
use crate::render::{Bundle, Sources, needed_charts, render_from};
use crate::report::Terminal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// The file that is read when no `-f` is given.
const DEFAULT_FILE: &str = "drivemaster-mon.yaml";

/// One run of one verb.
pub(super) struct Session<'a> {
    /// Options of every verb.
    pub(super) global: GlobalArgs,
    /// Where to print.
    pub(super) terminal: &'a Terminal,
    /// Where the stages send their events.
    pub(super) events: Events,
    /// Cancelled by Ctrl-C.
    pub(super) cancel: CancellationToken,
    /// Raised when something was cut off that may still be carried out.
    pub(super) cut_off: CutOff,
}

/// Where pulled charts are kept; nowhere without a home.
pub(super) fn chart_cache() -> Option<PathBuf> {
    cache("charts")
}

/// The folder `$XDG_CACHE_HOME/drivemaster-mon/<name>`; none without a home.
fn cache(name: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("drivemaster-mon").join(name))
}

/// The same helm, which is killed when this process is: what it would still do, the next deploy would not
/// know of.
#[cfg(target_os = "linux")]
fn bound(helm: Helm) -> Helm {
    let parent = std::process::id().to_string();
    helm.launched_by(PathBuf::from("/proc/self/exe"), vec![crate::process::BOUND_MODE.to_owned(), parent])
}

/// The same helm: only Linux ends a process with its parent.
#[cfg(not(target_os = "linux"))]
fn bound(helm: Helm) -> Helm {
    helm
}

/// A cluster to work with, and the helm for it.
pub(super) struct Target {
    /// The connection.
    pub(super) cluster: Cluster,
    /// Folders to look for helm in, before PATH.
    pub(super) program_path: Option<OsString>,
    /// True on a sandbox, where nothing needs to be asked.
    pub(super) throwaway: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(global: GlobalArgs, terminal: &'a Terminal, cancel: CancellationToken) -> Self {
        Session { global, terminal, events: terminal.events(), cancel, cut_off: CutOff::default() }
    }

    /// The resolved configuration.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let mut user = Vec::new();
        let files = match self.global.files.as_slice() {
            [] if Path::new(DEFAULT_FILE).exists() => vec![PathBuf::from(DEFAULT_FILE)],
            files => files.to_vec(),
        };
        for file in &files {
            let text = super::text::read(file).map_err(|error| {
                Failure::new(Kind::Usage, format!("cannot read the configuration file `{}`", file.display()))
                    .hint("`-f FILE` names the file to read")
                    .caused_by(error)
            })?;
            user.push(Layer::new(file.display().to_string(), text));
        }
        let mut sets = self.global.sets.clone();
        if let Some(namespace) = &self.global.namespace {
            sets.push(format!("namespaces.monitoring={namespace}"));
        }
        let profile = self.global.profile.map(|profile| match profile {
            ProfileArg::Local => Profile::Local,
            ProfileArg::Production => Profile::Production,
        });
        resolve(profile, &self.inner_layers(), &user, &sets)
    }

    /// The configuration and what it renders to.
    pub(super) async fn bundle(&self) -> anyhow::Result<(Config, Bundle)> {
        let config = self.config()?;
        let sources = self.sources()?;
        let bundle = self.bundle_of(&config, &sources).await?;
        Ok((config, bundle))
    }

    /// The files that everything is rendered from, with those of the overlay.
    pub(super) fn sources(&self) -> anyhow::Result<Sources> {
        let Some(folder) = self.global.overlay.as_deref() else { return Ok(Sources::embedded()) };
        let overlay = super::overlay::read(folder)?;
        Ok(Sources::embedded().with_overlay_at(&folder.display().to_string(), overlay))
    }

    /// What `config` renders to from `sources`.
    pub(super) async fn bundle_of(&self, config: &Config, sources: &Sources) -> anyhow::Result<Bundle> {
        let needed = needed_charts(config);
        let charts = if needed.is_empty() { Charts::new() } else { self.charts(&needed).await? };
        render_from(config, sources, &charts)
    }

    /// What `config` renders to from `sources`, without asking any repository: charts that are not at hand
    /// are empty.
    pub(super) fn bundle_at_hand(&self, config: &Config, sources: &Sources) -> anyhow::Result<Bundle> {
        let needed = needed_charts(config);
        let (lock, name) = self.lock()?;
        let store = self.store(&lock, &name);
        let mut charts = store.load_at_hand(&needed)?;
        for name in needed {
            let version = store.locked(name)?.version.clone();
            charts.entry(name.to_owned()).or_insert_with(|| Chart {
                name: name.to_owned(),
                app_version: version.clone(),
                version,
                files: BTreeMap::new(),
            });
        }
        render_from(config, sources, &charts)
    }

    /// The upstream charts `needed`.
    async fn charts(&self, needed: &[&str]) -> anyhow::Result<Charts> {
        let (lock, name) = self.lock()?;
        self.store(&lock, &name).load(needed).await
    }

    /// The lock of charts, and what it is called.
    pub(super) fn lock(&self) -> anyhow::Result<(Lock, String)> {
        let Some(file) = &self.global.charts_lock else {
            return Ok((Lock::embedded()?, "charts.lock.yaml".to_owned()));
        };
        let name = file.display().to_string();
        let text = super::text::read(file).map_err(|error| {
            Failure::new(Kind::Usage, format!("cannot read the lock of charts `{name}`"))
                .hint("`--charts-lock FILE` names it")
                .caused_by(error)
        })?;
        Ok((Lock::parse(&name, &text)?, name))
    }

    /// Where the charts of `lock` come from.
    pub(super) fn store<'l>(&'l self, lock: &'l Lock, name: &'l str) -> Store<'l> {
        Store {
            lock,
            lock_name: name,
            folder: self.global.charts.as_deref(),
            cache: chart_cache(),
            helm: Box::new(|| self.any_helm()),
            patience: PATIENCE,
            events: self.events.clone(),
            cancel: self.cancel.clone(),
        }
    }

    /// A helm that works on no cluster; with `--sandbox`, that of its programs.
    pub(super) fn any_helm(&self) -> anyhow::Result<Helm> {
        #[cfg(feature = "sandbox")]
        if self.global.sandbox.is_some() && self.global.helm.is_none() {
            let programs = crate::sandbox::programs::Programs::find(self.global.tools.as_deref())?;
            return Helm::locate(Some(programs.path("helm")?), None);
        }
        Helm::locate(self.global.helm.as_deref(), std::env::var_os("PATH").as_deref())
    }

    /// Connects to the cluster that was asked for; with `--sandbox`, to that sandbox and never
    /// to a context of the kubeconfig.
    pub(super) async fn target(&self, config: &Config) -> anyhow::Result<Target> {
        #[cfg(feature = "sandbox")]
        if let Some(name) = &self.global.sandbox {
            let running = self.sandbox_up(name, config).await?;
            let options = ConnectOptions { kubeconfig: Some(running.kubeconfig.clone()), context: None };
            let cluster = connect(&options, &self.events).await?;
            let program_path = Some(running.path_directory.clone().into_os_string());
            return Ok(Target { cluster, program_path, throwaway: true });
        }
        let _ = config;
        let options =
            ConnectOptions { kubeconfig: self.global.kubeconfig.clone(), context: self.global.context.clone() };
        Ok(Target { cluster: connect(&options, &self.events).await?, program_path: None, throwaway: false })
    }

    /// The helm executable for `target`.
    pub(super) fn helm(&self, target: &Target) -> anyhow::Result<Helm> {
        let mut path = target.program_path.clone().unwrap_or_default();
        if let Some(inherited) = std::env::var_os("PATH") {
            if !path.is_empty() {
                path.push(":");
            }
            path.push(inherited);
        }
        Helm::locate(self.global.helm.as_deref(), Some(&path)).map(bound)
    }

    /// What helm makes of releases on `target`, from the cache where it is known.
    pub(super) fn renders(&self, target: &Target) -> anyhow::Result<Renders> {
        Ok(Renders { helm: self.helm(target)?, folder: cache("renders") })
    }

    /// `work`, unless Ctrl-C comes first. Only for work that leaves nothing half-done when dropped.
    pub(super) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.or_interrupted(work, "nothing was changed").await
    }

    /// `work`, unless Ctrl-C comes first: then the failure says `what_stands`.
    pub(super) async fn or_interrupted<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
        what_stands: &str,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            () = self.cancel.cancelled() => Err(super::interrupted(what_stands)),
        }
    }

    /// Asks for a yes before something is changed, unless `yes` was given or nothing can be lost.
    pub(super) async fn confirm(
        &self,
        target: &Target,
        yes: bool,
        question: &str,
        command: &str,
    ) -> anyhow::Result<()> {
        if yes || target.throwaway {
            return Ok(());
        }
        let asked = async { Ok(self.terminal.confirm(question).await) };
        match self.unless_interrupted(asked).await? {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::new(Kind::Refused, "not confirmed; nothing was changed").into()),
            None => Err(Failure::new(Kind::Refused, "nobody is there to confirm; nothing was changed")
                .hint(format!("`{command} --yes` does not ask"))
                .into()),
        }
    }

    /// What a suggested command needs so that it means the same cluster: ` --sandbox=NAME`, or nothing.
    #[cfg(feature = "sandbox")]
    pub(super) fn sandbox_option(&self) -> String {
        match self.global.sandbox.as_deref() {
            Some("default") => " --sandbox".to_owned(),
            Some(name) => format!(" --sandbox={name}"),
            None => String::new(),
        }
    }

    /// What a suggested command needs so that it means the same cluster: nothing.
    #[cfg(not(feature = "sandbox"))]
    pub(super) fn sandbox_option(&self) -> String {
        String::new()
    }

    #[cfg(feature = "sandbox")]
    fn inner_layers(&self) -> Vec<Layer> {
        match &self.global.sandbox {
            Some(_) => vec![Layer::new("values/sandbox.yaml", crate::sandbox::VALUES)],
            None => Vec::new(),
        }
    }

    #[cfg(not(feature = "sandbox"))]
    fn inner_layers(&self) -> Vec<Layer> {
        Vec::new()
    }
}
