//! The paths of the fallback transports.

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Receive, by a response that does not end.
    Streaming,
    /// Receive, by a response with what there is.
    Polling,
    /// Send.
    Send,
}

/// `…/app/{key}/{server}/{session}/{kind}`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub(super) key: &'a str,
    pub(super) server: &'a str,
    pub(super) session: &'a str,
    pub(super) kind: Kind,
}

/// How the paths end. Looked at first, because every request of a backend comes by here.
const KINDS: [(&str, Kind); 3] = [
    ("/xhr_streaming", Kind::Streaming),
    ("/xhr", Kind::Polling),
    ("/xhr_send", Kind::Send),
];
/// Characters of a session's name; pusher-js makes 8.
const NAME_LENGTH_MAX: usize = 64;

impl<'a> Target<'a> {
    /// Reads a path; `None` when it is none of ours. What precedes `/app/` is the client's `httpPath`.
    #[must_use]
    pub fn find(path: &'a str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let ends_with = |(end, kind): &(&str, Kind)| Some((path.strip_suffix(end)?, *kind));
        let (path, kind) = KINDS.iter().find_map(ends_with)?;
        let mut segments = path.rsplit('/').filter(|segment| !segment.is_empty());
        let (session, server, key) = (segments.next()?, segments.next()?, segments.next()?);
        let is_name = |name: &str| {
            (1..=NAME_LENGTH_MAX).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        let fits = segments.next()? == "app" && is_name(session) && is_name(server);
        fits.then_some(Self {
            key,
            server,
            session,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_wherever_they_begin() {
        for (path, kind) in [
            ("/pusher/app/k/123/abc/xhr_streaming", Some(Kind::Streaming)),
            ("/app/k/123/abc/xhr", Some(Kind::Polling)),
            ("/ws/pusher/app/k/1/a/xhr_send", Some(Kind::Send)),
            ("//pusher//app/k/1//a/xhr/", Some(Kind::Polling)),
            ("/app/k/123/abc/eventsource", None),
            ("/app/k/abc/xhr", None),
            ("/apps/k/123/abc/xhr", None),
            ("/app/k/123/a.c/xhr", None),
            ("/xhr", None),
        ] {
            assert_eq!(Target::find(path).map(|target| target.kind), kind, "{path}");
        }
    }
}
