//! The apps that this server hosts: who may publish and subscribe, and within which limits.
//!
//! Knows nothing of sockets or channels. An [`App`] is immutable; a change of configuration puts a new one in its place
//! ([`AppRegistry::replace`]), and whoever holds the old one finishes with it. Its fields are named as the configuration names them.

mod changes;
mod channel_rule;
mod key;
mod moment;
mod name;
mod origin;
mod registry;
mod secret;
mod session;
mod webhook;

pub use changes::{AppChange, AppChanges, differences};
pub use channel_rule::{ChannelPattern, ChannelRule, Replay};
pub use key::{AppKey, KeyRef};
pub use moment::Moment;
pub use name::{Name, is_path_segment};
pub use origin::OriginPattern;
pub use registry::AppRegistry;
pub use secret::Secret;
pub use session::{Newest, SingleSession};
pub use webhook::{
    WebhookEndpoint, WebhookHeaders, WebhookKind, WebhookKinds, WebhookTargets, WebhookUrl,
};

use crate::{
    protocol::NameLengths,
    settings::{Count, Json, Seconds, Secrets, Setting, Settings, leave_out_defaults, settings},
};

settings! {
    /// One tenant: its credentials, switches and limits.
    #[derive(Clone, Debug, PartialEq)]
    pub struct App {
        /// Part of the API's paths, `/apps/ID/…`. PyPI's `pusher` accepts only digits.
        id: Name => "\"1001\"",
        /// Part of the WebSocket path, `/app/KEY`, and of every signature; best lower-case ([why](protocol.md#signatures)). Required with its
        /// secret, unless there are `keys`.
        key: Option<Name> => "\"app-key\"",
        /// Signs. Never printed.
        secret: Option<Secret> => "\"app-secret\"",
        /// For people.
        name: String = "",
        /// `false`: connections are closed with 4003, API requests get 403.
        enabled: bool = true,
        /// Whether clients may send `client-…` events to each other.
        client_events: bool = false,
        /// `false`: clients can't use the HTTP fallbacks of pusher-js (404), only WebSockets.
        fallbacks: bool = true,
        /// `true`: unencrypted connections are closed with 4000.
        tls_only: bool = false,
        /// Which web pages may connect ([below](#allowed-origins)): hosts (`"example.com"`, `"*.example.com"`, `"localhost:3000"`) or
        /// full origins (`"https://example.com"`). Empty: all.
        allowed_origins: Vec<OriginPattern>,
        /// With such a list: whether clients that send no `Origin` (native apps, servers) are closed with 4009.
        require_origin: bool = true,
        /// Whether a channel's subscribers are sent their number (`pusher:subscription_count`), at most four times a second; above 100 every 5 s.
        subscription_counts: bool = false,
        /// Whether a client that signs in with a watchlist is sent an event when those users come and go.
        watchlists: bool = false,
        /// Whether long messages are compressed for clients that offer permessage-deflate, and theirs may be. An event is compressed
        /// once, whatever the number of its receivers.
        compression: bool = false,
        /// Bytes of the shortest message that is compressed.
        compression_min_bytes: Count = 1024,
        /// `"replace"`: the newest session of a signed-in user closes the older ones with 4009, after an event that says so. `"refuse"`:
        /// the newer sign-in is refused. `"off"`: any number of sessions.
        single_session: SingleSession = "off",
        /// The member of `user_data`, `channel_data` or their `user_info` that identifies a session, so that the tabs of one browser are
        /// one session. Without it each connection is a session.
        session_key: String = "session_id",
        /// The event that tells the older session, on the user's own channel (`pusher.user.bind`) or on the channel with the rule.
        session_event: String = "session.replaced",
        /// Seconds from that event to the close.
        session_grace_s: Seconds<0, 3600> = 2,
        /// Whether events of 50 ms, at most 100, share a webhook request.
        webhook_batching: bool = false,
        /// The key that signs webhooks. Without it, the newest valid one does.
        webhook_key: Option<Name> => "\"app-key\"",
        /// One table per further key of the app above it; all are valid at once ([apps.md](apps.md#several-keys)). The newest is last.
        keys: Vec<AppKey>,
        /// One table per endpoint of the app above it that receives its webhooks ([webhooks.md](webhooks.md)).
        webhooks: Vec<WebhookEndpoint>,
        /// One table per rule for channels of the app above it. Of several rules that match a channel and set the same matter, the first
        /// counts.
        channels: Vec<ChannelRule>,
        ..limits: Limits,
    }
    first key::check_presence;
    check key::check;
}

