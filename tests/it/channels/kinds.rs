//! The eight kinds, and names that only look like one of them.

use serde_json::json;

use crate::support::{client::TestClient, server::TestServer};

const USER: &str = r#"{"user_id":"7"}"#;

/// What a name makes of a channel.
struct Kind {
    private: bool,
    presence: bool,
    cache: bool,
}

/// Subscribes as the kind demands and checks what the server makes of it.
#[track_caller]
fn is(client: &mut TestClient, channel: &str, kind: &Kind) {
    if kind.private || kind.presence {
        client
            .send(&json!({"event": "pusher:subscribe", "data": {"channel": channel, "auth": ""}}));
        assert_eq!(
            client.expect_refusal(channel),
            ("AuthError".to_owned(), 401),
            "{channel}"
        );
    }
    if kind.presence {
        client.ask_with(channel, USER);
    } else {
        let auth = if kind.private {
            client.auth(channel)
        } else {
            String::new()
        };
        client.send(
            &json!({"event": "pusher:subscribe", "data": {"channel": channel, "auth": auth}}),
        );
    }
    let succeeded = client.expect_on(channel, "pusher_internal:subscription_succeeded");
    assert_eq!(succeeded.keys(), ["channel", "data", "event"], "{channel}");
    assert_eq!(
        succeeded.decoded().get("presence").is_some(),
        kind.presence,
        "{channel}"
    );
    if !kind.presence {
        assert_eq!(succeeded.data(), "{}", "{channel}");
    }
    if kind.cache {
        let miss = client.expect_on(channel, "pusher:cache_miss");
        assert_eq!(
            miss.json,
            json!({"event": "pusher:cache_miss", "channel": channel, "data": "{}"})
        );
    }
    client.expect_silence();
}

#[test]
fn each_of_the_eight_kinds_is_what_its_prefix_says() {
    let server = TestServer::usual();
    let mut client = server.client();
    let kinds = [
        ("room", false, false, false),
        ("private-room", true, false, false),
        ("private-encrypted-room", true, false, false),
        ("presence-room", false, true, false),
        ("cache-room", false, false, true),
        ("private-cache-room", true, false, true),
        ("private-encrypted-cache-room", true, false, true),
        ("presence-cache-room", false, true, true),
    ];
    for (channel, private, presence, cache) in kinds {
        is(
            &mut client,
            channel,
            &Kind {
                private,
                presence,
                cache,
            },
        );
    }
}

#[test]
fn a_prefix_counts_only_at_the_start_with_its_hyphen_and_in_lower_case() {
    let server = TestServer::usual();
    let mut client = server.client();
    let public = [
        "my-cache-x",
        "x-private-y",
        "x-presence-y",
        "private",
        "presence",
        "cache",
        "private_x",
        "cachex",
        "Private-x",
        "PRESENCE-x",
        "Cache-x",
        "-private-x",
        "privatecache-x",
        "encrypted-x",
    ];
    for channel in public {
        is(
            &mut client,
            channel,
            &Kind {
                private: false,
                presence: false,
                cache: false,
            },
        );
    }
    let private = [
        "private-x-cache-y",
        "private-cachex",
        "private-encrypted",
        "private-presence-x",
        "private-",
    ];
    for channel in private {
        is(
            &mut client,
            channel,
            &Kind {
                private: true,
                presence: false,
                cache: false,
            },
        );
    }
    let presence = [
        "presence-private-x",
        "presence-encrypted-x",
        "presence-x-cache-",
        "presence-",
    ];
    for channel in presence {
        is(
            &mut client,
            channel,
            &Kind {
                private: false,
                presence: true,
                cache: false,
            },
        );
    }
    for channel in ["cache-private-x", "cache-presence-x", "cache-"] {
        is(
            &mut client,
            channel,
            &Kind {
                private: false,
                presence: false,
                cache: true,
            },
        );
    }
    is(
        &mut client,
        "presence-encrypted-cache-x",
        &Kind {
            private: false,
            presence: true,
            cache: false,
        },
    );
}

#[test]
fn an_encrypted_event_passes_through_untouched() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("private-encrypted-room");
    let data = r#"{"nonce":"4sVYwy4j/8dCcjyxtPCWyk19GaaViaW9","ciphertext":"/GMESnFGlbNn01BuBjp31XYa3i9vZsGKR8fgR9EDhXKx3lzGiUD501A="}"#;
    server
        .api()
        .publish("private-encrypted-room", "secret", data);
    assert_eq!(
        client.expect_on("private-encrypted-room", "secret").data(),
        data
    );
}
