//! Everything a WebSocket can do, by the fallback transports, and both kinds of clients together.

use serde_json::{Value, json};

use crate::support::{
    client::Presence,
    fallback::{Opened, POLLING, STREAMING, Session},
    server::TestServer,
    setup::Setup,
};

#[track_caller]
fn opened(server: &TestServer, kind: &str) -> Opened {
    Session::new(server, server.app()).open(kind)
}

/// Runs the test for each transport against a server of its own.
fn for_both(test: impl Fn(&TestServer, Opened)) {
    for kind in [STREAMING, POLLING] {
        let server = TestServer::start(Setup::new().usual_with("client_events", true));
        let client = opened(&server, kind);
        test(&server, client);
    }
}

#[test]
fn a_channel_of_each_kind_is_subscribed_to_and_heard() {
    for_both(|server, mut client| {
        for channel in ["news", "private-room", "private-encrypted-room"] {
            client.subscribe(channel);
            server.api().publish(channel, "story", "é\"\\\n😀");
            let event = client.polled();
            assert_eq!((event.event(), event.data()), ("story", "é\"\\\n😀"));
        }
        client.subscribe("cache-news");
        assert_eq!(client.polled().event(), "pusher:cache_miss");
    });
}

#[test]
fn a_member_is_told_who_is_there_and_the_others_that_he_came() {
    for_both(|server, mut client| {
        let mut other = server.client();
        other.join("presence-room", "8");
        client.send(&[client.membership("presence-room", "7")]);
        assert_eq!(Presence::of(&client.polled()).ids(), ["7", "8"]);
        let added = other.expect_on("presence-room", "pusher_internal:member_added");
        assert_eq!(added.decoded()["user_id"], json!("7"));
        client
            .send(&[json!({"event": "pusher:unsubscribe", "data": {"channel": "presence-room"}})]);
        let removed = other.expect_on("presence-room", "pusher_internal:member_removed");
        assert_eq!(removed.decoded(), json!({"user_id": "7"}));
    });
}

#[test]
fn client_events_go_both_ways() {
    for_both(|server, mut client| {
        let mut other = server.client();
        other.subscribe("private-room");
        client.subscribe("private-room");
        let event =
            json!({"event": "client-typing", "channel": "private-room", "data": {"by": "http"}});
        client.send(&[event]);
        let heard = other.expect_on("private-room", "client-typing");
        assert_eq!(heard.decoded(), json!({"by": "http"}));
        other.trigger("private-room", "client-typing", &json!({"by": "ws"}));
        let heard = client.polled();
        assert_eq!(heard.decoded(), json!({"by": "ws"}), "and not its own");
    });
}

#[test]
fn client_events_have_their_rate() {
    for_both(|_, mut client| {
        client.subscribe("private-room");
        let event = json!({"event": "client-x", "channel": "private-room", "data": {}});
        client.send(&vec![event; 11]);
        let error = client.polled();
        assert_eq!((error.event(), error.code()), ("pusher:error", Some(4301)));
    });
}

#[test]
fn a_wrong_signature_is_refused() {
    for_both(|_, mut client| {
        let auth = "key-of-1001:0000";
        let ask =
            json!({"event": "pusher:subscribe", "data": {"auth": auth, "channel": "private-room"}});
        client.send(&[ask]);
        let refused = client.polled();
        assert_eq!(refused.event(), "pusher:subscription_error");
        assert_eq!(refused.decoded()["status"], json!(401));
        client.polled().is_error_of_an_open_connection();
        let signin: Value = json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": "{\"id\":\"7\"}"}});
        client.send(&[signin]);
        client.polled().is_error_of_an_open_connection();
        client.send(&[client.subscription("#server-to-user-7")]);
        assert_eq!(client.polled().event(), "pusher:subscription_error");
    });
}

#[test]
fn a_user_signs_in_and_hears_what_is_for_him() {
    for_both(|server, mut client| {
        let user_data = r#"{"id":"7","user_info":{"name":"Ann"}}"#;
        client.send(&[client.signin(user_data)]);
        let success = client.polled();
        assert_eq!(success.event(), "pusher:signin_success");
        assert_eq!(success.decoded(), json!({"user_data": user_data}));
        client.subscribe("#server-to-user-7");
        server.api().publish("#server-to-user-7", "mine", "{}");
        assert_eq!(client.polled().event(), "mine");
    });
}

#[test]
fn a_publisher_may_leave_a_session_out() {
    for_both(|server, mut client| {
        client.subscribe("news");
        let body = json!({"name": "not-for-it", "channel": "news", "data": "", "socket_id": client.socket_id});
        server.api().events(&body).is_empty_object();
        server.api().publish("news", "for-all", "");
        assert_eq!(client.polled().event(), "for-all");
    });
}
