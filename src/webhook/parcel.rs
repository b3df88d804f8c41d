//! One request in the making: events that leave together, and the body and signature that they amount to.

use std::{borrow::Cow, sync::Arc, time::Instant};

use serde::Deserialize;

use crate::protocol::signature;

/// Memory that an event takes besides its texts.
const OVERHEAD_BYTES: usize = 200;

/// An event as one endpoint will get it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) channel: Arc<str>,
    /// Shared by all endpoints that get it.
    pub(super) json: Arc<str>,
    /// Whether it is a `client_event`, of which there may be any number.
    pub(super) is_of_client: bool,
    pub(super) created: Instant,
    /// The same moment for the wire, in milliseconds since 1970.
    pub(super) time_ms: u64,
}

impl Event {
    /// What it is called in the request.
    pub(super) fn name(&self) -> String {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
        }
        let named = serde_json::from_str::<Named<'_>>(&self.json);
        named.map_or_else(|_| String::new(), |named| named.name.into_owned())
    }

    /// The memory that it takes.
    pub(super) fn size(&self) -> usize {
        self.json.len() + self.channel.len() + OVERHEAD_BYTES
    }
}

/// The events of one request; at least one. What is sent is the same at every try.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) number: u64,
    events: Vec<Event>,
    /// How often it was sent in vain.
    pub(super) failures: u32,
    /// How often the endpoint had been silent when it was sent.
    pub(super) silences: u32,
}

impl Parcel {
    /// A parcel of events that stand together by channel.
    pub(super) fn new(number: u64, events: Vec<Event>) -> Self {
        debug_assert!(!events.is_empty(), "a parcel has events");
        Self {
            number,
            events,
            failures: 0,
            silences: 0,
        }
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// The channels of its events, each once.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        let runs = self.events.chunk_by(|a, b| a.channel == b.channel);
        runs.map(|run| &run[0].channel)
    }

    /// When the first of its events was created.
    pub(super) fn oldest(&self) -> Instant {
        let created = self.events.iter().map(|event| event.created);
        created.min().expect("a parcel has events")
    }

    /// The body of the request.
    pub(super) fn body(&self) -> String {
        let times = self.events.iter().map(|event| event.time_ms);
        let time_ms = times.min().expect("a parcel has events");
        let events: Vec<&str> = self.events.iter().map(|event| &*event.json).collect();
        format!(r#"{{"time_ms":{time_ms},"events":[{}]}}"#, events.join(","))
    }
}

/// What `X-Pusher-Signature` says of a body.
pub(super) fn sign(secret: &[u8], body: &str) -> String {
    signature::sign(secret, &[body.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(channel: &str, json: &str, time_ms: u64) -> Event {
        Event {
            channel: channel.into(),
            json: json.into(),
            is_of_client: false,
            created: Instant::now(),
            time_ms,
        }
    }

    #[test]
    fn body_and_signature_are_those_of_the_golden_vector() {
        let json = r#"{"name":"channel_occupied","channel":"orders"}"#;
        let parcel = Parcel::new(1, vec![event("orders", json, 1_700_000_000_123)]);
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
        let parcel = Parcel::new(
            1,
            vec![
                event("a", "1", 20),
                event("a", "2", 30),
                event("b", "3", 10),
            ],
        );
        assert_eq!(parcel.body(), r#"{"time_ms":10,"events":[1,2,3]}"#);
        let channels: Vec<_> = parcel.channels().map(|channel| &**channel).collect();
        assert_eq!(channels, ["a", "b"]);
    }
}
