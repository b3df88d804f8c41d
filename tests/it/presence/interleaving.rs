//! Any order of joining, leaving and vanishing, over two workers: every view ends as the truth and no edge comes twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{
    client::{Message, Presence, TestClient},
    eventually,
    random::Random,
    server::TestServer,
};

const CHANNELS: [&str; 2] = ["presence-a", "presence-b"];
const CLIENTS: usize = 20;
const USERS: usize = 7;

/// What a client knows of one channel.
#[derive(Default)]
struct View {
    /// Absent until the first hash.
    users: Option<BTreeSet<String>>,
    subscribed: bool,
}

/// A client, its user, and its views.
struct Player {
    client: TestClient,
    user: String,
    views: BTreeMap<&'static str, View>,
    /// Joins of what it is in and leaves of what it is not in, which are answered by an error.
    mistakes: usize,
}

impl Player {
    fn new(server: &TestServer, random: &mut Random) -> Self {
        Self {
            client: server.client(),
            user: format!("u{}", random.below(USERS)),
            views: CHANNELS.map(|channel| (channel, View::default())).into(),
            mistakes: 0,
        }
    }

    /// Sends without waiting for the answer, so that many are on their way at once.
    fn join(&mut self, channel: &'static str) {
        let view = self.views.get_mut(channel).unwrap();
        self.mistakes += usize::from(view.subscribed);
        view.subscribed = true;
        let channel_data = json!({"user_id": self.user, "user_info": {"name": self.user}});
        self.client.ask_with(channel, &channel_data.to_string());
    }

    fn leave(&mut self, channel: &'static str) {
        let view = self.views.get_mut(channel).unwrap();
        self.mistakes += usize::from(!view.subscribed);
        view.subscribed = false;
        self.client.unsubscribe(channel);
    }

    /// Applies one message, strictly.
    fn apply(&mut self, message: &Message) {
        if message.event() == "pusher:error" {
            let left = self.mistakes.checked_sub(1);
            self.mistakes = left.expect("only a mistake is answered by an error");
            return;
        }
        let (user, channel) = (&self.user, message.channel().expect("a channel"));
        let view = self.views.get_mut(channel).expect("a known channel");
        if message.event() == "pusher_internal:subscription_succeeded" {
            let fresh: BTreeSet<_> = Presence::of(message).hash.into_keys().collect();
            assert!(
                fresh.contains(user),
                "the hash includes the subscriber: {}",
                message.text
            );
            view.users = Some(fresh);
            return;
        }
        let edge = message.decoded()["user_id"]
            .as_str()
            .expect("a string")
            .to_owned();
        assert_ne!(&edge, user, "nobody is told of itself: {}", message.text);
        let users = view.users.as_mut().expect("no edge before the hash");
        match message.event() {
            "pusher_internal:member_added" => {
                assert!(users.insert(edge), "added twice: {}", message.text)
            }
            "pusher_internal:member_removed" => {
                assert!(users.remove(&edge), "removed twice: {}", message.text)
            }
            other => panic!("{other}"),
        }
    }

    /// Reads up to the marker of a channel that this client is subscribed to.
    fn read_to_marker(&mut self, channel: &str, seen: &mut BTreeSet<String>) {
        while !seen.contains(channel) {
            let message = self.client.next();
            if message.event() == "marker" {
                seen.insert(message.channel().unwrap().to_owned());
            } else {
                self.apply(&message);
            }
        }
    }
}

fn step(server: &TestServer, random: &mut Random, players: &mut [Player]) {
    let at = random.below(players.len());
    let channel = *random.pick(&CHANNELS);
    match random.below(10) {
        0..5 => players[at].join(channel),
        5..8 => players[at].leave(channel),
        8 => players[at] = Player::new(server, random),
        _ => {
            let left = std::mem::replace(&mut players[at], Player::new(server, random));
            left.client.close();
        }
    }
}

fn truth(players: &[Player], channel: &str) -> BTreeSet<String> {
    let subscribed = players
        .iter()
        .filter(|player| player.views[channel].subscribed);
    subscribed.map(|player| player.user.clone()).collect()
}

fn users(server: &TestServer, channel: &str) -> BTreeSet<String> {
    let users = server
        .api()
        .get(&format!("/channels/{channel}/users"), &[])
        .json();
    let ids = users["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["id"].as_str().unwrap().to_owned());
    ids.collect()
}

/// Waits for the server to have seen everything, then compares every view with the truth.
fn compare(server: &TestServer, players: &mut [Player]) {
    for player in players.iter_mut() {
        player.client.send(&json!({"event": "pusher:ping"}));
    }
    for player in players.iter_mut() {
        loop {
            match player.client.next() {
                message if message.event() == "pusher:pong" => break,
                message => player.apply(&message),
            }
        }
        assert_eq!(player.mistakes, 0, "every mistake is answered");
    }
    for channel in CHANNELS {
        let expected = truth(players, channel);
        eventually("the server agrees with the truth", || {
            (users(server, channel) == expected).then_some(())
        });
        server.api().publish(channel, "marker", "");
    }
    for player in players.iter_mut() {
        let mut seen = BTreeSet::new();
        for channel in CHANNELS
            .into_iter()
            .filter(|channel| player.views[channel].subscribed)
            .collect::<Vec<_>>()
        {
            player.read_to_marker(channel, &mut seen);
        }
    }
    for channel in CHANNELS {
        let expected = truth(players, channel);
        for player in players
            .iter()
            .filter(|player| player.views[channel].subscribed)
        {
            assert_eq!(
                player.views[channel].users.as_ref(),
                Some(&expected),
                "{} on {channel}",
                player.user
            );
        }
    }
}

fn play(seed: u64) {
    let server = TestServer::usual();
    let mut random = Random::seeded(seed);
    let mut players: Vec<_> = (0..CLIENTS)
        .map(|_| Player::new(&server, &mut random))
        .collect();
    for _round in 0..8 {
        for _step in 0..150 {
            step(&server, &mut random, &mut players);
        }
        compare(&server, &mut players);
    }
}

#[test]
fn any_order_of_joins_and_leaves_ends_in_equal_views_seed_1() {
    play(1);
}

#[test]
fn any_order_of_joins_and_leaves_ends_in_equal_views_seed_2() {
    play(2);
}

#[test]
fn any_order_of_joins_and_leaves_ends_in_equal_views_seed_3() {
    play(3);
}
