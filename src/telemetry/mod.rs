//! Clients of Prometheus, Alertmanager and the others: base URL in, typed answer out.
