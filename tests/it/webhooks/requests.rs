//! The request itself: headers, credentials, and what stays secret.

use serde_json::json;

use super::{Receiver, app_with};
use crate::support::{server::TestServer, setup::Setup, signing::hmac_hex};

#[test]
fn the_headers_are_those_of_the_protocol_and_the_endpoints_own() {
    let receiver = Receiver::start();
    let url = receiver
        .url("/hook/t%20x?key=k%3Dv#part")
        .replace("http://", "http://us%40er:p%3Ass@");
    let headers = json!({"X-Own.Token": "own-token", "User-Agent": "mine/1"});
    let app = app_with(&json!([{"url": url, "headers": headers}]));
    let server = TestServer::start(Setup::new().app(app));
    server.client().subscribe("orders");
    let request = receiver.next();
    request.events(server.app());
    assert_eq!(request.line, "POST /hook/t%20x?key=k%3Dv HTTP/1.1");
    let mut headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    headers.sort_unstable();
    assert_eq!(
        headers,
        [
            "Authorization: Basic dXNAZXI6cDpzcw==".to_owned(),
            format!("Content-Length: {}", request.body.len()),
            "Content-Type: application/json".to_owned(),
            format!("Host: {}", receiver.address),
            "User-Agent: mine/1".to_owned(),
            "X-Own.token: own-token".to_owned(),
            "X-Pusher-Key: key-of-1001".to_owned(),
            format!(
                "X-Pusher-Signature: {}",
                hmac_hex(&server.app().secret, &request.body)
            ),
        ]
    );
}

#[test]
fn connections_are_used_again() {
    let receiver = Receiver::start();
    let server = super::server_for(&receiver);
    let mut client = server.client();
    for number in 0..20 {
        client.subscribe(&format!("room-{number}"));
        receiver.event(server.app());
    }
    assert!(receiver.connections() <= 5, "{}", receiver.connections());
}

#[test]
fn urls_headers_and_signatures_are_never_told() {
    let receiver = Receiver::answering(|_| super::receiver::Reply::Status(500));
    let url = receiver
        .url("/hidden-path?hidden-query")
        .replace("http://", "http://hidden-user:hidden-password@");
    for format in ["text", "json"] {
        let app = app_with(&json!([
            {"url": url, "headers": {"X-Token": "hidden-token"}},
            {"url": "http://nobody.invalid/hidden-path"},
        ]));
        let setup = Setup::new()
            .set("log.level", "trace")
            .set("log.format", format);
        let mut server = TestServer::start(setup.app(app));
        server.client().subscribe("orders");
        let request = receiver.next();
        server.process.wait_stderr("both failures", |log| {
            (log.matches("does not take events").count() == 2).then_some(())
        });
        server.terminate();
        server.expect_clean_exit();
        let printed = server.printed();
        assert!(!printed.contains("hidden"), "{printed}");
        assert!(
            !printed.contains(request.header("x-pusher-signature")),
            "{printed}"
        );
        assert!(
            printed.contains(&receiver.url("")),
            "the origin is named: {printed}"
        );
    }
}
