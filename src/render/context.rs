//! What templates see: the configuration, and the catalogue joined with it.

use super::bundle::ExpectedTarget;
use super::{ingress, masks};
use crate::config::model::{Config, ExporterMode, InternalTlsMode, Profile};
use crate::stack::{COMPONENTS, Component, EXPORTERS, SPAN_METRICS};
use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};

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
}

/// The scrape jobs: our own components, the platform's services, its exporters.
pub(super) fn scrape_jobs(config: &Config) -> Vec<ScrapeJob> {
    let namespaces = &config.namespaces;
    let own = config.enabled_components().flat_map(|component| {
        let job = |job: &str, port: u16| ScrapeJob {
            target: ExpectedTarget {
                job: job.to_owned(),
                namespace: config.namespace_of(component.place()).to_owned(),
                service: component.service.to_owned(),
                port,
                component: Some(component.key.to_owned()),
            },
            interval: config.prometheus.scrape_interval.clone(),
            honor_labels: false,
        };
        let metrics = component.ports.iter().find(|port| port.name == component.metrics_port);
        let spans = component.ports.iter().find(|port| port.name == SPAN_METRICS);
        metrics
            .map(|port| job(config.job_of(component), port.container))
            .into_iter()
            .chain(spans.map(|port| job(SPAN_METRICS, port.container)))
    });
    let services = config.platform.services.iter().map(|service| ScrapeJob {
        target: ExpectedTarget {
            job: service.name.clone(),
            namespace: namespaces.platform.clone(),
            service: service.name.clone(),
            port: service.port,
            component: None,
        },
        interval: config.prometheus.scrape_interval.clone(),
        // The services expose a label `service` themselves.
        honor_labels: true,
    });
    let exporters =
        EXPORTERS.iter().filter(|exporter| config.exporter_mode(exporter.key) != ExporterMode::None).map(|exporter| {
            let (namespace, service) = match config.exporter_mode(exporter.key) {
                ExporterMode::Deployed => (config.namespace_of(exporter.deployed.place), exporter.deployed.service),
                _ => (namespaces.platform.as_str(), exporter.service),
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
            }
        });
    own.chain(services).chain(exporters).collect()
}

/// The whole context: `config`; `components` by their key, as the catalogue has them, with `enabled`,
/// addresses in the cluster and outside (`openUrl`: its Ingress, else where `port-forward` puts it); `exporters`, a list of the catalogue's rows with `mode`;
/// `services`, `scrapeJobs`, `platformServiceNames` and `monitoredNamespaces`, lists.
///
/// # Errors
/// None in practice: the configuration is plain data.
pub(super) fn context(config: &Config) -> Result<Value> {
    let jobs = scrape_jobs(config);
    let platform_services: Vec<&str> =
        jobs.iter().filter(|job| job.target.component.is_none()).map(|job| job.target.service.as_str()).collect();
    let mut components = Map::new();
    for component in COMPONENTS {
        components.insert(component.key.to_owned(), component_row(config, component)?);
    }
    let mut exporters = Vec::new();
    for exporter in EXPORTERS {
        let mut row = serde_json::to_value(exporter)?;
        row["mode"] = json!(config.exporter_mode(exporter.key));
        exporters.push(row);
    }
    Ok(json!({
        "config": config,
        "components": components,
        "exporters": exporters,
        "services": config.platform.services,
        "scrapeJobs": jobs,
        "platformServiceNames": platform_services,
        "masks": masks::context(),
        "monitoredNamespaces": monitored_namespaces(config),
    }))
}

/// A row of the catalogue with what the configuration makes of it.
fn component_row(config: &Config, component: &Component) -> Result<Value> {
    let namespace = config.namespace_of(component.place());
    let enabled = config.component_enabled(component.key);
    let addresses: Map<String, Value> = component
        .ports
        .iter()
        .map(|port| (port.name.to_owned(), json!(format!("{}.{namespace}.svc:{}", component.service, port.service))))
        .collect();
    let address = component.ports.first().and_then(|port| addresses.get(port.name)).and_then(Value::as_str);
    let address = address.unwrap_or_default().to_owned();
    let host = component.host.map(|host| format!("{host}.{}", config.domain)).unwrap_or_default();
    let has_ingress = config.ingress.enabled && component.host.is_some();
    let scheme = if config.ingress.tls { "https" } else { "http" };
    let mut row = serde_json::to_value(component)?;
    row["job"] = json!(config.job_of(component));
    row["enabled"] = json!(enabled);
    row["namespace"] = json!(namespace);
    let existing = existing_url(config, component.key);
    let tls = enabled && serves_tls(config, component.key);
    let url = match existing {
        Some(url) => url.to_owned(),
        None => format!("{}://{address}", if tls { "https" } else { "http" }),
    };
    row["available"] = json!(enabled || existing.is_some());
    row["url"] = json!(url);
    row["address"] = json!(address);
    row["addresses"] = Value::Object(addresses);
    row["hostName"] = json!(format!("{}.{namespace}.svc", component.service));
    row["tls"] = json!(tls);
    row["tlsSecret"] = json!(format!("{}-internal-tls", component.service));
    let external = if has_ingress { format!("{scheme}://{host}") } else { String::new() };
    row["externalUrl"] = json!(external);
    row["openUrl"] = json!(match component.local_port {
        Some(port) if external.is_empty() => format!("http://127.0.0.1:{port}"),
        _ => external,
    });
    row["ingress"] = ingress::row(config, component);
    Ok(row)
}

/// The URL of what stands in for a component that is not deployed.
fn existing_url<'c>(config: &'c Config, key: &str) -> Option<&'c str> {
    let url = match key {
        "prometheus" if !config.prometheus.enabled => &config.prometheus.existing_url,
        "loki" if !config.loki.enabled => &config.loki.existing_url,
        _ => return None,
    };
    (!url.is_empty()).then_some(url.as_str())
}

/// The components that serve TLS inside the cluster when certificates are configured. The light charts
/// of profile `local` never do.
const TLS_COMPONENTS: [&str; 5] = ["prometheus", "alertmanager", "loki", "jaeger", "otelCollector"];

fn serves_tls(config: &Config, key: &str) -> bool {
    config.profile == Profile::Production
        && config.security.internal_tls.mode != InternalTlsMode::Off
        && TLS_COMPONENTS.contains(&key)
}

/// The namespaces whose monitors, probes and rules Prometheus takes, sorted and each once.
fn monitored_namespaces(config: &Config) -> Vec<&str> {
    let mut namespaces = vec![config.namespaces.platform.as_str(), config.namespaces.monitoring.as_str()];
    // Its monitor stands beside it.
    if config.exporter_mode("node") == ExporterMode::Deployed {
        namespaces.push(&config.namespaces.node_exporter);
    }
    namespaces
}
