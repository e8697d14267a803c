//! The real Prometheus and Alertmanager behind their pods.

pub mod container;
pub mod files;
pub mod flags;
pub mod places;
pub mod rewrite;
