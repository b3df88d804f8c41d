//! Which endpoint a path names. Pure; segments stay percent-encoded.

use actix_web::http::Method;

use crate::protocol::path;

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
        /// Which app.
        app: AppName<'a>,
        /// What it is asked for.
        endpoint: Endpoint<'a>,
    },
}

/// How a request names its app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppName<'a> {
    /// By the id in the path, percent-encoded.
    Id(&'a str),
    /// By the `auth_key` among the parameters alone: PyPI's `pusher` leaves `/apps/{id}` out of one path, and signs it so.
    Key,
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
    /// Reads a path, with or without the prefix.
    pub(super) fn find(path: &'a str, prefix: &str) -> Option<Self> {
        Self::bare(path).or_else(|| Self::bare(path::behind(path, prefix)?))
    }

    fn bare(path: &'a str) -> Option<Self> {
        let Some((first, rest)) = path::split_first(path) else {
            return Some(Self::Up);
        };
        let is_whole = || path::segments(rest).next().is_none();
        let (app, endpoint) = match first {
            "up" | "health" if is_whole() => return Some(Self::Up),
            "ready" | "accept-traffic" if is_whole() => return Some(Self::Ready),
            "apps" => {
                let (id, rest) = path::split_first(rest)?;
                (AppName::Id(id), Endpoint::find(rest)?)
            }
            "users" => (AppName::Key, Endpoint::of_user(rest)?),
            _ => return None,
        };
        // From the last of the slashes before it.
        let start = path.len() - first.len() - rest.len() - 1;
        Some(Self::App {
            path: &path[start..],
            app,
            endpoint,
        })
    }

    /// Whether a path is where clients connect, `/app/{key}`.
    pub(super) fn is_socket(path: &str, prefix: &str) -> bool {
        let bare = path::behind(path, prefix).unwrap_or(path);
        let mut segments = path::segments(bare);
        segments.next() == Some("app") && segments.count() == 1
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
        let (first, rest) = path::split_first(path)?;
        if first == "users" {
            return Self::of_user(rest);
        }
        let mut others = path::segments(rest);
        // No path has more than three; a fourth makes it unknown.
        let (second, third, fourth) = (others.next(), others.next(), others.next());
        Some(match (first, second, third) {
            _ if fourth.is_some() => return None,
            ("events", None, _) => Self::Events,
            ("batch_events", None, _) => Self::BatchEvents,
            ("channels", None, _) => Self::Channels,
            ("channels", Some(channel), None) => Self::Channel(channel),
            ("channels", Some(channel), Some("users")) => Self::ChannelUsers(channel),
            ("channels", Some(channel), Some("events")) => Self::ChannelEvents(channel),
            ("channels", Some(channel), Some("stats")) => Self::ChannelStats(channel),
            ("connections", None, _) => Self::Connections,
            _ => return None,
        })
    }

    /// Reads what follows `users`. Slashes within the id are its own.
    fn of_user(path: &'a str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let user_id = path.strip_suffix("/terminate_connections")?;
        Some(Self::TerminateConnections(user_id.trim_matches('/')))
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
            ("channels/", Endpoint::Channels),
            ("/channels///presence-a/", Endpoint::Channel("presence-a")),
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
                app: AppName::Id("app1"),
                endpoint: expected,
            });
            assert_eq!(Target::find(&bare, "/ws"), expected);
            assert_eq!(Target::find(&format!("/ws{bare}"), "/ws"), expected);
            assert_eq!(Target::find(&format!("//ws/{bare}"), "/ws"), expected);
            assert_eq!(Target::find(&bare, ""), expected);
        }
        for path in ["/up", "/", "/health", "/up/", "//"] {
            assert_eq!(Target::find(path, ""), Some(Target::Up));
            assert_eq!(Target::find(&format!("/ws{path}"), "/ws"), Some(Target::Up));
        }
        assert_eq!(Target::find("/ws", "/ws"), Some(Target::Up));
        for path in ["/ready", "/accept-traffic", "//ready/"] {
            assert_eq!(Target::find(path, ""), Some(Target::Ready));
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for path in [
            "*",
            "/usage",
            "/apps",
            "/apps/",
            "/apps/app1",
            "/apps/app1/",
            "/apps/app1/Events",
            "/apps/events",
            "/apps/app1/channels/a/b",
            "/apps/app1/channels/a/users/b",
            "/apps/app1/users/u-1",
            "/other/apps/app1/events",
            "/wsapps/app1/events",
            "/ws/ws/apps/app1/events",
            "/users/7",
            "/up/up",
            "/app/app-key",
        ] {
            assert_eq!(Target::find(path, "/ws"), None, "{path}");
        }
    }

    #[test]
    fn a_socket_has_a_path_of_its_own() {
        for path in ["/app/k", "/ws/app/k", "//app//k/"] {
            assert!(Target::is_socket(path, "/ws"), "{path}");
        }
        for path in ["/app", "/apps/k", "/app/k/7", "/", "/ws/ws/app/k"] {
            assert!(!Target::is_socket(path, "/ws"), "{path}");
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
