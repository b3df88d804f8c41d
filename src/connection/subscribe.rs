//! `pusher:subscribe`: may this client listen, and as whom.

use std::{rc::Rc, task::Context, time::Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::debug;

use super::{About, Connection, shown, to_sign};
use crate::{
    app::Limits,
    engine::{EnterError, Unavailable},
    feed::Line,
    hub::Subscription,
    node::{Entrance, Subscribing, Welcome},
    presence::Member,
    protocol::{
        Access, ChannelKind, ChannelName, Frame, InvalidChannelName,
        channel::{USER_PREFIX, is_channel_session, online_user},
        code::SubscriptionStatus,
        message::{self, Subscribe, Text},
        signature::{self, Unsigned},
    },
};

/// Why a subscription is refused.
#[derive(Debug)]
pub(super) enum SubscribeError {
    Name(InvalidChannelName),
    /// What a right signature would have signed.
    Unsigned(Unsigned, String),
    NotText(&'static str),
    NotThatUser,
    Member(String),
    Full(usize),
    TooManyChannels(usize),
    OtherSession,
    Unavailable,
}

impl SubscribeError {
    fn of(error: EnterError, limits: &Limits) -> Self {
        match error {
            EnterError::Full => Self::Full(limits.max_presence_members.get()),
            EnterError::Unavailable => Self::Unavailable,
        }
    }

    fn status(&self) -> SubscriptionStatus {
        match self {
            Self::Name(_) => SubscriptionStatus::InvalidChannel,
            Self::Unsigned(..) | Self::NotText(_) | Self::NotThatUser => {
                SubscriptionStatus::BadSignature
            }
            Self::Member(_) => SubscriptionStatus::InvalidMember,
            Self::Full(_) | Self::TooManyChannels(_) | Self::OtherSession => {
                SubscriptionStatus::Full
            }
            Self::Unavailable => SubscriptionStatus::Unavailable,
        }
    }
}

impl std::fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(invalid) => write!(f, "Invalid channel: {invalid}"),
            Self::Unsigned(why, _) => why.fmt(f),
            Self::NotText(member) => write!(f, "Invalid signature: {member} must be a string"),
            Self::NotThatUser => f.write_str("Not signed in as this user"),
            Self::Member(what) => write!(f, "Invalid member: {what}"),
            Self::TooManyChannels(max) => write!(
                f,
                "This connection listens to {max} channels, which is its limit"
            ),
            Self::OtherSession => {
                f.write_str("Another session listens to this channel, and only one may")
            }
            Self::Unavailable => Unavailable.fmt(f),
            Self::Full(max) => write!(f, "The channel has {max} members, which is its limit"),
        }
    }
}

#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
}

impl Connection {
    pub(super) fn subscribe(&mut self, request: &Subscribe, now: Instant) {
        let name = match ChannelName::parse(&request.channel, self.app.limits.name_lengths()) {
            Ok(name) => name,
            Err(invalid) => {
                let error = SubscribeError::Name(invalid);
                return self.refuse_subscription(&request.channel, &error);
            }
        };
        if self.has_or_awaits(name) {
            // Nothing else: a second confirmation would double the member list that PusherSwift keeps.
            let text = format!("Existing subscription to channel {}", name.as_str());
            return self.error(None, &text);
        }
        if let Err(error) = self.try_subscribe(name, request, now) {
            self.refuse_subscription(name.as_str(), &error);
        }
    }

    pub(super) fn refuse_subscription(&self, channel: &str, error: &SubscribeError) {
        let text = error.to_string();
        self.send(&message::subscription_error(channel, error.status(), &text));
        let text = format!("{text} for {}", shown(channel));
        self.send(&message::error(None, &text));
        let about = About {
            channel: Some(channel),
            to_sign: match error {
                SubscribeError::Unsigned(_, to_sign) => Some(to_sign),
                _ => None,
            },
            ..About::default()
        };
        self.report(Some(error.status().number()), &text, about);
    }

