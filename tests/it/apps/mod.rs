//! Apps as living things: several keys, several sources, and changes while the server runs.

mod keys;
mod reload;
