//! What comes from other nodes, by way of Redis.

use std::{sync::Arc, time::Instant};

use super::{
    Apps, Change, Core, Effect, Effects,
    bucket::BucketId,
    channel::{Channel, EARLY_EDGES_MAX, Listening, Shared, Sync},
};
use crate::{
    app::Replay,
    engine::{ChannelKey, EventId},
    presence::Member,
    protocol::{Frame, SocketId},
};

/// A message of another node, with the topic that it came by.
#[derive(Debug)]
pub struct Heard<'a> {
    /// Where it was published.
    pub topic: Topic<'a>,
    /// What it says.
    pub message: PeerMessage,
}

/// A pub/sub channel of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic<'a> {
    /// What concerns all nodes.
    Nodes,
    /// One channel's.
    Channel {
        /// The app.
        app_id: &'a str,
        /// The number of the bucket.
        bucket: u8,
        /// The channel's name.
        name: &'a str,
    },
}

/// What nodes tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// An event that the sender has delivered to its own subscribers, and whether it is kept for later ones.
    Event(Event, Lasting),
    /// A change of members, made by a script.
    Edge(Edge),
    /// How many subscriptions the channel has.
    Count(Count),
    /// The user's connections are to be closed.
    Terminate {
        /// The process that asks for it, and has closed its own.
        sender: u64,
        /// The app.
        app_id: Arc<str>,
        /// The signed-in user.
        user_id: Arc<str>,
    },
    /// A node listens that may be new.
    Hello(u64),
    /// The sender has changed apps in the store that the nodes share.
    AppsChanged(u64),
    /// The sender has published events of an app, and wants to know when they are on their way to clients.
    Mark(Mark),
    /// The sender's clients are on their way to have what came before this node's mark.
    MarkAnswered(Mark),
}

/// A place in what a node publishes of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who says so.
    pub node: u64,
    /// The app.
    pub app_id: Arc<str>,
    /// Rises with each mark of a node.
    pub number: u64,
}

/// Whether an event is kept for later subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Nothing.
    Passing,
    /// It is the last of its cache channel, for this many seconds.
    Cached(u32),
    /// It is part of its channel's history.
    Recorded,
}

/// An event on its way between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The sending process, and the event's number, which rises in the order of sending. An event that is sent twice is heard once.
    pub id: EventId,
    /// The connection that is left out.
    pub except: Option<SocketId>,
    /// Ready for the socket.
    pub frame: Frame,
}

/// How many subscriptions a channel has on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The number.
    pub number: usize,
    /// When Redis counted, in µs of its clock.
    pub at_us: u64,
}

/// A change of a channel's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// When the channel's state began.
    pub generation: u64,
    /// Rises by one with every edge.
    pub sequence: u64,
    /// The user.
    pub user_id: Arc<str>,
    /// The info of a user who came; `None`: the user went.
    pub info: Option<Arc<str>>,
    /// Whether the user had a seat before, which Redis had lost.
    pub again: bool,
}

/// How an event of another node is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// To the subscribers.
    Passing,
    /// To them, and it is the channel's last for this many seconds.
    Cached(u32),
    /// To them, and it is part of the history.
    Recorded(Replay),
}

/// Why the link is given up when Redis ends a subscription.
const MOVED: &str = "a topic has moved to another server";

/// Senders whose last number is kept per bucket; of more, the one silent for longest is forgotten.
const SENDERS_MAX: usize = 64;

/// The last number of each sender: one is repeated by a sender that is not sure to have sent it. Passing events of a bucket come in
/// the order of sending, and so do the events that a channel keeps; the two may overtake each other when Redis forgets a script.
#[derive(Default)]
pub(super) struct Senders(Vec<EventId>);

impl Senders {
    /// Whether the event was heard before.
    fn have(&self, (sender, number): EventId) -> bool {
        let known = self.0.iter().find(|(known, _)| *known == sender);
        known.is_some_and(|(_, last)| *last >= number)
    }

    /// Whether the event was not heard before, and notes it.
    fn is_new(&mut self, (sender, number): EventId) -> bool {
        let at = self.0.iter().position(|(known, _)| *known == sender);
        if at.is_some_and(|at| self.0[at].1 >= number) {
            return false;
        }
        // The latest stands last.
        if let Some(at) = at {
            self.0.remove(at);
        } else if self.0.len() == SENDERS_MAX {
            self.0.remove(0);
        }
        self.0.push((sender, number));
        true
    }
}

