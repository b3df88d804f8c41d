//! The live feed: a line for everything that happens, and what happens to a reader that does not keep up.

use serde_json::{Value, json};

use crate::support::{
    app::App,
    client::TestClient,
    feed::Feed,
    http::Http,
    server::TestServer,
    setup::Setup,
    websocket::{Socket, Upgrade},
};

fn watched() -> (TestServer, Feed) {
    let server = TestServer::start(Setup::new().usual_with("client_events", true));
    let feed = Feed::connect(&server);
    (server, feed)
}

#[track_caller]
fn client(server: &TestServer, feed: &mut Feed) -> TestClient {
    let client = server.client();
    let line = feed.expect("connected");
    assert_eq!(line["socket_id"], json!(client.socket_id));
    client
}

/// The line without what every line has.
fn rest(mut line: Value) -> Value {
    let members = line.as_object_mut().expect("an object");
    assert_eq!(members.remove("app"), Some(json!("1001")));
    members.remove("time_ms");
    line
}

#[test]
fn a_connection_is_told_with_where_it_came_from() {
    let (server, mut feed) = watched();
    let upgrade = Upgrade::new("/app/key-of-1001?protocol=6&client=js&version=8.6.0");
    let socket = upgrade
        .header("Origin", "https://example.com")
        .connect(server.public);
    let client = TestClient::greeted(socket, server.app());
    let line = rest(feed.expect("connected"));
    assert!(
        line["address"]
            .as_str()
            .is_some_and(|address| address.starts_with("127.0.0.1")),
        "{line}"
    );
    let expected = json!({
        "type": "connected", "socket_id": client.socket_id, "transport": "websocket", "origin": "https://example.com",
        "address": line["address"], "client": "js", "version": "8.6.0", "protocol": 6,
    });
    assert_eq!(line, expected);
}

#[test]
fn what_a_client_did_not_say_is_absent() {
    let (server, mut feed) = watched();
    let socket = Upgrade::new("/app/key-of-1001").connect(server.public);
    let _client = TestClient::greeted(socket, server.app());
    let line = feed.expect("connected");
    for member in ["origin", "client", "version"] {
        assert_eq!(line.get(member), None, "{line}");
    }
    assert_eq!(line["protocol"], json!(7));
}

#[test]
fn subscriptions_are_told() {
    let (server, mut feed) = watched();
    let mut client = client(&server, &mut feed);
    let socket_id = client.socket_id.clone();
    client.subscribe("news");
    let line = rest(feed.expect("subscribed"));
    assert_eq!(
        line,
        json!({"type": "subscribed", "socket_id": socket_id, "channel": "news"})
    );
    client.join("presence-room", "7");
    let line = rest(feed.expect("member_added"));
    assert_eq!(
        line,
        json!({"type": "member_added", "channel": "presence-room", "user_id": "7"})
    );
    let line = rest(feed.expect("subscribed"));
    let expected = json!({"type": "subscribed", "socket_id": socket_id, "channel": "presence-room", "user_id": "7"});
    assert_eq!(line, expected);
    client.unsubscribe("presence-room");
    feed.expect("unsubscribed");
    let line = rest(feed.expect("member_removed"));
    assert_eq!(
        line,
        json!({"type": "member_removed", "channel": "presence-room", "user_id": "7"})
    );
    client.unsubscribe("news");
    let line = rest(feed.expect("unsubscribed"));
    assert_eq!(
        line,
        json!({"type": "unsubscribed", "socket_id": socket_id, "channel": "news"})
    );
}

#[test]
fn an_api_message_is_told_with_whom_it_reached() {
    let (server, mut feed) = watched();
    let mut clients: Vec<_> = (0..3).map(|_| client(&server, &mut feed)).collect();
    for client in &mut clients {
        client.subscribe("news");
        feed.expect("subscribed");
    }
    server.api().publish("news", "order", "{\"id\":42}");
    let line = rest(feed.expect("api_message"));
    let expected = json!({
        "type": "api_message", "event": "order", "channels": ["news"], "data": "{\"id\":42}", "size": 9, "delivered": 3,
        "request_id": line["request_id"],
    });
    assert_eq!(line, expected);
    let socket_id = &clients[0].socket_id;
    let body =
        json!({"name": "order", "channels": ["news", "other"], "data": "", "socket_id": socket_id});
    server.api().events(&body).is_empty_object();
    let line = rest(feed.expect("api_message"));
    assert_eq!(line["channels"], json!(["news", "other"]));
    assert_eq!(
        (&line["delivered"], &line["size"], &line["excluded"]),
        (&json!(2), &json!(0), &json!(socket_id))
    );
}

