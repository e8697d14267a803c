//! The Kubernetes API: connect, observe, apply, wait, forward. Thin.

pub mod forward;
