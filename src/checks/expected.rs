//! The workloads that a configuration deploys: those of the components, then those of the exporters. Pure.

use crate::config::model::ExporterMode;
use crate::config::{Config, Profile};
use crate::stack::{EXPORTERS, WorkloadKind};

/// A workload that must run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExpectedWorkload<'a> {
    /// Key of its component or exporter.
    pub key: &'static str,
    /// Name of that for people.
    pub title: &'static str,
    /// Kind.
    pub kind: WorkloadKind,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'static str,
}

/// The workloads that `config` deploys, in the order of the catalogue.
pub(super) fn workloads(config: &Config) -> impl Iterator<Item = ExpectedWorkload<'_>> {
    let components = config.enabled_components().map(|component| ExpectedWorkload {
        key: component.key,
        title: component.title,
        kind: component.workload_kind,
        namespace: config.namespace_of(component.place()),
        name: component.workload,
    });
    components.chain(exporters(config))
}

/// The workloads of the exporters that `config` deploys.
fn exporters(config: &Config) -> impl Iterator<Item = ExpectedWorkload<'_>> {
    let ours = |exporter: &&crate::stack::Exporter| {
        config.profile == Profile::Production && config.exporter_mode(exporter.key) == ExporterMode::Deployed
    };
    EXPORTERS.iter().filter(ours).map(|exporter| ExpectedWorkload {
        key: exporter.key,
        title: exporter.title,
        kind: exporter.deployed.workload_kind,
        namespace: config.namespace_of(exporter.deployed.place),
        name: exporter.deployed.service,
    })
}

/// The namespaces of these workloads, each once, that of the monitoring stack first.
pub(super) fn namespaces(config: &Config) -> Vec<&str> {
    let mut names = vec![config.namespaces.monitoring.as_str()];
    for workload in workloads(config) {
        if !names.contains(&workload.namespace) {
            names.push(workload.namespace);
        }
    }
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::resolve;

    #[test]
    fn production_deploys_its_exporters_in_their_own_places() {
        let mut config = resolve(Some(Profile::Production), &[], &[], &[]).unwrap();
        let found: Vec<_> = workloads(&config).map(|workload| (workload.namespace, workload.name)).collect();
        for expected in [
            ("drivemaster-monitoring", "prometheus-kube-prometheus-operator"),
            ("drivemaster-monitoring", "postgres-exporter"),
            ("drivemaster-node-exporter", "prometheus-prometheus-node-exporter"),
            ("chaos-mesh", "chaos-controller-manager"),
        ] {
            assert!(found.contains(&expected), "{expected:?} not in {found:?}");
        }
        assert_eq!(namespaces(&config), ["drivemaster-monitoring", "chaos-mesh", "drivemaster-node-exporter"]);
        config.chaos_mesh.enabled = false;
        config.platform.exporters.insert("node".to_owned(), ExporterMode::None);
        assert_eq!(namespaces(&config), ["drivemaster-monitoring"]);
        let local = resolve(Some(Profile::Local), &[], &[], &[]).unwrap();
        assert_eq!(workloads(&local).count(), 6);
    }
}
