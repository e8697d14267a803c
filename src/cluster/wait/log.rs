//! The last lines of the container that keeps a pod from being ready: what it ends with seldom says why.

use crate::event::Cause;
use crate::plan::masked_lines;
use crate::ready::Snapshot;
use anyhow::Result;
use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::api::LogParams;
use kube::{Api, Client};
use std::time::Duration;

/// How many lines are told.
const LINES: usize = 5;
/// How many bytes of them are read: a line may be as long as it likes, and what is cut is cut at the end.
const BYTES: u64 = 256 * 1024;
/// How many characters of a line are told.
const LONGEST: usize = 300;
/// How long the node may take to give them: they are worth having, not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A container that has run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Container {
    namespace: String,
    pod: String,
    name: String,
    /// Whether it is its last run but one that failed.
    previous: bool,
}

/// The container to blame for `cause`, where it has written anything: the one that it names, else one of the pod, or
/// of the pods of what is made of pods; the one that ended with a failure before one that runs.
pub(super) fn container_behind(cause: &Cause, seen: &Snapshot) -> Option<Container> {
    let object = &cause.object;
    let named =
        cause.message.split_once("container `").and_then(|(_, rest)| rest.split_once('`')).map(|(name, _)| name);
    let of_pod = |pod: &&Pod| match object.kind.as_str() {
        "Pod" => pod.metadata.name.as_deref() == Some(object.name.as_str()),
        _ => {
            let mut owners = pod.metadata.owner_references.iter().flatten();
            owners.any(|owner| owner.kind == object.kind && owner.name == object.name)
        }
    };
    let found = seen.pods.iter().filter(of_pod).flat_map(|pod| {
        let status = pod.status.as_ref();
        let first = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
        let main = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        let meant = first.iter().chain(main).filter(|container| named.is_none_or(|name| name == container.name));
        meant.filter_map(move |container| run_of(pod, container))
    });
    found.min_by_key(|(_, failed)| !failed).map(|(container, _)| container)
}

/// The run of `container` whose log tells something, and whether it failed; none of one that is ready or done.
fn run_of(pod: &Pod, container: &ContainerStatus) -> Option<(Container, bool)> {
    let code = |state: Option<&ContainerState>| state?.terminated.as_ref().map(|end| end.exit_code);
    let state = container.state.as_ref();
    if container.ready || code(state) == Some(0) {
        return None;
    }
    let failed = code(state).is_some();
    let previous = !failed && code(container.last_state.as_ref()).is_some_and(|code| code != 0);
    let runs = state.is_some_and(|state| state.running.is_some());
    let found = Container {
        namespace: pod.metadata.namespace.clone()?,
        pod: pod.metadata.name.clone()?,
        name: container.name.clone(),
        previous,
    };
    (failed || previous || runs).then_some((found, failed || previous))
}

/// What `container` wrote last, a line each, without what the names in it call secrets; nothing where the API
/// server or the node does not give it.
pub(super) async fn last_lines(client: &Client, container: &Container) -> Vec<String> {
    let text = match tokio::time::timeout(PATIENCE, read(client, container)).await {
        Ok(Ok(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => return Vec::new(),
    };
    let text = console::strip_ansi_codes(&text).into_owned();
    let lines = masked_lines(text.lines().filter(|line| !line.trim().is_empty()));
    let last = lines.len().saturating_sub(LINES);
    let run = if container.previous { "previous log" } else { "log" };
    let told = lines.iter().skip(last);
    told.map(|line| format!("{run} of `{}`: {}", container.name, shortened(line.trim()))).collect()
}

async fn read(client: &Client, container: &Container) -> Result<Vec<u8>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &container.namespace);
    let parameters = LogParams {
        container: Some(container.name.clone()),
        previous: container.previous,
        tail_lines: i64::try_from(LINES).ok(),
        ..LogParams::default()
    };
    let mut bytes = Vec::new();
    api.log_stream(&container.pod, &parameters).await?.take(BYTES).read_to_end(&mut bytes).await?;
    Ok(bytes)
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
    use crate::object::ObjectRef;
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

    fn cause(object: ObjectRef, message: &str) -> Cause {
        Cause { object, reason: "R".to_owned(), message: message.to_owned(), permanent: false }
    }

    #[test]
    fn the_container_to_blame_is_the_one_that_is_named_or_that_failed() {
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let (running, waiting) = (|| json!({"running": {}}), || json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        let mut ready = container("x", running(), ended(1));
        ready["ready"] = json!(true);
        let object = || ObjectRef::namespaced("v1", "Pod", "m", "a");
        for (message, containers, expected) in [
            ("", json!([container("x", waiting(), json!({}))]), None),
            ("", json!([container("x", ended(0), ended(1))]), None),
            ("", json!([container("x", running(), json!({}))]), Some(("x", false))),
            ("", json!([container("x", running(), json!({})), container("y", waiting(), ended(1))]), Some(("y", true))),
            ("", json!([container("x", ended(2), ended(1))]), Some(("x", false))),
            ("", json!([container("x", running(), ended(1))]), Some(("x", true))),
            ("", json!([ready, container("y", running(), json!({}))]), Some(("y", false))),
            (
                "container `x`: no such image",
                json!([container("x", waiting(), json!({})), container("y", waiting(), ended(1))]),
                None,
            ),
        ] {
            let seen = seen(json!([pod("b", json!([])), pod("a", containers.clone())]));
            let found = container_behind(&cause(object(), message), &seen).map(|found| (found.name, found.previous));
            assert_eq!(found, expected.map(|(name, previous)| (name.to_owned(), previous)), "{message} {containers}");
        }
        let job = ObjectRef::namespaced("batch/v1", "Job", "m", "migrate");
        let seen = seen(json!([pod("migrate-x", json!([container("x", ended(1), json!({}))]))]));
        assert_eq!(container_behind(&cause(job, ""), &seen).unwrap().pod, "migrate-x");
    }
}
