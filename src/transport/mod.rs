//! How bytes get to a [`Connection`](crate::connection::Connection) and back.

pub mod fallback;
mod input;
mod pace;
pub mod proxies;
mod subprotocol;
pub mod websocket;
