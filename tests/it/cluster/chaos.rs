//! Everything at once, seeded: clients come, go and publish on three nodes while nodes are killed, stopped and started again,
//! and Redis hangs, dies, or loses its data. In the end every list is the truth, every client's messages add up, and no event
//! was lost, doubled or out of order where nothing stood in its way.
//!
//! `LOUDHAILER_CHAOS_SEED` and `LOUDHAILER_CHAOS_ROUNDS` choose another run.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{SUCCEEDED, setup, try_users, watcher::View};
use crate::support::{
    client::{Message, TestClient},
    random::Random,
    redis::RedisServer,
    server::TestServer,
    setup::Setup,
    within,
};

const NODES: usize = 3;
const PLAYERS: usize = 18;
const USERS: usize = 7;
const ROOMS: [&str; 2] = ["presence-a", "presence-b"];
const TOPICS: [&str; 2] = ["news", "private-talk"];
const CHANNELS: [&str; 4] = [ROOMS[0], ROOMS[1], TOPICS[0], TOPICS[1]];
const CACHE: &str = "cache-last";

const ROUNDS: usize = 200;
const STEPS_PER_ROUND: usize = 8;
/// A fault begins every so many rounds, and a checkpoint follows it.
const ROUNDS_PER_FAULT: usize = 8;
const LEASE: Duration = Duration::from_secs(6);
/// What agreement may take: a lease, its notice, and the time after a loss in which nobody is removed; and a noisy machine.
const AGREEMENT: Duration = Duration::from_secs(40);
/// How long after a fault's end events may still be lost: links are made anew.
const SETTLING: Duration = Duration::from_millis(2500);
const FOREVER: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillNode,
    FreezeNode,
    FreezeNodeBriefly,
    KillRedis,
    FreezeRedis,
    FreezeRedisLong,
    Flush,
    FlushAndKillNode,
}

const FAULTS: [Fault; 8] = [
    Fault::KillNode,
    Fault::FreezeNode,
    Fault::FreezeNodeBriefly,
    Fault::KillRedis,
    Fault::FreezeRedis,
    Fault::FreezeRedisLong,
    Fault::Flush,
    Fault::FlushAndKillNode,
];

/// Who published, and where: within it, numbers rise.
type Source = (String, String);

/// A player's part in one channel.
#[derive(Default)]
struct Seat {
    state: State,
    view: View,
    asked: Option<Instant>,
    /// Leaves that the server has not confirmed by a pong; until then messages are an old subscription's.
    leaving: usize,
    /// The last number of each source.
    heard: BTreeMap<Source, u64>,
    /// Numbers that must come, with the node that they come from.
    owed: BTreeMap<Source, (usize, VecDeque<u64>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Out,
    Asked,
    In,
}

/// A client, strict about everything it hears.
struct Player {
    client: TestClient,
    name: String,
    user: String,
    node: usize,
    seats: BTreeMap<&'static str, Seat>,
    /// What the pongs that are awaited confirm.
    pings: VecDeque<Option<&'static str>>,
    /// An error message that belongs to a refusal comes next.
    refused: bool,
}

/// Since when nothing has been in the way; in the future while something is.
struct Calm {
    nodes: [Instant; NODES],
    redis: Instant,
}

impl Calm {
    fn of(&self, node: usize) -> Instant {
        self.nodes[node].max(self.redis)
    }
}

impl Player {
    fn join(&mut self, channel: &'static str) {
        let seat = self.seats.get_mut(channel).unwrap();
        if seat.state != State::Out {
            return;
        }
        seat.state = State::Asked;
        seat.asked = Some(Instant::now());
        seat.heard.clear();
        if ROOMS.contains(&channel) {
            let member = json!({"user_id": self.user, "user_info": {"of": self.user}});
            self.client.ask_with(channel, &member.to_string());
        } else {
            self.client.ask(channel);
        }
    }

    fn leave(&mut self, channel: &'static str) {
        let seat = self.seats.get_mut(channel).unwrap();
        if seat.state == State::Out {
            return;
        }
        seat.state = State::Out;
        seat.view = View::default();
        seat.owed.clear();
        seat.leaving += 1;
        self.client.unsubscribe(channel);
        self.ping(Some(channel));
    }

