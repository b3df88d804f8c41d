//! How a client's subscription begins and ends, in hub, shard and engine at once.

use std::{rc::Rc, sync::Arc, time::Instant};

use smallvec::{SmallVec, smallvec};

use super::Node;
use crate::{
    app::App,
    hub::{AppChannels, Shard, Subscriber, Subscription},
    presence::{Full, Member},
    protocol::{ChannelName, Frame, message},
};

/// One client of an app, on its own thread.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The thread's part of the hub.
    pub shard: &'a Shard,
    /// The client.
    pub subscriber: &'a Rc<Subscriber>,
    /// Its app.
    pub app: &'a App,
    /// The app's channels.
    pub channels: &'a Arc<AppChannels>,
}

impl Node {
    /// Subscribes a client, or shows a subscriber the present state once more. Returns what to tell it, in order.
    ///
    /// # Errors
    /// [`Full`] when a presence channel has no room; nothing was changed.
    pub fn subscribe(
        &self,
        client: Client<'_>,
        name: ChannelName<'_>,
        member: Option<Member>,
        now: Instant,
    ) -> Result<SmallVec<[Frame; 2]>, Full> {
        let Client {
            shard,
            subscriber,
            app,
            channels,
        } = client;
        if let Some(subscription) = subscriber.subscription(name.as_str()) {
            let joined = self.engine.snapshot(subscription.channel(), now);
            shard.refresh(&subscription, joined.since);
            return Ok(smallvec![joined.succeeded]);
        }
        let channel = channels.attach(name, shard.id());
        let joined = match self
            .engine
            .join(&channel, member.as_ref(), &app.limits, now)
        {
            Ok(joined) => joined,
            Err(full) => {
                channels.detach(&channel, shard.id());
                return Err(full);
            }
        };
        shard.subscribe(subscriber, channel, member.map(Arc::new), joined.since);
        let mut frames = smallvec![joined.succeeded];
        if name.kind().cache {
            frames.push(
                joined
                    .cached
                    .unwrap_or_else(|| message::cache_miss(name.as_str())),
            );
        }
        Ok(frames)
    }

    /// Ends a subscription; `false` when there was none.
    pub fn unsubscribe(&self, client: Client<'_>, channel: &str) -> bool {
        let subscription = client.shard.unsubscribe(client.subscriber, channel);
        if let Some(subscription) = &subscription {
            self.leave(client, subscription);
        }
        subscription.is_some()
    }

    /// Ends all of a client's subscriptions.
    pub fn unsubscribe_all(&self, client: Client<'_>) {
        for subscription in client.shard.unsubscribe_all(client.subscriber) {
            self.leave(client, &subscription);
        }
    }

    fn leave(&self, client: Client<'_>, subscription: &Subscription) {
        client
            .channels
            .detach(subscription.channel(), client.shard.id());
        self.engine
            .leave(subscription.channel(), subscription.member.as_deref());
    }
}
