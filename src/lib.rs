//! Loudhailer: a standalone broadcast server that speaks the Pusher HTTP API and the Pusher WebSocket protocol.
//!
//! A map of the crate; each layer imports only from layers above it (`tests/it/tidy.rs` keeps that):
//!
//! | layer | modules | what lives there |
//! |---|---|---|
//! | 0 | [`protocol`] | names, messages, frames, signatures, codes; pure |
//! | 1 | [`feed`]; [`settings`]; [`dotenv`] | the live feed's lines and its bounded stream; what a setting is, and how it is read; Laravel's `.env` files |
//! | 2 | [`app`], then [`config`] | the apps and their limits; the checked configuration |
//! | 3 | [`presence`], then [`hub`], then [`engine`]; [`webhook`]; [`store`] | members; who listens where, shards, outboxes; state that spans nodes; what backends are told; where apps come from |
//! | 4 | [`node`] | the one place that knows them all: publish, subscribe, query |
//! | 5 | [`connection`] | one client's protocol state |
//! | 6 | [`transport`], [`api`], [`admin`] | WebSocket bytes, the HTTP API, the operator's listener |
//! | 7 | [`server`], [`banner`], `keeper`, [`commands`] | bind, run, drain; what the start prints; the apps in step with their store; what is done without serving |

pub mod address;
pub mod admin;
pub mod api;
pub mod app;
pub mod banner;
pub mod commands;
pub mod config;
pub mod connection;
pub mod dotenv;
pub mod drain;
pub mod engine;
pub mod feed;
pub mod http_body;
pub mod hub;
mod keeper;
pub mod metrics;
pub mod node;
pub mod presence;
pub mod protocol;
pub mod server;
pub mod settings;
pub mod store;
pub mod transport;
pub mod webhook;
