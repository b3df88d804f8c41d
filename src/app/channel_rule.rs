//! What an app wants of channels whose names fit a pattern.

use std::time::Duration;

use super::{SingleSession, origin::matches};

/// A rule for the channels whose names fit its pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRule {
    /// `*` stands for any characters.
    pub pattern: String,
    /// Whether one session at a time may subscribe.
    pub single_session: Option<SingleSession>,
    /// What of the past a new subscriber is told.
    pub replay: Option<Replay>,
}

/// Which events a new subscriber is told that were before it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The last so many,
    pub events: usize,
    /// of those that are no older than this.
    pub age: Duration,
}

impl ChannelRule {
    fn fits(&self, channel: &str) -> bool {
        matches(self.pattern.as_bytes(), channel.as_bytes())
    }
}

/// An app's rules; of those that fit a channel and say something of the matter, the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelRules(Vec<ChannelRule>);

impl ChannelRules {
    /// These rules, in this order.
    #[must_use]
    pub fn new(rules: Vec<ChannelRule>) -> Self {
        Self(rules)
    }

    /// Whether one session at a time may subscribe to the channel, and what becomes of a second one.
    #[must_use]
    pub fn single_session(&self, channel: &str) -> Option<&SingleSession> {
        let mut rules = self.0.iter();
        rules.find_map(|rule| {
            let session = rule.single_session.as_ref()?;
            rule.fits(channel).then_some(session)
        })
    }

    /// What of the channel's past a new subscriber is told.
    #[must_use]
    pub fn replay(&self, channel: &str) -> Option<Replay> {
        let mut rules = self.0.iter();
        rules.find_map(|rule| rule.replay.filter(|_| rule.fits(channel)))
    }
}
