//! A connection that enters and leaves presence channels: all others on such a channel hear of it, so it comes and goes at a bounded rate.

use std::{
    collections::HashMap,
    mem,
    time::{Duration, Instant},
};

use crate::hub::Subscription;

/// Between two departures of one connection from one channel, on average. Each costs every other member two messages.
const SPACING: Duration = Duration::from_millis(500);
/// Departures from one channel that may come at once.
const BURST: u32 = 10;
/// Channels whose departures are remembered before those within the rate are forgotten.
const CHANNELS_MIN: usize = 16;

/// Where a connection has left lately. Without memory of its own for most: they never leave, but end.
#[derive(Default)]
pub(super) struct Comings(Option<Box<Left>>);

#[derive(Default)]
struct Left {
    /// Left in this turn; others have not been told yet.
    leaving: Option<Subscription>,
    /// By channel, when all departures so far are [`SPACING`] apart on average.
    spaced_at: HashMap<Box<str>, Instant, ahash::RandomState>,
    /// How many channels are remembered before the map is looked through.
    remembered_max: usize,
    /// How long nothing is to be read of this connection after this turn.
    rest: Duration,
}

impl Comings {
    /// Notes a departure that others hear of when the turn is over. Gives the one before, of which they hear now.
    pub(super) fn leave(&mut self, subscription: Subscription) -> Option<Subscription> {
        let left = self.0.get_or_insert_default();
        left.leaving.replace(subscription)
    }

    /// The departure from this channel, if nobody has heard of it yet.
    pub(super) fn take_from(&mut self, channel: &str) -> Option<Subscription> {
        let leaving = &mut self.0.as_mut()?.leaving;
        leaving.take_if(|leaving| *leaving.channel().name == *channel)
    }

    /// The departure that others are to hear of now.
    pub(super) fn take(&mut self) -> Option<Subscription> {
        self.0.as_mut()?.leaving.take()
    }

    /// Counts a departure that others hear of.
    pub(super) fn count(&mut self, channel: &str, now: Instant) {
        let left = self.0.get_or_insert_default();
        let spaced_at = left.spaced_at.get(channel);
        let ahead = spaced_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let ahead = ahead + SPACING;
        left.rest = left.rest.max(ahead.saturating_sub(SPACING * BURST));
        if left.spaced_at.len() >= left.remembered_max.max(CHANNELS_MIN) {
            left.spaced_at.retain(|_, at| *at > now);
            left.remembered_max = 2 * left.spaced_at.len();
        }
        left.spaced_at.insert(channel.into(), now + ahead);
    }

    /// How long nothing is to be read of this connection after this turn.
    pub(super) fn rest(&mut self) -> Duration {
        let left = self.0.as_mut();
        left.map_or(Duration::ZERO, |left| mem::take(&mut left.rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_left_ten_times_at_once_and_then_twice_a_second() {
        let (mut comings, began) = (Comings::default(), Instant::now());
        for _ in 0..BURST {
            comings.count("presence-a", began);
            assert_eq!(comings.rest(), Duration::ZERO);
        }
        comings.count("presence-a", began);
        assert_eq!(comings.rest(), SPACING);
        comings.count("presence-b", began);
        assert_eq!(comings.rest(), Duration::ZERO);
    }

    #[test]
    fn channels_that_were_left_long_ago_are_forgotten() {
        let (mut comings, began) = (Comings::default(), Instant::now());
        for number in 0..1000 {
            comings.count(&format!("presence-{number}"), began + SPACING * number);
        }
        let left = comings.0.expect("channels were left");
        assert!(left.spaced_at.len() <= CHANNELS_MIN);
    }
}
