//! Client events: relayed between the subscribers of private and presence channels, within limits.

use std::time::{Duration, Instant};

use super::Connection;
use crate::{
    node::{ClientPublication, Overloaded},
    protocol::{ChannelKind, ErrorCode, EventData, message::ClientEvent},
};

/// The window in which a client's events are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// How many events a client sent in the present window.
pub(super) struct EventRate {
    began: Instant,
    events: u32,
}

impl EventRate {
    fn take(&mut self, max: u32, now: Instant) -> bool {
        if now.duration_since(self.began) >= WINDOW {
            *self = Self {
                began: now,
                events: 0,
            };
        }
        let taken = self.events < max;
        self.events += u32::from(taken);
        taken
    }
}

impl Connection {
    pub(super) fn relay(&mut self, event: &ClientEvent<'_>, now: Instant) {
        if let Err(reason) = self.try_relay(event, now) {
            self.error(
                Some(ErrorCode::ClientEventRejected),
                &format!("Client event rejected: {reason}"),
            );
        }
    }

    fn try_relay(&mut self, event: &ClientEvent<'_>, now: Instant) -> Result<(), String> {
        let limits = &self.app.limits;
        if !self.app.client_events {
            return Err("client events are not enabled for this app.".to_owned());
        }
        let (length, max) = (event.event.chars().count(), limits.max_event_name_length);
        if length > max {
            return Err(format!(
                "the event name has {length} characters, at most {max} are allowed."
            ));
        }
        let Some(channel) = event.channel.as_deref() else {
            return Err("\"channel\" must be a string.".to_owned());
        };
        if !ChannelKind::of(channel).takes_client_events() {
            return Err(
                "only private and presence channels take client events, and encrypted ones don't."
                    .to_owned(),
            );
        }
        let Some(subscription) = self.subscriber.subscription(channel) else {
            return Err("you are not subscribed to this channel.".to_owned());
        };
        let data = event.data.map(EventData::of).transpose();
        let data =
            data.map_err(|_| "\"data\" has an escape that stands for no character.".to_owned())?;
        let (bytes, max) = (
            data.as_ref().map_or(0, EventData::len),
            limits.max_event_data_bytes,
        );
        if bytes > max {
            return Err(format!(
                "the data has {bytes} bytes, at most {max} are allowed."
            ));
        }
        let max = limits.max_client_events_per_second;
        let rate = self.client_events.get_or_insert_with(|| {
            Box::new(EventRate {
                began: now,
                events: 0,
            })
        });
        if !rate.take(max, now) {
            return Err(format!("the rate limit of {max}/s is exceeded."));
        }
        self.worker
            .node
            .relay(
                &self.channels,
                &ClientPublication {
                    sender: self.subscriber.id,
                    event: &event.event,
                    channel,
                    data: data.as_ref().map(EventData::token),
                    user_id: subscription.member.as_ref().map(|member| &*member.user_id),
                },
            )
            .map_err(|Overloaded| "the server is overloaded; try again.".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_so_many_and_the_next_one_again() {
        let began = Instant::now();
        let mut rate = EventRate { began, events: 0 };
        assert!((0..10).all(|_| rate.take(10, began)));
        assert!(!rate.take(10, began + Duration::from_millis(999)));
        assert!(rate.take(10, began + Duration::from_millis(1000)));
    }
}
