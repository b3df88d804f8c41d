//! How an event gets from a publisher to the shards.

use std::{borrow::Cow, cell::LazyCell, sync::Arc, time::Instant};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, oneshot},
};
use tracing::debug;

use super::{Node, subscribe::replay_of};
use crate::{
    app::App,
    engine::{CacheableEvent, Wanted},
    feed::Line,
    hub::{AppChannels, Change, Delivery, Receipt},
    protocol::{ChannelName, Frame, SocketId, message},
};

/// An event from a backend, checked.
#[derive(Debug)]
pub struct Publication<'a> {
    /// Where to; each once.
    pub channels: &'a [ChannelName<'a>],
    /// The event's name.
    pub event: &'a str,
    /// The data as a JSON string token, quotes included; it goes out byte for byte.
    pub data: &'a str,
    /// Who is left out.
    pub except: Option<SocketId>,
}

/// An event from a client, checked.
#[derive(Debug)]
pub struct ClientPublication<'a> {
    /// Who sent it; left out.
    pub sender: SocketId,
    /// The event's name, `client-…`.
    pub event: &'a str,
    /// Where to.
    pub channel: &'a str,
    /// The data as a JSON string token; `None` if it is absent or `null`.
    pub data: Option<&'a str>,
    /// The sender's id on a presence channel.
    pub user_id: Option<&'a str>,
}

/// Whom an event reached in one channel, on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Sockets that got it.
    pub delivered: usize,
    /// Why nobody did.
    pub why: Option<Cow<'static, str>>,
}

/// Too much waits for a shard; nothing was published, and a later try may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

impl Node {
    /// Publishes events in order, all or none.
    ///
    /// # Errors
    /// [`Overloaded`] when a shard has no room.
    pub fn publish(
        &self,
        app: &App,
        channels: &Arc<AppChannels>,
        publications: &[Publication<'_>],
        request_id: &str,
        now: Instant,
    ) -> Result<(), Overloaded> {
        if !self.has_room(channels) {
            return Err(Overloaded);
        }
        channels.traffic().api_messages.add(publications.len());
        for publication in publications {
            debug!(
                app = &*app.id,
                request_id,
                event = publication.event,
                channels = publication.channels.len(),
                "published"
            );
            let receipt = self.receipt(app, channels, publication, request_id);
            self.publish_one(app, channels, publication, now, |_| receipt.clone());
        }
        Ok(())
    }

    /// As [`Node::publish`] with one event; says of each channel whom it reached.
    ///
    /// # Errors
    /// As [`Node::publish`].
    pub async fn publish_and_count(
        &self,
        app: &App,
        channels: &Arc<AppChannels>,
        publication: &Publication<'_>,
        request_id: &str,
        now: Instant,
    ) -> Result<Vec<Reached>, Overloaded> {
        if !self.has_room(channels) {
            return Err(Overloaded);
        }
        channels.traffic().api_messages.increment();
        let whole = self.receipt(app, channels, publication, request_id);
        let subscriptions: Vec<usize> = subscriptions(channels, publication).collect();
        let mut counts = Vec::with_capacity(subscriptions.len());
        self.publish_one(app, channels, publication, now, |_| {
            let (count, counted) = oneshot::channel();
            counts.push(counted);
            let whole = whole.clone();
            Some(Receipt::new(move |delivered| {
                if let Some(whole) = whole {
                    whole.add(delivered);
                }
                // Who asked may have gone.
                let _ = count.send(delivered);
            }))
        });
        drop(whole);
        let mut reached = Vec::with_capacity(counts.len());
        for ((name, counted), subscriptions) in
            publication.channels.iter().zip(counts).zip(subscriptions)
        {
            // A shard that ends counts nothing any more.
            let delivered = counted.await.unwrap_or_default();
            let why = match delivered {
                0 => Some(self.why(app, *name, subscriptions, publication, now).await),
                _ => None,
            };
            reached.push(Reached { delivered, why });
        }
        Ok(reached)
    }

    /// Why an event reached nobody in a channel of so many subscriptions here.
    async fn why(
        &self,
        app: &App,
        name: ChannelName<'_>,
        subscriptions: usize,
        publication: &Publication<'_>,
        now: Instant,
    ) -> Cow<'static, str> {
        let wanted = Wanted {
            subscription_count: true,
            ..Wanted::default()
        };
        if self.engine.spans_nodes()
            && let Ok(info) = self.channel(&app.id, name, wanted, now).await
            && let elsewhere @ 1.. = info
                .subscription_count
                .unwrap_or_default()
                .saturating_sub(subscriptions)
        {
            return only_elsewhere(elsewhere).into();
        }
        why(subscriptions, 1, publication).into()
    }

