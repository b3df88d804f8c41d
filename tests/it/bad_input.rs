//! §2.7: every row of the table of bad input, and that the connection outlives it where it should.

use std::slice;

use serde_json::{Value, json};

use crate::support::{
    api::encode,
    app::App,
    client::TestClient,
    server::TestServer,
    setup::Setup,
    websocket::{BINARY, Frame},
};

/// Sends each text as a message; each must be answered by `pusher:error` with the code `null`, and nothing else.
#[track_caller]
fn each_is_an_error_with_the_code_null(texts: &[&str]) {
    let server = TestServer::usual();
    let mut client = server.client();
    for text in texts {
        client.socket.send_text(text);
        client.expect_error(None);
        client.expect_silence();
    }
}

#[test]
fn what_is_not_json_is_an_error_with_the_code_null() {
    each_is_an_error_with_the_code_null(&[
        "",
        " ",
        "hello",
        "{",
        "{\"event\":\"pusher:ping\"",
        "{\"event\":\"pusher:ping\"}}",
        "{'event':'pusher:ping'}",
        "{\"event\":\"pusher:ping\",}",
        "\u{feff}{\"event\":\"pusher:ping\"}",
        "{\"event\":\"pusher:ping\",\"data\":\u{0}}",
    ]);
}

#[test]
fn what_is_not_an_object_is_an_error_with_the_code_null() {
    each_is_an_error_with_the_code_null(&[
        "[]",
        "[{\"event\":\"pusher:ping\"}]",
        "\"pusher:ping\"",
        "7",
        "null",
        "true",
    ]);
}

#[test]
fn a_missing_event_or_one_that_is_no_string_is_an_error_with_the_code_null() {
    each_is_an_error_with_the_code_null(&[
        "{}",
        "{\"data\":{}}",
        "{\"Event\":\"pusher:ping\"}",
        "{\"event\":null}",
        "{\"event\":7}",
        "{\"event\":{\"name\":\"pusher:ping\"}}",
        "{\"event\":[\"pusher:ping\"]}",
    ]);
}

