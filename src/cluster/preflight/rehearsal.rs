//! What the API server would say to the objects of the releases, asked without writing: helm would meet it in the
//! middle, when others are applied already.

use crate::cluster::Cluster;
use crate::cluster::objects::api;
use crate::cluster::request::{ask, is_invalid_field, status_message};
use crate::error::{Failure, Kind};
use crate::helm::Version;
use crate::object::{Manifest, ObjectRef};
use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How many questions go on at once.
const CONCURRENCY: usize = 16;
/// The kinds that are asked for: those with fields that cannot be changed, and those that policies judge.
const KINDS: &[&str] =
    &["DaemonSet", "Deployment", "Ingress", "Job", "PersistentVolumeClaim", "Service", "StatefulSet"];
/// The name under which helm writes.
const HELM: &str = "helm";

/// The refusals that `objects`, each with its namespace, would meet. Where nothing can be said, because the
/// namespace is not there yet or the right is missing (which is told otherwise), nothing is.
pub(super) async fn refusals(cluster: &Cluster, objects: &[Manifest], helm: Version) -> Result<Vec<Failure>> {
    let parameters = PatchParams::apply(HELM).force().dry_run();
    let parameters = &parameters;
    // Hooks are made anew each time.
    let is_hook = |object: &Manifest| {
        object.0.pointer("/metadata/annotations").is_some_and(|all| all.get("helm.sh/hook").is_some())
    };
    let asked = objects.iter().filter(|object| KINDS.contains(&object.reference().kind.as_str()) && !is_hook(object));
    let refused: Vec<Option<Failure>> = stream::iter(asked)
        .map(|object| async move {
            let reference = object.reference();
            let objects = api(&cluster.client, &reference);
            let patch = Patch::Apply(&object.0);
            let what = format!("ask what would become of `{reference}`");
            let status = ask(&what, || async {
                match objects.patch(&reference.name, parameters, &patch).await {
                    Ok(_) => Ok(None),
                    Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                        Ok(Some(status))
                    }
                    // An unknown field is one too; what else goes wrong in there says nothing about the object.
                    Err(kube::Error::Api(status)) if status.code == 500 => {
                        Ok(Some(status).filter(|status| is_invalid_field(status)))
                    }
                    Err(error) => Err(error),
                }
            });
            let Some(status) = status.await?.filter(|status| is_refusal(status, helm)) else { return Ok(None) };
            let live = ask(&format!("read `{reference}`"), || objects.get_opt(&reference.name)).await?;
            let live = live.map(serde_json::to_value).transpose()?;
            Ok::<_, anyhow::Error>(Some(refusal(&reference, &object.0, live.as_ref(), &status)))
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok(refused.into_iter().flatten().collect())
}

/// The objects of kinds that the cluster serves in no version, and will not once the plan's definitions stand.
pub(super) fn unserved(objects: &[Manifest], api_versions: &BTreeSet<String>) -> Vec<Failure> {
    let mut by_version: BTreeMap<String, ObjectRef> = BTreeMap::new();
    for reference in objects.iter().map(Manifest::reference) {
        if !api_versions.contains(&reference.api_version) {
            by_version.entry(reference.api_version.clone()).or_insert(reference);
        }
    }
    let refused = by_version.into_iter().map(|(version, object)| {
        let message = format!("the cluster does not serve `{version}`, and a release makes `{object}`");
        Failure::new(Kind::Refused, message).hint("kubectl api-versions")
    });
    refused.collect()
}

/// Whether the API server judged the object itself, and a policy or the schema refuses it.
fn is_refusal(status: &Status, helm: Version) -> bool {
    let lower = status.message.to_lowercase();
    match status.code {
        422 => true,
        // What is there twice Helm 3 deploys: it does not apply on the server.
        500 => is_invalid_field(status) && (helm.major > 3 || !lower.contains("duplicate entries")),
        400 | 403 => lower.contains("denied the request") || lower.contains("denied request"),
        _ => false,
    }
}

/// The refusal of `wanted`, with the way out where there is one.
fn refusal(reference: &ObjectRef, wanted: &Value, live: Option<&Value>, status: &Status) -> Failure {
    let message = status_message(status);
    let namespace = reference.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    let name = reference.kubectl_name();
    let is_fixed = message.contains("updates to statefulset spec") || message.contains("field is immutable");
    match live {
        Some(live) if is_fixed && reference.kind == "StatefulSet" => {
            let changed = changed_claims(wanted, live);
            let what = if changed.is_empty() { "fields that cannot be changed".to_owned() } else { changed.join(", ") };
            let message = format!("`{reference}` cannot change {what} in place");
            Failure::new(Kind::Refused, message).hint(format!(
                "enlarge its claims first where they are to grow, then `kubectl delete{namespace} {name} --cascade=orphan` \
                 (its pods and volumes stay) and deploy again; or keep the old value"
            ))
        }
        Some(_) if is_fixed => {
            Failure::new(Kind::Refused, format!("`{reference}` cannot be changed so in place: {message}"))
                .hint(format!("kubectl delete{namespace} {name} and deploy again, or keep the old value"))
        }
        _ => Failure::new(Kind::Refused, format!("the API server would refuse `{reference}`: {message}"))
            .hint(format!("drivemaster-mon render -o bundle/ shows the chart and the values of `{}`", reference.name)),
    }
}

/// What differs in the templates of claims, such as "the size of the claim `data` from 1Gi to 2Gi".
fn changed_claims(wanted: &Value, live: &Value) -> Vec<String> {
    let templates = |object: &'_ Value| -> Vec<Value> {
        object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let text =
        |claim: &Value, pointer: &str| claim.pointer(pointer).and_then(Value::as_str).unwrap_or("none").to_owned();
    let before = templates(live);
    let mut changed = Vec::new();
    for claim in templates(wanted) {
        let name = text(&claim, "/metadata/name");
        let Some(old) = before.iter().find(|old| text(old, "/metadata/name") == name) else { continue };
        for (what, pointer) in
            [("size", "/spec/resources/requests/storage"), ("StorageClass", "/spec/storageClassName")]
        {
            let (old, new) = (text(old, pointer), text(&claim, pointer));
            if old != new && (new != "none" || what == "size") {
                changed.push(format!("the {what} of the claim `{name}` from {old} to {new}"));
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::parse::OLDEST;
    use serde_json::json;

    fn status(code: u16, message: &str) -> Status {
        Status::failure(message, "Invalid").with_code(code)
    }

    fn set(size: &str) -> Value {
        json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"},
            "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": size}}}}]}})
    }

    #[test]
    fn a_claim_that_would_change_is_named_with_both_sizes_and_the_way_out() {
        let reference = ObjectRef::namespaced("apps/v1", "StatefulSet", "m", "a");
        let fixed = status(
            422,
            "StatefulSet.apps \"a\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than ...",
        );
        let told = refusal(&reference, &set("2Gi"), Some(&set("1Gi")), &fixed);
        assert_eq!(
            told.message,
            "`StatefulSet m/a` cannot change the size of the claim `data` from 1Gi to 2Gi in place"
        );
        assert!(told.hint.unwrap().contains("kubectl delete -n m statefulset/a --cascade=orphan"));
        let told = refusal(&reference, &set("1Gi"), Some(&set("1Gi")), &fixed);
        assert!(told.message.contains("fields that cannot be changed"), "{}", told.message);
        // A new object has nothing that is fixed.
        let told = refusal(&reference, &set("1Gi"), None, &status(422, "spec.replicas: Invalid value: -1"));
        assert!(told.message.ends_with("would refuse `StatefulSet m/a`: spec.replicas: Invalid value: -1"));
    }

    #[test]
    fn a_kind_that_nobody_serves_is_named_once_for_each_version() {
        let object = |version: &str, name: &str| {
            Manifest(json!({"apiVersion": version, "kind": "Widget", "metadata": {"name": name}}))
        };
        let served = BTreeSet::from(["v1".to_owned()]);
        let objects = [object("v1", "a"), object("example.com/v1", "b"), object("example.com/v1", "c")];
        let told: Vec<String> = unserved(&objects, &served).into_iter().map(|failure| failure.message).collect();
        assert_eq!(told, ["the cluster does not serve `example.com/v1`, and a release makes `Widget b`"]);
    }

    const NEW: Version = Version { major: 4, minor: 0, patch: 0 };

    #[test]
    fn only_a_judgement_on_the_object_itself_is_a_refusal() {
        for (code, message, expected) in [
            (422, "Service \"a\" is invalid: spec.ports[0].port", true),
            (403, "admission webhook \"x\" denied the request: no", true),
            (422, "ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no", true),
            (400, "admission webhook \"x\" does not support dry run", false),
            (403, "services \"a\" is forbidden: User \"jane\" cannot patch resource", false),
            (404, "namespaces \"m\" not found", false),
            (409, "conflict", false),
        ] {
            assert_eq!(is_refusal(&status(code, message), NEW), expected, "{message}");
        }
        let typed = "failed to create typed patch object (m/a; apps/v1, Kind=Deployment): .spec.replica: field not declared in schema";
        assert!(is_refusal(&Status::failure(typed, "").with_code(500), OLDEST));
        let twice = "failed to create typed patch object (m/a; apps/v1, Kind=Deployment): .spec: duplicate entries for key [name=\"X\"]";
        let twice = Status::failure(twice, "").with_code(500);
        assert!(is_refusal(&twice, NEW) && !is_refusal(&twice, OLDEST));
    }
}
