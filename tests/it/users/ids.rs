//! #13 row 4: ids as identity providers issue them work throughout, and what can't be one is refused with the reason.

use serde_json::{Value, json};

use crate::{
    support::{
        api::encode, app::App, client::TestClient, server::TestServer, setup::Setup,
        signing::hmac_hex,
    },
    webhooks::{Receiver, app_with},
};

/// From the issue, and what JSON, URLs, Redis and glob patterns treat in their own way.
pub(crate) const IDS: [&str; 12] = [
    "e:1",
    "auth0|5",
    "a b",
    "a/b",
    "zoë",
    "a.b+c@d.example",
    "\"\\",
    "}{*?",
    "#%20&=",
    "//a//",
    "日本😀",
    "' OR 1",
];

pub(crate) fn own(user_id: &str) -> String {
    format!("#server-to-user-{user_id}")
}

/// Signed in and subscribed to the user's own channel.
#[track_caller]
fn signed_in(server: &TestServer, user_id: &str) -> TestClient {
    let mut client = server.client();
    client.sign_in(user_id);
    client.subscribe(&own(user_id));
    client
}

#[test]
fn the_users_own_channel_is_theirs_and_hears_what_the_backend_publishes_there() {
    let server = TestServer::usual();
    let api = server.api();
    let mut other = server.client();
    other.sign_in("other");
    for user_id in IDS {
        let mut user = signed_in(&server, user_id);
        let channel = own(user_id);
        other.ask(&channel);
        assert_eq!(
            other.expect_refusal(&channel),
            ("AuthError".to_owned(), 401)
        );
        api.publish(&channel, "invoice.paid", "{}");
        user.expect_on(&channel, "invoice.paid");
        let event = json!({"name": "batched", "channel": channel, "data": ""});
        api.batch(&[event]).is_empty_object();
        user.expect_on(&channel, "batched");
        let path = format!("/channels/{}", encode(&channel));
        api.get(&path, &[]).is(&json!({"occupied": true}));
        user.unsubscribe(&channel);
        user.expect_silence();
    }
    api.get("/channels", &[]).is(&json!({"channels": {}}));
}

#[test]
fn their_connections_are_terminated_whether_the_encoded_or_the_decoded_path_is_signed() {
    let server = TestServer::usual();
    for user_id in IDS {
        let path = |id: &str| format!("/users/{id}/terminate_connections");
        let encoded = server.api().call("POST", &path(&encode(user_id)));
        let decoded = encoded
            .clone()
            .signed_path(&format!("/apps/1001{}", path(user_id)));
        for call in [encoded, decoded] {
            let mut user = signed_in(&server, user_id);
            call.body("{}").send().is_empty_object();
            user.expect_closed(4009);
        }
    }
}

/// npm's and PyPI's libraries put the id into the path as it is; the HTTP stack escapes what no path may hold.
#[test]
fn an_id_with_slashes_may_stand_in_the_path_as_it_is() {
    let server = TestServer::usual();
    let mut user = signed_in(&server, "a/b");
    let mut other = signed_in(&server, "a//b");
    let api = server.api();
    let terminate = |path| api.post(path, &json!({})).is_empty_object();
    terminate("/users/a/b/terminate_connections");
    user.expect_closed(4009);
    other.expect_silence();
    terminate("/users/a//b/terminate_connections");
    other.expect_closed(4009);
}

#[test]
fn they_are_watched() {
    let server = TestServer::start(Setup::new().usual_with("watchlists", true));
    let mut watcher = server.client();
    watcher.sign_in_with(&json!({"id": "watcher", "watchlist": IDS}).to_string());
    watcher.expect("pusher_internal:watchlist_events");
    for user_id in IDS {
        let _user = signed_in(&server, user_id);
        let events = watcher.expect("pusher_internal:watchlist_events").decoded();
        let expected = json!({"events": [{"name": "online", "user_ids": [user_id]}]});
        assert_eq!(events, expected);
    }
}

#[test]
fn they_are_members_of_presence_channels_by_their_sign_in() {
    let server = TestServer::usual();
    for user_id in IDS {
        let mut user = signed_in(&server, user_id);
        let room = "presence-room";
        let auth = user.auth(room);
        user.send(&json!({"event": "pusher:subscribe", "data": {"auth": auth, "channel": room}}));
        let succeeded = user.expect_on(room, "pusher_internal:subscription_succeeded");
        assert_eq!(
            succeeded.decoded()["presence"]["ids"],
            json!([user_id]),
            "{}",
            succeeded.text
        );
        let users = server.api().get("/channels/presence-room/users", &[]);
        users.is(&json!({"users": [{"id": user_id}]}));
        user.unsubscribe(room);
        user.expect_silence();
    }
}

