//! How bytes get to a [`Connection`](crate::connection::Connection) and back.

pub mod fallback;
pub mod http;
mod input;
mod opening;
mod pace;
mod subprotocol;
pub mod websocket;
