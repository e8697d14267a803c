//! From how a program stands to the status of its pod, as a kubelet would write it. Pure.

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// The longest message that is put into a status, in characters.
const MESSAGE_LIMIT: usize = 1024;
/// The conditions that say whether a pod is ready.
const CONDITIONS: [&str; 2] = ["Ready", "ContainersReady"];

/// How the program behind a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It answers that it is ready.
    Ready,
    /// It runs but is not ready yet, or no longer.
    Starting {
        /// What it says.
        message: String,
    },
    /// It cannot be started.
    Waiting {
        /// The kubelet's word for it, such as `CreateContainerConfigError`.
        reason: &'static str,
        /// What is missing.
        message: String,
    },
    /// It ended by itself.
    Crashed {
        /// Its exit code.
        code: i32,
        /// What it said last.
        message: String,
    },
    /// It rejects its configuration.
    Rejected {
        /// What it says.
        message: String,
    },
}

impl Standing {
    /// Reason and message for people; `None` when it is ready.
    pub fn why(&self) -> Option<(&'static str, String)> {
        let (reason, message) = match self {
            Standing::Ready => return None,
            Standing::Starting { message } => ("ProgramStarting", message),
            Standing::Waiting { reason, message } => (*reason, message),
            Standing::Crashed { message, .. } => ("CrashLoopBackOff", message),
            Standing::Rejected { message } => ("ConfigurationRejected", message),
        };
        Some((reason, message.chars().take(MESSAGE_LIMIT).collect()))
    }
}

/// The strategic merge patch that makes the status of `pod` say how the program of `container`
/// stands; `None` when it says so already.
pub fn patch_of(pod: &Pod, container: &str, standing: &Standing, restarts: i32, now: Timestamp) -> Option<Value> {
    let status = pod.status.as_ref();
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let old_of = |name: &str| {
        let statuses = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        statuses.iter().find(|status| status.name == name)
    };
    let statuses: Vec<ContainerStatus> = containers
        .iter()
        .map(|one| {
            let of_program = one.name == container;
            // What runs beside the program is not run here; it is taken to be well.
            let (standing, restarts) = if of_program { (standing, restarts) } else { (&Standing::Ready, 0) };
            container_status(one, old_of(&one.name), standing, restarts, now)
        })
        .collect();
    let conditions: Vec<PodCondition> = CONDITIONS
        .iter()
        .map(|kind| {
            let old = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
            condition(kind, old.into_iter().find(|condition| condition.type_ == *kind), standing, now)
        })
        .collect();
    let unchanged = containers.iter().zip(&statuses).all(|(one, new)| old_of(&one.name) == Some(new))
        && conditions.iter().all(|new| {
            status.and_then(|status| status.conditions.as_ref()).is_some_and(|conditions| conditions.contains(new))
        });
    (!unchanged).then(|| json!({ "status": { "conditions": conditions, "containerStatuses": statuses } }))
}

fn condition(kind: &str, old: Option<&PodCondition>, standing: &Standing, now: Timestamp) -> PodCondition {
    let why = standing.why();
    let mut new = PodCondition {
        type_: kind.to_owned(),
        status: if why.is_none() { "True" } else { "False" }.to_owned(),
        // An empty text takes away what an earlier patch left there; the server drops it.
        reason: why.as_ref().map(|(reason, _)| (*reason).to_owned()),
        message: why.map(|(_, message)| message),
        ..PodCondition::default()
    };
    let same = |old: &&PodCondition| (&old.status, &old.reason, &old.message) == (&new.status, &new.reason, &new.message);
    match old.filter(same) {
        Some(old) => old.clone(),
        None => {
            new.last_transition_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            new
        }
    }
}

