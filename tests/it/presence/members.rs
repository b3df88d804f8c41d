//! Joining: the hash, several tabs of one user, and what the others are told.

use serde_json::{Value, json};

use crate::support::{
    client::{Message, Presence},
    server::TestServer,
};

const ROOM: &str = "presence-room";

#[test]
fn the_hash_has_its_documented_shape() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.ask_with(ROOM, r#"{"user_id":"7","user_info":{"name":"Ann"}}"#);
    let succeeded = client.expect_on(ROOM, "pusher_internal:subscription_succeeded");
    let expected = json!({"presence": {"ids": ["7"], "hash": {"7": {"name": "Ann"}}, "count": 1}});
    assert_eq!(succeeded.decoded(), expected);
    assert_eq!(succeeded.keys(), ["channel", "data", "event"]);
}

#[test]
fn a_joiner_is_told_of_everyone_and_everyone_of_the_joiner() {
    let server = TestServer::usual();
    let mut first = server.client();
    first.join_with(ROOM, r#"{"user_id":"7","user_info":{"name":"Ann"}}"#);
    let mut second = server.client();
    let presence = second.join_with(ROOM, r#"{"user_id":"8","user_info":{"name":"Bob"}}"#);
    assert_eq!(presence.ids(), ["7", "8"]);
    assert_eq!(presence.hash["7"], json!({"name": "Ann"}));
    let added = first.expect_on(ROOM, "pusher_internal:member_added");
    assert_eq!(added.keys(), ["channel", "data", "event"]);
    assert_eq!(
        added.decoded(),
        json!({"user_id": "8", "user_info": {"name": "Bob"}})
    );
}

#[test]
fn a_joiner_is_not_told_of_itself() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.join(ROOM, "7");
    client.expect_nothing_before_marker(&server.api(), ROOM);
}

#[test]
fn a_member_without_user_info_has_null_in_the_hash() {
    let server = TestServer::usual();
    let mut first = server.client();
    let presence = first.join_with(ROOM, r#"{"user_id":"7"}"#);
    assert_eq!(presence.hash["7"], Value::Null);
    let mut second = server.client();
    let presence = second.join_with(ROOM, r#"{"user_id":"8","user_info":null}"#);
    assert_eq!(
        (&presence.hash["7"], &presence.hash["8"]),
        (&Value::Null, &Value::Null)
    );
    let added = first
        .expect_on(ROOM, "pusher_internal:member_added")
        .decoded();
    assert_eq!(
        (&added["user_id"], &added["user_info"]),
        (&json!("8"), &Value::Null)
    );
}

#[test]
fn user_info_may_be_any_json() {
    let server = TestServer::usual();
    let mut watcher = server.client();
    watcher.join(ROOM, "watcher");
    let infos = [
        json!(true),
        json!(0),
        json!(""),
        json!([]),
        json!({}),
        json!([1, {"a": null}]),
        json!("é😀\"\\"),
    ];
    for (number, info) in infos.iter().enumerate() {
        let user_id = format!("u{number}");
        let mut client = server.client();
        let data = json!({"user_id": user_id, "user_info": info});
        let presence = client.join_with(ROOM, &data.to_string());
        assert_eq!(&presence.hash[&user_id], info);
        let added = watcher.expect_on(ROOM, "pusher_internal:member_added");
        assert_eq!(added.decoded(), data);
        client.close();
        watcher.expect_on(ROOM, "pusher_internal:member_removed");
    }
}

#[test]
fn an_integer_user_id_becomes_its_decimal_string() {
    let server = TestServer::usual();
    let mut watcher = server.client();
    watcher.join(ROOM, "watcher");
    for id in ["10", "0", "-5", "9007199254740993", "18446744073709551615"] {
        let mut client = server.client();
        let presence = client.join_with(ROOM, &format!(r#"{{"user_id":{id}}}"#));
        assert_eq!(presence.ids(), [id, "watcher"]);
        let added = watcher.expect_on(ROOM, "pusher_internal:member_added");
        assert_eq!(added.decoded()["user_id"], json!(id));
        client.close();
        let removed = watcher.expect_on(ROOM, "pusher_internal:member_removed");
        assert_eq!(removed.decoded(), json!({"user_id": id}));
    }
}

#[test]
fn an_integer_and_its_string_are_the_same_user() {
    let server = TestServer::usual();
    let mut first = server.client();
    first.join_with(ROOM, r#"{"user_id":7}"#);
    let mut second = server.client();
    assert_eq!(second.join_with(ROOM, r#"{"user_id":"7"}"#).ids(), ["7"]);
    first.expect_nothing_before_marker(&server.api(), ROOM);
}

#[test]
fn a_second_tab_of_the_same_user_is_not_announced() {
    let server = TestServer::usual();
    let (mut watcher, mut tabs) = (
        server.client(),
        [server.client(), server.client(), server.client()],
    );
    watcher.join(ROOM, "watcher");
    for tab in &mut tabs {
        assert_eq!(tab.join(ROOM, "7").ids(), ["7", "watcher"]);
    }
    let added = watcher.expect_on(ROOM, "pusher_internal:member_added");
    assert_eq!(added.decoded()["user_id"], json!("7"));
    let api = server.api();
    api.publish(ROOM, "marker", "");
    watcher.expect_on(ROOM, "marker");
    for tab in &mut tabs {
        tab.expect_on(ROOM, "marker");
    }
    let counts = [("info", "user_count,subscription_count")];
    let expected = json!({"occupied": true, "user_count": 2, "subscription_count": 4});
    api.get(&format!("/channels/{ROOM}"), &counts).is(&expected);
}

#[test]
fn the_first_user_info_stays_until_that_user_has_left() {
    let server = TestServer::usual();
    let with_info = |name: &str| json!({"user_id": "7", "user_info": {"name": name}}).to_string();
    let mut first = server.client();
    first.join_with(ROOM, &with_info("first"));
    let mut second = server.client();
    assert_eq!(
        second.join_with(ROOM, &with_info("second")).hash["7"],
        json!({"name": "first"})
    );
    first.unsubscribe(ROOM);
    first.expect_silence();
    let mut third = server.client();
    assert_eq!(third.join(ROOM, "8").hash["7"], json!({"name": "first"}));
    second.expect_on(ROOM, "pusher_internal:member_added");
    second.unsubscribe(ROOM);
    assert_eq!(
        second.join_with(ROOM, &with_info("third")).hash["7"],
        json!({"name": "third"})
    );
}

#[test]
fn a_second_subscribe_brings_no_second_hash_and_tells_nobody() {
    let server = TestServer::usual();
    let mut first = server.client();
    first.join(ROOM, "7");
    let mut second = server.client();
    second.join(ROOM, "8");
    first.expect_on(ROOM, "pusher_internal:member_added");
    first.ask_with(ROOM, r#"{"user_id":"7"}"#);
    first.expect_existing(ROOM);
    second.expect_nothing_before_marker(&server.api(), ROOM);
    first.expect_on(ROOM, "marker");
}

#[test]
fn events_on_a_presence_channel_reach_its_members() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.join(ROOM, "7");
    server.api().publish(ROOM, "order", "{}");
    let message: Message = client.expect_on(ROOM, "order");
    assert_eq!(
        message.keys(),
        ["channel", "data", "event"],
        "an API event has no user_id"
    );
}

#[test]
fn hard_user_ids_keep_their_characters() {
    let server = TestServer::usual();
    for user_id in ["é😀", "a\"b\\c", " ", "\n", "\u{0}", "__proto__", "a:b/c#d"] {
        let mut client = server.client();
        client.ask_with(ROOM, &json!({"user_id": user_id}).to_string());
        let presence =
            Presence::of(&client.expect_on(ROOM, "pusher_internal:subscription_succeeded"));
        assert!(presence.hash.contains_key(user_id), "{presence:?}");
        let users = server
            .api()
            .get(&format!("/channels/{ROOM}/users"), &[])
            .json();
        assert!(
            users["users"]
                .as_array()
                .unwrap()
                .contains(&json!({"id": user_id})),
            "{users}"
        );
    }
}
