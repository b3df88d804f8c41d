//! The commands beside serving, as far as they are more than a line. Each returns what it prints.

pub mod apps;
pub mod check;
pub mod import;
