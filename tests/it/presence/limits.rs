//! Limits of presence channels, and `channel_data` that cannot be used.

use serde_json::json;

use crate::support::{client::TestClient, eventually, server::TestServer, setup::Setup};

const ROOM: &str = "presence-room";

#[track_caller]
fn is_over_the_limit(client: &mut TestClient, channel_data: &str, status: u64) {
    client.ask_with(ROOM, channel_data);
    assert_eq!(
        client.expect_refusal(ROOM),
        ("LimitReached".to_owned(), status)
    );
    client.expect_silence();
}

fn user(user_id: &str) -> String {
    json!({"user_id": user_id}).to_string()
}

#[test]
fn one_user_more_than_the_limit_is_refused_with_4100() {
    let server = TestServer::start(Setup::new().usual_with("max_presence_members", 2));
    let (mut first, mut second, mut third) = (server.client(), server.client(), server.client());
    first.join(ROOM, "1");
    second.join(ROOM, "2");
    first.expect_on(ROOM, "pusher_internal:member_added");
    is_over_the_limit(&mut third, &user("3"), 4100);
    first.expect_nothing_before_marker(&server.api(), ROOM);
    third.join("presence-other", "3");
}

#[test]
fn an_existing_users_extra_connection_is_admitted_to_a_full_channel() {
    let server = TestServer::start(Setup::new().usual_with("max_presence_members", 1));
    let (mut first, mut second) = (server.client(), server.client());
    first.join(ROOM, "1");
    assert_eq!(second.join(ROOM, "1").ids(), ["1"]);
    first.unsubscribe(ROOM);
    first.expect_silence();
    is_over_the_limit(&mut server.client(), &user("2"), 4100);
}

#[test]
fn a_place_is_free_again_when_a_user_has_left() {
    let server = TestServer::start(Setup::new().usual_with("max_presence_members", 1));
    let (mut first, mut second) = (server.client(), server.client());
    first.join(ROOM, "1");
    is_over_the_limit(&mut second, &user("2"), 4100);
    first.unsubscribe(ROOM);
    first.expect_silence();
    second.join(ROOM, "2");
    second.close();
    eventually("a free place", || {
        first.ask_with(ROOM, &user("3"));
        let answer = first.next();
        if answer.event() == "pusher_internal:subscription_succeeded" {
            return Some(());
        }
        first.expect("pusher:error");
        None
    });
}

#[test]
fn the_default_is_a_hundred_users() {
    let server = TestServer::usual();
    let mut members: Vec<_> = (0..100).map(|_| server.client()).collect();
    for (number, member) in members.iter_mut().enumerate() {
        let presence = member.join(ROOM, &number.to_string());
        assert_eq!(presence.ids().len(), number + 1);
    }
    is_over_the_limit(&mut server.client(), &user("100"), 4100);
}

#[test]
fn a_rush_of_joins_gets_exactly_as_many_places_as_there_are() {
    let server = TestServer::start(Setup::new().usual_with("max_presence_members", 5));
    let mut clients: Vec<_> = (0..40).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.ask_with(ROOM, &user(&number.to_string()));
    }
    let answers = clients
        .iter_mut()
        .map(|client| client.next().event().to_owned());
    let joined = answers
        .filter(|event| event == "pusher_internal:subscription_succeeded")
        .count();
    assert_eq!(joined, 5);
    let users = server
        .api()
        .get(&format!("/channels/{ROOM}"), &[("info", "user_count")]);
    users.is(&json!({"occupied": true, "user_count": 5}));
}

#[test]
fn a_user_id_of_128_characters_is_taken_and_one_more_is_refused_with_4301() {
    let server = TestServer::usual();
    let mut client = server.client();
    is_over_the_limit(&mut client, &user(&"x".repeat(129)), 4301);
    is_over_the_limit(&mut client, &user(&"é".repeat(129)), 4301);
    client.join(ROOM, &"x".repeat(128));
    server.client().join(ROOM, &"é".repeat(128));
}

#[test]
fn an_empty_user_id_is_refused_with_4301() {
    let server = TestServer::usual();
    is_over_the_limit(&mut server.client(), &user(""), 4301);
}

#[test]
fn user_info_of_1024_bytes_is_taken_and_one_more_is_refused_with_4301() {
    let server = TestServer::usual();
    let mut client = server.client();
    // A JSON string: its quotes count.
    let of_size =
        |size: usize| json!({"user_id": "7", "user_info": "x".repeat(size - 2)}).to_string();
    is_over_the_limit(&mut client, &of_size(1025), 4301);
    client.join_with(ROOM, &of_size(1024));
}

#[test]
fn the_limits_are_the_apps_own() {
    let setup = Setup::new().app(
        crate::support::app::App::usual()
            .set("max_presence_user_id_length", 3)
            .set("max_presence_user_info_bytes", 4),
    );
    let server = TestServer::start(setup);
    let mut client = server.client();
    is_over_the_limit(&mut client, &user("1234"), 4301);
    is_over_the_limit(&mut client, r#"{"user_id":"1","user_info":12345}"#, 4301);
    client.join_with(ROOM, r#"{"user_id":123,"user_info":1234}"#);
}

#[test]
fn channel_data_without_a_usable_user_id_is_refused() {
    let server = TestServer::usual();
    let mut client = server.client();
    let wrong = [
        "{}",
        "[]",
        "7",
        "null",
        "\"7\"",
        "not json",
        "{\"user_id\":\"7\"",
        r#"{"user_info":{"name":"Ann"}}"#,
        r#"{"user_id":null}"#,
        r#"{"user_id":true}"#,
        r#"{"user_id":1.5}"#,
        r#"{"user_id":["7"]}"#,
        r#"{"user_id":{"id":"7"}}"#,
        r#"{"userId":"7"}"#,
    ];
    for channel_data in wrong {
        client.ask_with(ROOM, channel_data);
        client.expect_refusal(ROOM);
    }
    client.expect_silence();
    server
        .api()
        .get(&format!("/channels/{ROOM}"), &[])
        .is(&json!({"occupied": false}));
}

#[test]
fn a_presence_subscription_without_channel_data_is_refused_to_who_is_not_signed_in() {
    let server = TestServer::usual();
    let mut client = server.client();
    let auth = client.auth(ROOM);
    for data in [
        json!({"channel": ROOM, "auth": auth}),
        json!({"channel": ROOM, "auth": auth, "channel_data": ""}),
        json!({"channel": ROOM, "auth": auth, "channel_data": null}),
    ] {
        client.send(&json!({"event": "pusher:subscribe", "data": data}));
        client.expect_refusal(ROOM);
    }
    client.expect_silence();
}
