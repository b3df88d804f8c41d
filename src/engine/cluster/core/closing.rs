//! The end of a node: its last changes are settled, then it gives its lease back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Core, Effect, Effects, Notice,
    call::{Answer, Call, CallError, Resignation},
};

/// How long a closing node tries to settle everything. Then its lease runs out, and another node does what is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// A node that has been told to stop.
pub(super) struct Closing<T> {
    since: Instant,
    reply: T,
    stage: Stage,
}

/// How far a closing node has come with giving its lease back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Settling,
    Resigning(Resignation),
    /// There is no other node: this one tells of all departures itself.
    Alone,
    Done,
}

impl<T> Core<T> {
    pub(super) fn on_close(&mut self, reply: T, now: Instant, out: &mut Effects<T>) {
        self.closing = Some(Closing {
            since: now,
            reply,
            stage: Stage::Settling,
        });
        // Former epochs are removed at once, as far as their rows are replaced.
        self.timers.housekeeping_at = now;
        for id in self.buckets.ids() {
            self.make_ready_or_close(id, now, out);
        }
    }

    /// Whether the node stops, so that nothing lingers.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Goes on with the end, if it has begun.
    pub(super) fn close_step(&mut self, now: Instant, out: &mut Effects<T>) {
        let Some(closing) = &self.closing else { return };
        let (stage, since) = (closing.stage, closing.since);
        let is_over = now.duration_since(since) >= PATIENCE || self.link.is_down();
        if stage == Stage::Done || is_over {
            if let Some(closing) = self.closing.take() {
                if stage != Stage::Done {
                    out.push(Effect::Report(Notice::ClosedEarly));
                }
                out.push(Effect::Closed(closing.reply));
            }
            return;
        }
        // To remove rows opens buckets again, which nobody would close after this node. Of former epochs nobody else may know.
        let is_settled = self.outgoing.is_empty()
            && !self.membership.has_rows_to_remove()
            && self.buckets.iter().all(|bucket| bucket.is_settled());
        let resignation = match stage {
            Stage::Settling if is_settled && self.timers.departures.is_empty() => {
                self.are_buckets_closed().then_some(Resignation::Done)
            }
            Stage::Settling if is_settled => Some(Resignation::Handover),
            Stage::Alone if self.timers.departures.is_empty() && self.are_buckets_closed() => {
                Some(Resignation::Done)
            }
            _ => None,
        };
        if let Some(resignation) = resignation {
            if let Some(closing) = &mut self.closing {
                closing.stage = Stage::Resigning(resignation);
            }
            if resignation == Resignation::Handover {
                // A claim that Redis executes after this node's end would be told to nobody.
                self.timers.departures.offer();
            }
            let epoch = Arc::clone(&self.membership.epoch);
            self.call(Call::Resign(epoch, resignation), 1, now, out);
        }
    }

    /// Whether no bucket names this node any more.
    fn are_buckets_closed(&self) -> bool {
        self.buckets.iter().next().is_none()
    }

    pub(super) fn on_resigned(&mut self, result: &Result<Answer, CallError>, now: Instant) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        match (closing.stage, result) {
            (Stage::Resigning(Resignation::Handover), Ok(Answer::Resigned(0))) => {
                closing.stage = Stage::Alone;
                self.timers.departures.hurry(now);
            }
            _ => closing.stage = Stage::Done,
        }
    }
}
