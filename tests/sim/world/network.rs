//! What is between a node and Redis: a connection that keeps the order, takes its time, and may break.

use std::collections::VecDeque;

use bytes::Bytes;
use loudhailer::engine::cluster::{
    core::{Call, CallId, Heard, Input, PeerMessage, Topic},
    envelope,
    redis::{Command, decode},
};
use redis::{Value, VerbatimFormat};

use super::{Event, World};
use crate::{
    mutants::AlteredScript,
    plan::{MS, SECOND, Time},
    redis::{Audience, ErrorReply, Reply},
};

/// One call's commands on their way, and the replies so far.
pub(super) struct Envoy {
    pub(super) process: u64,
    pub(super) link: u64,
    connection: u64,
    id: CallId,
    call: Call,
    commands: Vec<Command>,
    replies: Vec<Option<Value>>,
    /// Whether scripts are sent as a whole, since Redis did not know them.
    whole: bool,
}

/// A message on its way to a node.
pub(super) struct Push {
    pub(super) process: u64,
    pub(super) link: u64,
    topic: Bytes,
    payload: Bytes,
}

/// A node's end of its connection.
#[derive(Default)]
pub(super) struct Lifeline {
    /// Counts connections and attempts.
    pub(super) link: u64,
    /// What Redis calls the connection.
    pub(super) connection: Option<u64>,
    /// When the last of what was sent arrives, either way.
    out_until: Time,
    in_until: Time,
    /// Until when nothing comes through.
    pub(super) silent_until: Time,
}

impl World {
    pub(super) fn begin_to_connect(&mut self, at: usize, after: Time) {
        let lifeline = &mut self.places[at].lifeline;
        lifeline.link += 1;
        let link = lifeline.link;
        let takes = self.between(self.plan.latency) * 3;
        let process = self.node(at).process;
        self.schedule(self.now + after + takes, Event::Connect { process, link });
    }

    /// An attempt ends: with a connection, unless Redis is away or nothing comes through.
    pub(super) fn connected(&mut self, process: u64, link: u64) {
        let Some(at) = self.place_of(process) else {
            return;
        };
        if self.places[at].lifeline.link != link {
            return;
        }
        let is_silent = self.places[at].lifeline.silent_until > self.now;
        if self.server.is_away {
            return self.give(at, Input::ConnectFailed("connection refused".to_owned()));
        }
        if is_silent || self.server.hangs {
            // It would be an answer after the silence, but nobody waits that long.
            let gives_up = self.places[at]
                .lifeline
                .silent_until
                .min(self.now + 4 * SECOND);
            let gives_up = gives_up.max(self.now + 200 * MS);
            return self.schedule(gives_up, Event::Connect { process, link });
        }
        self.born += 1;
        let connection = self.born;
        let lifeline = &mut self.places[at].lifeline;
        lifeline.connection = Some(connection);
        (lifeline.out_until, lifeline.in_until) = (self.now, self.now);
        self.note(|| format!("{process} is connected by {connection}"));
        self.give(at, Input::Connected);
    }

    /// The node drops its connection. Redis notices later; what is on its way may still be executed.
    pub(super) fn drop_link(&mut self, at: usize) {
        let Some(connection) = self.places[at].lifeline.connection.take() else {
            return;
        };
        let notices = if self.random.below(3) == 0 {
            self.between((SECOND, 9 * SECOND))
        } else {
            self.between((1, 50 * MS))
        };
        self.schedule(self.now + notices, Event::Close { connection });
    }

    pub(super) fn broken_link(&mut self, process: u64, link: u64) {
        let Some(at) = self.place_of(process) else {
            return;
        };
        if self.places[at].lifeline.link == link {
            self.give(at, Input::LinkLost("the connection was closed".to_owned()));
        }
    }

    pub(super) fn send(&mut self, at: usize, id: CallId, call: Call) {
        let node = self.node(at);
        let (process, commands) = (node.process, node.encoder.encode(&call, &[].into()));
        let lifeline = &self.places[at].lifeline;
        let Some(connection) = lifeline.connection else {
            return;
        };
        let replies = commands.iter().map(|_| None).collect();
        let envoy = Envoy {
            process,
            link: lifeline.link,
            connection,
            id,
            call,
            commands,
            replies,
            whole: false,
        };
        self.dispatch(at, envoy);
    }

    /// Sends commands off, behind what was sent before.
    fn dispatch(&mut self, at: usize, envoy: Envoy) {
        let takes = self.between(self.plan.latency);
        let mut silent_until = self.places[at].lifeline.silent_until;
        if silent_until > self.now {
            // A new connection may be faster than one that has tried in vain for a while.
            silent_until += self.between((0, 2 * SECOND));
        }
        let lifeline = &mut self.places[at].lifeline;
        let arrives = (self.now + takes)
            .max(lifeline.out_until + 1)
            .max(silent_until);
        lifeline.out_until = arrives;
        self.schedule(arrives, Event::Arrive(envoy));
    }

