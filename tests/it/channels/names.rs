//! Which names a channel may have.

use serde_json::json;

use crate::support::{client::TestClient, server::TestServer, setup::Setup};

#[track_caller]
fn is_refused(client: &mut TestClient, channel: &str) {
    client.ask(channel);
    assert_eq!(
        client.expect_refusal(channel),
        ("InvalidChannel".to_owned(), 400),
        "{channel:?}"
    );
}

#[test]
fn every_character_of_the_documented_set_is_taken() {
    let server = TestServer::usual();
    let mut client = server.client();
    for channel in [
        "ABCXYZabcxyz0189",
        "_-=@,.;",
        "-",
        "0",
        "App.Models.User.1",
        "=",
        "a,b;c@d.e",
    ] {
        client.subscribe(channel);
    }
}

#[test]
fn every_other_character_is_refused() {
    let server = TestServer::usual();
    let mut client = server.client();
    for byte in 0..128_u8 {
        let character = char::from(byte);
        if character.is_ascii_alphanumeric() || "_-=@,.;".contains(character) {
            continue;
        }
        is_refused(&mut client, &format!("a{character}b"));
    }
    for channel in [
        "é", "日本", "\u{200b}", "a\u{301}", "😀", "", " room", "room ", "room\n",
    ] {
        is_refused(&mut client, channel);
    }
    client.expect_silence();
}

#[test]
fn two_hundred_characters_are_taken_and_one_more_is_refused() {
    let server = TestServer::usual();
    let mut client = server.client();
    for prefix in ["", "private-", "cache-"] {
        let longest = prefix.to_owned() + &"x".repeat(200 - prefix.len());
        client.subscribe(&longest);
        if prefix == "cache-" {
            client.expect("pusher:cache_miss");
        }
        is_refused(&mut client, &(longest + "x"));
    }
}

#[test]
fn the_length_limit_is_the_apps_own() {
    let server = TestServer::start(Setup::new().usual_with("max_channel_name_length", 10));
    let mut client = server.client();
    client.subscribe("0123456789");
    is_refused(&mut client, "0123456789x");
    let body = |channel: &str| json!({"name": "e", "channel": channel, "data": ""});
    server.api().events(&body("0123456789")).is_empty_object();
    server.api().events(&body("0123456789x")).is_error(400);
}

#[test]
fn a_bad_name_is_refused_before_its_signature_is_looked_at() {
    let server = TestServer::usual();
    let mut client = server.client();
    is_refused(&mut client, "private-a b");
    client.ask_with("presence-a b", r#"{"user_id":"7"}"#);
    assert_eq!(client.expect_refusal("presence-a b").0, "InvalidChannel");
}
