//! The kinds that the API server lists, which is what everybody who works with objects of them goes by.

use crate::cluster::request::ask;
use anyhow::Result;
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};

/// What the API server calls a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindNames {
    /// As objects name it: `Deployment`.
    pub kind: String,
    /// In the singular: `deployment`.
    pub singular: String,
    /// Short: `deploy`.
    pub short: BTreeSet<String>,
}

/// The kinds of all groups but the core one, by group, version and plural (`apps/v1/deployments`); `None` where no
/// answer holds them all, as before Kubernetes 1.26.
///
/// # Errors
/// As [`ask`].
pub async fn kinds(client: &Client) -> Result<Option<BTreeMap<String, KindNames>>> {
    let groups = ask("list the API groups of the cluster", || async {
        match client.list_api_groups_aggregated().await {
            Err(kube::Error::SerdeError(_)) => Ok(None),
            answer => answer.map(Some),
        }
    })
    .await?;
    let Some(groups) = groups else { return Ok(None) };
    let mut kinds = BTreeMap::new();
    for group in groups.items {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        for version in group.versions {
            let place = format!("{name}/{}", version.version.unwrap_or_default());
            for resource in version.resources {
                let Some(plural) = resource.resource else { continue };
                let names = KindNames {
                    kind: resource.response_kind.and_then(|kind| kind.kind).unwrap_or_default(),
                    singular: resource.singular_resource.unwrap_or_default(),
                    short: resource.short_names.into_iter().collect(),
                };
                kinds.insert(format!("{place}/{plural}"), names);
            }
        }
    }
    Ok(Some(kinds))
}
