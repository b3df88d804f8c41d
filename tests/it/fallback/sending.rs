//! §9.5: `xhr_send`.

use serde_json::json;

use crate::support::{
    app::App,
    fallback::{Opened, POLLING, SEND, STREAMING, Session, body},
    http::Response,
    server::TestServer,
    setup::Setup,
};

fn session(server: &TestServer) -> Session {
    Session::new(server, server.app())
}

#[track_caller]
fn opened(server: &TestServer) -> Opened {
    session(server).open(STREAMING)
}

/// The session must still work.
#[track_caller]
fn works(client: &mut Opened) {
    client.send(&[json!({"event": "pusher:ping", "data": {}})]);
    client.receiving.expect("pusher:pong");
}

#[track_caller]
fn is_refused(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn the_messages_of_one_request_are_taken_in_order() {
    let server = TestServer::usual();
    let mut client = opened(&server);
    let names: Vec<_> = (0..20).map(|number| format!("channel-{number}")).collect();
    let messages: Vec<_> = names.iter().map(|name| client.subscription(name)).collect();
    client.send(&messages);
    for name in &names {
        client
            .receiving
            .expect_on(name, "pusher_internal:subscription_succeeded");
    }
}

#[test]
fn requests_that_overtook_each_other_are_put_in_order() {
    let server = TestServer::usual();
    let mut client = opened(&server);
    let names: Vec<_> = (0..5).map(|number| format!("channel-{number}")).collect();
    // In one segment, the last number first.
    let requests: Vec<u8> = (0..5)
        .rev()
        .flat_map(|number| {
            let messages = body(&[client.subscription(&names[number])]);
            client
                .session
                .request("POST", SEND, 100 + number as u64, &messages)
        })
        .collect();
    let mut http = client.session.connection();
    http.send(requests);
    for _ in &names {
        assert_eq!(http.response().status, 204);
    }
    for name in &names {
        client
            .receiving
            .expect_on(name, "pusher_internal:subscription_succeeded");
    }
}

#[test]
fn an_unknown_session_is_404() {
    let server = TestServer::usual();
    is_refused(&session(&server).send_raw("[]"), 404);
    is_refused(&session(&server).send_raw("nonsense"), 404);
    // The 404 has not made the session known.
    let unknown = session(&server);
    is_refused(&unknown.send_raw("[]"), 404);
    unknown.open(STREAMING);
}

#[test]
fn a_session_is_known_only_under_its_whole_name() {
    let setup = Setup::new()
        .app(App::new("1", "one"))
        .app(App::new("2", "two"));
    let server = TestServer::start(setup);
    let mut owner = Session::named(&server, &server.apps[0], "123/abcdefgh").open(STREAMING);
    owner.subscribe("news");
    let spoiled = body(&[json!({"event": "pusher:unsubscribe", "data": {"channel": "news"}})]);
    for name in [
        "124/abcdefgh",
        "123/abcdefgi",
        "123/ABCDEFGH",
        "abcdefgh/123",
    ] {
        let other = Session::named(&server, &server.apps[0], name);
        is_refused(&other.send_raw(&spoiled), 404);
    }
    let other_app = Session::named(&server, &server.apps[1], "123/abcdefgh");
    is_refused(&other_app.send_raw(&spoiled), 404);
    // Under another app's key the same name is another session.
    let mut second = other_app.open(STREAMING);
    assert_ne!(second.socket_id, owner.socket_id);
    second.subscribe("news");
    server.api().publish("news", "for-one", "");
    owner.receiving.expect_on("news", "for-one");
    let api = server.api_of(&server.apps[1]);
    api.publish("news", "for-two", "");
    second.receiving.expect_on("news", "for-two");
}

#[test]
fn a_malformed_body_is_400_and_the_session_goes_on() {
    let server = TestServer::usual();
    let mut client = opened(&server);
    let malformed: [&[u8]; 14] = [
        b"",
        b" ",
        b"x",
        b"{}",
        b"[",
        b"[]]",
        b"null",
        b"\"\"",
        b"[7]",
        b"[null]",
        b"[[]]",
        b"[{\"event\":\"pusher:ping\",\"data\":{}}]",
        b"[\"\xff\xfe\"]",
        b"[\"\\ud800\"]",
    ];
    for body in malformed {
        is_refused(&client.session.send_raw(body), 400);
    }
    // A right message beside a wrong one is not taken either.
    is_refused(
        &client
            .session
            .send_raw(r#"["{\"event\":\"pusher:ping\",\"data\":{}}",7]"#),
        400,
    );
    works(&mut client);
}

#[test]
fn deeply_nested_json_is_400_and_survived() {
    let server = TestServer::usual();
    let mut client = opened(&server);
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    is_refused(&client.session.send_raw(deep), 400);
    works(&mut client);
}

#[test]
fn a_wrong_message_is_answered_on_the_stream() {
    let server = TestServer::usual();
    let mut client = opened(&server);
    for text in ["", "hello", "[]", "{}", r#"{"event":7}"#] {
        let body = serde_json::to_vec(&[text]).expect("a string");
        assert_eq!(client.session.send_raw(body).status, 204);
        let error = client.receiving.expect("pusher:error");
        assert_eq!(error.code(), None, "{}", error.text);
    }
    client.send(&[json!({"event": "foreign", "data": {}})]);
    let error = client.receiving.expect("pusher:error");
    assert_eq!(error.code(), Some(4301), "{}", error.text);
    works(&mut client);
}

#[test]
fn a_message_over_the_limit_is_413_and_the_session_goes_on() {
    let setup = Setup::new().set("websocket.max_message_bytes", 1_000);
    let server = TestServer::start(setup);
    let mut client = opened(&server);
    let padded = |bytes: usize| {
        let bare = r#"{"event":"pusher:ping","data":{}}"#;
        bare.to_owned() + &" ".repeat(bytes - bare.len())
    };
    let send = |text: String| {
        let body = serde_json::to_vec(&[text]).expect("a string");
        client.session.send_raw(body)
    };
    assert_eq!(send(padded(1_000)).status, 204);
    is_refused(&send(padded(1_001)), 413);
    is_refused(&send(padded(100_000)), 413);
    client.receiving.expect("pusher:pong");
    works(&mut client);
}

#[test]
fn a_large_message_within_the_limit_is_taken() {
    let setup = Setup::new()
        .set("websocket.max_message_bytes", 1 << 20)
        .set("server.max_request_bytes", 4 << 20);
    let server = TestServer::start(setup);
    let mut client = opened(&server);
    let text = format!(
        r#"{{"event":"pusher:ping","data":"{}"}}"#,
        "x".repeat(500_000)
    );
    let body = serde_json::to_vec(&[text]).expect("a string");
    assert_eq!(client.session.send_raw(body).status, 204);
    client.receiving.expect("pusher:pong");
}

#[test]
fn a_body_of_megabytes_is_refused_and_the_session_goes_on() {
    let server = TestServer::usual();
    let mut client = opened(&server);
    let body = format!("[\"{}\"]", "x".repeat(3 << 20));
    assert_eq!(client.session.send_raw(body).status, 413);
    works(&mut client);
}

#[test]
fn a_session_that_was_turned_away_takes_no_messages() {
    let server = TestServer::usual();
    let unknown = Session::new(&server, &App::new("9", "no-such-key"));
    let mut receiving = unknown.receive(POLLING);
    receiving.expect_line(&crate::support::fallback::Line::Open);
    receiving.expect_close(4001);
    let status = unknown
        .send_raw(body(&[json!({"event": "pusher:ping", "data": {}})]))
        .status;
    assert!([204, 404].contains(&status), "{status}");
}

#[test]
fn names_that_are_none_are_not_found() {
    let server = TestServer::usual();
    let key = &server.app().key;
    for path in [
        format!("/pusher/app/{key}/123"),
        format!("/pusher/app/{key}"),
        format!("/pusher/app/{key}//abc"),
        format!("/pusher/app/{key}/123/"),
        format!("/pusher/app/{key}/123/a.b"),
        format!("/pusher/app/{key}/123/{}", "x".repeat(65)),
        format!("/pusher/apps/{key}/123/abcdefgh"),
        "/pusher/app//123/abcdefgh".to_owned(),
        "/pusher".to_owned(),
    ] {
        let wrong = session(&server).path(&path);
        for kind in [STREAMING, POLLING, SEND, "eventsource", "jsonp", "htmlfile"] {
            let response = wrong.ask("POST", kind, b"[]");
            assert_eq!(response.status, 404, "{path}/{kind}: {response:?}");
        }
    }
}
