//! §4.4: a presence channel joined by sign-in alone, without `channel_data`.

use serde_json::{Value, json};

use crate::support::{
    client::{Presence, TestClient},
    server::TestServer,
};

const ROOM: &str = "presence-room";

/// Asks without `channel_data`, signed with the two-part string.
fn ask(client: &mut TestClient) {
    let data = json!({"auth": client.auth(ROOM), "channel": ROOM});
    client.send(&json!({"event": "pusher:subscribe", "data": data}));
}

#[track_caller]
fn join(client: &mut TestClient) -> Presence {
    ask(client);
    Presence::of(&client.expect_on(ROOM, "pusher_internal:subscription_succeeded"))
}

#[test]
fn the_member_is_the_signed_in_user_with_his_info() {
    let server = TestServer::usual();
    let mut watcher = server.client();
    watcher.join(ROOM, "watcher");
    let mut client = server.client();
    client.sign_in_with(r#"{"id":"7","user_info":{"name":"Ann","n":1.10},"watchlist":[]}"#);
    let presence = join(&mut client);
    assert_eq!(presence.ids(), ["7", "watcher"]);
    assert_eq!(presence.hash["7"], json!({"name": "Ann", "n": 1.10}));
    let added = watcher.expect_on(ROOM, "pusher_internal:member_added");
    assert_eq!(
        added.decoded(),
        json!({"user_id": "7", "user_info": {"name": "Ann", "n": 1.10}})
    );
    client.close();
    let removed = watcher.expect_on(ROOM, "pusher_internal:member_removed");
    assert_eq!(removed.decoded(), json!({"user_id": "7"}));
}

#[test]
fn a_user_without_info_has_null() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.sign_in("7");
    assert_eq!(join(&mut client).hash["7"], Value::Null);
}

#[test]
fn who_is_not_signed_in_is_refused() {
    let server = TestServer::usual();
    let mut client = server.client();
    ask(&mut client);
    client.expect_refusal(ROOM);
    let info = [("info", "user_count")];
    let show = format!("/channels/{ROOM}");
    server
        .api()
        .get(&show, &info)
        .is(&json!({"occupied": false, "user_count": 0}));
}

#[test]
fn a_sign_in_does_not_stand_for_the_signature() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.sign_in("7");
    for auth in [String::new(), client.auth("presence-other")] {
        let data = json!({"auth": auth, "channel": ROOM});
        client.send(&json!({"event": "pusher:subscribe", "data": data}));
        assert_eq!(client.expect_refusal(ROOM), ("AuthError".to_owned(), 401));
    }
}

#[test]
fn channel_data_wins_over_the_sign_in() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.sign_in_with(r#"{"id":"7","user_info":"of 7"}"#);
    let presence = client.join(ROOM, "8");
    assert_eq!(presence.ids(), ["8"]);
    assert_eq!(presence.hash["8"], Value::Null);
}

#[test]
fn empty_channel_data_is_as_none() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.sign_in("7");
    let data = json!({"auth": client.auth(ROOM), "channel": ROOM, "channel_data": ""});
    client.send(&json!({"event": "pusher:subscribe", "data": data}));
    let succeeded = client.expect_on(ROOM, "pusher_internal:subscription_succeeded");
    assert_eq!(Presence::of(&succeeded).ids(), ["7"]);
}

#[test]
fn the_limit_of_a_members_info_holds_for_the_user_too() {
    let server = TestServer::usual();
    let long_info = json!({"id": "7", "user_info": "x".repeat(1_023)});
    let mut client = server.client();
    client.sign_in_with(&long_info.to_string());
    ask(&mut client);
    assert_eq!(
        client.expect_refusal(ROOM),
        ("LimitReached".to_owned(), 4301)
    );
}

#[test]
fn client_events_carry_the_users_id() {
    let setup = crate::support::setup::Setup::new().usual_with("client_events", true);
    let server = TestServer::start(setup);
    let mut sender = server.client();
    sender.sign_in("7");
    join(&mut sender);
    let mut other = server.client();
    other.join(ROOM, "8");
    sender.expect_on(ROOM, "pusher_internal:member_added");
    sender.trigger(ROOM, "client-typing", &json!({}));
    let event = other.expect_on(ROOM, "client-typing");
    assert_eq!(event.json["user_id"], json!("7"));
}

#[test]
fn two_tabs_joined_in_two_ways_are_one_member() {
    let server = TestServer::usual();
    let mut first = server.client();
    first.sign_in("7");
    join(&mut first);
    let mut second = server.client();
    assert_eq!(second.join(ROOM, "7").ids(), ["7"]);
    first.expect_nothing_before_marker(&server.api(), ROOM);
}