    /// Seats or refuses those whose answer has come, when it is this client's turn. Says whether others are to have theirs now; then
    /// more answers may have come.
    #[must_use]
    pub fn poll_entrances(&mut self, cx: &mut Context<'_>) -> bool {
        let seating = &self.worker.seating;
        if self.entrances.poll_turn(cx, seating).is_pending() {
            return false;
        }
        let worker = Rc::clone(&self.worker);
        let mut now = Instant::now();
        while let Some((entrance, answer)) = self.entrances.take_answered(cx) {
            self.on_answer(entrance, answer, now);
            now = Instant::now();
            if worker.seating.round_is_over(now) {
                break;
            }
        }
        self.entrances.end_turn(&worker.seating, now)
    }

    fn on_answer(&mut self, entrance: Entrance, answer: Result<(), EnterError>, now: Instant) {
        if entrance.kind().is_internal() {
            return self.on_internal_answer(entrance, answer, now);
        }
        match answer {
            Ok(()) => {
                let (channel, user_id) = (
                    entrance.channel().to_owned(),
                    entrance.user_id().map(str::to_owned),
                );
                let welcome = self.worker.node.seat(self.client(), entrance, now);
                self.welcome(&welcome, &channel, user_id.as_deref());
                self.hold_session(&channel);
            }
            Err(error) => {
                self.worker.node.turn_away(self.client(), &entrance);
                self.leave_session(entrance.channel(), now);
                let error = SubscribeError::of(error, &self.app.limits);
                self.refuse_subscription(entrance.channel(), &error);
            }
        }
    }

    /// The answer about a channel that the server uses for itself: a watched user's, or one of sessions.
    fn on_internal_answer(
        &mut self,
        entrance: Entrance,
        answer: Result<(), EnterError>,
        now: Instant,
    ) {
        if is_channel_session(entrance.channel()) {
            return self.on_channel_session(entrance, answer, now);
        }
        let watched = online_user(entrance.channel());
        match answer {
            Ok(()) => drop(self.worker.node.seat(self.client(), entrance, now)),
            Err(_) => self.worker.node.turn_away(self.client(), &entrance),
        }
        match watched {
            Some(user_id) => self.looked(answer.is_ok().then_some(user_id)),
            None => self.on_session(answer, now),
        }
    }

    fn welcome(&self, welcome: &Welcome, channel: &str, user_id: Option<&str>) {
        if ChannelKind::of(channel).access != Access::Public {
            self.subscriber.authorized();
        }
        for frame in &welcome.frames {
            self.send(frame);
        }
        self.replay(&welcome.replayed);
        debug!(app = &*self.app.id, socket_id = %self.subscriber.id, channel, user_id, "subscribed");
        self.worker.node.feed.emit(|| Line::Subscribed {
            app: &self.app.id,
            socket_id: self.subscriber.id.to_string(),
            channel,
            user_id,
        });
    }

    /// Tells of the past, in one write; the oldest of it not, if there is more than this client has room for.
    fn replay(&self, events: &[Frame]) {
        let outbox = &self.subscriber.outbox;
        let mut room = outbox.room() / 2;
        let newest_first = events.iter().rev();
        let fits = |frame: &&Frame| {
            let left = room.checked_sub(frame.bytes().len());
            room = left.unwrap_or_default();
            left.is_some()
        };
        let fitting = newest_first.take_while(fits).count();
        let events = &events[events.len() - fitting..];
        if events.is_empty() {
            return;
        }
        let merged: Vec<&[u8]> = events.iter().map(|frame| &frame.bytes()[..]).collect();
        if outbox.write(&merged.concat().into()) {
            events.iter().for_each(|frame| self.count_sent(frame));
        }
    }

