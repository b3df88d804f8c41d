//! What the log says: one line for what matters, JSON when asked, and no storm of lines in a storm.

use serde_json::{Value, json};

use crate::support::{eventually, server::TestServer, setup::Setup, websocket::Upgrade};

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
    let unsigned = saying(&server, "invalid signature of an API request");
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