    fn ping(&mut self, confirms: Option<&'static str>) {
        self.client.send(&json!({"event": "pusher:ping"}));
        self.pings.push_back(confirms);
    }

    /// Takes what has come, without waiting for more.
    fn pump(&mut self, calm: &Calm) {
        while let Ok(message) = self.client.read(Duration::from_millis(1)) {
            self.take(&message, calm);
        }
    }

    fn take(&mut self, message: &Message, calm: &Calm) {
        match message.event() {
            "pusher:pong" => {
                let confirmed = self.pings.pop_front().expect("an awaited pong");
                if let Some(channel) = confirmed {
                    self.seats.get_mut(channel).unwrap().leaving -= 1;
                }
                return;
            }
            "pusher:error" => {
                assert!(
                    std::mem::take(&mut self.refused) || message.code() == Some(4301),
                    "{}: {}",
                    self.name,
                    message.text
                );
                return;
            }
            _ => {}
        }
        let channel = message.channel().expect("a channel").to_owned();
        let Some((_, seat)) = self.seats.iter_mut().find(|(name, _)| **name == channel) else {
            panic!("{}: {}", self.name, message.text);
        };
        if message.event() == "pusher:subscription_error" {
            self.refused = true;
        }
        if seat.leaving > 0 {
            return;
        }
        match message.event() {
            SUCCEEDED => {
                assert_eq!(seat.state, State::Asked, "{}: {}", self.name, message.text);
                seat.state = State::In;
                if ROOMS.contains(&channel.as_str()) {
                    seat.view.apply(message, &self.user);
                }
            }
            "pusher:subscription_error" => {
                assert_eq!(seat.state, State::Asked, "{}: {}", self.name, message.text);
                assert_eq!(message.decoded()["status"], 503, "{}", message.text);
                let asked = seat.asked.expect("it asked");
                assert!(
                    calm.of(self.node) + SETTLING > asked,
                    "{}: refused although all was well: {}",
                    self.name,
                    message.text
                );
                seat.state = State::Out;
            }
            _ if seat.view.apply(message, &self.user) => {}
            _ => self.hear(&channel, message),
        }
    }

    /// Takes an event.
    fn hear(&mut self, channel: &str, message: &Message) {
        let (_, seat) = self
            .seats
            .iter_mut()
            .find(|(name, _)| **name == channel)
            .unwrap();
        assert_eq!(seat.state, State::In, "{}: {}", self.name, message.text);
        let data = message.decoded();
        assert_ne!(
            data["except"], self.client.socket_id,
            "{} was left out: {}",
            self.name, message.text
        );
        let source = data["source"].as_str().expect("a source").to_owned();
        let number = data["number"].as_u64().expect("a number");
        let source = (source, channel.to_owned());
        if let Some(last) = seat.heard.insert(source.clone(), number) {
            assert!(
                number > last,
                "{}: {number} after {last} of {source:?}",
                self.name
            );
        }
        if let Some((_, owed)) = seat.owed.get_mut(&source) {
            match owed.front() {
                Some(first) if *first == number => drop(owed.pop_front()),
                Some(first) => assert!(
                    number < *first,
                    "{}: {number} of {source:?} came, {first} was lost",
                    self.name
                ),
                None => {}
            }
        }
    }

    fn is_owed(&self) -> Option<String> {
        let mut seats = self.seats.iter();
        seats.find_map(|(channel, seat)| {
            let (source, owed) = seat.owed.iter().find(|(_, (_, owed))| !owed.is_empty())?;
            Some(format!(
                "{} on {channel} from {source:?}: {owed:?}",
                self.name
            ))
        })
    }

