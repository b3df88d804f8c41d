//! Client events: relayed between the subscribers of private and presence channels, within limits.

use std::{num::NonZeroU32, time::Instant};

use governor::{Quota, RateLimiter};

use super::{About, Connection};
use crate::{
    node::{ClientPublication, Overloaded},
    protocol::{ChannelKind, ErrorCode, EventData, message::ClientEvent},
};

impl Connection {
    pub(super) fn relay(&mut self, event: &ClientEvent<'_>, now: Instant) {
        if let Err(reason) = self.try_relay(event, now) {
            let about = About {
                channel: event.channel.as_deref(),
                event: Some(&event.event),
                ..About::default()
            };
            let text = format!("Client event rejected: {reason}");
            self.error_about(Some(ErrorCode::ClientEventRejected), &text, about);
        }
    }

    fn try_relay(&mut self, event: &ClientEvent<'_>, now: Instant) -> Result<(), String> {
        let limits = &self.app.limits;
        if !self.app.client_events {
            return Err("client events are not enabled for this app.".to_owned());
        }
        let (length, max) = (
            event.event.chars().count(),
            limits.max_event_name_length.get(),
        );
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
        let data = event.data.filter(|data| data.get() != "null");
        let data = data.map(EventData::of).transpose();
        let data =
            data.map_err(|_| "\"data\" has an escape that stands for no character.".to_owned())?;
        let (bytes, max) = (
            data.as_ref().map_or(0, EventData::len),
            limits.max_event_data_bytes.get(),
        );
        if bytes > max {
            return Err(format!(
                "the data has {bytes} bytes, at most {max} are allowed."
            ));
        }
        let max = limits.max_client_events_per_second.as_u32();
        let rate = self.client_events.get_or_insert_with(|| {
            let quota = Quota::per_second(NonZeroU32::new(max).unwrap_or(NonZeroU32::MIN));
            Box::new(RateLimiter::direct(quota))
        });
        if rate.check().is_err() {
            let incidents = &self.worker.node.incidents;
            incidents.rate_limited.increment("client_events");
            return Err(format!("the rate limit of {max}/s is exceeded."));
        }
        let publication = ClientPublication {
            sender: self.subscriber.id,
            event: &event.event,
            channel,
            data: data.as_ref().map(EventData::token),
            user_id: subscription.member.as_ref().map(|member| &*member.user_id),
        };
        let node = &self.worker.node;
        node.relay(&self.channels, &publication)
            .map_err(|Overloaded| "the server is overloaded; try again.".to_owned())?;
        node.webhooks.emit(&self.app, &publication.into(), now);
        Ok(())
    }
}
