//! The helm executable: argument vector (pure), run (deadline, SIGTERM, grace, SIGKILL), parse (pure).

pub mod argv;
pub mod chart;
pub mod charts;
pub mod parse;
pub mod renders;
pub mod repository;
pub mod run;
pub mod stored;

pub use argv::Labels;
pub use parse::{Transient, Version};
pub use renders::{RenderedFor, Renders};
pub use run::{Context, Helm};