settings! {
    /// What an app may use. The defaults are Pusher's own documented limits.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Limits {
        /// Simultaneous connections on each node; further clients are closed with 4004.
        max_connections: Option<Count> => "100",
        /// Characters of a channel name, prefix included.
        max_channel_name_length: Count = 200,
        /// Characters of an event name.
        max_event_name_length: Count = 200,
        /// Bytes of one event's data; larger events get 413.
        max_event_data_bytes: Count = 10_240,
        /// Channels of one event.
        max_event_channels: Count = 100,
        /// Events of one batch.
        max_batch_events: Count = 10,
        /// Distinct users of a presence channel.
        max_presence_members: Count = 100,
        /// Characters of a user's id, of a presence member as of a sign-in.
        max_presence_user_id_length: Count = 128,
        /// Bytes of a presence `user_info` as JSON.
        max_presence_user_info_bytes: Count = 1024,
        /// Messages and control frames per second and connection, not counting client events within their own limit. Faster clients are
        /// read more slowly ([below](#how-fast-a-client-may-send)).
        max_messages_per_second: Count = 100,
        /// Client events per second and connection; further events are refused.
        max_client_events_per_second: Count = 10,
        /// Events published over HTTP per second, on each node; more get 429, and a batch that is larger than this gets 400.
        max_backend_events_per_second: Option<Count> => "1000",
        /// Other API requests per second, on each node; more get 429.
        max_read_requests_per_second: Option<Count> => "100",
        /// Channels that one connection may subscribe to; further subscriptions are refused. Too few for a client that watches everything,
        /// such as a wallboard or a bridge to another system.
        max_channels_per_connection: Count = 1000,
        /// Seconds within which a connection must sign in or enter a private or presence channel; otherwise it is closed with 4009.
        authorization_timeout_s: Option<Seconds<1, { u32::MAX }>> => "30",
        /// Seconds that a cache channel keeps its last event.
        cache_ttl_s: Seconds<1, SECONDS_MAX> = 1800,
    }
}

impl Limits {
    /// How long the names of the app's channels may be.
    #[must_use]
    pub fn name_lengths(&self) -> NameLengths {
        NameLengths {
            channel: self.max_channel_name_length.get(),
            user_id: self.max_presence_user_id_length.get(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Setting::absent().expect("every limit has a default")
    }
}

/// A year: keeps a point in time plus a duration representable.
pub const SECONDS_MAX: u32 = 365 * 24 * 60 * 60;

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
            None => !self.require_origin,
        }
    }

    /// What a file or a table has to say of the app: its settings that differ from the defaults, secrets included.
    #[must_use]
    pub fn settings(&self) -> serde_json::Map<String, Json> {
        let mut settings = serde_json::Map::new();
        self.write_into(Secrets::Shown, &mut settings);
        leave_out_defaults(Self::FIELDS, &mut settings);
        settings
    }

    /// Bytes of the shortest message that is compressed for clients that ask for it; `None`: none is.
    #[must_use]
    pub fn compression_from_bytes(&self) -> Option<usize> {
        self.compression.then_some(self.compression_min_bytes.get())
    }

    /// Whether only one session at a time may subscribe to the channel, and which of two gives way.
    #[must_use]
    pub fn single_session_on(&self, channel: &str) -> Option<Newest> {
        let rules = self.channels.iter();
        let mut rules = rules.filter(|rule| rule.pattern.matches(channel));
        rules.find_map(|rule| rule.single_session.newest())
    }

    /// Which of the channel's past events a new subscriber receives.
    #[must_use]
    pub fn replay(&self, channel: &str) -> Option<Replay> {
        let rules = self.channels.iter();
        let mut rules = rules.filter(|rule| rule.pattern.matches(channel));
        rules.find_map(ChannelRule::replay)
    }

    /// Whether an event of this kind on this channel can matter to any endpoint: because it takes the event or the opposite
    /// one, whose sending may depend on this.
    #[must_use]
    pub fn webhooks_concern(&self, kind: WebhookKind, channel: &str) -> bool {
        let takes = |kind| {
            let mut endpoints = self.webhooks.iter();
            endpoints.any(|endpoint| endpoint.takes(kind, channel))
        };
        takes(kind) || kind.opposite().is_some_and(takes)
    }
}

#[cfg(test)]
impl App {
    /// An app with every default, for unit tests.
    pub(crate) fn for_test(id: &str, key: &str) -> Self {
        use crate::settings::{Path, Problems, Setting, Value};
        let entries = [("id", id), ("key", key), ("secret", "hidden")];
        let entries = entries.map(|(name, text)| (name.to_owned(), Value::from(text)));
        let table = Value::from(crate::settings::Map::from_iter(entries));
        Setting::read(&table, Path::ROOT, &mut Problems::default()).expect("a valid app")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Text;

    fn app_that_allows(entries: &[&str]) -> App {
        let parse = |entry: &&str| Text::parse(entry).expect(entry);
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
            require_origin: false,
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
}