    /// Nothing is owed any more that crosses this node, or any.
    fn forgive(&mut self, node: Option<usize>) {
        let all = node.is_none_or(|node| node == self.node);
        for seat in self.seats.values_mut() {
            seat.owed.retain(|_, (from, _)| !all && node != Some(*from));
        }
    }
}

/// The whole scene.
struct World {
    players: Vec<Player>,
    nodes: Vec<Option<TestServer>>,
    frozen: [bool; NODES],
    redis: RedisServer,
    setup: Setup,
    random: Random,
    calm: Calm,
    /// Counts nodes and players, for their names.
    born: usize,
    incarnations: [usize; NODES],
    numbers: BTreeMap<Source, u64>,
    round: usize,
    seed: u64,
    /// Deliveries that had to come.
    owed: usize,
}

impl Drop for World {
    fn drop(&mut self) {
        self.redis.thaw();
        if std::thread::panicking() {
            eprintln!(
                "LOUDHAILER_CHAOS_SEED={} in round {}",
                self.seed, self.round
            );
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let redis = RedisServer::start();
        let setup = setup(&redis.url()).set("log.level", "info,loudhailer::engine=debug");
        let nodes = (0..NODES).map(|_| Some(TestServer::start(setup.clone())));
        let past = Instant::now() - SETTLING;
        let mut world = Self {
            nodes: nodes.collect(),
            players: Vec::new(),
            frozen: [false; NODES],
            redis,
            setup,
            random: Random::seeded(seed),
            calm: Calm {
                nodes: [past; NODES],
                redis: past,
            },
            born: 0,
            incarnations: [0; NODES],
            numbers: BTreeMap::new(),
            round: 0,
            seed,
            owed: 0,
        };
        for _ in 0..PLAYERS {
            world.add_player();
        }
        world
    }

    fn running(&self) -> Vec<usize> {
        (0..NODES)
            .filter(|at| self.nodes[*at].is_some() && !self.frozen[*at])
            .collect()
    }

    fn node(&self, at: usize) -> &TestServer {
        self.nodes[at].as_ref().expect("it runs")
    }

    fn add_player(&mut self) {
        let running = self.running();
        let at = *self.random.pick(&running);
        self.born += 1;
        let user = format!("u{}", self.random.below(USERS));
        self.players.push(Player {
            client: self.node(at).client(),
            name: format!("player {} ({user} on node {at})", self.born),
            user,
            node: at,
            seats: CHANNELS.map(|channel| (channel, Seat::default())).into(),
            pings: VecDeque::new(),
            refused: false,
        });
    }

    fn pump(&mut self) {
        for player in &mut self.players {
            if !self.frozen[player.node] {
                player.pump(&self.calm);
            }
        }
    }

    /// Whether events from one node to the other must arrive, at this moment.
    fn is_calm(&self, from: usize, to: usize) -> bool {
        let now = Instant::now();
        let calm = |at: usize| {
            self.nodes[at].is_some()
                && !self.frozen[at]
                && now.duration_since(self.calm.of(at)) > SETTLING
        };
        calm(from) && calm(to)
    }

    /// Whoever is in and not left out must hear this event.
    fn owe(&mut self, source: &Source, from: usize, number: u64, except: Option<&str>) {
        for at in 0..self.players.len() {
            let is_calm = self.is_calm(from, self.players[at].node);
            let player = &mut self.players[at];
            if Some(&*player.client.socket_id) == except {
                continue;
            }
            let (_, seat) = player
                .seats
                .iter_mut()
                .find(|(name, _)| **name == source.1)
                .unwrap();
            if seat.state == State::In && seat.leaving == 0 && is_calm {
                let owed = seat.owed.entry(source.clone()).or_default();
                owed.0 = from;
                owed.1.push_back(number);
                self.owed += 1;
            }
        }
    }

    fn next_number(&mut self, source: &Source) -> u64 {
        let number = self.numbers.entry(source.clone()).or_default();
        *number += 1;
        *number
    }

    fn publish(&mut self) {
        let running = self.running();
        let from = *self.random.pick(&running);
        let channel = *self.random.pick(&CHANNELS);
        let source = (
            format!("node {from}.{}", self.incarnations[from]),
            channel.to_owned(),
        );
        for _ in 0..=self.random.below(4) {
            let number = self.next_number(&source);
            let except = (self.random.below(4) == 0).then(|| {
                let at = self.random.below(self.players.len());
                self.players[at].client.socket_id.clone()
            });
            let data = json!({"source": source.0, "number": number, "except": except});
            let mut body = json!({"name": "e", "channel": channel, "data": data.to_string()});
            if let Some(except) = &except {
                body["socket_id"] = json!(except);
            }
            // Owed before it is sent: whoever comes later need not hear it.
            self.owe(&source, from, number, except.as_deref());
            self.node(from).api().events(&body).is_empty_object();
        }
    }

    fn publish_cached(&mut self) {
        let running = self.running();
        let from = *self.random.pick(&running);
        self.born += 1;
        let data = format!("event {}", self.born);
        self.node(from).api().publish(CACHE, "e", &data);
    }

    fn trigger(&mut self) {
        let at = self.random.below(self.players.len());
        let channel = *self.random.pick(&[ROOMS[0], ROOMS[1], "private-talk"]);
        let player = &self.players[at];
        if player.seats[channel].state != State::In || self.frozen[player.node] {
            return;
        }
        let (from, own) = (player.node, player.client.socket_id.clone());
        let source = (own.clone(), channel.to_owned());
        let number = self.next_number(&source);
        self.owe(&source, from, number, Some(&own));
        let data = json!({"source": own, "number": number, "except": own});
        self.players[at].client.trigger(channel, "client-e", &data);
    }

    fn step(&mut self) {
        let at = self.random.below(self.players.len());
        let channel = *self.random.pick(&CHANNELS);
        match self.random.below(100) {
            0..36 => self.players[at].join(channel),
            36..54 => self.players[at].leave(channel),
            54..60 => {
                self.players[at].leave(channel);
                self.players[at].join(channel);
            }
            60..84 => self.publish(),
            84..86 => self.publish_cached(),
            86..92 => self.trigger(),
            _ => {
                let player = self.players.swap_remove(at);
                if !self.frozen[player.node] && self.random.below(2) == 0 {
                    player.client.close();
                }
                self.add_player();
            }
        }
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
        self.pump();
    }

    /// So many rounds, spread over that time, while something is out of order.
    fn play_for(&mut self, time: Duration, rounds: usize) {
        let begun = Instant::now();
        for round in 1..=rounds {
            self.steps(STEPS_PER_ROUND);
            let until =
                begun + time * u32::try_from(round).unwrap() / u32::try_from(rounds).unwrap();
            while Instant::now() < until {
                self.pump();
            }
        }
        self.round += rounds;
    }

    fn disturb_node(&mut self, at: usize) {
        self.pump();
        self.calm.nodes[at] = Instant::now() + FOREVER;
        for player in &mut self.players {
            player.forgive(Some(at));
        }
    }

    fn disturb_redis(&mut self) {
        self.pump();
        self.calm.redis = Instant::now() + FOREVER;
        for player in &mut self.players {
            player.forgive(None);
        }
    }

    fn kill_node(&mut self, at: usize) {
        self.disturb_node(at);
        self.nodes[at].take().expect("it runs").kill();
        self.players.retain(|player| player.node != at);
        while self.players.len() < PLAYERS {
            self.add_player();
        }
    }

    fn start_node(&mut self, at: usize) {
        self.nodes[at] = Some(TestServer::start(self.setup.clone()));
        self.incarnations[at] += 1;
        self.calm.nodes[at] = Instant::now();
    }

    fn freeze_node(&mut self, at: usize, time: Duration, rounds: usize) {
        self.disturb_node(at);
        self.frozen[at] = true;
        self.nodes[at].as_mut().expect("it runs").freeze();
        self.play_for(time, rounds);
        self.nodes[at].as_mut().expect("it runs").thaw();
        self.frozen[at] = false;
        self.calm.nodes[at] = Instant::now();
    }

    fn freeze_redis(&mut self, time: Duration, rounds: usize) {
        self.disturb_redis();
        self.redis.freeze();
        self.play_for(time, rounds);
        self.redis.thaw();
        self.redis_returns();
    }

    fn redis_returns(&mut self) {
        self.wait_until_ready();
        self.calm.redis = Instant::now();
    }

    fn wait_until_ready(&self) {
        for at in self.running() {
            within(Duration::from_secs(10), "the node is ready", || {
                if self.node(at).is_ready() {
                    Ok(())
                } else {
                    Err(at.to_string())
                }
            });
        }
    }

    fn milliseconds(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from + self.random.below(to - from)) as u64)
    }

