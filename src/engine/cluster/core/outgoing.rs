//! Messages to the other nodes: each app's events wait in a queue of their own, and go out in batches, in order. Apps take turns, so
//! that one that sends more than others read ([`super::flow`]) holds up nobody else.

use std::{
    collections::{BTreeMap, VecDeque},
    iter,
    sync::Arc,
    time::Instant,
};

use super::{
    Change, Core, Effect, Effects,
    arrivals::Mark,
    bucket::bucket_of,
    call::{Answer, Call, CallError, Destination, Keep, Message},
    channel::Work,
    flow::{Flow, FlowLimits, PATIENCE},
};
use crate::{
    engine::{ChannelKey, cluster::envelope},
    hub::Ticket,
};

/// Messages sent together.
const MESSAGES_MAX: usize = 512;
/// Bytes of those, unless one alone is larger, so that a slow line can carry them before Redis counts as silent.
const BYTES_MAX: usize = 1 << 20;
/// Events that an app sends in one turn.
const TURN: usize = 64;
/// Messages to nodes that may wait; more are dropped. Those are requests to end a user's connections, announcements that apps have
/// changed, and answers to marks.
const TO_NODES_MAX: usize = 65_536;

/// A message that waits for other nodes.
#[derive(Debug)]
pub struct Outgoing {
    /// The message.
    pub message: Message,
    /// Its parts of what may wait; given back when they are dropped.
    pub tickets: Vec<Ticket>,
}

/// One app's events.
#[derive(Default)]
struct AppQueue {
    events: VecDeque<Outgoing>,
    flow: Flow,
    /// Whether it stands among those whose turn comes.
    has_turn: bool,
}

/// Where the batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sending {
    #[default]
    Nothing,
    UnderWay,
    /// It was under way when the link was lost, and is sent again.
    Doubtful,
    UnderWayAgain,
}

/// What waits, and what of it is under way.
#[derive(Default)]
pub(super) struct OutgoingQueue {
    to_nodes: VecDeque<Message>,
    apps: BTreeMap<Arc<str>, AppQueue>,
    /// Apps that may send, in the order of their turns.
    turns: VecDeque<Arc<str>>,
    /// Events that wait, of all apps.
    waiting: usize,
    batch: Vec<Outgoing>,
    sending: Sending,
    limits: FlowLimits,
    last_mark: u64,
    /// When to look for marks that nobody has answered, and whose those are.
    deadlines: VecDeque<(Instant, Arc<str>)>,
}

impl OutgoingQueue {
    pub(super) fn new(limits: FlowLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, outgoing: Outgoing) {
        let Destination::Channel(key, _) = &outgoing.message.to else {
            if self.to_nodes.len() < TO_NODES_MAX {
                self.to_nodes.push_back(outgoing.message);
            }
            return;
        };
        self.waiting += 1;
        let app_id = Arc::clone(&key.app_id);
        let app = self.apps.entry(Arc::clone(&app_id)).or_default();
        app.events.push_back(outgoing);
        self.give_turn(&app_id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0 && self.to_nodes.is_empty() && self.sending == Sending::Nothing
    }

    pub(super) fn len(&self) -> usize {
        self.waiting + self.to_nodes.len() + self.batch.len()
    }

    pub(super) fn on_link_lost(&mut self) {
        if self.sending != Sending::Nothing {
            self.sending = Sending::Doubtful;
        }
        self.deadlines.clear();
        let apps: Vec<Arc<str>> = self.apps.keys().map(Arc::clone).collect();
        for app_id in apps {
            if let Some(app) = self.apps.get_mut(&app_id) {
                app.flow.reset();
            }
            self.give_turn(&app_id);
        }
    }

    /// So many nodes were sent a mark; this one is one of them.
    fn on_mark_published(&mut self, app_id: &Arc<str>, number: u64, nodes: usize, now: Instant) {
        if let Some(app) = self.apps.get_mut(app_id) {
            app.flow.on_published(number, nodes.saturating_sub(1));
        }
        self.settle(app_id, now);
    }

    /// When [`OutgoingQueue::expire`] has something to look at.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// Waits no longer for answers that are owed for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, app_id)) = self.deadlines.front()
            && *at <= now
        {
            let app_id = Arc::clone(app_id);
            self.deadlines.pop_front();
            self.settle(&app_id, now);
        }
    }

