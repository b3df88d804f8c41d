//! What a cluster shares of a channel beyond its events.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::protocol::{Frame, SocketId};

/// The process that sent an event, and the event's number among those of that process.
pub type EventId = (u64, u64);

/// The whole of a channel's shared state, as Redis has it.
#[derive(Debug, Default, PartialEq)]
pub struct SharedState {
    /// User to info.
    pub members: HashMap<Arc<str>, Arc<str>>,
    /// The user who arrived last.
    pub newest: Option<Arc<str>>,
    /// The cached event and the time it has left.
    pub cached: Option<(Frame, Duration)>,
    /// The last events of a channel with replay, the oldest first.
    pub past: Vec<Listed>,
}

/// An event of a channel's past.
#[derive(Debug, PartialEq)]
pub struct Listed {
    /// The process and number.
    pub id: EventId,
    /// The connection that was left out.
    pub except: Option<SocketId>,
    /// As it was sent.
    pub frame: Frame,
    /// Since it was published.
    pub age: Duration,
}
