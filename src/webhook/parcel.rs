//! Events that share a request, with its body and signature.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{class::Class, queue::Sent};
use crate::{app::WebhookKind, protocol::signature};

/// Memory that a waiting event takes besides its texts, if it is the only one of its channel.
pub(super) const EVENT_OVERHEAD_BYTES: usize = 450;

/// An event as one endpoint will get it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) kind: WebhookKind,
    pub(super) class: Class,
    pub(super) channel: Arc<str>,
    /// Shared by all endpoints that get it.
    pub(super) json: Arc<str>,
    pub(super) created: Instant,
    /// The same moment for the wire, in milliseconds since 1970.
    pub(super) time_ms: u64,
}

impl Event {
    /// The memory that it takes.
    pub(super) fn size(&self) -> usize {
        self.json.len() + self.channel.len() + EVENT_OVERHEAD_BYTES
    }
}

/// The events of one request, at least one. Every try sends the same body.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) number: u64,
    events: Vec<Event>,
    /// The class whose turn it was.
    pub(super) class: Class,
    /// How often it was not taken.
    pub(super) failures: u32,
    /// Whether it was sent again before its time, because the endpoint had taken others that it had refused.
    pub(super) is_hurried: bool,
    /// When it was sent last.
    pub(super) sent: Sent,
}

impl Parcel {
    /// A parcel of events that stand together by channel.
    pub(super) fn new(number: u64, events: Vec<Event>, class: Class, sent: Sent) -> Self {
        debug_assert!(!events.is_empty(), "a parcel has events");
        Self {
            number,
            class,
            events,
            failures: 0,
            is_hurried: false,
            sent,
        }
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Its events by channel.
    pub(super) fn by_channel(&self) -> impl Iterator<Item = &[Event]> {
        self.events.chunk_by(|a, b| a.channel == b.channel)
    }

    /// When the first of its events was created.
    pub(super) fn oldest(&self) -> Instant {
        let created = self.events.iter().map(|event| event.created);
        created.min().expect("a parcel has events")
    }

    /// Whether the oldest event has not reached this age.
    pub(super) fn is_young(&self, age_max: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.oldest()) < age_max
    }

    /// The body of the request.
    pub(super) fn body(&self) -> String {
        let times = self.events.iter().map(|event| event.time_ms);
        let time_ms = times.min().expect("a parcel has events");
        let events: Vec<&str> = self.events.iter().map(|event| &*event.json).collect();
        format!(r#"{{"time_ms":{time_ms},"events":[{}]}}"#, events.join(","))
    }
}

/// The `X-Pusher-Signature` of a body.
pub(super) fn sign(secret: &[u8], body: &str) -> String {
    signature::sign(secret, &[body.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(channel: &str, json: &str, time_ms: u64) -> Event {
        Event {
            kind: WebhookKind::ChannelOccupied,
            class: Class::PublicChannels,
            channel: channel.into(),
            json: json.into(),
            created: Instant::now(),
            time_ms,
        }
    }

    fn parcel(events: Vec<Event>) -> Parcel {
        Parcel::new(
            1,
            events,
            Class::PublicChannels,
            Sent::first(Instant::now()),
        )
    }

    #[test]
    fn body_and_signature_are_those_of_the_golden_vector() {
        let json = r#"{"name":"channel_occupied","channel":"orders"}"#;
        let parcel = parcel(vec![event("orders", json, 1_700_000_000_123)]);
        assert_eq!(
            parcel.body(),
            r#"{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"orders"}]}"#
        );
        assert_eq!(
            sign(b"app-secret-1", &parcel.body()),
            "a85f348256315c4483242ae70ba14cca832da702631896cfc79085cb66d53448"
        );
    }

    #[test]
    fn a_batch_bears_the_time_of_its_first_event() {
        let parcel = parcel(vec![
            event("a", "1", 20),
            event("a", "2", 30),
            event("b", "3", 10),
        ]);
        assert_eq!(parcel.body(), r#"{"time_ms":10,"events":[1,2,3]}"#);
        let channels: Vec<_> = parcel
            .by_channel()
            .map(|events| &*events[0].channel)
            .collect();
        assert_eq!(channels, ["a", "b"]);
    }
}
