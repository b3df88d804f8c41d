//! §5: events that clients trigger: who may, how often, and what the others receive.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    app::App,
    client::{Message, TestClient},
    server::TestServer,
    setup::Setup,
};

const ROOM: &str = "private-room";

fn enabled() -> TestServer {
    TestServer::start(Setup::new().usual_with("client_events", true))
}

#[track_caller]
fn pair(server: &TestServer, channel: &str) -> (TestClient, TestClient) {
    let (mut sender, mut other) = (server.client(), server.client());
    for client in [&mut sender, &mut other] {
        client.subscribe(channel);
    }
    (sender, other)
}

/// What `other` receives when `message` is sent.
#[track_caller]
fn relayed(sender: &mut TestClient, other: &mut TestClient, message: &Value) -> Message {
    sender.send(message);
    other.next()
}

#[test]
fn an_event_reaches_the_others_and_is_not_acknowledged() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    let mut third = server.client();
    third.subscribe(ROOM);
    sender.trigger(ROOM, "client-typing", &json!({"x": 1}));
    for client in [&mut other, &mut third] {
        let message = client.expect_on(ROOM, "client-typing");
        assert_eq!(message.keys(), ["channel", "data", "event"]);
        assert_eq!(message.decoded(), json!({"x": 1}));
    }
    sender.expect_silence();
    sender.expect_nothing_before_marker(&server.api(), ROOM);
}

#[test]
fn without_the_apps_leave_it_is_refused() {
    let server = TestServer::usual();
    let (mut sender, mut other) = pair(&server, ROOM);
    sender.trigger(ROOM, "client-typing", &json!({}));
    sender.expect_error(Some(4301));
    other.expect_nothing_before_marker(&server.api(), ROOM);
}

#[test]
fn a_name_of_200_characters_is_taken_and_one_more_is_refused() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    let longest = "client-".to_owned() + &"x".repeat(193);
    sender.trigger(ROOM, &(longest.clone() + "x"), &json!({}));
    sender.expect_error(Some(4301));
    sender.trigger(ROOM, &longest, &json!({}));
    other.expect_on(ROOM, &longest);
}

#[test]
fn only_private_and_presence_channels_carry_client_events() {
    let server = enabled();
    let (mut sender, mut other) = (server.client(), server.client());
    let closed = [
        "news",
        "cache-news",
        "private-encrypted-room",
        "private-encrypted-cache-room",
    ];
    for channel in closed {
        for client in [&mut sender, &mut other] {
            client.subscribe(channel);
            if channel.contains("cache-") {
                client.expect("pusher:cache_miss");
            }
        }
        sender.trigger(channel, "client-typing", &json!({}));
        sender.expect_error(Some(4301));
        other.expect_nothing_before_marker(&server.api(), channel);
        sender.expect_on(channel, "marker");
    }
    sender.trigger("#server-to-user-7", "client-typing", &json!({}));
    sender.expect_error(Some(4301));
}

#[test]
fn a_name_that_only_looks_encrypted_is_an_ordinary_private_channel() {
    let server = enabled();
    for channel in ["private-encrypted", "private-encryptedroom"] {
        let (mut sender, mut other) = pair(&server, channel);
        sender.trigger(channel, "client-typing", &json!({}));
        other.expect_on(channel, "client-typing");
    }
}

#[test]
fn who_is_not_subscribed_may_not_trigger() {
    let server = enabled();
    let (mut left, mut other) = pair(&server, ROOM);
    left.unsubscribe(ROOM);
    let mut stranger = server.client();
    for client in [&mut left, &mut stranger] {
        client.trigger(ROOM, "client-typing", &json!({}));
        client.expect_error(Some(4301));
    }
    other.expect_nothing_before_marker(&server.api(), ROOM);
}

#[test]
fn an_event_without_a_usable_channel_is_refused() {
    let server = enabled();
    let mut sender = server.client();
    let wrong = [
        json!({"event": "client-typing", "data": {}}),
        json!({"event": "client-typing", "data": {}, "channel": null}),
        json!({"event": "client-typing", "data": {}, "channel": 7}),
        json!({"event": "client-typing", "data": {}, "channel": ""}),
        json!({"event": "client-typing", "data": {}, "channel": "private-a b"}),
    ];
    for message in wrong {
        sender.send(&message);
        sender.expect("pusher:error");
        sender.expect_silence();
    }
}

#[test]
fn data_of_10240_bytes_is_taken_and_one_more_is_refused() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    sender.trigger(ROOM, "client-a", &json!("x".repeat(10_241)));
    sender.expect_error(Some(4301));
    // An object counts as the JSON that it becomes.
    sender.trigger(ROOM, "client-b", &json!({"x": "y".repeat(10_240)}));
    sender.expect_error(Some(4301));
    sender.trigger(ROOM, "client-c", &json!("é".repeat(5_121)));
    sender.expect_error(Some(4301));
    for data in ["x".repeat(10_240), "é".repeat(5_120)] {
        sender.trigger(ROOM, "client-d", &json!(data));
        assert_eq!(other.expect_on(ROOM, "client-d").data(), data);
    }
}

#[test]
fn the_eleventh_event_within_a_second_is_refused_and_later_ones_work_again() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    for number in 0..12 {
        sender.trigger(ROOM, &format!("client-{number}"), &json!({}));
    }
    sender.expect_error(Some(4301));
    sender.expect_error(Some(4301));
    for number in 0..10 {
        other.expect_on(ROOM, &format!("client-{number}"));
    }
    other.expect_nothing_before_marker(&server.api(), ROOM);
    sender.expect_on(ROOM, "marker");
    sender.expect_quiet_for(Duration::from_millis(1100));
    sender.trigger(ROOM, "client-later", &json!({}));
    other.expect_on(ROOM, "client-later");
}