    fn try_subscribe(
        &mut self,
        name: ChannelName<'_>,
        request: &Subscribe,
        now: Instant,
    ) -> Result<(), SubscribeError> {
        let channel_data = match name.kind().access {
            // Clients can't name the last two: the check of the name refuses them.
            Access::Public | Access::Online | Access::Session => None,
            Access::User => {
                self.check_own_channel(name)?;
                None
            }
            Access::Private | Access::Presence => self.check_signature(name, request)?,
        };
        let member = if name.kind().is_presence() {
            Some(self.member(channel_data)?)
        } else {
            None
        };
        self.check_room()?;
        let single_session = self.app.single_session_on(name.as_str());
        if let Some(left) = self.comings.take_from(name.as_str()) {
            if single_session.is_none() && left.member.as_deref() == member.as_ref() {
                self.return_to(&left, now);
                return Ok(());
            }
            self.depart_from(&left, now);
        }
        match single_session {
            Some(newest) => self.join_first(name, channel_data, member, newest, now),
            None => self.enter(name, member, now),
        }
    }

    /// Goes back into a channel that the client left in this turn: it gets a fresh list, and the others hear nothing.
    fn return_to(&self, left: &Subscription, now: Instant) {
        let welcome = self.worker.node.seat_again(self.client(), left, now);
        let user_id = left.member.as_ref().map(|member| &*member.user_id);
        self.welcome(&welcome, &left.channel().name, user_id);
    }

    /// Whether the client is subscribed to the channel or will be when an answer comes.
    fn has_or_awaits(&self, name: ChannelName<'_>) -> bool {
        let sessions = self.sessions.as_ref();
        self.subscriber.subscription(name.as_str()).is_some()
            || self.entrances.contains(name.as_str())
            || sessions.is_some_and(|sessions| sessions.joins(name.as_str()))
    }

    /// Goes into a channel that the client may listen to.
    pub(super) fn enter(
        &mut self,
        name: ChannelName<'_>,
        member: Option<Member>,
        now: Instant,
    ) -> Result<(), SubscribeError> {
        let user_id = member.as_ref().map(|member| member.user_id.clone());
        let max_members = self.app.limits.max_presence_members.get();
        let node = &self.worker.node;
        let begun = node.subscribe(self.client(), name, member, max_members, now);
        match begun {
            Ok(Subscribing::Seated(welcome)) => {
                self.welcome(&welcome, name.as_str(), user_id.as_deref());
                self.hold_session(name.as_str());
            }
            Ok(Subscribing::Waiting(entrance)) => self.entrances.push(entrance),
            Err(error) => {
                self.leave_session(name.as_str(), now);
                return Err(SubscribeError::of(error, &self.app.limits));
            }
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), SubscribeError> {
        let max = self.app.limits.max_channels_per_connection.get();
        let joining = self
            .sessions
            .as_ref()
            .map_or(0, |sessions| sessions.joining());
        let waiting = self.entrances.asked_for() + joining;
        let count = self.subscriber.subscription_count() + waiting;
        if count < max {
            return Ok(());
        }
        Err(SubscribeError::TooManyChannels(max))
    }

    fn check_own_channel(&self, name: ChannelName<'_>) -> Result<(), SubscribeError> {
        let owner = name.as_str().strip_prefix(USER_PREFIX);
        match &self.user {
            Some(user) if owner == Some(&*user.id) => Ok(()),
            _ => Err(SubscribeError::NotThatUser),
        }
    }

    /// Checks that the backend signed the request; gives the `channel_data` that it signed, if there is any.
    fn check_signature<'a>(
        &self,
        name: ChannelName<'_>,
        request: &'a Subscribe,
    ) -> Result<Option<&'a str>, SubscribeError> {
        let auth = text(&request.auth, "auth")?.unwrap_or_default();
        let channel_data = text(&request.channel_data, "channel_data")?;
        let socket_id = self.subscriber.id.to_string();
        let channel = name.as_str();
        let verified = signature::verify_channel(
            |key| self.secret_of(key),
            auth,
            &socket_id,
            channel,
            channel_data,
        );
        let channel_data = channel_data.filter(|data| !data.is_empty());
        match verified {
            Ok(()) => Ok(channel_data),
            Err(why) => {
                let data = channel_data.map_or(String::new(), |data| format!(":{data}"));
                let to_sign = to_sign(&format!("{socket_id}:{channel}{data}"));
                Err(SubscribeError::Unsigned(why, to_sign))
            }
        }
    }

    /// Who the client is: by the signed `channel_data`, else by its sign-in.
    fn member(&self, channel_data: Option<&str>) -> Result<Member, SubscribeError> {
        match (channel_data, &self.user) {
            (Some(data), _) => parse_member(data, &self.app.limits),
            (None, Some(user)) => {
                let member = Member {
                    user_id: user.id.clone(),
                    user_info: user.info.clone(),
                };
                within_limits(member, &self.app.limits)
            }
            (None, None) => Err(SubscribeError::Member(
                "a presence channel needs channel_data with a user_id, or a sign-in".to_owned(),
            )),
        }
    }
}