#[test]
fn their_older_session_is_told_on_their_own_channel() {
    let app = App::usual()
        .set("single_session", "replace")
        .set("session_grace_s", 0);
    let server = TestServer::start(Setup::new().app(app));
    for user_id in IDS {
        let mut old = signed_in(&server, user_id);
        let _new = signed_in(&server, user_id);
        old.expect_on(&own(user_id), "session.replaced");
        old.expect_closed(4009);
    }
}

#[test]
fn webhooks_name_them() {
    let receiver = Receiver::start();
    let kinds = ["member_added", "session_replaced"];
    let endpoints = json!([{"url": receiver.url("/"), "event_types": kinds}]);
    let app = app_with(&endpoints)
        .set("single_session", "replace")
        .set("session_grace_s", 0);
    let server = TestServer::start(Setup::new().app(app));
    for (number, user_id) in IDS.iter().enumerate() {
        let room = format!("presence-{number}");
        let mut old = signed_in(&server, user_id);
        old.join(&room, user_id);
        let added = json!({"name": "member_added", "channel": room, "user_id": user_id});
        assert_eq!(receiver.event(server.app()), added);
        let _new = signed_in(&server, user_id);
        let replaced = receiver.event(server.app());
        assert_eq!(replaced["name"], "session_replaced", "{replaced}");
        assert_eq!(replaced["user_id"], json!(user_id), "{replaced}");
        assert_eq!(replaced["channel"], own(user_id), "{replaced}");
    }
}

#[test]
fn an_operator_finds_them_and_their_channel() {
    let server = TestServer::usual();
    for user_id in IDS {
        let user = signed_in(&server, user_id);
        let query = format!("/api/connections?user={}", encode(user_id));
        let found = server.admin_json(&query);
        assert_eq!(
            found["connections"][0]["socket_id"],
            json!(user.socket_id),
            "{user_id}: {found}"
        );
        let path = format!("/api/apps/1001/channels/{}", encode(&own(user_id)));
        let channel = server.admin_json(&path);
        assert_eq!(channel["name"], own(user_id));
        assert_eq!(channel["sockets"], json!([user.socket_id]), "{user_id}");
        let event = json!({"name": "e", "channels": [own(user_id)], "data": ""}).to_string();
        let headers = ["Host: localhost", "Content-Type: application/json"];
        let sent = server.admin_call("POST /api/apps/1001/events", &headers, &event);
        assert_eq!(sent.json()["delivered"], 1, "{sent:?}");
        user.close();
    }
}

#[test]
fn an_id_that_cannot_work_throughout_is_refused_at_the_sign_in_with_the_reason() {
    let server = TestServer::usual();
    let mut client = server.client();
    let long = "é".repeat(129);
    for (user_id, reason) in [
        ("", "the user id is empty."),
        ("a\nb", "the user id contains the control character U+000A."),
        ("\0", "the user id contains the control character U+0000."),
        (
            "\u{9f}",
            "the user id contains the control character U+009F.",
        ),
        (
            &*long,
            "the user id has 129 characters, at most 128 are allowed.",
        ),
    ] {
        client.ask_sign_in(&json!({"id": user_id}).to_string());
        let error = client.expect_error(None);
        let expected = format!("Sign-in refused: {reason}");
        assert_eq!(error.json["data"]["message"], expected);
        let event = json!({"name": "e", "channel": own(user_id), "data": ""});
        server.api().events(&event).is_error(400);
    }
    let longest = "é".repeat(128);
    client.sign_in(&longest);
    client.subscribe(&own(&longest));
    server.api().publish(&own(&longest), "e", "");
    client.expect_on(&own(&longest), "e");
}

#[test]
fn the_length_limit_is_the_apps_own() {
    let server = TestServer::start(Setup::new().usual_with("max_presence_user_id_length", 3));
    let mut client = server.client();
    client.ask_sign_in(r#"{"id":"1234"}"#);
    client.expect_error(None);
    client.sign_in("123");
    client.subscribe("#server-to-user-123");
}

#[test]
fn a_name_beside_the_users_own_channel_keeps_its_characters() {
    let server = TestServer::usual();
    let mut client = server.client();
    for channel in [
        "#server-to-users-a",
        "server-to-user-a:b",
        "#Server-to-user-7",
    ] {
        client.ask(channel);
        assert_eq!(
            client.expect_refusal(channel),
            ("InvalidChannel".to_owned(), 400)
        );
    }
}

/// A `channel:socket` mix-up must not open another user's channel: what is signed for a private channel names it whole.
#[test]
fn an_id_with_colons_opens_nothing_else() {
    let server = TestServer::usual();
    let mut client = server.client();
    let channel = own("7:x");
    let signed = format!("{}:{channel}", client.socket_id);
    let auth = format!(
        "{}:{}",
        server.app().key,
        hmac_hex(&server.app().secret, &signed)
    );
    let data: Value = json!({"auth": auth, "channel": channel});
    client.send(&json!({"event": "pusher:subscribe", "data": data}));
    assert_eq!(
        client.expect_refusal(&channel),
        ("AuthError".to_owned(), 401)
    );
}