#[test]
fn deeply_nested_json_is_answered_and_survived() {
    let server = TestServer::usual();
    let mut client = server.client();
    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    client.socket.send_text(&deep);
    client.expect_error(None);
    client
        .socket
        .send_text(&format!(r#"{{"event":"pusher:ping","data":{deep}}}"#));
    let answer = client.next();
    assert!(
        ["pusher:error", "pusher:pong"].contains(&answer.event()),
        "{}",
        answer.text
    );
    client.expect_silence();
}

#[test]
fn a_binary_frame_is_closed_with_1003() {
    let server = TestServer::usual();
    for payload in [
        &b""[..],
        b"\x00\xff",
        br#"{"event":"pusher:ping","data":{}}"#,
    ] {
        let mut socket = server.socket();
        socket.send(&Frame::new(BINARY, payload));
        socket.expect_close(1003);
    }
}

#[test]
fn an_oversized_message_is_closed_with_1009() {
    let server = TestServer::start(Setup::new().set("websocket.max_message_bytes", 1000));
    let mut socket = server.socket();
    socket.send_text(&"x".repeat(1001));
    socket.expect_close(1009);
}

#[test]
fn an_unknown_pusher_event_is_ignored() {
    let server = TestServer::usual();
    let mut client = server.client();
    for event in [
        "pusher:unknown",
        "pusher:",
        "pusher:SUBSCRIBE",
        "pusher:connection_established",
        "pusher:error",
    ] {
        client.send(&json!({"event": event, "data": {"channel": "news"}}));
    }
    client.expect_silence();
}

#[test]
fn an_event_of_no_known_kind_is_refused_with_4301_and_never_relayed() {
    let server = TestServer::start(Setup::new().usual_with("client_events", true));
    let (mut sender, mut other) = (server.client(), server.client());
    for client in [&mut sender, &mut other] {
        client.subscribe("private-room");
    }
    for event in [
        "order.created",
        "Client-typing",
        " client-typing",
        "pusher_internal:member_added",
        "",
        "client",
    ] {
        sender.trigger("private-room", event, &json!({"x": 1}));
        sender.expect_error(Some(4301));
    }
    sender.expect_silence();
    other.expect_nothing_before_marker(&server.api(), "private-room");
}

#[test]
fn a_subscribe_without_a_string_channel_is_an_error() {
    let server = TestServer::usual();
    let mut client = server.client();
    let wrong = [
        json!({"event": "pusher:subscribe"}),
        json!({"event": "pusher:subscribe", "data": null}),
        json!({"event": "pusher:subscribe", "data": {}}),
        json!({"event": "pusher:subscribe", "data": "news"}),
        json!({"event": "pusher:subscribe", "data": []}),
        json!({"event": "pusher:subscribe", "data": {"channel": null}}),
        json!({"event": "pusher:subscribe", "data": {"channel": 7}}),
        json!({"event": "pusher:subscribe", "data": {"channel": ["news"]}}),
        json!({"event": "pusher:subscribe", "channel": "news"}),
    ];
    for message in wrong {
        client.send(&message);
        let error = client.expect("pusher:error");
        assert!(error.json["data"]["message"].is_string(), "{}", error.text);
        client.expect_silence();
    }
}

#[test]
fn the_data_of_a_subscribe_may_be_a_json_string() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.send(
        &json!({"event": "pusher:subscribe", "data": "{\"channel\":\"news\",\"auth\":\"\"}"}),
    );
    client.expect_on("news", "pusher_internal:subscription_succeeded");
    client.send(&json!({"event": "pusher:unsubscribe", "data": "{\"channel\":\"news\"}"}));
    client.expect_silence();
    let channels = server.api().get("/channels", &[]);
    channels.is(&json!({"channels": {}}));
}

#[test]
fn an_illegal_or_too_long_channel_name_is_refused_with_400() {
    let server = TestServer::usual();
    let mut client = server.client();
    for channel in [
        "",
        "a b",
        "a:b",
        "a/b",
        "ä",
        "private-a b",
        "presence-a/b",
        "#news",
        "a#b",
    ] {
        refused_name(&mut client, channel);
    }
    refused_name(&mut client, &"x".repeat(201));
}

#[track_caller]
fn refused_name(client: &mut TestClient, channel: &str) {
    client.ask(channel);
    let refused = client.expect_on(channel, "pusher:subscription_error");
    let data = refused.decoded();
    assert_eq!(
        (&data["type"], &data["status"]),
        (&json!("InvalidChannel"), &json!(400)),
        "{data}"
    );
    client.expect_error(None);
}

#[test]
fn a_private_or_presence_subscription_without_auth_is_an_invalid_signature() {
    let server = TestServer::usual();
    let mut client = server.client();
    let user = r#"{"user_id":"7"}"#;
    let wrong = [
        json!({"channel": "private-room"}),
        json!({"channel": "private-room", "auth": ""}),
        json!({"channel": "private-room", "auth": null}),
        json!({"channel": "private-encrypted-room"}),
        json!({"channel": "presence-room", "channel_data": user}),
        json!({"channel": "presence-room", "channel_data": user, "auth": ""}),
    ];
    for data in wrong {
        let channel = data["channel"].as_str().unwrap();
        client.send(&json!({"event": "pusher:subscribe", "data": data}));
        assert_eq!(
            client.expect_refusal(channel),
            ("AuthError".to_owned(), 401)
        );
        client.expect_silence();
    }
}

/// #13 row 2.
#[test]
fn a_second_subscribe_is_an_error_and_changes_nothing() {
    let server = TestServer::usual();
    let (mut client, api) = (server.client(), server.api());
    let mut watcher = server.client();
    watcher.join("presence-room", "8");
    client.sign_in("7");
    api.publish("cache-full", "kept", "");
    for channel in [
        "news",
        "private-room",
        "private-encrypted-room",
        "cache-empty",
        "cache-full",
        "#server-to-user-7",
        "presence-room",
    ] {
        let ask = |client: &mut TestClient| match channel {
            "presence-room" => client.ask_with(channel, r#"{"user_id":"7"}"#),
            _ => client.ask(channel),
        };
        ask(&mut client);
        client.expect_on(channel, "pusher_internal:subscription_succeeded");
        if channel.starts_with("cache-") {
            assert_eq!(client.next().channel(), Some(channel));
        }
        for _ in 0..2 {
            ask(&mut client);
            client.expect_existing(channel);
        }
        api.publish(channel, "once", "");
        client.expect_on(channel, "once");
        client.expect_nothing_before_marker(&api, channel);
        let info = [("info", "subscription_count")];
        let path = format!("/channels/{}", encode(channel));
        let count = api.get(&path, &info).json()["subscription_count"].clone();
        let watchers = usize::from(channel == "presence-room");
        assert_eq!(count, json!(1 + watchers), "{channel}");
    }
    watcher.expect_on("presence-room", "pusher_internal:member_added");
    watcher.expect_on("presence-room", "once");
    watcher.expect_on("presence-room", "marker");
    watcher.expect_silence();
}

/// #13 row 2: its signature is not looked at, since nothing depends on it.
#[test]
fn a_second_subscribe_with_a_wrong_signature_leaves_the_subscription_alone() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("private-room");
    let data = json!({"channel": "private-room", "auth": "key-of-1001:00"});
    client.send(&json!({"event": "pusher:subscribe", "data": data}));
    client.expect_existing("private-room");
    client.expect_nothing_before_marker(&server.api(), "private-room");
}

/// #13 row 3.
#[test]
fn unsubscribing_from_what_is_not_subscribed_is_an_error() {
    let server = TestServer::usual();
    let mut client = server.client();
    for channel in [
        "never",
        "private-never",
        "presence-never",
        "#server-to-user-7",
        "#online-37",
        "a b",
    ] {
        client.unsubscribe(channel);
        client.expect_no_subscription(channel);
    }
    client.subscribe("news");
    client.unsubscribe("news");
    client.unsubscribe("news");
    client.expect_no_subscription("news");
    let long = "x".repeat(1000);
    client.unsubscribe(&long);
    client.expect_no_subscription(&long[..200]);
    client.send(&json!({"event": "pusher:unsubscribe", "data": {}}));
    client.send(&json!({"event": "pusher:unsubscribe"}));
    stays_open(&mut client);
}

/// Whatever errors may come before, a ping is answered.
#[track_caller]
fn stays_open(client: &mut TestClient) {
    client.send(&json!({"event": "pusher:ping"}));
    loop {
        match client.next() {
            message if message.event() == "pusher:pong" => return,
            message => assert_eq!(message.event(), "pusher:error", "{}", message.text),
        }
    }
}

#[test]
fn another_users_channel_is_refused() {
    let server = TestServer::usual();
    let mut client = server.client();
    let channel = "#server-to-user-7";
    let auths = [String::new(), client.auth(channel)];
    for auth in auths {
        let data = json!({"auth": auth, "channel": channel});
        client.send(&json!({"event": "pusher:subscribe", "data": data}));
        client.expect_refusal(channel);
    }
    server.api().publish(channel, "invoice.paid", "{}");
    client.subscribe("news");
    client.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn a_failed_sign_in_leaves_the_connection_open() {
    let server = TestServer::usual();
    let mut client = server.client();
    let wrong: &[Value] = &[
        json!({"event": "pusher:signin"}),
        json!({"event": "pusher:signin", "data": {"auth": "key-of-1001:00", "user_data": "{\"id\":\"7\"}"}}),
        json!({"event": "pusher:signin", "data": {"auth": 7, "user_data": 7}}),
    ];
    for message in wrong {
        client.send(message);
        stays_open(&mut client);
    }
}

#[test]
fn bad_input_of_one_connection_is_not_felt_by_another() {
    let server = TestServer::start(Setup::new().app(App::usual()));
    let mut good = server.client();
    good.subscribe("news");
    let mut bad = server.client();
    bad.socket.send_text("nonsense");
    bad.expect_error(None);
    bad.socket.send(&Frame::new(BINARY, "x"));
    bad.socket.expect_close(1003);
    let bad = slice::from_ref(&bad.socket_id);
    assert!(!bad.contains(&good.socket_id));
    good.expect_nothing_before_marker(&server.api(), "news");
}
