//! §7: the HTTP API.

mod batch;
mod channels;
mod data;
mod equivalents;
mod events;
mod golden;
mod http;
mod info;
mod legacy;
mod limits;
mod routes;
mod signature;
mod unnamed_app;
