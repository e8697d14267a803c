//! Asks the cluster and the programs for the facts that are needed, all at once. Writes nothing into
//! the cluster; what is sent to Loki and to the Collector to be found again stands in `round_trip`.

mod cluster;
mod metrics;
mod panels;
mod protection;
mod routes;

pub(super) use cluster::{namespaces, releases};

use super::expected;
use super::facts::{CannotAsk, Fact, Facts, Need};
use super::judge::WATCHDOG;
use super::reach::{Reach, Way};
use super::round_trip::RoundTrips;
use crate::config::Config;
use crate::render::Bundle;
use crate::telemetry::{Alertmanager, HttpError, Loki, Prometheus};
use futures::future::join_all;
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked, and of whom.
pub(super) struct Questions<'a> {
    pub(super) client: Option<&'a Client>,
    pub(super) config: &'a Config,
    pub(super) bundle: &'a Bundle,
    pub(super) reach: &'a Reach,
    pub(super) round_trips: &'a RoundTrips,
}

/// Asks for the facts of `needs`; the others say that they were not asked.
pub(super) async fn gather(questions: &Questions<'_>, needs: &BTreeSet<Need>) -> Facts {
    let Questions { client, config, bundle, reach, round_trips } = questions;
    let cluster = client.ok_or_else(|| CannotAsk::lasting("no cluster is given"));
    let monitoring = config.namespaces.monitoring.as_str();
    macro_rules! when {
        ($need:ident, $question:expr) => {
            async {
                match needs.contains(&Need::$need) {
                    true => $question.await,
                    false => Err(CannotAsk::lasting("not asked")),
                }
            }
        };
    }
    let mut wanted: Vec<&str> = Vec::new();
    if needs.contains(&Need::Snapshot) {
        wanted.extend(expected::namespaces(config));
    }
    if needs.contains(&Need::Platform) {
        wanted.push(&config.namespaces.platform);
    }
    // Each question about the cluster fails by itself: a person may be allowed some of them only.
    let cluster_facts = async {
        tokio::join!(
            when!(ApiServer, async { cluster::api_server(cluster.clone()?).await }),
            when!(Kinds, async { cluster::kinds(cluster.clone()?, bundle).await }),
            when!(Releases, async { releases(cluster.clone()?, bundle).await }),
            namespaces(cluster.clone(), &wanted),
            when!(Services, async { cluster::services(cluster.clone()?, bundle).await }),
            when!(Dashboards, async { cluster::dashboards(cluster.clone()?, bundle).await }),
            when!(DeployedRoutes, async { routes::deployed_routes(cluster.clone()?, monitoring).await }),
            when!(Schedules, async { protection::schedules(cluster.clone()?, &config.namespaces.platform).await }),
            when!(PodSecurity, async { protection::pod_security(cluster.clone()?, bundle).await }),
            when!(NetworkPolicies, async { protection::network_policies(cluster.clone()?, bundle).await }),
        )
    };
    let program_facts = async {
        tokio::join!(
            when!(Targets, prometheus(reach, async |prometheus| prometheus.targets().await)),
            when!(Rules, prometheus(reach, async |prometheus| prometheus.rules().await)),
            // After the rules, so that no evaluation lies in the future of this clock by much.
            when!(Rules, prometheus(reach, async |prometheus| prometheus.now().await)),
            when!(Alerts, prometheus(reach, async |prometheus| prometheus.alerts().await)),
            when!(Panels, prometheus(reach, async |prometheus| panels::panels(&prometheus, config, bundle).await)),
            when!(Metrics, prometheus(reach, async |prometheus| metrics::metrics(&prometheus, bundle).await)),
            when!(Probes, prometheus(reach, async |prometheus| prometheus.query("probe_success").await)),
            when!(
                Reconciliations,
                prometheus(reach, async |prometheus| prometheus.query(&reconciliations(config)).await)
            ),
            when!(
                KnownAlertmanagers,
                prometheus(reach, async |prometheus| {
                    let known = prometheus.alertmanagers().await?.active_alertmanagers;
                    Ok(known.into_iter().map(|known| known.url).collect())
                })
            ),
            when!(
                LoadedRoutes,
                alertmanager(reach, async |alertmanager| Ok(alertmanager.status().await?.config.original))
            ),
            when!(
                Watchdog,
                alertmanager(reach, async |alertmanager| {
                    alertmanager.alerts(&[&format!("alertname=\"{WATCHDOG}\"")]).await
                })
            ),
            when!(LokiConfiguration, loki(reach, async |loki| loki.configuration().await)),
            when!(LogLines, round_trips.lines(config, reach)),
            // The trace is sent by whoever asks first, and the series are those that it left.
            when!(Trace, round_trips.trace(bundle, reach)),
            when!(SpanMetrics, round_trips.series(bundle, reach)),
            programs(reach, config, needs),
        )
    };
    let (cluster_facts, program_facts) = tokio::join!(cluster_facts, program_facts);
    let (
        api_server,
        kinds,
        releases,
        namespaces,
        services,
        dashboards,
        deployed_routes,
        schedules,
        pod_security,
        network_policies,
    ) = cluster_facts;
    let (
        targets,
        rules,
        now,
        alerts,
        panels,
        metrics,
        probes,
        reconciliations,
        known_alertmanagers,
        loaded_routes,
        watchdog,
        loki_configuration,
        log_lines,
        trace,
        span_metrics,
        programs,
    ) = program_facts;
    Facts {
        api_server,
        kinds,
        releases,
        namespaces,
        services,
        dashboards,
        panels,
        metrics,
        programs,
        targets,
        rules,
        now,
        known_alertmanagers,
        deployed_routes,
        loaded_routes,
        watchdog,
        alerts,
        probes,
        log_lines,
        loki_configuration,
        trace,
        span_metrics,
        schedules,
        reconciliations,
        pod_security,
        network_policies,
    }
}

