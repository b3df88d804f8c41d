//! The apps that this server hosts: who may speak, and within which limits.
//!
//! Knows nothing of sockets or channels. An [`App`] is immutable; a change of configuration puts a new one in its place
//! ([`AppRegistry::replace`]), and whoever holds the old one finishes with it.

mod channel_rule;
mod origin;
mod registry;
pub mod store;
mod webhook;

use std::{fmt, time::Duration};

pub use channel_rule::{ChannelRule, ChannelRules, Replay};
pub use origin::{OriginPattern, OriginPatternError};
pub use registry::AppRegistry;
pub use webhook::{
    WebhookEndpoint, WebhookKind, WebhookKinds, WebhookSettings, WebhookTargets, WebhookUrl,
    WebhookUrlError, is_reserved_header,
};

use crate::protocol::{NameLengths, signature};

/// One tenant: its credentials, switches and limits.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Stands in the HTTP API's paths. Unique within the server.
    pub id: String,
    /// Stands in the WebSocket path and in signatures. Unique within the server.
    pub key: String,
    /// Signs. Never printed.
    pub secret: Secret,
    /// For people; may be empty.
    pub name: String,
    /// A disabled app refuses connections with 4003 and API requests with 403.
    pub enabled: bool,
    /// Whether clients may trigger `client-` events.
    pub client_events: bool,
    /// Whether clients may use the HTTP fallbacks.
    pub fallbacks: bool,
    /// Whether a channel's subscribers are told how many they are.
    pub subscription_counts: bool,
    /// Bytes of a message from which on it is compressed for clients that ask for that; `None`: never.
    pub compression_from_bytes: Option<usize>,
    /// Whether clients are told of the users on their watchlist.
    pub watchlists: bool,
    /// Whether a signed-in user may have only one session; `None`: as many as he likes.
    pub single_session: Option<SingleSession>,
    /// What is asked of channels of certain names.
    pub channels: ChannelRules,
    /// Whether plain (not TLS) sockets are refused with 4000.
    pub tls_only: bool,
    /// Who may connect from a browser; empty means everyone.
    pub allowed_origins: Vec<OriginPattern>,
    /// What a list means for clients without an `Origin`.
    pub missing_origin: MissingOrigin,
    /// Sizes, counts and rates.
    pub limits: Limits,
    /// Who is told what happens.
    pub webhooks: WebhookSettings,
}

impl App {
    /// Whether a client with this `Origin` header may connect. A bare `*` in the list allows every client, one without the header too.
    #[must_use]
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        let allowed = &self.allowed_origins;
        if allowed.is_empty() || allowed.iter().any(OriginPattern::is_everyone) {
            return true;
        }
        match origin {
            Some(origin) => allowed.iter().any(|entry| entry.allows(origin)),
            None => self.missing_origin == MissingOrigin::Allowed,
        }
    }
}

/// What a list of origins means for a client that sends none: not a browser, which always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingOrigin {
    /// It is refused.
    Refused,
    /// It may connect; the list is for browsers.
    Allowed,
}

/// The rule that a user, or a channel, has one session at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleSession {
    /// Who gives way.
    pub newest: Newest,
    /// The member of `user_data` or `channel_data` (or of its `user_info`) that tells sessions apart; without it each connection is one.
    pub session_key: String,
    /// The event on the user's own channel, or on the channel with this rule, that tells the older session.
    pub event: String,
    /// From that event to the close with 4009.
    pub grace: Duration,
}

/// What becomes of a second session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newest {
    /// It takes the place of the older one.
    Wins,
    /// Its sign-in or subscription is refused.
    IsRefused,
}

/// What an app may use. The defaults are Pusher's own documented limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Simultaneous connections on this node; `None` is no limit.
    pub max_connections: Option<usize>,
    /// Characters of a channel name, prefix included.
    pub max_channel_name_length: usize,
    /// Characters of an event name.
    pub max_event_name_length: usize,
    /// Bytes (UTF-8) of one event's data.
    pub max_event_data_bytes: usize,
    /// Channels of one publish.
    pub max_event_channels: usize,
    /// Events of one batch.
    pub max_batch_events: usize,
    /// Distinct users of a presence channel.
    pub max_presence_members: usize,
    /// Characters of a user's id, of a presence member as of a sign-in.
    pub max_presence_user_id_length: usize,
    /// Bytes of a presence `user_info` as JSON.
    pub max_presence_user_info_bytes: usize,
    /// Messages and control frames per second and connection, client events within their own limit not counted. Faster
    /// clients are read more slowly.
    pub max_messages_per_second: u32,
    /// Client events per second and connection.
    pub max_client_events_per_second: u32,
    /// Events that the backend may publish per second and node; `None` is no limit.
    pub max_backend_events_per_second: Option<u32>,
    /// Other API requests per second and node; `None` is no limit.
    pub max_read_requests_per_second: Option<u32>,
    /// Channels that one connection may listen to.
    pub max_channels_per_connection: usize,
    /// How long a connection may stay without a sign-in or a private or presence channel; `None` is for ever.
    pub authorization_timeout: Option<Duration>,
    /// How long a cache channel keeps its last event.
    pub cache_ttl: Duration,
}

