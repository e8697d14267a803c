//! The Kubernetes API: connect, observe, apply, wait, forward. Thin.

pub mod connect;
mod objects;
pub mod observe;
mod request;

pub use connect::{Cluster, ConnectOptions, connect};
pub use observe::observe;
