//! An app's webhook endpoints, and which events each takes.

mod targets;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, net::IpAddr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, Uri,
    header::{self, HeaderName, HeaderValue},
};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::settings::{
    Headers, Json, Path, Problems, Secrets, Setting, Table, Takes, Text, Value, settings, words,
};

pub use self::targets::WebhookTargets;

settings! {
    /// One endpoint. Shows only scheme, host and port, because path, query and headers may hold a token.
    #[derive(Clone, Debug, PartialEq)]
    pub struct WebhookEndpoint {
        /// An `http://` or `https://` URL; `user:password@` before the host becomes an `Authorization` header. Only scheme, host and port
        /// are ever printed.
        url: WebhookUrl => "\"https://example.com/webhooks\"",
        /// Any of `channel_occupied`, `channel_vacated`, `member_added`, `member_removed`, `client_event`, `cache_miss`,
        /// `subscription_count`, `session_replaced`, `session_refused`. Empty: all but the last two.
        event_types: WebhookKinds,
        /// How the channel's name must begin. Empty: any.
        channel_starts_with: String = "",
        /// How the channel's name must end. Empty: any.
        channel_ends_with: String = "",
        /// Sent besides the server's own; `X-Pusher-…`, `Content-Type` and those that frame a request are refused. Never printed.
        headers: WebhookHeaders,
    }
    check check;
}

fn check(endpoint: &WebhookEndpoint, table: &Table<'_>, problems: &mut Problems) {
    let is_authorized = endpoint.headers.0.contains_key(header::AUTHORIZATION);
    if is_authorized && endpoint.url.authorization.is_some() {
        let reason = "is there besides the credentials of the url: leave out one of them";
        table.refuse_within(("headers", None), "Authorization", problems, reason);
    }
}

impl WebhookEndpoint {
    /// Whether the endpoint takes an event of this kind on this channel.
    #[must_use]
    pub fn takes(&self, kind: WebhookKind, channel: &str) -> bool {
        self.event_types.contains(kind)
            && channel.starts_with(&self.channel_starts_with)
            && channel.ends_with(&self.channel_ends_with)
    }

    /// The endpoint's own headers, and the credentials of its URL.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let authorization = self.url.authorization.as_ref();
        let authorization = authorization.map(|value| (&header::AUTHORIZATION, value));
        self.headers.0.iter().chain(authorization)
    }
}

/// Headers that are sent besides those of the protocol.
#[derive(Clone, Default, PartialEq)]
pub struct WebhookHeaders(HeaderMap);

impl Setting for WebhookHeaders {
    const TAKES: Takes = Takes::Headers;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        let texts = Headers::read(value, path, problems)?;
        let mut headers = Some(HeaderMap::with_capacity(texts.len()));
        for (name, text) in texts {
            match (header(&name, &text), &mut headers) {
                (Ok((name, _)), Some(headers)) if headers.contains_key(&name) => {
                    let reason = "is there twice, in different letter case";
                    problems.refuse(value, path.key(name.as_str()), reason);
                }
                (Ok((name, value)), Some(headers)) => {
                    headers.insert(name, value);
                }
                (Ok(_), None) => {}
                (Err(reason), _) => {
                    problems.refuse(value, path.key(&name), reason);
                    headers = None;
                }
            }
        }
        headers.map(Self)
    }

    fn write(&self, secrets: Secrets) -> Json {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let headers = self.0.iter();
        let texts = headers.map(|(name, value)| (name.to_string(), text(value)));
        texts.collect::<Headers>().write(secrets)
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

fn header(name: &str, text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name: HeaderName = name.parse().map_err(|_| "is not the name of a header")?;
    if is_reserved(&name) {
        return Err("is set by the server");
    }
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_| "has a character that is not allowed in a header")?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Whether an endpoint must not set this header: it belongs to the protocol or frames the request.
fn is_reserved(name: &HeaderName) -> bool {
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

impl fmt::Debug for WebhookHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.len().fmt(f)
    }
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
    /// As it was given.
    text: Box<str>,
}

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

    fn read(text: &str) -> Option<Self> {
        // What is shown in place of a URL is none itself.
        let is_whole = !text.ends_with('…');
        let mut url = Url::parse(text).ok().filter(|_| is_whole)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return None;
        }
        let authorization = authorization(&url);
        url.set_fragment(None);
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        Some(Self {
            uri: url.as_str().parse().ok()?,
            authorization,
            origin: url.origin().ascii_serialization(),
            address: match url.host() {
                Some(Host::Ipv4(address)) => Some(address.into()),
                Some(Host::Ipv6(address)) => Some(address.into()),
                Some(Host::Domain(_)) | None => None,
            },
            text: text.into(),
        })
    }
}

impl Text for WebhookUrl {
    const TAKES: Takes = Takes::Secret;

    fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).ok_or_else(|| "must be an http:// or https:// URL".to_owned())
    }

    fn text(&self, secrets: Secrets) -> Cow<'_, str> {
        match secrets {
            Secrets::Shown => (&*self.text).into(),
            Secrets::Hidden => format!("{self:?}").into(),
        }
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

words! {
    /// The kind of an event.
    pub enum WebhookKind {
        /// A channel has its first subscriber.
        ChannelOccupied = "channel_occupied",
        /// A channel's last subscriber has left.
        ChannelVacated = "channel_vacated",
        /// A user's first connection is on a presence channel.
        MemberAdded = "member_added",
        /// A user's last connection has left a presence channel.
        MemberRemoved = "member_removed",
        /// A client triggered an event.
        ClientEvent = "client_event",
        /// A client subscribed to a cache channel without an event.
        CacheMiss = "cache_miss",
        /// A channel's number of subscribers has changed.
        SubscriptionCount = "subscription_count",
        /// A new session has taken the place of another. Pusher has neither this nor the next.
        SessionReplaced = "session_replaced",
        /// A session was refused because another is there.
        SessionRefused = "session_refused",
    }
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

/// A list of kinds; an empty list is [`WebhookKinds::ALL`].
impl Setting for WebhookKinds {
    const TAKES: Takes = Vec::<WebhookKind>::TAKES;

    fn read(value: &Value, path: Path<'_>, problems: &mut Problems) -> Option<Self> {
        let kinds = Vec::<WebhookKind>::read(value, path, problems)?;
        Some(match kinds.as_slice() {
            [] => Self::ALL,
            kinds => kinds.iter().copied().collect(),
        })
    }

    fn write(&self, secrets: Secrets) -> Json {
        let kinds = WebhookKind::ALL.into_iter();
        let named = kinds.filter(|kind| *self != Self::ALL && self.contains(*kind));
        named.map(|kind| Setting::write(&kind, secrets)).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::ALL)
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
