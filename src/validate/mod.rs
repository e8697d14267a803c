//! Offline judges of everything that is rendered, and of other people's rules and dashboards: text in,
//! findings out. Pure.

mod codes;
mod dashboards;
pub mod finding;
mod foreign;
mod json;
mod objects;
mod own;
pub mod place;
mod promql;
mod rendered;
mod routes;
mod rules;
mod slo;
mod uses;
mod values;
mod vocabulary;

pub use codes::codes;
pub use finding::{Code, Finding, NotJudged, Severity, Verdict};
pub use foreign::{Foreign, ForeignFiles, judge_foreign};
pub use own::{Own, judge_own};
pub use place::{Judged, Text};
pub use uses::{Uses, uses};
