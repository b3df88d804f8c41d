//! `info`: which attributes of a channel a request asks for, and how they look in the reply.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::error::UnknownAttribute;
use crate::engine::{Cached, ChannelInfo, Wanted};

/// What a request about one channel may ask for.
const OF_CHANNEL: &[&str] = &["user_count", "subscription_count", "cache"];
/// What a listing may ask for.
const OF_LISTING: &[&str] = &["user_count", "subscription_count"];

/// Reads the `info` of a request about a channel.
pub(super) fn of_channel(info: &str) -> Result<Wanted, UnknownAttribute> {
    read(info, OF_CHANNEL)
}

/// Reads the `info` of a listing.
pub(super) fn of_listing(info: &str) -> Result<Wanted, UnknownAttribute> {
    read(info, OF_LISTING)
}

fn read(info: &str, known: &'static [&'static str]) -> Result<Wanted, UnknownAttribute> {
    let mut wanted = Wanted::default();
    for name in info
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let attribute = match name {
            "user_count" => &mut wanted.user_count,
            "subscription_count" => &mut wanted.subscription_count,
            "cache" if known == OF_CHANNEL => &mut wanted.cache,
            _ => {
                return Err(UnknownAttribute {
                    name: name.to_owned(),
                    known,
                });
            }
        };
        *attribute = true;
    }
    Ok(wanted)
}

/// A channel's attributes in a reply. What is `None` is left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Attributes {
    /// Distinct users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_count: Option<usize>,
    /// Connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subscription_count: Option<usize>,
    /// The cached event; `Some(None)` is `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<Option<CachedEvent>>,
}

/// A cached event in a reply.
#[derive(Debug, Serialize)]
pub(super) struct CachedEvent {
    /// The event's data, as it was published.
    data: Box<RawValue>,
    /// Seconds until it is forgotten.
    ttl: u64,
}

impl From<ChannelInfo> for Attributes {
    fn from(channel: ChannelInfo) -> Self {
        Self {
            user_count: channel.user_count,
            subscription_count: channel.subscription_count,
            cache: channel.cache.map(|cached| cached.map(CachedEvent::from)),
        }
    }
}

impl From<Cached> for CachedEvent {
    fn from(cached: Cached) -> Self {
        #[derive(Deserialize)]
        struct Event {
            data: Box<RawValue>,
        }
        let event = serde_json::from_slice::<Event>(cached.frame.payload());
        let Event { data } = event.expect("a published event is an object with data");
        Self {
            data,
            ttl: cached.ttl_s,
        }
    }
}

/// Writes channels as an object with a member for each.
pub(super) fn as_map<S: Serializer>(
    channels: &[(impl AsRef<str>, Attributes)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        channels
            .iter()
            .map(|(name, attributes)| (name.as_ref(), attributes)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Frame;

    #[test]
    fn info_is_a_list_of_known_attributes() {
        let wanted = |user_count, subscription_count, cache| Wanted {
            user_count,
            subscription_count,
            cache,
        };
        for (info, expected) in [
            ("", Some(wanted(false, false, false))),
            ("user_count", Some(wanted(true, false, false))),
            (
                "subscription_count,user_count",
                Some(wanted(true, true, false)),
            ),
            (" cache , user_count,", Some(wanted(true, false, true))),
            ("user_count,user_count", Some(wanted(true, false, false))),
            ("User_Count", None),
            ("user_count subscription_count", None),
            ("members", None),
        ] {
            assert_eq!(of_channel(info).ok(), expected, "{info}");
        }
        assert_eq!(
            of_listing("subscription_count").ok(),
            Some(wanted(false, true, false))
        );
        assert!(of_listing("cache").is_err());
    }

    #[test]
    fn only_what_was_asked_for_is_written() {
        let json = |attributes: Attributes| serde_json::to_string(&attributes).expect("plain");
        assert_eq!(json(Attributes::default()), "{}");
        let cached = Cached {
            frame: Frame::event(r#""e""#, "cache-x", r#""{\"id\":42}""#),
            ttl_s: 1740,
        };
        let channel = ChannelInfo {
            occupied: true,
            user_count: Some(2),
            subscription_count: Some(3),
            cache: Some(Some(cached)),
        };
        assert_eq!(
            json(channel.into()),
            r#"{"user_count":2,"subscription_count":3,"cache":{"data":"{\"id\":42}","ttl":1740}}"#
        );
        let empty = ChannelInfo {
            cache: Some(None),
            ..ChannelInfo::default()
        };
        assert_eq!(json(empty.into()), r#"{"cache":null}"#);
    }
}
