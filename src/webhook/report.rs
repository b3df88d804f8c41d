//! What the log and the feed say about one endpoint: one line when a trouble begins, and one in a while for what it costs.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use tracing::{debug, info, warn};

use super::tally::{Lost, Tally};
use crate::feed::{Feed, Line};

/// Between two lines of the same sort about one endpoint.
const INTERVAL: Duration = Duration::from_secs(60);

/// Spaces out lines about the same trouble.
#[derive(Debug, Default)]
pub(super) struct Pace(Cell<Option<Instant>>);

impl Pace {
    /// From when the next line may be written.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.get().map(|written| written + INTERVAL)
    }

    /// Whether a line may be written now; then it counts as written.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_due = self.next().is_none_or(|next| now >= next);
        if is_due {
            self.0.set(Some(now));
        }
        is_due
    }
}

/// Whom a report is about.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) app: &'a str,
    /// Scheme, host and port.
    pub(super) endpoint: &'a str,
}

/// The troubles of one endpoint.
#[derive(Default)]
pub(super) struct Report {
    /// Since when it has failed, and how often; `None` while it takes events.
    failing: Cell<Option<(Instant, u64)>>,
    /// Whether the log was told that it fails.
    is_logged: Cell<bool>,
    failures: Pace,
    lost: RefCell<Lost>,
    losses: Pace,
}

impl Report {
    /// The endpoint took a request.
    pub(super) fn on_taken(&self, subject: Subject<'_>, now: Instant) {
        let Some((since, failures)) = self.failing.take() else {
            return;
        };
        if self.is_logged.take() {
            let Subject { app, endpoint } = subject;
            let failing_s = now.saturating_duration_since(since).as_secs();
            info!(
                app,
                endpoint, failing_s, failures, "the webhook endpoint takes events again"
            );
        }
    }

    /// A request failed.
    pub(super) fn on_failed(&self, subject: Subject<'_>, reason: &str, now: Instant) {
        let Subject { app, endpoint } = subject;
        let (since, failures) = self.failing.get().unwrap_or((now, 0));
        self.failing.set(Some((since, failures + 1)));
        if !self.is_logged.get() && self.failures.is_due(now) {
            self.is_logged.set(true);
            warn!(
                app,
                endpoint,
                reason,
                "a webhook endpoint does not take events; each is tried again until it is 4 minutes old"
            );
        } else {
            debug!(app, endpoint, reason, "a webhook was not taken");
        }
    }

    /// Events were dropped.
    pub(super) fn on_lost(&self, lost: &Lost) {
        self.lost.borrow_mut().add_all(lost);
    }

    /// When losses are to be told of that were not told yet.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let is_logged = self.lost.borrow().is_empty();
        (!is_logged).then(|| self.losses.next().unwrap_or(now))
    }

    /// Tells of losses if it is time.
    pub(super) fn report_lost_if_due(&self, subject: Subject<'_>, feed: &Feed, now: Instant) {
        if !self.lost.borrow().is_empty() && self.losses.is_due(now) {
            self.report_lost(subject, feed);
        }
    }

    /// Tells of all losses so far.
    pub(super) fn report_lost(&self, subject: Subject<'_>, feed: &Feed) {
        let lost = self.lost.take();
        if !lost.is_empty() {
            report_dropped(subject.app, Some(subject.endpoint), &lost, feed);
        }
    }
}

/// Tells the log and the feed of dropped events; without an endpoint they were on their way to all of the app's.
pub(super) fn report_dropped(app: &str, endpoint: Option<&str>, lost: &Lost, feed: &Feed) {
    let (overflow, expired) = (lost.overflow.total(), lost.expired.total());
    let mut all = lost.overflow;
    all.add_all(&lost.expired);
    warn!(
        app,
        endpoint,
        overflow,
        expired,
        by_kind = %all,
        "webhook events were dropped"
    );
    let by_kind = |tally: &Tally| {
        let occurring = tally.iter().filter(|(_, count)| *count > 0);
        occurring
            .map(|(kind, count)| (kind.name(), count))
            .collect()
    };
    feed.emit(|| Line::WebhooksDropped {
        app,
        url: endpoint,
        overflow: by_kind(&lost.overflow),
        expired: by_kind(&lost.expired),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_the_same_trouble_are_a_minute_apart() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert!(pace.next().is_none() && pace.is_due(start));
        assert!(!pace.is_due(start) && !pace.is_due(start + INTERVAL / 2));
        assert_eq!(pace.next(), Some(start + INTERVAL));
        assert!(pace.is_due(start + INTERVAL));
    }
}
