//! A real server and a simulated one that run the same commands.
//!
//! The real one has the machine's clock; the simulated one is set to the time that the real one tells before each command. So the two
//! differ by as long as a command takes. What would notice that is avoided: no command runs while a key is about to expire, and times to live
//! are compared with a tolerance. Should the machine stall for longer than that allows, the pair says so and the sequence ends.

use std::{thread, time::Duration};

use bytes::Bytes;

use super::{
    compare,
    server::{Connection, Frame, Server},
};
use crate::redis::{Audience, Mode, Push, Redis, Reply};

/// How long a command may take before its outcome is not comparable.
const STALL_MS: i64 = 8;

/// The time around an expiry in which no command runs.
const MARGIN_MS: i64 = 10;

/// How much times to live may differ: both the expiry and the clock may by one stall.
pub(super) const TOLERANCE_MS: i64 = 2 * STALL_MS;

/// Connections of each pair.
pub(super) const CONNECTIONS: usize = 3;

const MARKER: &[u8] = b"the end of what the command sent";

pub(super) struct Pair {
    connections: Vec<Connection>,
    pub(super) redis: Redis,
    /// What is compared of replies and messages.
    pub(super) view: fn(&Reply) -> Reply,
    stalled: Stalled,
    /// Ends with the pair.
    _server: Server,
}

#[derive(Clone, Copy, PartialEq)]
enum Stalled {
    No,
    Yes,
}

/// What the real server sent because of one command.
struct Answer {
    reply: Option<Reply>,
    pushes: Vec<Vec<Reply>>,
    before_us: i64,
    after_us: i64,
}

impl Pair {
    pub(super) fn new(server: Server, redis: Redis) -> Self {
        let connections = (0..CONNECTIONS).map(|_| server.connect()).collect();
        Self {
            connections,
            redis,
            view: Reply::clone,
            stalled: Stalled::No,
            _server: server,
        }
    }

