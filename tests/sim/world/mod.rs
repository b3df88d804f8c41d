//! Several nodes, one Redis, a network and a clock, all simulated in one thread, and everything that may go wrong between them.

mod check;
mod client;
mod fault;
mod network;
mod node;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Instant,
};

use loudhailer::engine::{
    EventId,
    cluster::core::{CallId, Effect, Input, Mark, Notice, What as Happened},
};

pub(crate) use self::network::words_of;
use self::{
    network::{Envoy, Lifeline, Push},
    node::{Node, Ticket, Told},
};
use crate::{
    mutants::AlteredScript,
    plan::{CHANNELS, MS, Plan, SECOND, Step, Time, What},
    random::Random,
    redis::{Redis, Snapshot},
};

/// The Unix time at which every simulation begins, in µs.
const EPOCH_US: i64 = 1_700_000_000_000_000;
/// When everything is well again: steps and faults begin before it, and the longest ends soon after.
const CALM: Time = 56 * SECOND;
/// How long after that everything must be right.
const AGREEMENT: Time = 34 * SECOND;
/// How long after the last client has gone nothing may be left in Redis.
const TIDY: Time = 75 * SECOND;
/// How often nodes do what is due once a second, and replicas take over what the master has.
const TICK: Time = SECOND;
/// A simulation that takes more events than this goes round in circles.
const EVENTS_MAX: usize = 400_000;

/// Something that happens.
enum Event {
    Step(Step),
    /// A fault is over.
    Over(Ended),
    /// A node's core is due.
    Wake {
        process: u64,
    },
    /// Commands reach Redis.
    Arrive(Envoy),
    /// Redis reads on.
    Read {
        connection: u64,
    },
    /// Replies reach a node.
    Reply(Envoy),
    /// A message reaches a node.
    Push(Push),
    /// A node's connection is known to be broken.
    Broken {
        process: u64,
        link: u64,
    },
    /// Redis notices that a connection has gone.
    Close {
        connection: u64,
    },
    /// An attempt to connect ends.
    Connect {
        process: u64,
        link: u64,
    },
    /// A client's thread takes an answer.
    Admitted {
        process: u64,
        ticket: Ticket,
        is_granted: bool,
    },
    /// What came before another node's mark is on its way to clients.
    Delivered {
        process: u64,
        mark: Mark,
    },
    /// Everyone does what is due once a second.
    Tick,
}

/// What ends by itself.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Dead { node: usize },
    Paused { node: usize },
    Stopped { node: usize, process: u64 },
    Silent,
    RedisAway,
    Slow,
    Hanging,
    OutOfMemory,
    WrongType { channel: usize },
}

struct Scheduled {
    at: Time,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// One place for a process.
struct Place {
    node: Option<Node>,
    /// Whether something may have happened to the node for which clients have not been looked at.
    is_stirred: bool,
    lifeline: Lifeline,
    wakes_at: Time,
    /// While the process stands still: what happened meanwhile.
    paused: Option<Vec<Event>>,
    /// While the process stops: how long until there is another.
    stops: Option<Time>,
    /// Whether a process in this place has reached Redis.
    has_reached_redis: bool,
}

/// The state of the server.
struct Server {
    redis: Redis,
    is_away: bool,
    /// Until when it answers nothing.
    hangs: bool,
    /// What each command takes.
    slow: Time,
    /// When it has worked off what it has begun.
    busy_until: Time,
    /// What each connection has sent and Redis has not read.
    unread: BTreeMap<u64, VecDeque<Envoy>>,
    /// Connections of which it still executes what is under way when the node has dropped them.
    late: BTreeSet<u64>,
    /// Events that it was asked to publish, whatever it answered.
    published: BTreeSet<EventId>,
    /// What a replica has heard, with the time.
    replica: Vec<(Time, Snapshot)>,
}

pub(crate) struct World {
    plan: Plan,
    now: Time,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    handled: usize,
    random: Random,
    base: Instant,
    places: Vec<Place>,
    server: Server,
    /// Counts processes, sockets, connections.
    born: u64,
    /// What backends were told, in the order of telling.
    told: Vec<Told>,
    /// Events of each process and channel.
    published: BTreeMap<(u64, usize), u64>,
    /// Events that everyone must hear in the end.
    owed: Vec<(usize, String)>,
    /// Whether a process stopped before it had settled everything.
    closed_early: bool,
    /// What a node did that it must not do.
    mistake: Option<String>,
    /// Channels of which Redis had a key of the wrong type.
    broken: Vec<usize>,
    /// A script that has a mistake in it here.
    altered: Option<Arc<AlteredScript>>,
    /// What happened, for whoever looks for a fault.
    trace: Option<Vec<String>>,
}

/// What went wrong, and when.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) at: Time,
    pub(crate) what: String,
    pub(crate) trace: Vec<String>,
}

