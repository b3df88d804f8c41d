//! The messages of the protocol: what clients say, parsed, and what the server says, encoded.

use std::{
    borrow::Cow,
    fmt::{Display, Write},
};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::{CloseCode, ErrorCode, Frame, SocketId, code::SubscriptionStatus};

/// One message of a client.
#[derive(Debug)]
pub enum ClientMessage<'a> {
    /// `pusher:ping`
    Ping,
    /// `pusher:pong`
    Pong,
    /// `pusher:subscribe`
    Subscribe(Subscribe),
    /// `pusher:unsubscribe`
    Unsubscribe {
        /// The channel to leave.
        channel: String,
    },
    /// `pusher:signin`
    Signin(Signin),
    /// `client-…`
    Event(ClientEvent<'a>),
    /// A `pusher:` event that this server does not know; ignored.
    Unknown,
    /// An event that only a backend may publish.
    Foreign {
        /// Its name.
        event: Cow<'a, str>,
    },
}

/// The data of `pusher:subscribe`.
#[derive(Debug, Deserialize)]
pub struct Subscribe {
    /// The channel's name, unchecked.
    pub channel: String,
    /// `key:signature`; pusher-js sends an empty string for public channels.
    #[serde(default)]
    pub auth: Text,
    /// The signed member, for presence channels; byte for byte as it was signed.
    #[serde(default)]
    pub channel_data: Text,
}

/// A member that should be text. Another type does not make the message unreadable: the channel it is about is known, and hears of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Text {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// Text.
    Given(String),
    /// A number, an object, …
    OfAnotherType,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(json)? {
            Value::Null => Self::Absent,
            Value::String(text) => Self::Given(text),
            _ => Self::OfAnotherType,
        })
    }
}

/// The data of `pusher:signin`.
#[derive(Debug, Deserialize)]
pub struct Signin {
    /// `key:signature`
    pub auth: String,
    /// The signed user; byte for byte as it was signed.
    pub user_data: String,
}

/// A client's own event.
#[derive(Debug)]
pub struct ClientEvent<'a> {
    /// `client-…`
    pub event: Cow<'a, str>,
    /// The channel's name, unchecked; `None` when it is missing or not a string.
    pub channel: Option<Cow<'a, str>>,
    /// Any JSON; `None` when absent.
    pub data: Option<&'a RawValue>,
}

/// Why a text is no message. Displays as what to tell the client.
#[derive(Debug, PartialEq, Eq)]
pub enum MalformedMessage {
    /// Not a JSON object with a string `event`.
    Envelope,
    /// The data of this event does not have the fields it needs.
    Data {
        /// The event's name.
        event: &'static str,
        /// What it needs.
        needs: &'static str,
    },
}

impl std::fmt::Display for MalformedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Envelope => {
                f.write_str("a message must be a JSON object with a string \"event\"")
            }
            Self::Data { event, needs } => write!(f, "{event} needs {needs}"),
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channel: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChannelOnly {
    channel: String,
}

/// What is there, `null` too; only what is absent is `None`.
fn given<'de, D: Deserializer<'de>>(json: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(json).map(Some)
}

impl<'a> ClientMessage<'a> {
    /// Reads one text message.
    ///
    /// # Errors
    /// [`MalformedMessage`]; the connection stays open.
    pub fn parse(text: &'a str) -> Result<Self, MalformedMessage> {
        // serde also reads structs from arrays; the protocol has only objects.
        if !text.trim_start().starts_with('{') {
            return Err(MalformedMessage::Envelope);
        }
        let envelope: Envelope<'a> =
            serde_json::from_str(text).map_err(|_| MalformedMessage::Envelope)?;
        Ok(match envelope.event.as_ref() {
            "pusher:ping" => Self::Ping,
            "pusher:pong" => Self::Pong,
            "pusher:subscribe" => Self::Subscribe(data_of(
                envelope.data,
                "pusher:subscribe",
                "data with a string \"channel\"",
            )?),
            "pusher:unsubscribe" => {
                let ChannelOnly { channel } = data_of(
                    envelope.data,
                    "pusher:unsubscribe",
                    "data with a string \"channel\"",
                )?;
                Self::Unsubscribe { channel }
            }
            "pusher:signin" => Self::Signin(data_of(
                envelope.data,
                "pusher:signin",
                "data with the strings \"auth\" and \"user_data\"",
            )?),
            event if event.starts_with("client-") => Self::Event(ClientEvent {
                channel: envelope
                    .channel
                    .and_then(|raw| serde_json::from_str(raw.get()).ok()),
                data: envelope.data,
                event: envelope.event,
            }),
            event if event.starts_with("pusher:") => Self::Unknown,
            _ => Self::Foreign {
                event: envelope.event,
            },
        })
    }
}

