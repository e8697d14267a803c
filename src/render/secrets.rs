//! The Secrets that the stack reads: those of somebody else's, and the key of the pseudonyms. Pure.

use super::bundle::{GeneratedSecret, RequiredKey, RequiredSecret, SecretForm};
use super::certificates;
use super::namespaces;
use crate::config::model::{
    Config, ExporterMode, IngressAuth, IngressKind, InternalTlsMode, JaegerStorage, KafkaSasl, Profile,
};
use std::collections::BTreeMap;

/// The key of the keyed hashes that stand for user ids.
pub(super) fn pseudonym_key(config: &Config) -> Option<GeneratedSecret> {
    let wanted = config.privacy.pseudonymise && (config.otel_collector.enabled || config.alloy.enabled);
    wanted.then(|| GeneratedSecret {
        namespace: config.namespaces.monitoring.clone(),
        name: config.privacy.key_secret.clone(),
        fixed: BTreeMap::new(),
        generated: vec!["key".to_owned()],
    })
}

/// Gathers keys by the Secret that holds them.
#[derive(Default)]
struct Wanted(BTreeMap<(String, String), Vec<RequiredKey>>);

impl Wanted {
    /// The key `key` of the Secret `place`; nothing where the Secret's name is empty, which says that
    /// none is needed.
    fn key(&mut self, place: (&str, &str), key: &str, form: SecretForm, used_by: &str, meaning: &str) {
        let (namespace, name) = place;
        if name.is_empty() {
            return;
        }
        let keys = self.0.entry((namespace.to_owned(), name.to_owned())).or_default();
        if !keys.iter().any(|known| known.key == key) {
            let (key, meaning, used_by) = (key.to_owned(), meaning.to_owned(), used_by.to_owned());
            keys.push(RequiredKey { key, meaning, form, used_by });
        }
    }

    fn login(&mut self, place: (&str, &str), used_by: &str, at: &str) {
        self.key(place, "username", SecretForm::Line, used_by, &format!("the user name at {at}"));
        self.key(place, "password", SecretForm::Line, used_by, &format!("the password at {at}"));
    }

    fn certificate(&mut self, place: (&str, &str), used_by: &str, of: &str) {
        self.key(place, "tls.crt", SecretForm::Certificate, used_by, &format!("the certificate of {of}"));
        self.key(place, "tls.key", SecretForm::PrivateKey, used_by, &format!("the private key of {of}"));
    }
}

/// The Secrets that must be there before a deploy of `config`, sorted by namespace and name.
pub fn required(config: &Config) -> Vec<RequiredSecret> {
    let mut wanted = Wanted::default();
    receivers(config, &mut wanted);
    if config.profile == Profile::Production {
        exporters(config, &mut wanted);
        stores(config, &mut wanted);
        internal_tls(config, &mut wanted);
        for namespace in namespaces(config).iter().skip(1) {
            let namespace = namespace.reference().name;
            for name in &config.images.pull_secrets {
                let meaning = "the login with which images are pulled";
                wanted.key((&namespace, name), ".dockerconfigjson", SecretForm::DockerConfig, "images", meaning);
            }
        }
    }
    ingress(config, &mut wanted);
    let secret = |((namespace, name), keys)| RequiredSecret { namespace, name, keys };
    wanted.0.into_iter().map(secret).collect()
}

fn receivers(config: &Config, wanted: &mut Wanted) {
    if !config.alertmanager.enabled {
        return;
    }
    let receivers = &config.alertmanager.receivers;
    let place = (config.namespaces.monitoring.as_str(), receivers.credentials_secret.as_str());
    if receivers.slack.enabled {
        let meaning = "the URL of Slack's incoming webhook";
        wanted.key(place, "slack-webhook-url", SecretForm::HttpsUrl, "alertmanager", meaning);
    }
    if receivers.email.enabled && !receivers.email.username.is_empty() {
        wanted.key(place, "smtp-password", SecretForm::Line, "alertmanager", "the password at the mail server");
    }
    if receivers.pagerduty.enabled {
        let meaning = "the routing key of PagerDuty's Events API v2";
        wanted.key(place, "pagerduty-routing-key", SecretForm::PagerdutyKey, "alertmanager", meaning);
    }
    if receivers.heartbeat.enabled {
        let meaning = "the URL that expects a request each minute";
        wanted.key(place, "heartbeat-url", SecretForm::HttpsUrl, "alertmanager", meaning);
    }
}

