//! What protects the stack: Pod Security, NetworkPolicies; and the experiments that must not run.

use super::super::facts::{CannotAsk, Fact, PodSecurityFact};
use super::cluster::{answer, list};
use crate::render::Bundle;
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, Request};
use kube::client::Body;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The label with the level that pods are refused by.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// The label with the version of that level's rules.
const ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";

/// Pod Security in each namespace of the bundle.
pub(super) async fn pod_security(client: &Client, bundle: &Bundle) -> Fact<Vec<PodSecurityFact>> {
    let minor = answer(client.apiserver_version()).await?;
    let version = format!("v{}.{}", minor.major, minor.minor.trim_end_matches(|letter: char| !letter.is_ascii_digit()));
    let facts = bundle.namespaces.iter().map(async |manifest| {
        let name = manifest.reference().name;
        let api: Api<Namespace> = Api::all(client.clone());
        let Some(found) = answer(api.get_opt(&name)).await? else {
            return Ok(PodSecurityFact { namespace: name, labels: None, violations: Ok(Vec::new()) });
        };
        let labels = found.labels().clone();
        let level = labels.get(ENFORCE).map_or("privileged", String::as_str);
        let violations = match level {
            "privileged" => Ok(Vec::new()),
            level => judged_again(client, &name, level, labels.get(ENFORCE_VERSION), &version).await,
        };
        Ok(PodSecurityFact { namespace: name, labels: Some(labels), violations })
    });
    try_join_all(facts).await
}

/// What the API server says of the running pods when the level is set again: it looks at them
/// whenever level or version change, and answers in warnings. Nothing is written.
async fn judged_again(
    client: &Client,
    namespace: &str,
    level: &str,
    current: Option<&String>,
    newest: &str,
) -> Fact<Vec<String>> {
    // The same rules under another name, so that the change counts as one.
    let version = if current.map(String::as_str) == Some(newest) { "latest" } else { newest };
    let patch = Patch::Merge(json!({"metadata": {"labels": {ENFORCE: level, ENFORCE_VERSION: version}}}));
    let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
    let request = Request::new("/api/v1/namespaces")
        .patch(namespace, &parameters, &patch)
        .map_err(|error| CannotAsk::lasting(error.to_string()))?;
    let response = answer(client.send(request.map(Body::from))).await?;
    if !response.status().is_success() {
        return Err(CannotAsk::lasting(match response.status().as_u16() {
            403 => format!("not allowed to try a label on namespace `{namespace}`, not even as a dry run"),
            status => format!("trying a label on namespace `{namespace}` was answered with {status}"),
        }));
    }
    let warnings = response.headers().get_all("warning").iter();
    Ok(warnings.filter_map(|value| value.to_str().ok()).map(text_of_warning).collect())
}

/// The text of a `Warning` header (RFC 7234, section 5.5): `299 - "text"`, quotes within it escaped.
fn text_of_warning(header: &str) -> String {
    let text = header.split_once('"').map_or(header, |(_, rest)| rest);
    text.strip_suffix('"').unwrap_or(text).replace("\\\"", "\"")
}

/// The NetworkPolicies of the namespaces in which the bundle has some, as `namespace/name`.
pub(super) async fn network_policies(client: &Client, bundle: &Bundle) -> Fact<Vec<String>> {
    let references = bundle.own_objects().map(crate::object::Manifest::reference);
    let namespaces: BTreeSet<String> = references
        .filter(|reference| reference.kind == "NetworkPolicy")
        .filter_map(|reference| reference.namespace)
        .collect();
    let everything = ListParams::default();
    let lists = namespaces.iter().map(async |namespace| {
        let found = list::<NetworkPolicy>(client, namespace, &everything).await?;
        Ok::<_, CannotAsk>(found.into_iter().map(move |policy| format!("{namespace}/{}", policy.name_any())))
    });
    Ok(join_all(lists).await.into_iter().collect::<Fact<Vec<_>>>()?.into_iter().flatten().collect())
}

/// The `Schedule` objects of Chaos Mesh in `namespace`.
pub(super) async fn schedules(client: &Client, namespace: &str) -> Fact<Vec<Value>> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("chaos-mesh.org", "v1alpha1", "Schedule"));
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let found = answer(objects.list(&ListParams::default())).await?;
    Ok(found.items.into_iter().filter_map(|object| serde_json::to_value(object).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_read_without_its_frame() {
        let header =
            r#"299 - "existing pods in namespace \"a\" violate the new PodSecurity enforce level \"restricted\"""#;
        assert_eq!(
            text_of_warning(header),
            r#"existing pods in namespace "a" violate the new PodSecurity enforce level "restricted""#
        );
    }
}