/// Reads a message's data, which may be an object or a JSON string that contains one.
fn data_of<T: DeserializeOwned>(
    data: Option<&RawValue>,
    event: &'static str,
    needs: &'static str,
) -> Result<T, MalformedMessage> {
    let malformed = || MalformedMessage::Data { event, needs };
    let raw = data.ok_or_else(malformed)?.get();
    let object = if raw.starts_with('"') {
        Cow::Owned(serde_json::from_str::<String>(raw).map_err(|_| malformed())?)
    } else {
        Cow::Borrowed(raw)
    };
    if !object.trim_start().starts_with('{') {
        return Err(malformed());
    }
    serde_json::from_str(&object).map_err(|_| malformed())
}

/// `text` as a JSON string token, quotes included.
#[must_use]
pub fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string always serialises")
}

/// `pusher:connection_established`, the first frame of every connection.
#[must_use]
pub fn connection_established(id: SocketId, activity_timeout_s: u64) -> Frame {
    Frame::text(&format!(
        r#"{{"event":"pusher:connection_established","data":"{{\"socket_id\":\"{id}\",\"activity_timeout\":{activity_timeout_s}}}"}}"#
    ))
}

/// `pusher:pong`
#[must_use]
pub fn pong() -> Frame {
    Frame::text(r#"{"event":"pusher:pong","data":"{}"}"#)
}

/// `pusher:ping`
#[must_use]
pub fn ping() -> Frame {
    Frame::text(r#"{"event":"pusher:ping","data":"{}"}"#)
}

/// `pusher:error` on a connection that stays open. Without a code it says `null`, as Pusher does; pusher-js fails with that in the first
/// frame of a connection, where this is never sent.
#[must_use]
pub fn error(code: Option<ErrorCode>, message: &str) -> Frame {
    match code {
        Some(code) => error_with(code.number(), message),
        None => error_with("null", message),
    }
}

/// `pusher:error` before a close frame with the same code and reason, for clients that read no close codes.
#[must_use]
pub fn closing_error(code: CloseCode, reason: &str) -> Frame {
    error_with(code.number(), reason)
}

fn error_with(code: impl Display, message: &str) -> Frame {
    let message = json_string(message);
    Frame::text(&format!(
        r#"{{"event":"pusher:error","data":{{"code":{code},"message":{message}}}}}"#
    ))
}

/// `pusher:subscription_error`; `channel` may be any text.
#[must_use]
pub fn subscription_error(channel: &str, status: SubscriptionStatus, message: &str) -> Frame {
    let data = format!(
        r#"{{"type":"{}","error":{},"status":{}}}"#,
        status.kind(),
        json_string(message),
        status.number()
    );
    Frame::text(&format!(
        r#"{{"event":"pusher:subscription_error","channel":{},"data":{}}}"#,
        json_string(channel),
        json_string(&data)
    ))
}

/// `pusher_internal:subscription_succeeded` of a channel without members.
#[must_use]
pub fn subscription_succeeded(channel: &str) -> Frame {
    Frame::event(
        r#""pusher_internal:subscription_succeeded""#,
        channel,
        r#""{}""#,
    )
}

/// `pusher_internal:member_added`; `info` is JSON.
#[must_use]
pub fn member_added(channel: &str, user_id: &str, info: &str) -> Frame {
    let data = format!(
        r#"{{"user_id":{},"user_info":{info}}}"#,
        json_string(user_id)
    );
    Frame::event(
        r#""pusher_internal:member_added""#,
        channel,
        &json_string(&data),
    )
}

/// `pusher_internal:member_removed`
#[must_use]
pub fn member_removed(channel: &str, user_id: &str) -> Frame {
    let data = format!(r#"{{"user_id":{}}}"#, json_string(user_id));
    Frame::event(
        r#""pusher_internal:member_removed""#,
        channel,
        &json_string(&data),
    )
}

/// `pusher_internal:subscription_count`
#[must_use]
pub fn subscription_count(channel: &str, count: usize) -> Frame {
    let data = format!(r#""{{\"subscription_count\":{count}}}""#);
    Frame::event(r#""pusher_internal:subscription_count""#, channel, &data)
}

/// `pusher:cache_miss`
#[must_use]
pub fn cache_miss(channel: &str) -> Frame {
    Frame::event(r#""pusher:cache_miss""#, channel, r#""{}""#)
}

/// `pusher:signin_success`, echoing `user_data` byte for byte.
#[must_use]
pub fn signin_success(user_data: &str) -> Frame {
    let data = format!(r#"{{"user_data":{}}}"#, json_string(user_data));
    Frame::text(&format!(
        r#"{{"event":"pusher:signin_success","data":{}}}"#,
        json_string(&data)
    ))
}

/// Tells a client on its user's own channel that another session took its place. The channel may hold any text.
#[must_use]
pub fn session_replaced(event: &str, channel: &str) -> Frame {
    Frame::text(&format!(
        r#"{{"event":{},"channel":{},"data":"{{}}"}}"#,
        json_string(event),
        json_string(channel)
    ))
}

/// `pusher_internal:watchlist_events`: who of the watched is online, who is not. What is empty is left out.
#[must_use]
pub fn watchlist_events(online: &[&str], offline: &[&str]) -> Frame {
    let kinds = [("online", online), ("offline", offline)];
    let events: Vec<String> = kinds
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(name, ids)| {
            let ids = serde_json::to_string(ids).expect("strings always serialise");
            format!(r#"{{"name":"{name}","user_ids":{ids}}}"#)
        })
        .collect();
    let data = format!(r#"{{"events":[{}]}}"#, events.join(","));
    Frame::text(&format!(
        r#"{{"event":"pusher_internal:watchlist_events","data":{}}}"#,
        json_string(&data)
    ))
}

/// A client's event as its channel's other subscribers get it: rebuilt, so that nothing else of the sender's passes.
/// `data` is a JSON token, `null` without data: the official Java client fails on an event that has none (`PusherEvent.java`, `getData`).
/// `user_id` is the sender's verified id on a presence channel.
#[must_use]
pub fn client_event(
    event: &str,
    channel: &str,
    data: Option<&str>,
    user_id: Option<&str>,
) -> Frame {
    let mut text = format!(
        r#"{{"event":{},"channel":"{channel}","data":{}"#,
        json_string(event),
        data.unwrap_or("null")
    );
    if let Some(user_id) = user_id {
        let _ = write!(text, r#","user_id":{}"#, json_string(user_id));
    }
    text.push('}');
    Frame::text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(frame: &Frame) -> serde_json::Value {
        serde_json::from_slice(frame.payload()).expect("every frame is JSON")
    }

    #[test]
    fn messages_are_told_apart() {
        let parse = |text| format!("{:?}", ClientMessage::parse(text));
        for (text, starts) in [
            (r#"{"event":"pusher:ping","data":{}}"#, "Ok(Ping"),
            (r#" {"event":"pusher:ping"}"#, "Ok(Ping"),
            (r#"{"event":"pusher:pong"}"#, "Ok(Pong"),
            (
                r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"news"}}"#,
                "Ok(Subscribe(",
            ),
            (
                r#"{"event":"pusher:subscribe","data":"{\"channel\":\"news\"}"}"#,
                "Ok(Subscribe(",
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"a","auth":null}}"#,
                "Ok(Subscribe(Subscribe { channel: \"a\", auth: Absent, channel_data: Absent }",
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"a","auth":{"a":[]},"channel_data":7}}"#,
                "Ok(Subscribe(Subscribe { channel: \"a\", auth: OfAnotherType, channel_data: OfAnotherType }",
            ),
            (
                r#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#,
                "Ok(Unsubscribe",
            ),
            (
                r#"{"event":"pusher:signin","data":{"auth":"","user_data":""}}"#,
                "Ok(Signin(",
            ),
            (
                r#"{"event":"client-x","channel":"private-a","data":1}"#,
                "Ok(Event(",
            ),
            (r#"{"event":"pusher:future"}"#, "Ok(Unknown"),
            (r#"{"event":"order.created"}"#, "Ok(Foreign"),
            ("", "Err(Envelope"),
            ("null", "Err(Envelope"),
            ("[]", "Err(Envelope"),
            (r#"["pusher:ping"]"#, "Err(Envelope"),
            ("{}", "Err(Envelope"),
            (r#"{"event":1}"#, "Err(Envelope"),
            (r#"{"event":"pusher:ping"} x"#, "Err(Envelope"),
            (r#"{"event":"pusher:subscribe"}"#, "Err(Data"),
            (r#"{"event":"pusher:subscribe","data":{}}"#, "Err(Data"),
            (
                r#"{"event":"pusher:subscribe","data":["news"]}"#,
                "Err(Data",
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":7}}"#,
                "Err(Data",
            ),
            (r#"{"event":"pusher:subscribe","data":"news"}"#, "Err(Data"),
        ] {
            assert!(parse(text).starts_with(starts), "{text}: {}", parse(text));
        }
    }

    #[test]
    fn an_error_has_the_code_null_unless_the_protocol_has_one_that_leaves_the_connection_open() {
        assert_eq!(
            error(None, "x").payload(),
            br#"{"event":"pusher:error","data":{"code":null,"message":"x"}}"#
        );
        let rejected = error(Some(ErrorCode::ClientEventRejected), "x");
        assert_eq!(payload(&rejected)["data"]["code"], 4301);
        let closing = closing_error(CloseCode::Reconnect, "x");
        assert_eq!(payload(&closing)["data"]["code"], 4200);
    }

    #[test]
    fn signin_success_echoes_a_string() {
        let frame = payload(&signin_success(r#"{"id":"7"}"#));
        let data: serde_json::Value =
            serde_json::from_str(frame["data"].as_str().expect("data is a string")).expect("JSON");
        assert_eq!(data["user_data"], r#"{"id":"7"}"#);
    }
}
