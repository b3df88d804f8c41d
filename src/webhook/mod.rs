//! Webhooks: tells an app's backend over HTTP what happens in its channels.
//!
//! Whoever makes an event calls [`Webhooks::emit`] and goes on; everything else happens in a thread of its own, so that a slow or
//! dead endpoint never touches delivery. Knows apps and events, but not who makes them. `docs/webhooks.md` is the view from
//! outside.

mod backoff;
mod client;
mod debounce;
mod dispatch;
mod event;
mod parcel;
mod queue;
mod sender;

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

pub use self::event::WebhookEvent;
use self::{
    client::HttpClient,
    dispatch::{Dispatch, Letter, News},
    queue::Lost,
};
use crate::{
    app::{App, WebhookKind},
    feed::Feed,
    metrics::Latency,
};

/// Events on their way to the thread. Over it the newest is dropped; only a thread that gets no time lets it come to that.
const MAILBOX_EVENTS_MAX: usize = 65_536;
/// Bytes of those.
const MAILBOX_BYTES_MAX: usize = 16 << 20;

/// How departures come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departures {
    /// As they happen: they are told after 3 s, unless whoever left is back by then.
    Fresh,
    /// After that time. Where members and subscribers are counted across nodes, only the shared count can tell.
    Settled,
}

/// The way of events to endpoints.
pub struct Webhooks {
    /// Empty until [`Webhooks::start`] has found an endpoint.
    mailbox: OnceLock<mpsc::UnboundedSender<Letter>>,
    counters: Arc<Counters>,
    feed: Feed,
}

/// What has become of events; each counts once per endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookCounts {
    /// Taken by the endpoint.
    pub delivered: u64,
    /// Dropped because too many waited.
    pub overflow: u64,
    /// Dropped because the endpoint had not taken them within 5 minutes, or before the stop.
    pub expired: u64,
    /// Those that wait for an endpoint now.
    pub waiting: usize,
}

#[derive(Default)]
struct Counters {
    delivered: AtomicU64,
    overflow: AtomicU64,
    expired: AtomicU64,
    mailbox_events: AtomicUsize,
    mailbox_bytes: AtomicUsize,
    waiting: AtomicUsize,
    latency: Latency,
}

impl Webhooks {
    /// Nothing to tell yet. How each request fares is shown on the feed.
    #[must_use]
    pub fn new(feed: Feed) -> Self {
        Self {
            mailbox: OnceLock::new(),
            counters: Arc::default(),
            feed,
        }
    }

    /// From an event to the endpoint's taking it, the delay of departures left out.
    #[must_use]
    pub fn latency(&self) -> &Latency {
        &self.counters.latency
    }

    /// Starts the thread if one of these apps has an endpoint. Until then events are lost. To be called again with apps that
    /// were read again.
    ///
    /// # Errors
    /// When the thread can't be started, or TLS is needed and the system has no certificates.
    pub fn start(&self, apps: &[Arc<App>], departures: Departures) -> io::Result<()> {
        let endpoints = || apps.iter().flat_map(|app| &app.webhooks);
        if self.mailbox.get().is_some() || endpoints().next().is_none() {
            return Ok(());
        }
        let client = HttpClient::new(endpoints().any(|endpoint| endpoint.url.is_secure()))?;
        let (sender, mailbox) = mpsc::unbounded_channel();
        let post = Post {
            client,
            counters: Arc::clone(&self.counters),
            feed: self.feed.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("webhooks".to_owned())
            .spawn(move || {
                let dispatch = Dispatch::new(mailbox, post, departures);
                LocalSet::new().block_on(&runtime, dispatch.run());
            })?;
        // Only a second start at the same moment could have been first, and then this thread ends.
        let _ = self.mailbox.set(sender);
        Ok(())
    }

    /// Takes note of an event. Never waits; costs next to nothing if no endpoint wants it.
    pub fn emit(&self, app: &Arc<App>, event: &WebhookEvent<'_>, now: Instant) {
        let (kind, channel) = (event.kind(), event.channel());
        // A user's own channel is nobody's business, but for his sessions.
        let is_private = channel.starts_with('#') && !WebhookKind::SESSIONS.contains(&kind);
        if is_private || !app.webhooks_concern(kind, channel) {
            return;
        }
        let Some(mailbox) = self.mailbox.get() else {
            return;
        };
        let json: Arc<str> = event.to_json().into();
        if !self.counters.enter_mailbox(json.len()) {
            return;
        }
        let news = News {
            app: Arc::clone(app),
            kind,
            channel: channel.into(),
            user_id: event.member().map(Into::into),
            json,
            at: now,
        };
        // Fails only after the close.
        let _ = mailbox.send(Letter::News(news));
    }

    /// What has become of the events so far.
    #[must_use]
    pub fn counts(&self) -> WebhookCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WebhookCounts {
            delivered: load(&self.counters.delivered),
            overflow: load(&self.counters.overflow),
            expired: load(&self.counters.expired),
            waiting: self.counters.waiting.load(Ordering::Relaxed)
                + self.counters.mailbox_events.load(Ordering::Relaxed),
        }
    }

    /// Sends what there is, departures without their delay, and ends; what has not arrived by the deadline is dropped.
    pub async fn close(&self, deadline: Instant) {
        let Some(mailbox) = self.mailbox.get() else {
            return;
        };
        let (done, closed) = oneshot::channel();
        if mailbox.send(Letter::Close { deadline, done }).is_ok() {
            // An error means that the thread has ended, and nothing is left to wait for.
            let _ = closed.await;
        }
    }
}

/// What every sender needs.
#[derive(Clone)]
struct Post {
    client: HttpClient,
    counters: Arc<Counters>,
    feed: Feed,
}

impl Counters {
    /// Counts an event into the mailbox; `false` when there is no room, and it was counted as dropped.
    fn enter_mailbox(&self, bytes: usize) -> bool {
        let has_room = self.mailbox_events.load(Ordering::Relaxed) < MAILBOX_EVENTS_MAX
            && self.mailbox_bytes.load(Ordering::Relaxed) < MAILBOX_BYTES_MAX;
        if has_room {
            self.mailbox_events.fetch_add(1, Ordering::Relaxed);
            self.mailbox_bytes.fetch_add(bytes, Ordering::Relaxed);
        } else {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    fn leave_mailbox(&self, bytes: usize) {
        self.mailbox_events.fetch_sub(1, Ordering::Relaxed);
        self.mailbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn count_delivered(&self, events: usize) {
        self.delivered.fetch_add(events as u64, Ordering::Relaxed);
    }

    fn count_lost(&self, lost: Lost) {
        self.overflow.fetch_add(lost.overflow, Ordering::Relaxed);
        self.expired.fetch_add(lost.expired, Ordering::Relaxed);
    }
}