    /// Whether the connection that something came by is the node's present one.
    fn is_current(&self, process: u64, link: u64) -> Option<usize> {
        let at = self.place_of(process)?;
        let lifeline = &self.places[at].lifeline;
        (lifeline.link == link && lifeline.connection.is_some()).then_some(at)
    }

    pub(super) fn arrive(&mut self, envoy: Envoy) {
        let connection = envoy.connection;
        let unread = self.server.unread.entry(connection).or_default();
        unread.push_back(envoy);
        if unread.len() == 1 {
            self.read(connection);
        }
    }

    /// Redis executes what a connection has sent, in its order.
    pub(super) fn read(&mut self, connection: u64) {
        loop {
            let unread = self.server.unread.get(&connection);
            let Some(envoy) = unread.and_then(VecDeque::front) else {
                self.server.unread.remove(&connection);
                return;
            };
            let is_dead = self.server.is_away || !self.is_executed(envoy);
            let until = match self.server.hangs {
                _ if is_dead => self.now,
                true => self.now + 20 * MS,
                false => self.server.busy_until,
            };
            if until > self.now {
                return self.schedule(until, Event::Read { connection });
            }
            let unread = self.server.unread.get_mut(&connection);
            if let Some(envoy) = unread.and_then(VecDeque::pop_front)
                && !is_dead
            {
                self.serve(envoy);
            }
        }
    }

    /// Whether Redis executes it: all that comes by a connection that both sides take for open.
    fn is_executed(&self, envoy: &Envoy) -> bool {
        let is_current = self.is_current(envoy.process, envoy.link).is_some();
        let place = self.place_of(envoy.process);
        is_current || place.is_none() || self.server.late.contains(&envoy.connection)
    }

    fn serve(&mut self, mut envoy: Envoy) {
        let cost = self.server.slow * envoy.commands.len() as Time;
        self.server.busy_until = self.now + cost;
        self.execute(&mut envoy);
        if envoy.replies.iter().any(Option::is_none) {
            // Redis has forgotten a script: it is sent as a whole.
            envoy.whole = true;
            if let Some(at) = self.is_current(envoy.process, envoy.link) {
                self.dispatch(at, envoy);
            }
            return;
        }
        self.note_published(&envoy.call);
        self.reply(envoy, cost);
    }

    fn note_published(&mut self, call: &Call) {
        let Call::Publish(messages) = call else {
            return;
        };
        for message in messages {
            if let Some(PeerMessage::Event(event, _)) = envelope::decode(message.envelope.clone()) {
                self.server.published.insert(event.id);
            }
        }
    }

    fn execute(&mut self, envoy: &mut Envoy) {
        self.set_time();
        for (command, reply) in envoy.commands.iter().zip(&mut envoy.replies) {
            if reply.is_some() {
                continue;
            }
            let words = words_of(command, envoy.whole, self.altered.as_deref());
            let answer = self.server.redis.command(envoy.connection, &words);
            let is_unknown = matches!(&answer, Reply::Error(error) if error.code == "NOSCRIPT");
            *reply = (!is_unknown).then(|| value_of(answer));
        }
    }

    pub(super) fn set_time(&mut self) {
        let now = i64::try_from(self.now).expect("a simulation is short");
        self.server.redis.set_time(super::EPOCH_US + now);
    }

    /// Sends replies back, and what was published meanwhile to whoever listens.
    fn reply(&mut self, envoy: Envoy, cost: Time) {
        let own = envoy.connection;
        let (mine, others): (Vec<_>, Vec<_>) = self
            .server
            .redis
            .take_pushes()
            .into_iter()
            .partition(|push| push.connection == own);
        for push in others {
            self.push(&push, cost);
        }
        let is_current = self.is_current(envoy.process, envoy.link);
        if self.plan.pushes_first {
            mine.iter().for_each(|push| self.push(push, cost));
        }
        if let Some(at) = is_current {
            let arrives = self.comes_in(at, cost);
            self.schedule(arrives, Event::Reply(envoy));
        }
        if !self.plan.pushes_first {
            mine.iter().for_each(|push| self.push(push, cost));
        }
    }

    fn comes_in(&mut self, at: usize, cost: Time) -> Time {
        let takes = self.between(self.plan.latency) + cost;
        let lifeline = &mut self.places[at].lifeline;
        let arrives = (self.now + takes)
            .max(lifeline.in_until + 1)
            .max(lifeline.silent_until);
        lifeline.in_until = arrives;
        arrives
    }

