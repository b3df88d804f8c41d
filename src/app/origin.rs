//! Which web pages may connect: one entry of an app's `allowed_origins`.

use std::{borrow::Cow, fmt};

use crate::settings::{Secrets, Text};

/// A host, perhaps with `*` and a port, or a full origin. Letter case is ignored.
///
/// - `example.com`, `*.example.com`, `*`: the host, on any scheme and port; `*` stands for any characters, dots too
/// - `example.com:8080`: the host and the port
/// - `https://example.com`, `https://example.com:8443`: scheme, host and port
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    /// `None` is any.
    scheme: Option<String>,
    host: String,
    /// `None` is any, unless there is a scheme.
    port: Option<u16>,
}

impl OriginPattern {
    /// Whether a page of this `Origin` may connect. A path behind the host is ignored: Go's `x/net/websocket` sends `http://localhost/`.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        let (scheme, mut authority) = split_scheme(origin);
        if let Some(scheme) = scheme {
            if !is_scheme(scheme) {
                return false;
            }
            let end = authority.find(['/', '?', '#']);
            authority = &authority[..end.unwrap_or(authority.len())];
        }
        let Some((host, port)) = split_port(authority) else {
            return false;
        };
        let scheme = scheme.map(str::to_ascii_lowercase);
        let port = port.or_else(|| scheme.as_deref().and_then(implied_port));
        let is_scheme_allowed = self.scheme.is_none() || self.scheme == scheme;
        let is_port_allowed = match (&self.scheme, self.port) {
            (None, None) => true,
            _ => self.port == port,
        };
        is_scheme_allowed
            && is_port_allowed
            && matches(self.host.as_bytes(), host.to_ascii_lowercase().as_bytes())
    }

    /// Whether this is the bare `*`, which allows clients without an `Origin` as well.
    #[must_use]
    pub fn is_everyone(&self) -> bool {
        self.scheme.is_none() && self.port.is_none() && self.host == "*"
    }
}

