//! Turns the edges that an engine reports into webhook events.

use std::{sync::Arc, time::Instant};

use super::ClientPublication;
use crate::{
    app::{AppRegistry, WebhookKind},
    engine::{ChannelEdge, EdgeSink, Edges, Heard},
    protocol::{
        ChannelKind,
        channel::{SessionsOf, USER_PREFIX, sessions_of},
    },
    webhook::{WebhookEvent, Webhooks},
};

/// A sink for an engine's edges that emits webhook events.
#[must_use]
pub fn edges(apps: Arc<AppRegistry>, webhooks: Arc<Webhooks>) -> EdgeSink {
    Arc::new(Listener { apps, webhooks })
}

struct Listener {
    apps: Arc<AppRegistry>,
    webhooks: Arc<Webhooks>,
}

impl Edges for Listener {
    fn heard(&self, app_id: &str, channel: &str) -> Heard {
        let Some(app) = self.apps.by_id(app_id) else {
            return Heard::default();
        };
        if let Some((channel, _)) = sessions(channel) {
            let takes = |kind| app.webhooks.concern(kind, &channel);
            return Heard {
                sessions: WebhookKind::SESSIONS.into_iter().any(takes),
                ..Heard::default()
            };
        }
        if channel.starts_with('#') {
            // Pusher has no webhooks for users' own channels.
            return Heard::default();
        }
        let takes = |kind| app.webhooks.concern(kind, channel);
        let kind = ChannelKind::of(channel);
        let counts = app.subscription_counts && !kind.has_members();
        Heard {
            edges: WebhookKind::EDGES.into_iter().any(takes),
            counts: counts && takes(WebhookKind::SubscriptionCount),
            misses: kind.cache && takes(WebhookKind::CacheMiss),
            sessions: false,
        }
    }

    fn tell(&self, app_id: &str, channel: &str, edge: ChannelEdge<'_>) {
        let Some(app) = self.apps.by_id(app_id) else {
            return;
        };
        if !app.webhooks.endpoints.is_empty() {
            let sessions = sessions(channel);
            let (channel, user_id) = match &sessions {
                Some((channel, user_id)) => (channel.as_str(), user_id.as_deref()),
                None => (channel, None),
            };
            let now = Instant::now();
            for_each_event(channel, user_id, edge, |event| {
                self.webhooks.emit(&app, &event, now);
            });
        }
    }
}

/// The channel, and perhaps the user, whose sessions are the members of this one.
fn sessions(channel: &str) -> Option<(String, Option<String>)> {
    if !channel.starts_with('#') {
        return None;
    }
    Some(match sessions_of(channel)? {
        SessionsOf::User(user_id) => (format!("{USER_PREFIX}{user_id}"), Some(user_id)),
        SessionsOf::Channel(channel) => (channel, None),
    })
}

/// What an edge is to a backend: one event, or one for each session that has to go.
fn for_each_event<'a>(
    channel: &'a str,
    user_id: Option<&'a str>,
    edge: ChannelEdge<'a>,
    mut emit: impl FnMut(WebhookEvent<'a>),
) {
    match edge {
        ChannelEdge::Occupied => emit(WebhookEvent::ChannelOccupied { channel }),
        ChannelEdge::Vacated => emit(WebhookEvent::ChannelVacated { channel }),
        ChannelEdge::MemberAdded(user_id) => emit(WebhookEvent::MemberAdded { channel, user_id }),
        ChannelEdge::MemberRemoved(user_id) => {
            emit(WebhookEvent::MemberRemoved { channel, user_id });
        }
        ChannelEdge::CacheMissed => emit(WebhookEvent::CacheMiss { channel }),
        ChannelEdge::Count(subscription_count) => emit(WebhookEvent::SubscriptionCount {
            channel,
            subscription_count,
        }),
        ChannelEdge::SessionReplaced { session, replaced } => {
            for replaced_session_id in replaced {
                emit(WebhookEvent::SessionReplaced {
                    channel,
                    user_id,
                    session_id: session,
                    replaced_session_id,
                });
            }
        }
        ChannelEdge::SessionRefused(session_id) => emit(WebhookEvent::SessionRefused {
            channel,
            user_id,
            session_id,
        }),
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
