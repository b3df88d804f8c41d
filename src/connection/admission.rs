//! Who is let in. The order of the checks decides which reason a client with several faults hears.

use std::{borrow::Cow, sync::Arc};

use super::Worker;
use crate::{
    address::{ClientAddress, Place},
    app::{App, Moment},
    hub::{AppChannels, CloseNotice, ConnectionSlot, NoSlot, Profile, Transport},
    protocol::{CloseCode, path},
};

/// The versions of the protocol that are spoken; a client that names none gets the newest.
pub const PROTOCOLS: std::ops::RangeInclusive<u8> = 5..=7;

/// Characters of what a client says of itself that are kept.
const SAID_LENGTH_MAX: usize = 100;

/// What the path of a client's request asks for.
#[derive(Clone, Copy, Debug)]
pub enum Destination<'a> {
    /// The app with this key: `/app/{key}`.
    App(&'a str),
    /// Something that this server does not have: the path.
    Elsewhere(&'a str),
}

/// Whether the client's side of a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// By this server, or by a trusted proxy.
    On,
    /// It is not.
    Off,
    /// It is not, where every app is served with TLS only.
    Missing,
}

/// What a client says of itself when it connects.
#[derive(Debug)]
pub struct Opening<'a> {
    /// What the path asks for.
    pub destination: Destination<'a>,
    /// The `protocol` parameter.
    pub protocol: Option<&'a str>,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// Whether the client's side of the connection is encrypted.
    pub encryption: Encryption,
    /// The `client` parameter, for the feed and the inspector.
    pub client: Option<&'a str>,
    /// The `version` parameter, likewise.
    pub version: Option<&'a str>,
    /// Where the client comes from, likewise.
    pub address: Option<ClientAddress>,
    /// The place that its handshakes are counted in; `None` for one that is not counted.
    pub place: Option<Place>,
    /// How it comes.
    pub transport: Transport,
}

/// A place for one client.
pub(super) struct Admission {
    pub(super) app: Arc<App>,
    /// The registry's when the app was looked up.
    pub(super) apps_version: u64,
    pub(super) channels: Arc<AppChannels>,
    pub(super) protocol: u8,
    pub(super) slot: ConnectionSlot,
}

/// Why a client is not let in.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The app, if the key named one.
    pub app: Option<Arc<App>>,
    /// The close code.
    pub code: CloseCode,
    /// For people.
    pub reason: &'static str,
}

impl Opening<'_> {
    /// The app's key, if the path has one.
    pub(super) fn key(&self) -> Option<&str> {
        match self.destination {
            Destination::App(key) => Some(key),
            Destination::Elsewhere(_) => None,
        }
    }

    /// How the client learns why it is closed, also one that is refused for its protocol.
    #[must_use]
    pub fn close_notice(&self) -> CloseNotice {
        let protocol = self.protocol.and_then(|text| text.parse::<u8>().ok());
        match protocol {
            Some(..6) => CloseNotice::MessageAndFrame,
            _ => CloseNotice::Frame,
        }
    }

    /// The path of a client that asks for something else than an app, shortened for the log and the feed.
    pub(super) fn unknown_path(&self) -> Option<Cow<'_, str>> {
        match self.destination {
            Destination::App(_) => None,
            Destination::Elsewhere(path) => Some(path::shown(path)),
        }
    }

    /// What an operator sees of the client. What it says at length is cut: it is kept as long as the client.
    pub(super) fn profile(&self, app_id: &Arc<str>, protocol: u8) -> Profile {
        let cut = |text: Option<&str>| {
            let cut = text?.chars().take(SAID_LENGTH_MAX).collect::<String>();
            Some(cut.into_boxed_str())
        };
        Profile {
            app_id: Arc::clone(app_id),
            key: self.key().unwrap_or_default().into(),
            transport: self.transport,
            protocol,
            client: cut(self.client),
            version: cut(self.version),
            origin: cut(self.origin),
        }
    }
}

impl Admission {
    /// Lets a client in or says why not.
    ///
    /// # Errors
    /// [`Refusal`] with the close code.
    pub(super) fn decide(worker: &Worker, opening: &Opening<'_>) -> Result<Self, Refusal> {
        let protocol = opening.protocol.map(|text| {
            text.parse::<u8>()
                .ok()
                .filter(|version| PROTOCOLS.contains(version))
        });
        // Before the look-up: a change in between is looked up once more than needed, never missed.
        let apps_version = worker.node.apps.version();
        let key = opening.key();
        let found = key.and_then(|key| worker.node.apps.by_key(key));
        let refuse = |code, reason| Refusal {
            app: found.clone(),
            code,
            reason,
        };
        let Some(key) = key else {
            return Err(refuse(
                CloseCode::PathNotFound,
                "Path not found; connect to /app/{key}.",
            ));
        };
        let app = found
            .clone()
            .ok_or_else(|| refuse(CloseCode::AppNotFound, "No app has this key."))?;
        if app.secret_of(key.as_bytes(), Moment::now()).is_none() {
            return Err(refuse(CloseCode::AppNotFound, "This key is disabled."));
        }
        if !app.enabled {
            return Err(refuse(CloseCode::AppDisabled, "This app is disabled."));
        }
        let is_open = match opening.encryption {
            Encryption::On => false,
            Encryption::Off => app.tls_only,
            Encryption::Missing => true,
        };
        if is_open {
            return Err(refuse(
                CloseCode::TlsOnly,
                "This app only accepts TLS connections.",
            ));
        }
        let protocol = match protocol {
            Some(Some(version)) => version,
            Some(None) => {
                return Err(refuse(
                    CloseCode::UnsupportedProtocol,
                    "Unsupported protocol version; this server speaks 5 to 7.",
                ));
            }
            None if worker.require_protocol => {
                return Err(refuse(
                    CloseCode::NoProtocol,
                    "No protocol version supplied.",
                ));
            }
            None => *PROTOCOLS.end(),
        };
        if !app.allows_origin(opening.origin) {
            return Err(refuse(
                CloseCode::Unauthorized,
                "This origin is not allowed.",
            ));
        }
        if !worker.node.gate.take_handshake(opening.place) {
            return Err(refuse(
                CloseCode::OverCapacity,
                "Too many handshakes from this address.",
            ));
        }
        let channels = worker.node.hub.app(&app.id);
        let slot = worker
            .node
            .take_slot(&app, &channels, opening.address.map(|address| address.ip))
            .map_err(|limit| match limit {
                NoSlot::App => refuse(
                    CloseCode::AppOverQuota,
                    "The app is over its connection limit.",
                ),
                NoSlot::Node => refuse(CloseCode::OverCapacity, "This server is at capacity."),
                NoSlot::Address => refuse(
                    CloseCode::OverCapacity,
                    "Too many connections from this address.",
                ),
            })?;
        if worker.node.is_draining() {
            return Err(refuse(
                CloseCode::Reconnect,
                "The server is restarting; reconnect.",
            ));
        }
        Ok(Self {
            app,
            apps_version,
            channels,
            protocol,
            slot,
        })
    }
}
