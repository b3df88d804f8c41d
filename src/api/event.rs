//! One event of a publish: as it stands in a request, and as it may go out once checked against the app's limits.

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData};

use ahash::RandomState;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};

use super::{
    attributes,
    data::Data,
    error::{ApiError, EventError},
    parameters::Parameters,
};
use crate::{
    app::Limits,
    engine::Wanted,
    node::Publication,
    protocol::{ChannelName, SocketId},
};

/// Events that only servers may send; a backend's would confuse every client.
const RESERVED_PREFIXES: [&str; 2] = ["pusher:", "pusher_internal:"];

/// An event as it was given. Nothing is checked but the types; unknown members are ignored.
#[derive(Debug, Default, Deserialize)]
pub(super) struct GivenEvent<'a> {
    /// The event's name.
    #[serde(borrow, default)]
    pub(super) name: Option<Text<'a>>,
    /// Its data.
    #[serde(borrow, default, deserialize_with = "even_null")]
    pub(super) data: Option<Data<'a>>,
    /// Where to; wins over `channel`.
    #[serde(borrow, default)]
    pub(super) channels: Option<Vec<Text<'a>>>,
    /// Where to, if it is one channel.
    #[serde(borrow, default)]
    pub(super) channel: Option<Text<'a>>,
    /// Who is left out.
    #[serde(borrow, default)]
    pub(super) socket_id: Option<Text<'a>>,
    /// What to tell about the channels.
    #[serde(borrow, default)]
    pub(super) info: Option<Text<'a>>,
}

/// A string, borrowed from the request where it has no escapes. (serde borrows no `Option<Cow<str>>`.)
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A struct that is read from an object only; serde by itself reads structs from arrays too.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

/// The channels of a publish, mostly one.
type Channels<'a> = SmallVec<[ChannelName<'a>; 1]>;

/// An event that may be published.
#[derive(Debug)]
pub(super) struct CheckedEvent<'a> {
    /// What was asked about the channels; `None` if nothing.
    pub(super) wanted: Option<Wanted>,
    /// Where to; each once.
    pub(super) channels: Channels<'a>,
    name: &'a str,
    data: Cow<'a, str>,
    except: Option<SocketId>,
}

impl<'a> GivenEvent<'a> {
    /// Takes from the query what the body lacks: a publish's parameters may stand there too.
    pub(super) fn complete(&mut self, parameters: &'a Parameters<'_>) -> Result<(), ApiError> {
        let fill = |field: &mut Option<Text<'a>>, name| {
            if field.is_none() {
                *field = parameters.text(name)?.map(Text);
            }
            Ok::<_, ApiError>(())
        };
        fill(&mut self.name, "name")?;
        fill(&mut self.socket_id, "socket_id")?;
        fill(&mut self.info, "info")?;
        if self.data.is_none() {
            self.data = parameters.text("data")?.map(Data::Text);
        }
        if self.channels.is_none() && self.channel.is_none() {
            let channels = parameters
                .texts("channels")
                .map(|name| Ok(Text(name?.into())));
            let channels = channels.collect::<Result<Vec<_>, ApiError>>()?;
            self.channels = (!channels.is_empty()).then_some(channels);
            fill(&mut self.channel, "channel")?;
        }
        Ok(())
    }

    /// Checks everything that can be wrong with an event.
    pub(super) fn check(&self, limits: &Limits) -> Result<CheckedEvent<'_>, EventError> {
        let name = self.name.as_ref().ok_or(EventError::Missing("name"))?;
        let data = self.data.as_ref().ok_or(EventError::Missing("data"))?;
        let except = match &self.socket_id {
            Some(Text(id)) => SocketId::parse(id).map_err(|_| EventError::SocketId)?,
            None => None,
        };
        let info = self.info.as_ref().filter(|info| !info.0.is_empty());
        Ok(CheckedEvent {
            wanted: info
                .map(|info| attributes::of_channel(&info.0))
                .transpose()
                .map_err(EventError::Info)?,
            channels: self.checked_channels(limits)?,
            name: checked_name(&name.0, limits.max_event_name_length.get())?,
            data: data.token(limits.max_event_data_bytes.get())?,
            except,
        })
    }

    fn checked_channels(&self, limits: &Limits) -> Result<Channels<'_>, EventError> {
        let parse = |name, position| {
            ChannelName::parse(name, limits.name_lengths())
                .map_err(|reason| EventError::Channel { position, reason })
        };
        let Some(names) = &self.channels else {
            let Text(name) = self
                .channel
                .as_ref()
                .ok_or(EventError::Missing("channels"))?;
            return Ok(smallvec![parse(name, None)?]);
        };
        let (count, max) = (names.len(), limits.max_event_channels.get());
        if count == 0 {
            return Err(EventError::NoChannels);
        }
        if count > max {
            return Err(EventError::TooManyChannels { count, max });
        }
        let names = names.iter().enumerate();
        let channels = names.map(|(at, Text(name))| parse(name, Some(at)));
        let mut channels = channels.collect::<Result<Channels<'_>, EventError>>()?;
        keep_first_of_each(&mut channels);
        Ok(channels)
    }
}

