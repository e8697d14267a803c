//! The last lines of the container that keeps a pod from being ready: what it ends with seldom says why.

use crate::object::ObjectRef;
use crate::plan::masked_lines;
use crate::ready::Snapshot;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::LogParams;
use kube::{Api, Client};
use std::time::Duration;

/// How many lines are read.
const LINES: i64 = 5;
/// How many bytes of them: a line may be as long as it likes.
const BYTES: i64 = 16 * 1024;
/// How many characters of a line are told.
const LONGEST: usize = 300;
/// How long the node may take to give them: they are worth having, not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(3);

/// A container that has run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Container {
    namespace: String,
    pod: String,
    name: String,
    /// Whether it is its last run but one that failed.
    previous: bool,
}

/// The container that keeps `object` from being ready, a pod or what is made of pods, where it has written
/// anything; the one that ended with a failure before one that runs.
pub(super) fn container_behind(object: &ObjectRef, seen: &Snapshot) -> Option<Container> {
    let of_pod = |pod: &&Pod| match object.kind.as_str() {
        "Pod" => pod.metadata.name.as_deref() == Some(object.name.as_str()),
        _ => pod
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.kind == object.kind && owner.name == object.name),
    };
    let found = seen.pods.iter().filter(of_pod).flat_map(|pod| {
        let status = pod.status.as_ref();
        let first = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
        let main = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        first.iter().chain(main).filter_map(move |container| run_of(pod, container))
    });
    found.min_by_key(|(_, failed)| !failed).map(|(container, _)| container)
}

/// The run of `container` whose log tells something, and whether it failed.
fn run_of(pod: &Pod, container: &ContainerStatus) -> Option<(Container, bool)> {
    let failed = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state.and_then(|state| state.terminated.as_ref()).is_some_and(|end| end.exit_code != 0)
    };
    let state = container.state.as_ref();
    let previous = failed(container.last_state.as_ref()) && !failed(state);
    let runs = state.is_some_and(|state| state.running.is_some()) && !container.ready;
    let found = Container {
        namespace: pod.metadata.namespace.clone()?,
        pod: pod.metadata.name.clone()?,
        name: container.name.clone(),
        previous,
    };
    let has_failed = previous || failed(state);
    (has_failed || runs).then_some((found, has_failed))
}

/// What `container` wrote last, a line each, without what the names in it call secrets; nothing where the API
/// server or the node does not give it.
pub(super) async fn last_lines(client: &Client, container: &Container) -> Vec<String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &container.namespace);
    let parameters = LogParams {
        container: Some(container.name.clone()),
        previous: container.previous,
        tail_lines: Some(LINES),
        limit_bytes: Some(BYTES),
        ..LogParams::default()
    };
    let Ok(Ok(text)) = tokio::time::timeout(PATIENCE, api.logs(&container.pod, &parameters)).await else {
        return Vec::new();
    };
    let text = console::strip_ansi_codes(&text).into_owned();
    let lines = masked_lines(text.lines().filter(|line| !line.trim().is_empty())).into_iter();
    lines.map(|line| format!("log of `{}`: {}", container.name, shortened(line.trim()))).collect()
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn seen(pods: Value) -> Snapshot {
        Snapshot { pods: serde_json::from_value(pods).unwrap(), ..Snapshot::default() }
    }

    fn pod(name: &str, containers: Value) -> Value {
        json!({"metadata": {"name": name, "namespace": "m",
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "migrate", "uid": "u"}]},
            "status": {"containerStatuses": containers}})
    }

    fn container(name: &str, state: Value, last: Value) -> Value {
        json!({"name": name, "image": "", "imageID": "", "restartCount": 1, "ready": false, "state": state, "lastState": last})
    }

    #[test]
    fn the_container_that_failed_comes_first_and_one_that_never_ran_has_no_log() {
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let running = || json!({"running": {}});
        let waiting = || json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let object = ObjectRef::namespaced("v1", "Pod", "m", "a");
        for (containers, expected) in [
            (json!([container("x", waiting(), json!({}))]), None),
            (json!([container("x", ended(0), json!({}))]), None),
            (json!([container("x", running(), json!({}))]), Some(("x", false))),
            (json!([container("x", running(), json!({})), container("y", waiting(), ended(1))]), Some(("y", true))),
            (json!([container("x", ended(2), ended(1))]), Some(("x", false))),
            (json!([container("x", running(), ended(1))]), Some(("x", true))),
        ] {
            let found = container_behind(&object, &seen(json!([pod("b", json!([])), pod("a", containers.clone())])));
            let found = found.map(|found| (found.name, found.previous));
            assert_eq!(found, expected.map(|(name, previous)| (name.to_owned(), previous)), "{containers}");
        }
        let job = ObjectRef::namespaced("batch/v1", "Job", "m", "migrate");
        let found =
            container_behind(&job, &seen(json!([pod("migrate-x", json!([container("x", ended(1), json!({}))]))])));
        assert_eq!(found.unwrap().pod, "migrate-x");
    }
}
