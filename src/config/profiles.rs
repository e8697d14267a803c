//! Keys that the chosen profile does not heed. Who sets one would wait for an effect that never comes,
//! or take for protected what is not.

use super::model::{Config, Profile};
use crate::pointer;
use serde_json::Value;

/// What the light charts of profile `local` leave out. A pointer stands for everything below it.
const PRODUCTION_ONLY: &[&str] = &[
    "/alertmanager/replicas",
    "/alloy",
    "/blackboxExporter",
    "/chaosMesh",
    "/exporters",
    "/grafana/edition",
    "/images",
    "/ingress/annotations",
    "/ingress/clusterIssuer",
    "/ingress/gateway",
    "/ingress/internal",
    "/ingress/kind",
    "/jaeger/archive",
    "/jaeger/elasticsearch",
    "/jaeger/storage",
    "/loki/objectStorage",
    "/namespaces/chaosMesh",
    "/namespaces/nodeExporter",
    "/prometheus/exemplars",
    "/prometheus/federation",
    "/prometheus/managedControlPlane",
    "/prometheus/otlpReceiver",
    "/prometheus/queryLog",
    "/prometheus/remoteWrite",
    "/prometheus/replicas",
    "/security",
];

/// What the upstream charts of profile `production` choose themselves: the release that does, and its image.
const OF_THE_CHARTS: &[(&str, &str)] = &[
    ("prometheus", "/prometheus/image"),
    ("prometheus", "/prometheus/reloaderImage"),
    ("prometheus", "/alertmanager/image"),
    ("prometheus", "/grafana/image"),
    ("prometheus", "/grafana/sidecarImage"),
    ("loki", "/loki/image"),
    ("jaeger", "/jaeger/image"),
    ("otel-collector", "/otelCollector/image"),
];

/// The problems, each by the pointer of its key: what `merged` sets otherwise than the `built_in` layers and
/// the profile of `config` does not heed. Pure.
pub(super) fn judge_profile(config: &Config, built_in: &Value, merged: &Value) -> Vec<(String, String)> {
    let differing = |pointer: &str| {
        let mut found = Vec::new();
        differences(built_in.pointer(pointer), merged.pointer(pointer), pointer, &mut found);
        found
    };
    match config.profile {
        Profile::Local => {
            let message = "has no effect in profile `local`; only `production` heeds it";
            let all = PRODUCTION_ONLY.iter().flat_map(|pointer| differing(pointer));
            all.map(|pointer| (pointer, message.to_owned())).collect()
        }
        Profile::Production => {
            let message = |release: &str| {
                format!(
                    "profile `production` runs the image of its chart: set `helmValues.{release}` for another one, or \
                     `images.registry` for a registry that stands in for all"
                )
            };
            let all = OF_THE_CHARTS.iter().map(|(release, pointer)| (differing(pointer), message(release)));
            all.flat_map(|(found, message)| found.into_iter().map(move |pointer| (pointer, message.clone()))).collect()
        }
    }
}

/// The pointers, at and below `pointer`, of what differs.
fn differences(built_in: Option<&Value>, merged: Option<&Value>, pointer: &str, found: &mut Vec<String>) {
    match (built_in, merged) {
        (built_in, merged) if built_in == merged => {}
        (Some(Value::Object(built_in)), Some(Value::Object(merged))) => {
            for (key, value) in merged {
                let below = pointer::below(pointer, key);
                differences(built_in.get(key), Some(value), &below, found);
            }
        }
        _ => found.push(pointer.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Layer, resolve};

    fn told(profile: Profile, text: &str) -> Result<Config, String> {
        resolve(Some(profile), &[], &[Layer::new("my.yaml", text)], &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_local_charts_leave_out_is_refused_by_key() {
        for (text, path) in [
            ("prometheus: {remoteWrite: [{name: a, url: 'https://a.b'}]}", "prometheus.remoteWrite"),
            ("ingress: {enabled: true, internal: {sourceRanges: [10.0.0.0/8]}}", "ingress.internal.sourceRanges"),
            ("security: {internalTls: {mode: secret}}", "security.internalTls.mode"),
            ("images: {registry: registry.example.com}", "images.registry"),
            ("chaosMesh: {enabled: true}", "chaosMesh.enabled"),
            ("alloy: {enabled: true}", "alloy.enabled"),
            ("chaosMesh: {targets: {redis: {tier: cache}}}", "chaosMesh.targets.redis.tier"),
        ] {
            let told = told(Profile::Local, text).unwrap_err();
            assert!(told.contains(&format!("`{path}`: has no effect in profile `local`")), "{text}: {told}");
            assert!(told.contains("my.yaml:1:"), "{text}: {told}");
        }
    }

    #[test]
    fn images_of_the_charts_are_not_taken_for_ours() {
        let refused = told(Profile::Production, "prometheus: {image: {tag: v3.15.0}}").unwrap_err();
        assert!(refused.contains("`prometheus.image.tag`") && refused.contains("helmValues.prometheus"), "{refused}");
        assert_eq!(
            told(Profile::Local, "prometheus: {image: {tag: v3.15.0}}").unwrap().prometheus.image.tag,
            "v3.15.0"
        );
    }

    #[test]
    fn who_says_what_holds_anyway_is_not_refused() {
        told(Profile::Local, "prometheus: {replicas: 1}\nalloy: {enabled: false}").unwrap();
        told(Profile::Production, "grafana: {image: {tag: 13.2.0}}").unwrap();
    }

    #[test]
    fn every_listed_key_is_one_of_the_model() {
        let config = serde_json::to_value(told(Profile::Production, "").unwrap()).unwrap();
        for pointer in PRODUCTION_ONLY.iter().chain(OF_THE_CHARTS.iter().map(|(_, pointer)| pointer)) {
            assert!(config.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
