//! The environment of the program that runs here in place of the container's. Pure.
//!
//! The closed list of what differs: proxies of the deployment go; what Loki, Jaeger, the Collector
//! and Chaos Mesh send goes through the sandbox's proxy, which is told the pod's namespace, so that
//! short names of Services mean what they mean in the pod; a program that talks to the API server is
//! told its kubeconfig; Jaeger's own traces go to itself, as in its pod; Chaos Mesh, which is told everything by its environment, gets its listen
//! addresses and the local copies of its certificates.

use super::kubeconfig;
use super::listen::Listen;
use super::rewrite::Surroundings;
use crate::sandbox::network::program::Program;
use std::collections::BTreeMap;

/// Where a webhook's certificate lies when the environment does not say so.
const CHAOS_CERTIFICATES: (&str, &str) = ("CERTS_DIR", "/etc/webhook/certs");
/// Variables of Chaos Mesh that name a host and a port to listen on, and the port's default.
const CHAOS_PORTS: [(&str, &str, u16); 2] =
    [("WEBHOOK_HOST", "WEBHOOK_PORT", 9443), ("METRICS_HOST", "METRICS_PORT", 10080)];
/// Variable of Chaos Mesh with the address of its profiles; `0` is none.
const CHAOS_PROFILES: &str = "PPROF_ADDR";

/// Variable with the address that a program sends its own traces to, and the port of the default,
/// which is on its own loopback.
const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const OTLP_PORT: u16 = 4317;

/// Whether `program` finds the API server by a kubeconfig.
pub fn needs_kubeconfig(program: Program) -> bool {
    matches!(program, Program::Collector | Program::ChaosControllerManager | Program::Operator)
}

/// The environment to run `program` with, for a pod in `namespace`, in place of the one in
/// `surroundings`.
///
/// # Errors
/// One line for people when it would listen where nobody is led to.
pub fn rewrite(
    program: Program,
    namespace: &str,
    surroundings: &Surroundings,
) -> Result<BTreeMap<String, String>, String> {
    let deployed = surroundings.listen.environment.iter();
    let kept = deployed.filter(|(name, _)| !name.to_ascii_lowercase().ends_with("_proxy"));
    let mut environment: BTreeMap<String, String> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    if needs_kubeconfig(program) {
        let place = surroundings.places.within_root(kubeconfig::PLACE);
        environment.insert(kubeconfig::VARIABLE.to_owned(), place.to_string_lossy().into_owned());
    }
    match program {
        Program::Prometheus | Program::Alertmanager | Program::Operator => {}
        Program::Loki | Program::Jaeger | Program::Collector | Program::ChaosControllerManager => {
            let proxy = surroundings.proxy_url.replacen("://", &format!("://{namespace}@"), 1);
            // Go never sends loopback through a proxy.
            for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
                environment.insert(name.to_owned(), proxy.clone());
            }
        }
    }
    if program == Program::Jaeger
        && let Ok(address) = surroundings.listen.port(OTLP_PORT)
    {
        // In its pod that is itself, here it would be whoever listens there on this machine.
        environment.entry(OTLP_ENDPOINT.to_owned()).or_insert_with(|| format!("http://{address}"));
    }
    if program == Program::ChaosControllerManager {
        rewrite_chaos(&mut environment, surroundings)?;
    }
    Ok(environment)
}

