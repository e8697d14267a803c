//! What a deploy is made of, rendered and complete.

pub use crate::chart::Chart;
pub use crate::chart::crds::served_versions;
use crate::contract::Metric;
use crate::object::{Manifest, ObjectRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that is to stand in the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// The namespaces, first of all.
    pub namespaces: Vec<Manifest>,
    /// Secrets whose content is generated in the cluster once and then kept.
    pub generated_secrets: Vec<GeneratedSecret>,
    /// Certificates of admission webhooks, made in the cluster and renewed before they end.
    pub webhook_certificates: Vec<WebhookCertificate>,
    /// CustomResourceDefinitions of the charts, before everything of their kinds.
    pub crds: Vec<Manifest>,
    /// Objects of our own (rules, dashboards), applied by server-side apply before the releases.
    pub objects: Vec<Manifest>,
    /// Objects of our own that a release must be ready for.
    pub late_objects: Vec<LateObject>,
    /// The Helm releases.
    pub releases: Vec<Release>,
    /// What `verify` expects of the deployed bundle.
    pub expected: Expected,
    /// Secrets of somebody else's that the stack reads.
    pub required_secrets: Vec<RequiredSecret>,
    /// IngressClasses that the Ingress objects name.
    pub ingress_classes: Vec<String>,
}

impl Bundle {
    /// Every object of our own: definitions, early and late ones; without namespaces and Secrets.
    pub fn own_objects(&self) -> impl Iterator<Item = &Manifest> {
        self.crds.iter().chain(&self.objects).chain(self.late_objects.iter().map(|late| &late.manifest))
    }

    /// The model of `dashboard`, as it is deployed.
    pub fn model_of(&self, dashboard: &ExpectedDashboard) -> Option<serde_json::Value> {
        let named = |manifest: &&Manifest| {
            let of = |key: &str| manifest.0["metadata"][key].as_str();
            manifest.0["kind"] == "ConfigMap"
                && of("namespace") == Some(&dashboard.namespace)
                && of("name") == Some(&dashboard.config_map)
        };
        let files = self.objects.iter().find(named)?.0["data"].as_object()?;
        files.values().find_map(|text| serde_json::from_str(text.as_str()?).ok())
    }
}

/// An object of our own that comes after releases, such as an experiment after the controller whose
/// webhook judges it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LateObject {
    /// The object.
    pub manifest: Manifest,
    /// Names of the releases that must be ready first.
    pub after: Vec<String>,
}

/// A Secret that must be there before the deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequiredSecret {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The keys it must have.
    pub keys: Vec<RequiredKey>,
}

/// One key of a required Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequiredKey {
    /// The key.
    pub key: String,
    /// What it holds, for people: `the webhook URL of Slack`.
    pub meaning: String,
    /// The form of its value.
    pub form: SecretForm,
    /// Who reads it: key of the component or exporter.
    pub used_by: String,
}

/// What the value of a key must look like; judged without ever showing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretForm {
    /// Anything that is not empty.
    Any,
    /// One line without spaces around it, such as a password or user name.
    Line,
    /// An `https://` URL.
    HttpsUrl,
    /// A routing key of PagerDuty: 32 letters and digits.
    PagerdutyKey,
    /// A connection string `postgresql://...` or `key=value` words.
    PostgresqlDsn,
    /// Lines `user:hash` of htpasswd.
    Htpasswd,
    /// A PEM certificate.
    Certificate,
    /// A PEM private key.
    PrivateKey,
    /// The JSON of a `.dockerconfigjson`.
    DockerConfig,
}

/// A Secret that is generated when it is not there, and never changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GeneratedSecret {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Keys with a fixed, public value, such as a user name.
    pub fixed: BTreeMap<String, String>,
    /// Keys that get a random password.
    pub generated: Vec<String>,
}

/// The serving certificate of admission webhooks: made in this process with an authority of its own,
/// whose key is forgotten at once; kept in a Secret with the keys `ca`, `cert` and `key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookCertificate {
    /// Namespace of the Secret and of the Service.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Service that answers the webhooks; the certificate is for its DNS names.
    pub service: String,
    /// Webhook configurations that learn the authority in `clientConfig.caBundle`.
    pub configurations: Vec<ObjectRef>,
    /// Name of the release that makes them.
    pub after: String,
}

impl WebhookCertificate {
    /// The Secret.
    pub fn secret_reference(&self) -> ObjectRef {
        ObjectRef::namespaced("v1", "Secret", &self.namespace, &self.secret)
    }

    /// The names under which the API server calls the Service.
    pub fn dns_names(&self) -> Vec<String> {
        service_names(&self.service, &self.namespace)
    }
}

/// The DNS names of a Service, from the shortest to the whole one.
pub fn service_names(service: &str, namespace: &str) -> Vec<String> {
    ["", ".svc", ".svc.cluster.local"].iter().fold(vec![service.to_owned()], |mut names, end| {
        names.push(format!("{service}.{namespace}{end}"));
        names
    })
}

/// One Helm release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Release name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Chart.
    pub chart: Chart,
    /// Values, given to helm as JSON.
    pub values: serde_json::Value,
    /// Names of the releases that it sends to: they come first in lists, and go after it.
    pub needs: Vec<String>,
}

/// What the deployed bundle is expected to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// Scrape jobs.
    pub targets: Vec<ExpectedTarget>,
    /// Rule groups with the names of their rules, by file.
    pub rule_groups: Vec<ExpectedRuleGroup>,
    /// Dashboards.
    pub dashboards: Vec<ExpectedDashboard>,
    /// Metrics.
    pub metrics: Vec<ExpectedMetric>,
}

/// One metric of the contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedMetric {
    /// The metric.
    pub metric: Metric,
    /// `job` labels; some of them have it.
    pub jobs: Vec<String>,
}

/// One scrape job that must have targets, all up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedTarget {
    /// `job` label.
    pub job: String,
    /// Namespace of the Service behind it.
    pub namespace: String,
    /// Name of that Service.
    pub service: String,
    /// Port of `/metrics` on the pod.
    pub port: u16,
    /// Key of the component, where it is one of ours.
    pub component: Option<String>,
}

/// One rule group that must be loaded and healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedRuleGroup {
    /// Name of the group.
    pub name: String,
    /// Names of its alerts and records, in order.
    pub rules: Vec<String>,
}

/// One dashboard that must be provisioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedDashboard {
    /// Namespace of its ConfigMap.
    pub namespace: String,
    /// Name of its ConfigMap.
    pub config_map: String,
    /// `uid` of the dashboard.
    pub uid: String,
    /// Title.
    pub title: String,
}
