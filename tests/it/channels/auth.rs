//! Authorisation strings: what is signed, by whom, and what a refusal tells.

use serde_json::{Value, json};

use crate::support::{
    app::App, client::TestClient, feed::Feed, server::TestServer, setup::Setup, signing::hmac_hex,
};

const ROOM: &str = "private-room";

fn subscribe_with(client: &mut TestClient, data: &Value) {
    client.send(&json!({"event": "pusher:subscribe", "data": data}));
}

/// Refused as an invalid signature, in both shapes of §2.6 and without the signature that would have been right.
#[track_caller]
fn is_refused(client: &mut TestClient, data: &Value, right: &str) {
    let channel = data["channel"].as_str().unwrap();
    subscribe_with(client, data);
    let refused = client.expect_on(channel, "pusher:subscription_error");
    let decoded = refused.decoded();
    assert_eq!(
        (&decoded["type"], &decoded["status"]),
        (&json!("AuthError"), &json!(401)),
        "{data}"
    );
    assert!(decoded["error"].is_string(), "{decoded}");
    assert_eq!(decoded.as_object().unwrap().len(), 3, "{decoded}");
    let error = client.expect_error(None);
    let (_, hmac) = right.split_once(':').unwrap();
    for answer in [&refused.text, &error.text] {
        assert!(
            !answer.contains(hmac),
            "the answer tells the signature: {answer}"
        );
    }
}

#[test]
fn a_signature_by_the_apps_secret_is_accepted() {
    let server = TestServer::usual();
    let mut client = server.client();
    for channel in [
        ROOM,
        "private-encrypted-room",
        "private-App.Models.User.1",
        "private-a=b,c;d@e",
    ] {
        assert_eq!(client.subscribe(channel).data(), "{}");
    }
}

#[test]
fn a_wrong_signature_is_refused_and_the_connection_stays_open() {
    let server = TestServer::start(Setup::new().app(App::usual()).app(App::new("2", "other")));
    let mut client = server.client();
    let right = client.auth(ROOM);
    let (key, hmac) = right.split_once(':').unwrap();
    let flipped = if hmac.starts_with('0') { "1" } else { "0" }.to_owned() + &hmac[1..];
    let (stranger, other) = (server.client().auth(ROOM), &server.apps[1]);
    let wrong = [
        format!("{key}:{flipped}"),
        format!("{key}:{}", &hmac[..63]),
        format!("{key}:{hmac}0"),
        format!("{key}:{}", "0".repeat(64)),
        format!("{key}:zz{}", &hmac[2..]),
        format!("{key}:"),
        key.to_owned(),
        hmac.to_owned(),
        format!(":{hmac}"),
        format!("other:{hmac}"),
        format!("{key} :{hmac}"),
        format!("{key}:{key}:{hmac}"),
        format!("{key}::user::{hmac}"),
        stranger,
        other.auth(&client.socket_id, ROOM),
        client.auth("private-rooms"),
        client.auth(""),
        format!("{key}:é{}", &hmac[2..]),
    ];
    for auth in wrong {
        is_refused(&mut client, &json!({"channel": ROOM, "auth": auth}), &right);
    }
    client.expect_silence();
    client.subscribe(ROOM);
}

#[test]
fn a_refused_subscription_receives_nothing() {
    let server = TestServer::usual();
    let mut client = server.client();
    let right = client.auth(ROOM);
    is_refused(
        &mut client,
        &json!({"channel": ROOM, "auth": "key-of-1001:00"}),
        &right,
    );
    client.subscribe("news");
    server.api().publish(ROOM, "secret", "");
    client.expect_nothing_before_marker(&server.api(), "news");
    server
        .api()
        .get("/channels", &[])
        .is(&json!({"channels": {"news": {}}}));
}

#[test]
fn channel_data_is_part_of_what_is_signed_on_private_channels_too() {
    let server = TestServer::usual();
    let mut client = server.client();
    let channel_data = r#"{"user_id":"7"}"#;
    let auth = client.auth_with(ROOM, channel_data);
    let without = client.auth(ROOM);
    let mut data = json!({"channel": ROOM, "auth": without, "channel_data": channel_data});
    is_refused(&mut client, &data, &auth);
    data["auth"] = json!(auth);
    subscribe_with(&mut client, &data);
    assert_eq!(
        client
            .expect_on(ROOM, "pusher_internal:subscription_succeeded")
            .data(),
        "{}"
    );
}

