//! §6.3: `#server-to-user-{id}`, which only that user hears.

use serde_json::{Value, json};

use crate::support::{client::TestClient, server::TestServer};

const OWN: &str = "#server-to-user-7";

#[track_caller]
fn signed_in(server: &TestServer, user_id: &str) -> TestClient {
    let mut client = server.client();
    client.sign_in(user_id);
    client.subscribe(&format!("#server-to-user-{user_id}"));
    client
}

#[track_caller]
fn is_refused(client: &mut TestClient, channel: &str) {
    client.ask(channel);
    assert_eq!(
        client.expect_refusal(channel),
        ("AuthError".to_owned(), 401)
    );
}

#[test]
fn an_event_reaches_every_connection_of_the_user_and_nobody_else() {
    let server = TestServer::usual();
    let mut theirs: Vec<_> = (0..4).map(|_| signed_in(&server, "7")).collect();
    let mut other = signed_in(&server, "77");
    let mut stranger = server.client();
    stranger.subscribe("news");
    let body = json!({"name": "invoice.paid", "channels": [OWN], "data": "{\"id\":9}"});
    server.api().events(&body).is_empty_object();
    for client in &mut theirs {
        let event = client.expect_on(OWN, "invoice.paid");
        assert_eq!(event.data(), r#"{"id":9}"#);
        assert_eq!(event.keys(), ["channel", "data", "event"]);
    }
    other.expect_nothing_before_marker(&server.api(), "#server-to-user-77");
    stranger.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn it_may_be_published_as_channel_and_in_a_batch() {
    let server = TestServer::usual();
    let mut client = signed_in(&server, "7");
    let api = server.api();
    api.events(&json!({"name": "a", "channel": OWN, "data": ""}))
        .is_empty_object();
    api.batch(&[json!({"name": "b", "channel": OWN, "data": ""})])
        .is_empty_object();
    client.expect_on(OWN, "a");
    client.expect_on(OWN, "b");
}

#[test]
fn another_users_channel_is_refused_in_every_spelling() {
    let server = TestServer::usual();
    let mut victim = signed_in(&server, "7");
    let mut client = signed_in(&server, "8");
    for channel in [
        OWN,
        "#server-to-user-88",
        "#server-to-user-08",
        "#server-to-user-8,7",
        "#server-to-user-8-",
    ] {
        is_refused(&mut client, channel);
    }
    for channel in [
        "#server-to-user-",
        "#server-to-user",
        "#Server-To-User-8",
        "#server-to-user-8 ",
        "##server-to-user-8",
        "#online-38",
        "#8",
        "#",
    ] {
        client.ask(channel);
        client.expect_refusal(channel);
    }
    server.api().publish(OWN, "secret", "");
    victim.expect_on(OWN, "secret");
    client.expect_nothing_before_marker(&server.api(), "#server-to-user-8");
}

#[test]
fn a_signature_for_the_channel_is_no_way_in() {
    let server = TestServer::usual();
    let mut client = server.client();
    let channel_data = r#"{"user_id":"7"}"#;
    let requests: [Value; 2] = [
        json!({"auth": client.auth(OWN), "channel": OWN}),
        json!({"auth": client.auth_with(OWN, channel_data), "channel": OWN, "channel_data": channel_data}),
    ];
    for data in requests {
        client.send(&json!({"event": "pusher:subscribe", "data": data}));
        assert_eq!(client.expect_refusal(OWN), ("AuthError".to_owned(), 401));
    }
}

#[test]
fn before_the_sign_in_it_is_refused_and_after_it_it_is_not() {
    let server = TestServer::usual();
    let mut client = server.client();
    is_refused(&mut client, OWN);
    client.sign_in("7");
    client.subscribe(OWN);
}

#[test]
fn a_user_who_does_not_subscribe_hears_nothing() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.sign_in("7");
    server.api().publish(OWN, "unheard", "");
    client.expect_silence();
}

#[test]
fn it_is_not_listed_among_the_channels() {
    let server = TestServer::usual();
    let mut client = signed_in(&server, "7");
    client.subscribe("news");
    let api = server.api();
    api.get("/channels", &[])
        .is(&json!({"channels": {"news": {}}}));
    api.get("/channels", &[("filter_by_prefix", "#")])
        .is(&json!({"channels": {}}));
}

#[test]
fn nobody_may_trigger_client_events_on_it() {
    let setup = crate::support::setup::Setup::new().usual_with("client_events", true);
    let server = TestServer::start(setup);
    let mut tabs = [signed_in(&server, "7"), signed_in(&server, "7")];
    tabs[0].trigger(OWN, "client-x", &json!({}));
    tabs[0].expect_error(Some(4301));
    tabs[1].expect_nothing_before_marker(&server.api(), OWN);
}

#[test]
fn the_backend_cannot_publish_to_who_is_online() {
    let server = TestServer::usual();
    let body = json!({"name": "x", "channel": "#online-37", "data": ""});
    server.api().events(&body).is_error(400);
    server
        .api()
        .get("/channels/%23online-37", &[])
        .is_error(400);
    server
        .api()
        .get("/channels/%23online-37/users", &[])
        .is_error(400);
}
