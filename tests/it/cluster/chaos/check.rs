//! What must be true when nothing has been in the way for a while.

use std::{collections::BTreeSet, time::Instant};

use serde_json::Value;

use super::{
    AGREEMENT, CACHE, CHANNELS, ROOMS,
    player::{Player, State},
    world::World,
};
use crate::cluster::try_users;

impl World {
    /// Who is in the room, by what the clients were told.
    pub(super) fn truth(&self, channel: &str) -> BTreeSet<String> {
        let seated = self
            .players
            .iter()
            .filter(|player| player.seats[channel].state == State::In);
        seated.map(|player| player.user.clone()).collect()
    }

    pub(super) fn subscriptions(&self, channel: &str) -> usize {
        let seated = self
            .players
            .iter()
            .filter(|player| player.seats[channel].state == State::In);
        seated.count()
    }

    /// Pumps until the question has an answer.
    pub(super) fn eventually(&mut self, what: &str, ask: impl Fn(&Self) -> Result<(), String>) {
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
    pub(super) fn checkpoint(&mut self) {
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

    pub(super) fn node_is_right(&self, at: usize) -> Result<(), String> {
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

    pub(super) fn views_are_right(&self) -> Result<(), String> {
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
    pub(super) fn shows_one_cached_event(&self) -> Result<(), String> {
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
    pub(super) fn newcomers_see_the_truth(&mut self) {
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

    pub(super) fn node_is_right_in_rooms(&self, at: usize) -> Result<(), String> {
        for room in ROOMS {
            let (users, truth) = (try_users(self.node(at), room)?, self.truth(room));
            if users != truth {
                return Err(format!("node {at}, {room}: {users:?} instead of {truth:?}"));
            }
        }
        Ok(())
    }
}
