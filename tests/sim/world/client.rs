//! A simulated client: strict about everything it hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use loudhailer::{
    hub::{Channel, Subscriber},
    presence::Member,
};
use serde_json::Value;

use crate::plan::{CHANNELS, ONLINE};

/// A client's place in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Out,
    /// It has asked, and waits.
    Waiting,
    In,
    /// It is the watched user's own connection, which waits for nothing and hears nothing.
    Online,
}

struct Seat {
    /// Which of the client's wishes led to it.
    number: u64,
    standing: Standing,
    attached: Arc<Channel>,
    member: Option<Member>,
}

pub(crate) struct Client {
    pub(crate) user: String,
    pub(crate) socket: u64,
    pub(crate) subscriber: Rc<Subscriber>,
    seats: BTreeMap<usize, Seat>,
    /// Members as the messages add up, by channel.
    pub(crate) members: BTreeMap<usize, BTreeSet<String>>,
    /// The last event of each channel and source.
    heard: BTreeMap<(usize, String), u64>,
    /// How many events of each channel and text came.
    pub(crate) events: BTreeMap<(usize, String), usize>,
    pub(crate) counts: BTreeMap<usize, u64>,
    pub(crate) sees_online: Option<bool>,
    pub(crate) refused: usize,
    /// Counts its wishes to enter a channel.
    pub(crate) tries: u64,
}

impl Client {
    pub(crate) fn new(user: String, socket: u64, subscriber: Rc<Subscriber>) -> Self {
        Self {
            user,
            socket,
            subscriber,
            seats: BTreeMap::new(),
            members: BTreeMap::new(),
            heard: BTreeMap::new(),
            events: BTreeMap::new(),
            counts: BTreeMap::new(),
            sees_online: None,
            refused: 0,
            tries: 0,
        }
    }

    pub(crate) fn standing(&self, channel: usize) -> Standing {
        self.seats
            .get(&channel)
            .map_or(Standing::Out, |seat| seat.standing)
    }

    /// Which of its wishes the client waits for in the channel.
    pub(crate) fn waits_for(&self, channel: usize) -> Option<u64> {
        let seat = self.seats.get(&channel)?;
        (seat.standing == Standing::Waiting).then_some(seat.number)
    }

    pub(crate) fn enter(
        &mut self,
        channel: usize,
        standing: Standing,
        attached: Arc<Channel>,
        member: Option<Member>,
    ) {
        let seat = Seat {
            number: self.tries,
            standing,
            attached,
            member,
        };
        self.seats.insert(channel, seat);
    }

    pub(crate) fn seat(&mut self, channel: usize) -> (Arc<Channel>, Option<Member>) {
        let seat = self.seats.get_mut(&channel).expect("it waits");
        seat.standing = Standing::In;
        (Arc::clone(&seat.attached), seat.member.clone())
    }

    pub(crate) fn attached(&self, channel: usize) -> Option<&Arc<Channel>> {
        self.seats.get(&channel).map(|seat| &seat.attached)
    }

    pub(crate) fn leave(
        &mut self,
        channel: usize,
    ) -> Option<(Standing, Arc<Channel>, Option<Member>)> {
        let Seat {
            standing,
            number: _,
            attached,
            member,
        } = self.seats.remove(&channel)?;
        self.members.remove(&channel);
        self.counts.remove(&channel);
        self.heard.retain(|(heard, _), _| *heard != channel);
        if CHANNELS[channel] == ONLINE {
            self.sees_online = None;
        }
        Some((standing, attached, member))
    }

    /// Takes whole frames.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while bytes.len() >= 2 {
            let (header, length) = match bytes[1] {
                126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
                127 => return Err("a frame of more than 64 KB".to_owned()),
                short => (2, usize::from(short)),
            };
            let payload = &bytes[header..header + length];
            if bytes[0] == 0x81 {
                let message: Value =
                    serde_json::from_slice(payload).map_err(|error| error.to_string())?;
                self.hear(&message).map_err(|what| {
                    format!("client {} of {}: {what}: {message}", self.socket, self.user)
                })?;
            }
            bytes = &bytes[header + length..];
        }
        Ok(())
    }

    fn hear(&mut self, message: &Value) -> Result<(), String> {
        let event = message["event"].as_str().unwrap_or_default();
        if event == "pusher_internal:watchlist_events" {
            let data = data_of(message);
            self.sees_online = Some(data["events"][0]["name"] == "online");
            return Ok(());
        }
        let name = message["channel"].as_str().unwrap_or_default();
        let channel = CHANNELS.iter().position(|channel| *channel == name);
        let channel = channel.ok_or("an unknown channel")?;
        if self.standing(channel) != Standing::In {
            return Err("a message of a channel that it is not in".to_owned());
        }
        match event {
            "pusher_internal:subscription_succeeded" => self.begin(channel, message),
            "pusher_internal:member_added" => {
                let user = user_of(message);
                let is_new = self.view(channel)?.insert(user);
                is_new
                    .then_some(())
                    .ok_or("a member who was there".to_owned())
            }
            "pusher_internal:member_removed" => {
                let user = user_of(message);
                let was_there = self.view(channel)?.remove(&user);
                was_there
                    .then_some(())
                    .ok_or("a member who was not there".to_owned())
            }
            "pusher_internal:subscription_count" => {
                let count = data_of(message)["subscription_count"].as_u64();
                self.counts.insert(channel, count.ok_or("no count")?);
                Ok(())
            }
            "pusher:cache_miss" => Ok(()),
            _ => self.hear_event(channel, message),
        }
    }

    fn begin(&mut self, channel: usize, message: &Value) -> Result<(), String> {
        if !CHANNELS[channel].starts_with("presence-") {
            return Ok(());
        }
        let data = data_of(message);
        let ids = data["presence"]["ids"].as_array().ok_or("no members")?;
        let ids: BTreeSet<String> = ids
            .iter()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect();
        if !ids.contains(&self.user) {
            return Err("it is not among the members itself".to_owned());
        }
        self.members.insert(channel, ids);
        Ok(())
    }

    fn view(&mut self, channel: usize) -> Result<&mut BTreeSet<String>, String> {
        self.members
            .get_mut(&channel)
            .ok_or("a change before the list".to_owned())
    }

    /// An event of ours: `source:number`, rising within a source.
    fn hear_event(&mut self, channel: usize, message: &Value) -> Result<(), String> {
        let text = message["data"].as_str().ok_or("no data")?;
        let (source, number) = text.split_once(':').ok_or("another event")?;
        let number: u64 = number.parse().map_err(|_| "another event")?;
        *self.events.entry((channel, text.to_owned())).or_default() += 1;
        let last = self.heard.insert((channel, source.to_owned()), number);
        match last {
            Some(last) if last >= number => Err(format!("{number} after {last}")),
            _ => Ok(()),
        }
    }
}

fn data_of(message: &Value) -> Value {
    let text = message["data"].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn user_of(message: &Value) -> String {
    data_of(message)["user_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
