//! The Kubernetes API: connect, observe, apply, wait, forward. Thin.

mod answer;
pub mod apply;
pub mod changes;
pub mod connect;
mod deployed;
pub mod forward;
pub mod kinds;
mod listed;
pub mod lock;
mod objects;
pub mod observe;
mod outage;
pub mod preflight;
pub mod records;
mod request;
#[cfg(test)]
mod script;
pub mod secret;
mod shared;
pub mod snapshot;
pub mod uninstall;
pub mod wait;

pub use connect::{Cluster, ConnectOptions, connect};
pub use observe::observe;
pub use secret::secret_value;
