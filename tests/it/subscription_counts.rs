//! §4.7: `subscription_count`, for apps that want it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{client::TestClient, server::TestServer, setup::Setup};

const COUNT: &str = "pusher_internal:subscription_count";
/// Subscribers up to whom each change is told.
const AT_ONCE: usize = 100;

fn counting() -> TestServer {
    TestServer::start(Setup::new().usual_with("subscription_counts", true))
}

#[track_caller]
fn hears(client: &mut TestClient, channel: &str, count: usize) {
    let message = client.expect_on(channel, COUNT);
    assert_eq!(message.keys(), ["channel", "data", "event"]);
    assert_eq!(message.decoded(), json!({"subscription_count": count}));
}

#[test]
fn each_subscriber_is_told_after_each_coming_and_going() {
    let server = counting();
    for channel in ["news", "private-room", "private-encrypted-room"] {
        let mut first = server.client();
        first.subscribe(channel);
        hears(&mut first, channel, 1);
        let mut second = server.client();
        second.subscribe(channel);
        for client in [&mut first, &mut second] {
            hears(client, channel, 2);
        }
        second.unsubscribe(channel);
        hears(&mut first, channel, 1);
        second.expect_silence();
        let mut third = server.client();
        third.subscribe(channel);
        hears(&mut first, channel, 2);
        hears(&mut third, channel, 2);
        third.close();
        hears(&mut first, channel, 1);
        first.expect_silence();
    }
}

#[test]
fn on_a_cache_channel_it_comes_after_the_cached_event() {
    let server = counting();
    let mut client = server.client();
    client.subscribe("cache-news");
    client.expect_on("cache-news", "pusher:cache_miss");
    hears(&mut client, "cache-news", 1);
    server.api().publish("cache-news", "story", "");
    client.expect_on("cache-news", "story");
    let mut later = server.client();
    later.subscribe("cache-news");
    later.expect_on("cache-news", "story");
    hears(&mut later, "cache-news", 2);
}

#[test]
fn a_presence_channel_has_members_and_no_count() {
    let server = counting();
    for channel in ["presence-room", "presence-cache-room"] {
        let mut first = server.client();
        first.join(channel, "7");
        if channel.contains("cache") {
            first.expect_on(channel, "pusher:cache_miss");
        }
        server.client().join(channel, "8");
        first.expect_on(channel, "pusher_internal:member_added");
        first.expect_on(channel, "pusher_internal:member_removed");
        first.expect_silence();
    }
}

#[test]
fn a_repeated_subscription_and_an_unknown_unsubscription_change_nothing() {
    let server = counting();
    let mut client = server.client();
    client.subscribe("news");
    hears(&mut client, "news", 1);
    client.ask("news");
    client.expect_existing("news");
    client.unsubscribe("other");
    client.expect_no_subscription("other");
    client.expect_silence();
    client.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn a_refused_subscription_changes_nothing() {
    let server = counting();
    let mut client = server.client();
    client.subscribe("private-room");
    hears(&mut client, "private-room", 1);
    let mut stranger = server.client();
    let data = json!({"auth": "", "channel": "private-room"});
    stranger.send(&json!({"event": "pusher:subscribe", "data": data}));
    stranger.expect_refusal("private-room");
    client.expect_nothing_before_marker(&server.api(), "private-room");
}

#[test]
fn connections_count_and_not_users() {
    let server = counting();
    let mut tabs = [server.client(), server.client()];
    for tab in &mut tabs {
        tab.sign_in("7");
        tab.subscribe("news");
    }
    hears(&mut tabs[0], "news", 1);
    hears(&mut tabs[0], "news", 2);
    hears(&mut tabs[1], "news", 2);
}

#[test]
fn without_the_apps_leave_nobody_is_told() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    server.client().subscribe("news");
    client.expect_silence();
    client.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn above_a_hundred_it_is_told_every_five_seconds_with_the_last_change_included() {
    let server = counting();
    let mut first = server.client();
    first.subscribe("news");
    hears(&mut first, "news", 1);
    let mut others: Vec<_> = (2..=AT_ONCE).map(|_| server.client()).collect();
    for client in &mut others {
        client.subscribe("news");
    }
    hears_in_the_end(&mut first, "news", AT_ONCE);
    // The first above the threshold is told at once, and begins the interval.
    let mut more: Vec<_> = (0..10).map(|_| server.client()).collect();
    more[0].subscribe("news");
    hears(&mut first, "news", AT_ONCE + 1);
    let began = Instant::now();
    for client in &mut more[1..] {
        client.subscribe("news");
    }
    more.pop().expect("one of them").close();
    hears(&mut first, "news", AT_ONCE + 9);
    let waited = began.elapsed();
    let interval = Duration::from_millis(4_500)..Duration::from_millis(8_000);
    assert!(interval.contains(&waited), "{waited:?}");
    // Quiet until something changes; then again at most every five seconds.
    first.expect_quiet_for(Duration::from_millis(6_500));
    let last = more.pop().expect("one of them");
    last.close();
    hears(&mut first, "news", AT_ONCE + 8);
    // At a hundred and below changes are told soon.
    let began = Instant::now();
    more.drain(..).for_each(TestClient::close);
    hears_in_the_end(&mut first, "news", AT_ONCE);
    assert!(began.elapsed() < Duration::from_secs(4), "{began:?}");
    others.pop().expect("one of them").close();
    hears(&mut first, "news", AT_ONCE - 1);
    first.expect_silence();
}

/// Whatever the client hears before, in the end it is this count.
#[track_caller]
fn hears_in_the_end(client: &mut TestClient, channel: &str, count: usize) {
    let heard = |client: &mut TestClient| client.expect_on(channel, COUNT).decoded();
    while heard(client) != json!({"subscription_count": count}) {}
}

#[test]
fn a_client_that_comes_and_goes_in_a_loop_costs_the_others_four_counts_a_second() {
    let server = counting();
    let mut other = server.client();
    other.subscribe("news");
    hears(&mut other, "news", 1);
    let (mut client, began) = (server.client(), Instant::now());
    while began.elapsed() < Duration::from_secs(2) {
        client.ask("news");
        while client.next().event() != "pusher_internal:subscription_succeeded" {}
        client.unsubscribe("news");
    }
    client.close();
    let mut counts = 0;
    while began.elapsed() < Duration::from_secs(4) {
        counts += usize::from(other.read(Duration::from_millis(300)).is_ok());
    }
    // Four at once, and one each 250 ms.
    assert!((4..=4 + 4 * 4).contains(&counts), "{counts} counts");
}
