//! What an operator sees and does over the admin listener's JSON API.

use serde_json::{Value, json};

use crate::support::{app::App, eventually, server::TestServer, setup::Setup, websocket::Upgrade};

const JSON: [&str; 2] = ["Host: localhost", "Content-Type: application/json"];

fn create(server: &TestServer, event: &Value) -> Value {
    let body = event.to_string();
    let response = server.admin_call("POST /api/apps/1001/events", &JSON, &body);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[test]
fn the_state_names_the_node_and_its_apps() {
    let apps = Setup::new().app(App::usual()).app(
        App::new("1002", "key-of-1002")
            .set("name", "Shop")
            .set("max_connections", 7),
    );
    let server = TestServer::start(apps);
    let mut client = server.client();
    client.subscribe("news");
    server.api().publish("news", "order", "x");
    client.expect_on("news", "order");
    let state = server.admin_json("/api/state");
    let expected = json!({
        "engine": "local", "engine_ready": true, "ready": true, "phase": "running", "node": "local",
        "public": server.public.to_string(), "version": env!("CARGO_PKG_VERSION"),
        "cluster": [{"node": "local", "this": true, "connections": 1}],
        "messages_received": 1, "api_messages": 1,
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&state[name], value, "{name}");
    }
    // Greeting, subscription_succeeded, the event; the delivery is counted after the socket has it.
    eventually("three messages were sent", || {
        (server.admin_json("/api/state")["messages_sent"] == 3).then_some(())
    });
    let [first, second] = state["apps"].as_array().expect("apps").as_slice() else {
        panic!("{state}");
    };
    assert_eq!(
        (&first["id"], &first["connections"], &first["channels"]),
        (&json!("1001"), &json!(1), &json!(1))
    );
    assert_eq!(
        (&second["name"], &second["key"]),
        (&json!("Shop"), &json!("key-of-1002"))
    );
    assert_eq!(second["limits"]["max_connections"], 7);
    assert_eq!(second["limits"]["max_event_data_bytes"], 10_240);
    eventually("the latency of the event is known", || {
        let state = server.admin_json("/api/state");
        state["publish_latency_ms"]["p99"]
            .as_f64()
            .filter(|ms| *ms > 0.0)
    });
}

#[test]
fn channels_are_listed_with_their_counts() {
    let server = TestServer::usual();
    let mut clients = [server.client(), server.client()];
    // The second joins last: no member_added is on its way to it.
    for (number, client) in clients.iter_mut().enumerate() {
        client.subscribe("news");
        client.join("presence-cache-room", &number.to_string());
        client.expect_on("presence-cache-room", "pusher:cache_miss");
    }
    clients[1].subscribe("private-encrypted-x");
    let row = |name, kind, cache, subscriptions| json!({"name": name, "kind": kind, "cache": cache, "subscriptions": subscriptions});
    let mut room = row("presence-cache-room", "presence", true, 2);
    room["users"] = json!(2);
    let expected = [
        row("news", "public", false, 2),
        room,
        row("private-encrypted-x", "private-encrypted", false, 1),
    ];
    let all = server.admin_json("/api/apps/1001/channels");
    assert_eq!(all, json!({"channels": expected, "total": 3}));
    let some = server.admin_json("/api/apps/1001/channels?prefix=p&limit=1");
    assert_eq!(some, json!({"channels": [expected[1]], "total": 2}));
    server.admin_get("/api/apps/nobody/channels").is_error(404);
}

#[test]
fn a_channel_shows_its_members_its_cached_event_and_its_sockets() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.join_with(
        "presence-cache-room",
        r#"{"user_id":"7","user_info":{"name":"Ada"}}"#,
    );
    client.expect_on("presence-cache-room", "pusher:cache_miss");
    server
        .api()
        .publish("presence-cache-room", "moved", "{\"x\":1}");
    client.expect_on("presence-cache-room", "moved");
    let shown = server.admin_json("/api/apps/1001/channels/presence-cache-room");
    assert_eq!(
        shown["members"],
        json!([{"user_id": "7", "user_info": {"name": "Ada"}}])
    );
    assert_eq!(
        (&shown["subscriptions"], &shown["users"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(shown["sockets"], json!([client.socket_id]));
    let cached = &shown["cached"];
    assert_eq!(
        (&cached["event"], &cached["data"]),
        (&json!("moved"), &json!("{\"x\":1}"))
    );
    assert!(
        cached["ttl_s"].as_u64().is_some_and(|ttl| ttl > 1000),
        "{cached}"
    );
    let nobody = server.admin_json("/api/apps/1001/channels/nobody");
    assert_eq!(
        (&nobody["subscriptions"], nobody.get("cached")),
        (&json!(0), None)
    );
    server
        .admin_get("/api/apps/1001/channels/a%20b")
        .is_error(400);
}

#[test]
fn connections_are_found_by_what_is_known_of_them() {
    let server = TestServer::start(
        Setup::new()
            .app(App::usual())
            .app(App::new("1002", "key-of-1002")),
    );
    let upgrade = Upgrade::new("/app/key-of-1001?protocol=6&client=js&version=8.6.0");
    let socket = upgrade
        .header("Origin", "https://example.com")
        .connect(server.public);
    let mut ada = crate::support::client::TestClient::greeted(socket, server.app());
    ada.sign_in("ada");
    ada.subscribe("news");
    ada.subscribe("sport");
    let mut other = server.client_of(&server.apps[1]);
    other.join("presence-room", "bob");
    let shown = server.admin_json(&format!("/api/connections/{}", ada.socket_id));
    let expected = json!({
        "app": "1001", "socket_id": ada.socket_id, "user_id": "ada", "channels": ["news", "sport"],
        "transport": "websocket", "client": "js", "client_version": "8.6.0", "protocol": 6,
        "origin": "https://example.com", "address": shown["address"],
        "connected_ms": shown["connected_ms"], "backlog_bytes": 0,
    });
    assert_eq!(shown, expected);
    assert!(
        shown["address"]
            .as_str()
            .is_some_and(|address| address.starts_with("127.0.0.1:"))
    );
    assert!(
        shown["connected_ms"]
            .as_u64()
            .is_some_and(|time| time > 1_700_000_000_000)
    );
    let found = |query: &str| {
        let list = server.admin_json(&format!("/api/connections{query}"));
        let rows = list["connections"].as_array().expect("a list").clone();
        assert_eq!(list["total"], rows.len(), "{list}");
        let mut ids: Vec<_> = rows
            .iter()
            .map(|row| row["socket_id"].as_str().expect("an id").to_owned())
            .collect();
        ids.sort();
        ids
    };
    let mut both = vec![ada.socket_id.clone(), other.socket_id.clone()];
    both.sort();
    assert_eq!(found(""), both);
    for query in [
        "?app=1001",
        "?channel=sport",
        "?user=ada",
        "?search=example.com",
    ] {
        assert_eq!(found(query), [ada.socket_id.clone()], "{query}");
    }
    assert_eq!(found("?user=bob"), [other.socket_id.clone()]);
    assert!(found("?app=1002&channel=news").is_empty());
    assert_eq!(server.admin_json("/api/connections?limit=1")["total"], 2);
    assert_eq!(
        server.admin_json("/api/connections?user=ada")["connections"][0]["channels"],
        2
    );
    server.admin_get("/api/connections/1.2").is_error(404);
    server.admin_get("/api/connections/nonsense").is_error(400);
}

#[test]
fn a_connection_is_ended_and_does_not_come_back_as_another() {
    let server = TestServer::usual();
    let (mut client, mut other) = (server.client(), server.client());
    let line = format!("DELETE /api/connections/{}", client.socket_id);
    assert_eq!(
        server.admin_call(&line, &["Host: localhost"], "").status,
        204
    );
    let reason = client.expect_closed(4009);
    assert_eq!(reason, "Disconnected by the operator.");
    server
        .admin_call(&line, &["Host: localhost"], "")
        .is_error(404);
    other.subscribe("news");
    assert_eq!(server.admin_json("/api/connections")["total"], 1);
}

#[test]
fn an_event_is_created_and_says_whom_it_reached_in_each_channel() {
    let server = TestServer::usual();
    let mut clients = [server.client(), server.client()];
    for client in &mut clients {
        client.subscribe("news");
    }
    clients[0].subscribe("private-own");
    let event = json!({
        "name": "order", "channels": ["news", "private-own", "nobody"], "data": "{\"id\":1}",
        "socket_id": clients[0].socket_id,
    });
    let reply = create(&server, &event);
    assert_eq!(clients[1].expect_on("news", "order").data(), "{\"id\":1}");
    assert_eq!(reply["delivered"], 1);
    let channels = json!([
        {"name": "news", "delivered": 1},
        {"name": "private-own", "delivered": 0, "why": "only the excluded socket is subscribed"},
        {"name": "nobody", "delivered": 0, "why": "nobody is subscribed"},
    ]);
    assert_eq!(reply["channels"], channels);
    let marker = json!({"name": "marker", "channels": ["cache-x"], "data": "kept"});
    assert_eq!(create(&server, &marker)["delivered"], 0);
    assert_eq!(
        clients[0].subscribe("cache-x").event(),
        "pusher_internal:subscription_succeeded"
    );
    clients[0].expect_on("cache-x", "marker");
}

#[test]
fn an_event_that_the_api_would_refuse_is_refused() {
    let server = TestServer::usual();
    let post = |app: &str, body: &str| {
        server.admin_call(&format!("POST /api/apps/{app}/events"), &JSON, body)
    };
    post("1001", "nonsense").is_error(400);
    post("1001", r#"{"name":"e","data":""}"#).is_error(400);
    post("1001", r#"{"name":"pusher:e","channels":["a"],"data":""}"#).is_error(400);
    post("1001", r#"{"name":"e","channels":["a b"],"data":""}"#).is_error(400);
    let large = json!({"name": "e", "channels": ["a"], "data": "x".repeat(10_241)});
    post("1001", &large.to_string()).is_error(413);
    post("1001", &" ".repeat((1 << 20) + 1)).is_error(413);
    post("nobody", r#"{"name":"e","channels":["a"],"data":""}"#).is_error(404);
}

/// #16: the list was an arbitrary part, sorted only in itself.
#[test]
fn connections_are_sorted_and_paged_over_all_of_them() {
    let server = TestServer::usual();
    let mut clients: Vec<_> = (0..30).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.sign_in(&format!("user-{:02}", number * 7 % 30));
        for channel in 0..number % 3 {
            client.subscribe(&format!("news-{channel}"));
        }
    }
    let page = |query: &str| {
        let list = server.admin_json(&format!("/api/connections?{query}"));
        assert_eq!(list["total"], 30, "{list}");
        let rows = list["connections"].as_array().expect("a list").clone();
        rows.iter()
            .map(|row| row["user_id"].as_str().expect("a user").to_owned())
            .collect::<Vec<_>>()
    };
    let users: Vec<_> = (0..30).map(|number| format!("user-{number:02}")).collect();
    assert_eq!(page("sort=user&limit=10"), users[..10]);
    assert_eq!(page("sort=user&limit=10&offset=10"), users[10..20]);
    assert_eq!(page("sort=user&limit=10&offset=25"), users[25..]);
    assert!(page("sort=user&offset=30").is_empty());
    let mut backwards = users.clone();
    backwards.reverse();
    assert_eq!(page("sort=user&order=desc&limit=3"), backwards[..3]);
    for sort in [
        "socket",
        "app",
        "client",
        "transport",
        "address",
        "age",
        "backlog",
        "channels",
    ] {
        let mut all: Vec<_> = (0..3)
            .flat_map(|number| page(&format!("sort={sort}&limit=10&offset={}", number * 10)))
            .collect();
        all.sort();
        assert_eq!(all, users, "{sort}: pages neither repeat nor skip");
    }
    let busiest = server.admin_json("/api/connections?sort=channels&order=desc&limit=10");
    let rows = busiest["connections"].as_array().expect("a list");
    assert!(rows.iter().all(|row| row["channels"] == 2), "{busiest}");
    let refused = server.admin_get("/api/connections?sort=colour");
    assert!(refused.is_error(400).contains("backlog"), "{refused:?}");
    server.admin_get("/api/connections?order=up").is_error(400);
}
