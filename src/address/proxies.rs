//! Who is at the other end, when there are proxies in between.

use std::net::{IpAddr, SocketAddr};

use actix_http::header::{self, HeaderMap, HeaderName};
use ipnet::IpNet;

use super::{ClientAddress, Peer};

/// The proxies that are believed when they say for whom they speak.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Those of these networks.
    #[must_use]
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self(trusted)
    }

    /// Whether the other end is one of them.
    pub(super) fn are_trusted_at(&self, peer: Peer) -> bool {
        peer.ip().is_none_or(|ip| self.have(ip))
    }

    fn have(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// The last address on the way from the client that no trusted proxy has. Entries to its left are client-controlled. A client
    /// can send the header that its proxy does not write, too: where both are there and disagree, neither is believed. `None`: the
    /// connection came over a Unix socket, and no header names an address.
    pub(super) fn client_of(&self, peer: Peer, headers: &HeaderMap) -> Option<ClientAddress> {
        let itself = peer.address().map(ClientAddress::from);
        if !self.are_trusted_at(peer) {
            return itself;
        }
        let told = [
            self.last_untrusted(hops(headers, &header::X_FORWARDED_FOR, |hop| Some(hop))),
            self.last_untrusted(hops(headers, &header::FORWARDED, for_of)),
        ];
        match told {
            [Some(first), Some(second)] if first.ip != second.ip => itself,
            [first, second] => first.or(second).or(itself),
        }
    }

    /// Whether the client's side of the connection is encrypted, which only a trusted proxy can know: it says so in the first entry of
    /// `X-Forwarded-Proto`.
    pub(super) fn is_secure(&self, peer: Peer, headers: &HeaderMap) -> bool {
        let told = headers.get(&header::X_FORWARDED_PROTO);
        let told = told.and_then(|schemes| schemes.to_str().ok());
        let scheme = told.and_then(|schemes| schemes.split(',').next());
        let is_secure = |scheme: &str| {
            let scheme = scheme.trim();
            scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss")
        };
        self.are_trusted_at(peer) && scheme.is_some_and(is_secure)
    }

    /// `None` without a hop that says an address.
    fn last_untrusted(&self, hops: Vec<Option<ClientAddress>>) -> Option<ClientAddress> {
        let mut found = None;
        for hop in hops.into_iter().rev() {
            found = Some(hop?);
            if !hop.is_some_and(|hop| self.have(hop.ip)) {
                break;
            }
        }
        found
    }
}

/// What a header's list says, in order; `None` for what is no address.
fn hops(
    headers: &HeaderMap,
    name: &HeaderName,
    node: fn(&str) -> Option<&str>,
) -> Vec<Option<ClientAddress>> {
    let lines = headers.get_all(name);
    let lines = lines.map(|line| line.to_str().unwrap_or("unknown"));
    let hops = lines.flat_map(|line| line.split(','));
    hops.map(|hop| node(hop).and_then(parse)).collect()
}

/// The `for` of an element of `Forwarded` (RFC 7239).
fn for_of(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    Some(value.trim().trim_matches('"'))
}

