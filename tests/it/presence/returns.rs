//! #12, row 8b: a member that leaves and returns, once or in a loop.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    app::App,
    client::{Presence, TestClient},
    server::TestServer,
    setup::Setup,
    websocket::Frame,
};

const ROOM: &str = "presence-room";
const ADDED: &str = "pusher_internal:member_added";
const REMOVED: &str = "pusher_internal:member_removed";

/// Leaves the room and joins it again, both in one write.
fn leave_and_return(client: &mut TestClient, channel_data: &str) {
    let auth = client.auth_with(ROOM, channel_data);
    let leave = json!({"event": "pusher:unsubscribe", "data": {"channel": ROOM}});
    let data = json!({"channel": ROOM, "auth": auth, "channel_data": channel_data});
    let join = json!({"event": "pusher:subscribe", "data": data});
    let frame = |message: Value| Frame::text(message.to_string()).bytes();
    let both = [frame(leave), frame(join)].concat();
    let sent = client.socket.stream.duplicate().write_all(&both);
    sent.expect("the server reads");
}

#[test]
fn who_leaves_and_returns_at_once_is_told_anew_and_nobody_else_is() {
    let server = TestServer::usual();
    let (mut other, mut client) = (server.client(), server.client());
    other.join(ROOM, "7");
    client.join(ROOM, "8");
    other.expect_on(ROOM, ADDED);
    leave_and_return(&mut client, &json!({"user_id": "8"}).to_string());
    let succeeded = client.expect_on(ROOM, "pusher_internal:subscription_succeeded");
    assert_eq!(Presence::of(&succeeded).ids().len(), 2);
    other.expect_silence();
    server.api().publish(ROOM, "story", "");
    client.expect_on(ROOM, "story");
    other.expect_on(ROOM, "story");
    client.close();
    other.expect_on(ROOM, REMOVED);
}

/// Where the list of members is long, the return waits for its turn at the worker.
#[test]
fn who_leaves_and_returns_to_a_large_channel_at_once_is_not_announced() {
    let app = App::usual().set("max_presence_members", 200);
    let server = TestServer::start(Setup::new().app(app));
    let mut others: Vec<_> = (0..150).map(|_| server.client()).collect();
    for (number, other) in others.iter_mut().enumerate() {
        other.join(ROOM, &number.to_string());
    }
    let mut last = others.pop().expect("one of them");
    let mut client = server.client();
    client.join(ROOM, "8000");
    last.expect_on(ROOM, ADDED);
    for _ in 0..20 {
        leave_and_return(&mut client, &json!({"user_id": "8000"}).to_string());
        client.expect_on(ROOM, "pusher_internal:subscription_succeeded");
    }
    last.expect_silence();
}

#[test]
fn who_returns_at_once_as_somebody_else_is_announced() {
    let server = TestServer::usual();
    let (mut other, mut client) = (server.client(), server.client());
    other.join(ROOM, "7");
    client.join(ROOM, "8");
    other.expect_on(ROOM, ADDED);
    for (user_id, user_info) in [("9", "Ann"), ("9", "Bob")] {
        let channel_data = json!({"user_id": user_id, "user_info": user_info});
        leave_and_return(&mut client, &channel_data.to_string());
        client.expect_on(ROOM, "pusher_internal:subscription_succeeded");
        other.expect_on(ROOM, REMOVED);
        assert_eq!(other.expect_on(ROOM, ADDED).decoded(), channel_data);
    }
}

#[test]
fn who_leaves_in_the_same_write_as_another_channel_is_announced() {
    let server = TestServer::usual();
    let (mut other, mut client) = (server.client(), server.client());
    for channel in ["presence-a", "presence-b"] {
        other.join(channel, "7");
        client.join(channel, "8");
        other.expect_on(channel, ADDED);
    }
    let leave = |channel| {
        let message = json!({"event": "pusher:unsubscribe", "data": {"channel": channel}});
        Frame::text(message.to_string()).bytes()
    };
    let both = [leave("presence-a"), leave("presence-b")].concat();
    let sent = client.socket.stream.duplicate().write_all(&both);
    sent.expect("the server reads");
    other.expect_on("presence-a", REMOVED);
    other.expect_on("presence-b", REMOVED);
}

#[test]
fn who_leaves_and_returns_in_a_loop_costs_the_others_four_messages_a_second() {
    let server = TestServer::usual();
    let (mut other, mut client) = (server.client(), server.client());
    other.join(ROOM, "7");
    let began = Instant::now();
    let mut loops = 0;
    while began.elapsed() < Duration::from_secs(3) {
        client.join(ROOM, "8");
        client.unsubscribe(ROOM);
        // Without it the next join might come in the same turn, and nobody would hear anything.
        client.send(&json!({"event": "pusher:ping", "data": {}}));
        client.expect("pusher:pong");
        loops += 1;
    }
    client.close();
    for _ in 0..loops {
        other.expect_on(ROOM, ADDED);
        other.expect_on(ROOM, REMOVED);
    }
    other.expect_silence();
    // Ten at once, and two a second.
    assert!(loops <= 10 + 2 * 4, "{loops} times");
}

#[test]
fn members_who_leave_very_many_channels_at_once_are_not_held_up() {
    let server = TestServer::usual();
    let mut client = server.client();
    for _ in 0..2 {
        for number in 0..100 {
            client.join(&format!("presence-{number}"), "8");
        }
        for number in 0..100 {
            client.unsubscribe(&format!("presence-{number}"));
        }
    }
    let asked = Instant::now();
    client.join(ROOM, "8");
    assert!(asked.elapsed() < Duration::from_millis(400));
}
