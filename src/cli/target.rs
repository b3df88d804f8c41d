//! The Pusher host that a command talks to, and the app whose credentials it signs with.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::secretbox::MasterKey;
use crate::protocol::signature::{Key, sign};

/// What a segment of a path may contain unescaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'=')
    .remove(b'@')
    .remove(b',')
    .remove(b';');

/// Whether an endpoint speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Tls,
    Plain,
}

impl Security {
    /// Reads `https`, `wss`, `http` or `ws`.
    pub(super) fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => Some(Self::Tls),
            "http" | "ws" => Some(Self::Plain),
            _ => None,
        }
    }

    pub(super) fn http_scheme(self) -> &'static str {
        match self {
            Self::Tls => "https",
            Self::Plain => "http",
        }
    }

    pub(super) fn default_port(self) -> u16 {
        match self {
            Self::Tls => 443,
            Self::Plain => 80,
        }
    }
}

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) security: Security,
    /// A name or an address; an IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What precedes `/app` and `/apps`, as it was written.
    pub(super) path: String,
}

impl Endpoint {
    /// The host, in brackets if it is an IPv6 address.
    pub(super) fn bracketed_host(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    /// What the `Host` header holds: the port is left out where it is the scheme's own.
    pub(super) fn authority(&self) -> String {
        let host = self.bracketed_host();
        if self.port == self.security.default_port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The path with the prefix, joined as clients do it: without a look at slashes.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }

    /// The same port, spoken to in another way.
    pub(super) fn with(&self, security: Security) -> Self {
        Self {
            security,
            ..self.clone()
        }
    }

    /// The same endpoint with another prefix.
    pub(super) fn at(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.security.http_scheme();
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// An app's credentials.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) secret: String,
}

impl Credentials {
    /// What signs for clients.
    pub(super) fn signer(&self) -> Signer {
        Signer {
            key: self.key.clone(),
            secret: self.secret.clone(),
        }
    }
}

/// A key and its secret, which is never printed.
pub(super) struct Signer {
    pub(super) key: String,
    pub(super) secret: String,
}

impl Signer {
    /// The `auth` of a text, as clients send it.
    pub(super) fn auth(&self, text: &str) -> String {
        let signature = sign(self.secret.as_bytes(), &[text.as_bytes()]);
        format!("{}:{signature}", self.key)
    }

    /// Whether this signed the text.
    pub(super) fn verifies(&self, text: &str, signature: &str) -> bool {
        Key::new(self.secret.as_bytes()).verify(&[text.as_bytes()], signature.as_bytes())
    }
}

/// A host and an app.
#[derive(Clone)]
pub(super) struct Target {
    /// Where backends publish.
    pub(super) api: Endpoint,
    /// Where clients connect.
    pub(super) socket: Endpoint,
    pub(super) app: Credentials,
    /// What encrypted channels are read with.
    pub(super) master_key: Option<MasterKey>,
    /// Where the credentials come from, such as `.env`.
    pub(super) source: String,
}

/// The path of a client's socket, as pusher-js requests it.
pub(super) fn socket_path(key: &str) -> String {
    format!(
        "/app/{}?protocol=7&client=loudhailer&version={}&flash=false",
        segment(key),
        env!("CARGO_PKG_VERSION")
    )
}

/// Text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_written_as_a_url() {
        let endpoint = |security, host: &str, port, path: &str| Endpoint {
            security,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        for (endpoint, expected) in [
            (
                endpoint(Security::Tls, "ws.example.com", 443, ""),
                "https://ws.example.com",
            ),
            (
                endpoint(Security::Plain, "ws.example.com", 443, "/ws"),
                "http://ws.example.com:443/ws",
            ),
            (endpoint(Security::Plain, "::1", 80, ""), "http://[::1]"),
        ] {
            assert_eq!(endpoint.to_string(), expected);
        }
    }
}
