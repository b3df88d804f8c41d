//! Channels that show a new subscriber their past: the last events, in order, none missing and none twice beside the live ones.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    api::Api,
    app::App,
    client::TestClient,
    eventually,
    fallback::{POLLING, STREAMING, Session},
    process::{ConfigFile, Process},
    server::TestServer,
    setup::Setup,
};

/// An app whose channels `…past-…` show their past by this rule.
pub(crate) fn app(rule: &Value) -> App {
    let mut rule = rule.clone();
    rule["pattern"] = json!("*past-*");
    App::usual()
        .set("channels", json!([rule]))
        .set("client_events", true)
}

fn server(rule: &Value) -> TestServer {
    TestServer::start(Setup::new().app(app(rule)))
}

fn publish(api: &Api, channel: &str, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        api.publish(channel, "e", &number.to_string());
    }
}

#[track_caller]
fn hears(client: &mut TestClient, channel: &str, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        let event = client.expect_on(channel, "e");
        assert_eq!(event.data(), number.to_string());
    }
}

#[test]
fn a_late_subscriber_is_shown_the_last_events_and_then_the_live_ones() {
    let server = server(&json!({"replay_events": 5}));
    let api = server.api();
    for channel in ["past-a", "private-past-a", "private-encrypted-past-a"] {
        publish(&api, channel, 1..=8);
        let mut late = server.client();
        late.subscribe(channel);
        hears(&mut late, channel, 4..=8);
        late.expect_silence();
        publish(&api, channel, 9..=9);
        hears(&mut late, channel, 9..=9);
        late.unsubscribe(channel);
        publish(&api, channel, 10..=10);
        late.subscribe(channel);
        hears(&mut late, channel, 6..=10);
        late.expect_silence();
    }
}

#[test]
fn a_presence_channel_and_a_users_own_show_theirs_too() {
    let server = server(&json!({"replay_events": 5}));
    let own = json!([{"pattern": "#server-to-user-*", "replay_events": 2}]);
    publish(&server.api(), "presence-past-a", 1..=2);
    let mut late = server.client();
    late.join("presence-past-a", "7");
    hears(&mut late, "presence-past-a", 1..=2);
    late.expect_silence();
    let server = TestServer::start(Setup::new().usual_with("channels", own));
    publish(&server.api(), "#server-to-user-7", 1..=3);
    let mut user = server.client();
    user.sign_in("7");
    user.subscribe("#server-to-user-7");
    hears(&mut user, "#server-to-user-7", 2..=3);
}

#[test]
fn channels_without_a_rule_and_cache_channels_are_as_ever() {
    let server = server(&json!({"replay_events": 5}));
    let api = server.api();
    publish(&api, "news", 1..=3);
    publish(&api, "cache-past-a", 1..=3);
    let mut late = server.client();
    late.subscribe("news");
    late.subscribe("cache-past-a");
    hears(&mut late, "cache-past-a", 3..=3);
    late.expect_silence();
}

#[test]
fn who_was_left_out_stays_left_out() {
    let server = server(&json!({"replay_events": 5}));
    let api = server.api();
    let mut author = server.client();
    let mut event = json!({"name": "e", "channel": "past-a", "data": "1"});
    event["socket_id"] = json!(author.socket_id);
    api.events(&event).is_empty_object();
    publish(&api, "past-a", 2..=2);
    author.subscribe("past-a");
    hears(&mut author, "past-a", 2..=2);
    author.expect_silence();
    let mut other = server.client();
    other.subscribe("past-a");
    hears(&mut other, "past-a", 1..=2);
}

#[test]
fn clients_events_and_repeated_subscriptions_bring_nothing_back() {
    let server = server(&json!({"replay_events": 5}));
    let mut first = server.client();
    first.subscribe("private-past-a");
    first.trigger("private-past-a", "client-x", &json!(1));
    publish(&server.api(), "private-past-a", 1..=1);
    hears(&mut first, "private-past-a", 1..=1);
    first.ask("private-past-a");
    first.expect_existing("private-past-a");
    first.expect_silence();
    let mut late = server.client();
    late.subscribe("private-past-a");
    hears(&mut late, "private-past-a", 1..=1);
    late.expect_silence();
}

#[test]
fn what_is_too_old_is_forgotten() {
    let server = server(&json!({"replay_s": 1}));
    publish(&server.api(), "past-a", 1..=3);
    eventually("the past is over", || {
        let mut late = server.client();
        late.subscribe("past-a");
        late.send(&json!({"event": "pusher:ping", "data": {}}));
        (late.next().event() == "pusher:pong").then_some(())
    });
    publish(&server.api(), "past-a", 4..=4);
    let mut late = server.client();
    late.subscribe("past-a");
    hears(&mut late, "past-a", 4..=4);
}

/// Subscribes and gives the numbers of what was replayed, which must be the last ones up to `last`, without a gap.
#[track_caller]
fn replayed(client: &mut TestClient, last: usize) -> usize {
    client.subscribe("past-a");
    client.send(&json!({"event": "pusher:ping", "data": {}}));
    let mut numbers: Vec<usize> = Vec::new();
    loop {
        let message = client.next();
        if message.event() == "pusher:pong" {
            break;
        }
        let number = message.data().trim_start_matches('x');
        numbers.push(number.parse().expect("a number"));
    }
    let count = numbers.len();
    let expected: Vec<usize> = (last + 1 - count..=last).collect();
    assert_eq!(numbers, expected);
    count
}

