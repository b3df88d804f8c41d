//! Channels that only one session at a time may listen to: a session takes its place before it subscribes.

use std::{collections::HashMap, sync::Arc, time::Instant};

use serde_json::Value;

use super::{Connection, subscribe::SubscribeError};
use crate::{
    app::Newest,
    engine::EnterError,
    hub::Farewell,
    node::{Entrance, Subscribing},
    presence::Member,
    protocol::{
        ChannelName,
        channel::{SessionsOf, channel_session_name, sessions_of},
        message,
    },
};

/// A client's sessions on channels that have only one, by the channel that it wants to listen to.
#[derive(Default)]
pub(super) struct Sessions {
    /// Subscriptions whose session has yet to take its place.
    joining: HashMap<Box<str>, Joining, ahash::RandomState>,
    /// Sessions that have theirs.
    held: HashMap<Box<str>, Arc<str>, ahash::RandomState>,
}

/// A subscription that waits for its session's place.
struct Joining {
    session: Arc<str>,
    member: Option<Member>,
}

impl Sessions {
    /// How many subscriptions wait for their session's place.
    pub(super) fn joining(&self) -> usize {
        self.joining.len()
    }

    /// Whether the subscription to this channel waits for its session's place.
    pub(super) fn joins(&self, channel: &str) -> bool {
        self.joining.contains_key(channel)
    }
}

/// The id that tells sessions apart: a member of what the backend signed, or of its `user_info`.
pub(super) fn session_in(data: &Value, key: &str) -> Option<Arc<str>> {
    let given = data.get(key).or_else(|| data.get("user_info")?.get(key));
    match given {
        Some(Value::String(session)) if !session.is_empty() => Some(session.as_str().into()),
        Some(Value::Number(session)) => Some(session.to_string().into()),
        _ => None,
    }
}

impl Connection {
    /// Takes the session's place; the subscription follows when it has it.
    pub(super) fn join_first(
        &mut self,
        name: ChannelName<'_>,
        channel_data: Option<&str>,
        member: Option<Member>,
        newest: Newest,
        now: Instant,
    ) -> Result<(), SubscribeError> {
        let sessions = channel_session_name(name.as_str());
        let session = self.session_on_channel(channel_data);
        let (node, client) = (&self.worker.node, self.client());
        match node.join_session(client, &sessions, &session, newest, now) {
            Ok(Subscribing::Seated(_)) => {
                let held = &mut self.sessions.get_or_insert_default().held;
                held.insert(name.as_str().into(), session);
                self.enter(name, member, now)
            }
            Ok(Subscribing::Waiting(entrance)) => {
                self.entrances.push(entrance);
                let joining = &mut self.sessions.get_or_insert_default().joining;
                joining.insert(name.as_str().into(), Joining { session, member });
                Ok(())
            }
            Err(EnterError::Full) => Err(SubscribeError::OtherSession),
            Err(EnterError::Unavailable) => Err(SubscribeError::Unavailable),
        }
    }

    /// By the signed `channel_data`, else by the sign-in; a connection that says nothing is a session of its own.
    fn session_on_channel(&self, channel_data: Option<&str>) -> Arc<str> {
        let signed = match (channel_data, &self.user) {
            (Some(data), _) => data,
            (None, Some(user)) => &*user.info,
            (None, None) => "null",
        };
        let signed: Value = serde_json::from_str(signed).unwrap_or_default();
        session_in(&signed, &self.app.session_key)
            .unwrap_or_else(|| self.subscriber.id.to_string().into())
    }

    /// The answer about a session's place has come.
    pub(super) fn on_channel_session(
        &mut self,
        entrance: Entrance,
        answer: Result<(), EnterError>,
        now: Instant,
    ) {
        let of = match sessions_of(entrance.channel()) {
            Some(SessionsOf::Channel(channel)) => channel,
            _ => return self.worker.node.give_up(self.client(), &entrance, now),
        };
        let waiting = self.sessions.as_mut();
        let found = waiting.and_then(|sessions| sessions.joining.remove_entry(&*of));
        let Some((channel, joining)) = found else {
            return self.worker.node.give_up(self.client(), &entrance, now);
        };
        let entered = match answer {
            Ok(()) => {
                drop(self.worker.node.seat(self.client(), entrance, now));
                let held = &mut self.sessions.get_or_insert_default().held;
                held.insert(channel.clone(), joining.session);
                self.enter(ChannelName::of_checked(&channel), joining.member, now)
            }
            Err(error) => {
                self.worker.node.turn_away(self.client(), &entrance);
                Err(match error {
                    EnterError::Full => SubscribeError::OtherSession,
                    EnterError::Unavailable => SubscribeError::Unavailable,
                })
            }
        };
        if let Err(error) = entered {
            self.refuse_subscription(&channel, &error);
        }
    }

    /// The session's client listens now: from here on it can be told to go, and is if that was decided on its way.
    pub(super) fn hold_session(&self, channel: &str) {
        let sessions = self.sessions.as_ref();
        let Some(session) = sessions.and_then(|sessions| sessions.held.get(channel)) else {
            return;
        };
        let sessions = channel_session_name(channel);
        self.subscriber.prepare_farewell(Farewell {
            sessions: sessions.as_str().into(),
            frame: message::session_replaced(&self.app.session_event, channel),
            grace: self.app.session_grace_s.get(),
        });
        let node = &self.worker.node;
        node.let_go_if_replaced(self.client(), &sessions, session);
    }

    /// Gives the session's place back, or stops waiting for it. `true` if the subscription waited for it and ends with it.
    pub(super) fn leave_session(&mut self, channel: &str, now: Instant) -> bool {
        let Some(sessions) = &mut self.sessions else {
            return false;
        };
        let joining = sessions.joining.remove(channel);
        let held = sessions.held.remove(channel);
        if joining.is_some() {
            return self.give_up(&channel_session_name(channel), now);
        }
        if held.is_some() {
            let sessions = channel_session_name(channel);
            self.subscriber.forget_farewell(&sessions);
            let node = &self.worker.node;
            node.unsubscribe(self.client(), &sessions, now);
        }
        false
    }
}
