//! URLs stand in values, logs and plans: a login in one of them would be read by everybody.

use super::model::Config;

/// The keys whose URL carries a user name or password, each by its pointer with the way out. Pure.
pub(super) fn judge_urls(config: &Config) -> Vec<(String, String)> {
    let prometheus = &config.prometheus;
    let sources = &config.exporters;
    let one = |pointer: &str, url: &String, way_out: &'static str| (pointer.to_owned(), url.clone(), way_out);
    let remote_write = prometheus.remote_write.iter().enumerate().map(|(index, to)| {
        let way_out = "name a Secret with the keys `username` and `password` in `credentialsSecret`";
        one(&format!("/prometheus/remoteWrite/{index}/url"), &to.url, way_out)
    });
    let probed = config.blackbox_exporter.urls.iter().enumerate().map(|(index, url)| {
        let way_out = "probes send none: take it out, and probe a path that needs no login";
        one(&format!("/blackboxExporter/urls/{index}"), url, way_out)
    });
    let without_login = "take it out, and let what stands there admit the namespace without a login";
    [
        one("/prometheus/existingUrl", &prometheus.existing_url, without_login),
        one("/loki/existingUrl", &config.loki.existing_url, without_login),
        one(
            "/alertmanager/runbooksUrl",
            &config.alertmanager.runbooks_url,
            "take it out: whoever opens a page logs in there",
        ),
        one("/ingress/internal/authUrl", &config.ingress.internal.auth_url, without_login),
        one(
            "/loki/objectStorage/endpoint",
            &config.loki.object_storage.endpoint,
            "name a Secret with the keys `access-key-id` and `secret-access-key` in `credentialsSecret`",
        ),
        one(
            "/exporters/redis/address",
            &sources.redis.address,
            "name a Secret with the key `password` in `passwordSecret`",
        ),
    ]
    .into_iter()
    .chain(remote_write)
    .chain(probed)
    .filter(|(_, url, _)| has_login(url))
    .map(|(pointer, _, way_out)| (pointer, format!("has a user name or password in it: {way_out}")))
    .collect()
}

/// Whether `url` has something before an `@` in the part that names the host.
fn has_login(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Layer, Profile, resolve};

    #[test]
    fn a_login_stands_before_the_host() {
        for url in ["https://user:pass@host", "http://token@host:1/a", "user:pass@host:6379", "https://u:p@h?a=b"] {
            assert!(has_login(url), "{url}");
        }
        for url in ["https://host/a@b", "https://host?to=a@b", "redis:6379", "", "https://host/#@"] {
            assert!(!has_login(url), "{url}");
        }
    }

    #[test]
    fn a_url_with_a_password_is_refused_by_its_key_and_the_password_is_not_told() {
        let url = "https://user:hunter2@host/a";
        for (text, path, way_out) in [
            (
                format!("prometheus: {{remoteWrite: [{{name: a, url: '{url}'}}]}}"),
                "remoteWrite[0].url",
                "credentialsSecret",
            ),
            (format!("prometheus: {{enabled: false, existingUrl: '{url}'}}"), "prometheus.existingUrl", "take it out"),
            (format!("loki: {{enabled: false, existingUrl: '{url}'}}"), "loki.existingUrl", "take it out"),
            (format!("alertmanager: {{runbooksUrl: '{url}/'}}"), "alertmanager.runbooksUrl", "take it out"),
            (format!("loki: {{objectStorage: {{endpoint: '{url}'}}}}"), "objectStorage.endpoint", "access-key-id"),
            (format!("blackboxExporter: {{urls: ['{url}']}}"), "blackboxExporter.urls[0]", "probes send none"),
            (format!("ingress: {{internal: {{auth: external, authUrl: '{url}'}}}}"), "internal.authUrl", "take it out"),
            (format!("exporters: {{redis: {{address: '{url}'}}}}"), "redis.address", "passwordSecret"),
            (format!("exporters: {{elasticsearch: {{url: '{url}'}}}}"), "elasticsearch.url", "form expected here"),
        ] {
            let layers = [Layer::new("my.yaml", &text)];
            let told = resolve(Some(Profile::Production), &[], &layers, &[]).unwrap_err().to_string();
            assert!(told.contains(path) && told.contains(way_out), "{text}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
