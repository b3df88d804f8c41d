//! What an app wants of channels whose names match a pattern.

use std::{borrow::Cow, time::Duration};

use super::{SingleSession, origin::matches};
use crate::settings::{Problems, Seconds, Secrets, Table, Text, Whole, settings};

/// Events that are replayed where only their age is given.
const REPLAY_EVENTS: usize = 100;
/// Age of events that are replayed where only their number is given.
const REPLAY_AGE: Duration = Duration::from_secs(3600);
/// Only of these channels' subscribers the app's backend has said who they are.
const SIGNED: [&str; 2] = ["private-", "presence-"];

settings! {
    /// A rule for the channels whose names match its pattern.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ChannelRule {
        /// The channel's whole name; `*` stands for any characters.
        pattern: ChannelPattern => "\"private-outman-user-*\"",
        /// As the app's own `single_session`, for sessions that subscribe. Needs a pattern that begins with `private-` or `presence-`; key,
        /// event and grace are the app's ([users.md](users.md)).
        single_session: SingleSession = "off",
        /// Maximum number of events that a new subscriber receives first ([below](#replay-on-subscribe)); not on cache channels.
        replay_events: Option<Whole<1, 1000>> => "20",
        /// Maximum age of those events. Alone, it means the last 100; `replay_events` alone means those of an hour.
        replay_s: Option<Seconds<1, 86_400>> => "300",
    }
    check check;
}

fn check(rule: &ChannelRule, table: &Table<'_>, problems: &mut Problems) {
    let is_signed = SIGNED.iter().any(|it| rule.pattern.0.starts_with(it));
    if rule.single_session != SingleSession::Off && !is_signed {
        let reason = "needs a pattern that begins with \"private-\" or \"presence-\": anybody may enter other channels";
        table.refuse("single_session", problems, reason);
    }
}

/// Which events a new subscriber receives that were published before it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Maximum number of events.
    pub events: usize,
    /// Maximum age of an event.
    pub age: Duration,
}

impl ChannelRule {
    /// Either bound turns it on; the other one then has its default.
    pub(super) fn replay(&self) -> Option<Replay> {
        let (events, age) = (self.replay_events, self.replay_s);
        (events.is_some() || age.is_some()).then(|| Replay {
            events: events.map_or(REPLAY_EVENTS, Whole::get),
            age: age.map_or(REPLAY_AGE, Seconds::get),
        })
    }
}

/// A pattern for channel names, in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPattern(Box<str>);

impl ChannelPattern {
    /// Whether the name matches.
    #[must_use]
    pub fn matches(&self, channel: &str) -> bool {
        matches(self.0.as_bytes(), channel.as_bytes())
    }
}

impl Text for ChannelPattern {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("must not be empty".to_owned()),
            text => Ok(Self(text.into())),
        }
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        (&*self.0).into()
    }
}