impl<T> Core<T> {
    pub(super) fn on_heard(&mut self, heard: &Heard<'_>, now: Instant, out: &mut Effects<T>) {
        let message = &heard.message;
        match heard.topic {
            Topic::Nodes => match message {
                PeerMessage::Terminate {
                    sender,
                    app_id,
                    user_id,
                } if *sender != self.settings.node => {
                    let (app_id, user_id) = (Arc::clone(app_id), Arc::clone(user_id));
                    out.push(Effect::Terminate { app_id, user_id });
                }
                PeerMessage::Hello(node) if *node != self.settings.node => {
                    self.membership.renew_at(now);
                }
                PeerMessage::AppsChanged(node) if *node != self.settings.node => {
                    out.push(Effect::Apps(Apps::Changed));
                }
                PeerMessage::Mark(mark) if mark.node != self.settings.node => {
                    out.push(Effect::Mark(mark.clone()));
                }
                PeerMessage::MarkAnswered(mark) => {
                    self.outgoing.on_mark_answered(mark, now);
                }
                _ => {}
            },
            Topic::Channel {
                app_id,
                bucket,
                name,
            } => {
                let Some(id) = self.buckets.find(app_id, bucket) else {
                    return;
                };
                match message {
                    PeerMessage::Event(event, lasting) => {
                        self.on_event(id, name, event, *lasting, now, out);
                    }
                    PeerMessage::Edge(edge) => self.on_edge(id, name, edge.clone(), now, out),
                    PeerMessage::Count(count) => self.on_count(id, name, *count, out),
                    _ => {}
                }
            }
        }
    }

    /// Redis has ended a subscription. What this node ended itself it has forgotten before.
    pub(super) fn on_silenced(&mut self, topic: Topic<'_>, now: Instant, out: &mut Effects<T>) {
        let Topic::Channel {
            app_id,
            bucket,
            name,
        } = topic
        else {
            return self.lose_link(MOVED, now, out);
        };
        let Some(id) = self.buckets.find(app_id, bucket) else {
            return;
        };
        let Some(channel) = self.buckets[id].channels.get_mut(name) else {
            return;
        };
        match channel.listening {
            Listening::Yes => self.lose_link(MOVED, now, out),
            // The answer may be about a subscription that has ended since; it is asked for once more.
            Listening::Asked => channel.listening = Listening::AskedInDoubt,
            Listening::No | Listening::Queued | Listening::AskedInDoubt => {}
        }
    }

    fn on_event(
        &mut self,
        id: BucketId,
        name: &str,
        event: &Event,
        lasting: Lasting,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let bucket = &mut self.buckets[id];
        let Some(channel) = bucket.channels.get_mut(name) else {
            return;
        };
        let key = || ChannelKey {
            app_id: Arc::clone(&bucket.name.app_id),
            name: name.into(),
            kind: channel.kind,
        };
        let mut shared = channel.shared.as_deref_mut();
        if event.id.0 == self.settings.node {
            if let Lasting::Cached(ttl_s) = lasting {
                // Delivered already; but only Redis knows which of two nodes' events was the last.
                let change = Change::Confirmed(event.id.1, Some((event.frame.clone(), ttl_s)));
                out.push(Effect::Change(key(), change));
                if let Some(shared) = shared {
                    shared.kept.heard_last = true;
                }
            }
            return;
        }
        let is_new = match (lasting, shared.as_deref_mut()) {
            (Lasting::Cached(_) | Lasting::Recorded, Some(shared)) => {
                shared.kept.senders.is_new(event.id)
            }
            (Lasting::Passing, Some(shared)) if shared.kept.senders.have(event.id) => false,
            _ => bucket.senders.is_new(event.id),
        };
        if !is_new {
            if lasting != Lasting::Passing {
                // Redis may have lost it and kept it again.
                self.fetch_again(id, name, now);
            }
            return;
        }
        let delivered = delivered_as(lasting, shared);
        out.push(Effect::Deliver(key(), event.clone(), delivered));
    }

    /// Fetches the channel's kept events again, because their order is in doubt.
    pub(super) fn fetch_again(&mut self, id: BucketId, name: &str, now: Instant) {
        let channel = self.buckets[id].channels.get_mut(name);
        if let Some(shared) = channel.and_then(|channel| channel.shared.as_deref_mut()) {
            shared.sync = shared.sync.doubted();
            shared.kept.heard_last = false;
        }
        self.touch(id, name, now);
    }

