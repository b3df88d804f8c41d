//! Channel names and what a name says about its channel.

use super::user_id::{InvalidUserId, check_user_id};

/// Who may subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Public,
    /// Whoever the app's backend signed for.
    Private,
    /// As private, and the subscribers form a list of members.
    Presence,
    /// `#server-to-user-{id}`: connections signed in as that user.
    User,
    /// `#online-…`: whether a user is signed in, for those who watch him. Never named by clients.
    Online,
    /// `#session-…`, `#channel-session-…`: the sessions of a user or a channel that may have only one. Never named by clients.
    Session,
}

/// The two independent axes of a channel, and encryption, which only the clients understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelKind {
    /// Who may subscribe.
    pub access: Access,
    /// Payloads are opaque to the server; clients may not trigger.
    pub encrypted: bool,
    /// The last event is kept for later subscribers.
    pub cache: bool,
}

impl ChannelKind {
    /// Reads the kind off the name. Prefixes are case-sensitive and need their hyphen.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let kind = |access, encrypted, cache| Self {
            access,
            encrypted,
            cache,
        };
        if let Some(rest) = name.strip_prefix("private-") {
            let encrypted = rest.strip_prefix("encrypted-");
            kind(
                Access::Private,
                encrypted.is_some(),
                encrypted.unwrap_or(rest).starts_with("cache-"),
            )
        } else if let Some(rest) = name.strip_prefix("presence-") {
            kind(Access::Presence, false, rest.starts_with("cache-"))
        } else if name.starts_with(USER_PREFIX) {
            kind(Access::User, false, false)
        } else if name.starts_with(ONLINE_PREFIX) {
            kind(Access::Online, false, false)
        } else if name.starts_with(SESSION_PREFIX) || name.starts_with(CHANNEL_SESSION_PREFIX) {
            kind(Access::Session, false, false)
        } else {
            kind(Access::Public, false, name.starts_with("cache-"))
        }
    }

    /// Whether the channel has members: of its own, or the one user who is online.
    #[must_use]
    pub fn has_members(self) -> bool {
        matches!(
            self.access,
            Access::Presence | Access::Online | Access::Session
        )
    }

    /// Whether clients may not name the channel: it is the server's own.
    #[must_use]
    pub fn is_internal(self) -> bool {
        matches!(self.access, Access::Online | Access::Session)
    }

    /// Whether subscribers are members with an identity.
    #[must_use]
    pub fn is_presence(self) -> bool {
        self.access == Access::Presence
    }

    /// Whether clients may trigger `client-` events here.
    #[must_use]
    pub fn takes_client_events(self) -> bool {
        matches!(self.access, Access::Private | Access::Presence) && !self.encrypted
    }
}

/// What the channel of one user's server events is called, before the user's id.
pub const USER_PREFIX: &str = "#server-to-user-";

/// What the channel of a user's online state is called, before the user's id in hex, which may be any text.
const ONLINE_PREFIX: &str = "#online-";

/// What the channel of a user's sessions is called, before the user's id in hex.
const SESSION_PREFIX: &str = "#session-";

/// The same for the sessions of a channel, before its name in hex.
const CHANNEL_SESSION_PREFIX: &str = "#channel-session-";

/// The name of the channel whose members are the user's sessions.
#[must_use]
pub fn session_name(user_id: &str) -> String {
    format!("{SESSION_PREFIX}{}", hex::encode(user_id))
}

/// The name of the channel whose members are the sessions that listen to this channel.
#[must_use]
pub fn channel_session_name(channel: &str) -> String {
    format!("{CHANNEL_SESSION_PREFIX}{}", hex::encode(channel))
}

/// Whether this is the channel of a channel's sessions.
#[must_use]
pub fn is_channel_session(name: &str) -> bool {
    name.starts_with(CHANNEL_SESSION_PREFIX)
}

/// Whose sessions a channel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionsOf {
    /// A user's.
    User(String),
    /// Those that listen to a channel.
    Channel(String),
}

/// Whose sessions are the members of the channel that is called so.
#[must_use]
pub fn sessions_of(name: &str) -> Option<SessionsOf> {
    let decode = |hex: &str| String::from_utf8(hex::decode(hex).ok()?).ok();
    match name.strip_prefix(CHANNEL_SESSION_PREFIX) {
        Some(channel) => decode(channel).map(SessionsOf::Channel),
        None => decode(name.strip_prefix(SESSION_PREFIX)?).map(SessionsOf::User),
    }
}

/// The name of the channel that tells whether the user is online.
#[must_use]
pub fn online_name(user_id: &str) -> String {
    format!("{ONLINE_PREFIX}{}", hex::encode(user_id))
}

/// The user of such a channel.
#[must_use]
pub fn online_user(name: &str) -> Option<String> {
    String::from_utf8(hex::decode(name.strip_prefix(ONLINE_PREFIX)?).ok()?).ok()
}

/// A channel name that was checked, with its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelName<'a> {
    name: &'a str,
    kind: ChannelKind,
}

/// How long the names of an app's channels may be, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLengths {
    /// A channel's name, prefix included.
    pub channel: usize,
    /// The user id in the name of a user's own channel.
    pub user_id: usize,
}

/// Why a name is no channel name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidChannelName {
    /// It has no characters.
    Empty,
    /// More characters than allowed.
    TooLong {
        /// How many it has.
        length: usize,
        /// How many it may have.
        max: usize,
    },
    /// A character outside `A-Z a-z 0-9 _ - = @ , . ;`.
    IllegalCharacter(char),
    /// `#server-to-user-` and then no user id.
    UserId(InvalidUserId),
}

