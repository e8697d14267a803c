//! Dashboards as Grafana reads them: what each panel asks, how its variables are filled in, and why a
//! question may have no answer. Pure.

pub mod answer;
pub mod cause;
pub mod expand;
pub mod model;

pub use cause::{Cause, Question, is_old_enough, questions, questions_behind_constants};
pub use expand::Expansion;
pub use model::{Dashboard, Panel, Target};