fn text<'a>(given: &'a Text, member: &'static str) -> Result<Option<&'a str>, SubscribeError> {
    match given {
        Text::Absent => Ok(None),
        Text::Given(text) => Ok(Some(text)),
        Text::OfAnotherType => Err(SubscribeError::NotText(member)),
    }
}

fn parse_member(channel_data: &str, limits: &Limits) -> Result<Member, SubscribeError> {
    let invalid = |what: String| Err(SubscribeError::Member(what));
    // serde also reads structs from arrays; channel_data is an object.
    if !channel_data.trim_start().starts_with('{') {
        return invalid("channel_data must be a JSON object with a user_id".to_owned());
    }
    let Ok(data) = serde_json::from_str::<ChannelData<'_>>(channel_data) else {
        return invalid("channel_data must be a JSON object with a user_id".to_owned());
    };
    let Some(user_id) = canonical_id(data.user_id.get()) else {
        return invalid("user_id must be a non-empty string or an integer".to_owned());
    };
    let user_info = data.user_info.map_or("null", RawValue::get);
    let member = Member {
        user_id: user_id.into(),
        user_info: user_info.into(),
    };
    within_limits(member, limits)
}

fn within_limits(member: Member, limits: &Limits) -> Result<Member, SubscribeError> {
    let (length, max) = (
        member.user_id.chars().count(),
        limits.max_presence_user_id_length.get(),
    );
    if length > max {
        return Err(SubscribeError::Member(format!(
            "user_id has {length} characters, at most {max} are allowed"
        )));
    }
    let (bytes, max) = (
        member.user_info.len(),
        limits.max_presence_user_info_bytes.get(),
    );
    if bytes > max {
        return Err(SubscribeError::Member(format!(
            "user_info has {bytes} bytes, at most {max} are allowed"
        )));
    }
    Ok(member)
}

/// A string as it is, an integer as its digits.
fn canonical_id(json: &str) -> Option<String> {
    if json.starts_with('"') {
        return serde_json::from_str(json)
            .ok()
            .filter(|id: &String| !id.is_empty());
    }
    let digits = json.strip_prefix('-').unwrap_or(json);
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| json.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_strings_or_integers() {
        for (json, id) in [
            (r#""7""#, Some("7")),
            ("7", Some("7")),
            ("-7", Some("-7")),
            ("12345678901234567890123", Some("12345678901234567890123")),
            (r#""""#, None),
            ("1.5", None),
            ("1e3", None),
            ("null", None),
            ("true", None),
            ("[]", None),
        ] {
            assert_eq!(canonical_id(json).as_deref(), id, "{json}");
        }
    }

    #[test]
    fn a_member_without_info_has_null() {
        let member = parse_member(r#"{"user_id":7}"#, &Limits::default()).expect("legal");
        assert_eq!((&*member.user_id, &*member.user_info), ("7", "null"));
    }
}