#[test]
fn an_event_that_reaches_nobody_says_why() {
    let (server, mut feed) = watched();
    server.api().publish("news", "order", "");
    let line = feed.expect("api_message");
    assert_eq!(line["why"], json!("nobody is subscribed"), "{line}");
    let mut client = client(&server, &mut feed);
    client.subscribe("news");
    feed.expect("subscribed");
    let body =
        json!({"name": "order", "channel": "news", "data": "", "socket_id": client.socket_id});
    server.api().events(&body).is_empty_object();
    let line = feed.expect("api_message");
    let why = json!("only the excluded socket is subscribed");
    assert_eq!(line["why"], why, "{line}");
    server.api().publish("news", "order", "");
    assert_eq!(feed.expect("api_message").get("why"), None);
}

#[test]
fn a_request_is_named_by_its_caller_or_at_random() {
    let (server, mut feed) = watched();
    let body = json!({"name": "order", "channel": "news", "data": ""}).to_string();
    let mut call = |id: Option<&str>| {
        let mut request = server.api().call("POST", "/events").body(&body);
        if let Some(id) = id {
            request = request.header("X-Request-Id", id);
        }
        let response = request.send();
        let told = feed.expect("api_message")["request_id"].clone();
        assert_eq!(json!(response.header("x-request-id")), told);
        told.as_str().expect("a string").to_owned()
    };
    assert_eq!(call(Some("order-42")), "order-42");
    assert_eq!(call(Some("two words")).len(), 16);
    assert_ne!(call(None), call(None));
}

#[test]
fn a_reader_may_choose_lines_by_app_and_type() {
    let setup = Setup::new()
        .app(App::usual())
        .app(App::new("1002", "key-of-1002"));
    let server = TestServer::start(setup);
    let read = |query: &str| Upgrade::new(&format!("/feed{query}")).connect(server.admin);
    let mut by_type = read("?types=subscribed,api_message");
    let mut by_app = read("?app=1002");
    let mut client = server.client();
    client.subscribe("news");
    let _other = server.client_of(&server.apps[1]);
    server.api().publish("news", "order", "");
    let expect = |socket: &mut Socket, kind: &str, app: &str| {
        let line: Value = serde_json::from_str(&socket.expect_text()).expect("JSON");
        assert_eq!(
            (&line["type"], &line["app"]),
            (&json!(kind), &json!(app)),
            "{line}"
        );
    };
    expect(&mut by_type, "subscribed", "1001");
    expect(&mut by_type, "api_message", "1001");
    expect(&mut by_app, "connected", "1002");
}

#[test]
fn each_event_of_a_batch_is_told() {
    let (server, mut feed) = watched();
    let event = |name: &str| json!({"name": name, "channel": "news", "data": ""});
    server
        .api()
        .batch(&[event("a"), event("b"), event("c")])
        .is_empty_object();
    for name in ["a", "b", "c"] {
        assert_eq!(feed.expect("api_message")["event"], json!(name));
    }
}

#[test]
fn a_client_event_is_told() {
    let (server, mut feed) = watched();
    let mut sender = client(&server, &mut feed);
    sender.join("presence-room", "7");
    feed.expect("member_added");
    feed.expect("subscribed");
    let mut other = client(&server, &mut feed);
    other.join("presence-room", "8");
    feed.expect("member_added");
    feed.expect("subscribed");
    sender.trigger("presence-room", "client-typing", &json!("x"));
    let line = rest(feed.expect("client_event"));
    let expected = json!({
        "type": "client_event", "socket_id": sender.socket_id, "event": "client-typing",
        "channel": "presence-room", "data": "x", "delivered": 1, "user_id": "7",
    });
    assert_eq!(line, expected);
}

#[test]
fn a_disconnect_is_told_with_its_code() {
    let (server, mut feed) = watched();
    let client = client(&server, &mut feed);
    let socket_id = client.socket_id.clone();
    client.close();
    let line = rest(feed.expect("disconnected"));
    assert_eq!(
        (&line["socket_id"], &line["code"]),
        (&json!(socket_id), &json!(1000)),
        "{line}"
    );
    assert!(line["reason"].is_string(), "{line}");
}

#[test]
fn an_error_is_told() {
    let (server, mut feed) = watched();
    let mut client = client(&server, &mut feed);
    let socket_id = client.socket_id.clone();
    client.send(
        &json!({"event": "pusher:subscribe", "data": {"channel": "private-room", "auth": "x:y"}}),
    );
    client.expect_refusal("private-room");
    let line = feed.expect("error");
    assert_eq!(
        (&line["socket_id"], &line["app"]),
        (&json!(socket_id), &json!("1001")),
        "{line}"
    );
    assert_eq!(line["code"], json!(401), "{line}");
    assert!(line["message"].is_string(), "{line}");
}

#[test]
fn a_refused_connection_is_told() {
    let (server, mut feed) = watched();
    Upgrade::new("/app/nobody?protocol=7")
        .connect(server.public)
        .expect_close(4001);
    let line = feed.expect("error");
    assert_eq!(line["code"], json!(4001), "{line}");
    assert_eq!(line.get("app"), None, "{line}");
}

