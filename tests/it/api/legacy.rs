//! §7.9: the legacy channel-events endpoint.

use serde_json::json;

use crate::support::{api::Call, server::TestServer};

fn call(server: &TestServer, channel: &str, body: impl AsRef<[u8]>) -> Call {
    let path = format!("/channels/{channel}/events");
    server
        .api()
        .call("POST", &path)
        .set("name", "order.created")
        .body(body)
}

#[test]
fn the_raw_body_is_delivered_and_answered_with_202() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("orders");
    for body in ["{\"id\":42}", "not json", "é😀\u{0}\n", "\"quoted\""] {
        assert_eq!(call(&server, "orders", body).send().status, 202);
        let message = client.expect_on("orders", "order.created");
        assert_eq!(message.data(), body);
    }
}

#[test]
fn the_socket_id_of_the_query_is_excluded() {
    let server = TestServer::usual();
    let (mut author, mut other) = (server.client(), server.client());
    for client in [&mut author, &mut other] {
        client.subscribe("orders");
    }
    let response = call(&server, "orders", "x")
        .set("socket_id", &author.socket_id)
        .send();
    assert_eq!(response.status, 202, "{response:?}");
    other.expect_on("orders", "order.created");
    author.expect_nothing_before_marker(&server.api(), "orders");
}

#[test]
fn what_is_wrong_is_told_as_for_events() {
    let server = TestServer::usual();
    call(&server, "orders", b"\xff\xfe").send().is_error(400);
    call(&server, "orders", "x")
        .without("name")
        .send()
        .is_error(400);
    call(&server, "orders", "x")
        .set("name", "")
        .send()
        .is_error(400);
    call(&server, "orders", "x")
        .set("name", "pusher:error")
        .send()
        .is_error(400);
    call(&server, "orders", "x")
        .set("name", &"x".repeat(201))
        .send()
        .is_error(400);
    call(&server, "orders", "x")
        .set("socket_id", "nonsense")
        .send()
        .is_error(400);
    call(&server, "a%20b", "x").send().is_error(400);
    call(&server, "orders", "x".repeat(10_241))
        .send()
        .is_error(413);
    call(&server, "orders", "x")
        .secret("wrong")
        .send()
        .is_error(401);
    assert_eq!(
        call(&server, "orders", "x".repeat(10_240)).send().status,
        202
    );
}

#[test]
fn a_get_of_it_is_405() {
    let server = TestServer::usual();
    server
        .api()
        .get("/channels/orders/events", &[("name", "e")])
        .is_error(405);
    server
        .api()
        .get("/channels/orders", &[])
        .is(&json!({"occupied": false}));
}
