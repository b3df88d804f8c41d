//! Issue #12 row 7: whatever floods an endpoint, events of other kinds, channels and apps find room and are sent.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Receiver, app_with, receiver::Reply};
use crate::support::{
    app::App, client::TestClient, eventually, feed::Feed, server::TestServer, setup::Setup,
};

/// Channels of a flood: more than there is room for.
const FLOOD: usize = 20_000;
/// Channels between two reads of the answers.
const ROUND: usize = 500;
/// What events beside the flood may take: three requests of 2 s, one after the other. The flood alone would take more than half an hour.
const SOON: Duration = Duration::from_secs(8);

/// Subscribes to public channels that differ and leaves each at once.
fn flood(client: &mut TestClient, channels: usize) {
    for round in (0..channels).step_by(ROUND) {
        for number in round..round + ROUND {
            let channel = format!("flood-{number}");
            client.ask(&channel);
            client.unsubscribe(&channel);
        }
        for _ in 0..ROUND {
            client.expect("pusher_internal:subscription_succeeded");
        }
    }
}

/// An endpoint that takes this long for each request.
fn slow(time: Duration) -> Receiver {
    Receiver::answering(move |_| {
        thread::sleep(time);
        Reply::Status(200)
    })
}

/// Waits for so many events on this channel; gives them and when the last came.
fn find(receiver: &Receiver, app: &App, channel: &str, count: usize) -> (Vec<Value>, Instant) {
    let mut found = Vec::new();
    loop {
        let request = receiver.next();
        let events = request.events(app).into_iter();
        found.extend(events.filter(|event| event["channel"] == channel));
        if found.len() >= count {
            return (found, request.at);
        }
    }
}

/// The value of a sample, which must be there.
fn sample(server: &TestServer, name: &str) -> f64 {
    let metrics = server.admin_get("/metrics").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name}: {metrics}"));
    value.trim().parse().expect("a number")
}

#[test]
fn a_member_is_announced_soon_beside_a_flood_of_public_channels() {
    for batching in [false, true] {
        let receiver = slow(Duration::from_secs(2));
        let app = app_with(&json!([{"url": receiver.url("/")}]))
            .set("webhook_batching", batching)
            .unpaced();
        let setup = Setup::new().set("server.webhook_grace_s", 0).app(app);
        let server = TestServer::start(setup);
        let mut attacker = server.client();
        flood(&mut attacker, FLOOD);
        let (began, mut member) = (Instant::now(), server.client());
        member.join("presence-room", "7");
        member.trigger("presence-room", "client-x", &json!(1));
        let (events, came) = find(&receiver, server.app(), "presence-room", 3);
        let names: Vec<_> = events.iter().map(|event| &event["name"]).collect();
        assert_eq!(names, ["channel_occupied", "member_added", "client_event"]);
        assert!(came - began < SOON, "{:?}", came - began);
    }
}

#[test]
fn another_app_gets_its_webhooks_at_once_beside_a_flood() {
    let (busy, idle) = (slow(Duration::from_secs(2)), Receiver::start());
    let app = |id: &str, receiver: &Receiver| {
        let endpoints = json!([{"url": receiver.url("/")}]);
        let app = App::new(id, &format!("key-{id}"));
        app.set("webhooks", endpoints).unpaced()
    };
    let setup = Setup::new().set("server.webhook_grace_s", 0);
    let server = TestServer::start(setup.app(app("1", &busy)).app(app("2", &idle)));
    let other = &server.apps[1];
    let (mut attacker, mut member) = (server.client(), server.client_of(other));
    thread::scope(|scope| {
        scope.spawn(|| flood(&mut attacker, FLOOD));
        for number in 0..20 {
            let (room, began) = (format!("presence-{number}"), Instant::now());
            member.join(&room, "7");
            let (_, came) = find(&idle, other, &room, 2);
            assert!(came - began < SOON, "{room}: {:?}", came - began);
        }
    });
}

