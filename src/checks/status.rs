//! The state of the stack on one screen. Reads only.

use super::expected;
use super::facts::{CannotAsk, Fact, ReleaseFact};
use super::gather::{alertmanager, namespaces, prometheus, releases};
use super::judge::{WATCHDOG, state_of_workload};
use super::reach::Reach;
use crate::config::{Config, Profile};
use crate::event::Events;
use crate::plan::StoredRelease;
use crate::ready::Snapshot;
use crate::render::Bundle;
use crate::render::digest::chart_digest;
use crate::stack;
use kube::Client;
use reqwest::Url;
use serde::Serialize;
use std::collections::BTreeMap;

/// Of what the state is wanted.
pub struct StatusRequest<'a> {
    /// The cluster.
    pub client: Option<Client>,
    /// The configuration.
    pub config: &'a Config,
    /// What is to be deployed.
    pub bundle: &'a Bundle,
    /// URLs of programs by component key; the others are reached by port-forward.
    pub endpoints: BTreeMap<String, Url>,
    /// Where details go.
    pub events: Events,
}

/// The state of the stack.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The Helm releases.
    pub releases: Asked<Vec<ReleaseStatus>>,
    /// The components in the order of the catalogue.
    pub components: Asked<Vec<ComponentStatus>>,
    /// The firing alerts.
    pub alerts: Asked<FiringAlerts>,
}

/// Something that was asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked<T> {
    /// The answer.
    Known(T),
    /// Why there is none.
    Unknown(String),
}

impl<T> From<Fact<T>> for Asked<T> {
    fn from(fact: Fact<T>) -> Self {
        match fact {
            Ok(answer) => Asked::Known(answer),
            Err(why) => Asked::Unknown(why.reason),
        }
    }
}

/// One Helm release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Version of the chart that is installed: of the revision that is `deployed`, or else of the one that failed last;
    /// `None` when there is neither, or Helm's record of it cannot be read.
    pub chart_version: Option<String>,
    /// Version of the program in it.
    pub app_version: Option<String>,
    /// Version of the chart that this configuration deploys.
    pub configured_chart_version: String,
    /// Helm's status, or `not installed`.
    pub status: String,
    /// Revision; `None` when it is not installed.
    pub revision: Option<u64>,
    /// The revision that stands, whose versions these are; another where the newest failed.
    pub standing_revision: Option<u64>,
    /// True when what is installed was made from another chart than this program's.
    pub differs: bool,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Key of the component or exporter in the configuration.
    pub key: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Whether it is deployed by this configuration.
    pub enabled: bool,
    /// Ready replicas.
    pub ready: i64,
    /// Wanted replicas.
    pub wanted: i64,
    /// Why it is not ready.
    pub problem: Option<String>,
}

/// The firing alerts, without the one that always fires.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FiringAlerts {
    /// Key of the component that was asked.
    pub source: &'static str,
    /// The alerts by their `severity` label; `none` without one.
    pub by_severity: BTreeMap<String, Vec<FiringAlert>>,
}

/// One firing alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FiringAlert {
    /// Its name.
    pub name: String,
    /// Its annotation `summary`, else `description`, else empty.
    pub summary: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Reads the state of the stack; what cannot be asked is said in its place.
pub async fn status(request: StatusRequest<'_>) -> Status {
    let StatusRequest { client, config, bundle, endpoints, events } = request;
    let reach = Reach::new(client.clone(), config, endpoints, &events);
    let cluster = client.as_ref().ok_or_else(|| CannotAsk::lasting("no cluster is given"));
    let names = expected::namespaces(config);
    let (found_releases, found, alerts) = tokio::join!(
        async { releases(cluster.clone()?, bundle).await },
        namespaces(cluster.clone(), &names),
        firing(&reach),
    );
    reach.close().await;
    Status {
        releases: found_releases.map(|found| releases_of(bundle, &found)).into(),
        components: components_of(config, &found).into(),
        alerts: alerts.into(),
    }
}

