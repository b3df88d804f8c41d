//! What must be true: at any time, when everything has been well for a while, and when everyone has gone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use loudhailer::engine::{
    EnterError,
    cluster::{core::bucket_of, envelope::EVENT_HEADER},
};

use super::{
    World,
    client::Standing,
    node::{Node, REPLAY, Ticket},
};
use crate::{
    plan::{CHANNELS, Fault, MS, ONLINE, Time, WATCHED},
    redis::Reply,
};

/// How long a departure waits at least, by a clock that runs fast.
const DELAY_MIN: Time = 2_900 * MS;
/// What is left of a cached event's time when clocks may differ about whether it is over.
const EXPIRING_MS: i64 = 2_000;
/// Bytes of an entry of a history before the event.
const ENTRY_HEADER: usize = 15 + EVENT_HEADER;
/// Commands that a node may have under way.
const IN_FLIGHT_MAX: u32 = 512;

impl World {
    pub(super) fn check_bounds(&self) -> Result<(), String> {
        for node in self.places.iter().filter_map(|place| place.node.as_ref()) {
            let load = node.core.load();
            if load.in_flight > IN_FLIGHT_MAX {
                return Err(format!("{} commands under way", load.in_flight));
            }
        }
        match &self.mistake {
            Some(what) => Err(what.clone()),
            None => Ok(()),
        }
    }

    /// A departure is told when nobody has come back for a while, as far as no fault makes that unclear.
    pub(super) fn check_delay(&mut self, name: &str, event: &str, about: &str) {
        let is_clear = |fault| fault == Fault::ScriptFlush;
        if !["vacated", "removed"].contains(&event) || !self.plan.faults().all(is_clear) {
            return;
        }
        let channel = CHANNELS.iter().position(|channel| *channel == name);
        let nodes = self.places.iter().filter_map(|place| place.node.as_ref());
        let left = channel.and_then(|channel| {
            let whose = (channel, about.to_owned());
            nodes.filter_map(|node| node.left.get(&whose)).max()
        });
        // Who left while the answer was on its way has come back after Redis gave it.
        let (_, slowest) = self.plan.latency;
        let left = left.filter(|left| *left + slowest <= self.now);
        if left.is_some_and(|left| left + DELAY_MIN > self.now) {
            self.mistake = Some(format!("{name} {about:?}: told {event} after {left:?}"));
        }
    }

