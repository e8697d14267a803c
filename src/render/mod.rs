//! Config -> Bundle: Helm values, objects, rules and dashboards. Pure, deterministic, byte-stable.

pub mod bundle;

pub use bundle::Bundle;
