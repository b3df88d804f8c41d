//! One socket that listens to very many channels.

use std::{io::Write as _, ops::Range, thread, time::Duration};

use serde_json::json;

use super::{Probe, alone, cpu, one_worker, unpaced};
use crate::support::{client::TestClient, eventually, server::TestServer, websocket::Frame};

/// Subscribes to these channels, all at once, and gives the server's CPU time.
pub(super) fn subscribe(
    server: &TestServer,
    client: &mut TestClient,
    channels: Range<usize>,
) -> Duration {
    let (before, count) = (cpu(server), channels.len());
    let mut frames = Vec::new();
    for number in channels {
        let ask =
            json!({"event": "pusher:subscribe", "data": {"channel": format!("room-{number}")}});
        frames.extend(Frame::text(ask.to_string()).bytes());
    }
    let mut stream = client.socket.stream.duplicate();
    let sender = thread::spawn(move || stream.write_all(&frames));
    for _ in 0..count {
        client.expect("pusher_internal:subscription_succeeded");
    }
    sender
        .join()
        .expect("it ends")
        .expect("everything was sent");
    cpu(server) - before
}

#[test]
fn a_subscription_costs_the_same_whatever_the_number_of_the_others() {
    let _alone = alone();
    let app = unpaced().set("max_channels_per_connection", 100_000);
    let server = TestServer::start(one_worker().app(app));
    let mut client = server.client();
    subscribe(&server, &mut client, 0..1000);
    let first = subscribe(&server, &mut client, 1000..3000);
    subscribe(&server, &mut client, 3000..20_000);
    let last = subscribe(&server, &mut client, 20_000..22_000);
    assert!(last < 3 * first, "{first:?}, and later {last:?}");
}

/// CPU time of leaving the last 2000 of so many channels. Another client stays on each, and takes the seat of the one who leaves.
fn leave_2000_of(channels: usize) -> Duration {
    let app = unpaced().set("max_channels_per_connection", 100_000);
    let server = TestServer::start(one_worker().app(app));
    let (mut client, mut other) = (server.client(), server.client());
    subscribe(&server, &mut client, 0..channels);
    subscribe(&server, &mut other, 0..channels);
    let before = cpu(&server);
    for number in channels - 2000..channels {
        client.unsubscribe(&format!("room-{number}"));
    }
    client.expect_silence();
    cpu(&server) - before
}

#[test]
fn leaving_a_channel_costs_the_same_whatever_the_number_of_the_others() {
    let _alone = alone();
    let (of_few, of_many) = (leave_2000_of(2000), leave_2000_of(20_000));
    assert!(
        of_many < 3 * of_few,
        "{of_few:?} of 2000, {of_many:?} of 20,000"
    );
}

#[test]
fn the_end_of_a_connection_with_very_many_channels_holds_nobody_up() {
    let _alone = alone();
    let app = unpaced().set("max_channels_per_connection", 100_000);
    let server = TestServer::start(one_worker().app(app));
    let mut client = server.client();
    subscribe(&server, &mut client, 0..30_000);
    let mut probe = Probe::of(&server);
    probe.longest_of(10);
    drop(client);
    let mut longest = Duration::ZERO;
    eventually("it has left all of them", || {
        longest = longest.max(probe.longest_of(20));
        let channels = server.api().get("/channels/room-29999", &[]).json();
        let rooms = server.api().get("/channels", &[]).json()["channels"].clone();
        let is_over = rooms.as_object().is_some_and(serde_json::Map::is_empty);
        (channels["occupied"] == false && is_over).then_some(())
    });
    assert!(longest < Duration::from_millis(100), "{longest:?}");
}

#[test]
fn a_connection_listens_to_a_thousand_channels_unless_its_app_says_otherwise() {
    let server = TestServer::usual();
    let mut client = server.client();
    subscribe(&server, &mut client, 0..1000);
    client.ask("one-more");
    client.expect_refusal("one-more");
    client.expect_silence();
}

#[test]
fn very_many_who_join_one_channel_at_once_hold_nobody_up() {
    let _alone = alone();
    let app = unpaced().set("max_presence_members", 2000);
    let server = TestServer::start(one_worker().app(app));
    let mut members: Vec<_> = (0..1500).map(|_| server.client()).collect();
    let mut probe = Probe::of(&server);
    let info = "x".repeat(500);
    let asks = members.iter().enumerate().map(|(number, client)| {
        let user = json!({"user_id": number.to_string(), "user_info": info}).to_string();
        let data = json!({"channel": "presence-room", "channel_data": user, "auth": client.auth_with("presence-room", &user)});
        let ask = json!({"event": "pusher:subscribe", "data": data});
        Frame::text(ask.to_string()).bytes()
    });
    let asks: Vec<_> = asks.collect();
    for (client, ask) in members.iter_mut().zip(asks) {
        let sent = client.socket.stream.duplicate().write_all(&ask);
        sent.expect("it is let in");
    }
    let longest = probe.longest_of(30);
    assert!(longest < Duration::from_millis(400), "{longest:?}");
    for client in &mut members {
        client.expect("pusher_internal:subscription_succeeded");
    }
}
