//! The scrape jobs: one list, from which profile `local` makes scrape configurations and profile
//! `production` the operator's objects, and which `verify` expects of Prometheus.

use super::bundle::ExpectedTarget;
use crate::config::model::{Config, ExporterMode, InternalTlsMode, Profile};
use crate::stack::{EXPORTERS, HEALTH_PROBES, KUBERNETES_JOBS, SPAN_METRICS, URL_PROBES};
use serde::Serialize;

/// Release whose upstream chart brings monitors of its own for everything it installs.
const WITH_OWN_MONITORS: &str = "prometheus";

/// One scrape job, as templates see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScrapeJob {
    #[serde(flatten)]
    pub(super) target: ExpectedTarget,
    /// How often it is scraped.
    pub(super) interval: String,
    /// Whether labels of the target's own win: it knows better than discovery what they are about.
    pub(super) honor_labels: bool,
    /// Whether it needs a ServiceMonitor of ours: not where the upstream chart brings one, or a Probe.
    pub(super) monitored: bool,
    /// Whether its metrics can be labelled by user.
    pub(super) of_users: bool,
    /// Whether it is scraped by TLS.
    pub(super) tls: bool,
}

/// The scrape jobs: our own components, the platform's services, its exporters, and in profile
/// `production` Kubernetes' own parts and the probes.
pub(super) fn scrape_jobs(config: &Config) -> Vec<ScrapeJob> {
    let mut jobs = own(config);
    jobs.extend(services(config));
    jobs.extend(exporters(config));
    if config.profile == Profile::Production {
        jobs.extend(kubernetes(config));
        jobs.extend(probes(config));
    }
    jobs
}

fn own(config: &Config) -> Vec<ScrapeJob> {
    let mut jobs = Vec::new();
    for component in config.enabled_components() {
        let metrics = component.ports.iter().find(|port| port.name == component.metrics_port);
        let spans = component.ports.iter().find(|port| port.name == SPAN_METRICS);
        let named = metrics.map(|port| (config.job_of(component), port));
        for (name, port) in named.into_iter().chain(spans.map(|port| (SPAN_METRICS, port))) {
            let first = component.ports.first().is_some_and(|first| first.name == port.name);
            jobs.push(ScrapeJob {
                target: ExpectedTarget {
                    job: name.to_owned(),
                    namespace: config.namespace_of(component.place()).to_owned(),
                    service: component.service.to_owned(),
                    port: port.container,
                    component: Some(component.key.to_owned()),
                },
                interval: config.prometheus.scrape_interval.clone(),
                // Its metrics are about the services whose spans it saw.
                honor_labels: name == SPAN_METRICS,
                monitored: component.release != WITH_OWN_MONITORS,
                of_users: false,
                // Separate ports for metrics alone speak plain HTTP.
                tls: first && serves_tls(config, component.key),
            });
        }
    }
    jobs
}

fn services(config: &Config) -> impl Iterator<Item = ScrapeJob> {
    config.platform.services.iter().map(|service| ScrapeJob {
        target: ExpectedTarget {
            job: service.name.clone(),
            namespace: config.namespaces.platform.clone(),
            service: service.name.clone(),
            port: service.port,
            component: None,
        },
        interval: config.prometheus.scrape_interval.clone(),
        // The services expose a label `service` themselves.
        honor_labels: true,
        monitored: true,
        of_users: true,
        tls: false,
    })
}

fn exporters(config: &Config) -> impl Iterator<Item = ScrapeJob> {
    EXPORTERS.iter().filter(|exporter| config.exporter_mode(exporter.key) != ExporterMode::None).map(|exporter| {
        let deployed = config.exporter_mode(exporter.key) == ExporterMode::Deployed;
        let (namespace, service) = match deployed {
            true => (config.namespace_of(exporter.deployed.place), exporter.deployed.service),
            false => (config.namespaces.platform.as_str(), exporter.service),
        };
        ScrapeJob {
            target: ExpectedTarget {
                job: exporter.job.to_owned(),
                namespace: namespace.to_owned(),
                service: service.to_owned(),
                port: exporter.port,
                component: None,
            },
            interval: config.prometheus.exporter_scrape_interval.clone(),
            // Its labels name the objects it watches.
            honor_labels: exporter.key == "kubeState",
            monitored: !(deployed && exporter.deployed.release == WITH_OWN_MONITORS),
            of_users: false,
            tls: false,
        }
    })
}

/// What the upstream chart scrapes of Kubernetes itself.
fn kubernetes(config: &Config) -> impl Iterator<Item = ScrapeJob> {
    let managed = config.prometheus.managed_control_plane;
    KUBERNETES_JOBS.iter().filter(move |row| !(managed && row.control_plane)).map(|row| ScrapeJob {
        target: ExpectedTarget {
            job: row.job.to_owned(),
            namespace: row.namespace.to_owned(),
            service: row.service.to_owned(),
            port: row.port,
            component: None,
        },
        interval: config.prometheus.scrape_interval.clone(),
        honor_labels: true,
        monitored: false,
        of_users: false,
        tls: true,
    })
}