    /// Only a fault keeps a client from what Redis has, once the node has reached it.
    pub(super) fn check_refusal(
        &mut self,
        at: usize,
        ticket: Ticket,
        result: Result<(), EnterError>,
    ) {
        let is_clear = self.plan.faults().next().is_none() && self.places[at].has_reached_redis;
        if is_clear && result == Err(EnterError::Unavailable) {
            let name = CHANNELS[ticket.channel];
            let client = ticket.client;
            self.mistake = Some(format!(
                "{name}: client {client} was refused without a cause"
            ));
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.places.iter().filter_map(|place| place.node.as_ref())
    }

    fn clients(&self) -> impl Iterator<Item = &super::client::Client> {
        self.nodes().flat_map(|node| node.clients.values())
    }

    /// Users who are in the channel.
    fn truth(&self, channel: usize) -> BTreeSet<String> {
        let seated = self
            .clients()
            .filter(|client| client.standing(channel) == Standing::In);
        seated.map(|client| client.user.clone()).collect()
    }

    fn subscriptions(&self, channel: usize) -> usize {
        let there = self
            .clients()
            .filter(|client| matches!(client.standing(channel), Standing::In | Standing::Online));
        there.count()
    }

    fn is_broken(&self, channel: usize) -> bool {
        self.broken.contains(&channel)
    }

    /// Everything has been well for a while: every view equals the truth, and so does Redis.
    pub(super) fn check_agreement(&mut self) -> Result<(), String> {
        for (channel, name) in CHANNELS.into_iter().enumerate() {
            if self.is_broken(channel) {
                continue;
            }
            let waiting = self
                .clients()
                .filter(|client| client.standing(channel) == Standing::Waiting);
            if waiting.count() > 0 {
                return Err(format!("{name}: somebody still waits"));
            }
            if name.starts_with("presence-") {
                self.check_members(channel)?;
            }
            if name == ONLINE {
                self.check_online(channel)?;
            } else if self.plan.counts && !name.starts_with("presence-") {
                self.check_counts(channel)?;
            }
            self.check_redis(channel)?;
        }
        self.check_listeners()
    }

    fn check_members(&self, channel: usize) -> Result<(), String> {
        let truth = self.truth(channel);
        for client in self
            .clients()
            .filter(|client| client.standing(channel) == Standing::In)
        {
            let seen = client.members.get(&channel);
            if seen != Some(&truth) {
                return Err(format!(
                    "{}: client {} of {} sees {seen:?} instead of {truth:?}",
                    CHANNELS[channel], client.socket, client.user
                ));
            }
        }
        if truth.len() > self.plan.room
            && !self.plan.faults().any(Fault::loses_data)
            && !self.has_lost_leases()
        {
            return Err(format!(
                "{}: {truth:?} is more than there is room for",
                CHANNELS[channel]
            ));
        }
        Ok(())
    }

    /// Whether a node may have counted as dead, so that others took its places.
    fn has_lost_leases(&self) -> bool {
        self.plan.faults().any(|fault| {
            !matches!(
                fault,
                Fault::ScriptFlush | Fault::Cut { .. } | Fault::WrongType { .. }
            )
        })
    }

    fn check_online(&self, channel: usize) -> Result<(), String> {
        let truth = self
            .clients()
            .any(|client| client.standing(channel) == Standing::Online);
        for client in self
            .clients()
            .filter(|client| client.standing(channel) == Standing::In)
        {
            if client.sees_online != Some(truth) {
                return Err(format!(
                    "{WATCHED} is online: {truth}, but client {} sees {:?}",
                    client.socket, client.sees_online
                ));
            }
        }
        Ok(())
    }

    fn check_counts(&self, channel: usize) -> Result<(), String> {
        let truth = self.subscriptions(channel) as u64;
        for client in self
            .clients()
            .filter(|client| client.standing(channel) == Standing::In)
        {
            if client.counts.get(&channel) != Some(&truth) {
                return Err(format!(
                    "{}: client {} was told of {:?} subscribers instead of {truth}",
                    CHANNELS[channel],
                    client.socket,
                    client.counts.get(&channel)
                ));
            }
        }
        Ok(())
    }

    fn ask(&mut self, words: &[&str]) -> Reply {
        self.set_time();
        let words: Vec<Bytes> = words
            .iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        self.server.redis.command(u64::MAX, &words)
    }

    /// The texts in an answer.
    fn texts(&mut self, words: &[&str]) -> BTreeSet<String> {
        let texts = match self.ask(words) {
            Reply::Array(texts) => texts,
            _ => Vec::new(),
        };
        let texts = texts.into_iter().filter_map(|text| match text {
            Reply::Bulk(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        });
        texts.collect()
    }

    /// What Redis says of a channel: of it alone, and in the list of all.
    fn check_redis(&mut self, channel: usize) -> Result<(), String> {
        let name = CHANNELS[channel];
        let base = format!("loudhailer:{{1001:{}}}", bucket_of(name));
        let truth = self.subscriptions(channel);
        let counted = match self.ask(&["HGET", &format!("{base}:total"), name]) {
            Reply::Bulk(bytes) => String::from_utf8_lossy(&bytes)
                .parse()
                .unwrap_or(usize::MAX),
            _ => 0,
        };
        if counted != truth {
            return Err(format!(
                "{name}: Redis counts {counted} subscriptions instead of {truth}"
            ));
        }
        if name.starts_with("presence-") {
            let truth = self.truth(channel);
            let members = self.texts(&["HKEYS", &format!("{base}:members:{name}")]);
            if members != truth {
                return Err(format!(
                    "{name}: Redis has {members:?} instead of {truth:?}"
                ));
            }
        }
        Ok(())
    }

    /// Nodes listen to what they have subscribers of.
    fn check_listeners(&mut self) -> Result<(), String> {
        let places = self.places.len();
        for at in 0..places {
            let Some(node) = &self.places[at].node else {
                continue;
            };
            let wanted: BTreeSet<usize> = node
                .clients
                .values()
                .flat_map(|client| {
                    (0..CHANNELS.len()).filter(|channel| client.standing(*channel) == Standing::In)
                })
                .collect();
            let Some(connection) = self.places[at].lifeline.connection else {
                return Err(format!("place {at} is not connected"));
            };
            for channel in wanted {
                let name = CHANNELS[channel];
                let topic = format!("loudhailer:{{1001:{}}}:{name}", bucket_of(name));
                if !self.server.redis.listens(connection, topic.as_bytes())
                    && !self.is_broken(channel)
                {
                    return Err(format!("{name}: place {at} does not listen"));
                }
            }
        }
        Ok(())
    }

    /// A new subscriber is shown on each node what Redis has for the last event.
    pub(super) fn check_cached(&mut self) -> Result<(), String> {
        let is_unkept = |fault| matches!(fault, Fault::OutOfMemory { .. });
        if self.plan.faults().any(is_unkept) {
            return Ok(());
        }
        for (channel, name) in CHANNELS.into_iter().enumerate() {
            if !name.starts_with("cache-") || self.is_broken(channel) {
                continue;
            }
            let key = |part| format!("loudhailer:{{1001:{}}}:{part}:{name}", bucket_of(name));
            let (key, missed) = (key("cache"), key("missed"));
            let is_missed = self.ask(&["EXISTS", &missed]) == Reply::Int(1);
            let Reply::Bulk(kept) = self.ask(&["GET", &key]) else {
                if is_missed && self.subscriptions(channel) == 0 {
                    return Err(format!("{missed} is there without a subscriber"));
                }
                continue;
            };
            if is_missed {
                return Err(format!("{missed} is there with an event"));
            }
            if !matches!(self.ask(&["PTTL", &key]), Reply::Int(left) if left > EXPIRING_MS) {
                continue;
            }
            for node in self.nodes() {
                let Some(shown) = node.shown(channel, self.now) else {
                    continue;
                };
                let shown = shown.cached.map(|frame| frame.bytes().clone());
                if shown.as_ref() != Some(&kept) {
                    let process = node.process;
                    return Err(format!(
                        "{name}: process {process} shows {shown:?}, Redis has {kept:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// A new subscriber is shown on each node what was published last, and so it stands in Redis.
    pub(super) fn check_history(&mut self) -> Result<(), String> {
        for (channel, name) in CHANNELS.into_iter().enumerate() {
            let owed = self.owed.iter().filter(|(owed, _)| *owed == channel);
            let owed: Vec<String> = owed.map(|(_, data)| data.clone()).collect();
            let is_clear = self.places.len() == 1 || owed.len() <= REPLAY.events;
            if !name.starts_with("past-") || self.is_broken(channel) || !is_clear {
                continue;
            }
            let last = &owed[owed.len().saturating_sub(REPLAY.events)..];
            let key = format!("loudhailer:{{1001:{}}}:history:{name}", bucket_of(name));
            let Reply::Array(entries) = self.ask(&["LRANGE", &key, "0", "-1"]) else {
                return Err(format!("{name}: Redis has no history"));
            };
            let entries = entries.into_iter().filter_map(|entry| match entry {
                Reply::Bulk(bytes) => Some(bytes.slice(ENTRY_HEADER.min(bytes.len())..)),
                _ => None,
            });
            let mut histories = vec![("Redis".to_owned(), entries.collect::<Vec<_>>())];
            histories.extend(self.nodes().filter_map(|node| {
                let shown = node.shown(channel, self.now)?.replayed;
                let shown = shown.iter().map(|frame| frame.bytes().clone());
                Some((format!("process {}", node.process), shown.collect()))
            }));
            for (whose, events) in histories {
                let has = |data: &str| events.iter().any(|event| contains(event, data));
                if events.len() > REPLAY.events || !last.iter().all(|data| has(data)) {
                    return Err(format!("{name}: {whose} has {events:?}, not {last:?}"));
                }
            }
        }
        Ok(())
    }

    /// Every node publishes to every channel; whoever is in must hear it once. One that is alone publishes more than a history keeps.
    pub(super) fn publish_everywhere(&mut self) {
        let rounds = match self.places.len() {
            1 => REPLAY.events + 1,
            _ => 1,
        };
        for at in (0..self.places.len())
            .cycle()
            .take(self.places.len() * rounds)
        {
            for (channel, name) in CHANNELS.iter().enumerate() {
                if *name != ONLINE {
                    let data = self.publish(at, channel, None);
                    self.owed.push((channel, data));
                }
            }
        }
    }

    pub(super) fn check_deliveries(&self) -> Result<(), String> {
        for (channel, data) in &self.owed {
            if self.is_broken(*channel) {
                continue;
            }
            for client in self
                .clients()
                .filter(|client| client.standing(*channel) == Standing::In)
            {
                let heard = client
                    .events
                    .get(&(*channel, data.clone()))
                    .copied()
                    .unwrap_or(0);
                if heard != 1 {
                    return Err(format!(
                        "{}: client {} heard {data} {heard} times",
                        CHANNELS[*channel], client.socket
                    ));
                }
            }
        }
        Ok(())
    }

    /// Redis was asked to publish each event of a node, whatever it did with it then.
    pub(super) fn check_published(&self) -> Result<(), String> {
        let missing = self.nodes().find_map(|node| {
            let mut events = node.events();
            events.find(|event| !self.server.published.contains(event))
        });
        match missing {
            Some((process, number)) => {
                Err(format!("event {number} of process {process} was not sent"))
            }
            None => Ok(()),
        }
    }

    pub(super) fn everyone_leaves(&mut self) {
        self.note(|| "everyone leaves".to_owned());
        let now = self.now;
        for at in 0..self.places.len() {
            let clients: Vec<usize> = self.node(at).clients.keys().copied().collect();
            for client in clients {
                self.node(at).disconnect(client, now);
            }
            self.act(at);
        }
    }

    /// Everyone has gone: nothing is left in Redis, and every arrival that was told has its departure.
    pub(super) fn check_emptiness(&mut self) -> Result<(), String> {
        let kept = ["{nodes}:leases", "{nodes}:connections"];
        let keys = self.all_keys();
        let left: Vec<String> = keys
            .into_iter()
            .filter(|key| !kept.iter().any(|end| key.ends_with(end)))
            .filter(|key| {
                !self
                    .broken
                    .iter()
                    .any(|channel| key.ends_with(CHANNELS[*channel]))
            })
            .collect();
        if !left.is_empty() {
            return Err(format!("left in Redis: {left:?}"));
        }
        self.check_nodes()?;
        self.check_told()
    }

    /// Redis names the living nodes and no others.
    fn check_nodes(&mut self) -> Result<(), String> {
        let living = self.nodes().map(|node| node.core.epoch().to_string());
        let living: BTreeSet<String> = living.collect();
        for words in [
            &["ZRANGE", "loudhailer:{nodes}:leases", "0", "-1"][..],
            &["HKEYS", "loudhailer:{nodes}:connections"],
        ] {
            let named = self.texts(words);
            if named != living {
                let key = words[1];
                return Err(format!("{key} has {named:?} instead of {living:?}"));
            }
        }
        Ok(())
    }

    /// Arrivals and departures come in turn, unless a node has taken what it had to tell with it, or Redis has lost it.
    fn check_told(&self) -> Result<(), String> {
        let is_forgetful = |fault: Fault| {
            let loses = matches!(
                fault,
                Fault::Kill { .. } | Fault::WrongType { .. } | Fault::OutOfMemory { .. }
            );
            loses || fault.loses_data()
        };
        let is_exact = !self.closed_early && !self.plan.faults().any(is_forgetful);
        let mut balances: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for (channel, event, about) in &self.told {
            let change = match *event {
                "occupied" | "added" => 1,
                "vacated" | "removed" => -1,
                _ => continue,
            };
            let balance = balances.entry((channel, about)).or_default();
            *balance += change;
            if is_exact && !self.is_mixed(*balance) {
                return Err(format!(
                    "{channel} {about:?}: told {event}, balance {balance}"
                ));
            }
        }
        for ((channel, about), balance) in balances {
            if is_exact && balance != 0 {
                return Err(format!(
                    "{channel} {about:?}: arrivals and departures differ by {balance}"
                ));
            }
        }
        Ok(())
    }

    /// Two nodes may tell of an arrival and a departure at the same moment.
    fn is_mixed(&self, balance: i64) -> bool {
        (-1..=2).contains(&balance)
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    let quoted = format!("\"{text}\"");
    let mut windows = bytes.windows(quoted.len());
    windows.any(|window| window == quoted.as_bytes())
}
