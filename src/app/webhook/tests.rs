use super::*;
use crate::app::App;

fn url(text: &str) -> WebhookUrl {
    Text::parse(text).expect(text)
}

fn endpoint(kinds: &[WebhookKind], starts_with: &str, ends_with: &str) -> WebhookEndpoint {
    WebhookEndpoint {
        url: url("https://shop.test/hook"),
        event_types: if kinds.is_empty() {
            WebhookKinds::ALL
        } else {
            kinds.iter().copied().collect()
        },
        channel_starts_with: starts_with.to_owned(),
        channel_ends_with: ends_with.to_owned(),
        headers: WebhookHeaders::default(),
    }
}

#[test]
fn a_url_shows_only_its_origin() {
    for (text, uri, origin) in [
        ("http://a.test", "http://a.test/", "http://a.test"),
        (
            "HTTPS://A.test:8443/x?token=t#part",
            "https://a.test:8443/x?token=t",
            "https://a.test:8443",
        ),
        (
            "http://[::1]:81/ä",
            "http://[::1]:81/%C3%A4",
            "http://[::1]:81",
        ),
    ] {
        let url = url(text);
        assert_eq!((url.uri.to_string().as_str(), url.origin()), (uri, origin));
        assert_eq!(format!("{url:?}"), format!("{origin}/…"));
    }
}

#[test]
fn credentials_become_a_header_and_are_never_shown() {
    let url = url("https://us%40er:p%3Ass@a.test/x");
    assert_eq!(url.uri, "https://a.test/x");
    let authorization = url.authorization.as_ref().expect("there are credentials");
    // us@er:p:ss
    assert_eq!(authorization, "Basic dXNAZXI6cDpzcw==");
    let shown = format!("{url:?} {authorization:?}");
    assert!(!shown.contains("dXNA") && !shown.contains("er:"), "{shown}");
    assert_eq!(self::url("http://a.test").authorization, None);
}

#[test]
fn what_is_no_http_url_is_refused() {
    for text in [
        "",
        "a.test",
        "ftp://a.test",
        "http://",
        "http://a b",
        "/x",
        "mailto:a@b",
        "https://a.test/…",
    ] {
        assert!(<WebhookUrl as Text>::parse(text).is_err(), "{text}");
    }
}

#[test]
fn an_endpoint_takes_its_kinds_on_its_channels() {
    use WebhookKind::{ChannelOccupied, MemberAdded};
    let filtered = endpoint(&[MemberAdded], "presence-", "-eu");
    assert!(filtered.takes(MemberAdded, "presence-room-eu"));
    assert!(!filtered.takes(MemberAdded, "presence-room"));
    assert!(!filtered.takes(MemberAdded, "room-eu"));
    assert!(!filtered.takes(ChannelOccupied, "presence-room-eu"));
    let open = endpoint(&[], "", "");
    for kind in WebhookKind::ALL {
        let must_be_asked_for = WebhookKind::SESSIONS.contains(&kind);
        assert_eq!(open.takes(kind, "x"), !must_be_asked_for, "{kind:?}");
        assert!(endpoint(&[kind], "", "").takes(kind, "x"), "{kind:?}");
    }
}

#[test]
fn an_edge_concerns_whoever_takes_the_opposite_one() {
    use WebhookKind::{ChannelOccupied, ChannelVacated, ClientEvent, MemberAdded};
    let plain = App::for_test("1", "one");
    let app = App {
        webhooks: vec![endpoint(&[ChannelOccupied, ClientEvent], "a", "")],
        ..plain.clone()
    };
    assert!(app.webhooks_concern(ChannelOccupied, "a"));
    assert!(app.webhooks_concern(ChannelVacated, "a"));
    assert!(app.webhooks_concern(ClientEvent, "a"));
    assert!(!app.webhooks_concern(MemberAdded, "a"));
    assert!(!app.webhooks_concern(ChannelVacated, "b"));
    assert!(!plain.webhooks_concern(ChannelOccupied, "a"));
}

#[test]
fn names_are_those_of_the_wire() {
    for kind in WebhookKind::ALL {
        assert_eq!(<WebhookKind as Text>::parse(kind.word()), Ok(kind));
    }
    assert!(<WebhookKind as Text>::parse("channel-occupied").is_err());
}

#[test]
fn debug_output_holds_no_token() {
    let mut endpoint = endpoint(&[], "", "");
    endpoint.url = url("https://user:hidden@a.test/hidden?key=hidden");
    endpoint
        .headers
        .0
        .insert("x-token", HeaderValue::from_static("hidden"));
    assert!(!format!("{endpoint:?}").contains("hidden"), "{endpoint:?}");
}

#[test]
fn headers_of_the_protocol_and_of_framing_are_reserved() {
    for (name, reserved) in [
        ("X-Pusher-Key", true),
        ("x-pusher-anything", true),
        ("Content-Type", true),
        ("Content-Length", true),
        ("Transfer-Encoding", true),
        ("Authorization", false),
        ("Host", false),
        ("User-Agent", false),
        ("X-Pusherish", false),
    ] {
        let parsed: HeaderName = name.parse().expect(name);
        assert_eq!(is_reserved(&parsed), reserved, "{name}");
    }
}
