//! Service level objectives: a definition in (OpenSLO where it fits, `alerts/slo/*.yaml`), recording
//! rules and alerts out. `docs/slo.md` explains both. Pure.

mod definition;
mod indicator;
mod problem;
mod rules;
mod window;

pub use definition::{Definition, Query, read};
pub use problem::{Problem, ProblemKind};
pub use rules::rules;
pub use window::Window;

#[cfg(test)]
mod tests;
