//! (Bundle, Observed) -> Plan: each step with its reason. Pure.

pub mod model;

pub use model::{Action, Observed, ObservedRelease, Plan, Reason, Step, Target};