impl Limits {
    /// How long the names of the app's channels may be.
    #[must_use]
    pub fn name_lengths(&self) -> NameLengths {
        NameLengths {
            channel: self.max_channel_name_length,
            user_id: self.max_presence_user_id_length,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_channel_name_length: 200,
            max_event_name_length: 200,
            max_event_data_bytes: 10 * 1024,
            max_event_channels: 100,
            max_batch_events: 10,
            max_presence_members: 100,
            max_presence_user_id_length: 128,
            max_presence_user_info_bytes: 1024,
            max_messages_per_second: 100,
            max_client_events_per_second: 10,
            max_backend_events_per_second: None,
            max_read_requests_per_second: None,
            max_channels_per_connection: 1000,
            authorization_timeout: None,
            cache_ttl: Duration::from_secs(1800),
        }
    }
}

/// A string that never shows itself: `Debug` prints dots, there is no `Display`.
#[derive(Clone)]
pub struct Secret {
    text: String,
    key: signature::Key,
}

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        let text = secret.into();
        let key = signature::Key::new(text.as_bytes());
        Self { text, key }
    }

    /// The bytes to sign with.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The secret made ready to check signatures with.
    #[must_use]
    pub fn key(&self) -> &signature::Key {
        &self.key
    }

    /// The text, for the one library call that needs it.
    #[must_use]
    pub fn expose_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
impl App {
    /// An app with every default, for unit tests.
    pub(crate) fn for_test(id: &str, key: &str) -> Self {
        Self {
            id: id.to_owned(),
            key: key.to_owned(),
            secret: Secret::new("hidden"),
            name: String::new(),
            enabled: true,
            client_events: false,
            fallbacks: true,
            subscription_counts: false,
            compression_from_bytes: None,
            watchlists: false,
            single_session: None,
            channels: ChannelRules::default(),
            tls_only: false,
            allowed_origins: Vec::new(),
            missing_origin: MissingOrigin::Refused,
            limits: Limits::default(),
            webhooks: WebhookSettings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app_that_allows(entries: &[&str]) -> App {
        let parse = |entry: &&str| OriginPattern::parse(entry).expect(entry);
        let allowed_origins = entries.iter().map(parse).collect();
        App {
            allowed_origins,
            ..App::for_test("1", "one")
        }
    }

    #[test]
    fn an_app_without_a_list_allows_every_origin_and_none() {
        let app = app_that_allows(&[]);
        assert!(app.allows_origin(Some("https://anything.test")));
        assert!(app.allows_origin(None));
    }

    #[test]
    fn an_app_with_a_list_refuses_other_origins_and_a_missing_one() {
        let app = app_that_allows(&["example.com", "*.example.org"]);
        assert!(app.allows_origin(Some("https://example.com")));
        assert!(app.allows_origin(Some("https://www.example.org")));
        assert!(!app.allows_origin(Some("https://example.net")));
        assert!(!app.allows_origin(Some("null")));
        assert!(!app.allows_origin(None));
    }

    #[test]
    fn a_list_may_be_for_browsers_alone() {
        let app = App {
            missing_origin: MissingOrigin::Allowed,
            ..app_that_allows(&["example.com"])
        };
        assert!(app.allows_origin(None));
        assert!(app.allows_origin(Some("https://example.com")));
        assert!(!app.allows_origin(Some("https://example.net")));
        assert!(!app.allows_origin(Some("")));
    }

    #[test]
    fn a_bare_star_is_everyone_as_in_reverb() {
        let app = app_that_allows(&["example.com", "*"]);
        assert!(app.allows_origin(Some("https://anything.test")));
        assert!(app.allows_origin(None));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("hidden")), "Secret(…)");
    }
}
