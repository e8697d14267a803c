//! How people reach each service of the stack. Pure: it follows from the catalogue and the configuration.

use crate::config::Config;
use crate::config::model::InternalTlsMode;
use crate::stack;
use serde::Serialize;

/// The ways to one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessRow {
    /// Key of the component.
    pub key: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Address inside the cluster, `service.namespace.svc:port`.
    pub in_cluster: String,
    /// Where `port-forward` puts it; `None` where people never open it.
    pub forward: Option<String>,
    /// URL of its Ingress; `None` without one.
    pub ingress: Option<String>,
    /// Secret with its user name and password, `namespace/name`; `None` without a login.
    pub credentials_secret: Option<String>,
}

/// The ways to each enabled component, in the order of the catalogue.
pub fn access_rows(config: &Config) -> Vec<AccessRow> {
    let scheme = if config.ingress.tls { "https" } else { "http" };
    let inside = if config.security.internal_tls.mode == InternalTlsMode::Off { "http" } else { "https" };
    let with_tls = |component: &stack::Component| if component.key == "grafana" { "http" } else { inside };
    let row = |component: &'static stack::Component| {
        let ports: Vec<String> = people_ports(component).map(|port| port.service.to_string()).collect();
        let namespace = config.namespace_of(component.place());
        let host = component.host.filter(|_| config.ingress.enabled);
        AccessRow {
            key: component.key,
            title: component.title,
            in_cluster: format!("{}.{namespace}.svc:{}", component.service, ports.join(",")),
            forward: component.local_port.map(|port| format!("{}://127.0.0.1:{port}", with_tls(component))),
            ingress: host.map(|host| format!("{scheme}://{host}.{}", config.domain)),
            credentials_secret: (component.key == "grafana")
                .then(|| format!("{namespace}/{}", config.grafana.admin_secret)),
        }
    };
    config.enabled_components().map(row).collect()
}

/// The ports that matter to people: the first, or both OTLP ports where data is sent to.
fn people_ports(component: &'static stack::Component) -> impl Iterator<Item = &'static stack::Port> {
    let receives_only = component.local_port.is_none();
    let is_one =
        move |(number, port): &(usize, &stack::Port)| *number == 0 || (receives_only && port.name.starts_with("otlp"));
    component.ports.iter().enumerate().filter(is_one).map(|(_, port)| port)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checks::testing::scope;
    use crate::config::{Profile, resolve};

    fn row<'a>(rows: &'a [AccessRow], key: &str) -> &'a AccessRow {
        rows.iter().find(|row| row.key == key).unwrap()
    }

    #[test]
    fn each_enabled_service_has_its_addresses_of_the_specification() {
        let (config, _) = scope();
        let rows = access_rows(&config);
        let forwards: Vec<_> = rows.iter().map(|row| (row.key, row.forward.as_deref())).collect();
        // Jaeger is disabled in the test configuration.
        assert_eq!(
            forwards,
            [
                ("prometheus", Some("http://127.0.0.1:9090")),
                ("alertmanager", Some("http://127.0.0.1:9093")),
                ("grafana", Some("http://127.0.0.1:3000")),
                ("loki", Some("http://127.0.0.1:3100")),
                ("otelCollector", None),
            ]
        );
        let grafana = row(&rows, "grafana");
        assert_eq!(grafana.in_cluster, "prometheus-grafana.drivemaster-monitoring.svc:80");
        assert_eq!(grafana.credentials_secret.as_deref(), Some("drivemaster-monitoring/grafana-admin"));
        assert_eq!(grafana.ingress, None);
        assert_eq!(row(&rows, "otelCollector").in_cluster, "otel-collector.drivemaster-monitoring.svc:4317,4318");
        assert_eq!(row(&rows, "prometheus").credentials_secret, None);
    }

    #[test]
    fn what_nobody_opens_has_no_forward_and_stands_in_its_own_namespace() {
        let config = resolve(Some(Profile::Production), &[], &[], &[]).unwrap();
        let rows = access_rows(&config);
        let chaos = row(&rows, "chaosMesh");
        assert_eq!(
            (chaos.in_cluster.as_str(), &chaos.forward),
            ("chaos-mesh-controller-manager.chaos-mesh.svc:10080", &None)
        );
        for key in ["prometheusOperator", "alloy", "blackboxExporter"] {
            assert_eq!(row(&rows, key).forward, None, "{key}");
        }
    }

    #[test]
    fn an_ingress_gives_the_url_under_the_domain() {
        let (mut config, _) = scope();
        config.ingress.enabled = true;
        assert_eq!(row(&access_rows(&config), "grafana").ingress.as_deref(), Some("https://grafana.example.com"));
        assert_eq!(row(&access_rows(&config), "loki").ingress, None);
        config.ingress.tls = false;
        config.security.internal_tls.mode = InternalTlsMode::Secret;
        assert_eq!(row(&access_rows(&config), "loki").forward.as_deref(), Some("https://127.0.0.1:3100"));
        assert_eq!(row(&access_rows(&config), "grafana").forward.as_deref(), Some("http://127.0.0.1:3000"));
        assert_eq!(row(&access_rows(&config), "prometheus").ingress.as_deref(), Some("http://prometheus.example.com"));
    }
}