fn container_status(
    container: &Container,
    old: Option<&ContainerStatus>,
    standing: &Standing,
    restarts: i32,
    now: Timestamp,
) -> ContainerStatus {
    let ready = *standing == Standing::Ready;
    let running = ready || matches!(standing, Standing::Starting { .. });
    let old_running = old.and_then(|old| old.state.as_ref()).and_then(|state| state.running.clone());
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        ready,
        started: Some(ready),
        restart_count: restarts,
        ..ContainerStatus::default()
    };
    let mut state = ContainerState::default();
    if running {
        let started = || json!({ "startedAt": now });
        state.running = old_running.or_else(|| serde_json::from_value(started()).ok());
    } else if let Some((reason, message)) = standing.why() {
        state.waiting = serde_json::from_value(json!({ "reason": reason, "message": message })).ok();
    }
    status.state = Some(state);
    status.last_state = old.and_then(|old| old.last_state.clone()).or_else(|| Some(ContainerState::default()));
    if let Standing::Crashed { code, message } = standing {
        let same = status.last_state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|terminated| {
            terminated.exit_code == *code && terminated.message.as_deref() == Some(message) && old.is_some_and(|old| old.restart_count == restarts)
        });
        if !same {
            let terminated = json!({ "exitCode": code, "reason": "Error", "message": message, "finishedAt": now });
            status.last_state = serde_json::from_value(json!({ "terminated": terminated })).ok();
        }
    }
    if let Some(old) = old {
        // What the server or KWOK filled in stays.
        let filled = (old.image.clone(), old.image_id.clone(), old.container_id.clone(), old.resources.clone());
        (status.image, status.image_id, status.container_id, status.resources) = filled;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "prometheus-0" },
            "spec": { "containers": [{ "name": "prometheus", "image": "p:1" }, { "name": "reloader", "image": "r:1" }] },
            "status": { "phase": "Running", "conditions": [
                { "type": "Initialized", "status": "True" },
                { "type": "Ready", "status": "False", "reason": "ProgramStarting" },
            ] },
        }))
        .unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The pod with the patch applied as the API server does: conditions merged, containers replaced.
    fn patched(mut pod: Pod, standing: &Standing, restarts: i32, second: i64) -> Option<Pod> {
        let patch = patch_of(&pod, "prometheus", standing, restarts, at(second))?;
        let status = pod.status.as_mut().unwrap();
        for condition in patch["status"]["conditions"].as_array().unwrap() {
            let condition: PodCondition = serde_json::from_value(condition.clone()).unwrap();
            let conditions = status.conditions.as_mut().unwrap();
            conditions.retain(|old| old.type_ != condition.type_);
            conditions.push(condition);
        }
        status.container_statuses = serde_json::from_value(patch["status"]["containerStatuses"].clone()).unwrap();
        Some(pod)
    }

    #[test]
    fn a_status_is_written_once_for_each_change() {
        let standings = [
            Standing::Starting { message: "replaying".into() },
            Standing::Ready,
            Standing::Rejected { message: "line 3".into() },
            Standing::Crashed { code: 1, message: "panic".into() },
            Standing::Waiting { reason: "CreateContainerConfigError", message: "configmap \"x\" not found".into() },
            Standing::Ready,
        ];
        let mut pod = pod();
        for (second, standing) in (0..).zip(&standings) {
            pod = patched(pod, standing, 0, second * 10).unwrap();
            assert_eq!(patch_of(&pod, "prometheus", standing, 0, at(second * 10 + 5)), None, "{standing:?}");
        }
    }

    #[test]
    fn the_pod_tells_why_it_is_not_ready_and_the_other_containers_are_well() {
        let pod = patched(pod(), &Standing::Rejected { message: "line 3: no".into() }, 2, 0).unwrap();
        let status = pod.status.unwrap();
        let ready = status.conditions.unwrap().into_iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("ConfigurationRejected")));
        assert_eq!(ready.message.as_deref(), Some("line 3: no"));
        let containers = status.container_statuses.unwrap();
        let waiting = containers[0].state.as_ref().unwrap().waiting.as_ref().unwrap();
        assert_eq!((waiting.reason.as_deref(), waiting.message.as_deref()), (Some("ConfigurationRejected"), Some("line 3: no")));
        assert_eq!((containers[0].ready, containers[0].restart_count), (false, 2));
        assert!(containers[1].ready && containers[1].state.as_ref().unwrap().running.is_some());
    }

    #[test]
    fn a_crash_is_told_as_the_last_end() {
        let pod = patched(pod(), &Standing::Crashed { code: 2, message: "panic: x".into() }, 1, 0).unwrap();
        let container = pod.status.unwrap().container_statuses.unwrap().remove(0);
        let terminated = container.last_state.unwrap().terminated.unwrap();
        assert_eq!((terminated.exit_code, terminated.message.as_deref()), (2, Some("panic: x")));
        assert_eq!(container.state.unwrap().waiting.unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
    }

    #[test]
    fn a_very_long_message_is_cut_between_characters() {
        let standing = Standing::Rejected { message: "ä".repeat(5000) };
        assert_eq!(standing.why().unwrap().1.chars().count(), MESSAGE_LIMIT);
    }
}
