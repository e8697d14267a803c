//! What a deploy is made of, rendered and complete.

use crate::object::Manifest;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything that is to stand in the cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// The namespaces, first of all.
    pub namespaces: Vec<Manifest>,
    /// Secrets whose content is generated in the cluster once and then kept.
    pub generated_secrets: Vec<GeneratedSecret>,
    /// Objects of our own (rules, dashboards), applied by server-side apply before the releases.
    pub objects: Vec<Manifest>,
    /// The Helm releases.
    pub releases: Vec<Release>,
    /// What `verify` expects of the deployed bundle.
    pub expected: Expected,
}

/// A Secret that is generated when it is not there, and never changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// One Helm release.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Names of the releases that must be deployed first.
    pub needs: Vec<String>,
}

/// A chart with its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Version of the program it installs.
    pub app_version: String,
    /// Files by path below the chart's folder.
    #[serde(skip)]
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What the deployed bundle is expected to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// Scrape jobs.
    pub targets: Vec<ExpectedTarget>,
    /// Rule groups with the names of their rules, by file.
    pub rule_groups: Vec<ExpectedRuleGroup>,
    /// Dashboards.
    pub dashboards: Vec<ExpectedDashboard>,
}

/// One scrape job that must have targets, all up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedRuleGroup {
    /// Name of the group.
    pub name: String,
    /// Names of its alerts and records, in order.
    pub rules: Vec<String>,
}

/// One dashboard that must be provisioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
