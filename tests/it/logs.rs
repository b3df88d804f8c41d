//! What the log says: one line for what matters, JSON when asked, and no storm of lines in a storm.

use serde_json::{Value, json};

use crate::support::{app::App, eventually, server::TestServer, setup::Setup, websocket::Upgrade};

fn lines(server: &TestServer) -> Vec<Value> {
    let log = server.process.stderr();
    let whole = log.lines().filter(|line| line.ends_with('}'));
    whole
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn saying(server: &TestServer, text: &str) -> Vec<Value> {
    let mut found = lines(server);
    let says = |line: &Value| {
        line["fields"]["message"]
            .as_str()
            .is_some_and(|it| it.contains(text))
    };
    found.retain(says);
    found
}

fn with_json(level: &str) -> TestServer {
    TestServer::start(
        Setup::new()
            .set("log.format", "json")
            .set("log.level", level),
    )
}

#[test]
fn a_start_is_one_line_with_all_that_matters() {
    let server = with_json("info");
    let started = eventually("the line", || saying(&server, "started").pop());
    let fields = &started["fields"];
    assert_eq!(fields["public"], json!(server.public.to_string()));
    assert_eq!(fields["admin"], json!(server.admin.to_string()));
    assert_eq!(
        (&fields["engine"], &fields["apps"]),
        (&json!("local"), &json!(1))
    );
    let mut client = server.client();
    client.subscribe("news");
    server.api().publish("news", "order", "");
    client.expect_on("news", "order");
    assert_eq!(lines(&server).len(), 1, "{}", server.process.stderr());
}

#[test]
fn of_a_storm_of_refusals_the_log_tells_once() {
    let server = with_json("info");
    for _ in 0..100 {
        let target = "/app/nobody?protocol=7";
        Upgrade::new(target)
            .connect(server.public)
            .expect_close(4001);
        server
            .api()
            .call("GET", "/channels")
            .secret("wrong")
            .send()
            .is_error(401);
    }
    let refused = saying(&server, "connection refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["fields"]["code"], json!(4001));
    let unsigned = saying(&server, "an API request was refused");
    assert_eq!(unsigned.len(), 1, "{unsigned:?}");
}

#[test]
fn at_debug_a_connection_and_a_request_are_followed_by_their_ids() {
    let server = with_json("debug");
    let mut client = server.client();
    client.subscribe("news");
    let body = json!({"name": "order", "channel": "news", "data": ""}).to_string();
    let call = server.api().call("POST", "/events").body(&body);
    let answer = call.header("X-Request-Id", "order-42").send();
    assert_eq!(answer.header("x-request-id"), Some("order-42"));
    client.expect_on("news", "order");
    let id = client.socket_id.clone();
    client.close();
    let life = eventually("the end of the connection", || {
        let mut life = lines(&server);
        life.retain(|line| line["fields"]["socket_id"] == json!(id));
        let said: Vec<_> = life
            .iter()
            .map(|line| line["fields"]["message"].clone())
            .collect();
        said.contains(&json!("disconnected")).then_some(said)
    });
    assert_eq!(life, ["connected", "subscribed", "disconnected"]);
    let mut request = lines(&server);
    request.retain(|line| line["fields"]["request_id"] == "order-42");
    let said: Vec<_> = request
        .iter()
        .map(|line| &line["fields"]["message"])
        .collect();
    assert_eq!(said, ["published", "answered"]);
}

/// What only a client could have written, at the beginning of a line or anywhere else.
const FORGED: &str = "\n2026-01-01T00:00:00.000000Z ERROR loudhailer: forged\u{1b}[31m";

/// Has clients and backends say it everywhere, and gives the log once all of that is in it.
fn log_of_forgeries(format: &str) -> String {
    let setup = Setup::new()
        .set("log.format", format)
        .set("log.level", "trace");
    let app = App::usual().set("client_events", true);
    let server = TestServer::start(setup.app(app));
    let mut client = server.client();
    client.subscribe("private-room");
    for message in [
        json!({"event": "pusher:subscribe", "data": {"channel": FORGED}}),
        json!({"event": "pusher:subscribe", "data": {"channel": "private-x", "auth": FORGED}}),
        json!({"event": "pusher:unsubscribe", "data": {"channel": FORGED}}),
        json!({"event": "pusher:signin", "data": {"auth": FORGED, "user_data": FORGED}}),
        json!({"event": FORGED, "data": FORGED}),
        json!({"event": format!("client-{FORGED}"), "channel": "private-room", "data": FORGED}),
        json!({"event": "client-x", "channel": FORGED}),
    ] {
        client.send(&message);
    }
    client.expect_answered();
    client.ask_sign_in(&json!({"id": FORGED}).to_string());
    client.ask_with(
        "presence-x",
        &json!({"user_id": FORGED, "user_info": FORGED}).to_string(),
    );
    client.expect_answered();
    let escaped = "%0A2026-01-01T00:00:00.000000Z%20ERROR%20loudhailer:%20forged";
    for target in [
        format!("/apps/{escaped}/channels"),
        format!("/apps/1001/channels?auth_key={escaped}"),
        format!("/{escaped}"),
        format!("/app/{escaped}?protocol={escaped}&client={escaped}&version={escaped}"),
    ] {
        server.get(&target);
        let upgrade = Upgrade::new(&target).header("Origin", "null\tERROR forged");
        let _ = upgrade.refusal(server.public);
    }
    let api = server.api();
    let event = json!({"name": FORGED, "channel": "news", "data": FORGED, "info": FORGED});
    api.call("POST", "/events").body(event.to_string()).send();
    api.events(&json!({"name": FORGED, "channel": "news", "data": FORGED}));
    let call = api
        .call("GET", "/channels")
        .header("X-Request-Id", "last-request");
    call.send();
    eventually("the last request is in the log", || {
        let log = server.process.stderr();
        let answered = |line: &str| line.contains("last-request") && line.contains("answered");
        log.lines().any(answered).then_some(log)
    })
}

#[test]
fn what_clients_say_forges_no_line_of_a_log_in_text() {
    let log = log_of_forgeries("text");
    assert!(log.contains("forged"), "something of it is logged");
    for line in log.lines() {
        assert!(!line.starts_with("2026-01-01"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
        let has_time = line.as_bytes().get(4) == Some(&b'-') && line.contains("Z ");
        assert!(has_time, "a line begins with its time: {line}");
    }
}

#[test]
fn what_clients_say_forges_no_line_of_a_log_in_json() {
    let log = log_of_forgeries("json");
    for line in log.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        assert!(!message.contains("forged"), "{line}");
    }
}

/// #16: the debug log had the key `message` twice.
#[test]
fn no_line_has_a_key_twice() {
    let log = log_of_forgeries("json");
    for line in log.lines() {
        let keys = top_level_keys(line);
        let mut once = keys.clone();
        once.sort();
        once.dedup();
        assert_eq!(keys.len(), once.len(), "{line}");
    }
}

/// The keys of an object and of its `fields`, as they are written.
fn top_level_keys(line: &str) -> Vec<String> {
    struct Keys(Vec<String>);
    impl<'de> serde::de::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Keys;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some(key) = map.next_key::<String>()? {
                        if key == "fields" {
                            let Keys(fields) = map.next_value()?;
                            keys.extend(fields.into_iter().map(|field| format!("fields.{field}")));
                        } else {
                            map.next_value::<Value>()?;
                        }
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            from.deserialize_map(Visitor)
        }
    }
    let Keys(keys) = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    keys
}
