//! What was seen, and what is to be done.

use super::bookkeeping::Bookkeeping;
use super::change::ReleaseChange;
use super::drift::Drifted;
use super::inventory::Inventory;
use crate::object::{Manifest, ObjectRef};
use crate::render::bundle::{GeneratedSecret, Release, WebhookCertificate};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Label of a Helm release (on its release Secret) with the short digest of its chart.
pub const CHART_DIGEST_LABEL: &str = "drivemaster-mon/chart";
/// Label of a Helm release with the short digest of its values.
pub const VALUES_DIGEST_LABEL: &str = "drivemaster-mon/values";
/// Label of a Helm release with the short digest of what its chart asked of the cluster, see [`super::asked()`].
pub const API_DIGEST_LABEL: &str = "drivemaster-mon/api";
pub use crate::object::FIELD_MANAGER;

/// What the cluster holds of the things a bundle names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Objects that exist, as the API server returned them, those of releases too. Secrets come without
    /// their data.
    pub objects: BTreeMap<ObjectRef, Value>,
    /// Releases that exist, by namespace and name: the newest revision of each.
    pub releases: BTreeMap<(String, String), ObservedRelease>,
    /// What Helm keeps of the [`ObservedRelease::base`] of each release, by namespace and name, where it could be read.
    pub stored: BTreeMap<(String, String), StoredRelease>,
    /// Objects of releases of which is not known whether they are there.
    pub unread: BTreeSet<ObjectRef>,
    /// What the last deploy left and the bundle has not.
    pub unwanted: Inventory,
    /// The API versions that the cluster serves, such as `apps/v1`.
    pub api_versions: BTreeSet<String>,
    /// Version of the API server, such as `v1.37.2`.
    pub server_version: String,
    /// When it was seen.
    pub now: Timestamp,
}

/// The newest revision of a Helm release, read from its release Secret's labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedRelease {
    /// Helm's status, such as `deployed`, `failed` or `pending-install`.
    pub status: String,
    /// Revision number.
    pub revision: u64,
    /// How many revisions Helm keeps of it.
    pub revisions: u64,
    /// The revision that Helm goes from when it upgrades; `None` where it would install.
    pub base: Option<u64>,
    /// Value of [`CHART_DIGEST_LABEL`].
    pub chart_digest: Option<String>,
    /// Value of [`VALUES_DIGEST_LABEL`].
    pub values_digest: Option<String>,
    /// Value of [`API_DIGEST_LABEL`].
    pub api_digest: Option<String>,
}

/// What Helm keeps of one revision of a release.
#[derive(Clone, Default, PartialEq)]
pub struct StoredRelease {
    /// Version of the chart.
    pub chart_version: String,
    /// Version of the program in it; empty where the chart says none.
    pub app_version: String,
    /// The values it was given.
    pub values: Value,
    /// The objects of its manifest, each with its namespace.
    pub manifest: Vec<Manifest>,
}

/// Values and Secrets stand in it, so nothing of it is shown.
impl fmt::Debug for StoredRelease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StoredRelease").field("chart_version", &self.chart_version).finish_non_exhaustive()
    }
}

/// What is to be done, in an order that respects every need.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// Ids of what stands already as it should.
    pub unchanged: Vec<String>,
    /// The API versions that the cluster serves once the definitions of the bundle are there, and the
    /// kinds that those bring: `monitoring.coreos.com/v1` and `monitoring.coreos.com/v1/Probe`. Releases
    /// are rendered for them.
    pub api_versions: BTreeSet<String>,
    /// The short digest of those that each release may ask for, without the kinds, by its name; stored with it.
    pub api_digests: BTreeMap<String, String>,
    /// What others changed of what steps are about, by the id of the step.
    pub drift: BTreeMap<String, Vec<Drifted>>,
    /// What the steps of releases would change, by the id of the step; only where that was asked of helm.
    pub releases: BTreeMap<String, ReleaseChange>,
    /// The releases that it is limited to; `None` where it is about everything.
    pub limited_to: Option<BTreeSet<String>>,
    /// The writes besides those of the steps.
    pub bookkeeping: Bookkeeping,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Stable id, such as `release prometheus` or `ConfigMap drivemaster-monitoring/rules`.
    pub id: String,
    /// What happens.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Ids of steps that must be done (and ready) first; ids without a step are already satisfied.
    pub needs: Vec<String>,
    /// What changes, one line each, secrets masked.
    pub changes: Vec<String>,
    /// What it is about.
    pub target: Target,
}

/// What happens to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is taken away.
    Delete,
}

impl Action {
    /// The word for what happens to the target.
    pub fn done(self) -> &'static str {
        match self {
            Action::Create => "created",
            Action::Update => "updated",
            Action::Delete => "deleted",
        }
    }
}

/// Why a step is in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Reason {
    /// It is not there.
    New,
    /// The chart changed.
    Version,
    /// The values or the content changed.
    Values,
    /// The cluster has other versions of what the chart asks for than the release was rendered for.
    ApiVersions,
    /// Somebody else changed fields that are ours.
    Drift,
    /// The last attempt did not end well.
    Repair {
        /// The status it was left in.
        status: String,
    },
    /// Another helm works on it, or was killed in the middle: that cannot be told, and nothing is done.
    Stuck {
        /// The status it was left in.
        status: String,
    },
    /// It is no longer wanted.
    Prune,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::New => formatter.write_str("new"),
            Reason::Version => formatter.write_str("version"),
            Reason::Values => formatter.write_str("values"),
            Reason::ApiVersions => formatter.write_str("api-versions"),
            Reason::Drift => formatter.write_str("drift"),
            Reason::Repair { status } => write!(formatter, "repair ({status})"),
            Reason::Stuck { status } => write!(formatter, "stuck ({status})"),
            Reason::Prune => formatter.write_str("prune"),
        }
    }
}

/// What a step is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
#[allow(clippy::large_enum_variant)]
pub enum Target {
    /// A namespace.
    Namespace {
        /// The namespace as it is to be.
        manifest: Manifest,
    },
    /// A Secret with generated content.
    GeneratedSecret {
        /// Which.
        secret: GeneratedSecret,
    },
    /// The Secret with the certificate of admission webhooks.
    WebhookCertificate {
        /// Which.
        certificate: WebhookCertificate,
    },
    /// The authority in a webhook configuration that a release made.
    WebhookAuthority {
        /// Whose authority.
        certificate: WebhookCertificate,
        /// Which configuration.
        configuration: ObjectRef,
    },
    /// An object of our own.
    Object {
        /// The object as it is to be.
        manifest: Manifest,
    },
    /// A Helm release.
    Release {
        /// The release as it is to be.
        release: Release,
    },
    /// An object of our own that is no longer wanted.
    UnwantedObject {
        /// Which.
        reference: ObjectRef,
        /// The UID that it must still have.
        uid: String,
    },
    /// A Helm release of ours that is no longer wanted.
    UnwantedRelease {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}