    /// A message to the node that listens by this connection, if it is still there.
    fn push(&mut self, push: &crate::redis::Push, cost: Time) {
        let at = self
            .places
            .iter()
            .position(|place| place.lifeline.connection == Some(push.connection));
        if let Some(at) = at.filter(|at| self.places[*at].node.is_some()) {
            debug_assert_eq!(push.audience, Audience::Everyone, "nothing is sharded here");
            let arrives = self.comes_in(at, cost);
            let message = Push {
                process: self.node(at).process,
                link: self.places[at].lifeline.link,
                topic: push.topic.clone(),
                payload: push.payload.clone(),
            };
            self.schedule(arrives, Event::Push(message));
        }
    }

    pub(super) fn pushed(&mut self, push: &Push) {
        let Some(at) = self.is_current(push.process, push.link) else {
            return;
        };
        let topic = String::from_utf8(push.topic.to_vec()).expect("topics are text");
        let names = self.node(at).encoder.names.clone();
        let topic = if topic == names.node(self.node(at).encoder.node) {
            Topic::Nodes
        } else {
            match names.parse(&topic) {
                Some(topic) => topic,
                None => return,
            }
        };
        let Some(message) = envelope::decode(push.payload.clone()) else {
            return;
        };
        self.note(|| format!("{} hears {topic:?} {message:?}", push.process));
        self.give(at, Input::Heard(Heard { topic, message }));
    }

    pub(super) fn replied(&mut self, envoy: Envoy) {
        let Some(at) = self.is_current(envoy.process, envoy.link) else {
            return;
        };
        let replies = envoy
            .replies
            .into_iter()
            .map(|reply| reply.unwrap_or(Value::Nil));
        let replies = match envoy.call {
            // The client library takes these itself.
            Call::Listen(..) | Call::Unlisten(..) | Call::ListenAsNode => Vec::new(),
            _ => replies.collect(),
        };
        self.note(|| format!("{} {:?} -> {replies:?}", envoy.process, envoy.call));
        let result = decode(&envoy.call, replies);
        self.answered(at, envoy.id, result);
    }
}

/// A command as it is sent; a script by its hash or as a whole.
pub(crate) fn words_of(
    command: &Command,
    whole: bool,
    altered: Option<&AlteredScript>,
) -> Vec<Bytes> {
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    match command {
        Command::Subscribe(topics) => std::iter::once(text("SUBSCRIBE"))
            .chain(topics.iter().map(|topic| text(topic)))
            .collect(),
        Command::Unsubscribe(topics) => std::iter::once(text("UNSUBSCRIBE"))
            .chain(topics.iter().map(|topic| text(topic)))
            .collect(),
        Command::Plain(words) => words
            .iter()
            .map(|word| Bytes::copy_from_slice(word))
            .collect(),
        Command::Script(script, keys, args) => {
            let altered = altered.filter(|altered| altered.replaces(script));
            let (body, sha1) = match altered {
                Some(altered) => (&*altered.text, &*altered.sha1),
                None => (script.text, script.sha1()),
            };
            let (name, body) = match whole {
                true => ("EVAL", body),
                false => ("EVALSHA", sha1),
            };
            let mut words = vec![text(name), text(body), text(&keys.len().to_string())];
            words.extend(keys.iter().map(|key| text(key)));
            words.extend(args.iter().map(|arg| Bytes::copy_from_slice(arg)));
            words
        }
    }
}

fn value_of(reply: Reply) -> Value {
    let all = |replies: Vec<Reply>| replies.into_iter().map(value_of).collect();
    match reply {
        Reply::Nil => Value::Nil,
        Reply::Int(number) => Value::Int(number),
        Reply::Double(number) => Value::Double(number),
        Reply::Bool(flag) => Value::Boolean(flag),
        Reply::Status(text) => Value::SimpleString(text),
        Reply::Bulk(bytes) => Value::BulkString(bytes.to_vec()),
        Reply::Array(replies) => Value::Array(all(replies)),
        Reply::Set(replies) => Value::Set(all(replies)),
        Reply::Map(pairs) => Value::Map(
            pairs
                .into_iter()
                .map(|(key, value)| (value_of(key), value_of(value)))
                .collect(),
        ),
        Reply::Error(error) => server_error(&error),
    }
}

/// An error as the client library reads it.
fn server_error(error: &ErrorReply) -> Value {
    let line = format!("-{} {}\r\n", error.code, error.text);
    redis::parse_redis_value(line.as_bytes()).unwrap_or(Value::VerbatimString {
        format: VerbatimFormat::Text,
        text: line,
    })
}
