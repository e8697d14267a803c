//! What templates see: the configuration, and the catalogue joined with it.

use super::jobs::{public_urls, scrape_jobs, serves_tls};
use super::{ingress, masks};
use crate::config::model::{Config, ExporterMode};
use crate::slo::Window;
use crate::stack::{COMPONENTS, Component, EXPORTERS, HEALTH_PROBES, URL_PROBES};
use anyhow::Result;
use serde_json::{Map, Value, json};

/// The whole context: `config`; `components` by their key, as the catalogue has them, with `enabled`,
/// addresses in the cluster and outside (`openUrl`: its Ingress, else where `port-forward` puts it); `exporters`, a list of the catalogue's rows with `mode`;
/// `services`, `slos` by name, `scrapeJobs`, `platformServiceNames` and `monitoredNamespaces`, lists; `probes` with the
/// names of their jobs and the public URLs.
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
        "slos": objectives(config),
        "scrapeJobs": jobs,
        "platformServiceNames": platform_services,
        "masks": masks::context(),
        "monitoredNamespaces": monitored_namespaces(config),
        "probes": { "healthJob": HEALTH_PROBES, "urlsJob": URL_PROBES, "urls": public_urls(config) },
    }))
}

/// The objectives by name, as definitions read them: with every service named, their jobs as a regular
/// expression, and the window as OpenSLO writes it.
fn objectives(config: &Config) -> Value {
    let all: Vec<&str> = config.platform.services.iter().map(|service| service.name.as_str()).collect();
    let rows = config.slo.objectives.iter().map(|(name, objective)| {
        let is_chosen = |name: &&str| objective.services.is_empty() || objective.services.iter().any(|one| one == name);
        let services: Vec<&str> = all.iter().copied().filter(is_chosen).collect();
        let mut row = json!(objective);
        row["jobs"] = json!(services.join("|"));
        row["services"] = json!(services);
        row["timeWindow"] = Window::from(config.slo.window).to_open_slo();
        (name.clone(), row)
    });
    Value::Object(rows.collect())
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

/// The namespaces whose monitors, probes and rules Prometheus takes, sorted and each once.
fn monitored_namespaces(config: &Config) -> Vec<&str> {
    let mut namespaces = vec![config.namespaces.platform.as_str(), config.namespaces.monitoring.as_str()];
    // Its monitor stands beside it.
    if config.exporter_mode("node") == ExporterMode::Deployed {
        namespaces.push(&config.namespaces.node_exporter);
    }
    namespaces
}