#[test]
fn a_past_of_large_events_is_short_and_never_too_much_for_a_client() {
    let setup = Setup::new().set("websocket.max_outbox_bytes", 100_000);
    let server = TestServer::start(setup.app(app(&json!({"replay_events": 1000}))));
    for number in 1..=60 {
        let data = format!("{}{number}", "x".repeat(10_000));
        server.api().publish("past-a", "e", &data);
    }
    // 256 KiB are kept; of those a client is shown what half of its outbox takes.
    let shown = replayed(&mut server.client(), 60);
    assert!((3..=5).contains(&shown), "{shown}");
    let roomy = TestServer::start(Setup::new().app(app(&json!({"replay_events": 1000}))));
    for number in 1..=60 {
        let data = format!("{}{number}", "x".repeat(10_000));
        roomy.api().publish("past-a", "e", &data);
    }
    let shown = replayed(&mut roomy.client(), 60);
    assert!((20..=26).contains(&shown), "{shown}");
}

#[test]
fn the_fallbacks_are_shown_the_past_too() {
    let server = server(&json!({"replay_events": 5}));
    publish(&server.api(), "past-a", 1..=7);
    for kind in [STREAMING, POLLING] {
        let mut late = Session::new(&server, server.app()).open(kind);
        late.subscribe("past-a");
        for number in 3..=7 {
            assert_eq!(late.polled().data(), number.to_string());
        }
    }
}

/// While publishers publish, clients come and go: each must hear each publisher's events once and in order, from the first on.
#[track_caller]
pub(crate) fn come_and_go_while_others_publish(nodes: &[TestServer], events: usize) {
    let channel = "past-storm";
    let done = AtomicBool::new(false);
    let publishers = nodes.len().min(2);
    thread::scope(|scope| {
        let publishing: Vec<_> = (0..publishers)
            .map(|publisher| {
                let api = nodes[publisher].api();
                scope.spawn(move || {
                    for number in 1..=events {
                        api.publish(channel, "e", &format!("{publisher} {number}"));
                    }
                })
            })
            .collect();
        let done = &done;
        for (at, node) in nodes.iter().cycle().take(4).enumerate() {
            let mut client = node.client();
            scope.spawn(move || {
                let mut visits = 0;
                while !done.load(Ordering::Relaxed) {
                    // One that stays for a while, and one that is gone at once.
                    let want = if (visits + at) % 2 == 0 { 40 } else { 1 };
                    visit(&mut client, channel, want);
                    visits += 1;
                }
            });
        }
        for publisher in publishing {
            publisher.join().expect("all is published");
        }
        done.store(true, Ordering::Relaxed);
    });
    for node in nodes {
        let mut client = node.client();
        client.subscribe(channel);
        let mut last = HashMap::new();
        while last.values().sum::<usize>() < publishers * events {
            follow(&mut last, client.next().data());
        }
        client.expect_silence();
    }
}

/// Subscribes, hears so many events from the first on, and leaves.
fn visit(client: &mut TestClient, channel: &str, want: usize) {
    client.subscribe(channel);
    let mut last = HashMap::new();
    for _ in 0..want {
        follow(&mut last, client.next().data());
    }
    client.unsubscribe(channel);
    // What was under way came before the answer.
    client.send(&json!({"event": "pusher:ping", "data": {}}));
    loop {
        let message = client.next();
        if message.event() == "pusher:pong" {
            return;
        }
        follow(&mut last, message.data());
    }
}

/// The next event of its publisher, counted from 1, must come next.
#[track_caller]
fn follow(last: &mut HashMap<String, usize>, data: &str) {
    let (publisher, number) = data.split_once(' ').expect("publisher and number");
    let last = last.entry(publisher.to_owned()).or_default();
    assert_eq!(number, (*last + 1).to_string(), "of publisher {publisher}");
    *last += 1;
}

#[test]
fn nothing_is_missed_and_nothing_comes_twice_while_others_publish() {
    let setup = Setup::new().app(app(&json!({"replay_events": 1000})));
    come_and_go_while_others_publish(&[TestServer::start(setup)], 400);
}

#[test]
fn a_rule_that_means_nothing_is_refused() {
    for (line, part) in [
        ("replay_events = 0", "apps[0].channels[0].replay_events"),
        ("replay_events = 1001", "apps[0].channels[0].replay_events"),
        ("replay_s = 0", "apps[0].channels[0].replay_s"),
        ("replay_s = \"1h\"", "apps[0].channels[0].replay_s"),
        ("replay = true", "apps[0].channels[0].replay"),
    ] {
        let toml = format!(
            "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n[[apps.channels]]\npattern = \"a\"\n{line}\n"
        );
        let config = ConfigFile::new(&toml);
        let finished = Process::run(&["check-config", "--config", config.path()], &[]);
        assert_eq!(finished.code, Some(2), "{line}: {finished:?}");
        assert!(finished.stderr.contains(part), "{line}: {finished:?}");
    }
}
