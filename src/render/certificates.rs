//! Certificates inside the cluster: those of admission webhooks, and those between the parts of the stack. Pure.

use super::bundle::{WebhookCertificate, service_names};
use super::labelled;
use crate::config::model::{Config, InternalTlsMode, Profile};
use crate::object::{Manifest, ObjectRef};
use crate::stack;
use serde_json::json;

/// Keys of the components whose Services speak TLS inside the cluster.
const WITH_TLS: &[&str] = &["prometheus", "alertmanager", "loki", "jaeger", "otelCollector"];
/// Another name under which Jaeger is reached: its chart's own Service.
const JAEGER_SERVICE: &str = "jaeger";
/// How long a certificate is good, and when cert-manager renews it: 90 and 30 days.
const DURATION: &str = "2160h";
const RENEW_BEFORE: &str = "720h";

/// Name of the Secret with the certificate of a Service.
pub(super) fn secret_name(service: &str) -> String {
    format!("{service}-internal-tls")
}

/// The enabled components that have such a Secret: key and Service.
pub(super) fn with_tls(config: &Config) -> impl Iterator<Item = (&'static str, &'static str)> {
    config
        .enabled_components()
        .filter(|component| WITH_TLS.contains(&component.key))
        .map(|component| (component.key, component.service))
}

/// The certificate of the operator's admission webhooks. The chart's own Jobs are off: a hook that runs
/// an image of its own in the middle of an upgrade is one thing more that can hang.
pub(super) fn of_webhooks(config: &Config) -> Vec<WebhookCertificate> {
    let operator = stack::component("prometheusOperator")
        .filter(|operator| config.profile == Profile::Production && config.component_enabled(operator.key));
    let certificate = operator.map(|operator| {
        // The chart calls all three after its full name, and mounts the Secret of this name.
        let name = format!("{}-admission", operator.service.trim_end_matches("-operator"));
        let configuration = |kind: &str| ObjectRef::cluster_scoped("admissionregistration.k8s.io/v1", kind, &name);
        WebhookCertificate {
            namespace: config.namespace_of(operator.place()).to_owned(),
            secret: name.clone(),
            service: operator.service.to_owned(),
            configurations: ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
                .map(configuration)
                .to_vec(),
            after: operator.release.to_owned(),
        }
    });
    certificate.into_iter().collect()
}

/// The Certificate objects of cert-manager for the Services of the stack; none in the other modes.
pub(super) fn of_services(config: &Config) -> Vec<Manifest> {
    let tls = &config.security.internal_tls;
    if tls.mode != InternalTlsMode::CertManager {
        return Vec::new();
    }
    let namespace = &config.namespaces.monitoring;
    let certificate = |(key, service): (&str, &str)| {
        let mut names = service_names(service, namespace);
        if key == "jaeger" {
            names.extend(service_names(JAEGER_SERVICE, namespace));
        }
        let name = secret_name(service);
        labelled(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "secretName": name,
                "dnsNames": names,
                "duration": DURATION,
                "renewBefore": RENEW_BEFORE,
                "usages": ["digital signature", "server auth"],
                "privateKey": { "algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always" },
                "issuerRef": { "name": tls.issuer.name, "kind": tls.issuer.kind, "group": "cert-manager.io" },
            },
        }))
    };
    with_tls(config).map(certificate).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Layer, resolve};

    fn production(text: &str) -> Config {
        resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap()
    }

    #[test]
    fn the_webhooks_of_the_operator_have_a_certificate_where_there_is_an_operator() {
        let certificates = of_webhooks(&production(""));
        assert_eq!(certificates.len(), 1);
        let certificate = &certificates[0];
        assert_eq!(
            certificate.secret_reference().to_string(),
            "Secret drivemaster-monitoring/prometheus-kube-prometheus-admission"
        );
        assert!(
            certificate
                .dns_names()
                .contains(&"prometheus-kube-prometheus-operator.drivemaster-monitoring.svc".to_owned())
        );
        assert_eq!(
            of_webhooks(&production("prometheus: {enabled: false}")).len(),
            1,
            "Alertmanager needs the operator"
        );
        let none = "prometheus: {enabled: false}\nalertmanager: {enabled: false}";
        assert!(of_webhooks(&production(none)).is_empty());
        assert!(of_webhooks(&resolve(Some(Profile::Local), &[], &[], &[]).unwrap()).is_empty());
    }

    #[test]
    fn cert_manager_makes_a_certificate_for_each_service() {
        assert!(of_services(&production("")).is_empty());
        assert!(of_services(&production("security: {internalTls: {mode: secret}}")).is_empty());
        let text = "security: {internalTls: {mode: cert-manager, issuer: {name: i, kind: Issuer}}}\nloki: {enabled: false, existingUrl: 'https://logs.example.com'}";
        let made = of_services(&production(text));
        let names: Vec<String> = made.iter().map(|one| one.reference().name).collect();
        assert_eq!(
            names,
            [
                "prometheus-kube-prometheus-prometheus-internal-tls",
                "prometheus-kube-prometheus-alertmanager-internal-tls",
                "jaeger-query-internal-tls",
                "otel-collector-internal-tls"
            ]
        );
        let jaeger = &made[2].0["spec"];
        assert_eq!(jaeger["issuerRef"]["kind"], "Issuer");
        let dns: Vec<&str> = jaeger["dnsNames"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert!(dns.contains(&"jaeger.drivemaster-monitoring.svc") && dns.contains(&"jaeger-query"), "{dns:?}");
    }
}