fn exporters(config: &Config, wanted: &mut Wanted) {
    let namespace = config.namespaces.monitoring.as_str();
    let deployed = |key: &str| config.exporter_mode(key) == ExporterMode::Deployed;
    let sources = &config.exporters;
    if deployed("postgresql") {
        let meaning = "the connection string of a user with the role pg_monitor";
        wanted.key(
            (namespace, &sources.postgresql.dsn_secret),
            "dsn",
            SecretForm::PostgresqlDsn,
            "postgresql",
            meaning,
        );
    }
    if deployed("redis") {
        let place = (namespace, sources.redis.password_secret.as_str());
        wanted.key(place, "password", SecretForm::Line, "redis", "the password at Redis");
    }
    if deployed("kafka") && sources.kafka.sasl != KafkaSasl::None {
        wanted.login((namespace, &sources.kafka.credentials_secret), "kafka", "Kafka");
    }
    if deployed("elasticsearch") {
        wanted.login((namespace, &sources.elasticsearch.credentials_secret), "elasticsearch", "Elasticsearch");
    }
}

fn stores(config: &Config, wanted: &mut Wanted) {
    let namespace = config.namespaces.monitoring.as_str();
    if config.jaeger.enabled && config.jaeger.storage == JaegerStorage::Elasticsearch {
        let place = (namespace, config.jaeger.elasticsearch.credentials_secret.as_str());
        wanted.login(place, "jaeger", "Jaeger's Elasticsearch");
    }
    if config.loki.enabled && config.loki.object_storage.enabled {
        let place = (namespace, config.loki.object_storage.credentials_secret.as_str());
        wanted.key(place, "access-key-id", SecretForm::Line, "loki", "the access key of the bucket");
        wanted.key(place, "secret-access-key", SecretForm::Line, "loki", "the secret key of the bucket");
    }
    if config.prometheus.enabled {
        for remote in &config.prometheus.remote_write {
            let at = format!("the store `{}`", remote.name);
            wanted.login((namespace, &remote.credentials_secret), "prometheus", &at);
        }
    }
}

fn internal_tls(config: &Config, wanted: &mut Wanted) {
    if config.security.internal_tls.mode != InternalTlsMode::Secret {
        return;
    }
    for (key, service) in certificates::with_tls(config) {
        let name = certificates::secret_name(service);
        let place = (config.namespaces.monitoring.as_str(), name.as_str());
        wanted.certificate(place, key, &format!("the Service `{service}`"));
        wanted.key(place, "ca.crt", SecretForm::Certificate, key, "the certificate of the authority that signed it");
    }
}

