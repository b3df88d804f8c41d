//! How far other nodes have come with an app's events, so that their clients are not sent more than they read.
//!
//! Behind some events a node publishes a mark. The others answer it when everything before it is on its way to their clients
//! ([`super::Effect::Mark`]). An app has only so much between its last answered mark and its last event; more waits with the sender,
//! where publishers are slowed.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use super::LEASE;

/// How much may be on its way to other nodes' clients, of one app.
#[derive(Clone, Copy, Debug)]
pub struct FlowLimits {
    /// Events after which a mark follows.
    pub mark_events: usize,
    /// Bytes after which a mark follows.
    pub mark_bytes: usize,
    /// Marked events above which no more are sent.
    pub events_max: usize,
    /// Bytes of those.
    pub bytes_max: usize,
}

impl Default for FlowLimits {
    /// An eighth of a client's outbox of 1 MiB, so that what is under way fits when a node begins to hold answers back. A mark and its
    /// answers are a few messages for 64 events.
    fn default() -> Self {
        Self {
            mark_events: 64,
            mark_bytes: 32 << 10,
            events_max: 256,
            bytes_max: 128 << 10,
        }
    }
}

/// How long answers are waited for. As long as a lease: later a dead node is no longer counted.
pub(super) const PATIENCE: Duration = LEASE;

/// Events, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    events: usize,
    bytes: usize,
}

/// One app's events on their way to other nodes.
#[derive(Debug, Default)]
pub(super) struct Flow {
    unmarked: Amount,
    /// Marks that some node has not answered.
    rounds: VecDeque<Round>,
    marked: Amount,
}

#[derive(Debug)]
struct Round {
    number: u64,
    amount: Amount,
    sent: Instant,
    /// How many other nodes were sent the mark, once that is known.
    expected: Option<usize>,
    answered: BTreeSet<u64>,
}

impl Flow {
    /// Whether more may be sent.
    pub(super) fn has_room(&self, limits: &FlowLimits) -> bool {
        self.marked.events < limits.events_max && self.marked.bytes < limits.bytes_max
    }

    /// Whether no answer is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.rounds.is_empty()
    }

    /// Counts an event that is sent. Says whether a mark follows it.
    pub(super) fn count(&mut self, bytes: usize, limits: &FlowLimits) -> bool {
        self.unmarked.events += 1;
        self.unmarked.bytes += bytes;
        self.unmarked.events >= limits.mark_events || self.unmarked.bytes >= limits.mark_bytes
    }

    /// A mark of this number follows what was sent.
    pub(super) fn mark(&mut self, number: u64, sent: Instant) {
        let amount = std::mem::take(&mut self.unmarked);
        self.marked.events += amount.events;
        self.marked.bytes += amount.bytes;
        self.rounds.push_back(Round {
            number,
            amount,
            sent,
            expected: None,
            answered: BTreeSet::new(),
        });
    }

    /// So many other nodes were sent the mark.
    pub(super) fn on_published(&mut self, number: u64, other_nodes: usize) {
        if let Some(round) = self.rounds.iter_mut().find(|round| round.number == number) {
            round.expected = Some(other_nodes);
        }
    }

    /// A node's clients have what came before this mark.
    pub(super) fn on_answer(&mut self, node: u64, number: u64) {
        let rounds = self.rounds.iter_mut();
        for round in rounds.take_while(|round| round.number <= number) {
            round.answered.insert(node);
        }
    }

    /// Waits no longer for what all other nodes have answered, or what is too old.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(round) = self.rounds.front()
            && (round.is_answered() || round.sent + PATIENCE <= now)
        {
            self.marked.events -= round.amount.events;
            self.marked.bytes -= round.amount.bytes;
            self.rounds.pop_front();
        }
    }

    /// What was on its way is lost or heard; nobody answers for it.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

impl Round {
    fn is_answered(&self) -> bool {
        self.expected
            .is_some_and(|expected| self.answered.len() >= expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FlowLimits = FlowLimits {
        mark_events: 4,
        mark_bytes: 1000,
        events_max: 16,
        bytes_max: 1000,
    };

    /// Sends as much as there is room for, to so many nodes; the last mark.
    fn fill(flow: &mut Flow, nodes: usize, now: Instant) -> u64 {
        let mut number = 0;
        while flow.has_room(&LIMITS) {
            if flow.count(10, &LIMITS) {
                number += 1;
                flow.mark(number, now);
                flow.on_published(number, nodes);
            }
        }
        number
    }

    #[test]
    fn the_slowest_node_makes_room() {
        let (mut flow, now) = (Flow::default(), Instant::now());
        let last = fill(&mut flow, 2, now);
        assert_eq!(last, 4, "sixteen events");
        flow.on_answer(7, last);
        flow.settle(now);
        assert!(!flow.has_room(&LIMITS));
        flow.on_answer(8, 1);
        flow.settle(now);
        assert!(flow.has_room(&LIMITS) && !flow.is_idle());
        flow.on_answer(8, last);
        flow.settle(now);
        assert!(flow.is_idle());
    }

    #[test]
    fn a_silent_node_is_not_waited_for_without_end() {
        let (mut flow, now) = (Flow::default(), Instant::now());
        fill(&mut flow, 1, now);
        flow.settle(now);
        assert!(!flow.has_room(&LIMITS));
        flow.settle(now + PATIENCE);
        assert!(flow.is_idle());
    }

    #[test]
    fn nobody_is_waited_for_where_no_other_node_listens() {
        let (mut flow, now) = (Flow::default(), Instant::now());
        fill(&mut flow, 0, now);
        flow.settle(now);
        assert!(flow.is_idle());
    }

    #[test]
    fn bytes_are_counted_as_events_are() {
        let (mut flow, now) = (Flow::default(), Instant::now());
        assert!(flow.count(1000, &LIMITS));
        flow.mark(1, now);
        assert!(!flow.has_room(&LIMITS));
    }
}
