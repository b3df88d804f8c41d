//! The way of events from the threads where they happen to the webhook thread: bounded, and fair between apps.
//!
//! Each app and class of events has a share. A share may hold as much as is still free of the whole, so that a flood ends at half
//! of the room, two floods at a third each, and everyone else still finds room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use dashmap::DashMap;
use tokio::sync::{mpsc, oneshot};

use super::{
    class::Class,
    debounce::Gone,
    parcel::EVENT_OVERHEAD_BYTES,
    tally::{SharedTally, Tally},
};
use crate::app::{App, WebhookKind};

/// Memory for events on their way to the thread.
const BYTES_MAX: usize = 16 << 20;

/// An event on its way from the thread where it happened.
pub(super) struct Emitted {
    pub(super) app: Arc<App>,
    pub(super) kind: WebhookKind,
    pub(super) class: Class,
    pub(super) channel: Arc<str>,
    /// Of events about a member.
    pub(super) user_id: Option<Arc<str>>,
    pub(super) json: Arc<str>,
    pub(super) at: Instant,
}

impl Emitted {
    /// Whose departure, or return, this is.
    pub(super) fn gone(&self) -> Gone {
        Gone {
            app_id: self.app.id.as_str().into(),
            class: self.class,
            channel: Arc::clone(&self.channel),
            user_id: self.user_id.clone(),
        }
    }

    fn size(&self) -> usize {
        EVENT_OVERHEAD_BYTES + self.json.len() + self.channel.len()
    }
}

/// What goes through the mailbox.
enum Item {
    Emitted(Emitted, Arc<Share>),
    /// Send what there is until the deadline, and end.
    Close(Closing),
}

/// A request to end.
pub(super) struct Closing {
    pub(super) deadline: Instant,
    pub(super) done: oneshot::Sender<()>,
}

/// What one app has in the mailbox.
#[derive(Default)]
struct Share {
    bytes: [AtomicUsize; Class::ALL.len()],
    dropped: SharedTally,
}

#[derive(Default)]
struct Room {
    bytes: AtomicUsize,
    events: AtomicUsize,
    shares: DashMap<String, Arc<Share>>,
    /// Whether an event was dropped since the last [`Inbox::take_dropped`].
    has_dropped: AtomicBool,
}

impl Room {
    fn share(&self, app_id: &str) -> Arc<Share> {
        if let Some(share) = self.shares.get(app_id) {
            return Arc::clone(&share);
        }
        Arc::clone(&self.shares.entry(app_id.to_owned()).or_default())
    }

