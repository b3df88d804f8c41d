//! What a run does: numbers, the names of channels, the data of events.

use std::{
    fmt,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::target::Endpoint;

/// Data has room for a stamp.
pub(super) const SIZE_MIN: u32 = 64;

/// The kind of the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Public,
    Private,
    Presence,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Presence => "presence",
        })
    }
}

/// How events get to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Api,
    ClientEvents,
}

/// A run.
pub(super) struct Plan {
    /// Part of the channels' names, so that two runs do not meet.
    pub(super) run: String,
    /// What times in stamps count from.
    pub(super) began: Instant,
    pub(super) kind: Kind,
    pub(super) way: Way,
    pub(super) subscribers: u32,
    pub(super) channels: u32,
    pub(super) publishers: usize,
    /// Events a second.
    pub(super) rate: u32,
    /// Bytes of data.
    pub(super) size: usize,
    pub(super) duration: Duration,
    /// Connections a second.
    pub(super) connect_rate: u32,
}

/// Who sent an event, its place in that publisher's order on the channel, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Stamp {
    pub(super) publisher: usize,
    pub(super) sequence: u64,
    pub(super) sent_us: u64,
}

impl Stamp {
    pub(super) fn read(data: &Value) -> Option<Self> {
        Self::deserialize(data).ok()
    }
}

impl Plan {
    pub(super) fn described(&self, host: &Endpoint) -> String {
        let Self {
            subscribers,
            channels,
            kind,
            rate,
            size,
            ..
        } = self;
        let seconds = self.duration.as_secs();
        let way = match self.way {
            Way::Api => "over the HTTP API",
            Way::ClientEvents => "as client events",
        };
        format!(
            "{host}: {subscribers} subscribers on {channels} {kind} channels, {rate} events of {size} bytes a second {way} for {seconds} s"
        )
    }

    pub(super) fn channel(&self, number: usize) -> String {
        let prefix = match self.kind {
            Kind::Public => "",
            Kind::Private => "private-",
            Kind::Presence => "presence-",
        };
        format!("{prefix}loudhailer-bench-{}-{number}", self.run)
    }

    pub(super) fn event(&self) -> &'static str {
        match self.way {
            Way::Api => "loudhailer-bench",
            Way::ClientEvents => "client-loudhailer-bench",
        }
    }

    pub(super) fn channels(&self) -> usize {
        usize::try_from(self.channels).expect("100,000 fit")
    }

    /// The channel of a subscriber.
    pub(super) fn channel_of(&self, subscriber: u32) -> usize {
        usize::try_from(subscriber % self.channels).expect("100,000 fit")
    }

    /// The channels that a publisher takes turns on: a share of all, or one that it shares with other publishers.
    pub(super) fn channels_of(&self, publisher: usize) -> Vec<usize> {
        let channels = self.channels();
        if channels <= self.publishers {
            return vec![publisher % channels];
        }
        (publisher..channels).step_by(self.publishers).collect()
    }

    /// All events of a publisher.
    pub(super) fn events_of(&self, publisher: usize) -> u64 {
        let all = u64::from(self.rate) * self.duration.as_secs();
        let [publisher, publishers] =
            [publisher, self.publishers].map(|it| u64::try_from(it).expect("256 fit"));
        (all + publishers - 1 - publisher) / publishers
    }

    /// When a publisher's event is due, after the first of all.
    pub(super) fn due(&self, publisher: usize, event: u64) -> Duration {
        let [publisher, publishers] =
            [publisher, self.publishers].map(|it| u64::try_from(it).expect("256 fit"));
        let place = event * publishers + publisher;
        Duration::from_micros(place * 1_000_000 / u64::from(self.rate))
    }

    /// Microseconds since the run began.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// An event's data, which is sent now.
    pub(super) fn data(&self, publisher: usize, sequence: u64) -> String {
        let sent_us = self.now_us();
        let start =
            format!(r#"{{"publisher":{publisher},"sequence":{sequence},"sent_us":{sent_us},"x":""#);
        let filling = self.size.saturating_sub(start.len() + 2);
        format!("{start}{:x<filling$}\"}}", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(channels: u32, publishers: usize, rate: u32) -> Plan {
        Plan {
            run: "r".to_owned(),
            began: Instant::now(),
            kind: Kind::Private,
            way: Way::Api,
            subscribers: 7,
            channels,
            publishers,
            rate,
            size: 128,
            duration: Duration::from_secs(3),
            connect_rate: 50,
        }
    }

    #[test]
    fn publishers_share_channels_and_events() {
        for (channels, publishers, rate) in [(10, 4, 10), (1, 4, 7), (3, 3, 1000), (5, 1, 1)] {
            let plan = plan(channels, publishers, rate);
            let mut taken: Vec<_> = (0..publishers)
                .flat_map(|it| plan.channels_of(it))
                .collect();
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken, (0..plan.channels()).collect::<Vec<_>>());
            let events: u64 = (0..publishers).map(|it| plan.events_of(it)).sum();
            assert_eq!(events, u64::from(rate) * 3);
            for publisher in 0..publishers {
                let events = plan.events_of(publisher);
                assert!(plan.due(publisher, events - 1) < plan.duration);
                assert!(plan.due(publisher, events) >= plan.duration);
            }
        }
    }

    #[test]
    fn data_is_as_long_as_asked_for_and_has_its_stamp() {
        let data = plan(1, 1, 1).data(3, 41);
        assert_eq!(data.len(), 128);
        let stamp = Stamp::read(&serde_json::from_str(&data).expect("JSON"));
        let stamp = stamp.expect("a stamp");
        assert_eq!((stamp.publisher, stamp.sequence), (3, 41));
    }
}
