//! The key of a channel throughout the engine.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use crate::{hub::Channel, protocol::ChannelKind};

/// A channel of an app, and the kind that its name says.
#[derive(Clone, Debug)]
pub struct ChannelKey {
    /// The app.
    pub app_id: Arc<str>,
    /// The channel's name, prefix included.
    pub name: Arc<str>,
    /// Read off the name once.
    pub kind: ChannelKind,
}

impl ChannelKey {
    /// The key of a channel that need not be occupied.
    #[must_use]
    pub fn new(app_id: &Arc<str>, name: &str) -> Self {
        Self {
            app_id: Arc::clone(app_id),
            name: name.into(),
            kind: ChannelKind::of(name),
        }
    }
}

impl From<&Channel> for ChannelKey {
    fn from(channel: &Channel) -> Self {
        Self {
            app_id: Arc::clone(&channel.app_id),
            name: Arc::clone(&channel.name),
            kind: channel.kind,
        }
    }
}

// The kind follows from the name.
impl PartialEq for ChannelKey {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.app_id == other.app_id
    }
}

impl Eq for ChannelKey {}

impl Hash for ChannelKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.app_id.hash(state);
        self.name.hash(state);
    }
}
