//! Which endpoint a path names. Pure; segments stay percent-encoded.

use actix_web::http::Method;
use smallvec::SmallVec;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// Whether it lives: `/up` as Reverb has it, `/` as soketi, `/health` as laravel-websockets
    Up,
    /// Whether it should get traffic: `/ready` and `/accept-traffic`, as soketi has them. Not where Redis is away: then every
    /// balancer would take all nodes out at once, and local delivery would end.
    Ready,
    /// `/apps/{id}/…`
    App {
        /// The path from `/apps` on.
        path: &'a str,
        /// The app's id.
        id: &'a str,
        /// What comes behind it.
        endpoint: Endpoint<'a>,
    },
}

/// An endpoint of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    /// `events`
    Events,
    /// `batch_events`
    BatchEvents,
    /// `channels`
    Channels,
    /// `channels/{channel}`
    Channel(&'a str),
    /// `channels/{channel}/users`
    ChannelUsers(&'a str),
    /// `channels/{channel}/events`, the legacy way to publish
    ChannelEvents(&'a str),
    /// `channels/{channel}/stats`
    ChannelStats(&'a str),
    /// `connections`
    Connections,
    /// `users/{user_id}/terminate_connections`; the id may contain slashes, which libraries put into the path as they are
    TerminateConnections(&'a str),
}

impl Endpoint<'_> {
    /// Whether it takes events; everything else counts as a read.
    pub(super) fn publishes(&self) -> bool {
        matches!(
            self,
            Self::Events | Self::BatchEvents | Self::ChannelEvents(_)
        )
    }
}

/// The methods of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    /// Reads; HEAD is a GET whose reply has no body.
    Get,
    /// Changes something.
    Post,
}

impl<'a> Target<'a> {
    /// Reads a path; `prefix` may stand before it.
    pub(super) fn find(path: &'a str, prefix: &str) -> Option<Self> {
        Self::bare(path).or_else(|| Self::bare(path.strip_prefix(prefix)?))
    }

    fn bare(path: &'a str) -> Option<Self> {
        let Some(rest) = path.strip_prefix("/apps/") else {
            return match path {
                "/up" | "/" | "/health" => Some(Self::Up),
                "/ready" | "/accept-traffic" => Some(Self::Ready),
                _ => None,
            };
        };
        let (id, rest) = rest.split_once('/')?;
        Endpoint::find(rest).map(|endpoint| Self::App { path, id, endpoint })
    }

    /// What may be asked of it.
    pub(super) fn methods(self) -> Methods {
        match self {
            Self::Up | Self::Ready => Methods::Get,
            Self::App { endpoint, .. } => endpoint.methods(),
        }
    }
}

impl<'a> Endpoint<'a> {
    fn find(path: &'a str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("users/") {
            let user_id = rest.strip_suffix("/terminate_connections")?;
            return Some(Self::TerminateConnections(user_id));
        }
        let segments: SmallVec<[&str; 4]> = path.splitn(4, '/').collect();
        Some(match segments[..] {
            ["events"] => Self::Events,
            ["batch_events"] => Self::BatchEvents,
            ["channels"] => Self::Channels,
            ["channels", channel] => Self::Channel(channel),
            ["channels", channel, "users"] => Self::ChannelUsers(channel),
            ["channels", channel, "events"] => Self::ChannelEvents(channel),
            ["channels", channel, "stats"] => Self::ChannelStats(channel),
            ["connections"] => Self::Connections,
            _ => return None,
        })
    }

    fn methods(self) -> Methods {
        match self {
            Self::Events
            | Self::BatchEvents
            | Self::ChannelEvents(_)
            | Self::TerminateConnections(_) => Methods::Post,
            Self::Channels
            | Self::Channel(_)
            | Self::ChannelUsers(_)
            | Self::ChannelStats(_)
            | Self::Connections => Methods::Get,
        }
    }
}

impl Methods {
    /// Whether the method is one of them.
    pub(super) fn contains(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
        }
    }

    /// The value of an `Allow` header.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD, OPTIONS",
            Self::Post => "POST, OPTIONS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_path() {
        for (path, expected) in [
            ("events", Endpoint::Events),
            ("batch_events", Endpoint::BatchEvents),
            ("channels", Endpoint::Channels),
            ("channels/presence-a", Endpoint::Channel("presence-a")),
            ("channels/%23a", Endpoint::Channel("%23a")),
            ("channels/", Endpoint::Channel("")),
            ("channels/events", Endpoint::Channel("events")),
            ("channels/a/users", Endpoint::ChannelUsers("a")),
            ("channels/a/events", Endpoint::ChannelEvents("a")),
            ("channels/a/stats", Endpoint::ChannelStats("a")),
            ("connections", Endpoint::Connections),
            (
                "users/u-1/terminate_connections",
                Endpoint::TerminateConnections("u-1"),
            ),
            (
                "users/a%2Fb/terminate_connections",
                Endpoint::TerminateConnections("a%2Fb"),
            ),
            (
                "users/a/b/terminate_connections",
                Endpoint::TerminateConnections("a/b"),
            ),
        ] {
            let bare = format!("/apps/app1/{path}");
            let expected = Some(Target::App {
                path: &bare,
                id: "app1",
                endpoint: expected,
            });
            assert_eq!(Target::find(&bare, "/ws"), expected);
            assert_eq!(Target::find(&format!("/ws{bare}"), "/ws"), expected);
            assert_eq!(Target::find(&bare, ""), expected);
        }
        for path in ["/up", "/", "/health"] {
            assert_eq!(Target::find(path, ""), Some(Target::Up));
            assert_eq!(Target::find(&format!("/ws{path}"), "/ws"), Some(Target::Up));
        }
        for path in ["/ready", "/accept-traffic"] {
            assert_eq!(Target::find(path, ""), Some(Target::Ready));
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for path in [
            "",
            "*",
            "/usage",
            "/apps",
            "/apps/",
            "/apps/app1",
            "/apps/app1/",
            "/apps/app1/Events",
            "/apps/app1/events/",
            "//apps/app1/events",
            "/apps//app1/events",
            "/apps/app1/channels/a/",
            "/apps/app1/channels/a/b",
            "/apps/app1/channels/a/users/b",
            "/apps/app1/users/u-1",
            "/apps/app1/users/terminate_connections",
            "/other/apps/app1/events",
            "/wsapps/app1/events",
            "/ws/ws/apps/app1/events",
            "/up/",
            "/app/app-key",
        ] {
            assert_eq!(Target::find(path, "/ws"), None, "{path}");
        }
    }

    #[test]
    fn a_target_is_read_or_posted_to() {
        let methods = |path| Target::find(path, "").map(Target::methods);
        for (path, expected) in [
            ("/up", Methods::Get),
            ("/apps/1/events", Methods::Post),
            ("/apps/1/batch_events", Methods::Post),
            ("/apps/1/channels", Methods::Get),
            ("/apps/1/channels/a", Methods::Get),
            ("/apps/1/channels/a/users", Methods::Get),
            ("/apps/1/channels/a/events", Methods::Post),
            ("/apps/1/channels/a/stats", Methods::Get),
            ("/apps/1/connections", Methods::Get),
            ("/apps/1/users/7/terminate_connections", Methods::Post),
        ] {
            assert_eq!(methods(path), Some(expected), "{path}");
        }
        assert!(Methods::Get.contains(&Method::HEAD));
        assert!(!Methods::Post.contains(&Method::HEAD));
        assert!(!Methods::Post.contains(&Method::PUT));
    }
}
