//! A throwaway real control plane on this machine, with the real Prometheus and Alertmanager behind their pods.
pub mod platform;
