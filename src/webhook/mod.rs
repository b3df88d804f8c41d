//! Webhooks: sends an app's backend what happens in its channels, over HTTP.
//!
//! Whoever makes an event calls [`Webhooks::emit`] and goes on; everything else happens in a thread of its own, so that a slow or
//! dead endpoint never touches delivery. Knows apps and events, but not who makes them. `docs/webhooks.md` is the view from
//! outside.

mod class;
mod client;
mod connector;
mod debounce;
mod dispatch;
mod event;
mod mailbox;
mod parcel;
mod queue;
mod report;
mod sender;
mod tally;

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use tokio::{sync::oneshot, task::LocalSet};

use self::{
    class::Class,
    client::HttpClient,
    dispatch::Dispatch,
    mailbox::{Closing, Emitted, Mailbox, mailbox},
    tally::{Lost, SharedTally},
};
pub use self::{event::WebhookEvent, tally::Tally};
use crate::{
    app::{App, WebhookKind, WebhookTargets},
    feed::Feed,
    metrics::Latency,
};

/// How departures come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departures {
    /// As they happen: they are announced after 3 s, unless whoever left is back by then.
    Fresh,
    /// After that time. Where members and subscribers are counted across nodes, only the shared count can tell.
    Settled,
}

/// The way of events to endpoints.
pub struct Webhooks {
    /// Empty until [`Webhooks::start`] has found an endpoint.
    mailbox: OnceLock<Mailbox>,
    counters: Arc<Counters>,
    feed: Feed,
    targets: WebhookTargets,
}

/// What has become of events; each counts once per endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookCounts {
    /// Taken by the endpoint.
    pub delivered: u64,
    /// Not sent, because a later event of the channel said more while they waited.
    pub superseded: u64,
    /// Dropped because too many waited, by kind.
    pub overflow: Tally,
    /// Dropped because the endpoint had not taken them within 4 minutes, or before the stop, by kind.
    pub expired: Tally,
    /// Those that wait for an endpoint now.
    pub waiting: usize,
}

#[derive(Default)]
struct Counters {
    delivered: AtomicU64,
    superseded: AtomicU64,
    overflow: SharedTally,
    expired: SharedTally,
    waiting: AtomicUsize,
    latency: Latency,
}

impl Webhooks {
    /// No endpoints yet. How each request fares is shown on the feed; none goes anywhere but to `targets`.
    #[must_use]
    pub fn new(feed: Feed, targets: WebhookTargets) -> Self {
        Self {
            mailbox: OnceLock::new(),
            counters: Arc::default(),
            feed,
            targets,
        }
    }

    /// From an event to the endpoint's taking it, the delay of departures left out.
    #[must_use]
    pub fn latency(&self) -> &Latency {
        &self.counters.latency
    }

    /// Starts the thread if one of these apps has an endpoint. Until then events are discarded. Call it again when the apps have
    /// changed.
    ///
    /// # Errors
    /// When the thread can't be started, or TLS is needed and the system has no certificates.
    pub fn start(&self, apps: &[Arc<App>], departures: Departures) -> io::Result<()> {
        let endpoints = || apps.iter().flat_map(|app| &app.webhooks.endpoints);
        if self.mailbox.get().is_some() || endpoints().next().is_none() {
            return Ok(());
        }
        let needs_tls = endpoints().any(|endpoint| endpoint.url.is_secure());
        let client = HttpClient::new(needs_tls, self.targets.clone())?;
        let (mailbox, inbox) = mailbox();
        let shared = Shared {
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
                let dispatch = Dispatch::new(inbox, shared, departures);
                LocalSet::new().block_on(&runtime, dispatch.run());
            })?;
        // Only a second start at the same moment could have been first, and then this thread ends.
        let _ = self.mailbox.set(mailbox);
        Ok(())
    }

    /// Takes an event. Never waits; costs next to nothing if no endpoint wants it.
    pub fn emit(&self, app: &Arc<App>, event: &WebhookEvent<'_>, now: Instant) {
        let (kind, channel) = (event.kind(), event.channel());
        // Pusher has no webhooks for users' own channels; those of sessions are ours.
        let is_private = channel.starts_with('#') && !WebhookKind::SESSIONS.contains(&kind);
        if is_private || !app.webhooks.concern(kind, channel) {
            return;
        }
        let Some(mailbox) = self.mailbox.get() else {
            return;
        };
        let emitted = Emitted {
            app: Arc::clone(app),
            kind,
            class: Class::of(kind, channel),
            channel: channel.into(),
            user_id: event.member().map(Into::into),
            json: event.to_json().into(),
            at: now,
        };
        if !mailbox.put(emitted) {
            self.counters.overflow.increment(kind);
        }
    }

    /// What has become of the events so far.
    #[must_use]
    pub fn counts(&self) -> WebhookCounts {
        let counters = &self.counters;
        WebhookCounts {
            delivered: counters.delivered.load(Ordering::Relaxed),
            superseded: counters.superseded.load(Ordering::Relaxed),
            overflow: counters.overflow.get(),
            expired: counters.expired.get(),
            waiting: counters.waiting.load(Ordering::Relaxed)
                + self.mailbox.get().map_or(0, Mailbox::len),
        }
    }

    /// Sends what there is, departures without their delay, and ends; what has not arrived by the deadline is dropped.
    pub async fn close(&self, deadline: Instant) {
        let Some(mailbox) = self.mailbox.get() else {
            return;
        };
        let (done, closed) = oneshot::channel();
        if mailbox.close(Closing { deadline, done }) {
            // An error means that the thread has ended, and nothing is left to wait for.
            let _ = closed.await;
        }
    }
}

/// What every sender needs.
#[derive(Clone)]
struct Shared {
    client: HttpClient,
    counters: Arc<Counters>,
    feed: Feed,
}

impl Counters {
    fn count_delivered(&self, events: usize) {
        self.delivered.fetch_add(events as u64, Ordering::Relaxed);
    }

    fn count_superseded(&self, events: u64) {
        self.superseded.fetch_add(events, Ordering::Relaxed);
    }

    fn count_lost(&self, lost: &Lost) {
        self.overflow.add_all(&lost.overflow);
        self.expired.add_all(&lost.expired);
    }
}