#[test]
fn a_channel_full_of_client_events_leaves_room_for_another() {
    let (receiver, gate) = Receiver::gated();
    let kinds = ["client_event"];
    let app = app_with(&json!([{"url": receiver.url("/"), "event_types": kinds}]))
        .set("max_client_events_per_second", 1_000_000)
        .set("webhook_batching", true);
    let server = TestServer::start(Setup::new().app(app));
    let (mut noisy, mut quiet) = (server.client(), server.client());
    noisy.subscribe("private-noisy");
    quiet.subscribe("private-quiet");
    let padding = "x".repeat(5000);
    for _ in 0..3000 {
        noisy.trigger("private-noisy", "client-x", &json!(padding));
    }
    noisy.expect_silence();
    for number in 0..10 {
        quiet.trigger("private-quiet", "client-x", &json!(number));
    }
    quiet.expect_silence();
    gate.open();
    let (quiet, _) = find(&receiver, server.app(), "private-quiet", 10);
    let data: Vec<_> = quiet.iter().map(|event| &event["data"]).collect();
    assert_eq!(data, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let dropped = r#"loudhailer_webhook_dropped_total{event="client_event",reason="overflow"}"#;
    assert!(sample(&server, dropped) > 500.0);
}

#[test]
fn of_subscription_counts_that_wait_only_the_newest_is_sent() {
    let (receiver, gate) = Receiver::gated();
    let kinds = ["subscription_count"];
    let app = app_with(&json!([{"url": receiver.url("/"), "event_types": kinds}]))
        .set("subscription_counts", true);
    let server = TestServer::start(Setup::new().app(app));
    let mut stays = server.client();
    stays.subscribe("orders");
    receiver.event(server.app());
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        client.ask("orders");
        while client.next().event() != "pusher_internal:subscription_succeeded" {}
    }
    while stays.next().decoded() != json!({"subscription_count": 21}) {}
    gate.open();
    let newest = receiver.event(server.app());
    assert_eq!(newest["subscription_count"], 21);
    assert!(receiver.rest().is_empty());
    let superseded = r#"loudhailer_webhook_deliveries_total{result="superseded"}"#;
    assert!(sample(&server, superseded) >= 2.0);
}

#[test]
fn a_channel_that_came_and_went_while_its_endpoint_was_busy_is_not_mentioned() {
    let (receiver, gate) = Receiver::gated();
    let server = super::server_for(&receiver);
    let mut client = server.client();
    // As many as may be under way.
    for number in 0..12 {
        client.subscribe(&format!("stays-{number}"));
        receiver.event(server.app());
    }
    client.subscribe("orders");
    client.unsubscribe("orders");
    let superseded = r#"loudhailer_webhook_deliveries_total{result="superseded"}"#;
    eventually("the pair cancels out", || {
        (sample(&server, superseded) == 2.0).then_some(())
    });
    gate.open();
    client.subscribe("marker");
    assert_eq!(receiver.event(server.app())["channel"], "marker");
}

#[test]
fn what_a_flood_costs_is_counted_by_kind_and_logged_once() {
    let (receiver, _gate) = Receiver::gated();
    // Without channel_vacated, of which each cancels a channel_occupied that waits.
    let kinds = ["channel_occupied", "member_added"];
    let endpoints = json!([{"url": receiver.url("/"), "event_types": kinds}]);
    let app = app_with(&endpoints).unpaced();
    let setup = Setup::new().set("server.webhook_grace_s", 0).app(app);
    let mut server = TestServer::start(setup);
    let mut feed = Feed::connect(&server);
    let mut attacker = server.client();
    flood(&mut attacker, FLOOD);
    let line = loop {
        let line = feed.next();
        if line["type"] == "webhooks_dropped" {
            break line;
        }
    };
    assert_eq!(
        (&line["app"], &line["url"]),
        (&json!("1001"), &json!(receiver.url("")))
    );
    assert!(
        line["overflow"]["channel_occupied"].as_u64() > Some(0),
        "{line}"
    );
    assert_eq!(
        line["overflow"].as_object().map(|kinds| kinds.len()),
        Some(1)
    );
    server.client().join("presence-room", "7");
    let by_kind = |kind: &str| {
        let labels = format!(r#"{{event="{kind}",reason="overflow"}}"#);
        sample(
            &server,
            &format!("loudhailer_webhook_dropped_total{labels}"),
        )
    };
    assert!(by_kind("channel_occupied") > 0.0);
    assert_eq!(by_kind("member_added"), 0.0);
    server.terminate();
    server.expect_clean_exit();
    let log = server.process.stderr();
    let lines = log.matches("webhook events were dropped").count();
    assert!(
        (1..=2).contains(&lines),
        "at once, and the rest at the stop: {log}"
    );
    assert!(log.contains("by_kind=channel_occupied "), "{log}");
}