    fn fault(&mut self, fault: Fault) {
        let running = self.running();
        let at = *self.random.pick(&running);
        match fault {
            Fault::KillNode => {
                self.kill_node(at);
                let dead = self.milliseconds(0, 3000);
                self.play_for(dead, 3);
                if self.random.below(2) == 0 {
                    self.checkpoint();
                }
                self.start_node(at);
            }
            Fault::FreezeNode => {
                let time = LEASE + self.milliseconds(500, 3000);
                self.freeze_node(at, time, 4);
            }
            Fault::FreezeNodeBriefly => {
                let time = self.milliseconds(200, 4000);
                self.freeze_node(at, time, 2);
            }
            Fault::KillRedis => {
                self.disturb_redis();
                self.redis.kill();
                let dead = self.milliseconds(0, 2500);
                self.play_for(dead, 3);
                self.redis.start_again();
                self.redis_returns();
            }
            Fault::FreezeRedis => {
                let time = self.milliseconds(500, 5000);
                self.freeze_redis(time, 3);
            }
            Fault::FreezeRedisLong => {
                let time = LEASE + self.milliseconds(500, 2000);
                self.freeze_redis(time, 3);
            }
            Fault::Flush => {
                let () = self.redis.ask(&["FLUSHALL"]);
                self.steps(STEPS_PER_ROUND);
            }
            Fault::FlushAndKillNode => {
                let () = self.redis.ask(&["FLUSHALL"]);
                self.kill_node(at);
                self.steps(STEPS_PER_ROUND);
                self.start_node(at);
            }
        }
    }