impl CheckedEvent<'_> {
    /// What to hand to the node.
    pub(super) fn publication(&self) -> Publication<'_> {
        let Self {
            channels,
            name,
            data,
            except,
            ..
        } = self;
        Publication {
            channels,
            event: name,
            data,
            except: *except,
        }
    }
}

fn checked_name(name: &str, max: usize) -> Result<&str, EventError> {
    // Counting is needed only where bytes might be fewer characters.
    let length = if name.len() > max {
        name.chars().count()
    } else {
        name.len()
    };
    if length == 0 {
        return Err(EventError::NameEmpty);
    }
    if length > max {
        return Err(EventError::NameTooLong { length, max });
    }
    match RESERVED_PREFIXES
        .iter()
        .find(|prefix| name.starts_with(**prefix))
    {
        Some(prefix) => Err(EventError::NameReserved(prefix)),
        None => Ok(name),
    }
}

fn keep_first_of_each(channels: &mut Channels<'_>) {
    if channels.len() > 1 {
        let mut seen = HashSet::with_capacity_and_hasher(channels.len(), RandomState::new());
        channels.retain(|channel| seen.insert(channel.as_str()));
    }
}

/// Reads a value of which `null` is one, unlike a member that is absent.
fn even_null<'de: 'a, 'a, D: Deserializer<'de>>(json: D) -> Result<Option<Data<'a>>, D::Error> {
    <&RawValue>::deserialize(json).map(|json| Some(Data::Json(json)))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        json.deserialize_map(ObjectVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::parameters::Plus;
    use crate::settings::Literal;

    /// Reads and checks one event, and shows what would be published, or the error.
    fn checked(json: &str, query: &str) -> String {
        let limits = Limits {
            max_event_name_length: Literal::of(10),
            max_event_data_bytes: Literal::of(5),
            max_event_channels: Literal::of(3),
            ..Limits::default()
        };
        let parameters = Parameters::parse(query, Plus::Literal).expect("few parameters");
        let read = serde_json::from_str::<Object<GivenEvent<'_>>>(json);
        let Object(mut event) = match read {
            Ok(event) => event,
            Err(error) => return error.to_string(),
        };
        event.complete(&parameters).expect("the query is UTF-8");
        match event.check(&limits) {
            Ok(event) => {
                let channels: Vec<_> = event.channels.iter().map(|name| name.as_str()).collect();
                let Publication {
                    event,
                    data,
                    except,
                    ..
                } = event.publication();
                format!("{event} {channels:?} {data} {except:?}")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_event_is_read_with_all_its_variants() {
        for (json, expected) in [
            (
                r#"{"name":"e","channel":"c","data":"d"}"#,
                r#"e ["c"] "d" None"#,
            ),
            (
                r#"{"name":"e","channels":["c"],"data":""}"#,
                r#"e ["c"] "" None"#,
            ),
            (
                r#"{"name":"e","channels":["a","b","a"],"data":"d"}"#,
                r#"e ["a", "b"] "d" None"#,
            ),
            (
                r#"{"name":"e","channels":["a"],"channel":"!","data":"d"}"#,
                r#"e ["a"] "d" None"#,
            ),
            (
                r##"{"name":"e","channel":"#server-to-user-7","data":"d"}"##,
                r##"e ["#server-to-user-7"] "d" None"##,
            ),
            (
                r#"{"name":"App\\E\u00e9","channel":"\u0063","data":"\u0064"}"#,
                r#"App\Eé ["c"] "\u0064" None"#,
            ),
            (
                r#"{"name":"e","channel":"c","data":{"a":1}}"#,
                "data has 7 bytes, at most 5 are allowed",
            ),
            (
                r#"{"name":"e","channel":"c","data":[1]}"#,
                r#"e ["c"] "[1]" None"#,
            ),
            (
                r#"{"name":"e","channel":"c","data":null}"#,
                r#"e ["c"] "null" None"#,
            ),
            (
                r#"{"name":"e","channel":"c","data":"d","socket_id":"1.2"}"#,
                r#"e ["c"] "d" Some(1.2)"#,
            ),
            (
                r#"{"name":"e","channel":"c","data":"d","socket_id":"0.0"}"#,
                r#"e ["c"] "d" None"#,
            ),
            (
                r#"{"name":"e","channel":"c","data":"d","socket_id":null,"info":null,"x":[{}]}"#,
                r#"e ["c"] "d" None"#,
            ),
            (
                r#"{"name":"éééééééééé","channel":"c","data":"d"}"#,
                r#"éééééééééé ["c"] "d" None"#,
            ),
        ] {
            assert_eq!(checked(json, ""), expected, "{json}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |members: &str| format!(r#"{{"name":"e","channel":"c","data":"d"{members}}}"#);
        for (json, expected) in [
            ("{}".to_owned(), "missing field `name`"),
            (r#"{"name":"e"}"#.to_owned(), "missing field `data`"),
            (
                r#"{"name":"e","data":"d"}"#.to_owned(),
                "missing field `channels`",
            ),
            (
                r#"{"name":null,"data":"d"}"#.to_owned(),
                "missing field `name`",
            ),
            (
                r#"{"name":1}"#.to_owned(),
                "invalid type: integer `1`, expected a string at line 1 column 9",
            ),
            (with(r#","channels":[]"#), "channels is empty"),
            (
                with(r#","channels":"c""#),
                "invalid type: string \"c\", expected a sequence at line 1 column 51",
            ),
            (
                with(r#","channels":["a","b","c","d"]"#),
                "channels has 4 names, at most 3 are allowed",
            ),
            (
                with(r#","channels":["a","b c"]"#),
                "channels[1]: channel name contains ' '; allowed are A-Z a-z 0-9 _ - = @ , . ;",
            ),
            (
                r#"{"name":"e","channel":"","data":"d"}"#.to_owned(),
                "channel name is empty",
            ),
            (
                r#"{"name":"","channel":"c","data":"d"}"#.to_owned(),
                "name is empty",
            ),
            (
                r#"{"name":"ééééééééééé","channel":"c","data":"d"}"#.to_owned(),
                "name has 11 characters, at most 10 are allowed",
            ),
            (
                r#"{"name":"pusher:x","channel":"c","data":"d"}"#.to_owned(),
                "name begins with pusher:, as only the server's own events do",
            ),
            (
                r#"{"name":"e","channel":"c","data":"123456"}"#.to_owned(),
                "data has 6 bytes, at most 5 are allowed",
            ),
            (
                with(r#","socket_id":"a""#),
                "socket_id is not of the form 123.456",
            ),
            (
                with(r#","info":"x""#),
                "info asks for \"x\"; what can be asked for is user_count, subscription_count, cache",
            ),
            (
                with(r#","name":"f""#),
                "duplicate field `name` at line 1 column 43",
            ),
            (
                "[]".to_owned(),
                "invalid type: sequence, expected an object at line 1 column 0",
            ),
            (
                r#"["e","d",["c"]]"#.to_owned(),
                "invalid type: sequence, expected an object at line 1 column 0",
            ),
            (
                "null".to_owned(),
                "invalid type: null, expected an object at line 1 column 4",
            ),
        ] {
            assert_eq!(checked(&json, ""), expected, "{json}");
        }
    }

    #[test]
    fn the_query_gives_what_the_body_lacks() {
        let query =
            "name=e&data=d&channels[]=a&channels[]=b&channel=x&socket_id=1.2&info=user_count";
        assert_eq!(checked("{}", query), r#"e ["a", "b"] "d" Some(1.2)"#);
        let body = r#"{"name":"f","data":"","channel":"c","socket_id":"3.4"}"#;
        assert_eq!(checked(body, query), r#"f ["c"] "" Some(3.4)"#);
        assert_eq!(
            checked("{}", "name=e&data=%22&channel=c"),
            r#"e ["c"] "\"" None"#
        );
    }
}
