//! Pods: what keeps one from being ready, from its conditions, containers, claims and events.

use super::{Ready, Snapshot, persistent_volume_claim};
use crate::event::Cause;
use crate::object::ObjectRef;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

/// Reasons that only a person can help: waiting on them is pointless.
const PERMANENT: &[&str] = &["ConfigurationRejected", "InvalidImageName"];
/// Warnings that tell why the containers of a scheduled pod do not start.
const STARTING_WARNINGS: &[&str] =
    &["FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume", "FailedMount", "NetworkNotReady"];

/// Whether the pod is ready, or has done its work.
pub fn judge(pod: &Pod, snapshot: &Snapshot) -> Ready {
    let meta = &pod.metadata;
    let object = reference(pod);
    let status = pod.status.clone().unwrap_or_default();
    if meta.deletion_timestamp.is_some() {
        return Ready::waiting(object, "Terminating", "it is being deleted");
    }
    match status.phase.as_deref() {
        Some("Succeeded") => return Ready::Ready,
        Some("Failed") => return failed_phase(object, &status),
        _ => {}
    }
    if let Some(verdict) = unscheduled(pod, &object, &status, snapshot) {
        return verdict;
    }
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let mut starting = None;
    for container in containers {
        match stuck_container(&object, container) {
            Some(verdict @ Ready::Failed(_)) => return verdict,
            Some(Ready::Waiting(cause)) if super::class_of(&cause) == super::Class::Fault => {
                return Ready::Waiting(cause);
            }
            Some(verdict) => starting = starting.or(Some(verdict)),
            None => {}
        }
    }
    let condition = |kind: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let ready = condition("Ready");
    if ready.is_some_and(|ready| ready.status == "True") {
        return Ready::Ready;
    }
    let warnings = snapshot.warnings_of(meta.uid.as_deref(), &object);
    let has_run = status.container_statuses.iter().flatten().any(|container| container.started == Some(true));
    if let Some(warning) = warnings.iter().rev().find(|warning| STARTING_WARNINGS.contains(&warning.reason.as_str()))
        && !has_run
    {
        return Ready::waiting(object, &warning.reason, warning.message.clone());
    }
    if let Some(verdict) = starting {
        return verdict;
    }
    // Reasons of the Ready condition: Kubernetes' own is always the same; a program that is
    // supervised from outside puts its own there.
    if let Some(ready) = ready
        && let Some(reason) = ready.reason.as_deref().filter(|reason| *reason != "ContainersNotReady")
    {
        return with_reason(object, reason, ready.message.clone().unwrap_or_default());
    }
    if let Some(probe) = warnings.iter().rev().find(|warning| warning.reason == "Unhealthy") {
        return Ready::waiting(object, "Unhealthy", probe.message.clone());
    }
    let message = ready.and_then(|ready| ready.message.clone()).unwrap_or_else(|| "it is not ready yet".to_owned());
    Ready::waiting(object, "NotReady", message)
}

/// The reference of a pod.
pub fn reference(pod: &Pod) -> ObjectRef {
    let meta = &pod.metadata;
    ObjectRef::namespaced(
        "v1",
        "Pod",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

fn with_reason(object: ObjectRef, reason: &str, message: String) -> Ready {
    if PERMANENT.contains(&reason) {
        Ready::failed(object, reason, message)
    } else {
        Ready::waiting(object, reason, message)
    }
}

fn failed_phase(object: ObjectRef, status: &PodStatus) -> Ready {
    let ended = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten())
        .filter_map(|container| Some((container, container.state.as_ref()?.terminated.as_ref()?)))
        .find(|(_, terminated)| terminated.exit_code != 0);
    match (status.reason.as_deref(), ended) {
        (Some(reason), _) => with_reason(object, reason, status.message.clone().unwrap_or_default()),
        (None, Some((container, terminated))) => {
            let reason = terminated.reason.as_deref().unwrap_or("Error");
            let said = terminated.message.as_deref().map(|message| format!(": {}", message.trim())).unwrap_or_default();
            let message = format!("container `{}` ended with code {}{said}", container.name, terminated.exit_code);
            with_reason(object, reason, message)
        }
        (None, None) => Ready::waiting(object, "Failed", "it ended without success"),
    }
}

/// The verdict on a pod that no node has taken yet.
fn unscheduled(pod: &Pod, object: &ObjectRef, status: &PodStatus, snapshot: &Snapshot) -> Option<Ready> {
    if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
        return None;
    }
    let scheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let Some(condition) = scheduled else {
        return Some(Ready::waiting(object.clone(), "Pending", "the scheduler has not looked at it yet"));
    };
    let message = condition.message.clone().unwrap_or_default();
    let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
    // Its claims know more than the scheduler: a missing class is the cause, a claim that is being
    // bound is the normal way, and one that the scheduler has not heard of yet may be there.
    let claims = unbound_claims(pod, snapshot);
    if let Some(worst) = claims.iter().max_by_key(|cause| super::class_of(cause)) {
        if super::class_of(worst) != super::Class::Transitional {
            let worst = worst.clone();
            return Some(if worst.permanent { Ready::Failed(worst) } else { Ready::Waiting(worst) });
        }
        let unheard = message.contains("persistentvolumeclaim") && message.contains("not found");
        if unheard || message.contains("unbound immediate PersistentVolumeClaims") {
            return Some(Ready::Waiting(worst.clone()));
        }
    }
    Some(with_reason(object.clone(), reason, message))
}

