//! The live feed: what happens on this server, as one JSON line per event, for whoever watches.
//!
//! Costs one atomic read while nobody does. A watcher that reads too slowly loses lines and is told how many.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::sync::broadcast;

/// Lines kept for a slow watcher before the oldest are dropped.
const BACKLOG_LINES: usize = 1024;

/// Something that happened. Serialised with a `type` in snake case.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "the field names are the documentation: docs/dashboard.md lists them"
)]
pub enum Line<'a> {
    Connected {
        app: &'a str,
        socket_id: String,
        transport: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        origin: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<&'a str>,
        protocol: u8,
    },
    Disconnected {
        app: &'a str,
        socket_id: String,
        code: Option<u16>,
        reason: &'a str,
    },
    Subscribed {
        app: &'a str,
        socket_id: String,
        channel: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
    },
    Unsubscribed {
        app: &'a str,
        socket_id: String,
        channel: &'a str,
    },
    ApiMessage {
        app: &'a str,
        event: &'a str,
        channels: &'a [String],
        data: &'a str,
        size: usize,
        delivered: usize,
        /// Subscriptions on other nodes; absent where there are none, or Redis did not say.
        #[serde(skip_serializing_if = "Option::is_none")]
        elsewhere: Option<usize>,
        request_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        excluded: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<&'a str>,
    },
    /// An event that was published on another node and reached this one.
    PeerEvent {
        app: &'a str,
        event: &'a str,
        channel: &'a str,
        data: &'a str,
        size: usize,
        delivered: usize,
        node: String,
    },
    ClientEvent {
        app: &'a str,
        socket_id: String,
        event: &'a str,
        channel: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a str>,
        delivered: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
    },
    MemberAdded {
        app: &'a str,
        channel: &'a str,
        user_id: &'a str,
    },
    MemberRemoved {
        app: &'a str,
        channel: &'a str,
        user_id: &'a str,
    },
    Webhook {
        app: &'a str,
        url: &'a str,
        events: &'a [&'static str],
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
        attempt: u32,
        took_ms: u64,
        outcome: &'static str,
    },
    AppsChanged {
        added: Vec<String>,
        changed: Vec<String>,
        removed: Vec<String>,
    },
    AppsRefused {
        message: &'a str,
    },
    WebhooksDropped {
        app: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<&'a str>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        overflow: BTreeMap<&'static str, u64>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        expired: BTreeMap<&'static str, u64>,
    },
    CertificatesChanged {
        listener: &'static str,
        names: &'a [&'a str],
        days_left: i64,
    },
    CertificatesRefused {
        message: &'a str,
    },
    Error(Trouble<'a>),
    Dropped {
        count: u64,
    },
}

/// Something that was refused, and what is known of whoever asked.
#[derive(Default, Serialize)]
pub struct Trouble<'a> {
    /// The app's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<&'a str>,
    /// The client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_id: Option<String>,
    /// The close code, error code or HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What is wrong.
    pub message: &'a str,
    /// The key that a client connected with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// Where the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The page that the client belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<&'a str>,
    /// The channel; of several, the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Cow<'a, str>>,
    /// The event's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
    /// The API request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// What a right signature would have signed. It holds no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_sign: Option<&'a str>,
}

#[derive(Serialize)]
struct Stamped<'a> {
    time_ms: u64,
    #[serde(flatten)]
    line: Line<'a>,
}

impl Line<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::ApiMessage { .. } => "api_message",
            Self::PeerEvent { .. } => "peer_event",
            Self::ClientEvent { .. } => "client_event",
            Self::MemberAdded { .. } => "member_added",
            Self::MemberRemoved { .. } => "member_removed",
            Self::Webhook { .. } => "webhook",
            Self::AppsChanged { .. } => "apps_changed",
            Self::AppsRefused { .. } => "apps_refused",
            Self::WebhooksDropped { .. } => "webhooks_dropped",
            Self::CertificatesChanged { .. } => "certificates_changed",
            Self::CertificatesRefused { .. } => "certificates_refused",
            Self::Error(_) => "error",
            Self::Dropped { .. } => "dropped",
        }
    }

    fn app(&self) -> Option<&str> {
        match self {
            Self::Connected { app, .. }
            | Self::Disconnected { app, .. }
            | Self::Subscribed { app, .. }
            | Self::Unsubscribed { app, .. }
            | Self::ApiMessage { app, .. }
            | Self::PeerEvent { app, .. }
            | Self::ClientEvent { app, .. }
            | Self::MemberAdded { app, .. }
            | Self::MemberRemoved { app, .. }
            | Self::Webhook { app, .. }
            | Self::WebhooksDropped { app, .. } => Some(app),
            Self::Error(trouble) => trouble.app,
            Self::AppsChanged { .. }
            | Self::AppsRefused { .. }
            | Self::CertificatesChanged { .. }
            | Self::CertificatesRefused { .. }
            | Self::Dropped { .. } => None,
        }
    }

    fn told(self) -> Arc<Told> {
        Arc::new(Told {
            kind: self.kind(),
            app: self.app().map(Into::into),
            json: self.into_json(),
        })
    }

    /// The line as JSON, stamped with the time.
    fn into_json(self) -> String {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let time_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        serde_json::to_string(&Stamped {
            time_ms,
            line: self,
        })
        .expect("strings and numbers always serialise")
    }
}

/// A line as watchers get it.
pub struct Told {
    kind: &'static str,
    app: Option<Box<str>>,
    json: String,
}

impl Told {
    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// Which lines a watcher wants; an empty field matches every line. It always hears of lines that it lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only lines of this app.
    pub app: Option<String>,
    /// Only lines of these types.
    pub types: Vec<String>,
}

impl Filter {
    fn takes(&self, line: &Told) -> bool {
        let app_fits = self.app.is_none() || self.app.as_deref() == line.app.as_deref();
        let type_fits = self.types.is_empty() || self.types.iter().any(|kind| kind == line.kind);
        app_fits && type_fits
    }
}

/// The stream of lines, shared by the whole process.
#[derive(Clone)]
pub struct Feed {
    lines: broadcast::Sender<Arc<Told>>,
    watchers: Arc<AtomicUsize>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            lines: broadcast::Sender::new(BACKLOG_LINES),
            watchers: Arc::default(),
        }
    }
}

impl Feed {
    /// Whether anyone watches; when not, nothing needs to be gathered for [`Feed::emit`].
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// Sends a line to every watcher. The line is made only if there is one.
    pub fn emit<'a>(&self, line: impl FnOnce() -> Line<'a>) {
        if self.is_watched() {
            // An error means that the last watcher has just left.
            let _ = self.lines.send(line().told());
        }
    }

    /// Begins to watch what the filter lets through.
    #[must_use]
    pub fn watch(&self, filter: Filter) -> Watcher {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watcher {
            lines: self.lines.subscribe(),
            watchers: Arc::clone(&self.watchers),
            filter,
        }
    }
}

/// One reader of the feed; stops watching when dropped.
pub struct Watcher {
    lines: broadcast::Receiver<Arc<Told>>,
    watchers: Arc<AtomicUsize>,
    filter: Filter,
}

impl Watcher {
    /// The next line, or a `dropped` line in place of those that this watcher was too slow for.
    pub async fn next(&mut self) -> Option<Arc<Told>> {
        loop {
            match self.lines.recv().await {
                Ok(line) if self.filter.takes(&line) => return Some(line),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    return Some(Line::Dropped { count }.told());
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}
