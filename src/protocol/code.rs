//! Every number that the protocol puts into a close frame or a `pusher:error`. No other module knows one.
//!
//! Clients read the ranges: 4000–4099 never come back, 4100–4199 come back after a second, 4200–4299 at once.

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// 1000: the client asked for the close.
    Normal,
    /// 1002: the peer broke RFC 6455.
    ProtocolError,
    /// 1003: a binary message; Pusher has only text.
    BinaryUnsupported,
    /// 1007: text that is not UTF-8, or can't be inflated.
    InvalidPayload,
    /// 1009: a message over the size limit.
    TooBig,
    /// 4000: the app only accepts TLS.
    TlsOnly,
    /// 4001: no app has this key.
    AppNotFound,
    /// 4003: the app is switched off.
    AppDisabled,
    /// 4004: the app's connections are used up.
    AppOverQuota,
    /// 4005: no such path.
    PathNotFound,
    /// 4007: a protocol version outside 5–7.
    UnsupportedProtocol,
    /// 4008: no protocol version given, and the server insists.
    NoProtocol,
    /// 4009: not allowed: origin refused, or ended by the app.
    Unauthorized,
    /// 4100: the node is full.
    OverCapacity,
    /// 4100: the client reads too slowly.
    TooSlow,
    /// 4100: the client sends too fast.
    TooFast,
    /// 4200: the server is going away; come back at once.
    Reconnect,
    /// 4201: no answer to a ping.
    PongNotReceived,
    /// A code that the peer sent in its own close frame, to be echoed.
    Peer(u16),
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::BinaryUnsupported => 1003,
            Self::InvalidPayload => 1007,
            Self::TooBig => 1009,
            Self::TlsOnly => 4000,
            Self::AppNotFound => 4001,
            Self::AppDisabled => 4003,
            Self::AppOverQuota => 4004,
            Self::PathNotFound => 4005,
            Self::UnsupportedProtocol => 4007,
            Self::NoProtocol => 4008,
            Self::Unauthorized => 4009,
            Self::OverCapacity | Self::TooSlow | Self::TooFast => 4100,
            Self::Reconnect => 4200,
            Self::PongNotReceived => 4201,
            Self::Peer(code) => code,
        }
    }
}

/// The `code` of a `pusher:error` on a connection that stays open; errors without one of these have the code `null`.
///
/// No code of 4000–4299 belongs here: they say what to do with the connection, and clients obey. Pysher 1.0.8 leaves for good on
/// 4000–4099 and reconnects on the others (`src/pysher/connection.py`), which costs the application its other channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// 4301: a client event was refused.
    ClientEventRejected,
    /// 4302: the watchlist exceeds its limit.
    WatchlistTooLong,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::ClientEventRejected => 4301,
            Self::WatchlistTooLong => 4302,
        }
    }
}

/// The `status` of a `pusher:subscription_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// 401: the signature is wrong.
    BadSignature,
    /// 400: the channel name is illegal.
    InvalidChannel,
    /// 4100: the presence channel is full.
    Full,
    /// 4301: the member's id or info is too large or missing.
    InvalidMember,
    /// 503: the cluster's state is out of reach; a later try may succeed.
    Unavailable,
}

impl SubscriptionStatus {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::BadSignature => 401,
            Self::InvalidChannel => 400,
            Self::Full => 4100,
            Self::InvalidMember => 4301,
            Self::Unavailable => 503,
        }
    }

    /// The `type` that goes with it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::BadSignature => "AuthError",
            Self::InvalidChannel => "InvalidChannel",
            Self::Full | Self::InvalidMember => "LimitReached",
            Self::Unavailable => "ServerError",
        }
    }
}