    /// Takes a number of subscriptions. Of one that was asked for and one that was heard meanwhile, the later holds.
    pub(super) fn on_count(
        &mut self,
        id: BucketId,
        name: &str,
        count: Count,
        out: &mut Effects<T>,
    ) {
        let channel = self.buckets[id].channels.get_mut(name);
        let Some(shared) = channel.and_then(|channel| channel.shared.as_deref_mut()) else {
            return;
        };
        if shared.tells_count && count.at_us >= shared.counted_at_us {
            shared.counted_at_us = count.at_us;
            out.push(Effect::Change(
                self.key(id, name),
                Change::Count(count.number),
            ));
        }
    }

    /// Takes a change of members that Redis has numbered.
    pub(super) fn on_edge(
        &mut self,
        id: BucketId,
        name: &str,
        edge: Edge,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let Some(channel) = self.buckets[id].channels.get_mut(name) else {
            return;
        };
        let Some(shared) = channel.shared.as_deref_mut() else {
            return;
        };
        if shared.sync != Sync::Synced {
            if shared.early.len() >= EARLY_EDGES_MAX {
                // The gap shows when the snapshot comes, unless it has them all.
                shared.early.clear();
            }
            shared.early.push(edge);
            return;
        }
        let place = (edge.generation, edge.sequence);
        if place <= shared.reached {
            // The snapshot has it, or Redis has lost it since.
            return;
        }
        if place != (shared.reached.0, shared.reached.1 + 1) {
            // Something was missed: ask for the whole.
            shared.sync = Sync::Unsynced;
            shared.kept.heard_last &= edge.generation == shared.reached.0;
            shared.early.push(edge);
            return self.touch(id, name, now);
        }
        shared.reached.1 = edge.sequence;
        match change_of(shared, &edge, now) {
            Followed::Change(change) => out.push(Effect::Change(self.key(id, name), change)),
            Followed::Nothing => {}
            // Redis has removed a user who is here, so it takes the node for dead.
            Followed::Evicted => self.lose_epoch("a seat was removed", now, out),
        }
        self.admit_written(id, name, out);
    }
}

/// How another node's event is delivered. Notes that a cache channel's last event was heard.
fn delivered_as(lasting: Lasting, shared: Option<&mut Shared>) -> Delivered {
    match (lasting, shared) {
        (Lasting::Cached(ttl_s), shared) => {
            if let Some(shared) = shared {
                shared.kept.heard_last = true;
            }
            Delivered::Cached(ttl_s)
        }
        (Lasting::Recorded, Some(shared)) => shared
            .replay
            .map_or(Delivered::Passing, Delivered::Recorded),
        _ => Delivered::Passing,
    }
}

/// What an edge means for the mirror.
enum Followed {
    Change(Change),
    Nothing,
    Evicted,
}

fn change_of(shared: &Shared, edge: &Edge, now: Instant) -> Followed {
    let user_id = Arc::clone(&edge.user_id);
    match &edge.info {
        Some(info) => {
            let member = Member {
                user_id,
                user_info: Arc::clone(info),
            };
            Followed::Change(if edge.again {
                Change::Returned(member)
            } else {
                Change::Arrived(member)
            })
        }
        None if shared.is_seated(&user_id) => Followed::Evicted,
        // The user's other nodes may not have written its rows again. The snapshot that follows tells.
        None if shared.keeps_missing(now) => Followed::Nothing,
        None => Followed::Change(Change::Departed(user_id)),
    }
}

impl<T> Channel<T> {
    /// Everything that was heard before the snapshot, in order.
    pub(super) fn take_early(&mut self) -> Vec<Edge> {
        self.shared
            .as_deref_mut()
            .map_or_else(Vec::new, |shared| std::mem::take(&mut shared.early))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_number_is_heard_once_and_senders_are_bounded() {
        let mut senders = Senders::default();
        assert!(senders.is_new((1, 5)));
        assert!(!senders.is_new((1, 5)) && !senders.is_new((1, 4)));
        assert!(senders.is_new((1, 6)) && senders.is_new((2, 1)));
        for sender in 10..10 + SENDERS_MAX as u64 {
            assert!(senders.is_new((sender, 1)));
        }
        assert_eq!(senders.0.len(), SENDERS_MAX);
        assert!(senders.is_new((1, 6)), "long forgotten");
    }
}