impl World {
    pub(crate) fn new(plan: Plan, altered: Option<Arc<AlteredScript>>, traces: bool) -> Self {
        let mut redis = Redis::new(plan.seed);
        redis.set_time(EPOCH_US);
        let mut world = Self {
            now: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            handled: 0,
            random: Random::seeded(plan.seed ^ 0x5151),
            base: Instant::now(),
            places: Vec::new(),
            server: Server {
                redis,
                is_away: false,
                hangs: false,
                slow: 0,
                busy_until: 0,
                unread: BTreeMap::new(),
                late: BTreeSet::new(),
                published: BTreeSet::new(),
                replica: Vec::new(),
            },
            born: 0,
            told: Vec::new(),
            published: BTreeMap::new(),
            owed: Vec::new(),
            broken: Vec::new(),
            closed_early: false,
            mistake: None,
            altered,
            trace: traces.then(Vec::new),
            plan,
        };
        for step in world.plan.steps.clone() {
            world.schedule(step.at + 10 * MS, Event::Step(step));
        }
        for at in 0..world.plan.nodes {
            world.places.push(Place {
                node: None,
                is_stirred: false,
                lifeline: Lifeline::default(),
                wakes_at: Time::MAX,
                paused: None,
                stops: None,
                has_reached_redis: false,
            });
            world.start_node(at);
        }
        world.schedule(TICK, Event::Tick);
        world
    }

