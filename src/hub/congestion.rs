//! Whether an app's clients read what they are sent. Other nodes that publish for them wait until they do: a mark of such a node is
//! answered when what came before it is on its way, and hardly any of the clients that got it is behind.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use tokio::time::sleep;

use super::{Channel, ChannelId, Outbox, Receipt, Shard, shard::Seat};

/// A mark waits while one of so many deliveries went to a client that is far behind. Clients that read alike do not fall behind at
/// once: the first are closed before most are late. Fewer clients than that can't hold up the others.
const PART: usize = 32;
/// Channels of an app that are looked at again while a mark waits.
const CHANNELS_MAX: usize = 8;
/// How long a mark waits for clients that read nothing; they are not to hold up their app.
const STEP: Duration = Duration::from_secs(1);
/// A mark waits on when of all that waited for clients at least this part has left within a step.
const STEP_PART: usize = 4;
/// How long a mark waits at most. Shorter than the other node waits for the answer, which is a lease.
const HOLD_MAX: Duration = Duration::from_secs(5);
/// How often it is seen whether it still must.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Marks that wait; more do not.
const HELD_MAX: usize = 256;

/// What a shard's clients were sent since the last mark, by app, and marks that wait.
#[derive(Default)]
pub(super) struct Congestion {
    apps: RefCell<HashMap<Arc<str>, Tally, ahash::RandomState>>,
    held: RefCell<Vec<Held>>,
}

/// Deliveries, and those to channels whose clients are far behind.
#[derive(Default)]
struct Tally {
    all: usize,
    behind: usize,
    channels: SmallVec<[ChannelId; CHANNELS_MAX]>,
}

struct Held {
    channels: SmallVec<[ChannelId; CHANNELS_MAX]>,
    begun: Instant,
    /// When the present step began, and how many bytes waited for the channels' clients then.
    step: (Instant, usize),
    /// Reports when it is dropped.
    _receipt: Arc<Receipt>,
}

impl Congestion {
    /// Counts deliveries of a channel's events, and those of them to clients that are far behind.
    pub(super) fn count(&self, channel: &Channel, deliveries: usize, behind: usize) {
        let mut apps = self.apps.borrow_mut();
        let tally = match apps.get_mut(&channel.app_id) {
            Some(tally) => tally,
            None => apps.entry(Arc::clone(&channel.app_id)).or_default(),
        };
        tally.all += deliveries;
        tally.behind += behind;
        let is_noted = tally.channels.contains(&channel.id);
        if behind > 0 && tally.channels.len() < CHANNELS_MAX && !is_noted {
            tally.channels.push(channel.id);
        }
    }
}

/// Whether too many of a channel's clients are far behind. Looks no further than it must.
fn are_behind(seats: &[Seat]) -> bool {
    let enough = seats.len().div_ceil(PART).max(1);
    let is_behind = |seat: &&Seat| seat.subscriber.outbox.is_far_behind();
    seats.iter().filter(is_behind).take(enough).count() == enough
}

impl Shard {
    /// Reports that what came before is on its way: now, or when the app's clients have read enough of it.
    pub(super) fn report_delivered(self: &Rc<Self>, app_id: &Arc<str>, receipt: Arc<Receipt>) {
        let tally = self.congestion.apps.borrow_mut().remove(app_id);
        let tally = tally.unwrap_or_default();
        let mut held = self.congestion.held.borrow_mut();
        let is_congested = tally.behind > 0 && tally.behind * PART >= tally.all;
        if !is_congested || held.len() >= HELD_MAX {
            return;
        }
        let is_first = held.is_empty();
        let now = Instant::now();
        held.push(Held {
            step: (now, self.waiting_bytes(&tally.channels)),
            channels: tally.channels,
            begun: now,
            _receipt: receipt,
        });
        if is_first {
            tokio::task::spawn_local(Rc::clone(self).watch_held());
        }
    }

    async fn watch_held(self: Rc<Self>) {
        loop {
            sleep(LOOK_AGAIN).await;
            let mut held = self.congestion.held.borrow_mut();
            held.retain_mut(|held| self.still_waits(held, Instant::now()));
            if held.is_empty() {
                return;
            }
        }
    }

    fn still_waits(&self, held: &mut Held, now: Instant) -> bool {
        if now.duration_since(held.begun) >= HOLD_MAX || !self.are_any_behind(&held.channels) {
            return false;
        }
        let (begun, before) = held.step;
        if now.duration_since(begun) < STEP {
            return true;
        }
        let waiting = self.waiting_bytes(&held.channels);
        held.step = (now, waiting);
        waiting <= before - before / STEP_PART
    }

    fn are_any_behind(&self, channels: &[ChannelId]) -> bool {
        self.seats_of(channels).any(|seats| are_behind(&seats))
    }

    fn waiting_bytes(&self, channels: &[ChannelId]) -> usize {
        let bytes_of = |seats: Rc<Vec<Seat>>| -> usize {
            let outboxes = seats.iter().map(|seat| &seat.subscriber.outbox);
            outboxes.map(Outbox::waiting_bytes).sum()
        };
        self.seats_of(channels).map(bytes_of).sum()
    }

    fn seats_of(&self, channels: &[ChannelId]) -> impl Iterator<Item = Rc<Vec<Seat>>> {
        channels.iter().filter_map(|id| self.seats(*id))
    }
}
