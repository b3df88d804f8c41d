//! An app's webhook endpoints, and which events each takes.

mod targets;
#[cfg(test)]
mod tests;

use std::{error::Error, fmt, net::IpAddr, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, Uri,
    header::{self, HeaderName, HeaderValue},
};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

pub use self::targets::WebhookTargets;

/// An app's endpoints and how events are sent to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebhookSettings {
    /// Whether several events may share a request.
    pub batching: bool,
    /// Each gets every event that it takes.
    pub endpoints: Vec<WebhookEndpoint>,
}

impl WebhookSettings {
    /// Whether any endpoint takes an event of this kind on this channel, or the opposite one, which this one may cancel.
    #[must_use]
    pub fn concern(&self, kind: WebhookKind, channel: &str) -> bool {
        let takes = |kind| {
            let endpoints = &self.endpoints;
            endpoints
                .iter()
                .any(|endpoint| endpoint.takes(kind, channel))
        };
        takes(kind) || kind.opposite().is_some_and(takes)
    }
}

/// One endpoint. `Debug` shows only scheme, host and port, because path, query and headers may hold a token.
#[derive(Clone, PartialEq)]
pub struct WebhookEndpoint {
    /// Its address.
    pub url: WebhookUrl,
    /// The kinds of events that it takes.
    pub kinds: WebhookKinds,
    /// Prefix of the channels whose events it takes; empty: any.
    pub channel_starts_with: String,
    /// Suffix of the channels whose events it takes; empty: any.
    pub channel_ends_with: String,
    /// Its own request headers.
    pub headers: HeaderMap,
}

impl WebhookEndpoint {
    /// Whether the endpoint takes an event of this kind on this channel.
    #[must_use]
    pub fn takes(&self, kind: WebhookKind, channel: &str) -> bool {
        self.kinds.contains(kind)
            && channel.starts_with(&self.channel_starts_with)
            && channel.ends_with(&self.channel_ends_with)
    }
}

impl fmt::Debug for WebhookEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEndpoint")
            .field("url", &self.url)
            .field("kinds", &self.kinds)
            .field("channel_starts_with", &self.channel_starts_with)
            .field("channel_ends_with", &self.channel_ends_with)
            .field("headers", &self.headers.len())
            .finish()
    }
}

/// Whether an endpoint must not set this header: it belongs to the protocol or frames the request.
#[must_use]
pub fn is_reserved_header(name: &HeaderName) -> bool {
    const FRAMING: [HeaderName; 8] = [
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    name.as_str().starts_with("x-pusher-") || FRAMING.contains(name)
}

/// An `http` or `https` URL.
#[derive(Clone, PartialEq)]
pub struct WebhookUrl {
    /// Without the credentials.
    pub uri: Uri,
    /// The credentials, as an `Authorization` header.
    pub authorization: Option<HeaderValue>,
    /// Scheme, host and port: the part that holds no secret.
    origin: String,
    address: Option<IpAddr>,
}

/// A text is not the URL of an endpoint. Does not hold the text, which may contain a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookUrlError;

impl WebhookUrl {
    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The address, if the URL holds one instead of a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether TLS is needed.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.uri.scheme() == Some(&http::uri::Scheme::HTTPS)
    }
}

impl FromStr for WebhookUrl {
    type Err = WebhookUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut url = Url::parse(text).map_err(|_| WebhookUrlError)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(WebhookUrlError);
        }
        let authorization = authorization(&url);
        url.set_fragment(None);
        let without_credentials = url
            .set_username("")
            .and_then(|()| url.set_password(None))
            .map_err(|()| WebhookUrlError);
        without_credentials?;
        Ok(Self {
            uri: url.as_str().parse().map_err(|_| WebhookUrlError)?,
            authorization,
            origin: url.origin().ascii_serialization(),
            address: match url.host() {
                Some(Host::Ipv4(address)) => Some(address.into()),
                Some(Host::Ipv6(address)) => Some(address.into()),
                Some(Host::Domain(_)) | None => None,
            },
        })
    }
}

fn authorization(url: &Url) -> Option<HeaderValue> {
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && password.is_empty() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(password));
    let basic = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    let mut value = HeaderValue::try_from(basic).expect("base64 may stand in a header");
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.origin)
    }
}

impl fmt::Display for WebhookUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an http:// or https:// URL")
    }
}

impl Error for WebhookUrlError {}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WebhookKind {
    /// A channel has its first subscriber.
    ChannelOccupied,
    /// A channel's last subscriber has left.
    ChannelVacated,
    /// A user's first connection is on a presence channel.
    MemberAdded,
    /// A user's last connection has left a presence channel.
    MemberRemoved,
    /// A client triggered an event.
    ClientEvent,
    /// A client subscribed to a cache channel without an event.
    CacheMiss,
    /// A channel's number of subscribers has changed.
    SubscriptionCount,
    /// A new session came to where only one may be. This and the next are not Pusher's.
    SessionReplaced,
    /// A session was refused, because another is there.
    SessionRefused,
}

impl WebhookKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::ChannelOccupied,
        Self::ChannelVacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ClientEvent,
        Self::CacheMiss,
        Self::SubscriptionCount,
        Self::SessionReplaced,
        Self::SessionRefused,
    ];

    /// Kinds about sessions; an endpoint gets them only if it names them.
    pub const SESSIONS: [Self; 2] = [Self::SessionReplaced, Self::SessionRefused];

    /// Kinds about arrivals and departures.
    pub const EDGES: [Self; 4] = [
        Self::ChannelOccupied,
        Self::ChannelVacated,
        Self::MemberAdded,
        Self::MemberRemoved,
    ];

    /// The event's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
            Self::SessionReplaced => "session_replaced",
            Self::SessionRefused => "session_refused",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind that cancels this one.
    #[must_use]
    pub const fn opposite(self) -> Option<Self> {
        match self {
            Self::ChannelOccupied => Some(Self::ChannelVacated),
            Self::ChannelVacated => Some(Self::ChannelOccupied),
            Self::MemberAdded => Some(Self::MemberRemoved),
            Self::MemberRemoved => Some(Self::MemberAdded),
            Self::ClientEvent
            | Self::CacheMiss
            | Self::SubscriptionCount
            | Self::SessionReplaced
            | Self::SessionRefused => None,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WebhookKinds(u16);

impl WebhookKinds {
    /// All of Pusher's kinds.
    pub const ALL: Self = Self(WebhookKind::SessionReplaced.bit() - 1);

    /// Whether the set has this kind.
    #[must_use]
    pub const fn contains(self, kind: WebhookKind) -> bool {
        self.0 & kind.bit() != 0
    }
}

impl FromIterator<WebhookKind> for WebhookKinds {
    fn from_iter<I: IntoIterator<Item = WebhookKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | kind.bit()))
    }
}

impl fmt::Debug for WebhookKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = WebhookKind::ALL.into_iter();
        f.debug_set()
            .entries(kinds.filter(|kind| self.contains(*kind)))
            .finish()
    }
}
