//! One kind a file: object -> ready, waiting or failed, with the cause. Pure; the generation comes first.

pub mod admission;
pub mod api_service;
pub mod certificate;
pub mod chain;
pub mod crd;
pub mod daemon_set;
pub mod deployment;
pub mod ingress;
pub mod job;
pub mod operator_made;
pub mod persistent_volume_claim;
pub mod pod;
pub mod snapshot;
pub mod stateful_set;
pub mod webhook;

pub use chain::judge_workload;
pub use snapshot::Snapshot;

use crate::event::Cause;
use crate::object::ObjectRef;

/// The verdict on one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It does its work.
    Ready,
    /// Not yet, for this reason.
    Waiting(Cause),
    /// Not without a person: waiting on is pointless.
    Failed(Cause),
}

impl Ready {
    /// The cause, where it is not ready.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Ready::Ready => None,
            Ready::Waiting(cause) | Ready::Failed(cause) => Some(cause),
        }
    }

    fn waiting(object: ObjectRef, reason: &str, message: impl Into<String>) -> Ready {
        Ready::Waiting(Cause { object, reason: reason.to_owned(), message: message.into(), permanent: false })
    }

    fn failed(object: ObjectRef, reason: &str, message: impl Into<String>) -> Ready {
        Ready::Failed(Cause { object, reason: reason.to_owned(), message: message.into(), permanent: true })
    }
}

/// How long a cause may be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A normal state on the way: only the deadline ends the wait.
    Transitional,
    /// Something is wrong that may heal by itself: it ends the wait once it held for some time.
    Fault,
    /// Only a person can help: it ends the wait at once.
    Permanent,
}

/// Reasons that are normal while something starts. Every other reason is a fault.
const TRANSITIONAL: &[&str] = &[
    "ContainerCreating",
    "ContainersNotReady",
    "Establishing",
    "NotReady",
    "Pending",
    "PodInitializing",
    "ProgramStarting",
    "Progressing",
    "Terminating",
    "Unhealthy",
    "VolumeBinding",
    "WaitForFirstConsumer",
];

/// The class of `cause`.
pub fn class_of(cause: &Cause) -> Class {
    if cause.permanent {
        Class::Permanent
    } else if TRANSITIONAL.contains(&cause.reason.as_str()) {
        Class::Transitional
    } else {
        Class::Fault
    }
}

/// What must stay the same for a fault to "hold unchanged": the object, and the fault under one
/// name where Kubernetes alternates between two.
pub fn fault_key(cause: &Cause) -> (ObjectRef, &str) {
    let reason = match cause.reason.as_str() {
        "ErrImagePull" => "ImagePullBackOff",
        other => other,
    };
    (cause.object.clone(), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(reason: &str, permanent: bool) -> Cause {
        let object = ObjectRef::namespaced("v1", "Pod", "m", "a");
        Cause { object, reason: reason.to_owned(), message: String::new(), permanent }
    }

    #[test]
    fn a_reason_nobody_knows_is_a_fault() {
        assert_eq!(class_of(&cause("ContainerCreating", false)), Class::Transitional);
        assert_eq!(class_of(&cause("SomethingNew", false)), Class::Fault);
        assert_eq!(class_of(&cause("ContainerCreating", true)), Class::Permanent);
    }

    #[test]
    fn a_failing_pull_is_one_fault_under_both_its_names() {
        assert_eq!(fault_key(&cause("ErrImagePull", false)), fault_key(&cause("ImagePullBackOff", false)));
        assert_ne!(fault_key(&cause("CrashLoopBackOff", false)), fault_key(&cause("ImagePullBackOff", false)));
    }
}
