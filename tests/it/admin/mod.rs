//! The operator's listener: who may ask, what it answers, the live feed, and what never leaves the process.

mod access;
mod api;
mod feed;
mod health;
mod metrics;
mod page;
mod secrets;