/// Asks how often each controller of experiments looked at one.
fn reconciliations(config: &Config) -> String {
    let job =
        config.enabled_components().find(|component| component.key == "chaosMesh").map(|found| config.job_of(found));
    format!(
        "sum by (controller) (controller_runtime_reconcile_total{{job=\"{}\", controller=~\"schedule-.+\"}})",
        job.unwrap_or_default()
    )
}

async fn programs(
    reach: &Reach,
    config: &Config,
    needs: &BTreeSet<Need>,
) -> BTreeMap<&'static str, Fact<crate::telemetry::Readiness>> {
    if !needs.contains(&Need::Programs) {
        return BTreeMap::new();
    }
    let all = config.enabled_components().map(async |component| (component.key, reach.ready(component).await));
    join_all(all).await.into_iter().collect()
}

/// Asks Prometheus one question.
pub(super) async fn prometheus<T>(
    reach: &Reach,
    question: impl AsyncFnOnce(Prometheus) -> Result<T, HttpError>,
) -> Fact<T> {
    let way: Way<'_> = reach.to("prometheus").await?;
    let client = way.prometheus()?;
    question(client).await.map_err(|error| way.explain(&error))
}

/// Asks Alertmanager one question.
pub(super) async fn alertmanager<T>(
    reach: &Reach,
    question: impl AsyncFnOnce(Alertmanager) -> Result<T, HttpError>,
) -> Fact<T> {
    let way: Way<'_> = reach.to("alertmanager").await?;
    let client = way.alertmanager()?;
    question(client).await.map_err(|error| way.explain(&error))
}

/// Asks Loki one question.
pub(super) async fn loki<T>(reach: &Reach, question: impl AsyncFnOnce(Loki) -> Result<T, HttpError>) -> Fact<T> {
    let way: Way<'_> = reach.to("loki").await?;
    let client = way.loki()?;
    question(client).await.map_err(|error| way.explain(&error))
}
