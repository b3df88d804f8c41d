//! The task of one endpoint: takes parcels from its queue, sends them, and reports how they fare.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use http::StatusCode;
use tokio::{select, sync::Notify, time::sleep_until};
use tracing::warn;

use super::{
    Shared,
    parcel::{Event, Parcel},
    queue::{Fate, Next, Outcome, Queue},
    report::{Report, Subject},
    tally::Lost,
};
use crate::{
    app::{App, WebhookEndpoint},
    feed::Line,
};

/// One endpoint of an app and what it has yet to get.
pub(super) struct Sender {
    app: Arc<App>,
    /// Its place among the app's endpoints.
    place: usize,
    shared: Shared,
    queue: RefCell<Queue>,
    wake: Notify,
    /// The queue's length as it was counted last.
    counted: Cell<usize>,
    report: Report,
}

/// How a request fared, for whoever watches the feed.
struct Answered {
    events: Vec<&'static str>,
    status: Option<u16>,
    error: Option<String>,
    attempt: u32,
    took: Duration,
}

impl Sender {
    pub(super) fn new(app: Arc<App>, place: usize, shared: Shared) -> Self {
        let queue = Queue::new(app.webhooks.batching, rand::random());
        Self {
            app,
            place,
            shared,
            queue: RefCell::new(queue),
            wake: Notify::new(),
            counted: Cell::new(0),
            report: Report::default(),
        }
    }

    /// The endpoint's configuration.
    pub(super) fn endpoint(&self) -> &WebhookEndpoint {
        &self.app.webhooks.endpoints[self.place]
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            app: &self.app.id,
            endpoint: self.endpoint().url.origin(),
        }
    }

    /// Whether this is the endpoint at `place` of an app whose configuration was read again.
    pub(super) fn is_for(&self, app: &App, place: usize) -> bool {
        let signs_alike =
            (&self.app.id, &self.app.key, &self.app.secret) == (&app.id, &app.key, &app.secret);
        signs_alike
            && self.app.webhooks.batching == app.webhooks.batching
            && app.webhooks.endpoints.get(place) == Some(self.endpoint())
    }

    /// Adds an event; never waits.
    pub(super) fn push(&self, event: Event, now: Instant) {
        self.queue.borrow_mut().push(event, now);
        self.count_waiting();
        self.wake.notify_one();
    }

    /// Whether there is nothing to send.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Has [`Sender::run`] end as soon as nothing is left.
    pub(super) fn close(&self) {
        self.queue.borrow_mut().close(Instant::now());
        self.wake.notify_one();
    }

    /// Gives up what is left.
    pub(super) fn give_up(&self) {
        self.count_lost();
        self.report.report_lost(self.subject(), &self.shared.feed);
        let left = *self.queue.borrow().waiting();
        if left.total() > 0 {
            self.shared.counters.count_lost(&Lost {
                expired: left,
                ..Lost::default()
            });
            let Subject { app, endpoint } = self.subject();
            warn!(
                app,
                endpoint,
                events = left.total(),
                by_kind = %left,
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
            self.count_lost();
            let (subject, feed) = (self.subject(), &self.shared.feed);
            self.report.report_lost_if_due(subject, feed, now);
            let until = match next {
                Next::Send(parcel) => {
                    under_way.push(self.send(parcel));
                    continue;
                }
                Next::Wait(until) => until,
            };
            if under_way.is_empty() && self.is_finished() {
                return self.report.report_lost(subject, feed);
            }
            let until = until.into_iter().chain(self.report.next(now)).min();
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
        let total = self.queue.borrow().waiting().total();
        let length = usize::try_from(total).unwrap_or(usize::MAX);
        let before = self.counted.replace(length);
        let waiting = &self.shared.counters.waiting;
        if length > before {
            waiting.fetch_add(length - before, Ordering::Relaxed);
        } else {
            waiting.fetch_sub(before - length, Ordering::Relaxed);
        }
    }

    /// Counts what the queue has dropped or found superfluous.
    fn count_lost(&self) {
        let mut queue = self.queue.borrow_mut();
        let (lost, superseded) = (queue.take_lost(), queue.take_superseded());
        self.shared.counters.count_superseded(superseded);
        if !lost.is_empty() {
            self.shared.counters.count_lost(&lost);
            self.report.on_lost(&lost);
        }
    }

    fn show(&self, answered: &Answered, fate: Fate) {
        self.shared.feed.emit(|| Line::Webhook {
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
        self.shared.feed.is_watched().then(|| Answered {
            events: parcel
                .events()
                .iter()
                .map(|event| event.kind.name())
                .collect(),
            status: answer.as_ref().ok().map(StatusCode::as_u16),
            error: answer.as_ref().err().cloned(),
            attempt: parcel.failures + 1,
            took,
        })
    }

    async fn send(&self, parcel: Parcel) -> (Parcel, Outcome, Option<Answered>) {
        let begun = Instant::now();
        let answer = self
            .shared
            .client
            .post(&self.app, self.endpoint(), parcel.body())
            .await;
        let (outcome, now) = (outcome_of(&answer), Instant::now());
        match &answer {
            _ if outcome == Outcome::Taken => {
                self.shared.counters.count_delivered(parcel.events().len());
                let took = now.saturating_duration_since(parcel.oldest());
                self.shared.counters.latency.observe(took);
                self.report.on_taken(self.subject(), now);
            }
            Ok(status) => {
                let reason = format!("status {}", status.as_u16());
                self.report.on_failed(self.subject(), &reason, now);
            }
            Err(reason) => self.report.on_failed(self.subject(), reason, now),
        }
        let answered = self.answered(&parcel, &answer, begun.elapsed());
        (parcel, outcome, answered)
    }
}

/// What an answer says. Proxies give three of the statuses for a backend that is not there, and 429 asks for fewer requests; the
/// others are about the one request.
fn outcome_of(answer: &Result<StatusCode, String>) -> Outcome {
    match answer {
        Ok(status) if status.is_success() => Outcome::Taken,
        Ok(
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS,
        )
        | Err(_) => Outcome::Absent,
        Ok(_) => Outcome::Refused,
    }
}