    /// Starts anew: no keys, no scripts, no subscriptions, another simulated server.
    pub(super) fn reset(&mut self, redis: Redis) {
        self.stalled = Stalled::No;
        self.redis = redis;
        self.connections.iter_mut().for_each(Connection::reset);
        for words in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"]] {
            self.connections[0].ask(words);
        }
    }

    /// Runs a command of the real server alone, such as one that configures it.
    pub(super) fn configure(&mut self, words: &[&str]) -> Reply {
        self.connections[0].ask(words)
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        let (memory, master) = match mode {
            Mode::Serving => ("0", ["NO", "ONE"]),
            Mode::OutOfMemory => ("1", ["NO", "ONE"]),
            // Nobody listens there.
            Mode::Replica => ("0", ["127.0.0.1", "1"]),
            Mode::Loading => panic!("a real server cannot be told to load"),
        };
        self.configure(&["CONFIG", "SET", "maxmemory", memory]);
        self.configure(&["REPLICAOF", master[0], master[1]]);
        self.redis.set_mode(mode);
    }

    pub(super) fn has_stalled(&self) -> bool {
        self.stalled == Stalled::Yes
    }

    /// Runs a command on both and says how they differ.
    pub(super) fn run(&mut self, connection: usize, words: &[Bytes]) -> Result<Reply, String> {
        self.pass_expiries();
        let answer = self.ask(connection, words);
        self.redis.set_time(answer.before_us);
        if self.is_too_late(&answer) {
            self.stalled = Stalled::Yes;
        }
        let mut simulated = self.redis.command(connection as u64, words);
        let pushes = self.redis.take_pushes();
        if self.has_stalled() {
            return Ok(simulated);
        }
        if let Some(real) = &answer.reply
            && let Some(popped) = compare::popped(words, real, &simulated)
        {
            self.follow(&words[1], popped);
            simulated = real.clone();
        }
        if let Some(real) = &answer.reply
            && self.is_drawn(words, real, &simulated)
        {
            simulated = real.clone();
        }
        self.check(connection, words, &answer, &simulated, &pushes)?;
        Ok(simulated)
    }

    /// Whether the command took so long, or began so late, that a key may have expired or not.
    fn is_too_late(&self, answer: &Answer) -> bool {
        let expires_ms = self.redis.next_expiry().unwrap_or(i64::MAX);
        answer.after_us - answer.before_us > 1000 * STALL_MS
            || expires_ms - STALL_MS <= answer.after_us / 1000
    }

    /// Which members a real `SPOP` takes is chance; the simulated server gets back what it took and removes those.
    fn follow(&mut self, key: &Bytes, popped: compare::Popped) {
        for (name, members) in [("SADD", popped.simulated), ("SREM", popped.real)] {
            let mut words = vec![Bytes::from_static(name.as_bytes()), key.clone()];
            words.extend(members);
            self.redis.command(0, &words);
        }
    }

    /// Which members a real `SRANDMEMBER` answers is chance, but not how many, and that the set has them.
    fn is_drawn(&mut self, words: &[Bytes], real: &Reply, simulated: &Reply) -> bool {
        compare::draws(words) && {
            let read = [Bytes::from_static(b"SMEMBERS"), words[1].clone()];
            let members = compare::bulks(&self.redis.command(0, &read));
            compare::are_drawn(words, real, simulated, &members)
        }
    }

    fn check(
        &mut self,
        connection: usize,
        words: &[Bytes],
        answer: &Answer,
        simulated: &Reply,
        pushes: &[Push],
    ) -> Result<(), String> {
        let (confirmations, messages) = split(&answer.pushes);
        let real = answer
            .reply
            .clone()
            .unwrap_or_else(|| Reply::Array(confirmations));
        compare::replies(words, &(self.view)(simulated), &(self.view)(&real))?;
        for other in 0..CONNECTIONS {
            let expected: Vec<_> = of(pushes, other);
            let received = match other {
                _ if other == connection => messages.clone(),
                _ if expected.is_empty() && !compare::may_publish(words) => continue,
                _ => self.pushes_of(other),
            };
            if self.shown(&expected) != self.shown(&received) {
                let text = format!("connection {other} is sent {expected:?}, really {received:?}");
                return Err(text);
            }
        }
        Ok(())
    }

    fn shown(&self, messages: &[Vec<Reply>]) -> Reply {
        let messages = messages.iter().cloned().map(Reply::Array);
        (self.view)(&Reply::Array(messages.collect()))
    }

    /// Waits until no key is about to expire, or has just expired.
    fn pass_expiries(&mut self) {
        while let Some(expires_ms) = self.redis.next_expiry() {
            let now_us = now_us(&self.connections[0].ask(&["TIME"]));
            self.redis.set_time(now_us);
            let left_ms = expires_ms + MARGIN_MS - now_us / 1000;
            if left_ms > 2 * MARGIN_MS {
                return;
            }
            let wait_ms = u64::try_from(left_ms.max(1)).expect("positive");
            thread::sleep(Duration::from_millis(wait_ms));
        }
    }

    fn ask(&mut self, connection: usize, words: &[Bytes]) -> Answer {
        let connection = &mut self.connections[connection];
        let time = [Bytes::from_static(b"TIME")];
        let ping = [Bytes::from_static(b"PING"), Bytes::from_static(MARKER)];
        connection.send(&[&time, words, &ping, &time]);
        let before_us = next_time(connection);
        let (mut reply, mut pushes) = (None, Vec::new());
        loop {
            match connection.receive() {
                Frame::Push(push) => pushes.push(push),
                Frame::Reply(Reply::Bulk(text)) if text == MARKER => break,
                Frame::Reply(got) => reply = Some(got),
            }
        }
        let after_us = next_time(connection);
        Answer {
            reply,
            pushes,
            before_us,
            after_us,
        }
    }

    /// The messages that have come to a connection.
    fn pushes_of(&mut self, connection: usize) -> Vec<Vec<Reply>> {
        let connection = &mut self.connections[connection];
        connection.send(&[&[Bytes::from_static(b"PING")]]);
        let mut pushes = Vec::new();
        while let Frame::Push(push) = connection.receive() {
            pushes.push(push);
        }
        pushes
    }
}

fn next_time(connection: &mut Connection) -> i64 {
    loop {
        if let Frame::Reply(reply) = connection.receive() {
            return now_us(&reply);
        }
    }
}

fn now_us(time: &Reply) -> i64 {
    let Reply::Array(parts) = time else {
        panic!("TIME answers {time:?}");
    };
    let (seconds, rest) = (compare::number(&parts[0]), compare::number(&parts[1]));
    i64::try_from(seconds * 1_000_000 + rest).expect("a time of this era")
}

/// Confirmations of subscriptions, and messages.
fn split(pushes: &[Vec<Reply>]) -> (Vec<Reply>, Vec<Vec<Reply>>) {
    let is_message =
        |push: &&Vec<Reply>| matches!(&push[0], Reply::Bulk(kind) if kind.ends_with(b"message"));
    let messages = pushes.iter().filter(is_message).cloned().collect();
    let others = pushes.iter().filter(|push| !is_message(push)).cloned();
    (others.map(Reply::Array).collect(), messages)
}

/// What a connection is sent, as RESP3 has it.
fn of(pushes: &[Push], connection: usize) -> Vec<Vec<Reply>> {
    let own = pushes
        .iter()
        .filter(|push| push.connection == connection as u64);
    own.map(|push| {
        let kind = match push.audience {
            Audience::Everyone => "message",
            Audience::Shard => "smessage",
        };
        vec![
            Reply::Bulk(Bytes::from_static(kind.as_bytes())),
            Reply::Bulk(push.topic.clone()),
            Reply::Bulk(push.payload.clone()),
        ]
    })
    .collect()
}
