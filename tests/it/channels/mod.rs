//! §4.1 to §4.3: kinds of channels, their names, and who may subscribe.

mod auth;
mod kinds;
mod names;
mod subscriptions;
