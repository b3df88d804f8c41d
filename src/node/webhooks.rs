//! From what an engine tells of channels to what an app's backend hears.

use std::{sync::Arc, time::Instant};

use super::ClientPublication;
use crate::{
    app::{AppRegistry, WebhookKind},
    engine::{ChannelEdge, EdgeSink, Edges, Heard},
    feed::{Feed, Line},
    protocol::ChannelKind,
    webhook::{WebhookEvent, Webhooks},
};

/// Takes an engine's edges, shows those of members to whoever watches, and makes webhooks of them all.
#[must_use]
pub fn edges(apps: Arc<AppRegistry>, webhooks: Arc<Webhooks>, feed: Option<Feed>) -> EdgeSink {
    Arc::new(Listener {
        apps,
        webhooks,
        feed,
    })
}

struct Listener {
    apps: Arc<AppRegistry>,
    webhooks: Arc<Webhooks>,
    /// None in a cluster, where edges are told when and where webhooks need them.
    feed: Option<Feed>,
}

impl Edges for Listener {
    fn heard(&self, app_id: &str, channel: &str) -> Heard {
        // A user's own channel is nobody's business.
        let Some(app) = self
            .apps
            .by_id(app_id)
            .filter(|_| !channel.starts_with('#'))
        else {
            return Heard::default();
        };
        let takes = |kind| app.webhooks.concern(kind, channel);
        let kind = ChannelKind::of(channel);
        let counts = app.subscription_counts && !kind.has_members();
        Heard {
            edges: WebhookKind::EDGES.into_iter().any(takes),
            counts: counts && takes(WebhookKind::SubscriptionCount),
            misses: kind.cache && takes(WebhookKind::CacheMiss),
        }
    }

    fn tell(&self, app_id: &str, channel: &str, edge: ChannelEdge<'_>) {
        if let Some(feed) = &self.feed {
            show(feed, app_id, channel, edge);
        }
        let Some(app) = self.apps.by_id(app_id) else {
            return;
        };
        if !app.webhooks.endpoints.is_empty() {
            let event = event_of(channel, edge);
            self.webhooks.emit(&app, &event, Instant::now());
        }
    }
}

fn show(feed: &Feed, app: &str, channel: &str, edge: ChannelEdge<'_>) {
    if !feed.is_watched() || !ChannelKind::of(channel).is_presence() {
        return;
    }
    match edge {
        ChannelEdge::MemberAdded(user_id) => feed.emit(|| Line::MemberAdded {
            app,
            channel,
            user_id,
        }),
        ChannelEdge::MemberRemoved(user_id) => feed.emit(|| Line::MemberRemoved {
            app,
            channel,
            user_id,
        }),
        _ => {}
    }
}

fn event_of<'a>(channel: &'a str, edge: ChannelEdge<'a>) -> WebhookEvent<'a> {
    match edge {
        ChannelEdge::Occupied => WebhookEvent::ChannelOccupied { channel },
        ChannelEdge::Vacated => WebhookEvent::ChannelVacated { channel },
        ChannelEdge::MemberAdded(user_id) => WebhookEvent::MemberAdded { channel, user_id },
        ChannelEdge::MemberRemoved(user_id) => WebhookEvent::MemberRemoved { channel, user_id },
        ChannelEdge::CacheMissed => WebhookEvent::CacheMiss { channel },
        ChannelEdge::Count(subscription_count) => WebhookEvent::SubscriptionCount {
            channel,
            subscription_count,
        },
    }
}

impl<'a> From<ClientPublication<'a>> for WebhookEvent<'a> {
    fn from(publication: ClientPublication<'a>) -> Self {
        let ClientPublication {
            sender,
            event,
            channel,
            data,
            user_id,
        } = publication;
        Self::ClientEvent {
            channel,
            event,
            data,
            socket_id: sender,
            user_id,
        }
    }
}
