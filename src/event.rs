//! The one stream of events that every stage writes and two renderers read.

use crate::object::ObjectRef;
use serde::Serialize;
use std::sync::{Arc, Mutex};

/// The stages of the pipeline, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Starting or attaching to a sandbox.
    Sandbox,
    /// Reading the configuration and rendering the bundle.
    Render,
    /// Reading the cluster and the Helm releases.
    Observe,
    /// Comparing the two.
    Plan,
    /// Checks before anything is written.
    Preflight,
    /// Writing.
    Apply,
    /// Waiting until what was written is ready.
    Wait,
    /// Proving that it works.
    Verify,
    /// Taking the stack away.
    Uninstall,
}

/// Why something is not ready yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// The object that shows the reason: a pod, a claim, a deployment.
    pub object: ObjectRef,
    /// Stable reason in Kubernetes' own word where there is one, such as `ImagePullBackOff`.
    pub reason: String,
    /// One line for people.
    pub message: String,
    /// True when only a person can help, so waiting on is pointless.
    pub permanent: bool,
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The title holds.
    Pass,
    /// It holds, but look at it.
    Warn,
    /// It does not hold.
    Fail,
    /// Not asked, for the reason given.
    Skip,
    /// Cannot be asked.
    Unknown,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Stable id `category/kebab-name`, at once its documentation anchor.
    pub id: String,
    /// A positive assertion, such as `every rule group is healthy`.
    pub title: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why; empty only for a plain pass.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What was seen, one line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// One thing to run or change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Documentation anchor.
    pub doc: String,
    /// True when the profile lists it among what may be unknown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unknown_allowed: bool,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A stage began.
    StageStarted {
        /// Which.
        stage: Stage,
    },
    /// A stage ended well.
    StageFinished {
        /// Which.
        stage: Stage,
        /// What it came to, in a few words; empty where its result is told elsewhere.
        summary: String,
    },
    /// A step of the plan, a component or a program began.
    StepStarted {
        /// The step's stable name, such as `release prometheus`.
        step: String,
    },
    /// A step is still waiting, with the reason last seen. Sent on each change, not on each poll.
    StepWaiting {
        /// The step.
        step: String,
        /// What it waits for.
        cause: Cause,
    },
    /// A step is done.
    StepFinished {
        /// The step.
        step: String,
        /// What it came to, such as `created` or `3 objects ready`.
        summary: String,
    },
    /// A step failed.
    StepFailed {
        /// The step.
        step: String,
        /// Why.
        message: String,
    },
    /// A check was judged.
    Check {
        /// Its result.
        result: CheckResult,
    },
    /// Something worth saying once.
    Note {
        /// One line.
        message: String,
    },
    /// Something the person should look at; the run goes on.
    Warning {
        /// One line.
        message: String,
    },
    /// Detail for `-v`.
    Detail {
        /// One line.
        message: String,
    },
}

/// Where events go.
pub trait Sink: Send + Sync {
    /// Takes one event. Must not block for long.
    fn emit(&self, event: Event);
}

/// A shared sink, as every stage takes it.
pub type Events = Arc<dyn Sink>;

/// A sink that keeps everything, for tests and for reports made at the end.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// All events so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().map(|events| events.clone()).unwrap_or_default()
    }
}

impl Sink for Recorder {
    fn emit(&self, event: Event) {
        if let Ok(mut events) = self.0.lock() {
            events.push(event);
        }
    }
}

/// A sink that keeps everything and passes it on.
pub struct Tee {
    kept: Recorder,
    to: Events,
}

impl Tee {
    /// One that passes on to `to`.
    pub fn new(to: Events) -> Self {
        Tee { kept: Recorder::default(), to }
    }

    /// All events so far, in order.
    pub fn events(&self) -> Vec<Event> {
        self.kept.events()
    }
}

impl Sink for Tee {
    fn emit(&self, event: Event) {
        self.kept.emit(event.clone());
        self.to.emit(event);
    }
}
