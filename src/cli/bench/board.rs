//! What happens in a run, counted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use hdrhistogram::Histogram;

use super::plan::Plan;

/// Reasons that are kept apart; further ones are "other reasons".
const REASONS_MAX: usize = 20;
/// A longer time is counted as this.
const TIME_MAX_US: u64 = 600_000_000;

/// How often each reason was given.
pub(super) type Reasons = BTreeMap<String, u64>;

/// Times in microseconds.
pub(super) type Times = Histogram<u64>;

/// The counts of a run.
pub(super) struct Counts {
    /// Subscribers on each channel.
    listeners: Vec<u64>,
    /// Events on each channel that the host has accepted, or that were sent as client events.
    pub(super) accepted: Vec<u64>,
    /// Subscribers that were connected.
    pub(super) connected: u64,
    /// Subscribers that still are.
    pub(super) open: u64,
    /// Why subscribers are not connected.
    pub(super) failed: Reasons,
    /// Why connections ended before the run did.
    pub(super) ended: Reasons,
    /// Answers of the HTTP API by status, and what stands in for an answer.
    pub(super) answers: Reasons,
    pub(super) answer_times: Times,
    pub(super) sent: u64,
    /// What went wrong with a publish: no answer, an answer other than 200, a client event that was refused.
    pub(super) refused: u64,
    /// Events that arrived, each once.
    pub(super) delivered: u64,
    /// Of them, those behind a later one.
    pub(super) out_of_order: u64,
    /// Events that arrived again.
    pub(super) repeated: u64,
    /// Bytes of all messages.
    pub(super) bytes: u64,
    pub(super) delivery_times: Times,
    /// How late this program was.
    pub(super) delays: Times,
}

impl Counts {
    /// What has to arrive.
    pub(super) fn expected(&self) -> u64 {
        let channels = self.listeners.iter().zip(&self.accepted);
        channels
            .map(|(listeners, accepted)| listeners * accepted)
            .sum()
    }
}

/// What one arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    InOrder,
    BehindALater,
    Again,
}

/// Counts, shared by all tasks of a run.
pub(super) struct Board(Mutex<Counts>);

impl Board {
    pub(super) fn new(plan: &Plan) -> Self {
        let times = || Times::new_with_max(TIME_MAX_US, 3).expect("the bounds are allowed");
        Self(Mutex::new(Counts {
            listeners: vec![0; plan.channels()],
            accepted: vec![0; plan.channels()],
            connected: 0,
            open: 0,
            failed: Reasons::new(),
            ended: Reasons::new(),
            answers: Reasons::new(),
            answer_times: times(),
            sent: 0,
            refused: 0,
            delivered: 0,
            out_of_order: 0,
            repeated: 0,
            bytes: 0,
            delivery_times: times(),
            delays: times(),
        }))
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("no holder panics")
    }

    pub(super) fn connected(&self, channel: usize) {
        let mut counts = self.counts();
        counts.connected += 1;
        counts.open += 1;
        counts.listeners[channel] += 1;
    }

    pub(super) fn failed(&self, reason: String) {
        count(&mut self.counts().failed, reason);
    }

    /// A subscriber's connection ended before the run did.
    pub(super) fn ended(&self, reason: String) {
        let mut counts = self.counts();
        counts.open -= 1;
        count(&mut counts.ended, reason);
    }

    /// A client that publishes lost its connection.
    pub(super) fn publisher_ended(&self, reason: String) {
        count(&mut self.counts().ended, reason);
    }

    /// Subscribers that are connected or have failed.
    pub(super) fn settled(&self) -> u64 {
        let counts = self.counts();
        counts.connected + counts.failed.values().sum::<u64>()
    }

    /// Whether somebody would receive an event.
    pub(super) fn is_heard(&self) -> bool {
        self.counts().connected > 0
    }

    pub(super) fn sent(&self, channel: usize) {
        let mut counts = self.counts();
        counts.sent += 1;
        counts.accepted[channel] += 1;
    }

    /// The HTTP API accepted an event.
    pub(super) fn accepted(&self, channel: usize, took: Duration) {
        self.answered("200", took);
        self.sent(channel);
    }

    /// The HTTP API did not accept an event.
    pub(super) fn not_accepted(&self, answer: &str, took: Duration) {
        self.answered(answer, took);
        let mut counts = self.counts();
        counts.sent += 1;
        counts.refused += 1;
    }

    fn answered(&self, answer: &str, took: Duration) {
        let mut counts = self.counts();
        count(&mut counts.answers, answer.to_owned());
        counts.answer_times.saturating_record(microseconds(took));
    }

    /// A client event was refused.
    pub(super) fn refused(&self, reason: String) {
        let mut counts = self.counts();
        counts.refused += 1;
        count(&mut counts.answers, reason);
    }

    pub(super) fn arrived(&self, arrived: Arrived, took_us: u64) {
        let mut counts = self.counts();
        match arrived {
            Arrived::Again => {
                counts.repeated += 1;
                return;
            }
            Arrived::BehindALater => counts.out_of_order += 1,
            Arrived::InOrder => {}
        }
        counts.delivered += 1;
        counts.delivery_times.saturating_record(took_us);
    }

    pub(super) fn read(&self, bytes: u64) {
        self.counts().bytes += bytes;
    }

    pub(super) fn delivered(&self) -> u64 {
        self.counts().delivered
    }

    /// Whether something may still arrive.
    pub(super) fn is_missing_some(&self) -> bool {
        let counts = self.counts();
        counts.open > 0 && counts.delivered < counts.expected()
    }

    pub(super) fn looked(&self, late: Duration) {
        self.counts().delays.saturating_record(microseconds(late));
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn count(reasons: &mut Reasons, reason: String) {
    let is_kept = reasons.len() < REASONS_MAX || reasons.contains_key(&reason);
    let reason = if is_kept {
        reason
    } else {
        "other reasons".to_owned()
    };
    *reasons.entry(reason).or_default() += 1;
}