fn unbound_claims(pod: &Pod, snapshot: &Snapshot) -> Vec<Cause> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let names: Vec<&str> = volumes
        .filter_map(|volume| volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.as_str()))
        .collect();
    snapshot
        .claims
        .iter()
        .filter(|claim| claim.metadata.name.as_deref().is_some_and(|name| names.contains(&name)))
        .filter_map(|claim| persistent_volume_claim::judge(claim, snapshot).cause().cloned())
        .collect()
}

/// The verdict on a container that keeps its pod from being ready; `None` for one that runs or is
/// done.
fn stuck_container(object: &ObjectRef, container: &ContainerStatus) -> Option<Ready> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("ContainerCreating");
        let mut message = format!("container `{}`", container.name);
        match waiting.message.as_deref().map(str::trim).filter(|said| !said.is_empty()) {
            Some(said) => message.push_str(&format!(": {said}")),
            None => message.push_str(" is being started"),
        }
        if reason == "CrashLoopBackOff"
            && let Some(ended) = last_end(container)
        {
            message = ended;
        }
        return Some(with_reason(object.clone(), reason, message));
    }
    if let Some(terminated) = &state.terminated
        && terminated.exit_code != 0
    {
        let reason = terminated.reason.as_deref().unwrap_or("Error");
        let message = last_end(container).unwrap_or_else(|| format!("container `{}` ended", container.name));
        return Some(with_reason(object.clone(), reason, message));
    }
    // Between two crashes it runs for a moment; that is still the same crash loop.
    if state.running.is_some() && !container.ready && container.restart_count > 0 {
        return last_end(container).map(|ended| Ready::waiting(object.clone(), "CrashLoopBackOff", ended));
    }
    None
}

