//! Leaving: once per user, by any way out, and never told to the one who leaves.

use serde_json::json;

use crate::support::{client::TestClient, server::TestServer, websocket::Frame};

const ROOM: &str = "presence-room";

fn watched() -> (TestServer, TestClient) {
    let server = TestServer::usual();
    let mut watcher = server.client();
    watcher.join(ROOM, "watcher");
    (server, watcher)
}

#[track_caller]
fn joined(server: &TestServer, watcher: &mut TestClient, user_id: &str) -> TestClient {
    let mut client = server.client();
    client.join(ROOM, user_id);
    let added = watcher.expect_on(ROOM, "pusher_internal:member_added");
    assert_eq!(added.decoded()["user_id"], json!(user_id));
    client
}

#[track_caller]
fn expect_removed(watcher: &mut TestClient, user_id: &str) {
    let removed = watcher.expect_on(ROOM, "pusher_internal:member_removed");
    assert_eq!(removed.keys(), ["channel", "data", "event"]);
    assert_eq!(removed.decoded(), json!({"user_id": user_id}));
}

#[test]
fn an_unsubscribe_is_told_to_the_others_only() {
    let (server, mut watcher) = watched();
    let mut leaver = joined(&server, &mut watcher, "7");
    leaver.unsubscribe(ROOM);
    expect_removed(&mut watcher, "7");
    leaver.expect_silence();
    watcher.expect_nothing_before_marker(&server.api(), ROOM);
    leaver.expect_silence();
}

#[test]
fn a_clean_disconnect_is_told() {
    let (server, mut watcher) = watched();
    joined(&server, &mut watcher, "7").close();
    expect_removed(&mut watcher, "7");
}

#[test]
fn an_abrupt_disconnect_is_told() {
    let (server, mut watcher) = watched();
    drop(joined(&server, &mut watcher, "7"));
    expect_removed(&mut watcher, "7");
}

#[test]
fn a_connection_closed_for_bad_input_is_told() {
    let (server, mut watcher) = watched();
    let mut client = joined(&server, &mut watcher, "7");
    client.socket.send(&Frame::text("x").reserved(1));
    client.socket.expect_close(1002);
    expect_removed(&mut watcher, "7");
}

#[test]
fn only_the_last_tab_of_a_user_is_told() {
    let (server, mut watcher) = watched();
    let mut first = joined(&server, &mut watcher, "7");
    let (mut second, mut third) = (server.client(), server.client());
    second.join(ROOM, "7");
    third.join(ROOM, "7");
    first.unsubscribe(ROOM);
    first.expect_silence();
    second.close();
    watcher.expect_nothing_before_marker(&server.api(), ROOM);
    third.expect_on(ROOM, "marker");
    third.unsubscribe(ROOM);
    expect_removed(&mut watcher, "7");
    watcher.expect_nothing_before_marker(&server.api(), ROOM);
}

#[test]
fn leaving_twice_is_told_once() {
    let (server, mut watcher) = watched();
    let mut client = joined(&server, &mut watcher, "7");
    client.unsubscribe(ROOM);
    client.unsubscribe(ROOM);
    client.expect_no_subscription(ROOM);
    client.close();
    expect_removed(&mut watcher, "7");
    watcher.expect_nothing_before_marker(&server.api(), ROOM);
}

#[test]
fn a_user_that_returns_is_announced_again() {
    let (server, mut watcher) = watched();
    let mut client = joined(&server, &mut watcher, "7");
    for _ in 0..5 {
        client.unsubscribe(ROOM);
        expect_removed(&mut watcher, "7");
        client.join(ROOM, "7");
        watcher.expect_on(ROOM, "pusher_internal:member_added");
    }
}

#[test]
fn one_user_in_two_channels_leaves_each_by_itself() {
    let (server, mut watcher) = watched();
    watcher.join("presence-other", "watcher");
    let mut client = joined(&server, &mut watcher, "7");
    client.join("presence-other", "7");
    watcher.expect_on("presence-other", "pusher_internal:member_added");
    client.unsubscribe(ROOM);
    expect_removed(&mut watcher, "7");
    watcher.expect_nothing_before_marker(&server.api(), "presence-other");
    client.expect_on("presence-other", "marker");
    client.close();
    watcher.expect_on("presence-other", "pusher_internal:member_removed");
}

#[test]
fn an_empty_channel_starts_anew() {
    let (server, watcher) = watched();
    watcher.close();
    let mut client = server.client();
    let users = || {
        server
            .api()
            .get(&format!("/channels/{ROOM}/users"), &[])
            .json()
    };
    crate::support::eventually("nobody is left", || {
        (users() == json!({"users": []})).then_some(())
    });
    assert_eq!(client.join(ROOM, "7").ids(), ["7"]);
}