    /// Who is in the room, by what the clients were told.
    fn truth(&self, channel: &str) -> BTreeSet<String> {
        let seated = self
            .players
            .iter()
            .filter(|player| player.seats[channel].state == State::In);
        seated.map(|player| player.user.clone()).collect()
    }

    fn subscriptions(&self, channel: &str) -> usize {
        let seated = self
            .players
            .iter()
            .filter(|player| player.seats[channel].state == State::In);
        seated.count()
    }

    /// Pumps until the question has an answer.
    fn eventually(&mut self, what: &str, ask: impl Fn(&Self) -> Result<(), String>) {
        let deadline = Instant::now() + AGREEMENT;
        loop {
            self.pump();
            match ask(self) {
                Ok(()) => return,
                Err(last) => assert!(
                    Instant::now() < deadline,
                    "waited {AGREEMENT:?} in vain: {what}: {last}"
                ),
            }
        }
    }

    /// Everyone was answered, everything that was owed has come, and everybody agrees.
    fn checkpoint(&mut self) {
        self.eventually("every request is answered", |world| {
            let mut players = world.players.iter();
            let asking = players.find(|player| {
                let mut seats = player.seats.values();
                seats.any(|seat| seat.state == State::Asked || seat.leaving > 0)
            });
            asking.map_or(Ok(()), |player| Err(player.name.clone()))
        });
        self.eventually("every event has come", |world| {
            let owed = world.players.iter().find_map(Player::is_owed);
            owed.map_or(Ok(()), Err)
        });
        self.eventually("every node tells the truth", |world| {
            let nodes = world.running();
            nodes.into_iter().try_for_each(|at| world.node_is_right(at))
        });
        self.eventually("every client sees the truth", Self::views_are_right);
        self.newcomers_see_the_truth();
        self.eventually("every client sees the truth", Self::views_are_right);
    }

