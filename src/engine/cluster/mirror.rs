//! What the core decides, done to what this node knows and to its clients.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::core::{Change, Delivered, Event, Told, What, node_name};
use crate::{
    engine::{CacheableEvent, ChannelEdge, ChannelKey, EdgeSink, State, state::Own},
    feed::Line,
    hub::Receipt,
    protocol::ChannelName,
};

/// What the feed shows of an event.
#[derive(Default, Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Cow<'a, str>>,
}

/// Applies the core's decisions to this node's state and reports its edges.
pub struct Mirror {
    state: Arc<State>,
    edges: EdgeSink,
}

impl Mirror {
    /// A mirror of this state that reports edges to this sink.
    #[must_use]
    pub fn new(state: Arc<State>, edges: EdgeSink) -> Self {
        Self { state, edges }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Changes what this node knows of a channel, and announces it to subscribers.
    pub fn change(&self, key: &ChannelKey, change: Change, now: Instant) {
        let state = &self.state;
        match change {
            Change::Arrived(member) => state.arrive(key, &member),
            Change::Returned(member) => state.arrive_again(key, &member),
            Change::Departed(user_id) => state.leave(key, &user_id, now),
            Change::Whole {
                shared,
                keeps_missing,
                knows_cached,
                replay,
            } => state.apply(key, *shared, (keeps_missing, knows_cached), replay, now),
            Change::Count(count) => state.tell_count(key, count, now),
            Change::Confirmed(number, last) => {
                let last = last.map(|(frame, ttl_s)| (frame, Duration::from_secs(ttl_s.into())));
                state.confirm_own(key, number, last, now);
            }
            Change::Settled(id) => state.settle_own(key, id, Own::Stay),
            Change::SettledElsewhere(id) => state.settle_own(key, id, Own::Go),
            Change::DoubtedPast => state.doubt_history(key),
            Change::Forgotten => state.forget(key),
        }
    }

    /// Delivers another node's event to this node's subscribers.
    pub fn deliver(&self, key: &ChannelKey, event: Event, delivered: Delivered, now: Instant) {
        let app = self.state.hub().app(&key.app_id);
        app.traffic().peer_events_received.increment();
        let receipt = self.receipt(key, &event);
        let arrived = CacheableEvent {
            app: &app,
            name: ChannelName::of_key(&key.name, key.kind),
            frame: event.frame,
            except: event.except,
            receipt,
            published: None,
            at: now,
        };
        match delivered {
            Delivered::Passing => self.state.pass_others(arrived),
            Delivered::Cached(ttl_s) => {
                let ttl = Duration::from_secs(ttl_s.into());
                self.state.remember_others(arrived, ttl);
            }
            Delivered::Recorded(replay) => self.state.record_others(arrived, event.id, replay),
        }
    }

    /// Counts the deliveries of another node's event, while somebody watches.
    fn receipt(&self, key: &ChannelKey, event: &Event) -> Option<Arc<Receipt>> {
        let feed = self.state.feed();
        if !feed.is_watched() || key.kind.is_internal() {
            return None;
        }
        let (feed, key, frame) = (feed.clone(), key.clone(), event.frame.clone());
        let node = node_name(event.id.0);
        Some(Receipt::new(move |delivered| {
            let shown: Shown<'_> = serde_json::from_slice(frame.payload()).unwrap_or_default();
            let data = shown.data.unwrap_or_default();
            feed.emit(|| Line::PeerEvent {
                app: &key.app_id,
                event: &shown.event,
                channel: &key.name,
                data: &data,
                size: data.len(),
                delivered,
                node,
            });
        }))
    }

    /// Calls `report` when what was to be delivered so far is on its way to the app's clients.
    pub fn when_delivered(&self, app_id: &Arc<str>, report: impl FnOnce() + Send + 'static) {
        self.state.hub().when_delivered(app_id, report);
    }

    /// Lets the app's backend hear of a change.
    pub fn tell(&self, app_id: &str, told: &Told) {
        let edge = match &told.what {
            What::Occupied => ChannelEdge::Occupied,
            What::Vacated => ChannelEdge::Vacated,
            What::Added(user_id) => ChannelEdge::MemberAdded(user_id),
            What::Removed(user_id) => ChannelEdge::MemberRemoved(user_id),
            What::Count(count) => ChannelEdge::Count(*count),
            What::Missed => ChannelEdge::CacheMissed,
            What::SessionReplaced(session, replaced) => {
                ChannelEdge::SessionReplaced { session, replaced }
            }
            What::SessionRefused(session) => ChannelEdge::SessionRefused(session),
        };
        self.edges.tell(app_id, &told.channel, edge);
    }

    /// Closes the connections that are signed in as a user.
    pub fn terminate(&self, app_id: &Arc<str>, user_id: &Arc<str>) {
        self.state.hub().terminate(app_id, user_id);
    }
}
