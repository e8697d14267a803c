//! What protects the stack and the people whose data it sees.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Container images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Images {
    /// Registry (and path) that stands in for every image's own, such as `registry.example.com/mirror`;
    /// empty leaves each where it is published.
    pub registry: String,
    /// Secrets with which images are pulled, in every namespace of the stack.
    pub pull_secrets: Vec<String>,
}

/// What protects the stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Security {
    /// Whether NetworkPolicies deny everything but the flows of the stack.
    pub network_policies: bool,
    /// Networks of the API server and of the nodes, in CIDR notation: what policies cannot name by
    /// labels. Empty allows these flows from and to everywhere, on their ports.
    pub control_plane_cidrs: Vec<String>,
    /// Namespaces of the ingress controllers.
    pub ingress_namespaces: Vec<String>,
    /// TLS between the parts of the stack.
    pub internal_tls: InternalTls,
}

/// TLS between the parts of the stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InternalTls {
    /// Where the certificates come from.
    pub mode: InternalTlsMode,
    /// The issuer of cert-manager, for `mode: cert-manager`.
    pub issuer: Issuer,
}

/// Where the certificates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InternalTlsMode {
    /// There are none: plain HTTP inside the cluster.
    Off,
    /// Secrets `<service>-internal-tls` with `tls.crt`, `tls.key` and `ca.crt` that somebody else makes.
    Secret,
    /// The same Secrets, made by Certificate objects of cert-manager.
    CertManager,
}

/// An issuer of cert-manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// Name.
    pub name: String,
    /// `Issuer` or `ClusterIssuer`.
    #[schemars(regex(pattern = r"^(Issuer|ClusterIssuer)$"))]
    pub kind: String,
}

/// What becomes of personal data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Privacy {
    /// Whether user ids in logs and traces become keyed hashes before they are stored.
    pub pseudonymise: bool,
    /// Secret with the key `key`: the key of these hashes, generated once and kept.
    pub key_secret: String,
    /// What becomes of series that are labelled by user.
    pub user_metrics: UserMetrics,
}

/// What becomes of series that are labelled by user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserMetrics {
    /// They are kept, beside the rules that aggregate them per service. Each active user then costs 16
    /// series of every service that exposes all of them, two for each category and difficulty of
    /// question, and one for each concept.
    Keep,
    /// They are never stored: series with a label `user_id` are dropped at scrape. The rules then
    /// aggregate what services expose without that label.
    Drop,
}
