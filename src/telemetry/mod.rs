//! Clients of Prometheus, Alertmanager and the others: base URL in, typed answer out.
//!
//! Grafana and the others without a client here are asked for their readiness only ([`Http::ready`]).

pub mod alertmanager;
pub mod http;
pub mod jaeger;
pub mod loki;
pub mod prometheus;

pub use alertmanager::Alertmanager;
pub use http::{Http, HttpError, Limits, Readiness, Trust};
pub use jaeger::Jaeger;
pub use loki::Loki;
pub use prometheus::Prometheus;