/// An address, perhaps with a port; IPv6 perhaps in brackets.
fn parse(node: &str) -> Option<ClientAddress> {
    let node = node.trim();
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some(address.into());
    }
    let bare = node.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let ip: IpAddr = bare.unwrap_or(node).parse().ok()?;
    Some(ClientAddress {
        ip: ip.to_canonical(),
        port: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whom the server sees when `peer` sends these headers; trusted are 10.0.0.0/8 and fd00::/8.
    fn client(peer: &str, headers: &[(&str, &str)]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect(net));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).expect(name),
                value.parse().expect(value),
            );
        }
        let peer = match peer {
            "unix" => Peer::Local,
            peer => Peer::At(format!("{peer}:80").parse().expect(peer)),
        };
        let client = Proxies::new(trusted.to_vec()).client_of(peer, &map);
        client.map_or("nobody".to_owned(), |client| client.to_string())
    }

    #[test]
    fn the_last_untrusted_hop_is_the_client() {
        for (headers, expected) in [
            (&[][..], "10.0.0.1:80"),
            (&[("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
            (&[("x-forwarded-for", "6.6.6.6, 192.0.2.1")], "192.0.2.1"),
            (
                &[("x-forwarded-for", "6.6.6.6,192.0.2.1 , 10.9.9.9")],
                "192.0.2.1",
            ),
            (
                &[
                    ("x-forwarded-for", "6.6.6.6"),
                    ("x-forwarded-for", "192.0.2.1"),
                ],
                "192.0.2.1",
            ),
            (&[("x-forwarded-for", "10.2.2.2, 10.9.9.9")], "10.2.2.2"),
            (&[("x-forwarded-for", "192.0.2.1:4711")], "192.0.2.1:4711"),
            (&[("x-forwarded-for", "2001:db8::1")], "2001:db8::1"),
            (&[("x-forwarded-for", "[2001:db8::1]")], "2001:db8::1"),
            (&[("x-forwarded-for", "[2001:db8::1]:7")], "[2001:db8::1]:7"),
            (&[("x-forwarded-for", "192.0.2.1, fd00::7")], "192.0.2.1"),
            (&[("x-forwarded-for", "::ffff:192.0.2.1")], "192.0.2.1"),
            (
                &[("forwarded", "for=6.6.6.6, For=192.0.2.1;proto=https")],
                "192.0.2.1",
            ),
            (
                &[("forwarded", "by=x;for=\"[2001:db8::1]:4711\"")],
                "[2001:db8::1]:4711",
            ),
        ] {
            assert_eq!(client("10.0.0.1", headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_is_not_known_for_sure_is_the_proxy() {
        for headers in [
            &[("x-forwarded-for", "")][..],
            &[("x-forwarded-for", "nonsense")],
            &[("x-forwarded-for", "192.0.2.1, unknown")],
            &[("x-forwarded-for", "192.0.2.1,")],
            &[("forwarded", "for=_hidden")],
            &[("forwarded", "proto=https")],
            &[
                ("x-forwarded-for", "192.0.2.1"),
                ("forwarded", "for=6.6.6.6"),
            ],
        ] {
            assert_eq!(client("10.0.0.1", headers), "10.0.0.1:80", "{headers:?}");
        }
        let agreeing = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=\"192.0.2.1:5\""),
        ];
        assert_eq!(client("10.0.0.1", &agreeing), "192.0.2.1");
    }

    #[test]
    fn a_trusted_proxy_says_what_the_client_speaks() {
        let trusted = Proxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        let is_secure = |peer: &str, schemes: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::X_FORWARDED_PROTO, schemes.parse().expect(schemes));
            let peer = peer.parse().map_or(Peer::Local, Peer::At);
            trusted.is_secure(peer, &headers)
        };
        for schemes in ["https", "HTTPS", " wss", "https,http", "wss , ws"] {
            assert!(is_secure("10.0.0.1:80", schemes), "{schemes}");
            assert!(is_secure("unix", schemes), "{schemes}");
            assert!(!is_secure("192.0.2.1:80", schemes), "{schemes}");
        }
        for schemes in ["", "http", "http,https", "ws", "httpsx"] {
            assert!(!is_secure("10.0.0.1:80", schemes), "{schemes}");
            assert!(!is_secure("unix", schemes), "{schemes}");
        }
    }

    #[test]
    fn a_unix_socket_has_no_address_but_that_of_the_headers() {
        assert_eq!(client("unix", &[]), "nobody");
        for (header, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1, 10.9.9.9", "192.0.2.1"),
            ("10.2.2.2", "10.2.2.2"),
            ("unknown", "nobody"),
        ] {
            let headers = [("x-forwarded-for", header)];
            assert_eq!(client("unix", &headers), expected, "{header}");
        }
    }

    #[test]
    fn who_is_not_trusted_is_not_believed() {
        let headers = [("x-forwarded-for", "192.0.2.1")];
        assert_eq!(client("192.0.2.66", &headers), "192.0.2.66:80");
        assert_eq!(client("[2001:db8::66]", &headers), "[2001:db8::66]:80");
        assert_eq!(client("[::ffff:10.0.0.1]", &headers), "192.0.2.1");
    }
}
