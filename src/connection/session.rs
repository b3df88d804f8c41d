//! Channels that only one session at a time may listen to: a session takes its place before it subscribes.

use std::{sync::Arc, time::Instant};

use serde_json::Value;

use super::{Connection, subscribe::SubscribeError};
use crate::{
    app::Newest,
    engine::EnterError,
    hub::Farewell,
    node::{Entrance, Subscribing},
    presence::Member,
    protocol::{ChannelName, channel::channel_session_name, message},
};

/// A client's sessions on channels that have only one.
#[derive(Default)]
pub(super) struct Sessions {
    /// Subscriptions whose session has yet to take its place.
    joining: Vec<Joining>,
    /// Channel and session where it has.
    held: Vec<(Box<str>, Arc<str>)>,
}

/// A subscription that waits for its session's place.
struct Joining {
    /// The channel of the sessions.
    sessions: String,
    session: Arc<str>,
    channel: String,
    member: Option<Member>,
}

impl Sessions {
    /// Channels that wait for their session's place.
    pub(super) fn joining(&self) -> impl Iterator<Item = &str> {
        self.joining.iter().map(|joining| &*joining.channel)
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
        let joining = Joining {
            sessions: channel_session_name(name.as_str()),
            session: self.session_on_channel(channel_data),
            channel: name.as_str().to_owned(),
            member,
        };
        let (node, client) = (&self.worker.node, self.client());
        match node.join_session(client, &joining.sessions, &joining.session, newest, now) {
            Ok(Subscribing::Seated(_)) => {
                let held = &mut self.sessions.get_or_insert_default().held;
                held.push((name.as_str().into(), joining.session));
                self.enter(name, joining.member, now)
            }
            Ok(Subscribing::Waiting(entrance)) => {
                self.entrances.push(entrance);
                self.sessions.get_or_insert_default().joining.push(joining);
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
        let of = |joining: &mut Joining| joining.sessions == entrance.channel();
        let joining = self
            .sessions
            .as_mut()
            .and_then(|sessions| sessions.joining.extract_if(.., of).next());
        let Some(joining) = joining else {
            return self.worker.node.give_up(self.client(), &entrance, now);
        };
        let channel = joining.channel;
        let entered = match answer {
            Ok(()) => {
                drop(self.worker.node.seat(self.client(), entrance, now));
                let held = &mut self.sessions.get_or_insert_default().held;
                held.push((channel.as_str().into(), joining.session));
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
        let mine = |(name, _): &&(Box<str>, Arc<str>)| **name == *channel;
        let held = self
            .sessions
            .as_ref()
            .and_then(|sessions| sessions.held.iter().find(mine));
        let Some((_, session)) = held else {
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
        let waits = |joining: &mut Joining| joining.channel == channel;
        let is_held = |(name, _): &mut (Box<str>, Arc<str>)| **name == *channel;
        let joining = sessions.joining.extract_if(.., waits).next();
        let held = sessions.held.extract_if(.., is_held).next();
        if let Some(joining) = joining {
            return self.give_up(&joining.sessions, now);
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