    /// A node's clients have been sent the app's events up to this mark.
    pub(super) fn on_mark_answered(&mut self, answer: &Mark, now: Instant) {
        if let Some(app) = self.apps.get_mut(&answer.app_id) {
            app.flow.on_answer(answer.node, answer.number);
        }
        self.settle(&answer.app_id, now);
    }

    fn settle(&mut self, app_id: &Arc<str>, now: Instant) {
        if let Some(app) = self.apps.get_mut(app_id) {
            app.flow.settle(now);
        }
        self.give_turn(app_id);
    }

    /// Lets an app send if it may, and forgets one that has nothing to send.
    fn give_turn(&mut self, app_id: &Arc<str>) {
        let Some(app) = self.apps.get_mut(app_id) else {
            return;
        };
        if app.has_turn {
            return;
        }
        if app.events.is_empty() {
            if app.flow.is_idle() {
                self.apps.remove(app_id);
            }
        } else if app.flow.has_room(&self.limits) {
            app.has_turn = true;
            self.turns.push_back(Arc::clone(app_id));
        }
    }

    /// Puts the next batch together.
    fn fill(&mut self, node: u64, now: Instant) {
        let mut bytes = 0_usize;
        while self.batch.len() < MESSAGES_MAX
            && let Some(message) = self.to_nodes.pop_front()
        {
            self.batch.push(Outgoing {
                message,
                tickets: Vec::new(),
            });
        }
        let mut is_full = false;
        while !is_full && let Some(app_id) = self.turns.pop_front() {
            is_full = self.take_turn(node, &app_id, &mut bytes, now);
            self.give_turn(&app_id);
        }
    }

    /// Moves some of an app's events to the batch, and marks behind them. Whether the batch is full.
    fn take_turn(&mut self, node: u64, app_id: &Arc<str>, bytes: &mut usize, now: Instant) -> bool {
        let Some(app) = self.apps.get_mut(app_id) else {
            return false;
        };
        app.has_turn = false;
        let (mut taken, mut is_full) = (0, false);
        while taken < TURN
            && app.flow.has_room(&self.limits)
            && let Some(next) = app.events.front()
        {
            let size = next.message.envelope.len();
            is_full = self.batch.len() >= MESSAGES_MAX || *bytes > 0 && *bytes + size > BYTES_MAX;
            if is_full {
                break;
            }
            self.batch.extend(app.events.pop_front());
            (*bytes, taken) = (*bytes + size, taken + 1);
            if app.flow.count(size, &self.limits) {
                self.last_mark += 1;
                app.flow.mark(self.last_mark, now);
                self.deadlines
                    .push_back((now + PATIENCE, Arc::clone(app_id)));
                let mark = Mark {
                    node,
                    app_id: Arc::clone(app_id),
                    number: self.last_mark,
                };
                self.batch.push(Outgoing {
                    message: Message {
                        to: Destination::Mark(mark.app_id.clone(), mark.number),
                        envelope: envelope::mark(&mark),
                    },
                    tickets: Vec::new(),
                });
            }
        }
        self.waiting -= taken;
        if app.events.is_empty() && app.events.capacity() > MESSAGES_MAX {
            // Gives the memory of a rush back.
            app.events = VecDeque::new();
        }
        is_full
    }
}