impl Text for OriginPattern {
    fn parse(entry: &str) -> Result<Self, String> {
        let error = |reason| Err(format!("is {entry:?}, which is no origin: {reason}"));
        let (scheme, authority) = split_scheme(entry);
        if scheme.is_some_and(|scheme| !is_scheme(scheme)) {
            return error("its scheme must be letters and digits, as in \"https://\"");
        }
        if authority.contains(['/', '?', '#']) {
            return error("an origin has no path: leave out everything after the host and port");
        }
        let Some((host, port)) = split_port(authority) else {
            return error("its port must be a number up to 65535");
        };
        if !is_host(host) {
            return error(
                "its host must be an ASCII name or address, with \"*\" for any characters",
            );
        }
        let scheme = scheme.map(str::to_ascii_lowercase);
        // A page's origin leaves out the port that its scheme implies.
        let port = port.or_else(|| scheme.as_deref().and_then(implied_port));
        Ok(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        self.to_string().into()
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        if let Some(scheme) = scheme {
            write!(f, "{scheme}://")?;
        }
        f.write_str(host)?;
        let implied = scheme.as_deref().and_then(implied_port);
        match port.filter(|port| implied != Some(*port)) {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn split_scheme(origin: &str) -> (Option<&str>, &str) {
    match origin.split_once("://") {
        Some((scheme, authority)) => (Some(scheme), authority),
        None => (None, origin),
    }
}

/// Host and port; `None` for a port that is none. An IPv6 address stands in brackets, so that its colons are not a port's.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let bracket = authority.find(']').map_or(0, |at| at + 1);
    match authority[bracket..].find(':') {
        None => Some((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(bracket + colon);
            let digits = &port[1..];
            // `parse` alone would take a sign.
            let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
            let port = digits.parse().ok().filter(|_| is_number)?;
            Some((host, Some(port)))
        }
    }
}

fn implied_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

fn is_scheme(scheme: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    !scheme.is_empty() && scheme.chars().all(allowed)
}

fn is_host(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
            !host.is_empty() && host.chars().all(allowed)
        }
    }
}

/// Whether `text` is `pattern`, whose `*` stand for any bytes. Takes at most pattern × text steps.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on if the text after the last star must start later: after the star, and from where in the text.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), retry) {
            (Some(b'*'), _) => {
                p += 1;
                retry = Some((p, t));
            }
            (Some(expected), _) if *expected == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((after_star, from))) => {
                p = after_star;
                t = from + 1;
                retry = Some((after_star, t));
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_allows_its_origins_and_no_others() {
        let table: [(&str, &[&str], &[&str]); 18] = [
            (
                "example.com",
                &[
                    "https://example.com",
                    "http://EXAMPLE.com:8080",
                    "example.com",
                ],
                &[
                    "https://www.example.com",
                    "https://example.com.evil.test",
                    "null",
                    "",
                    "https://",
                ],
            ),
            (
                "*.example.com",
                &["https://a.example.com", "http://a.b.example.com:81"],
                &[
                    "https://example.com",
                    "https://a.example.com.evil.test",
                    "https://aexample.com",
                ],
            ),
            (
                "*",
                &["https://anything.test", "null", "http://[::1]:3000"],
                &["http://a:b", "http://a:+1"],
            ),
            (
                "app-*.test",
                &["http://app-1.test", "http://app-.test"],
                &["http://app.test"],
            ),
            (
                "*a*b*",
                &["http://ab", "http://xaxbx", "http://aab"],
                &["http://ba", "http://a"],
            ),
            (
                "localhost:3000",
                &["http://localhost:3000"],
                &["http://localhost", "http://localhost:3001"],
            ),
            (
                "example.com:443",
                &["https://example.com", "https://example.com:443"],
                &["http://example.com", "https://example.com:8443"],
            ),
            (
                "https://example.com",
                &[
                    "https://example.com",
                    "HTTPS://Example.Com",
                    "https://example.com:443",
                ],
                &[
                    "http://example.com",
                    "https://example.com:8443",
                    "example.com",
                    "https://a.example.com",
                ],
            ),
            (
                "HTTPS://Example.com:8443",
                &["https://example.com:8443"],
                &["https://example.com", "http://example.com:8443"],
            ),
            (
                "https://*.example.com",
                &["https://a.example.com"],
                &[
                    "http://a.example.com",
                    "https://a.example.com:8443",
                    "https://example.com",
                ],
            ),
            (
                "http://example.com:80",
                &["http://example.com"],
                &["https://example.com"],
            ),
            (
                "capacitor://localhost",
                &["capacitor://localhost"],
                &["http://localhost", "capacitor://localhost:1"],
            ),
            (
                "[::1]",
                &["http://[::1]:3000", "http://[::1]"],
                &["http://[::2]"],
            ),
            (
                "http://[::1]:3000",
                &["http://[::1]:3000"],
                &["http://[::1]"],
            ),
            ("null", &["null"], &["https://example.com"]),
            (
                "localhost",
                &[
                    "http://localhost/",
                    "http://localhost:3000/a?b#c",
                    "http://localhost?a",
                ],
                &[
                    "evil.example/http://localhost",
                    "evil.example/http://localhost/",
                    "http://evil.example/http://localhost",
                    "http://evil.example/localhost",
                    "http://evil.example?://localhost",
                    "http://evil.example#localhost",
                    "http://localhost.evil.example/",
                    "http://localhost@evil.example/",
                    "http:///localhost",
                    "http://",
                    "://localhost",
                    "localhost/",
                ],
            ),
            (
                "*.example.com",
                &["https://a.example.com/"],
                &[
                    "https://evil.example/.example.com",
                    "https://evil.example?.example.com",
                ],
            ),
            (
                "https://example.com",
                &["https://example.com/"],
                &["http://example.com/", "https://example.com:8443/"],
            ),
        ];
        for (entry, allowed, refused) in table {
            let pattern = OriginPattern::parse(entry).expect(entry);
            for origin in allowed {
                assert!(pattern.allows(origin), "{entry} should allow {origin}");
            }
            for origin in refused {
                assert!(!pattern.allows(origin), "{entry} should refuse {origin}");
            }
        }
    }

    #[test]
    fn a_malformed_entry_is_refused_with_a_reason() {
        let table = [
            ("", "host must be"),
            ("https://", "host must be"),
            ("exa mple.com", "host must be"),
            ("bücher.example", "host must be"),
            ("[nonsense]", "host must be"),
            ("a@example.com", "host must be"),
            ("https://example.com/", "no path"),
            ("example.com/path", "no path"),
            ("example.com?x", "no path"),
            ("://example.com", "scheme must be"),
            ("ht tp://example.com", "scheme must be"),
            ("example.com:", "port must be"),
            ("example.com:http", "port must be"),
            ("example.com:+80", "port must be"),
            ("example.com:70000", "port must be"),
            ("::1", "port must be"),
            ("[::1", "port must be"),
        ];
        for (entry, reason) in table {
            let error = OriginPattern::parse(entry).expect_err(entry);
            assert!(error.contains(reason), "{entry:?}: {error}");
            assert!(error.contains(&format!("{entry:?}")), "{entry:?}: {error}");
        }
    }

    #[test]
    fn a_hostile_origin_is_matched_in_bounded_time() {
        let pattern = OriginPattern::parse(&"*a".repeat(50)).expect("letters and stars");
        let origin = format!("http://{}b", "a".repeat(50_000));
        assert!(!pattern.allows(&origin));
    }

    #[test]
    fn only_the_bare_star_is_everyone() {
        for (entry, expected) in [
            ("*", true),
            ("*.*", false),
            ("https://*", false),
            ("*:80", false),
            ("a", false),
        ] {
            assert_eq!(
                OriginPattern::parse(entry).expect(entry).is_everyone(),
                expected,
                "{entry}"
            );
        }
    }
}