#[test]
fn several_readers_hear_the_same() {
    let (server, first) = watched();
    let mut feeds = [first, Feed::connect(&server)];
    server.api().publish("news", "order", "");
    let lines = feeds.each_mut().map(|feed| feed.expect("api_message"));
    assert_eq!(lines[0], lines[1]);
}

/// Events as large as they may be, to nobody.
fn flood(server: &TestServer, count: usize) {
    let channels: Vec<_> = (0..100).map(|number| format!("{number:0>200}")).collect();
    let body = json!({"name": "x".repeat(200), "channels": channels, "data": "x".repeat(10_240)})
        .to_string();
    let api = server.api();
    let mut http = Http::connect(server.public);
    for _ in 0..count {
        http.send(api.call("POST", "/events").body(&body).bytes());
        http.response().is_empty_object();
    }
}

#[test]
fn a_slow_reader_is_told_how_much_it_missed_and_hears_on() {
    let (server, mut feed) = watched();
    let published = 2_000;
    let before = server.resident_kib();
    flood(&server, published);
    let after = server.resident_kib();
    assert!(
        after < before + 64 * 1024,
        "memory grew from {before} to {after} KiB"
    );
    server.api().publish("news", "the end", "");
    let (mut heard, mut dropped) = (0, 0);
    loop {
        let line = feed.next();
        match line["type"].as_str() {
            Some("dropped") => {
                assert_eq!(line.get("app"), None, "{line}");
                dropped += usize::try_from(line["count"].as_u64().expect("a count")).unwrap();
            }
            Some("api_message") if line["event"] == "the end" => break,
            Some("api_message") => heard += 1,
            _ => panic!("{line}"),
        }
        if heard + dropped > published {
            break;
        }
    }
    assert!(dropped > 0, "the reader was slow and missed nothing");
    assert!(
        heard + dropped >= published,
        "{heard} heard and {dropped} dropped of {published}"
    );
    server.api().publish("news", "after", "");
    while feed.next()["event"] != "after" {}
}

#[test]
fn a_reader_that_leaves_changes_nothing() {
    let (server, feed) = watched();
    drop(feed);
    let mut client = server.client();
    client.subscribe("news");
    server.api().publish("news", "order", "");
    client.expect_on("news", "order");
    Feed::connect(&server);
}

/// #16: a 4001 came without key and address, a refused origin without the origin, a 401 without event, channel and request.
#[test]
fn an_error_names_whoever_asked_and_what_for() {
    let server = TestServer::start(
        Setup::new().app(App::usual().set("allowed_origins", json!(["example.com"]))),
    );
    let mut feed = Feed::connect(&server);
    let from = |line: &Value| {
        let address = line["address"].as_str().unwrap_or_default();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
    };
    Upgrade::new("/app/nobody?protocol=7")
        .header("Origin", "https://example.com")
        .connect(server.public)
        .expect_close(4001);
    let line = feed.expect("error");
    assert_eq!(
        (&line["key"], &line["origin"]),
        (&json!("nobody"), &json!("https://example.com")),
        "{line}"
    );
    from(&line);
    Upgrade::new("/app/key-of-1001?protocol=7")
        .header("Origin", "https://evil.example")
        .connect(server.public)
        .expect_close(4009);
    let line = feed.expect("error");
    assert_eq!(line["origin"], json!("https://evil.example"), "{line}");
    let event = json!({"name": "order", "channels": ["news", "sport"], "data": ""});
    let batch = json!({"batch": [{"name": "order", "channel": "news", "data": ""}]});
    for (path, body) in [("/events", event), ("/batch_events", batch)] {
        let call = server
            .api()
            .call("POST", path)
            .body(body.to_string())
            .secret("wrong");
        call.header("X-Request-Id", "order-42").send().is_error(401);
        let line = feed.expect("error");
        assert_eq!(
            (
                &line["event"],
                &line["channel"],
                &line["request_id"],
                &line["app"]
            ),
            (
                &json!("order"),
                &json!("news"),
                &json!("order-42"),
                &json!("1001")
            ),
            "{line}"
        );
        from(&line);
    }
    let mut client = {
        let upgrade =
            Upgrade::new("/app/key-of-1001?protocol=7").header("Origin", "https://example.com");
        TestClient::greeted(upgrade.connect(server.public), server.app())
    };
    feed.expect("connected");
    client.send(&json!({"event": "client-typing", "channel": "private-x", "data": ""}));
    client.expect_error(Some(4301));
    let line = feed.expect("error");
    assert_eq!(
        (
            &line["event"],
            &line["channel"],
            &line["key"],
            &line["origin"]
        ),
        (
            &json!("client-typing"),
            &json!("private-x"),
            &json!("key-of-1001"),
            &json!("https://example.com")
        ),
        "{line}"
    );
}
