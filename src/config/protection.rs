//! What no schema can say of the keys that protect the stack: those that only make sense together.

use super::model::{Config, IngressAuth, IngressKind, InternalTlsMode};

/// The problems, each by the pointer of its key. Pure.
pub(super) fn judge_protection(config: &Config) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    let mut report = |pointer: &'static str, message: &str| problems.push((pointer, message.to_owned()));
    let (ingress, internal) = (&config.ingress, &config.ingress.internal);
    if ingress.enabled && ingress.kind == IngressKind::Gateway {
        let way_out = "no HTTPRoute can say it: attach the policy of your Gateway's implementation to the internal \
                       Gateway and take it out here, or set `ingress.kind: ingress`";
        if !internal.source_ranges.is_empty() {
            report("/ingress/internal/sourceRanges", way_out);
        }
        if internal.auth != IngressAuth::None {
            report("/ingress/internal/auth", way_out);
        }
        if config.prometheus.federation.enabled && !config.prometheus.federation.source_ranges.is_empty() {
            report("/prometheus/federation/sourceRanges", way_out);
        }
        if !ingress.cluster_issuer.is_empty() {
            report(
                "/ingress/clusterIssuer",
                "with `ingress.kind: gateway` the certificates are the Gateway's: annotate the Gateway and empty this key",
            );
        }
        for (pointer, value) in [
            ("/ingress/gateway/name", &ingress.gateway.name),
            ("/ingress/gateway/internalName", &ingress.gateway.internal_name),
            ("/ingress/gateway/namespace", &ingress.gateway.namespace),
        ] {
            if value.is_empty() {
                report(pointer, "is empty, but `ingress.kind: gateway` needs it");
            }
        }
    }
    if ingress.enabled && internal.auth == IngressAuth::Basic && internal.auth_secret.is_empty() {
        report("/ingress/internal/authSecret", "is empty, but `auth: basic` needs it");
    }
    if ingress.enabled && internal.auth == IngressAuth::External && !internal.auth_url.starts_with("http") {
        report("/ingress/internal/authUrl", "is no URL, but `auth: external` needs one");
    }
    let networks = [
        ("/ingress/internal/sourceRanges", &internal.source_ranges),
        ("/security/controlPlaneCidrs", &config.security.control_plane_cidrs),
        ("/prometheus/federation/sourceRanges", &config.prometheus.federation.source_ranges),
    ];
    for (pointer, ranges) in networks {
        for range in ranges.iter().filter(|range| !is_network(range)) {
            report(pointer, &format!("`{range}` is no network in CIDR notation, such as `10.0.0.0/8`"));
        }
    }
    let tls = &config.security.internal_tls;
    if tls.mode == InternalTlsMode::CertManager && tls.issuer.name.is_empty() {
        report("/security/internalTls/issuer/name", "is empty, but `mode: cert-manager` needs it");
    }
    let spaces = &config.namespaces;
    let alone = [
        ("/namespaces/nodeExporter", "nodeExporter", &spaces.node_exporter),
        ("/namespaces/chaosMesh", "chaosMesh", &spaces.chaos_mesh),
    ];
    for (pointer, key, name) in alone {
        let others = [&spaces.platform, &spaces.monitoring]
            .into_iter()
            .chain(alone.iter().filter(|(_, other, _)| *other != key).map(|(_, _, name)| *name));
        if others.into_iter().any(|other| other == name) {
            report(pointer, "must be a namespace of its own: what runs there needs more of the node than others may");
        }
    }
    problems
}

/// Whether `text` is an address and a length of prefix, as `10.0.0.0/8` or `fd00::/8`.
fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    // The types stand in `core` as well, which opens no socket.
    let longest = match address.parse::<core::net::IpAddr>() {
        Ok(core::net::IpAddr::V4(_)) => 32,
        Ok(core::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::config::{Layer, Profile, resolve};

    #[test]
    fn keys_that_contradict_each_other_are_refused_with_the_way_out() {
        let gateway = "kind: gateway, gateway: {name: a, internalName: b, namespace: c}";
        let cases = [
            (
                format!("ingress: {{{gateway}, internal: {{sourceRanges: [10.0.0.0/8]}}}}"),
                "ingress.internal.sourceRanges",
            ),
            (format!("ingress: {{{gateway}, internal: {{auth: basic, authSecret: a}}}}"), "ingress.internal.auth"),
            (format!("ingress: {{{gateway}, clusterIssuer: a}}"), "ingress.clusterIssuer"),
            (
                format!(
                    "prometheus: {{federation: {{enabled: true, sourceRanges: [10.0.0.0/8]}}}}\ningress: {{{gateway}}}"
                ),
                "prometheus.federation.sourceRanges",
            ),
            ("ingress: {kind: gateway, gateway: {name: ''}}".to_owned(), "ingress.gateway.name"),
            ("ingress: {internal: {auth: basic, authSecret: ''}}".to_owned(), "ingress.internal.authSecret"),
            ("ingress: {internal: {auth: external, authUrl: ''}}".to_owned(), "ingress.internal.authUrl"),
            ("ingress: {internal: {sourceRanges: [10.0.0.0]}}".to_owned(), "ingress.internal.sourceRanges"),
            ("security: {controlPlaneCidrs: [10.0.0.0/33]}".to_owned(), "security.controlPlaneCidrs"),
            (
                "security: {internalTls: {mode: cert-manager, issuer: {name: ''}}}".to_owned(),
                "security.internalTls.issuer.name",
            ),
            ("namespaces: {nodeExporter: drivemaster-monitoring}".to_owned(), "namespaces.nodeExporter"),
            ("namespaces: {chaosMesh: drivemaster}".to_owned(), "namespaces.chaosMesh"),
        ];
        for (text, path) in cases {
            let told = resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", &text)], &[]).unwrap_err();
            assert!(told.to_string().contains("my.yaml:1:"), "{text}: {told}");
            assert!(told.to_string().contains(path), "{text}: {told}");
        }
    }

    #[test]
    fn networks_of_both_families_are_fine() {
        let text = "security: {controlPlaneCidrs: [10.0.0.1/32, 'fd00::/8']}";
        resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap();
    }
}