/// How the container last ended with a failure, in words.
fn last_end(container: &ContainerStatus) -> Option<String> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let terminated = states.into_iter().flatten().find_map(|state| state.terminated.as_ref())?;
    if terminated.exit_code == 0 {
        return None;
    }
    let reason = terminated.reason.as_deref().filter(|reason| *reason != "Error");
    let mut text = format!("container `{}` ends with code {}", container.name, terminated.exit_code);
    if let Some(reason) = reason {
        text.push_str(&format!(" ({reason})"));
    }
    if let Some(last) = terminated.message.as_deref().and_then(|message| message.trim().lines().last()) {
        text.push_str(&format!(": {last}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value, status: Value) -> Pod {
        let mut whole = json!({"containers": [], "nodeName": "n"});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        if spec.get("nodeName") == Some(&Value::Null) {
            whole.as_object_mut().unwrap().remove("nodeName");
        }
        serde_json::from_value(
            json!({"metadata": {"name": "a-0", "namespace": "m", "uid": "u"}, "spec": whole, "status": status}),
        )
        .unwrap()
    }

    fn container(state: Value) -> Value {
        let mut whole = json!({"name": "main", "image": "i", "imageID": "", "ready": false, "restartCount": 0});
        whole.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        json!({"phase": "Pending", "containerStatuses": [whole]})
    }

    fn waiting(reason: &str, message: &str) -> Value {
        container(json!({"state": {"waiting": {"reason": reason, "message": message}}}))
    }

    fn warnings(reason: &str, message: &str) -> Snapshot {
        Snapshot::default().with_events(
            serde_json::from_value(json!([{"metadata": {}, "type": "Warning", "reason": reason, "message": message,
                "involvedObject": {"kind": "Pod", "namespace": "m", "name": "a-0", "uid": "u"}}]))
            .unwrap(),
        )
    }

    fn found(verdict: &Ready) -> Option<(&str, bool)> {
        verdict.cause().map(|cause| (cause.reason.as_str(), cause.permanent))
    }

    #[test]
    fn each_state_of_a_container_has_its_cause() {
        let crash = json!({"state": {"running": {}}, "restartCount": 3,
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "first\nbad flag"}}});
        let cases = [
            (waiting("ImagePullBackOff", "Back-off pulling image"), Some(("ImagePullBackOff", false))),
            (waiting("ErrImagePull", "no such host"), Some(("ErrImagePull", false))),
            (waiting("InvalidImageName", "couldn't parse"), Some(("InvalidImageName", true))),
            (
                waiting("CreateContainerConfigError", "secret \"x\" not found"),
                Some(("CreateContainerConfigError", false)),
            ),
            (waiting("CrashLoopBackOff", "back-off 10s"), Some(("CrashLoopBackOff", false))),
            (waiting("ContainerCreating", ""), Some(("ContainerCreating", false))),
            (waiting("ConfigurationRejected", "unknown field"), Some(("ConfigurationRejected", true))),
            (waiting("ProgramStarting", ""), Some(("ProgramStarting", false))),
            (container(crash), Some(("CrashLoopBackOff", false))),
            (
                container(json!({"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}})),
                Some(("OOMKilled", false)),
            ),
            (json!({"phase": "Succeeded"}), None),
            (json!({"phase": "Failed", "reason": "Evicted", "message": "disk"}), Some(("Evicted", false))),
            (json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}), None),
            (
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "reason": "ConfigurationRejected",
                    "message": "line 3"}]}),
                Some(("ConfigurationRejected", true)),
            ),
            (
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]}),
                Some(("NotReady", false)),
            ),
            (json!({}), Some(("NotReady", false))),
        ];
        for (status, expected) in cases {
            assert_eq!(found(&judge(&pod(json!({}), status.clone()), &Snapshot::default())), expected, "{status}");
        }
    }

    #[test]
    fn a_crash_tells_its_code_and_its_last_line() {
        let status = container(json!({"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"exitCode": 2, "reason": "Error", "message": "starting\nbad flag --x\n"}}}));
        let verdict = judge(&pod(json!({}), status), &Snapshot::default());
        assert_eq!(verdict.cause().unwrap().message, "container `main` ends with code 2: bad flag --x");
    }

    #[test]
    fn a_volume_that_does_not_mount_and_a_probe_that_fails_are_named() {
        let creating = waiting("ContainerCreating", "");
        let mount = warnings("FailedMount", "secret \"x\" not found");
        assert_eq!(found(&judge(&pod(json!({}), creating), &mount)), Some(("FailedMount", false)));
        let running = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
            "containerStatuses": [{"name": "main", "image": "i", "imageID": "", "ready": false, "started": true,
                "restartCount": 0, "state": {"running": {}}}]});
        let probe = warnings("Unhealthy", "Readiness probe failed: 503");
        assert_eq!(found(&judge(&pod(json!({}), running.clone()), &probe)), Some(("Unhealthy", false)));
        assert_eq!(
            found(&judge(&pod(json!({}), running), &mount)),
            Some(("NotReady", false)),
            "an old warning, it runs now"
        );
    }

    #[test]
    fn the_scheduler_is_believed_unless_a_claim_knows_better() {
        let unscheduled = |message: &str| {
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": message}]})
        };
        let with_claim =
            json!({"nodeName": null, "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]});
        let claim = |class: &str| Snapshot {
            claims: vec![
                serde_json::from_value(
                    json!({"metadata": {"name": "d", "namespace": "m"}, "spec": {"storageClassName": class},
                    "status": {"phase": "Pending"}}),
                )
                .unwrap(),
            ],
            storage_classes: Some(vec![super::super::snapshot::StorageClassSeen {
                name: "fast-ssd".to_owned(),
                default: false,
            }]),
            ..Snapshot::default()
        };
        let unbound = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
        let unheard = "0/1 nodes are available: persistentvolumeclaim \"d\" not found. not found";
        let taint = "0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.";
        let cases = [
            (unscheduled(taint), Snapshot::default(), ("Unschedulable", false)),
            (unscheduled(taint), claim("fast-ssd"), ("Unschedulable", false)),
            (unscheduled(unbound), claim("fast-ssd"), ("VolumeBinding", false)),
            (unscheduled(unheard), claim("fast-ssd"), ("VolumeBinding", false)),
            (unscheduled(unheard), Snapshot::default(), ("Unschedulable", false)),
            (unscheduled(unbound), claim("nope"), ("StorageClassNotFound", true)),
            (json!({"phase": "Pending"}), Snapshot::default(), ("Pending", false)),
        ];
        for (status, snapshot, expected) in cases {
            assert_eq!(found(&judge(&pod(with_claim.clone(), status.clone()), &snapshot)), Some(expected), "{status}");
        }
    }

    #[test]
    fn a_pod_that_goes_is_waited_for() {
        let mut pod = pod(json!({}), json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(found(&judge(&pod, &Snapshot::default())), Some(("Terminating", false)));
    }
}
