//! What clients say of themselves, kept once for all of a shard's clients that say the same.

use std::{collections::HashSet, sync::Arc};

/// Profiles that may be known before those that nobody has any more are looked for.
const KNOWN_MIN: usize = 256;

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A WebSocket.
    WebSocket,
    /// The fallback that streams.
    XhrStreaming,
    /// The fallback that polls.
    XhrPolling,
}

impl Transport {
    /// Its name in the feed and the inspector; the fallbacks' are pusher-js' own.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::XhrStreaming => "xhr_streaming",
            Self::XhrPolling => "xhr_polling",
        }
    }
}

/// What is known of a client that many others share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// The app's id.
    pub app_id: Arc<str>,
    /// The key that it connected with.
    pub key: Box<str>,
    /// How it is connected.
    pub transport: Transport,
    /// The protocol version that it speaks.
    pub protocol: u8,
    /// Its library, as it named it.
    pub client: Option<Box<str>>,
    /// Its library's version.
    pub version: Option<Box<str>>,
    /// The page's origin.
    pub origin: Option<Box<str>>,
}

/// A shard's profiles. Clients choose what they say, so those without a client are dropped from time to time.
#[derive(Default)]
pub(super) struct Profiles(HashSet<Arc<Profile>, ahash::RandomState>);

impl Profiles {
    /// Each with its clients; whoever looks at one of them counts as one more.
    pub(super) fn counts(&self) -> Vec<(Arc<Profile>, usize)> {
        let all = self.0.iter();
        let counts = all.map(|profile| (Arc::clone(profile), Arc::strong_count(profile) - 2));
        counts.filter(|(_, clients)| *clients > 0).collect()
    }

    pub(super) fn share(&mut self, profile: Profile) -> Arc<Profile> {
        if let Some(known) = self.0.get(&profile) {
            return Arc::clone(known);
        }
        if self.0.len() >= KNOWN_MIN && self.0.len() == self.0.capacity() {
            self.0.retain(|known| Arc::strong_count(known) > 1);
            self.0.shrink_to(self.0.len() * 2);
        }
        let profile = Arc::new(profile);
        self.0.insert(Arc::clone(&profile));
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(number: usize) -> Profile {
        Profile {
            app_id: "1".into(),
            key: "key".into(),
            transport: Transport::WebSocket,
            protocol: 7,
            client: Some("js".into()),
            version: Some(number.to_string().into()),
            origin: None,
        }
    }

    #[test]
    fn those_who_say_the_same_share_it_and_what_nobody_says_is_forgotten() {
        let mut profiles = Profiles::default();
        let held = profiles.share(profile(0));
        assert!(Arc::ptr_eq(&held, &profiles.share(profile(0))));
        for number in 1..100_000 {
            profiles.share(profile(number));
        }
        assert!(profiles.0.len() < 10_000, "{}", profiles.0.len());
        assert!(Arc::ptr_eq(&held, &profiles.share(profile(0))));
    }
}
