//! The task of one endpoint: takes parcels from its queue, sends them, and tells the log when the endpoint fails.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use http::StatusCode;
use tokio::{select, sync::Notify, time::sleep_until};
use tracing::{debug, info, warn};

use super::{
    Post,
    parcel::{Event, Parcel},
    queue::{Fate, Lost, Next, Outcome, Queue},
};
use crate::{
    app::{App, WebhookEndpoint},
    feed::Line,
};

/// Between two warnings of the same sort about one endpoint.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// One endpoint of an app and what it has yet to hear.
pub(super) struct Sender {
    app: Arc<App>,
    /// Its place among the app's endpoints.
    place: usize,
    post: Post,
    queue: RefCell<Queue>,
    wake: Notify,
    /// The queue's length as it was counted last.
    counted: Cell<usize>,
    log: Log,
}

/// How a request fared, for whoever watches the feed.
struct Answered {
    events: Vec<String>,
    status: Option<u16>,
    error: Option<String>,
    attempt: u32,
    took: Duration,
}

/// What was said about the endpoint.
#[derive(Default)]
struct Log {
    is_failing: Cell<bool>,
    failure_told: Cell<Option<Instant>>,
    loss_told: Cell<Option<Instant>>,
    lost: Cell<Lost>,
}

impl Sender {
    pub(super) fn new(app: Arc<App>, place: usize, post: Post) -> Self {
        let queue = Queue::new(app.webhook_batching, rand::random());
        Self {
            app,
            place,
            post,
            queue: RefCell::new(queue),
            wake: Notify::new(),
            counted: Cell::new(0),
            log: Log::default(),
        }
    }

    /// The endpoint's configuration.
    pub(super) fn endpoint(&self) -> &WebhookEndpoint {
        &self.app.webhooks[self.place]
    }

    /// Whether this is the endpoint at `place` of an app whose configuration was read again.
    pub(super) fn is_for(&self, app: &App, place: usize) -> bool {
        self.app.signs_webhooks_as(app)
            && self.app.webhook_batching == app.webhook_batching
            && app.webhooks.get(place) == Some(self.endpoint())
    }

    /// Adds an event; never waits.
    pub(super) fn push(&self, event: Event) {
        self.queue.borrow_mut().push(event);
        self.count_waiting();
        self.wake.notify_one();
    }

    /// Has [`Sender::run`] end as soon as nothing is left.
    pub(super) fn close(&self) {
        self.queue.borrow_mut().close(Instant::now());
        self.wake.notify_one();
    }

    /// Gives up what is left.
    pub(super) fn give_up(&self) {
        self.count_lost();
        self.tell_lost();
        let left = self.queue.borrow().len();
        if left > 0 {
            self.post.counters.count_lost(Lost {
                expired: left as u64,
                ..Lost::default()
            });
            let (app, origin) = (&*self.app.id, self.endpoint().url.origin());
            warn!(
                app,
                endpoint = origin,
                events = left,
                "webhook events were not delivered before the stop"
            );
        }
    }