#[test]
fn empty_channel_data_is_not_signed() {
    let server = TestServer::usual();
    let mut client = server.client();
    for channel_data in [json!(""), json!(null)] {
        let data =
            json!({"channel": ROOM, "auth": client.auth(ROOM), "channel_data": channel_data});
        subscribe_with(&mut client, &data);
        client.expect_on(ROOM, "pusher_internal:subscription_succeeded");
        client.unsubscribe(ROOM);
    }
}

/// #13 row 7.
#[test]
fn empty_channel_data_may_be_signed_with_its_colon_too() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.sign_in("7");
    for channel in [ROOM, "presence-room"] {
        let auth = client.auth_with(channel, "");
        let mut data = json!({"channel": channel, "auth": auth, "channel_data": ""});
        subscribe_with(&mut client, &data);
        client.expect_on(channel, "pusher_internal:subscription_succeeded");
        client.unsubscribe(channel);
        data["channel_data"] = json!(null);
        let right = client.auth(channel);
        is_refused(&mut client, &data, &right);
    }
}

/// #13 row 8: PusherSwift's inline authorizer lower-cases all of `auth` (`Sources/Services/PusherConnection.swift`).
#[test]
fn the_key_part_may_differ_in_letter_case_and_in_nothing_else() {
    let app = App::new("1", "MyKey");
    let other = App::with_secret("2", "other", &app.secret);
    let server = TestServer::start(Setup::new().app(app).app(other));
    let mut client = server.client();
    let auth = client.auth(ROOM);
    let (_, hmac) = auth.split_once(':').unwrap();
    for key in ["MyKey", "mykey", "MYKEY"] {
        let data = json!({"channel": ROOM, "auth": format!("{key}:{hmac}")});
        subscribe_with(&mut client, &data);
        client.expect_on(ROOM, "pusher_internal:subscription_succeeded");
        client.unsubscribe(ROOM);
    }
    for key in ["other", "mykey2", "myke", "", "myKéy"] {
        let data = json!({"channel": ROOM, "auth": format!("{key}:{hmac}")});
        is_refused(&mut client, &data, &auth);
    }
    let user_data = r#"{"id":"7"}"#;
    let auth = server.app().auth_user(&client.socket_id, user_data);
    let signin = json!({"auth": auth.to_lowercase(), "user_data": user_data});
    client.send(&json!({"event": "pusher:signin", "data": signin}));
    client.expect("pusher:signin_success");
}

/// #13 row 9: Echo's `.error()` hears only of what names its channel.
#[test]
fn an_auth_or_channel_data_that_is_no_text_is_refused_on_its_channel() {
    let server = TestServer::usual();
    let mut client = server.client();
    let member = json!({"user_id": "7"});
    let signed = client.auth_with("presence-room", &member.to_string());
    let private = client.auth(ROOM);
    for (data, right) in [
        (
            json!({"channel": ROOM, "auth": {"auth": private}}),
            &private,
        ),
        (json!({"channel": ROOM, "auth": 7}), &private),
        (json!({"channel": ROOM, "auth": [private]}), &private),
        (json!({"channel": ROOM, "auth": true}), &private),
        (
            json!({"channel": ROOM, "auth": private, "channel_data": {}}),
            &private,
        ),
        (
            json!({"channel": "presence-room", "auth": signed, "channel_data": member}),
            &signed,
        ),
    ] {
        is_refused(&mut client, &data, right);
    }
    let nothing_to_check = json!({"channel": "news", "auth": {}, "channel_data": 7});
    subscribe_with(&mut client, &nothing_to_check);
    client.expect_on("news", "pusher_internal:subscription_succeeded");
}

