//! Checks before anything is written: all problems at once.

pub mod judge;

use crate::cluster::Cluster;
use crate::cluster::objects::resource;
use crate::cluster::request::ask;
use crate::cluster::snapshot::storage_classes;
use crate::config::model::Config;
use crate::helm::Helm;
use crate::object::{Manifest, ObjectRef};
use crate::plan::{Action, Plan, Step, Target};
use crate::render::Bundle;
use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use judge::{Access, Facts, judge_preflight, refuse};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use std::collections::BTreeSet;

/// How many questions go on at once.
const CONCURRENCY: usize = 16;

/// Checks that `plan` can be carried out: versions of the server and of helm, permissions,
/// StorageClasses, namespaces that are being deleted, releases that are stuck. Writes nothing.
///
/// # Errors
/// [`crate::error::Kind::Refused`] with every problem; [`crate::error::Kind::Usage`] when a chart
/// does not accept its values; [`crate::error::Kind::CouldNotAsk`] when a question got no answer.
pub async fn preflight(cluster: &Cluster, helm: &Helm, bundle: &Bundle, plan: &Plan, config: &Config) -> Result<()> {
    let helm_version = helm.version().await?;
    // A helm that we do not know cannot be trusted to render either.
    let rendered = if helm_version.is_supported() { render(cluster, helm, plan).await? } else { Vec::new() };
    let mut wanted = judge::accesses_of_steps(&plan.steps);
    wanted.extend(judge::accesses_of_objects(&rendered));
    let (denied, storage_classes, terminating) =
        tokio::try_join!(denied(cluster, wanted), storage_classes(&cluster.client), terminating(cluster, bundle))?;
    let facts = Facts {
        server_version: cluster.server_version.clone(),
        helm_version,
        denied,
        storage_classes,
        claimed_classes: judge::claimed_classes(&rendered),
        terminating,
        stuck: judge::stuck_releases(&plan.steps),
    };
    refuse(judge_preflight(&facts, &config.storage.class))
}

/// The objects of every release that the plan writes, each with its namespace.
async fn render(cluster: &Cluster, helm: &Helm, plan: &Plan) -> Result<Vec<Manifest>> {
    let releases = plan.steps.iter().filter_map(|step: &Step| match &step.target {
        Target::Release { release } if step.action != Action::Delete => Some(release),
        _ => None,
    });
    stream::iter(releases)
        .map(|release| async move {
            let mut objects = helm.render(release, &cluster.server_version).await?;
            for object in &mut objects {
                judge::place(object, &release.namespace);
            }
            Ok::<_, anyhow::Error>(objects)
        })
        .buffer_unordered(4)
        .try_concat()
        .await
}

/// The accesses among `wanted` that the API server would refuse.
async fn denied(cluster: &Cluster, wanted: BTreeSet<Access>) -> Result<BTreeSet<Access>> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let api = &api;
    stream::iter(wanted)
        .map(|access| async move {
            let any = ObjectRef { namespace: None, name: String::new(), ..access.kind.clone() };
            let resource = resource(&any);
            let review: SelfSubjectAccessReview = serde_json::from_value(json!({"spec": {"resourceAttributes": {
                "group": resource.group, "version": resource.version, "resource": resource.plural,
                "namespace": access.kind.namespace, "verb": access.verb,
            }}}))?;
            let parameters = PostParams::default();
            let answer = ask("ask for our own permissions", || api.create(&parameters, &review)).await?;
            Ok::<_, anyhow::Error>(answer.status.is_none_or(|status| !status.allowed).then_some(access))
        })
        .buffer_unordered(CONCURRENCY)
        .try_filter_map(|denied| async move { Ok(denied) })
        .try_collect()
        .await
}

/// The namespaces of the bundle that are being deleted.
async fn terminating(cluster: &Cluster, bundle: &Bundle) -> Result<Vec<String>> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let mut terminating = Vec::new();
    for namespace in &bundle.namespaces {
        let reference = namespace.reference();
        let found = ask(&format!("read `{reference}`"), || api.get_metadata_opt(&reference.name)).await?;
        if found.is_some_and(|found| found.metadata.deletion_timestamp.is_some()) {
            terminating.push(reference.name);
        }
    }
    Ok(terminating)
}
