//! Who tells the older page that its session is over.

use std::str::FromStr;

/// The two ways to one login at a time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The application broadcasts each login, and the pages that hear it ask whether they may stay.
    Application,
    /// The server lets one session listen to a user's channel: it tells the older pages and closes their connections.
    Server,
}

impl Mode {
    /// Its name in the environment and in the page.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Server => "server",
        }
    }
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let modes = [Self::Application, Self::Server];
        modes.into_iter().find(|mode| mode.name() == text).ok_or(())
    }
}