#[test]
fn channel_data_is_signed_byte_for_byte_as_it_came() {
    let server = TestServer::usual();
    let mut client = server.client();
    let texts = [
        r#"{ "user_info" : { "b" : 1.0, "a" : 1e2 } , "user_id" : "7" }"#,
        "{\"user_id\":\"7\",\n\t\"user_info\":\"\\u00e9\\/\"}",
        r#"{"user_id":"7","user_info":"é😀","unknown":[1,2,{}]}"#,
        r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#,
    ];
    for (number, channel_data) in texts.iter().enumerate() {
        client.join_with(&format!("presence-{number}"), channel_data);
    }
}

#[test]
fn a_presence_signature_over_other_channel_data_is_refused() {
    let server = TestServer::usual();
    let mut client = server.client();
    let (mine, forged) = (r#"{"user_id":"7"}"#, r#"{"user_id":"1"}"#);
    let right = client.auth_with("presence-room", forged);
    let wrong = [
        client.auth_with("presence-room", mine),
        client.auth("presence-room"),
    ];
    for auth in wrong {
        let data = json!({"channel": "presence-room", "auth": auth, "channel_data": forged});
        is_refused(&mut client, &data, &right);
    }
}

#[test]
fn a_user_authentication_is_no_channel_authorisation() {
    let server = TestServer::usual();
    let mut client = server.client();
    let right = client.auth(ROOM);
    let signed = format!("{}::user::{{\"id\":\"7\"}}", client.socket_id);
    let auth = format!(
        "{}:{}",
        server.app().key,
        hmac_hex(&server.app().secret, &signed)
    );
    is_refused(&mut client, &json!({"channel": ROOM, "auth": auth}), &right);
}

#[test]
fn a_public_channel_needs_no_auth_and_minds_none() {
    let server = TestServer::usual();
    let mut client = server.client();
    for auth in [
        json!(""),
        json!("nonsense"),
        json!(null),
        json!("key-of-1001:00"),
    ] {
        subscribe_with(&mut client, &json!({"channel": "news", "auth": auth}));
        client.expect_on("news", "pusher_internal:subscription_succeeded");
        client.unsubscribe("news");
    }
    subscribe_with(&mut client, &json!({"channel": "sport"}));
    client.expect_on("sport", "pusher_internal:subscription_succeeded");
}

/// #16: a missing signature, another key and a wrong signature were told alike, and nothing said what was to be signed.
#[test]
fn refusals_are_told_apart_and_operators_see_what_was_to_be_signed() {
    let setup = Setup::new().set("log.level", "debug");
    let server = TestServer::start(setup.app(App::usual()));
    let mut feed = Feed::connect(&server);
    let mut client = server.client();
    feed.expect("connected");
    let zeros = "0".repeat(64);
    for (auth, text) in [
        (json!(null), "No signature: auth is missing"),
        (
            json!("nonsense"),
            "Invalid signature: auth must be key:signature",
        ),
        (
            json!(format!("other:{zeros}")),
            "Invalid signature: auth begins with no valid key of this app",
        ),
        (json!(format!("key-of-1001:{zeros}")), "Invalid signature"),
    ] {
        let data = json!({"channel": "presence-room", "auth": auth, "channel_data": "{\"user_id\":\"7\"}"});
        let right = client.auth_with("presence-room", "{\"user_id\":\"7\"}");
        is_refused(&mut client, &data, &right);
        let line = feed.expect("error");
        let to_sign = format!("{}:presence-room:{{\"user_id\":\"7\"}}", client.socket_id);
        assert_eq!(line["to_sign"], json!(to_sign), "{line}");
        assert_eq!(line["channel"], json!("presence-room"), "{line}");
        let message = line["message"].as_str().unwrap();
        assert_eq!(message, format!("{text} for presence-room"));
        let (_, signature) = right.split_once(':').unwrap();
        let log = server.process.stderr();
        assert!(!line.to_string().contains(signature) && !log.contains(signature));
    }
    let text = format!("{}:presence-room:", client.socket_id);
    server
        .process
        .wait_stderr("text that was to be signed", |log| {
            log.contains(&text).then_some(())
        });
    client.send(&json!({"event": "pusher:signin", "data": {"auth": format!("key-of-1001:{zeros}"), "user_data": "{}"}}));
    client.expect_error(None);
    let line = feed.expect("error");
    assert_eq!(
        line["to_sign"],
        json!(format!("{}::user::{{}}", client.socket_id)),
        "{line}"
    );
}