impl Status {
    /// Takes in what Helm keeps of the releases, by namespace and name.
    pub fn learn_versions(&mut self, stored: &BTreeMap<(String, String), StoredRelease>) {
        let Asked::Known(releases) = &mut self.releases else { return };
        for release in releases {
            let found = stored.get(&(release.namespace.clone(), release.name.clone()));
            release.chart_version = found.map(|found| found.chart_version.clone());
            release.app_version = found.map(|found| found.app_version.clone());
        }
    }
}

fn releases_of(bundle: &Bundle, found: &[ReleaseFact]) -> Vec<ReleaseStatus> {
    let status = |release: &crate::render::bundle::Release| {
        let is_it = |fact: &&ReleaseFact| fact.name == release.name && fact.namespace == release.namespace;
        let fact = found.iter().find(is_it);
        ReleaseStatus {
            name: release.name.clone(),
            namespace: release.namespace.clone(),
            chart_version: None,
            app_version: None,
            configured_chart_version: release.chart.version.clone(),
            status: fact.map_or_else(|| "not installed".to_owned(), |fact| fact.status.clone()),
            revision: fact.map(|fact| fact.revision),
            standing_revision: fact.and_then(|fact| fact.base),
            differs: fact.is_some_and(|fact| fact.chart_digest.as_deref() != Some(&*chart_digest(&release.chart))),
        }
    };
    bundle.releases.iter().map(status).collect()
}

/// The components and the exporters that are deployed; the components that are off too, where the
/// profile has them.
fn components_of(config: &Config, found: &BTreeMap<String, Fact<Snapshot>>) -> Fact<Vec<ComponentStatus>> {
    let off = |component: &&'static stack::Component| {
        !config.component_enabled(component.key)
            && (config.profile == Profile::Production || !component.production_only)
    };
    let mut rows = Vec::new();
    for workload in expected::workloads(config) {
        let snapshot = match found.get(workload.namespace) {
            Some(Ok(snapshot)) => snapshot,
            Some(Err(why)) => return Err(why.clone()),
            None => return Err(CannotAsk::lasting(format!("namespace `{}` was not read", workload.namespace))),
        };
        let state = state_of_workload(&workload, snapshot);
        rows.push(ComponentStatus {
            key: workload.key,
            title: workload.title,
            enabled: true,
            ready: state.ready,
            wanted: state.wanted,
            problem: state.problem,
        });
    }
    rows.extend(stack::COMPONENTS.iter().filter(off).map(|component| ComponentStatus {
        key: component.key,
        title: component.title,
        enabled: false,
        ready: 0,
        wanted: 0,
        problem: None,
    }));
    let place = |row: &ComponentStatus| stack::COMPONENTS.iter().position(|component| component.key == row.key);
    // The order of the catalogue; the exporters come last.
    rows.sort_by_key(|row| place(row).unwrap_or(usize::MAX));
    Ok(rows)
}

/// The firing alerts as Prometheus sees them, else as Alertmanager does.
async fn firing(reach: &Reach) -> Fact<FiringAlerts> {
    let from_prometheus = prometheus(reach, async |prometheus| prometheus.alerts().await).await;
    let why = match from_prometheus {
        Ok(alerts) => {
            let firing = alerts.into_iter().filter(|alert| alert.state == "firing");
            return Ok(by_severity("prometheus", firing.map(|alert| (alert.labels, alert.annotations))));
        }
        Err(why) => why,
    };
    match alertmanager(reach, async |alertmanager| alertmanager.alerts(&[]).await).await {
        Ok(alerts) => {
            Ok(by_severity("alertmanager", alerts.into_iter().map(|alert| (alert.labels, alert.annotations))))
        }
        // The way to Prometheus is the one to mend.
        Err(_) => Err(why),
    }
}

type Texts = BTreeMap<String, String>;