impl std::fmt::Display for InvalidChannelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => write!(f, "channel name is empty"),
            Self::TooLong { length, max } => {
                write!(
                    f,
                    "channel name has {length} characters, at most {max} are allowed"
                )
            }
            Self::IllegalCharacter(c) => write!(
                f,
                "channel name contains {c:?}; allowed are A-Z a-z 0-9 _ - = @ , . ;"
            ),
            Self::UserId(invalid) => invalid.fmt(f),
        }
    }
}

impl<'a> ChannelName<'a> {
    /// Checks a name. The name of a user's own channel may contain whatever a user id may.
    ///
    /// # Errors
    /// [`InvalidChannelName`] says what is wrong.
    pub fn parse(name: &'a str, max: NameLengths) -> Result<Self, InvalidChannelName> {
        match name.strip_prefix(USER_PREFIX) {
            Some(user_id) => {
                check_user_id(user_id, max.user_id).map_err(InvalidChannelName::UserId)?;
            }
            None => check_characters(name, max.channel)?,
        }
        Ok(Self {
            name,
            kind: ChannelKind::of(name),
        })
    }

    /// A name that [`ChannelName::parse`] accepted before.
    #[must_use]
    pub fn of_checked(name: &'a str) -> Self {
        let unbounded = NameLengths {
            channel: usize::MAX,
            user_id: usize::MAX,
        };
        debug_assert!(Self::parse(name, unbounded).is_ok(), "checked before");
        Self {
            name,
            kind: ChannelKind::of(name),
        }
    }

    /// A name of which all is known: checked before, or made by this module.
    #[must_use]
    pub fn of_key(name: &'a str, kind: ChannelKind) -> Self {
        Self { name, kind }
    }

    /// A name made by [`online_name`], [`session_name`] or [`channel_session_name`].
    #[must_use]
    pub fn of_internal(name: &'a str) -> Self {
        debug_assert!(ChannelKind::of(name).is_internal(), "made by this module");
        Self {
            name,
            kind: ChannelKind::of(name),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.name
    }

    /// What the name says.
    #[must_use]
    pub fn kind(self) -> ChannelKind {
        self.kind
    }
}

fn check_characters(name: &str, max: usize) -> Result<(), InvalidChannelName> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_-=@,.;".contains(&b);
    if let Some(at) = name.bytes().position(|b| !legal(b)) {
        // Every byte before it is ASCII, so `at` is a character boundary.
        let c = name[at..].chars().next().unwrap_or('\0');
        return Err(InvalidChannelName::IllegalCharacter(c));
    }
    match name.len() {
        0 => Err(InvalidChannelName::Empty),
        length if length > max => Err(InvalidChannelName::TooLong { length, max }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: NameLengths = NameLengths {
        channel: 200,
        user_id: 128,
    };

    #[test]
    fn prefixes_decide_the_kind_and_are_anchored() {
        use Access::{Presence, Private, Public, User};
        for (name, access, encrypted, cache) in [
            ("news", Public, false, false),
            ("cache-news", Public, false, true),
            ("private-a", Private, false, false),
            ("private-cache-a", Private, false, true),
            ("private-encrypted-a", Private, true, false),
            ("private-encrypted-cache-a", Private, true, true),
            ("presence-a", Presence, false, false),
            ("presence-cache-a", Presence, false, true),
            ("#server-to-user-7", User, false, false),
            ("#online-37", Access::Online, false, false),
            ("my-cache-x", Public, false, false),
            ("x-private-y", Public, false, false),
            ("privatex", Public, false, false),
            ("cachex", Public, false, false),
            ("Private-a", Public, false, false),
            ("private-x-cache-y", Private, false, false),
            ("presence-encrypted-cache-a", Presence, false, false),
        ] {
            assert_eq!(
                ChannelKind::of(name),
                ChannelKind {
                    access,
                    encrypted,
                    cache
                },
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_is_checked() {
        assert!(ChannelName::parse("aZ09_-=@,.;", MAX).is_ok());
        assert!(ChannelName::parse(&"a".repeat(200), MAX).is_ok());
        assert_eq!(
            ChannelName::parse(&"a".repeat(201), MAX),
            Err(InvalidChannelName::TooLong {
                length: 201,
                max: 200
            })
        );
        assert_eq!(ChannelName::parse("", MAX), Err(InvalidChannelName::Empty));
        for (name, c) in [
            ("a b", ' '),
            ("a:b", ':'),
            ("a/b", '/'),
            ("é", 'é'),
            ("#x", '#'),
            ("a#", '#'),
            ("#online-37", '#'),
        ] {
            assert_eq!(
                ChannelName::parse(name, MAX),
                Err(InvalidChannelName::IllegalCharacter(c)),
                "{name}"
            );
        }
    }

    #[test]
    fn a_users_own_channel_has_the_users_id_whatever_its_characters() {
        let own = |id: &str| format!("{USER_PREFIX}{id}");
        for id in ["7", "e:1", "a/b", "zoë", "\"\\{}", &"é".repeat(128)] {
            assert!(ChannelName::parse(&own(id), MAX).is_ok(), "{id}");
        }
        for (id, expected) in [
            ("", InvalidUserId::Empty),
            ("a\n", InvalidUserId::ControlCharacter('\n')),
            (
                &*"é".repeat(129),
                InvalidUserId::TooLong {
                    length: 129,
                    max: 128,
                },
            ),
        ] {
            assert_eq!(
                ChannelName::parse(&own(id), MAX),
                Err(InvalidChannelName::UserId(expected)),
                "{id}"
            );
        }
    }
}
