//! What goes wrong, and when it is over.

use bytes::Bytes;
use loudhailer::engine::cluster::core::Input;

use super::{Ended, Event, Ticket, World};
use crate::{
    plan::{CHANNELS, Fault, Time},
    redis::Mode,
};

/// Who breaks keys.
const VANDAL: u64 = u64::MAX;

impl World {
    pub(super) fn begin(&mut self, fault: Fault) {
        let now = self.now;
        match fault {
            Fault::Cut { node, executes } => self.cut(node, executes),
            Fault::Silence { node, lasts } => {
                let lifeline = &mut self.places[node].lifeline;
                lifeline.silent_until = lifeline.silent_until.max(now + lasts);
                self.server.late.extend(lifeline.connection);
                self.schedule(now + lasts, Event::Over(Ended::Silent));
            }
            Fault::Kill { node, away } => self.kill(node, away),
            Fault::Stop { node, away } => self.stop(node, away),
            Fault::Pause { node, lasts } => {
                if self.is_running(node) {
                    self.places[node].paused = Some(Vec::new());
                    self.schedule(now + lasts, Event::Over(Ended::Paused { node }));
                }
            }
            Fault::RestartEmpty { away } => {
                self.server.redis.restart();
                self.go_away(away);
            }
            Fault::Promote { lag, away } => {
                let old = self
                    .server
                    .replica
                    .iter()
                    .rev()
                    .find(|(at, _)| *at + lag <= now);
                match old {
                    Some((_, snapshot)) => {
                        let snapshot = snapshot.clone();
                        self.server.redis.restore(&snapshot);
                    }
                    None => self.server.redis.restart(),
                }
                self.go_away(away);
            }
            Fault::Flush => self.vandalise(&["FLUSHALL"]),
            Fault::LoseNodes => {
                for key in self.all_keys() {
                    if key.contains(":{nodes}:") {
                        self.vandalise(&["DEL", &key]);
                    }
                }
            }
            Fault::ScriptFlush => self.vandalise(&["SCRIPT", "FLUSH"]),
            Fault::Slow { each, lasts } => {
                self.server.slow = each;
                self.schedule(now + lasts, Event::Over(Ended::Slow));
            }
            Fault::Hang { lasts } => {
                self.server.hangs = true;
                self.schedule(now + lasts, Event::Over(Ended::Hanging));
            }
            Fault::OutOfMemory { lasts } => {
                self.server.redis.set_mode(Mode::OutOfMemory);
                self.schedule(now + lasts, Event::Over(Ended::OutOfMemory));
            }
            Fault::WrongType { channel, lasts } => {
                self.break_keys(channel);
                self.schedule(now + lasts, Event::Over(Ended::WrongType { channel }));
            }
        }
    }

    pub(super) fn end(&mut self, ended: Ended) {
        self.note(|| format!("over: {ended:?}"));
        match ended {
            Ended::Dead { node } => {
                if self.places[node].node.is_none() {
                    self.start_node(node);
                }
            }
            Ended::Paused { node } => self.go_on(node),
            Ended::Stopped { node, process } => {
                let place = &self.places[node];
                if let Some(away) = place.stops
                    && self.place_of(process) == Some(node)
                {
                    self.kill(node, away);
                }
            }
            Ended::Silent => {}
            Ended::RedisAway => self.server.is_away = false,
            Ended::Slow => self.server.slow = 0,
            Ended::Hanging => self.server.hangs = false,
            Ended::OutOfMemory => self.server.redis.set_mode(Mode::Serving),
            Ended::WrongType { channel } => self.mend_keys(channel),
        }
    }

    /// Everything is well from here on.
    pub(super) fn end_faults(&mut self) {
        self.note(|| "everything is well".to_owned());
        let now = self.now;
        for place in &mut self.places {
            place.lifeline.silent_until = place.lifeline.silent_until.min(now);
        }
        for at in 0..self.places.len() {
            self.go_on(at);
            self.end(Ended::Dead { node: at });
        }
        for ended in [
            Ended::RedisAway,
            Ended::Slow,
            Ended::Hanging,
            Ended::OutOfMemory,
        ] {
            self.end(ended);
        }
        for channel in self.broken.clone() {
            self.mend_keys(channel);
        }
    }