fn ingress(config: &Config, wanted: &mut Wanted) {
    let ingress = &config.ingress;
    if !ingress.enabled || ingress.kind == IngressKind::Gateway {
        return;
    }
    let namespace = config.namespaces.monitoring.as_str();
    for component in config.enabled_components() {
        let Some(host) = component.host else { continue };
        if ingress.tls && ingress.cluster_issuer.is_empty() {
            let name = format!("{host}-tls");
            wanted.certificate((namespace, &name), component.key, &format!("`{host}.{}`", config.domain));
        }
        // Grafana has a login of its own.
        if component.key != "grafana" && ingress.internal.auth == IngressAuth::Basic {
            let place = (namespace, ingress.internal.auth_secret.as_str());
            let meaning = "the people who may open the internal interfaces, as htpasswd lines";
            wanted.key(place, "auth", SecretForm::Htpasswd, component.key, meaning);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Layer, resolve};

    fn keys(profile: Profile, text: &str) -> Vec<String> {
        let config = resolve(Some(profile), &[], &[Layer::new("my.yaml", text)], &[]).unwrap();
        let secrets = required(&config).into_iter();
        secrets
            .flat_map(|secret| secret.keys.into_iter().map(move |key| format!("{}/{}", secret.name, key.key)))
            .collect()
    }

    /// Production without anything that needs a Secret.
    const BARE: &str = "ingress: {enabled: false}\n\
        alertmanager: {receivers: {slack: {enabled: false}, email: {enabled: false}, pagerduty: {enabled: false}}}\n\
        platform: {exporters: {postgresql: none, redis: none, kafka: none, elasticsearch: none}}\n\
        jaeger: {storage: badger}\n";

    #[test]
    fn each_part_asks_for_its_keys_and_only_when_it_is_there() {
        assert!(keys(Profile::Production, BARE).is_empty());
        assert!(keys(Profile::Local, "").is_empty());
        let cases: [(&str, &[&str]); 13] = [
            ("alertmanager: {receivers: {slack: {enabled: true}}}", &["alertmanager-credentials/slack-webhook-url"]),
            ("alertmanager: {receivers: {heartbeat: {enabled: true}}}", &["alertmanager-credentials/heartbeat-url"]),
            ("alertmanager: {receivers: {email: {enabled: true}}}", &["alertmanager-credentials/smtp-password"]),
            ("alertmanager: {receivers: {email: {enabled: true, username: ''}}}", &[]),
            ("platform: {exporters: {postgresql: deployed}}", &["postgres-exporter-dsn/dsn"]),
            ("platform: {exporters: {redis: deployed}}\nexporters: {redis: {passwordSecret: ''}}", &[]),
            (
                "platform: {exporters: {kafka: deployed}}",
                &["kafka-exporter-sasl/username", "kafka-exporter-sasl/password"],
            ),
            ("platform: {exporters: {kafka: deployed}}\nexporters: {kafka: {sasl: none}}", &[]),
            ("jaeger: {storage: elasticsearch}", &["jaeger-elasticsearch/username", "jaeger-elasticsearch/password"]),
            (
                "loki: {objectStorage: {enabled: true, bucket: b, credentialsSecret: s3}}",
                &["s3/access-key-id", "s3/secret-access-key"],
            ),
            (
                "prometheus: {remoteWrite: [{name: a, url: 'https://a', credentialsSecret: rw}]}",
                &["rw/username", "rw/password"],
            ),
            (
                "ingress: {enabled: true, clusterIssuer: le, internal: {auth: basic, authSecret: people}}",
                &["people/auth"],
            ),
            ("ingress: {enabled: true, kind: gateway}", &[]),
        ];
        for (text, expected) in cases {
            let layers = [Layer::new("bare.yaml", BARE), Layer::new("my.yaml", text)];
            let config = resolve(Some(Profile::Production), &[], &layers, &[]).unwrap();
            let found: Vec<String> = required(&config)
                .into_iter()
                .flat_map(|secret| secret.keys.into_iter().map(move |key| format!("{}/{}", secret.name, key.key)))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn certificates_are_asked_for_by_service_and_by_host() {
        let found = keys(Profile::Production, "security: {internalTls: {mode: secret}}");
        for key in [
            "loki-internal-tls/ca.crt",
            "jaeger-query-internal-tls/tls.key",
            "grafana-tls/tls.crt",
            "tracing-tls/tls.key",
        ] {
            assert!(found.contains(&key.to_owned()), "{key}: {found:?}");
        }
        let found =
            keys(Profile::Production, "security: {internalTls: {mode: cert-manager}}\ningress: {clusterIssuer: a}");
        assert!(!found.iter().any(|key| key.contains("tls")), "{found:?}");
    }

    #[test]
    fn pull_secrets_are_asked_for_wherever_pods_of_ours_run() {
        let config =
            resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", "images: {pullSecrets: [regcred]}")], &[])
                .unwrap();
        let places: Vec<String> = required(&config)
            .into_iter()
            .filter(|secret| secret.name == "regcred")
            .map(|secret| secret.namespace)
            .collect();
        assert_eq!(places, ["chaos-mesh", "drivemaster-monitoring", "drivemaster-node-exporter"]);
    }

    #[test]
    fn the_key_of_the_pseudonyms_is_generated_where_somebody_hashes() {
        let config = |text: &str| resolve(Some(Profile::Production), &[], &[Layer::new("my.yaml", text)], &[]).unwrap();
        assert_eq!(pseudonym_key(&config("")).unwrap().generated, ["key"]);
        assert!(pseudonym_key(&config("privacy: {pseudonymise: false}")).is_none());
        assert!(pseudonym_key(&config("alloy: {enabled: false}\notelCollector: {enabled: false}")).is_none());
    }
}
