//! Events that a channel keeps for those who subscribe later.

use std::{sync::Arc, time::Instant};

use super::key::ChannelKey;
use crate::{
    hub::{AppChannels, Change, Delivery, Hub, Receipt},
    protocol::{ChannelName, Frame, SocketId},
};

/// An event on its way to a channel that keeps it for later: a delivery whose channel and change the engine fills in.
pub struct CacheableEvent<'a> {
    /// The app's channels.
    pub app: &'a Arc<AppChannels>,
    /// The channel.
    pub name: ChannelName<'a>,
    /// What to keep and to write.
    pub frame: Frame,
    /// The connection that is left out.
    pub except: Option<SocketId>,
    /// Counts the sockets that it reached, while the feed is watched.
    pub receipt: Option<Arc<Receipt>>,
    /// When a backend's request brought it to this node, if one did.
    pub published: Option<Instant>,
    /// When it came here.
    pub at: Instant,
}

impl CacheableEvent<'_> {
    pub(super) fn key(&self) -> ChannelKey {
        ChannelKey::new(self.app.app_id(), self.name.as_str())
    }

    /// Delivers it to this node's subscribers.
    pub(super) fn deliver(self, hub: &Hub, change: Change) {
        if let Some(route) = self.app.route(self.name.as_str()) {
            let delivery = Delivery {
                channel: route.channel,
                frame: self.frame,
                except: self.except,
                change,
                receipt: self.receipt,
                published: self.published,
            };
            hub.deliver(&route, delivery);
        }
    }
}
