//! From what an engine tells of channels to what an app's backend hears.

use std::{sync::Arc, time::Instant};

use super::ClientPublication;
use crate::{
    app::AppRegistry,
    engine::{ChannelEdge, EdgeSink},
    webhook::{WebhookEvent, Webhooks},
};

/// Takes an engine's edges and makes webhooks of them.
#[must_use]
pub fn edges(apps: Arc<AppRegistry>, webhooks: Arc<Webhooks>) -> EdgeSink {
    Box::new(move |app_id, channel, edge| {
        let Some(app) = apps.by_id(app_id) else {
            return;
        };
        if !app.webhooks.endpoints.is_empty() {
            webhooks.emit(&app, &event_of(channel, edge), Instant::now());
        }
    })
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
