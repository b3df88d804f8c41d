//! Loudhailer: a standalone broadcast server that speaks the Pusher HTTP API and the Pusher WebSocket protocol.
//!
//! A map of the crate; each layer imports only from layers above it (`tests/it/tidy.rs` keeps that):
//!
//! | layer | modules | what lives there |
//! |---|---|---|
//! | 0 | [`protocol`] | names, messages, frames, signatures, codes; pure |
//! | 1 | [`feed`]; [`settings`]; [`dotenv`]; [`tls`] | the live feed's lines and its bounded stream; what a setting is, and how it is read; Laravel's `.env` files; certificates and sessions |
//! | 2 | [`app`], then [`config`] | the apps and their limits; the checked configuration |
//! | 3 | [`presence`], then [`hub`], then [`engine`]; [`webhook`]; [`store`] | members; who listens where, shards, outboxes; state that spans nodes; what backends are told; where apps come from |
//! | 4 | [`node`] | the one place that knows them all: publish, subscribe, query |
//! | 5 | [`connection`] | one client's protocol state |
//! | 6 | [`transport`], [`api`], [`admin`] | WebSocket bytes, the HTTP API, the operator's listener |
//! | 7 | [`server`], [`door`], [`banner`], `keeper`, `certificates`, `acme`, `memory`, [`commands`]; [`cli`] | run, drain; the listening sockets; what the start prints; apps and certificates in step with where they are kept; certificates that are ordered; memory that a crowd leaves behind; what is done without serving; the command line for any host |

mod acme;
pub mod address;
pub mod admin;
pub mod api;
pub mod app;
pub mod banner;
mod certificates;
pub mod cli;
pub mod commands;
pub mod config;
pub mod connection;
pub mod door;
pub mod dotenv;
pub mod drain;
pub mod engine;
pub mod feed;
pub mod http_body;
pub mod hub;
mod keeper;
mod memory;
pub mod metrics;
pub mod node;
pub mod presence;
pub mod protocol;
pub mod server;
pub mod settings;
pub mod store;
pub mod tls;
pub mod transport;
pub mod watch;
pub mod webhook;