    fn node_is_right(&self, at: usize) -> Result<(), String> {
        let node = self.node(at);
        for room in ROOMS {
            let (users, truth) = (try_users(node, room)?, self.truth(room));
            if users != truth {
                return Err(format!("node {at}, {room}: {users:?} instead of {truth:?}"));
            }
        }
        let info = [("info", "subscription_count")];
        for channel in CHANNELS {
            let answer = node.api().get(&format!("/channels/{channel}"), &info);
            let counted = answer.json()["subscription_count"].as_u64();
            let expected = self.subscriptions(channel);
            if counted != Some(expected as u64) {
                return Err(format!(
                    "node {at}, {channel}: {answer:?} instead of {expected}"
                ));
            }
        }
        let listed = node.api().get("/channels", &[]).json();
        let listed: BTreeSet<_> = match &listed["channels"] {
            Value::Object(channels) => channels.keys().cloned().collect(),
            other => return Err(other.to_string()),
        };
        let occupied = CHANNELS
            .iter()
            .filter(|channel| self.subscriptions(channel) > 0);
        let occupied: BTreeSet<_> = occupied.map(|channel| (*channel).to_owned()).collect();
        if listed != occupied {
            return Err(format!(
                "node {at} lists {listed:?} instead of {occupied:?}"
            ));
        }
        Ok(())
    }

    fn views_are_right(&self) -> Result<(), String> {
        for room in ROOMS {
            let truth = self.truth(room);
            for player in &self.players {
                let seat = &player.seats[room];
                if seat.state == State::In && seat.view.members.as_ref() != Some(&truth) {
                    let view = &seat.view;
                    return Err(format!(
                        "{}, {room}: {view:?} instead of {truth:?}",
                        player.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// A fresh subscriber of every node is shown the same last event.
    fn shows_one_cached_event(&self) -> Result<(), String> {
        let shown = self.running().into_iter().map(|at| {
            let mut newcomer = self.node(at).client();
            newcomer.subscribe(CACHE);
            newcomer.next().text
        });
        let shown: BTreeSet<_> = shown.collect();
        if shown.len() == 1 {
            Ok(())
        } else {
            Err(format!("{shown:?}"))
        }
    }

    /// A fresh subscriber of every node is shown the truth.
    fn newcomers_see_the_truth(&mut self) {
        for at in self.running() {
            self.born += 1;
            let name = format!("newcomer-{}", self.born);
            let mut newcomer = self.node(at).client();
            for room in ROOMS {
                let mut expected = self.truth(room);
                expected.insert(name.clone());
                let shown = newcomer.join(room, &name).hash;
                let shown: BTreeSet<_> = shown.into_keys().collect();
                assert_eq!(shown, expected, "a newcomer on node {at}, {room}");
                newcomer.unsubscribe(room);
                newcomer.expect_silence();
            }
            newcomer.close();
            // The next newcomer must not be shown this one.
            self.eventually("the newcomer has gone", |world| {
                let nodes = world.running();
                nodes
                    .into_iter()
                    .try_for_each(|at| world.node_is_right_in_rooms(at))
            });
            self.eventually("every client has seen it go", Self::views_are_right);
        }
        self.eventually("there is one cached event", Self::shows_one_cached_event);
    }

    fn node_is_right_in_rooms(&self, at: usize) -> Result<(), String> {
        for room in ROOMS {
            let (users, truth) = (try_users(self.node(at), room)?, self.truth(room));
            if users != truth {
                return Err(format!("node {at}, {room}: {users:?} instead of {truth:?}"));
            }
        }
        Ok(())
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    let value = env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn any_order_of_faults_ends_in_the_truth() {
    let seed = from_environment("LOUDHAILER_CHAOS_SEED", 1);
    let rounds = from_environment("LOUDHAILER_CHAOS_ROUNDS", ROUNDS as u64);
    let rounds = usize::try_from(rounds).expect("a count");
    let mut world = World::new(seed);
    let mut bag: Vec<Fault> = Vec::new();
    while world.round < rounds {
        for _ in 0..ROUNDS_PER_FAULT {
            world.steps(STEPS_PER_ROUND);
            world.round += 1;
        }
        if bag.is_empty() {
            bag = FAULTS.to_vec();
        }
        let at = world.random.below(bag.len());
        let fault = bag.swap_remove(at);
        eprintln!("round {}: {fault:?}", world.round);
        world.fault(fault);
        let begun = Instant::now();
        world.checkpoint();
        eprintln!(
            "round {}: all agree after {:?}",
            world.round,
            begun.elapsed()
        );
    }
    eprintln!("{} deliveries had to come, and came", world.owed);
    assert!(world.owed > 0, "faults left no time to check deliveries");
}
