//! `drivemaster-mon` deploys the DriveMaster monitoring stack and proves that it works.
//!
//! One pipeline, of which every command is a prefix:
//! config -> render -> observe -> plan -> apply -> wait -> verify -> report.

pub mod access;
pub mod chart;
pub mod checks;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod contract;
pub mod dashboard;
pub mod error;
pub mod event;
pub mod flows;
pub mod helm;
pub mod labels;
pub mod object;
pub mod plan;
mod pointer;
pub mod preview;
pub mod process;
pub mod promql;
mod quantity;
pub mod ready;
pub mod record;
pub mod render;
pub mod report;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod secrets;
pub mod slo;
pub mod stack;
pub mod telemetry;
pub mod validate;