fn rewrite_chaos(environment: &mut BTreeMap<String, String>, surroundings: &Surroundings) -> Result<(), String> {
    let listen: &Listen = &surroundings.listen;
    for value in environment.values_mut() {
        if let Some(local) = surroundings.places.local(value) {
            *value = local;
        }
    }
    let (certificates, default) = CHAOS_CERTIFICATES;
    let local = || surroundings.places.local(default).unwrap_or_else(|| default.to_owned());
    environment.entry(certificates.to_owned()).or_insert_with(local);
    for (host, port, default) in CHAOS_PORTS {
        let deployed = match environment.get(port) {
            None => default,
            Some(text) => text.parse().map_err(|_| format!("`{port}` is no port: `{text}`"))?,
        };
        let address = listen.port(deployed)?;
        environment.insert(host.to_owned(), address.ip().to_string());
        environment.insert(port.to_owned(), address.port().to_string());
    }
    if let Some(profiles) = environment.get_mut(CHAOS_PROFILES).filter(|profiles| profiles.contains(':')) {
        *profiles = listen.address(profiles)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::behind::listen::tests::listen;
    use crate::sandbox::behind::places::tests::places;

    fn rewritten(program: Program, deployed: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let environment: BTreeMap<String, String> =
            deployed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let surroundings = Surroundings {
            places: places(),
            api_server: String::new(),
            ca_file: String::new(),
            proxy_url: "http://127.0.0.1:4444".into(),
            listen: Listen { environment: environment.clone(), ..listen(&[10250, 10080, 10081, 4317]) },
        };
        let run = rewrite(program, "monitoring", &surroundings)?;
        let set = run.iter().filter(|(name, value)| environment.get(*name) != Some(value));
        let gone = environment.keys().filter(|name| !run.contains_key(*name)).map(|name| format!("-{name}"));
        Ok(set.map(|(name, value)| format!("{name}={value}")).chain(gone).collect())
    }

    #[test]
    fn proxies_and_the_way_to_the_api_server_change_and_nothing_else() {
        let deployed = [("GOGC", "80"), ("https_proxy", "http://away:1"), ("FILE", "/etc/prometheus/x")];
        let proxies = ["HTTPS_PROXY=http://monitoring@127.0.0.1:4444", "HTTP_PROXY=http://monitoring@127.0.0.1:4444"];
        let kubeconfig = "KUBECONFIG=/run/root/kubeconfig";
        for (program, expected) in [
            (Program::Prometheus, vec!["-https_proxy"]),
            (Program::Operator, vec![kubeconfig, "-https_proxy"]),
            (Program::Loki, vec![proxies[0], proxies[1], "-https_proxy"]),
            (
                Program::Jaeger,
                vec![proxies[0], proxies[1], "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:14317", "-https_proxy"],
            ),
            (Program::Collector, vec![proxies[0], proxies[1], kubeconfig, "-https_proxy"]),
        ] {
            assert_eq!(rewritten(program, &deployed).unwrap(), expected, "{}", program.title());
        }
    }

    #[test]
    fn chaos_mesh_listens_on_loopback_with_its_mounted_certificates() {
        let deployed = [
            ("WEBHOOK_PORT", "10250"),
            ("PPROF_ADDR", ":10081"),
            ("CERTS_DIR", "/etc/prometheus/certs"),
            ("CHAOSD_CA_CERT", "/etc/chaosd/cert/ca.crt"),
            ("TARGET_NAMESPACE", "chaos-mesh"),
        ];
        assert_eq!(
            rewritten(Program::ChaosControllerManager, &deployed).unwrap(),
            [
                "CERTS_DIR=/run/root/etc/prometheus/certs",
                "HTTPS_PROXY=http://monitoring@127.0.0.1:4444",
                "HTTP_PROXY=http://monitoring@127.0.0.1:4444",
                "KUBECONFIG=/run/root/kubeconfig",
                "METRICS_HOST=127.0.0.1",
                "METRICS_PORT=20080",
                "PPROF_ADDR=127.0.0.1:20081",
                "WEBHOOK_HOST=127.0.0.1",
                "WEBHOOK_PORT=20250",
            ]
        );
        let told = rewritten(Program::ChaosControllerManager, &[("WEBHOOK_PORT", "443")]).unwrap_err();
        assert!(told.starts_with("it is to listen on port 443"), "{told}");
        assert!(rewritten(Program::ChaosControllerManager, &[("METRICS_PORT", "x")]).is_err());
    }
}
