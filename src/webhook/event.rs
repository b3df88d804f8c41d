//! Webhook events in Pusher's JSON.

use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;

use crate::{app::WebhookKind, protocol::SocketId};

/// One event of a webhook, with exactly the fields that Pusher gives it. Those of sessions are our own. Every field is a string or a
/// number: .NET's and Rust's libraries read an event into a map of strings and fail on the whole request otherwise.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum WebhookEvent<'a> {
    /// The channel has its first subscriber.
    ChannelOccupied {
        /// Its name, as in all others.
        channel: &'a str,
    },
    /// The channel's last subscriber has gone. Sent 3 s later, unless one comes back.
    ChannelVacated {
        /// Its name.
        channel: &'a str,
    },
    /// A user's first connection has come.
    MemberAdded {
        /// The presence channel.
        channel: &'a str,
        /// The user.
        user_id: &'a str,
    },
    /// A user's last connection has gone. Sent 3 s later, unless the user comes back.
    MemberRemoved {
        /// The presence channel.
        channel: &'a str,
        /// The user.
        user_id: &'a str,
    },
    /// A client's event was relayed.
    ClientEvent {
        /// The channel.
        channel: &'a str,
        /// Its name, `client-…`.
        event: &'a str,
        /// The data as the JSON string token that the subscribers got; `None` if they got none.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "token")]
        data: Option<&'a str>,
        /// The sender's connection.
        #[serde(serialize_with = "text")]
        socket_id: SocketId,
        /// The sender on a presence channel.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
    },
    /// A client subscribed to an empty cache channel, the first since it had an event or was vacated.
    CacheMiss {
        /// The cache channel.
        channel: &'a str,
    },
    /// The number of subscribers has changed.
    SubscriptionCount {
        /// Not a presence channel.
        channel: &'a str,
        /// The new number.
        subscription_count: usize,
    },
    /// A new session came to where only one may be.
    SessionReplaced {
        /// The channel, or the user's own.
        channel: &'a str,
        /// The user, if the rule is about users.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
        /// The new session.
        session_id: &'a str,
        /// The session that has to go. Several have an event each.
        replaced_session_id: &'a str,
    },
    /// A session was not let in, because another is there.
    SessionRefused {
        /// The channel, or the user's own.
        channel: &'a str,
        /// The user, if the rule is about users.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
        /// The session that was not let in.
        session_id: &'a str,
    },
}

impl<'a> WebhookEvent<'a> {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> WebhookKind {
        match self {
            Self::ChannelOccupied { .. } => WebhookKind::ChannelOccupied,
            Self::ChannelVacated { .. } => WebhookKind::ChannelVacated,
            Self::MemberAdded { .. } => WebhookKind::MemberAdded,
            Self::MemberRemoved { .. } => WebhookKind::MemberRemoved,
            Self::ClientEvent { .. } => WebhookKind::ClientEvent,
            Self::CacheMiss { .. } => WebhookKind::CacheMiss,
            Self::SubscriptionCount { .. } => WebhookKind::SubscriptionCount,
            Self::SessionReplaced { .. } => WebhookKind::SessionReplaced,
            Self::SessionRefused { .. } => WebhookKind::SessionRefused,
        }
    }

    /// Its channel.
    #[must_use]
    pub const fn channel(&self) -> &'a str {
        match self {
            Self::ChannelOccupied { channel }
            | Self::ChannelVacated { channel }
            | Self::MemberAdded { channel, .. }
            | Self::MemberRemoved { channel, .. }
            | Self::ClientEvent { channel, .. }
            | Self::CacheMiss { channel }
            | Self::SubscriptionCount { channel, .. }
            | Self::SessionReplaced { channel, .. }
            | Self::SessionRefused { channel, .. } => channel,
        }
    }

    /// The member that came or went.
    pub(super) const fn member(&self) -> Option<&'a str> {
        match self {
            Self::MemberAdded { user_id, .. } | Self::MemberRemoved { user_id, .. } => {
                Some(user_id)
            }
            _ => None,
        }
    }

    /// The event as JSON, an element of a webhook's `events`.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and checked tokens always serialise")
    }
}

fn token<S: Serializer>(token: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    let raw = token.map(serde_json::from_str::<&RawValue>).transpose();
    raw.map_err(ser::Error::custom)?.serialize(serializer)
}

fn text<S: Serializer>(socket_id: &SocketId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(socket_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_exactly_its_fields() {
        let socket_id = SocketId::from_bits(123 << 32 | 456).expect("an id");
        let channel = "presence-\"x\"";
        for (event, json) in [
            (
                WebhookEvent::ChannelOccupied { channel: "orders" },
                r#"{"name":"channel_occupied","channel":"orders"}"#,
            ),
            (
                WebhookEvent::ChannelVacated { channel: "orders" },
                r#"{"name":"channel_vacated","channel":"orders"}"#,
            ),
            (
                WebhookEvent::MemberAdded {
                    channel,
                    user_id: "7",
                },
                r#"{"name":"member_added","channel":"presence-\"x\"","user_id":"7"}"#,
            ),
            (
                WebhookEvent::MemberRemoved {
                    channel,
                    user_id: "7",
                },
                r#"{"name":"member_removed","channel":"presence-\"x\"","user_id":"7"}"#,
            ),
            (
                WebhookEvent::ClientEvent {
                    channel: "presence-a",
                    event: "client-x",
                    data: Some(r#""{\"a\":\u00e4}""#),
                    socket_id,
                    user_id: Some("7"),
                },
                r#"{"name":"client_event","channel":"presence-a","event":"client-x","data":"{\"a\":\u00e4}","socket_id":"123.456","user_id":"7"}"#,
            ),
            (
                WebhookEvent::ClientEvent {
                    channel: "private-a",
                    event: "client-x",
                    data: None,
                    socket_id,
                    user_id: None,
                },
                r#"{"name":"client_event","channel":"private-a","event":"client-x","socket_id":"123.456"}"#,
            ),
            (
                WebhookEvent::CacheMiss { channel: "cache-a" },
                r#"{"name":"cache_miss","channel":"cache-a"}"#,
            ),
            (
                WebhookEvent::SubscriptionCount {
                    channel: "a",
                    subscription_count: 3,
                },
                r#"{"name":"subscription_count","channel":"a","subscription_count":3}"#,
            ),
            (
                WebhookEvent::SessionReplaced {
                    channel: "#server-to-user-7",
                    user_id: Some("7"),
                    session_id: "new",
                    replaced_session_id: "old",
                },
                r##"{"name":"session_replaced","channel":"#server-to-user-7","user_id":"7","session_id":"new","replaced_session_id":"old"}"##,
            ),
            (
                WebhookEvent::SessionRefused {
                    channel: "private-user-7",
                    user_id: None,
                    session_id: "new",
                },
                r#"{"name":"session_refused","channel":"private-user-7","session_id":"new"}"#,
            ),
        ] {
            assert_eq!(event.to_json(), json);
            assert!(json.contains(event.kind().name()), "{json}");
        }
    }
}
