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
/// one answer holds them all, as before Kubernetes 1.27: it is that of the groups alone, which has no items.
///
/// # Errors
/// As [`ask`].
pub async fn kinds(client: &Client) -> Result<Option<BTreeMap<String, KindNames>>> {
    let groups = ask("list the API groups of the cluster", || client.list_api_groups_aggregated()).await?;
    if groups.items.is_empty() {
        return Ok(None);
    }
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

/// The kinds in `version` (`apps/v1`), by their plurals; none where it is not served.
///
/// # Errors
/// As [`ask`].
pub async fn kinds_of(client: &Client, version: &str) -> Result<BTreeMap<String, KindNames>> {
    let found = ask(&format!("list the kinds of `{version}`"), || async {
        match client.list_api_group_resources(version).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            answer => answer.map(Some),
        }
    })
    .await?;
    let names = found.into_iter().flat_map(|found| found.resources).map(|resource| {
        let names = KindNames {
            kind: resource.kind,
            singular: resource.singular_name,
            short: resource.short_names.into_iter().flatten().collect(),
        };
        (resource.name, names)
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::script::{Answer, list, scripted};
    use serde_json::json;

    #[tokio::test]
    async fn an_answer_without_the_kinds_is_none() {
        let kinds_of = async |answer: Answer| {
            let (client, _log) = scripted(move |_| answer.clone());
            kinds(&client).await.unwrap()
        };
        let groups = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "apps", "versions": []}]});
        assert_eq!(kinds_of(Answer::Json(200, groups)).await, None);
        let resource = json!({"resource": "deployments", "singularResource": "deployment", "shortNames": ["deploy"],
            "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "scope": "Namespaced", "verbs": []});
        let whole =
            list(json!([{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [resource]}]}]));
        let names = KindNames {
            kind: "Deployment".to_owned(),
            singular: "deployment".to_owned(),
            short: ["deploy".to_owned()].into(),
        };
        assert_eq!(kinds_of(whole).await, Some([("apps/v1/deployments".to_owned(), names)].into()));
    }
}