/// The jobs of the blackbox exporter's probes; what is scraped is the exporter.
fn probes(config: &Config) -> Vec<ScrapeJob> {
    let exporter = config.enabled_components().find(|component| component.key == "blackboxExporter");
    let (Some(exporter), Some(port)) = (exporter, exporter.and_then(|exporter| exporter.ports.first())) else {
        return Vec::new();
    };
    let wanted = [(HEALTH_PROBES, !config.platform.services.is_empty()), (URL_PROBES, !public_urls(config).is_empty())];
    let job = |name: &str| ScrapeJob {
        target: ExpectedTarget {
            job: name.to_owned(),
            namespace: config.namespace_of(exporter.place()).to_owned(),
            service: exporter.service.to_owned(),
            port: port.container,
            component: Some(exporter.key.to_owned()),
        },
        interval: config.blackbox_exporter.interval.clone(),
        honor_labels: false,
        monitored: false,
        of_users: false,
        tls: false,
    };
    wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| job(name)).collect()
}

/// The URLs that people come by: Grafana's, the only public interface, and those of the configuration.
pub(super) fn public_urls(config: &Config) -> Vec<String> {
    let mut urls = Vec::new();
    let grafana = crate::stack::component("grafana").and_then(|grafana| grafana.host);
    if let Some(host) = grafana.filter(|_| config.ingress.enabled && config.grafana.enabled) {
        let scheme = if config.ingress.tls { "https" } else { "http" };
        urls.push(format!("{scheme}://{host}.{}/api/health", config.domain));
    }
    urls.extend(config.blackbox_exporter.urls.iter().cloned());
    urls
}

/// The components that serve TLS inside the cluster when certificates are configured. The light charts
/// of profile `local` never do.
const TLS_COMPONENTS: [&str; 5] = ["prometheus", "alertmanager", "loki", "jaeger", "otelCollector"];

/// Whether the component `key` serves TLS on the ports that others come by.
pub(super) fn serves_tls(config: &Config, key: &str) -> bool {
    config.profile == Profile::Production
        && config.security.internal_tls.mode != InternalTlsMode::Off
        && TLS_COMPONENTS.contains(&key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Layer, resolve};
    use std::collections::BTreeSet;

    fn production(text: &str) -> Config {
        resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap()
    }

    fn names(jobs: &[ScrapeJob]) -> Vec<&str> {
        jobs.iter().map(|job| job.target.job.as_str()).collect()
    }

    #[test]
    fn no_job_is_there_twice() {
        for text in ["", "prometheus: {managedControlPlane: true}", "blackboxExporter: {urls: ['https://a.b']}"] {
            let jobs = scrape_jobs(&production(text));
            let different: BTreeSet<&str> = names(&jobs).into_iter().collect();
            assert_eq!(different.len(), jobs.len(), "{:?}", names(&jobs));
        }
    }

    #[test]
    fn a_managed_control_plane_leaves_the_api_server_and_the_kubelets() {
        let all = scrape_jobs(&production(""));
        let managed = scrape_jobs(&production("prometheus: {managedControlPlane: true}"));
        let gone: Vec<&str> = names(&all).into_iter().filter(|name| !names(&managed).contains(name)).collect();
        assert_eq!(gone, ["coredns", "kube-controller-manager", "kube-etcd", "kube-proxy", "kube-scheduler"]);
        assert!(names(&managed).contains(&"apiserver") && names(&managed).contains(&"kubelet"));
    }

    #[test]
    fn only_grafana_and_the_configured_urls_are_probed_from_outside() {
        let config = production("blackboxExporter: {urls: ['https://drivemaster.com']}");
        assert_eq!(public_urls(&config), ["https://grafana.drivemaster.com/api/health", "https://drivemaster.com"]);
        let jobs = scrape_jobs(&production("ingress: {enabled: false}"));
        assert!(names(&jobs).contains(&HEALTH_PROBES) && !names(&jobs).contains(&URL_PROBES));
        assert!(!names(&scrape_jobs(&production("blackboxExporter: {enabled: false}"))).contains(&HEALTH_PROBES));
    }

    #[test]
    fn tls_is_for_the_ports_that_others_come_by() {
        let jobs = scrape_jobs(&production("security: {internalTls: {mode: secret}}"));
        let tls: Vec<&str> =
            jobs.iter().filter(|job| job.monitored && job.tls).map(|job| job.target.job.as_str()).collect();
        assert_eq!(tls, ["loki"]);
    }
}
