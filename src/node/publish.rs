//! How an event gets from a publisher to the shards.

use std::{sync::Arc, time::Instant};

use super::Node;
use crate::{
    app::App,
    engine::CacheableEvent,
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
    /// The data as a JSON string token, if there is any.
    pub data: Option<&'a str>,
    /// The sender's id on a presence channel.
    pub user_id: Option<&'a str>,
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
        now: Instant,
    ) -> Result<(), Overloaded> {
        if !self.has_room() {
            return Err(Overloaded);
        }
        for publication in publications {
            self.publish_one(app, channels, publication, now);
        }
        Ok(())
    }

    fn publish_one(
        &self,
        app: &App,
        channels: &Arc<AppChannels>,
        publication: &Publication<'_>,
        now: Instant,
    ) {
        let event = message::json_string(publication.event);
        let except = publication.except;
        let receipt = self
            .feed
            .is_watched()
            .then(|| self.api_receipt(app, publication));
        for name in publication.channels {
            let encode = || Frame::event(&event, name.as_str(), publication.data);
            if name.kind().cache {
                let frame = encode();
                let (kept, receipt) = (frame.clone(), receipt.clone());
                let delivery = Box::new(move |channel, change| Delivery {
                    channel,
                    frame,
                    except,
                    change,
                    receipt,
                });
                let event = CacheableEvent {
                    frame: kept,
                    except,
                    delivery,
                };
                self.engine
                    .remember(channels, *name, event, &app.limits, now);
                continue;
            }
            let route = channels.route(name.as_str());
            if route.is_none() && !self.engine.spans_nodes() {
                continue;
            }
            let frame = encode();
            if let Some(route) = route {
                let delivery = Delivery {
                    channel: route.channel,
                    frame: frame.clone(),
                    except,
                    change: Change::Nothing,
                    receipt: receipt.clone(),
                };
                self.hub.deliver(&route, &delivery);
            }
            self.engine
                .forward(channels.app_id(), name.as_str(), &frame, except);
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
        if !self.has_room() {
            return Err(Overloaded);
        }
        let ClientPublication {
            sender,
            event,
            channel,
            data,
            user_id,
        } = *publication;
        let frame = message::client_event(event, channel, data, user_id);
        if let Some(route) = channels.route(channel) {
            let delivery = Delivery {
                channel: route.channel,
                frame: frame.clone(),
                except: Some(sender),
                change: Change::Nothing,
                receipt: self
                    .feed
                    .is_watched()
                    .then(|| self.client_receipt(channels.app_id(), publication)),
            };
            self.hub.deliver(&route, &delivery);
        }
        self.engine
            .forward(channels.app_id(), channel, &frame, Some(sender));
        Ok(())
    }

    fn api_receipt(&self, app: &App, publication: &Publication<'_>) -> Arc<Receipt> {
        let feed = self.feed.clone();
        let app = app.id.clone();
        let event = publication.event.to_owned();
        let channels: Vec<String> = publication
            .channels
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect();
        let data = text_of(publication.data);
        let excluded = publication.except.map(|id| id.to_string());
        Receipt::new(move |delivered| {
            feed.emit(|| Line::ApiMessage {
                app: &app,
                event: &event,
                channels: &channels,
                data: &data,
                size: data.len(),
                delivered,
                excluded,
            });
        })
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

/// The text inside a JSON string token.
fn text_of(token: &str) -> String {
    serde_json::from_str(token).unwrap_or_else(|_| token.to_owned())
}
