//! Events and reports to people and programs; the only place that prints.

pub mod findings;
pub mod human;
pub mod json;
pub mod table;
pub mod terminal;

pub use terminal::Terminal;
