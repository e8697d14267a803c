//! The Kubernetes API: connect, observe, apply, wait, forward. Thin.

pub mod changes;
pub mod connect;
pub mod forward;
mod objects;
pub mod observe;
mod request;
#[cfg(test)]
mod script;
pub mod snapshot;
pub mod wait;

pub use connect::{Cluster, ConnectOptions, connect};
pub use observe::observe;