    fn publish_one(
        &self,
        app: &App,
        channels: &Arc<AppChannels>,
        publication: &Publication<'_>,
        now: Instant,
        mut receipt_for: impl FnMut(&ChannelName<'_>) -> Option<Arc<Receipt>>,
    ) {
        // Nobody to send it to is usual.
        let event = LazyCell::new(|| message::json_string(publication.event));
        let except = publication.except;
        for name in publication.channels {
            let receipt = receipt_for(name);
            let encode = || Frame::event(&event, name.as_str(), publication.data);
            let is_cached = name.kind().cache;
            let route = (!is_cached)
                .then(|| channels.route(name.as_str()))
                .flatten();
            let replay = match &route {
                Some(route) => route.replay,
                None => replay_of(app, name.kind(), name.as_str()),
            };
            if is_cached || replay.is_some() {
                let event = CacheableEvent {
                    app: channels,
                    name: *name,
                    frame: encode(),
                    except,
                    receipt,
                    published: Some(now),
                    at: now,
                };
                if self.engine.spans_nodes() {
                    channels.traffic().peer_events_sent.increment();
                }
                match replay {
                    Some(replay) => self.engine.record(event, replay),
                    None => self.engine.remember(event, app.limits.cache_ttl_s.get()),
                }
                continue;
            }
            if route.is_none() && !self.engine.spans_nodes() {
                continue;
            }
            let frame = encode();
            self.forward(channels, name.as_str(), &frame, except);
            if let Some(route) = route {
                let delivery = Delivery {
                    channel: route.channel,
                    frame,
                    except,
                    change: Change::Nothing,
                    receipt,
                    published: Some(now),
                };
                self.hub.deliver(&route, delivery);
            }
        }
    }

    /// Relays a client's event to the channel's other subscribers.
    ///
    /// # Errors
    /// [`Overloaded`] when a shard has no room.
    pub fn relay(
        &self,
        channels: &AppChannels,
        publication: &ClientPublication<'_>,
    ) -> Result<(), Overloaded> {
        if !self.has_room(channels) {
            return Err(Overloaded);
        }
        let ClientPublication {
            sender,
            event,
            channel,
            data,
            user_id,
        } = *publication;
        channels.traffic().client_events.increment();
        let frame = message::client_event(event, channel, data, user_id);
        self.forward(channels, channel, &frame, Some(sender));
        if let Some(route) = channels.route(channel) {
            let delivery = Delivery {
                channel: route.channel,
                frame,
                except: Some(sender),
                change: Change::Nothing,
                receipt: self
                    .feed
                    .is_watched()
                    .then(|| self.client_receipt(channels.app_id(), publication)),
                published: None,
            };
            self.hub.deliver(&route, delivery);
        }
        Ok(())
    }

    /// Carries an event to the other nodes, if there may be any.
    fn forward(&self, channels: &AppChannels, name: &str, frame: &Frame, except: Option<SocketId>) {
        if self.engine.spans_nodes() {
            channels.traffic().peer_events_sent.increment();
            self.engine.forward(channels, name, frame, except);
        }
    }

    /// What counts the deliveries of a backend's event, while somebody watches.
    fn receipt(
        &self,
        app: &App,
        channels: &AppChannels,
        publication: &Publication<'_>,
        request_id: &str,
    ) -> Option<Arc<Receipt>> {
        if !self.feed.is_watched() {
            return None;
        }
        let subscriptions = subscriptions(channels, publication).sum();
        let why = why(subscriptions, publication.channels.len(), publication);
        let elsewhere = Elsewhere::ask(self, channels, publication, subscriptions);
        let feed = self.feed.clone();
        let app = app.id.clone();
        let event = publication.event.to_owned();
        let names = publication.channels.iter();
        let channels: Vec<String> = names.map(|name| name.as_str().to_owned()).collect();
        let data = text_of(publication.data);
        let excluded = publication.except.map(|id| id.to_string());
        let request_id = request_id.to_owned();
        Some(Receipt::new(move |delivered| {
            let tell = move |elsewhere: Option<usize>| {
                let elsewhere = elsewhere.filter(|count| *count > 0);
                let why = match elsewhere {
                    Some(count) => only_elsewhere(count).into(),
                    None => Cow::Borrowed(why),
                };
                feed.emit(|| Line::ApiMessage {
                    app: &app,
                    event: &event,
                    channels: &channels,
                    data: &data,
                    size: data.len(),
                    delivered,
                    elsewhere,
                    request_id: &request_id,
                    excluded,
                    why: (delivered == 0).then_some(&*why),
                });
            };
            match elsewhere {
                Some(asked) => asked.then(tell),
                None => tell(None),
            }
        }))
    }

    fn client_receipt(&self, app: &Arc<str>, publication: &ClientPublication<'_>) -> Arc<Receipt> {
        let feed = self.feed.clone();
        let app = Arc::clone(app);
        let socket_id = publication.sender.to_string();
        let event = publication.event.to_owned();
        let channel = publication.channel.to_owned();
        let data = publication.data.map(text_of);
        let user_id = publication.user_id.map(str::to_owned);
        Receipt::new(move |delivered| {
            feed.emit(|| Line::ClientEvent {
                app: &app,
                socket_id,
                event: &event,
                channel: &channel,
                data: data.as_deref(),
                delivered,
                user_id: user_id.as_deref(),
            });
        })
    }
}

fn subscriptions(
    channels: &AppChannels,
    publication: &Publication<'_>,
) -> impl Iterator<Item = usize> {
    let names = publication.channels.iter();
    names.map(|name| channels.subscriptions(name.as_str()))
}

/// Channels of one event that other nodes' subscribers are counted for.
const COUNTED_CHANNELS_MAX: usize = 10;
/// Counts of other nodes' subscribers that may be under way for the feed. Lines beyond them say nothing of other nodes.
pub(super) const COUNTS_MAX: usize = 64;

/// A count of an event's subscriptions on other nodes that is under way.
struct Elsewhere {
    count: BoxFuture<'static, Option<usize>>,
    permit: OwnedSemaphorePermit,
    runtime: Handle,
}

impl Elsewhere {
    /// Begins to count, if there may be other nodes and not too many counts are under way.
    fn ask(
        node: &Node,
        channels: &AppChannels,
        publication: &Publication<'_>,
        here: usize,
    ) -> Option<Self> {
        let names = publication.channels;
        if !node.engine.spans_nodes() || names.len() > COUNTED_CHANNELS_MAX {
            return None;
        }
        let permit = Arc::clone(&node.counts).try_acquire_owned().ok()?;
        let runtime = Handle::try_current().ok()?;
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let count = node.engine.count_everywhere(channels.app_id(), &names)?;
        let count = Box::pin(async move { Some(count.await?.saturating_sub(here)) });
        Some(Self {
            count,
            permit,
            runtime,
        })
    }

    /// Calls `tell` with the count.
    fn then(self, tell: impl FnOnce(Option<usize>) + Send + 'static) {
        let Self {
            count,
            permit,
            runtime,
        } = self;
        drop(runtime.spawn(async move {
            tell(count.await);
            drop(permit);
        }));
    }
}

fn only_elsewhere(count: usize) -> String {
    format!("no subscriber here, {count} on other nodes")
}

/// Why an event reached nobody on this node.
fn why(subscriptions: usize, channels: usize, publication: &Publication<'_>) -> &'static str {
    if subscriptions == 0 {
        "nobody is subscribed"
    } else if publication.except.is_some() && subscriptions <= channels {
        "only the excluded socket is subscribed"
    } else {
        "its subscribers are closing: they left, or were too slow"
    }
}

/// The text inside a JSON string token.
fn text_of(token: &str) -> String {
    serde_json::from_str(token).unwrap_or_else(|_| token.to_owned())
}