#[test]
fn the_rate_is_counted_per_connection_and_not_per_channel() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    sender.subscribe("private-second");
    for number in 0..11 {
        let channel = if number % 2 == 0 {
            ROOM
        } else {
            "private-second"
        };
        sender.trigger(channel, "client-many", &json!({}));
    }
    sender.expect_error(Some(4301));
    other.trigger(ROOM, "client-own-budget", &json!({}));
    sender.expect_on(ROOM, "client-own-budget");
}

#[test]
fn the_rate_is_the_apps_own() {
    let app = App::usual()
        .set("client_events", true)
        .set("max_client_events_per_second", 2);
    let server = TestServer::start(Setup::new().app(app));
    let (mut sender, mut other) = pair(&server, ROOM);
    for number in 0..3 {
        sender.trigger(ROOM, &format!("client-{number}"), &json!({}));
    }
    sender.expect_error(Some(4301));
    other.expect_on(ROOM, "client-0");
    other.expect_on(ROOM, "client-1");
    other.expect_nothing_before_marker(&server.api(), ROOM);
}

#[test]
fn extra_members_and_a_forged_user_id_are_dropped() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    let forged = json!({
        "event": "client-typing", "channel": ROOM, "data": {"x": 1},
        "user_id": "admin", "extra": true, "socket_id": "1.1", "time": 7,
    });
    let message = relayed(&mut sender, &mut other, &forged);
    assert_eq!(
        message.keys(),
        ["channel", "data", "event"],
        "{}",
        message.text
    );
}

#[test]
fn a_presence_channel_adds_the_senders_verified_user_id() {
    let server = enabled();
    let (mut sender, mut other) = (server.client(), server.client());
    sender.join_with("presence-room", r#"{"user_id":7}"#);
    other.join("presence-room", "8");
    sender.expect("pusher_internal:member_added");
    let forged =
        json!({"event": "client-typing", "channel": "presence-room", "data": {}, "user_id": "8"});
    let message = relayed(&mut sender, &mut other, &forged);
    assert_eq!(message.keys(), ["channel", "data", "event", "user_id"]);
    assert_eq!(
        message.json["user_id"],
        json!("7"),
        "a string, and the sender's"
    );
}

#[test]
fn data_goes_out_as_a_string() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    for data in [
        json!({"a": [1, null, "é"]}),
        json!([]),
        json!(7),
        json!(true),
    ] {
        let message = json!({"event": "client-typing", "channel": ROOM, "data": data});
        assert_eq!(relayed(&mut sender, &mut other, &message).decoded(), data);
    }
}

#[test]
fn numbers_in_data_keep_their_digits() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    let text = format!(
        r#"{{"event":"client-n","channel":"{ROOM}","data":{{"n":[9007199254740993,1.10,1e2]}}}}"#
    );
    sender.socket.send_text(&text);
    assert_eq!(
        other.expect_on(ROOM, "client-n").data(),
        r#"{"n":[9007199254740993,1.10,1e2]}"#
    );
}

#[test]
fn a_string_passes_as_it_is() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    for data in [
        "",
        "plain",
        r#"{"already":"json"}"#,
        "é😀\u{0}\n\"\\",
        "\u{2028}",
    ] {
        sender.trigger(ROOM, "client-text", &json!(data));
        assert_eq!(other.expect_on(ROOM, "client-text").data(), data);
    }
}

/// #13 row 11: Java's `PusherEvent.getData` (`src/main/java/com/pusher/client/channel/PusherEvent.java`) fails on an event without `data`.
#[test]
fn absent_data_is_null_as_null_is() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    let absent = json!({"event": "client-typing", "channel": ROOM});
    let null = json!({"event": "client-typing", "channel": ROOM, "data": null});
    for message in [absent, null] {
        let relayed = relayed(&mut sender, &mut other, &message);
        assert_eq!(
            relayed.text,
            format!(r#"{{"event":"client-typing","channel":"{ROOM}","data":null}}"#)
        );
    }
}

#[test]
fn a_hard_event_name_keeps_its_characters() {
    let server = enabled();
    let (mut sender, mut other) = pair(&server, ROOM);
    for event in ["client-é😀", "client-a\"b\\c", "client-\u{1}\n", "client- "] {
        sender.trigger(ROOM, event, &json!({}));
        other.expect_on(ROOM, event);
    }
}

#[test]
fn the_order_of_one_senders_events_is_kept() {
    let app = App::usual()
        .set("client_events", true)
        .set("max_client_events_per_second", 10_000);
    let server = TestServer::start(Setup::new().app(app));
    let (mut sender, mut other) = pair(&server, ROOM);
    for number in 0..2_000 {
        sender.trigger(ROOM, "client-n", &json!(number));
    }
    for number in 0..2_000 {
        assert_eq!(other.expect_on(ROOM, "client-n").data(), number.to_string());
    }
}

#[test]
fn events_do_not_cross_apps() {
    let on = |id: &str| App::new(id, id).set("client_events", true);
    let server = TestServer::start(Setup::new().app(on("1")).app(on("2")));
    let mut sender = server.client_of(&server.apps[0]);
    let mut stranger = server.client_of(&server.apps[1]);
    sender.subscribe(ROOM);
    stranger.subscribe(ROOM);
    sender.trigger(ROOM, "client-typing", &json!({}));
    sender.expect_silence();
    stranger.expect_nothing_before_marker(&server.api_of(&server.apps[1]), ROOM);
}
