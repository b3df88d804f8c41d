//! An app's rules for channels.

use std::time::Duration;

use super::{
    error::ConfigError,
    raw::{Merged, RawChannelRule},
    schema::APPS,
};
use crate::app::{ChannelRule, ChannelRules, Newest, Replay, SingleSession};

/// Where only a time is given: at most so many.
const REPLAY_EVENTS: usize = 100;
/// Where only a number is given: at most so old.
const REPLAY_S: u64 = 3600;
/// Only of these channels' subscribers the app's backend has said who they are.
const SIGNED: [&str; 2] = ["private-", "presence-"];

/// Checks the rules of the app at `index`. A rule of one session takes event and grace from `session`.
pub(super) fn check(
    raw: Vec<RawChannelRule>,
    session: impl Fn(Newest) -> SingleSession,
    index: usize,
    merged: &Merged,
) -> Result<ChannelRules, ConfigError> {
    let mut rules = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        let key = |name: &str| format!("{APPS}[{index}].channels[{at}].{name}");
        let bad = |name: &str, reason: String| ConfigError::BadValue {
            place: merged.app_place(index, "channels"),
            key: key(name),
            reason,
        };
        let Some(pattern) = raw.pattern else {
            return Err(ConfigError::Missing {
                place: merged.app_place(index, "channels"),
                key: key("pattern"),
            });
        };
        if pattern.is_empty() {
            return Err(bad("pattern", "must not be empty".to_owned()));
        }
        let newest = newest(&raw.single_session).map_err(|why| bad("single_session", why))?;
        if newest.is_some() && !SIGNED.iter().any(|prefix| pattern.starts_with(prefix)) {
            let reason = "needs a pattern that begins with \"private-\" or \"presence-\": anybody may enter other channels";
            return Err(bad("single_session", reason.to_owned()));
        }
        rules.push(ChannelRule {
            pattern,
            single_session: newest.map(&session),
            replay: replay(raw.replay_events, raw.replay_s),
        });
    }
    Ok(ChannelRules::new(rules))
}

/// Either bound turns it on; the other one then has its default.
fn replay(events: Option<usize>, seconds: Option<u64>) -> Option<Replay> {
    (events.is_some() || seconds.is_some()).then(|| Replay {
        events: events.unwrap_or(REPLAY_EVENTS),
        age: Duration::from_secs(seconds.unwrap_or(REPLAY_S)),
    })
}

/// Who gives way, if there may be only one session.
pub(super) fn newest(text: &str) -> Result<Option<Newest>, String> {
    match text {
        "off" => Ok(None),
        "replace" => Ok(Some(Newest::Wins)),
        "refuse" => Ok(Some(Newest::IsRefused)),
        other => Err(format!(
            "must be \"off\", \"replace\" or \"refuse\", not {other:?}"
        )),
    }
}