    /// Takes room for an event; `false` if there is none. Threads that enter at the same moment may exceed the bound by one event
    /// each.
    fn enter(&self, share: &Share, event: &Emitted) -> bool {
        let free = BYTES_MAX.saturating_sub(self.bytes.load(Ordering::Relaxed));
        let held = &share.bytes[event.class as usize];
        if held.load(Ordering::Relaxed) + event.size() > free {
            return false;
        }
        held.fetch_add(event.size(), Ordering::Relaxed);
        self.bytes.fetch_add(event.size(), Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn leave(&self, share: &Share, event: &Emitted) {
        share.bytes[event.class as usize].fetch_sub(event.size(), Ordering::Relaxed);
        self.bytes.fetch_sub(event.size(), Ordering::Relaxed);
        self.events.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The end that events are put into.
pub(super) struct Mailbox {
    items: mpsc::UnboundedSender<Item>,
    room: Arc<Room>,
}

/// The end that the webhook thread reads.
pub(super) struct Inbox {
    items: mpsc::UnboundedReceiver<Item>,
    room: Arc<Room>,
}

/// What comes out of the mailbox.
pub(super) enum Received {
    Emitted(Emitted),
    Close(Closing),
}

/// A mailbox and its other end.
pub(super) fn mailbox() -> (Mailbox, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let room = Arc::<Room>::default();
    let mailbox = Mailbox {
        items: sender,
        room: Arc::clone(&room),
    };
    let inbox = Inbox {
        items: receiver,
        room,
    };
    (mailbox, inbox)
}

impl Mailbox {
    /// Puts an event in; `false` if there was no room and it was dropped. Never waits.
    pub(super) fn put(&self, event: Emitted) -> bool {
        let share = self.room.share(&event.app.id);
        if !self.room.enter(&share, &event) {
            share.dropped.increment(event.kind);
            self.room.has_dropped.store(true, Ordering::Release);
            return false;
        }
        let sent = self.items.send(Item::Emitted(event, share));
        // Fails only after the close.
        if let Err(mpsc::error::SendError(Item::Emitted(event, share))) = sent {
            self.room.leave(&share, &event);
        }
        true
    }

    /// Asks the thread to end; `false` if it has ended.
    pub(super) fn close(&self, closing: Closing) -> bool {
        self.items.send(Item::Close(closing)).is_ok()
    }

    /// Events on their way.
    pub(super) fn len(&self) -> usize {
        self.room.events.load(Ordering::Relaxed)
    }
}

impl Inbox {
    /// The next event or request; `None` when all senders are gone.
    pub(super) async fn next(&mut self) -> Option<Received> {
        let item = self.items.recv().await?;
        Some(self.open(item))
    }

    /// The next event of those that are on their way; nothing more can be put in after the first call.
    pub(super) fn drain(&mut self) -> Option<Emitted> {
        self.items.close();
        loop {
            let item = self.items.try_recv().ok()?;
            if let Received::Emitted(event) = self.open(item) {
                return Some(event);
            }
        }
    }

    /// Whether there is something for [`Inbox::take_dropped`].
    pub(super) fn has_dropped(&self) -> bool {
        self.room.has_dropped.load(Ordering::Acquire)
    }

    /// The numbers of dropped events since the last call, by app.
    pub(super) fn take_dropped(&self) -> Vec<(String, Tally)> {
        self.room.has_dropped.store(false, Ordering::Release);
        let dropped = self.room.shares.iter().map(|share| {
            let tally = share.dropped.take();
            (share.key().clone(), tally)
        });
        dropped.filter(|(_, tally)| tally.total() > 0).collect()
    }

    /// Forgets the shares of apps that have nothing in the mailbox.
    pub(super) fn forget_idle(&self) {
        // Who puts an event in holds the share from the look-up on, under the same lock.
        self.room
            .shares
            .retain(|_, share| Arc::strong_count(share) > 1 || share.dropped.get().total() > 0);
    }

    fn open(&self, item: Item) -> Received {
        match item {
            Item::Emitted(event, share) => {
                self.room.leave(&share, &event);
                Received::Emitted(event)
            }
            Item::Close(closing) => Received::Close(closing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(app: &Arc<App>, kind: WebhookKind, channel: &str) -> Emitted {
        Emitted {
            app: Arc::clone(app),
            kind,
            class: Class::of(kind, channel),
            channel: channel.into(),
            user_id: None,
            json: "x".repeat(100).into(),
            at: Instant::now(),
        }
    }

    /// Puts events in until one is dropped; how many found room.
    fn flood(mailbox: &Mailbox, app: &Arc<App>, kind: WebhookKind, channel: &str) -> usize {
        (0..)
            .take_while(|_| mailbox.put(event(app, kind, channel)))
            .count()
    }

    fn app(id: &str) -> Arc<App> {
        Arc::new(App::for_test(id, id))
    }

    #[test]
    fn a_flood_leaves_room_for_every_other_app_and_kind() {
        use WebhookKind::{ChannelOccupied, MemberAdded};
        let (mailbox, _inbox) = mailbox();
        let (noisy, quiet) = (app("1"), app("2"));
        let size = event(&noisy, ChannelOccupied, "orders").size();
        let all = BYTES_MAX / size;
        let half = flood(&mailbox, &noisy, ChannelOccupied, "orders");
        assert!(
            (all / 2 - 1..=all / 2 + 1).contains(&half),
            "{half} of {all}"
        );
        for number in 0..all / 10 {
            let member = event(&noisy, MemberAdded, "presence-a");
            assert!(mailbox.put(member), "member {number} of the same app");
            let channel = event(&quiet, ChannelOccupied, "orders");
            assert!(mailbox.put(channel), "event {number} of another app");
        }
        let second = flood(&mailbox, &quiet, ChannelOccupied, "orders");
        let third = flood(&mailbox, &quiet, MemberAdded, "presence-a");
        assert!(second > 0 && third > all / 20, "{second}, {third}");
        assert!(mailbox.len() <= all, "{} of {all}", mailbox.len());
    }

    #[test]
    fn what_has_left_makes_room_and_what_was_dropped_is_known_by_app_and_kind() {
        use WebhookKind::ChannelOccupied;
        let (mailbox, mut inbox) = mailbox();
        let (noisy, quiet) = (app("1"), app("2"));
        let first = flood(&mailbox, &noisy, ChannelOccupied, "orders");
        assert!(mailbox.put(event(&quiet, ChannelOccupied, "orders")));
        assert!(inbox.has_dropped());
        let mut dropped = Tally::default();
        dropped.add(ChannelOccupied, 1);
        assert_eq!(inbox.take_dropped(), [("1".to_owned(), dropped)]);
        assert!(!inbox.has_dropped() && inbox.take_dropped().is_empty());
        inbox.forget_idle();
        assert_eq!(inbox.room.shares.len(), 2, "both have events on their way");
        let drained = std::iter::from_fn(|| inbox.drain()).count();
        assert_eq!(drained, first + 1);
        assert_eq!(mailbox.len(), 0);
        assert_eq!(inbox.room.bytes.load(Ordering::Relaxed), 0);
        inbox.forget_idle();
        assert!(inbox.room.shares.is_empty());
    }
}
