//! The Kubernetes API: connect, observe, apply, wait, forward. Thin.

pub mod connect;
mod objects;
mod request;

pub use connect::{Cluster, ConnectOptions, connect};