impl<T> Core<T> {
    pub(super) fn send_outgoing(&mut self, now: Instant, out: &mut Effects<T>) {
        if !self.link.carries_messages() {
            return;
        }
        let outgoing = &mut self.outgoing;
        outgoing.sending = match outgoing.sending {
            Sending::UnderWay | Sending::UnderWayAgain => return,
            Sending::Doubtful => Sending::UnderWayAgain,
            Sending::Nothing => {
                outgoing.fill(self.settings.node, now);
                if outgoing.batch.is_empty() {
                    return;
                }
                Sending::UnderWay
            }
        };
        let messages = outgoing.batch.iter();
        let messages = messages.map(|outgoing| outgoing.message.clone()).collect();
        // Publishes go before joins, whatever is under way.
        self.call(Call::Publish(messages), 0, now, out);
    }

    pub(super) fn on_published(
        &mut self,
        result: Result<Answer, CallError>,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let sending = std::mem::take(&mut self.outgoing.sending);
        let batch = std::mem::take(&mut self.outgoing.batch);
        let published = match result {
            Ok(Answer::Published(published)) => published,
            // Nothing more can be done for these.
            Err(CallError::Refused(error)) => vec![Err(error); batch.len()],
            _ => Vec::new(),
        };
        let published = published.into_iter().chain(iter::repeat(Ok(0)));
        for (outgoing, published) in batch.into_iter().zip(published) {
            match outgoing.message.to {
                Destination::Channel(key, keep) => {
                    if let Err(error) = published {
                        self.report_unkept(&key, &error, out);
                    }
                    self.on_kept(key, keep, sending == Sending::UnderWayAgain, now, out);
                }
                Destination::Mark(app_id, number) => {
                    // A connection that broke may still listen, and so may somebody who is no node.
                    let nodes = published.unwrap_or(0).min(self.membership.census.0);
                    self.outgoing.on_mark_published(&app_id, number, nodes, now);
                }
                Destination::Nodes | Destination::Node(_) => {}
            }
        }
    }

    /// Has the other nodes count again: this one hears what concerns all nodes.
    pub(super) fn say_hello(&mut self) {
        self.outgoing.push(Outgoing {
            message: Message {
                to: Destination::Nodes,
                envelope: envelope::hello(self.settings.node),
            },
            tickets: Vec::new(),
        });
    }

    /// Answers another node's mark: everything before it is on its way to this node's clients.
    pub(super) fn answer_mark(&mut self, mark: &Mark) {
        let answer = Mark {
            node: self.settings.node,
            ..mark.clone()
        };
        self.outgoing.push(Outgoing {
            message: Message {
                to: Destination::Node(mark.node),
                envelope: envelope::mark_answer(&answer),
            },
            tickets: Vec::new(),
        });
    }

    fn report_unkept(&mut self, key: &ChannelKey, error: &str, out: &mut Effects<T>) {
        out.push(Effect::Report(super::Notice::ChannelFailed {
            app_id: key.app_id.clone(),
            name: key.name.clone(),
            error: error.to_owned(),
        }));
    }

    /// Redis has an event of this node.
    fn on_kept(
        &mut self,
        key: ChannelKey,
        keep: Keep,
        is_repeated: bool,
        now: Instant,
        out: &mut Effects<T>,
    ) {
        let id = self.buckets.find(&key.app_id, bucket_of(&key.name));
        let channel = id.and_then(|id| self.buckets[id].channels.get_mut(&key.name));
        match keep {
            Keep::Nothing => {}
            Keep::History(event, _) => match channel {
                // Redis may have been asked for the channel's past before it had this.
                Some(channel) if matches!(channel.work, Work::Sent | Work::SentAndChanged) => {
                    if let Some(shared) = channel.shared.as_deref_mut() {
                        shared.kept.settled = Some(event);
                    }
                }
                Some(_) => out.push(Effect::Change(key, Change::Settled(event))),
                None => out.push(Effect::Change(key, Change::SettledElsewhere(event))),
            },
            Keep::Last((_, number), _) => {
                if is_repeated && let Some(id) = id {
                    // An earlier try may have been kept, and its echo lost: only Redis knows whether another event came after it.
                    self.fetch_again(id, &key.name, now);
                }
                out.push(Effect::Change(key, Change::Confirmed(number, None)));
            }
        }
    }
}
