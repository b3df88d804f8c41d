//! `Sec-WebSocket-Protocol: pusher-channels-protocol-7`: PusherSwift (`Sources/PusherSwift.swift`) and others name the protocol's version there
//! too, and most WebSocket libraries fail a handshake that selects none of their offers.

use actix_http::header::{self, HeaderMap};

use crate::connection::PROTOCOLS;

/// What the name of a version begins with.
pub(super) const PREFIX: &str = "pusher-channels-protocol-";

/// The version to select of those that the client offers: the one that its query asks for, else the first that this server speaks.
pub(super) fn select<'a>(headers: &'a HeaderMap, asked: Option<&str>) -> Option<&'a str> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offers = offers.filter_map(|value| value.to_str().ok());
    let mut versions = offers
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().strip_prefix(PREFIX))
        .filter(|version| version.parse().is_ok_and(|n| PROTOCOLS.contains(&n)));
    let first = versions.next()?;
    if asked == Some(first) {
        return Some(first);
    }
    versions
        .find(|version| asked == Some(version))
        .or(Some(first))
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    #[test]
    fn the_offer_that_the_query_asks_for_or_else_the_first_that_is_spoken_is_selected() {
        for (offers, asked, expected) in [
            (&["pusher-channels-protocol-7"][..], None, Some("7")),
            (&["pusher-channels-protocol-5"], Some("7"), Some("5")),
            (
                &["pusher-channels-protocol-6, pusher-channels-protocol-7"],
                None,
                Some("6"),
            ),
            (
                &["pusher-channels-protocol-6,pusher-channels-protocol-7"],
                Some("7"),
                Some("7"),
            ),
            (
                &["pusher-channels-protocol-8", "pusher-channels-protocol-7"],
                None,
                Some("7"),
            ),
            (&["graphql-ws, pusher-channels-protocol-5"], None, Some("5")),
            (&["pusher-channels-protocol-4"], None, None),
            (
                &["pusher-channels-protocol-x", "Pusher-Channels-Protocol-7"],
                None,
                None,
            ),
            (&["pusher"], Some("7"), None),
            (&[], Some("7"), None),
        ] {
            let mut headers = HeaderMap::new();
            for offer in offers {
                let value = HeaderValue::from_static(offer);
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, value);
            }
            assert_eq!(select(&headers, asked), expected, "{offers:?} {asked:?}");
        }
    }
}
