//! Whether the upgrade of a CustomResourceDefinition would take something from objects that are there.

use crate::cluster::Cluster;
use crate::cluster::objects::{api, defined};
use crate::cluster::request::ask;
use crate::error::{Failure, Kind};
use crate::object::Manifest;
use crate::plan::definitions::{Loss, losses, may_lose, unknown_to_planned};
use crate::plan::{Action, Step, Target};
use anyhow::Result;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

/// How many objects are read at once.
const PAGE: u32 = 500;
/// How many of the objects that lose something are named.
const NAMED: usize = 5;

/// What the steps of a plan would take from objects of the kinds whose definitions they upgrade, and what of ours
/// the definitions that they bring do not know.
pub(super) async fn problems(cluster: &Cluster, steps: &[Step]) -> Result<Vec<Failure>> {
    let unknown = unknown_to_planned(steps).into_iter().map(|(object, field)| {
        Failure::new(
            Kind::Refused,
            format!("the API server would refuse `{object}`: its definition has no field `{field}`"),
        )
        .hint("correct the field in the overlay that it comes from: drivemaster-mon validate")
    });
    let mut problems: Vec<Failure> = unknown.collect();
    for step in steps.iter().filter(|step| step.action == Action::Update) {
        let Target::Object { manifest } = &step.target else { continue };
        if manifest.reference().kind == "CustomResourceDefinition" {
            problems.extend(judge_upgrade(cluster, manifest).await?);
        }
    }
    Ok(problems)
}

async fn judge_upgrade(cluster: &Cluster, new: &Manifest) -> Result<Vec<Failure>> {
    let reference = new.reference();
    let definitions = api(&cluster.client, &reference);
    let Some(old) = ask(&format!("read `{reference}`"), || definitions.get_opt(&reference.name)).await? else {
        return Ok(Vec::new());
    };
    let old = serde_json::to_value(old)?;
    if !may_lose(&old, &new.0) {
        return Ok(Vec::new());
    }
    let objects = objects_of(cluster, &old).await?;
    let lost = losses(&old, &new.0, &objects).into_iter();
    Ok(lost.map(|(loss, users)| failure(&reference.name, &loss, &users)).collect())
}

/// Every object of the kind that `definition` brings.
async fn objects_of(cluster: &Cluster, definition: &Value) -> Result<Vec<Value>> {
    let Some(resource) = defined(definition) else { return Ok(Vec::new()) };
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    let what = format!("list the objects of kind `{}`", resource.kind);
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut parameters = ListParams::default().limit(PAGE);
        if let Some(token) = &token {
            parameters = parameters.continue_token(token);
        }
        let list = ask(&what, || api.list(&parameters)).await?;
        for object in list.items {
            found.push(serde_json::to_value(object)?);
        }
        token = list.metadata.continue_.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(found);
        }
    }
}

fn failure(definition: &str, loss: &Loss, users: &[String]) -> Failure {
    let mut named: Vec<String> = users.iter().take(NAMED).map(|user| format!("`{user}`")).collect();
    if users.len() > NAMED {
        named.push(format!("{} more", users.len() - NAMED));
    }
    let users = named.join(", ");
    match loss {
        Loss::Field(field) => Failure::new(
            Kind::Refused,
            format!("the upgrade of the definition `{definition}` would take the field `{field}` from {users}"),
        )
        .hint(format!("take the field out of them first: kubectl get {definition} -A")),
        Loss::Version(version) if users.is_empty() => Failure::new(
            Kind::Refused,
            format!("the upgrade of the definition `{definition}` drops the version `{version}`, in which objects were stored"),
        )
        .hint(format!("kubectl get crd {definition} -o jsonpath='{{.status.storedVersions}}'")),
        Loss::Version(version) => Failure::new(
            Kind::Refused,
            format!("the upgrade of the definition `{definition}` drops the version `{version}`, which {users} use"),
        )
        .hint(format!("write them again in a version that stays: kubectl get {definition} -A")),
    }
}
