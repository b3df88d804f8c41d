//! A client that watches a presence channel and believes nothing: every message must fit what it knows.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{ADDED, REMOVED, SUCCEEDED, set};
use crate::support::{
    client::{Message, Presence, TestClient},
    server::TestServer,
    stream::PATIENCE,
};

/// The members as one client was told of them.
#[derive(Debug, Default)]
pub(super) struct View {
    /// None before the first hash.
    pub(super) members: Option<BTreeSet<String>>,
    /// Edges since, as `+user` and `-user`.
    pub(super) edges: Vec<String>,
}

impl View {
    /// Takes a message about members; `false` if it is about something else.
    #[track_caller]
    pub(super) fn apply(&mut self, message: &Message, own: &str) -> bool {
        if message.event() == SUCCEEDED {
            let members: BTreeSet<_> = Presence::of(message).hash.into_keys().collect();
            assert!(
                members.contains(own),
                "{own} is not in its own hash: {}",
                message.text
            );
            self.members = Some(members);
            return true;
        }
        let is_added = message.event() == ADDED;
        if !is_added && message.event() != REMOVED {
            return false;
        }
        let decoded = message.decoded();
        let user = decoded["user_id"].as_str().expect("a user id").to_owned();
        assert_ne!(user, own, "nobody is told of itself: {}", message.text);
        let members = self.members.as_mut().expect("no edge before the hash");
        if is_added {
            assert!(
                members.insert(user.clone()),
                "{own}: added a present {user}"
            );
            self.edges.push(format!("+{user}"));
        } else {
            assert!(members.remove(&user), "{own}: removed an absent {user}");
            self.edges.push(format!("-{user}"));
        }
        true
    }
}

/// A watching client.
pub(super) struct Watcher {
    pub(super) client: TestClient,
    pub(super) channel: String,
    pub(super) user: String,
    pub(super) view: View,
    /// Messages that were not about members.
    pub(super) events: Vec<Message>,
}

impl Watcher {
    #[track_caller]
    pub(super) fn join(node: &TestServer, channel: &str, user: &str) -> Self {
        let mut client = node.client();
        client.ask_with(channel, &json!({"user_id": user}).to_string());
        let mut watcher = Self {
            client,
            channel: channel.to_owned(),
            user: user.to_owned(),
            view: View::default(),
            events: Vec::new(),
        };
        let hash = watcher.client.expect_on(channel, SUCCEEDED);
        watcher.view.apply(&hash, user);
        watcher
    }

    /// Takes one message, if one comes within that time.
    #[track_caller]
    fn take(&mut self, patience: Duration) -> bool {
        let Ok(message) = self.client.read(patience) else {
            return false;
        };
        assert_eq!(message.channel(), Some(&*self.channel), "{}", message.text);
        if !self.view.apply(&message, &self.user) {
            self.events.push(message);
        }
        true
    }

    pub(super) fn members(&self) -> &BTreeSet<String> {
        self.view.members.as_ref().expect("it has joined")
    }

    /// Waits until it knows exactly these members.
    #[track_caller]
    pub(super) fn expect_members(&mut self, patience: Duration, expected: &[&str]) {
        let expected = set(expected);
        let deadline = Instant::now() + patience;
        while *self.members() != expected {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                self.take(left) || *self.members() == expected,
                "{} sees {:?} instead of {expected:?} after {patience:?}",
                self.user,
                self.members()
            );
        }
    }

    /// The name of the next event that is not about members, if one comes within that time.
    #[track_caller]
    pub(super) fn next_event(&mut self, patience: Duration) -> Option<String> {
        let before = self.events.len();
        while self.take(patience) {
            if self.events.len() > before {
                return self.events.last().map(|event| event.event().to_owned());
            }
        }
        None
    }

    /// Takes everything up to the event of this name.
    #[track_caller]
    pub(super) fn take_to(&mut self, event: &str) {
        while self.events.last().is_none_or(|last| last.event() != event) {
            assert!(self.take(PATIENCE), "{} waited for {event}", self.user);
        }
    }

    /// Waits until it has seen so many edges since they were last taken.
    #[track_caller]
    pub(super) fn expect_edges(&mut self, count: usize) {
        while self.view.edges.len() < count {
            let edges = &self.view.edges;
            let seen = format!("{} saw only {edges:?}", self.user);
            assert!(self.take(PATIENCE), "{seen}");
        }
    }

    /// The edges since the last call.
    pub(super) fn edges(&mut self) -> Vec<String> {
        std::mem::take(&mut self.view.edges)
    }
}

/// Publishes a marker through the node and has every watcher read up to it.
#[track_caller]
pub(super) fn sync(node: &TestServer, watchers: &mut [Watcher]) {
    static MARKERS: AtomicU32 = AtomicU32::new(0);
    let marker = format!("marker-{}", MARKERS.fetch_add(1, Ordering::Relaxed));
    let channel = watchers[0].channel.clone();
    node.api().publish(&channel, &marker, "");
    for watcher in watchers {
        watcher.take_to(&marker);
    }
}
