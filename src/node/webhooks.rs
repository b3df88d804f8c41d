//! From what an engine tells of channels to what an app's backend hears.

use std::{sync::Arc, time::Instant};

use super::ClientPublication;
use crate::{
    app::AppRegistry,
    engine::{ChannelEdge, EdgeSink},
    feed::{Feed, Line},
    protocol::ChannelKind,
    webhook::{WebhookEvent, Webhooks},
};

/// Takes an engine's edges, shows those of members to whoever watches, and makes webhooks of them all.
#[must_use]
pub fn edges(apps: Arc<AppRegistry>, webhooks: Arc<Webhooks>, feed: Feed) -> EdgeSink {
    Box::new(move |app_id, channel, edge| {
        show(&feed, app_id, channel, edge);
        let Some(app) = apps.by_id(app_id) else {
            return;
        };
        if !app.webhooks.endpoints.is_empty() {
            webhooks.emit(&app, &event_of(channel, edge), Instant::now());
        }
    })
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
