//! What the doctor saw of a host: facts without a verdict.

use std::{net::IpAddr, time::Duration};

use serde_json::Value;

use super::super::{network::Presented, target::Endpoint};

/// The addresses of a name.
pub(super) struct Names {
    pub(super) host: String,
    pub(super) addresses: Result<Vec<IpAddr>, String>,
}

/// What an address answered to a TCP connection.
#[derive(Clone, Debug)]
pub(super) enum Attempt {
    Accepted(Duration),
    Refused,
    Silent,
    Failed(String),
}

/// How each address of a name answers on the port.
pub(super) struct Ports {
    pub(super) port: u16,
    pub(super) attempts: Vec<(IpAddr, Attempt)>,
}

/// What the port speaks.
pub(super) enum Layer {
    /// TLS, as the URL says.
    Tls(Certificate),
    /// The URL says TLS, and the handshake failed.
    NoTls { error: String, speaks_http: bool },
    /// The URL says plain HTTP.
    Plain { speaks_tls: bool },
}

impl Layer {
    /// Whether the port speaks what the URL says.
    pub(super) fn is_spoken(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Plain { speaks_tls: false })
    }
}

/// A certificate as it was presented.
pub(super) struct Certificate {
    pub(super) host: String,
    pub(super) presented: Presented,
    /// Unix time by this machine's clock.
    pub(super) now_s: u64,
}

/// An HTTP answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Who says it, after the `Server` header.
    pub(super) server: Option<String>,
    pub(super) location: Option<String>,
    pub(super) content_type: Option<String>,
    /// Whether it asks for a password, as proxies do.
    pub(super) challenge: Option<String>,
    pub(super) encoding: Option<String>,
    pub(super) allowed_origins: Vec<String>,
    /// The sender's clock minus this machine's.
    pub(super) clock_ahead_s: Option<i64>,
    pub(super) text: String,
}

impl Answer {
    /// What a Pusher host says in JSON, and the status that it means: soketi sends its errors as 200.
    pub(super) fn host_error(&self) -> Option<(u16, String)> {
        let json: Value = serde_json::from_str(&self.text).ok()?;
        let error = json.get("error")?;
        let reason = error
            .as_str()
            .map_or_else(|| error.to_string(), str::to_owned);
        let code = json["code"]
            .as_u64()
            .and_then(|code| u16::try_from(code).ok());
        Some((code.unwrap_or(self.status), reason))
    }

    /// What is refused and why, in JSON or in plain words.
    pub(super) fn refusal(&self) -> Option<(u16, String)> {
        let is_fine = self.status == 200;
        let plain = || (!is_fine).then(|| (self.status, self.text.clone()));
        self.host_error().or_else(plain)
    }

    pub(super) fn is_html(&self) -> bool {
        let kind = self.content_type.as_deref();
        kind.is_some_and(|kind| kind.contains("html")) || self.text.trim_start().starts_with('<')
    }

    /// One line for people.
    pub(super) fn shown(&self) -> String {
        const LENGTH_MAX: usize = 120;
        let by = self
            .server
            .as_ref()
            .map_or_else(String::new, |it| format!(" from {it}"));
        let words = match self.host_error() {
            Some((_, reason)) => reason,
            None if self.is_html() => "a page of HTML".to_owned(),
            None => self.text.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        let words: String = words.chars().take(LENGTH_MAX).collect();
        let colon = if words.is_empty() { "" } else { ": " };
        format!("{}{by}{colon}{words}", self.status)
    }
}

/// What came of a signed request: an answer, or why there is none.
pub(super) type Signed = Result<Answer, String>;

/// What came of a client's connection.
#[derive(Clone, Debug)]
pub(super) enum Opened {
    Greeted,
    /// Upgraded, and then the host refused.
    Refused {
        code: Option<u16>,
        reason: String,
    },
    /// The answer was no upgrade.
    NotUpgraded(Answer),
    /// Upgraded, and then silence.
    Silent,
    /// No HTTP came back.
    Broken(String),
}

/// The path as it was written, and others that were tried because nothing is there.
pub(super) struct Tried<T> {
    pub(super) endpoint: Endpoint,
    pub(super) written: T,
    pub(super) others: Vec<(String, T)>,
}

/// Where /app and /apps lead.
pub(super) struct Routes {
    pub(super) socket: Tried<Opened>,
    pub(super) api: Tried<Signed>,
    /// The answer to the same request with a Host that nobody has, if nothing was found.
    pub(super) of_nobody: Option<Signed>,
}

/// A subscription.
pub(super) struct Subscription {
    pub(super) kind: &'static str,
    pub(super) result: Result<Duration, String>,
}

/// What became of an event that was published.
#[derive(Clone, Debug)]
pub(super) enum Delivery {
    Took(Duration),
    /// The host took it, and nothing came.
    Missing,
    Refused(Answer),
    NoAnswer(String),
}

/// What a connection saw of an event that it was left out of.
pub(super) enum Exclusion {
    NotSeen,
    Seen,
    /// It did not see the event after it either.
    Unknown(String),
}

/// What became of a client event.
pub(super) enum ClientEvent {
    Took(Duration),
    Refused(String),
    Missing,
}

/// The HTTP fallback of pusher-js.
pub(super) enum Fallback {
    /// The host does not have it, or it is not forwarded.
    Absent(Answer),
    /// A streamed answer began. A ping was answered on it after this time, or not.
    Stream {
        head: Answer,
        pong: Result<Duration, String>,
    },
    NoAnswer(String),
}

/// A connection on which nobody said anything.
pub(super) enum Idle {
    Held(Duration),
    Cut { after: Duration, how: String },
}
