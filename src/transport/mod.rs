//! How bytes get to a [`Connection`](crate::connection::Connection) and back.

mod input;
pub mod websocket;
