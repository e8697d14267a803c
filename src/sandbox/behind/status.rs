//! From how a program stands to the status of its pod, as a kubelet would write it. Pure.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    Pod, PodCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
    (!unchanged).then(|| {
        let conditions: Vec<Value> = conditions.iter().map(with_nulls).collect();
        json!({ "status": { "conditions": conditions, "containerStatuses": statuses } })
    })
}

fn condition(kind: &str, old: Option<&PodCondition>, standing: &Standing, now: Timestamp) -> PodCondition {
    let why = standing.why();
    let status = if why.is_none() { "True" } else { "False" };
    let (reason, message) = why.map(|(reason, message)| (reason.to_owned(), message)).unzip();
    if let Some(old) = old
        && (old.status.as_str(), &old.reason, &old.message) == (status, &reason, &message)
    {
        return old.clone();
    }
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    }
}

/// A condition as JSON. A field that a merge patch leaves out would keep its old value.
fn with_nulls(condition: &PodCondition) -> Value {
    let mut value = json!(condition);
    for key in ["reason", "message"] {
        if value.get(key).is_none() {
            value[key] = Value::Null;
        }
    }
    value
}

fn container_status(
    container: &Container,
    old: Option<&ContainerStatus>,
    standing: &Standing,
    restarts: i32,
    now: Timestamp,
) -> ContainerStatus {
    let ready = *standing == Standing::Ready;
    let fresh = || ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        ..ContainerStatus::default()
    };
    // What the server or KWOK filled in stays.
    let mut status = old.cloned().unwrap_or_else(fresh);
    let was_running = status.state.take().and_then(|state| state.running);
    let state = match standing.why() {
        Some((reason, message)) if !matches!(standing, Standing::Starting { .. }) => ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message: Some(message) }),
            ..ContainerState::default()
        },
        _ => ContainerState {
            running: was_running.or(Some(ContainerStateRunning { started_at: Some(Time(now)) })),
            ..ContainerState::default()
        },
    };
    if let (Standing::Crashed { code, .. }, Some((_, message))) = (standing, standing.why()) {
        let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let told = last.is_some_and(|last| last.exit_code == *code && last.message.as_ref() == Some(&message));
        if !told || status.restart_count != restarts {
            let terminated = ContainerStateTerminated {
                exit_code: *code,
                reason: Some("Error".to_owned()),
                message: Some(message),
                finished_at: Some(Time(now)),
                ..ContainerStateTerminated::default()
            };
            status.last_state = Some(ContainerState { terminated: Some(terminated), ..ContainerState::default() });
        }
    }
    ContainerStatus { ready, started: Some(ready), restart_count: restarts, state: Some(state), ..status }
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
            let conditions = status.conditions.as_mut().unwrap();
            let old = conditions.iter().position(|old| condition["type"] == json!(old.type_));
            let mut merged = old.map_or_else(|| json!({}), |index| json!(conditions.remove(index)));
            merged.as_object_mut().unwrap().extend(condition.as_object().unwrap().clone());
            conditions.push(serde_json::from_value(merged).unwrap());
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
        assert_eq!(
            (waiting.reason.as_deref(), waiting.message.as_deref()),
            (Some("ConfigurationRejected"), Some("line 3: no"))
        );
        assert_eq!((containers[0].ready, containers[0].restart_count), (false, 2));
        assert!(containers[1].ready && containers[1].state.as_ref().unwrap().running.is_some());
    }

    #[test]
    fn a_pod_that_is_ready_again_keeps_no_old_reason() {
        let rejected = patched(pod(), &Standing::Rejected { message: "no".into() }, 0, 0).unwrap();
        let ready = patched(rejected, &Standing::Ready, 0, 5).unwrap();
        let conditions = ready.status.unwrap().conditions.unwrap();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), &ready.reason, &ready.message), ("True", &None, &None));
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
