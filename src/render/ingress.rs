//! How an interface is reached from outside: the values that the upstream charts share for an Ingress,
//! and those for a route of the Gateway API.

use super::jobs::serves_tls;
use crate::config::model::{Config, IngressAuth, IngressKind};
use crate::stack::Component;
use serde_json::{Map, Value, json};

/// The component that has a login of its own, and so may be public.
const PUBLIC: &str = "grafana";

/// The row `ingress` of a component in the context: `enabled`, `className`, `host`, `tlsSecret`;
/// `values`, the block `ingress` of the upstream charts; `route`, their block of a route of the Gateway API.
pub(super) fn row(config: &Config, component: &Component) -> Value {
    let ingress = &config.ingress;
    let enabled = ingress.enabled && component.host.is_some();
    let host = component.host.map(|host| format!("{host}.{}", config.domain)).unwrap_or_default();
    let class = class_name(config, component);
    let tls_secret = match component.host {
        Some(host) if ingress.tls => format!("{host}-tls"),
        _ => String::new(),
    };
    let tls = match tls_secret.as_str() {
        "" => json!([]),
        secret => json!([{ "secretName": secret, "hosts": [host] }]),
    };
    let gateway = if component.key == PUBLIC { &ingress.gateway.name } else { &ingress.gateway.internal_name };
    json!({
        "enabled": enabled,
        "className": class,
        "host": host,
        "tlsSecret": tls_secret,
        "values": {
            "enabled": enabled && ingress.kind == IngressKind::Ingress,
            "ingressClassName": class,
            "annotations": annotations(config, component),
            "hosts": [host],
            "pathType": "Prefix",
            "tls": tls,
        },
        "route": {
            "enabled": enabled && ingress.kind == IngressKind::Gateway,
            "annotations": ingress.annotations,
            "parentRefs": [{ "name": gateway, "namespace": ingress.gateway.namespace }],
            "hostnames": [host],
        },
    })
}

/// The IngressClass of `component`.
pub(super) fn class_name<'c>(config: &'c Config, component: &Component) -> &'c str {
    if component.key == PUBLIC { &config.ingress.class_name } else { &config.ingress.internal_class_name }
}

/// The annotations of the component's Ingress. What keeps strangers out goes by the annotations of the
/// ingress controllers that follow ingress-nginx, under the configured prefix.
fn annotations(config: &Config, component: &Component) -> Map<String, Value> {
    let ingress = &config.ingress;
    let mut annotations = Map::new();
    let mut put = |key: String, value: &str| annotations.insert(key, json!(value));
    for (key, value) in &ingress.annotations {
        put(key.clone(), value);
    }
    if ingress.tls && !ingress.cluster_issuer.is_empty() {
        put("cert-manager.io/cluster-issuer".to_owned(), &ingress.cluster_issuer);
    }
    if component.key == PUBLIC {
        return annotations;
    }
    let internal = &ingress.internal;
    let prefix = &internal.annotation_prefix;
    if serves_tls(config, component.key) {
        put(format!("{prefix}/backend-protocol"), "HTTPS");
    }
    if !internal.source_ranges.is_empty() {
        put(format!("{prefix}/whitelist-source-range"), &internal.source_ranges.join(","));
    }
    match internal.auth {
        IngressAuth::None => {}
        IngressAuth::Basic => {
            put(format!("{prefix}/auth-type"), "basic");
            put(format!("{prefix}/auth-secret"), &internal.auth_secret);
            put(format!("{prefix}/auth-realm"), "DriveMaster monitoring");
        }
        IngressAuth::External => {
            put(format!("{prefix}/auth-url"), &internal.auth_url);
        }
    }
    for (key, value) in &internal.annotations {
        put(key.clone(), value);
    }
    annotations
}

/// The IngressClasses that the Ingress objects of `config` name, sorted; none with a Gateway.
pub(super) fn classes(config: &Config) -> Vec<String> {
    if !config.ingress.enabled || config.ingress.kind == IngressKind::Gateway {
        return Vec::new();
    }
    let with_host = config.enabled_components().filter(|component| component.host.is_some());
    let mut classes: Vec<String> =
        with_host.map(|component| class_name(config, component).to_owned()).filter(|name| !name.is_empty()).collect();
    classes.sort();
    classes.dedup();
    classes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Layer, Profile, resolve};
    use crate::stack;

    fn production(text: &str) -> Config {
        resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap()
    }

    fn annotations_of(config: &Config, key: &str) -> Value {
        row(config, stack::component(key).unwrap())["values"]["annotations"].clone()
    }

    #[test]
    fn grafana_is_public_and_the_others_are_kept_from_strangers() {
        let config = production(
            "ingress: {clusterIssuer: le, annotations: {a/b: c}, internal: {sourceRanges: [10.0.0.0/8, 192.168.0.0/16], \
             auth: basic, authSecret: people, annotations: {d/e: f}}}",
        );
        assert_eq!(annotations_of(&config, "grafana"), json!({"a/b": "c", "cert-manager.io/cluster-issuer": "le"}));
        for key in ["prometheus", "alertmanager", "jaeger"] {
            assert_eq!(
                annotations_of(&config, key),
                json!({
                    "a/b": "c",
                    "cert-manager.io/cluster-issuer": "le",
                    "nginx.ingress.kubernetes.io/whitelist-source-range": "10.0.0.0/8,192.168.0.0/16",
                    "nginx.ingress.kubernetes.io/auth-type": "basic",
                    "nginx.ingress.kubernetes.io/auth-secret": "people",
                    "nginx.ingress.kubernetes.io/auth-realm": "DriveMaster monitoring",
                    "d/e": "f",
                })
            );
        }
        assert_eq!(classes(&config), ["nginx", "nginx-internal"]);
    }

    #[test]
    fn an_external_judge_is_named_under_the_configured_prefix() {
        let config = production(
            "ingress: {internal: {annotationPrefix: haproxy-ingress.github.io, auth: external, authUrl: 'https://a.b/c'}}",
        );
        assert_eq!(annotations_of(&config, "jaeger"), json!({"haproxy-ingress.github.io/auth-url": "https://a.b/c"}));
    }

    #[test]
    fn what_serves_tls_is_asked_by_tls() {
        let config = production("security: {internalTls: {mode: secret}}");
        for key in ["prometheus", "alertmanager", "jaeger"] {
            assert_eq!(annotations_of(&config, key), json!({"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}));
        }
        assert_eq!(annotations_of(&config, "grafana"), json!({}));
    }

    #[test]
    fn a_gateway_has_routes_and_no_ingress() {
        let config = production("ingress: {kind: gateway, gateway: {name: g, internalName: i, namespace: n}}");
        for (key, gateway) in [("grafana", "g"), ("prometheus", "i")] {
            let row = row(&config, stack::component(key).unwrap());
            assert_eq!(row["values"]["enabled"], false);
            assert_eq!(row["route"]["enabled"], true);
            assert_eq!(row["route"]["parentRefs"], json!([{"name": gateway, "namespace": "n"}]));
        }
        assert!(classes(&config).is_empty());
    }

    #[test]
    fn the_tls_secret_is_named_by_the_host() {
        let row = row(&production(""), stack::component("alertmanager").unwrap());
        assert_eq!(row["values"]["tls"], json!([{"secretName": "alerts-tls", "hosts": ["alerts.drivemaster.com"]}]));
        assert_eq!(row["host"], "alerts.drivemaster.com");
    }
}