    /// Sends until closed and empty.
    pub(super) async fn run(self: Rc<Self>) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let next = self.queue.borrow_mut().next(now);
            self.count_waiting();
            if self.count_lost() && is_time(&self.log.loss_told, now) {
                self.tell_lost();
            }
            let until = match next {
                Next::Send(parcel) => {
                    under_way.push(self.send(parcel));
                    continue;
                }
                Next::Wait(until) => until,
            };
            if under_way.is_empty() && self.is_finished() {
                return self.tell_lost();
            }
            select! {
                Some((parcel, outcome, answered)) = under_way.next() => {
                    let fate = self.queue.borrow_mut().done(parcel, outcome, Instant::now());
                    self.count_waiting();
                    if let Some(answered) = answered {
                        self.show(&answered, fate);
                    }
                }
                () = self.wake.notified() => {}
                () = sleep_until(until.unwrap_or(now).into()), if until.is_some() => {}
            }
        }
    }

    fn is_finished(&self) -> bool {
        let queue = self.queue.borrow();
        queue.is_closing() && queue.is_empty()
    }

    /// Counts what waits, into the sum over all endpoints.
    fn count_waiting(&self) {
        let length = self.queue.borrow().len();
        let before = self.counted.replace(length);
        let waiting = &self.post.counters.waiting;
        if length > before {
            waiting.fetch_add(length - before, Ordering::Relaxed);
        } else {
            waiting.fetch_sub(before - length, Ordering::Relaxed);
        }
    }

    fn show(&self, answered: &Answered, fate: Fate) {
        self.post.feed.emit(|| Line::Webhook {
            app: &self.app.id,
            url: self.endpoint().url.origin(),
            events: &answered.events,
            status: answered.status,
            error: answered.error.as_deref(),
            attempt: answered.attempt,
            took_ms: u64::try_from(answered.took.as_millis()).unwrap_or(u64::MAX),
            outcome: match fate {
                Fate::Delivered => "delivered",
                Fate::Retried => "retry",
                Fate::GivenUp => "given_up",
            },
        });
    }

    /// `None` while nobody watches.
    fn answered(
        &self,
        parcel: &Parcel,
        answer: &Result<StatusCode, String>,
        took: Duration,
    ) -> Option<Answered> {
        self.post.feed.is_watched().then(|| Answered {
            events: parcel.events().iter().map(Event::name).collect(),
            status: answer.as_ref().ok().map(StatusCode::as_u16),
            error: answer.as_ref().err().cloned(),
            attempt: parcel.failures + 1,
            took,
        })
    }

    async fn send(&self, parcel: Parcel) -> (Parcel, Outcome, Option<Answered>) {
        let begun = Instant::now();
        let answer = self
            .post
            .client
            .post(&self.app, self.endpoint(), parcel.body())
            .await;
        let outcome = match &answer {
            Ok(status) if status.is_success() => Outcome::Taken,
            Ok(_) => Outcome::Refused,
            Err(_) => Outcome::Silence,
        };
        if outcome == Outcome::Taken {
            self.post.counters.count_delivered(parcel.events().len());
            self.post
                .counters
                .latency
                .observe(parcel.oldest().elapsed());
            self.tell_success();
        } else {
            self.tell_failure(&answer, parcel.failures + 1, Instant::now());
        }
        let answered = self.answered(&parcel, &answer, begun.elapsed());
        (parcel, outcome, answered)
    }

    fn tell_success(&self) {
        if self.log.is_failing.replace(false) {
            let (app, origin) = (&*self.app.id, self.endpoint().url.origin());
            info!(
                app,
                endpoint = origin,
                "the webhook endpoint takes events again"
            );
        }
    }

    fn tell_failure(&self, answer: &Result<StatusCode, String>, attempt: u32, now: Instant) {
        let (app, origin) = (&*self.app.id, self.endpoint().url.origin());
        let reason = match answer {
            Ok(status) => format!("status {}", status.as_u16()),
            Err(reason) => reason.clone(),
        };
        self.log.is_failing.set(true);
        if is_time(&self.log.failure_told, now) {
            warn!(
                app,
                endpoint = origin,
                reason,
                "a webhook endpoint does not take events; they are tried again for 5 minutes"
            );
        } else {
            debug!(
                app,
                endpoint = origin,
                reason,
                attempt,
                "a webhook was not taken"
            );
        }
    }

    /// Counts what the queue has dropped; whether there is a loss that the log was not told of.
    fn count_lost(&self) -> bool {
        let Lost { overflow, expired } = self.queue.borrow_mut().take_lost();
        let mut untold = self.log.lost.get();
        if overflow + expired > 0 {
            self.post.counters.count_lost(Lost { overflow, expired });
            untold.overflow += overflow;
            untold.expired += expired;
            self.log.lost.set(untold);
        }
        untold != Lost::default()
    }

    fn tell_lost(&self) {
        let Lost { overflow, expired } = self.log.lost.take();
        if overflow + expired > 0 {
            let (app, origin) = (&*self.app.id, self.endpoint().url.origin());
            warn!(
                app,
                endpoint = origin,
                overflow,
                expired,
                "webhook events were dropped"
            );
        }
    }
}

/// Whether the last warning is long enough ago; then there is one now.
fn is_time(told: &Cell<Option<Instant>>, now: Instant) -> bool {
    let is_time = told
        .get()
        .is_none_or(|told| now.saturating_duration_since(told) >= WARNING_INTERVAL);
    if is_time {
        told.set(Some(now));
    }
    is_time
}
