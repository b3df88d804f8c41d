//! A client, strict about everything it hears.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{NODES, ROOMS, SETTLING};
use crate::{
    cluster::{SUCCEEDED, watcher::View},
    support::client::{Message, TestClient},
};

/// Who published, and where: within it, numbers rise.
pub(super) type Source = (String, String);

/// A player's part in one channel.
#[derive(Default)]
pub(super) struct Seat {
    pub(super) state: State,
    pub(super) view: View,
    pub(super) asked: Option<Instant>,
    /// Leaves that the server has not confirmed by a pong; until then messages are an old subscription's.
    pub(super) leaving: usize,
    /// The last number of each source.
    pub(super) heard: BTreeMap<Source, u64>,
    /// Numbers that must come, with the node that they come from.
    pub(super) owed: BTreeMap<Source, (usize, VecDeque<u64>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Out,
    Asked,
    In,
}

/// A client, strict about everything it hears.
pub(super) struct Player {
    pub(super) client: TestClient,
    pub(super) name: String,
    pub(super) user: String,
    pub(super) node: usize,
    pub(super) seats: BTreeMap<&'static str, Seat>,
    /// What the pongs that are awaited confirm.
    pub(super) pings: VecDeque<Option<&'static str>>,
    /// An error message that belongs to a refusal comes next.
    pub(super) refused: bool,
}

/// Since when nothing has been in the way; in the future while something is.
pub(super) struct Calm {
    pub(super) nodes: [Instant; NODES],
    pub(super) redis: Instant,
}

impl Calm {
    pub(super) fn of(&self, node: usize) -> Instant {
        self.nodes[node].max(self.redis)
    }
}

impl Player {
    pub(super) fn join(&mut self, channel: &'static str) {
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

    pub(super) fn leave(&mut self, channel: &'static str) {
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

    pub(super) fn ping(&mut self, confirms: Option<&'static str>) {
        self.client.send(&json!({"event": "pusher:ping"}));
        self.pings.push_back(confirms);
    }

    /// Takes what has come, without waiting for more.
    pub(super) fn pump(&mut self, calm: &Calm) {
        while let Ok(message) = self.client.read(Duration::from_millis(1)) {
            self.take(&message, calm);
        }
    }

    pub(super) fn take(&mut self, message: &Message, calm: &Calm) {
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
    pub(super) fn hear(&mut self, channel: &str, message: &Message) {
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

    pub(super) fn is_owed(&self) -> Option<String> {
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
    pub(super) fn forgive(&mut self, node: Option<usize>) {
        let all = node.is_none_or(|node| node == self.node);
        for seat in self.seats.values_mut() {
            seat.owed.retain(|_, (from, _)| !all && node != Some(*from));
        }
    }
}