    /// Runs the plan, and checks what must be true at any time and in the end.
    pub(crate) fn run(mut self) -> Result<usize, Failure> {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| self.play()));
        let outcome = outcome.unwrap_or_else(|_| Err("something panicked".to_owned()));
        let trace = self.trace.take().unwrap_or_default();
        let at = self.now;
        outcome.map_err(|what| Failure { at, what, trace })?;
        Ok(self.handled)
    }

    fn play(&mut self) -> Result<(), String> {
        self.run_until(CALM)?;
        self.end_faults();
        self.run_until(CALM + AGREEMENT)?;
        self.check_agreement()?;
        self.check_cached()?;
        self.publish_everywhere();
        self.run_until(CALM + AGREEMENT + 3 * SECOND)?;
        self.check_deliveries()?;
        self.check_published()?;
        self.check_cached()?;
        self.check_history()?;
        self.everyone_leaves();
        self.run_until(CALM + AGREEMENT + 3 * SECOND + TIDY)?;
        self.check_emptiness()
    }

    fn run_until(&mut self, end: Time) -> Result<(), String> {
        while let Some(Reverse(next)) = self.events.peek() {
            if next.at > end {
                break;
            }
            let Some(Reverse(Scheduled { at, event, .. })) = self.events.pop() else {
                break;
            };
            self.now = at;
            self.handled += 1;
            if self.handled > EVENTS_MAX {
                return Err("it goes round in circles".to_owned());
            }
            self.happen(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.scheduled += 1;
        let number = self.scheduled;
        self.events.push(Reverse(Scheduled { at, number, event }));
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} {}", self.now as f64 / 1e3, what()));
        }
    }

    fn between(&mut self, (from, to): (Time, Time)) -> Time {
        let span = usize::try_from(to - from + 1).expect("a short time");
        from + self.random.below(span) as Time
    }

    fn place_of(&self, process: u64) -> Option<usize> {
        let is_there = |place: &Place| {
            place
                .node
                .as_ref()
                .is_some_and(|node| node.process == process)
        };
        self.places.iter().position(is_there)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        let event = match self.hold_if_paused(event) {
            Some(event) => event,
            None => return Ok(()),
        };
        match event {
            Event::Step(step) => self.step(step),
            Event::Over(ended) => self.end(ended),
            Event::Wake { process } => {
                if let Some(at) = self.place_of(process) {
                    self.places[at].wakes_at = Time::MAX;
                    self.give(at, Input::Tick);
                }
            }
            Event::Arrive(envoy) => self.arrive(envoy),
            Event::Read { connection } => self.read(connection),
            Event::Reply(envoy) => self.replied(envoy),
            Event::Push(push) => self.pushed(&push),
            Event::Broken { process, link } => self.broken_link(process, link),
            Event::Close { connection } => self.server.redis.close(connection),
            Event::Connect { process, link } => self.connected(process, link),
            Event::Admitted {
                process,
                ticket,
                is_granted,
            } => {
                if let Some(at) = self.place_of(process) {
                    let now = self.now;
                    let node = self.node(at);
                    node.admitted(ticket, is_granted, now);
                    self.act(at);
                }
            }
            Event::Delivered { process, mark } => {
                if let Some(at) = self.place_of(process) {
                    self.give(at, Input::Delivered(mark));
                }
            }
            Event::Tick => self.tick(),
        }
        for place in &mut self.places {
            if std::mem::take(&mut place.is_stirred)
                && let Some(node) = &mut place.node
            {
                node.deliver()?;
            }
        }
        self.check_bounds()
    }

    /// What concerns a process that stands still happens when it goes on.
    fn hold_if_paused(&mut self, event: Event) -> Option<Event> {
        let process = match &event {
            Event::Wake { process }
            | Event::Broken { process, .. }
            | Event::Connect { process, .. }
            | Event::Delivered { process, .. }
            | Event::Admitted { process, .. } => *process,
            Event::Reply(envoy) => envoy.process,
            Event::Push(push) => push.process,
            _ => return Some(event),
        };
        let Some(at) = self.place_of(process) else {
            return Some(event);
        };
        match &mut self.places[at].paused {
            Some(held) => {
                held.push(event);
                None
            }
            None => Some(event),
        }
    }

    fn node(&mut self, at: usize) -> &mut Node {
        self.places[at].is_stirred = true;
        self.places[at].node.as_mut().expect("there is one")
    }

    fn is_running(&self, at: usize) -> bool {
        let place = &self.places[at];
        place.node.is_some() && place.paused.is_none() && place.stops.is_none()
    }

    fn tick(&mut self) {
        for at in 0..self.places.len() {
            if self.is_running(at) {
                let now = self.now;
                self.node(at).tick(now);
            }
        }
        if self.plan.is_replicated() {
            self.server
                .replica
                .push((self.now, self.server.redis.snapshot()));
            let keep_from = self.server.replica.len().saturating_sub(4);
            self.server.replica.drain(..keep_from);
        }
        self.schedule(self.now + TICK, Event::Tick);
    }

    // --- Steps -------------------------------------------------------------------------------------------

    fn step(&mut self, step: Step) {
        self.note(|| format!("{:?}", step.what));
        let plan = self.plan.clone();
        let now = self.now;
        match step.what {
            What::Join { client, channel } => {
                let at = client % plan.nodes;
                if self.is_running(at) {
                    self.node(at).join(client, channel, &plan, now);
                    self.act(at);
                }
            }
            What::Leave { client, channel } => {
                let at = client % plan.nodes;
                if self.is_running(at) {
                    self.node(at).leave(client, channel, now);
                    self.act(at);
                }
            }
            What::Reconnect { client } => {
                let at = client % plan.nodes;
                if self.is_running(at) {
                    self.node(at).disconnect(client, now);
                    self.connect_client(at, client);
                    self.act(at);
                }
            }
            What::Publish {
                node,
                channel,
                except,
            } => {
                if self.is_running(node) && CHANNELS[channel] != crate::plan::ONLINE {
                    self.publish(node, channel, except);
                }
            }
            What::Fault(fault) => self.begin(fault),
        }
    }

    fn publish(&mut self, at: usize, channel: usize, except: Option<usize>) -> String {
        let except = except.and_then(|client| {
            let place = &self.places[client % self.plan.nodes];
            Some(place.node.as_ref()?.clients.get(&client)?.socket)
        });
        let now = self.now;
        let process = self.node(at).process;
        let number = self.published.entry((process, channel)).or_default();
        *number += 1;
        let data = format!("p{process}:{number}");
        self.node(at).publish(channel, except, &data, now);
        self.act(at);
        data
    }

    fn start_node(&mut self, at: usize) {
        self.born += 1;
        let rate = match (self.plan.drift, at % 3) {
            (drift, 1) => drift,
            (drift, 2) => -drift,
            _ => 0,
        };
        let node = Node::start(self.born, &self.plan, self.base, self.now, rate);
        let process = node.process;
        self.note(|| format!("process {process} begins in place {at}"));
        self.places[at].node = Some(node);
        self.places[at].lifeline = Lifeline::default();
        self.begin_to_connect(at, 0);
        for client in 0..self.plan.clients {
            if client % self.plan.nodes == at {
                self.connect_client(at, client);
            }
        }
        self.give(at, Input::Tick);
    }

    fn connect_client(&mut self, at: usize, client: usize) {
        self.born += 1;
        let user = format!("u{}", client % self.plan.users);
        let socket = (7 << 40) + self.born;
        self.node(at).connect(client, user, socket);
    }

    // --- The core ----------------------------------------------------------------------------------------

    fn give(&mut self, at: usize, input: Input<'_, Ticket>) {
        let now = self.now;
        self.node(at).handle(input, now);
        self.act(at);
    }

    /// Lets the core go on, and does what it says.
    fn act(&mut self, at: usize) {
        let now = self.now;
        let node = self.node(at);
        let instant = node.instant(now);
        node.core.proceed(instant, &mut node.effects);
        let effects = std::mem::take(&mut node.effects);
        for effect in effects {
            self.perform(at, effect);
        }
        let due = self.node(at).next_due().max(now + 1);
        if due < self.places[at].wakes_at {
            self.places[at].wakes_at = due;
            let process = self.node(at).process;
            self.schedule(due, Event::Wake { process });
        }
    }

    fn perform(&mut self, at: usize, effect: Effect<Ticket>) {
        let (now, process) = (self.now, self.node(at).process);
        match effect {
            Effect::Connect(after) => {
                let after = Time::try_from(after.as_micros()).expect("a short time");
                self.drop_link(at);
                self.begin_to_connect(at, after);
            }
            Effect::Call(id, call) => self.send(at, id, call),
            Effect::Reachable(is_reachable) => self.places[at].has_reached_redis |= is_reachable,
            Effect::Admit(ticket, result) => {
                self.check_refusal(at, ticket, result);
                // The client's thread takes it a little later.
                let is_granted = result.is_ok();
                let soon = self.between((1, 2 * MS));
                let event = Event::Admitted {
                    process,
                    ticket,
                    is_granted,
                };
                self.schedule(now + soon, event);
            }
            Effect::Closed(_) => {
                let stopped = Ended::Stopped { node: at, process };
                self.schedule(now + 1, Event::Over(stopped));
            }
            Effect::Answer(..) | Effect::Terminate { .. } | Effect::Apps(_) => {}
            Effect::Change(key, change) => {
                self.note(|| format!("{process} {}: {change:?}", key.name));
                let node = self.node(at);
                let instant = node.instant(now);
                node.mirror.change(&key, change, instant);
            }
            Effect::Deliver(key, event, delivered) => {
                let node = self.node(at);
                let instant = node.instant(now);
                node.mirror.deliver(&key, event, delivered, instant);
            }
            Effect::Mark(mark) => {
                let soon = self.between((1, 30 * MS));
                self.schedule(now + soon, Event::Delivered { process, mark });
            }
            Effect::Tell(_, told) => {
                let (event, about) = match told.what {
                    Happened::Occupied => ("occupied", String::new()),
                    Happened::Vacated => ("vacated", String::new()),
                    Happened::Added(user) => ("added", user.to_string()),
                    Happened::Removed(user) => ("removed", user.to_string()),
                    Happened::Count(count) => ("count", count.to_string()),
                    Happened::Missed => ("missed", String::new()),
                    _ => return,
                };
                self.note(|| format!("{process} tells {} {event} {about}", told.channel));
                self.check_delay(&told.channel, event, &about);
                self.told.push((told.channel.to_string(), event, about));
            }
            Effect::Report(notice) => {
                self.note(|| format!("{process} {notice:?}"));
                self.closed_early |= notice == Notice::ClosedEarly;
            }
        }
    }

    fn answered(
        &mut self,
        at: usize,
        id: CallId,
        result: Result<
            loudhailer::engine::cluster::core::Answer,
            loudhailer::engine::cluster::core::CallError,
        >,
    ) {
        self.give(at, Input::Answered(id, result));
    }
}
