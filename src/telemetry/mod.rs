//! Clients of Prometheus, Alertmanager and the others: base URL in, typed answer out.
//!
//! Grafana, Loki, Jaeger and the Collector are asked for their readiness only ([`Http::ready`]).

pub mod alertmanager;
pub mod http;
pub mod prometheus;

pub use alertmanager::Alertmanager;
pub use http::{Http, HttpError, Limits, Readiness};
pub use prometheus::Prometheus;
