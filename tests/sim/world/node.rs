//! One simulated process: the real core and mirror, the real hub and shard, and its clients.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use loudhailer::{
    app::Replay,
    engine::{
        CacheableEvent, ChannelEdge, ChannelKey, Edges, EventId, Heard, Snapshot, State,
        cluster::{
            core::{
                Core, Destination, Effect, Enter, Event, FlowLimits, Hooks, Input, Keep, Lasting,
                Message, Outgoing, RedisMode, Settings,
            },
            envelope,
            mirror::Mirror,
            redis::{Encoder, Names},
        },
    },
    feed::Feed,
    hub::{
        AppChannels, Change, Channel, ChannelSettings, Delivery, Hub, Outbox, Shard, ShardSettings,
        Subscriber,
    },
    presence::Member,
    protocol::{ChannelName, Frame, SocketId, message},
};

use super::client::{Client, Standing};
use crate::plan::{CHANNELS, ONLINE, Plan, Time, WATCHED};

pub(crate) const APP: &str = "1001";
/// What of the past a channel shows.
pub(crate) const REPLAY: Replay = Replay {
    events: 3,
    age: Duration::from_secs(30),
};
/// How long a cached event is kept.
const CACHE_TTL: Duration = Duration::from_secs(60);

/// What a backend was told: channel, event, and whom it is about.
pub(crate) type Told = (String, &'static str, String);

/// Keeps what backends are told. Only the core tells here, never the state.
struct NoEdges;

impl Edges for NoEdges {
    fn heard(&self, _: &str, _: &str) -> Heard {
        Heard::default()
    }

    fn tell(&self, _: &str, _: &str, _: ChannelEdge<'_>) {}
}

pub(crate) struct Node {
    /// Names this process among all that there have been.
    pub(crate) process: u64,
    pub(crate) core: Core<Ticket>,
    pub(crate) mirror: Mirror,
    pub(crate) encoder: Encoder,
    pub(crate) clients: BTreeMap<usize, Client>,
    pub(crate) effects: Vec<Effect<Ticket>>,
    /// When a client was last in a channel that has left it since: any client, and any of this user.
    pub(crate) left: BTreeMap<(usize, String), Time>,
    app: Arc<AppChannels>,
    hub: Arc<Hub>,
    shard: Rc<Shard>,
    fan_out: Pin<Box<dyn Future<Output = ()>>>,
    /// Time here = began + (simulated time) × rate.
    base: Instant,
    rate_permille: i64,
    events: u64,
}

/// Who waits for an admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub(crate) client: usize,
    pub(crate) socket: u64,
    pub(crate) channel: usize,
    /// Which of the client's wishes.
    pub(crate) number: u64,
}

fn hooks(counts: bool) -> Hooks {
    Box::new(move |_, name| {
        if name.starts_with('#') {
            return Heard::default();
        }
        Heard {
            edges: true,
            counts: counts && !name.starts_with("presence-"),
            misses: name.starts_with("cache-"),
            sessions: false,
        }
    })
}

impl Node {
    pub(crate) fn start(process: u64, plan: &Plan, base: Instant, now: Time, rate: i64) -> Self {
        let hub = Arc::new(Hub::new(1));
        let settings = ShardSettings {
            activity_timeout_ticks: 1000,
            pong_timeout_ticks: 1000,
        };
        let shard = Shard::claim(&hub, settings).expect("a free place");
        let state = Arc::new(State::new(Arc::clone(&hub), Feed::default(), None));
        let mode = if plan.is_replicated() {
            RedisMode::Replicated
        } else {
            RedisMode::Single
        };
        let flow = if plan.narrow_flow {
            FlowLimits {
                mark_events: 2,
                events_max: 8,
                ..FlowLimits::default()
            }
        } else {
            FlowLimits::default()
        };
        let settings = Settings {
            node: process,
            mode,
            flow,
        };
        let began = instant(base, rate, now);
        Self {
            process,
            core: Core::new(settings, hooks(plan.counts), began),
            mirror: Mirror::new(state, Arc::new(NoEdges)),
            encoder: Encoder {
                names: Names::new("loudhailer"),
                node: process,
                sharded: false,
            },
            clients: BTreeMap::new(),
            effects: Vec::new(),
            left: BTreeMap::new(),
            app: hub.app(APP),
            fan_out: Box::pin(Rc::clone(&shard).run()),
            hub,
            shard,
            base,
            rate_permille: rate,
            events: 0,
        }
    }

    pub(crate) fn instant(&self, now: Time) -> Instant {
        instant(self.base, self.rate_permille, now)
    }

    /// When the core wants to be called again, in simulated time.
    pub(crate) fn next_due(&self) -> Time {
        let due = self.core.next_due().saturating_duration_since(self.base);
        let due = i128::try_from(due.as_micros()).expect("a simulation is short");
        let due = due * 1000 / i128::from(1000 + self.rate_permille) + 1;
        Time::try_from(due).expect("time is positive")
    }

    pub(crate) fn handle(&mut self, input: Input<'_, Ticket>, now: Time) {
        let at = self.instant(now);
        self.core.handle(input, at, &mut self.effects);
    }

    // --- Clients -----------------------------------------------------------------------------------------

    pub(crate) fn connect(&mut self, client: usize, user: String, socket: u64) {
        let id = SocketId::from_bits(socket).expect("never 0");
        let subscriber = Rc::new(Subscriber::new(id, Outbox::fetched(64 << 20)));
        self.shard.admit(&subscriber);
        self.clients
            .insert(client, Client::new(user, socket, subscriber));
    }

    fn attach(&self, channel: usize, counts: bool) -> Arc<Channel> {
        let name = name_of(CHANNELS[channel]);
        let settings = || ChannelSettings {
            tells_count: counts && !name.kind().has_members(),
            replay: CHANNELS[channel].starts_with("past-").then_some(REPLAY),
        };
        self.app.attach(name, self.shard.id(), settings, |_| {})
    }

    pub(crate) fn join(&mut self, client: usize, channel: usize, plan: &Plan, now: Time) {
        let Some(one) = self.clients.get_mut(&client) else {
            return;
        };
        if !matches!(one.standing(channel), Standing::Out) {
            return;
        }
        one.tries += 1;
        let number = one.tries;
        let (name, socket, user) = (CHANNELS[channel], one.socket, one.user.clone());
        let goes_online = name == ONLINE && user == WATCHED;
        let has_member = name.starts_with("presence-") || goes_online;
        let attached = self.attach(channel, plan.counts);
        let member = has_member.then(|| Member {
            user_id: user.as_str().into(),
            user_info: format!(r#"{{"of":"{user}"}}"#).into(),
        });
        let enter = Enter {
            key: ChannelKey::from(&*attached),
            tells_count: attached.tells_count,
            replay: attached.replay,
            max_members: if goes_online { 1 } else { plan.room },
            socket: SocketId::from_bits(socket).expect("never 0"),
            member: member.clone(),
            reply: Ticket {
                client,
                socket,
                channel,
                number,
            },
        };
        let one = self.clients.get_mut(&client).expect("looked up");
        let standing = if goes_online {
            Standing::Online
        } else {
            Standing::Waiting
        };
        one.enter(channel, standing, attached, member);
        self.handle(Input::Enter(enter), now);
    }

    pub(crate) fn leave(&mut self, client: usize, channel: usize, now: Time) {
        let Some(one) = self.clients.get_mut(&client) else {
            return;
        };
        let Some((standing, attached, member)) = one.leave(channel) else {
            return;
        };
        if matches!(standing, Standing::In | Standing::Online) {
            self.left.insert((channel, String::new()), now);
            self.left.insert((channel, one.user.clone()), now);
        }
        if standing == Standing::In {
            self.shard.unsubscribe(&one.subscriber, CHANNELS[channel]);
        }
        let socket = SocketId::from_bits(one.socket).expect("never 0");
        self.app.detach(&attached, self.shard.id(), |_| {});
        let user_id = member.map(|member| member.user_id);
        let key = ChannelKey::from(&*attached);
        self.handle(
            Input::Leave {
                key,
                socket,
                user_id,
            },
            now,
        );
    }

    /// The client's connection ends.
    pub(crate) fn disconnect(&mut self, client: usize, now: Time) {
        for channel in 0..CHANNELS.len() {
            self.leave(client, channel, now);
        }
        if let Some(one) = self.clients.remove(&client) {
            self.shard.dismiss(&one.subscriber);
        }
    }

    /// The answer to a client's wish has reached its thread. Whether it was refused.
    pub(crate) fn admitted(&mut self, ticket: Ticket, is_granted: bool, now: Time) {
        let Ticket {
            client,
            socket,
            channel,
            number,
        } = ticket;
        let Some(one) = self.clients.get_mut(&client) else {
            return;
        };
        if one.socket != socket || one.waits_for(channel) != Some(number) {
            return;
        }
        if !is_granted {
            self.leave(client, channel, now);
            let one = self.clients.get_mut(&client).expect("looked up");
            one.refused += 1;
            return;
        }
        let (attached, member) = one.seat(channel);
        let at = instant(self.base, self.rate_permille, now);
        let id = SocketId::from_bits(socket).expect("never 0");
        let snapshot = self.mirror.state().snapshot(&attached, id, at);
        let subscriber = Rc::clone(&one.subscriber);
        subscriber.outbox.send(&snapshot.succeeded);
        for event in snapshot.count.iter().chain(&snapshot.replayed) {
            subscriber.outbox.send(event);
        }
        let kind = attached.kind;
        let misses = kind.cache && snapshot.cached.is_none();
        if misses {
            subscriber.outbox.send(&message::cache_miss(&attached.name));
        } else if let Some(cached) = &snapshot.cached {
            subscriber.outbox.send(cached);
        }
        if CHANNELS[channel] == ONLINE {
            let online = self.mirror.state().is_online(&ChannelKey::from(&*attached));
            self.clients
                .get_mut(&client)
                .expect("looked up")
                .sees_online = Some(online);
        }
        let key = ChannelKey::from(&*attached);
        self.shard
            .subscribe(&subscriber, attached, member.map(Arc::new), snapshot.since);
        if misses {
            self.handle(Input::Missed(key), now);
        }
    }

    /// What a new subscriber of the channel would be shown, if there is any subscriber here.
    pub(crate) fn shown(&self, channel: usize, now: Time) -> Option<Snapshot> {
        let is_in = |client: &&Client| client.standing(channel) == Standing::In;
        let attached = self.clients.values().find(is_in)?.attached(channel)?;
        let nobody = SocketId::from_bits(1).expect("not 0");
        let state = self.mirror.state();
        Some(state.snapshot(attached, nobody, self.instant(now)))
    }

    // --- Events ------------------------------------------------------------------------------------------

    /// A backend publishes to this node: its own subscribers first, then a message to the others.
    pub(crate) fn publish(&mut self, channel: usize, except: Option<u64>, data: &str, now: Time) {
        let name = CHANNELS[channel];
        let frame = Frame::event("\"e\"", name, &serde_json::json!(data).to_string());
        let except = except.and_then(SocketId::from_bits);
        let at = self.instant(now);
        let event = CacheableEvent {
            app: &self.app,
            name: name_of(name),
            frame: frame.clone(),
            except,
            receipt: None,
            published: None,
            at,
        };
        self.events += 1;
        let id = (self.process, self.events);
        let ttl_s = u32::try_from(CACHE_TTL.as_secs()).expect("short");
        let (lasting, keep) = if name.starts_with("cache-") {
            self.mirror.state().remember_own(event, CACHE_TTL, || id.1);
            (Lasting::Cached(ttl_s), Keep::Last(id, ttl_s))
        } else if name.starts_with("past-") {
            self.mirror.state().record_own(event, REPLAY, || id);
            (Lasting::Recorded, Keep::History(id, REPLAY))
        } else {
            if let Some(route) = self.app.route(name) {
                let delivery = Delivery {
                    channel: route.channel,
                    frame: frame.clone(),
                    except,
                    change: Change::Nothing,
                    receipt: None,
                    published: None,
                };
                self.hub.deliver(&route, delivery);
            }
            (Lasting::Passing, Keep::Nothing)
        };
        let message = Message {
            to: Destination::Channel(ChannelKey::new(&APP.into(), name), keep),
            envelope: envelope::event(&Event { id, except, frame }, lasting),
        };
        let outgoing = Outgoing {
            message,
            tickets: Vec::new(),
        };
        self.handle(Input::Publish(outgoing), now);
    }

    /// All events that backends have published to this node.
    pub(crate) fn events(&self) -> impl Iterator<Item = EventId> {
        let process = self.process;
        (1..=self.events).map(move |number| (process, number))
    }

    /// Lets the shard write, and clients read.
    pub(crate) fn deliver(&mut self) -> Result<(), String> {
        let mut context = Context::from_waker(Waker::noop());
        // It yields between two parts of its work.
        for _ in 0..8 {
            if let Poll::Ready(()) = self.fan_out.as_mut().poll(&mut context) {
                return Err("the shard has ended".to_owned());
            }
        }
        for client in self.clients.values_mut() {
            let bytes: Vec<Bytes> = client.subscriber.outbox.take_waiting().collect();
            client.read(&bytes.concat())?;
        }
        Ok(())
    }

    pub(crate) fn tick(&self, now: Time) {
        let (state, now) = (self.mirror.state(), self.instant(now));
        state.tick(now);
        state.send_due_counts(now);
    }
}

fn instant(base: Instant, rate_permille: i64, now: Time) -> Instant {
    let scaled = i128::from(now) * i128::from(1000 + rate_permille) / 1000;
    base + Duration::from_micros(u64::try_from(scaled).expect("time is positive"))
}

fn name_of(name: &str) -> ChannelName<'_> {
    ChannelName::of_key(name, loudhailer::protocol::ChannelKind::of(name))
}
