//! One session at a time.

use crate::settings::words;

words! {
    /// The rule that a user, or a channel, has one session at a time.
    pub enum SingleSession {
        /// Any number of sessions.
        Off = "off",
        /// The newest takes the place of the older one.
        Replace = "replace",
        /// The newest is refused.
        Refuse = "refuse",
    }
}

/// What becomes of a second session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newest {
    /// It takes the place of the older one.
    Wins,
    /// Its sign-in or subscription is refused.
    IsRefused,
}

impl SingleSession {
    /// What becomes of a second session; `None`: there may be several.
    #[must_use]
    pub fn newest(self) -> Option<Newest> {
        match self {
            Self::Off => None,
            Self::Replace => Some(Newest::Wins),
            Self::Refuse => Some(Newest::IsRefused),
        }
    }
}
