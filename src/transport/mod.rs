//! How bytes get to a [`Connection`](crate::connection::Connection) and back.

pub mod fallback;
mod input;
pub mod proxies;
mod subprotocol;
pub mod websocket;
