//! Nodes, Redis and players, and what is done to them.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    CACHE, CHANNELS, FOREVER, Fault, LEASE, NODES, PLAYERS, ROOMS, SETTLING, STEPS_PER_ROUND,
    USERS,
    player::{Calm, Player, Seat, Source, State},
};
use crate::{
    cluster::setup,
    support::{random::Random, redis::RedisServer, server::TestServer, setup::Setup, within},
};

/// The whole scene.
pub(super) struct World {
    pub(super) players: Vec<Player>,
    pub(super) nodes: Vec<Option<TestServer>>,
    pub(super) frozen: [bool; NODES],
    pub(super) redis: RedisServer,
    pub(super) setup: Setup,
    pub(super) random: Random,
    pub(super) calm: Calm,
    /// Counts nodes and players, for their names.
    pub(super) born: usize,
    pub(super) incarnations: [usize; NODES],
    pub(super) numbers: BTreeMap<Source, u64>,
    pub(super) round: usize,
    pub(super) seed: u64,
    /// Deliveries that had to come.
    pub(super) owed: usize,
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
    pub(super) fn new(seed: u64) -> Self {
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

    pub(super) fn running(&self) -> Vec<usize> {
        (0..NODES)
            .filter(|at| self.nodes[*at].is_some() && !self.frozen[*at])
            .collect()
    }

    pub(super) fn node(&self, at: usize) -> &TestServer {
        self.nodes[at].as_ref().expect("it runs")
    }

    pub(super) fn add_player(&mut self) {
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

    pub(super) fn pump(&mut self) {
        for player in &mut self.players {
            if !self.frozen[player.node] {
                player.pump(&self.calm);
            }
        }
    }

    /// Whether events from one node to the other must arrive, at this moment.
    pub(super) fn is_calm(&self, from: usize, to: usize) -> bool {
        let now = Instant::now();
        let calm = |at: usize| {
            self.nodes[at].is_some()
                && !self.frozen[at]
                && now.duration_since(self.calm.of(at)) > SETTLING
        };
        calm(from) && calm(to)
    }

    /// Whoever is in and not left out must hear this event.
    pub(super) fn owe(&mut self, source: &Source, from: usize, number: u64, except: Option<&str>) {
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

    pub(super) fn next_number(&mut self, source: &Source) -> u64 {
        let number = self.numbers.entry(source.clone()).or_default();
        *number += 1;
        *number
    }

    pub(super) fn publish(&mut self) {
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

    pub(super) fn publish_cached(&mut self) {
        let running = self.running();
        let from = *self.random.pick(&running);
        self.born += 1;
        let data = format!("event {}", self.born);
        self.node(from).api().publish(CACHE, "e", &data);
    }

    pub(super) fn trigger(&mut self) {
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

    pub(super) fn step(&mut self) {
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

    pub(super) fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
        self.pump();
    }

    /// Plays this many rounds, spread over this time, while something is out of order.
    pub(super) fn play_for(&mut self, time: Duration, rounds: usize) {
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

    pub(super) fn disturb_node(&mut self, at: usize) {
        self.pump();
        self.calm.nodes[at] = Instant::now() + FOREVER;
        for player in &mut self.players {
            player.forgive(Some(at));
        }
    }

    pub(super) fn disturb_redis(&mut self) {
        self.pump();
        self.calm.redis = Instant::now() + FOREVER;
        for player in &mut self.players {
            player.forgive(None);
        }
    }

    pub(super) fn kill_node(&mut self, at: usize) {
        self.disturb_node(at);
        self.nodes[at].take().expect("it runs").kill();
        self.players.retain(|player| player.node != at);
        while self.players.len() < PLAYERS {
            self.add_player();
        }
    }

    pub(super) fn start_node(&mut self, at: usize) {
        self.nodes[at] = Some(TestServer::start(self.setup.clone()));
        self.incarnations[at] += 1;
        self.calm.nodes[at] = Instant::now();
    }

    pub(super) fn freeze_node(&mut self, at: usize, time: Duration, rounds: usize) {
        self.disturb_node(at);
        self.frozen[at] = true;
        self.nodes[at].as_mut().expect("it runs").freeze();
        self.play_for(time, rounds);
        self.nodes[at].as_mut().expect("it runs").thaw();
        self.frozen[at] = false;
        self.calm.nodes[at] = Instant::now();
    }

    pub(super) fn freeze_redis(&mut self, time: Duration, rounds: usize) {
        self.disturb_redis();
        self.redis.freeze();
        self.play_for(time, rounds);
        self.redis.thaw();
        self.redis_returns();
    }

    pub(super) fn redis_returns(&mut self) {
        self.wait_until_ready();
        self.calm.redis = Instant::now();
    }

    pub(super) fn wait_until_ready(&self) {
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

    pub(super) fn milliseconds(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from + self.random.below(to - from)) as u64)
    }

    pub(super) fn fault(&mut self, fault: Fault) {
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
}
