//! What is said on the wire, and nothing of how it gets there: no I/O, no clock, no shared state.

pub mod channel;
pub mod code;
pub mod data;
pub mod deflate;
pub mod digits;
pub mod frame;
pub mod member_list;
pub mod message;
pub mod path;
pub mod signature;
pub mod socket_id;
pub mod user_id;

pub use channel::{Access, ChannelKind, ChannelName, InvalidChannelName, NameLengths};
pub use code::{CloseCode, ErrorCode};
pub use data::EventData;
pub use frame::Frame;
pub use member_list::MemberList;
pub use socket_id::SocketId;
pub use user_id::{InvalidUserId, check_user_id};
