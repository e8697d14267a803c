//! Files, environment and flags in; one resolved [`Config`] out, or every problem at once.

pub mod model;

pub use model::Config;