    fn cut(&mut self, at: usize, executes: bool) {
        let Some(node) = &self.places[at].node else {
            return;
        };
        let process = node.process;
        let lifeline = &mut self.places[at].lifeline;
        let Some(connection) = lifeline.connection else {
            return;
        };
        if executes {
            self.server.late.insert(connection);
        }
        let link = lifeline.link;
        let notices = self.between((1, 3000));
        self.schedule(self.now + notices, Event::Broken { process, link });
        let notices = self.between((1, 3000));
        self.schedule(self.now + notices, Event::Close { connection });
    }

    fn kill(&mut self, at: usize, away: Time) {
        if self.places[at].node.take().is_none() {
            return;
        }
        self.places[at].paused = None;
        self.places[at].stops = None;
        self.places[at].wakes_at = Time::MAX;
        if let Some(connection) = self.places[at].lifeline.connection.take() {
            let notices = self.between((1, 5000));
            self.schedule(self.now + notices, Event::Close { connection });
        }
        self.schedule(self.now + away, Event::Over(Ended::Dead { node: at }));
    }

    /// Everyone on it is sent away, and it settles what is left.
    fn stop(&mut self, at: usize, away: Time) {
        if !self.is_running(at) {
            return;
        }
        let now = self.now;
        let clients: Vec<usize> = self.node(at).clients.keys().copied().collect();
        for client in clients {
            self.node(at).disconnect(client, now);
        }
        self.places[at].stops = Some(away);
        let nobody = Ticket {
            number: 0,
            client: usize::MAX,
            socket: 0,
            channel: 0,
        };
        self.give(at, Input::Close(nobody));
    }

    /// A process that stood still goes on, with what has come meanwhile.
    fn go_on(&mut self, at: usize) {
        for event in self.places[at].paused.take().unwrap_or_default() {
            self.schedule(self.now, event);
        }
        if self.places[at].node.is_some() {
            self.places[at].wakes_at = Time::MAX;
            self.give(at, Input::Tick);
        }
    }

    /// Redis is not there for a while: every connection breaks.
    fn go_away(&mut self, away: Time) {
        self.server.is_away = true;
        self.server.busy_until = self.now;
        let links: Vec<(u64, u64)> = self
            .places
            .iter()
            .filter_map(|place| Some((place.node.as_ref()?.process, place.lifeline.link)))
            .collect();
        for (process, link) in links {
            let notices = self.between((1, 3000));
            self.schedule(self.now + notices, Event::Broken { process, link });
        }
        self.server.late.clear();
        self.schedule(self.now + away, Event::Over(Ended::RedisAway));
    }

    fn vandalise(&mut self, words: &[&str]) {
        self.set_time();
        let words: Vec<Bytes> = words
            .iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        self.server.redis.command(VANDAL, &words);
    }

    /// Gives what Redis has of a channel another type.
    fn break_keys(&mut self, channel: usize) {
        for key in self.keys_of(channel) {
            self.vandalise(&["DEL", &key]);
            self.vandalise(&["SET", &key, "of another type"]);
        }
        self.broken.push(channel);
    }

    fn mend_keys(&mut self, channel: usize) {
        for key in self.keys_of(channel) {
            self.vandalise(&["DEL", &key]);
        }
    }

    /// The keys that carry the channel's name.
    fn keys_of(&mut self, channel: usize) -> Vec<String> {
        let end = format!(":{}", CHANNELS[channel]);
        let keys = self.all_keys().into_iter();
        keys.filter(|key| key.ends_with(&end)).collect()
    }

    pub(super) fn all_keys(&mut self) -> Vec<String> {
        self.set_time();
        self.server.redis.expire_due();
        let words = [Bytes::from_static(b"KEYS"), Bytes::from_static(b"*")];
        let crate::redis::Reply::Array(keys) = self.server.redis.command(VANDAL, &words) else {
            return Vec::new();
        };
        let texts = keys.into_iter().filter_map(|key| match key {
            crate::redis::Reply::Bulk(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        });
        let mut keys: Vec<String> = texts.collect();
        keys.sort();
        keys
    }
}
