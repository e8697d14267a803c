//! The values of Secrets: what each must look like, and which key a person means. Pure, and never
//! with a value in what it says.

pub mod form;
pub mod names;
pub mod select;

pub use form::judge_form;
pub use names::is_secret_name;
pub use select::{Chosen, choose};
