//! The operator's listener: health, the live feed, and what never leaves the process.

mod feed;
mod health;
mod secrets;
