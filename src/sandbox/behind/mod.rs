//! The real Prometheus and Alertmanager behind their pods.
