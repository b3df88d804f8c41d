//! What the live feed shows of webhooks.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{
    Receiver,
    receiver::{Reply, free_address},
    server_for,
};
use crate::support::{app::App, feed::Feed, server::TestServer, setup::Setup};

/// The next line about a webhook; others are passed over.
fn told(feed: &mut Feed) -> serde_json::Value {
    loop {
        let line = feed.next();
        if line["type"] == "webhook" {
            return line;
        }
    }
}

#[test]
fn a_request_is_told_with_how_it_fared() {
    let tries = AtomicUsize::new(0);
    let receiver = Receiver::answering(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let server = server_for(&receiver);
    let mut feed = Feed::connect(&server);
    let mut client = server.client();
    client.subscribe("orders");
    let origin = receiver.url("");
    for (attempt, status, outcome) in [(1, 500, "retry"), (2, 200, "delivered")] {
        let line = told(&mut feed);
        let expected = json!({
            "type": "webhook", "app": "1001", "url": origin, "events": ["channel_occupied"],
            "status": status, "attempt": attempt, "outcome": outcome,
            "took_ms": line["took_ms"], "time_ms": line["time_ms"],
        });
        assert_eq!(line, expected);
        assert!(line["took_ms"].is_u64(), "{line}");
    }
    let metrics = server.admin_get("/metrics").body;
    for sample in [
        r#"loudhailer_webhook_deliveries_total{result="delivered"} 1"#,
        "loudhailer_webhook_latency_seconds_count 1",
        "loudhailer_webhook_queue_depth 0",
    ] {
        assert!(metrics.contains(sample), "{sample}: {metrics}");
    }
}

#[test]
fn an_endpoint_that_is_not_there_is_told_without_a_status_or_the_secrets_of_its_url() {
    let url = format!("http://user:hidden@{}/hidden?hidden", free_address());
    let app = App::usual().set("webhooks", json!([{"url": url}]));
    let setup = Setup::new().set("server.webhook_grace_s", 0).app(app);
    let server = TestServer::start(setup);
    let mut feed = Feed::connect(&server);
    let mut client = server.client();
    client.subscribe("orders");
    let line = told(&mut feed);
    assert_eq!(
        (line.get("status"), &line["outcome"]),
        (None, &json!("retry"))
    );
    assert!(line["error"].is_string(), "{line}");
    assert!(!line.to_string().contains("hidden"), "{line}");
    let metrics = server.admin_get("/metrics").body;
    assert!(
        metrics.contains("loudhailer_webhook_queue_depth 1"),
        "{metrics}"
    );
}
