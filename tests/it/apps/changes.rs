//! What a change of the apps means, on every store (#14).

use std::{slice, time::Instant};

use serde_json::json;

use super::{
    connects, goes_on, other,
    store::{StoreKind, Stored, on_every_store},
};
use crate::{
    hostile::slow_app,
    support::{
        app::App,
        eventually,
        fallback::{POLLING, SEND, STREAMING, Session},
        websocket::{Frame, PING},
    },
};

on_every_store! {
    a_disabled_app_is_closed_with_4003_and_a_removed_one_with_4001
    limits_and_switches_count_for_open_connections_at_their_next_message
    rules_count_for_channels_that_are_occupied_already
    a_lowered_connection_limit_closes_nobody
    a_removed_origin_and_a_revoked_key_close_nobody
    quota_counters_survive_a_change_of_something_else
    bounds_of_messages_and_channels_count_for_open_connections
    fallbacks_are_switched_off_and_on_while_the_server_runs
}

fn a_disabled_app_is_closed_with_4003_and_a_removed_one_with_4001(kind: StoreKind) {
    let (usual, other) = (App::usual(), other());
    let stored = Stored::start(kind, &[usual.clone(), other.clone()]);
    let server = &stored.server;
    let mut clients: Vec<_> = (0..20).map(|_| server.client_of(&usual)).collect();
    let mut others: Vec<_> = (0..20).map(|_| server.client_of(&other)).collect();
    let disabled = other.clone().set("enabled", false);
    stored.put(&[usual.clone(), disabled.clone()]);
    for client in &mut others {
        client.expect_closed(4003);
    }
    server.api_of(&other).get("/channels", &[]).is_error(403);
    clients[0].subscribe("news");
    goes_on(server, &mut clients[0]);
    stored.put(slice::from_ref(&disabled));
    for client in &mut clients {
        client.expect_closed(4001);
    }
    server.api_of(&usual).get("/channels", &[]).is_error(404);
}

fn limits_and_switches_count_for_open_connections_at_their_next_message(kind: StoreKind) {
    let usual = App::usual();
    let stored = Stored::start(kind, slice::from_ref(&usual));
    let server = &stored.server;
    let mut client = server.client();
    client.subscribe("private-room");
    client.trigger("private-room", "client-a", &json!("x"));
    client.expect_error(Some(4301));
    let mut other = server.client();
    other.subscribe("private-room");
    let events = usual.clone().set("client_events", true);
    stored.put(slice::from_ref(&events));
    client.trigger("private-room", "client-a", &json!("x"));
    other.expect_on("private-room", "client-a");
    let short = events.set("max_event_data_bytes", 3);
    stored.put(slice::from_ref(&short));
    client.trigger("private-room", "client-a", &json!("long"));
    client.expect_error(Some(4301));
    let body = json!({"name": "e", "channel": "news", "data": "long"});
    server.api().events(&body).is_error(413);
}

fn rules_count_for_channels_that_are_occupied_already(kind: StoreKind) {
    let usual = App::usual();
    let stored = Stored::start(kind, slice::from_ref(&usual));
    let server = &stored.server;
    let mut client = server.client();
    client.subscribe("news");
    let rules = json!([{"pattern": "news", "replay_events": 2}]);
    stored.put(&[usual.set("channels", rules)]);
    server.api().publish("news", "order", "1");
    client.expect_on("news", "order");
    let mut late = server.client();
    late.subscribe("news");
    late.expect_on("news", "order");
}

fn a_lowered_connection_limit_closes_nobody(kind: StoreKind) {
    let usual = App::usual();
    let stored = Stored::start(kind, slice::from_ref(&usual));
    let server = &stored.server;
    let mut clients = [server.client(), server.client()];
    clients[0].subscribe("news");
    clients[1].subscribe("news");
    let one = usual.clone().set("max_connections", 1);
    stored.put(slice::from_ref(&one));
    server
        .upgrade("7")
        .connect(server.public)
        .expect_close(4004);
    for client in &mut clients {
        client.expect_silence();
    }
}

fn a_removed_origin_and_a_revoked_key_close_nobody(kind: StoreKind) {
    let usual = App::usual();
    let old = json!([{"key": "old", "secret": "secret-of-old-never-printed"}]);
    let with_old = usual.clone().set("keys", old);
    let stored = Stored::start(kind, &[with_old]);
    let server = &stored.server;
    let by_old = App::with_secret("1001", "old", "secret-of-old-never-printed");
    let mut client = server.client_of(&by_old);
    client.subscribe("news");
    let strict = usual.clone().set("allowed_origins", json!(["a.test"]));
    stored.put(slice::from_ref(&strict));
    goes_on(server, &mut client);
    assert!(!connects(server, &by_old));
    assert!(!connects(server, &usual), "a client without an origin");
}

fn quota_counters_survive_a_change_of_something_else(kind: StoreKind) {
    const PER_SECOND: usize = 3;
    const CHANGES: usize = 10;
    let usual = App::usual().set("max_backend_events_per_second", PER_SECOND);
    let stored = Stored::start(kind, slice::from_ref(&usual));
    let begun = Instant::now();
    let mut accepted = 0;
    for change in 0..CHANGES {
        let named = usual.clone().set("name", format!("Shop {change}"));
        stored.put(&[named.set("max_read_requests_per_second", change + 1)]);
        let event = json!({"name": "e", "channel": "news", "data": ""});
        let batch = stored.server.api().batch(&vec![event; PER_SECOND]);
        match batch.status {
            200 => accepted += PER_SECOND,
            status => assert_eq!(status, 429),
        }
    }
    // A budget at the beginning, and what every second adds.
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("a short time") + 1;
    let allowed = (1 + seconds) * PER_SECOND;
    assert!(
        accepted <= allowed,
        "{accepted} events, not {allowed} at most"
    );
}

fn bounds_of_messages_and_channels_count_for_open_connections(kind: StoreKind) {
    let usual = App::usual();
    let stored = Stored::start(kind, slice::from_ref(&usual));
    let server = &stored.server;
    let mut client = server.client();
    client.subscribe("news");
    let mut pinging = server.socket();
    stored.put(&[slow_app()]);
    client.ask("more");
    client.expect_refusal("more");
    for _ in 0..260 {
        pinging.send(&Frame::new(PING, ""));
    }
    eventually("control frames alone are too fast for the new rate", || {
        let metrics = server.admin_get("/metrics").body;
        metrics.contains(r#"limiter_type="messages""#).then_some(())
    });
    stored.put(slice::from_ref(&usual));
    client.subscribe("more");
}

fn fallbacks_are_switched_off_and_on_while_the_server_runs(kind: StoreKind) {
    let usual = App::usual();
    let stored = Stored::start(kind, slice::from_ref(&usual));
    let server = &stored.server;
    let mut client = server.client();
    client.subscribe("news");
    let session = Session::new(server, &usual).open(POLLING).session;
    let without = usual.clone().set("fallbacks", false);
    stored.put(slice::from_ref(&without));
    for kind in [POLLING, STREAMING, SEND] {
        session.ask("POST", kind, b"[]").is_error(404);
    }
    goes_on(server, &mut client);
    stored.put(slice::from_ref(&usual));
    drop(Session::new(server, &usual).open(POLLING));
}