fn by_severity(source: &'static str, alerts: impl Iterator<Item = (Texts, Texts)>) -> FiringAlerts {
    let mut by_severity: BTreeMap<String, Vec<FiringAlert>> = BTreeMap::new();
    for (labels, mut annotations) in alerts {
        let name = labels.get("alertname").cloned().unwrap_or_default();
        if name == WATCHDOG {
            continue;
        }
        let severity = labels.get("severity").cloned().unwrap_or_else(|| "none".to_owned());
        let summary = annotations.remove("summary").or_else(|| annotations.remove("description")).unwrap_or_default();
        by_severity.entry(severity).or_default().push(FiringAlert { name, summary, labels });
    }
    by_severity.values_mut().for_each(|alerts| alerts.sort());
    FiringAlerts { source, by_severity }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::judge::testing;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_release_that_is_not_there_is_said_to_be_missing() {
        let (_, bundle) = testing::scope();
        let fact = ReleaseFact {
            namespace: "drivemaster-monitoring".to_owned(),
            name: "prometheus".to_owned(),
            status: "failed".to_owned(),
            revision: 3,
            base: Some(2),
            chart_digest: None,
        };
        let seen = releases_of(&bundle, &[fact]);
        assert!(seen[0].differs && !seen[1].differs);
        let seen: Vec<_> =
            seen.iter().map(|release| (release.name.as_str(), release.status.as_str(), release.revision)).collect();
        assert_eq!(seen, [("prometheus", "failed", Some(3)), ("loki", "not installed", None)]);
    }

    #[test]
    fn the_versions_are_those_that_are_installed() {
        let (_, bundle) = testing::scope();
        let mut status = Status {
            releases: Asked::Known(releases_of(&bundle, &[])),
            components: Asked::Unknown(String::new()),
            alerts: Asked::Unknown(String::new()),
        };
        let place = ("drivemaster-monitoring".to_owned(), "prometheus".to_owned());
        let installed = StoredRelease { chart_version: "0.0.1".to_owned(), ..StoredRelease::default() };
        status.learn_versions(&[(place, installed)].into());
        let Asked::Known(releases) = status.releases else { panic!() };
        let versions: Vec<Option<&str>> = releases.iter().map(|release| release.chart_version.as_deref()).collect();
        assert_eq!(versions, [Some("0.0.1"), None]);
        assert_eq!(releases[0].configured_chart_version, bundle.releases[0].chart.version);
    }

    #[test]
    fn each_component_stands_with_its_replicas_or_why_there_are_none() {
        let (config, _) = testing::scope();
        let mut loki = testing::stateful_set("loki", json!({"replicas": 2}));
        loki["status"]["readyReplicas"] = json!(1);
        let seen = components_of(&config, &testing::holding(testing::snapshot_of(&[loki])).namespaces).unwrap();
        let of = |key: &str| seen.iter().find(|component| component.key == key).unwrap();
        assert_eq!((of("loki").ready, of("loki").wanted), (1, 2));
        assert!(of("loki").problem.is_some());
        assert_eq!(of("grafana").problem.as_deref(), Some("it does not exist"));
        assert_eq!((of("jaeger").enabled, of("jaeger").problem.as_deref()), (false, None));
        // What only profile production has is not even named.
        assert_eq!(seen.len(), stack::COMPONENTS.iter().filter(|component| !component.production_only).count());
    }

    #[test]
    fn alerts_stand_by_severity_without_the_one_that_always_fires() {
        let alert = |name: &str, severity: Option<&str>| {
            let mut labels = Texts::from([("alertname".to_owned(), name.to_owned())]);
            labels.extend(severity.map(|severity| ("severity".to_owned(), severity.to_owned())));
            (labels, Texts::from([("summary".to_owned(), format!("{name} fires"))]))
        };
        let alerts = [
            alert("B", Some("critical")),
            alert("Watchdog", Some("none")),
            alert("A", Some("critical")),
            alert("C", None),
        ];
        let firing = by_severity("prometheus", alerts.into_iter());
        let names = |severity: &str| -> Vec<&str> {
            firing.by_severity[severity].iter().map(|alert| alert.name.as_str()).collect()
        };
        assert_eq!((names("critical"), names("none")), (vec!["A", "B"], vec!["C"]));
        assert_eq!(firing.by_severity["critical"][0].summary, "A fires");
    }

    #[test]
    fn what_could_not_be_asked_is_said_in_json() {
        let unknown: Asked<Vec<u8>> = Err(CannotAsk::passing("no cluster")).into();
        assert_eq!(serde_json::to_value(unknown).unwrap(), json!({"unknown": "no cluster"}));
    }
}
