//! Files, environment and flags in; one resolved [`Config`] out, or every problem at once.
//!
//! Layers, lowest first: `values/defaults.yaml`, `values/<profile>.yaml`, what the command adds,
//! the user's files in the order given, `--set`. Each layer is checked by itself, so that every
//! problem carries the position in the file where it stands.

pub mod document;
pub mod layers;
mod logs;
pub mod model;
mod objectives;
mod profiles;
mod protection;
mod samples;
pub mod schema;
mod urls;

pub use document::Document;
pub use layers::{Layer, merge, resolve};
pub use model::{Config, Profile};
pub use samples::duration_seconds;

use std::fmt;

/// One thing that is wrong with a layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// File, or `--set`.
    pub file: String,
    /// Line from 1; 0 where there is none.
    pub line: usize,
    /// Column from 1; 0 where there is none.
    pub column: usize,
    /// Key path, such as `prometheus.retention`; empty for the whole file.
    pub path: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if self.line > 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(formatter, ": `{}`", self.path)?;
        }
        write!(formatter, ": {}", self.message)
    }
}
