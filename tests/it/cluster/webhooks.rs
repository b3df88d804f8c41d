//! Webhooks of a cluster: each once, whichever node sees what happens.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{AGREEMENT, expect_ready, expect_users, nodes, sign_in, watcher::Watcher};
use crate::{
    support::{
        client::TestClient, random::Random, redis::RedisServer, server::TestServer, setup::Setup,
        within,
    },
    webhooks::{Receiver, app_with},
};

const ROOM: &str = "presence-room";
/// More than the time after which a departure is told.
const QUIET: Duration = Duration::from_millis(4500);

/// A Redis, nodes on it, and who hears of everything.
struct Cluster {
    nodes: Vec<TestServer>,
    redis: RedisServer,
    receiver: Receiver,
}

impl Cluster {
    #[track_caller]
    fn start(count: usize) -> Self {
        Self::with(count, &[])
    }

    #[track_caller]
    fn with(count: usize, options: &[(&str, Value)]) -> Self {
        let (receiver, redis) = (Receiver::start(), RedisServer::start());
        let app = app_with(&json!([{"url": receiver.url("/hook")}]));
        let app = options
            .iter()
            .fold(app, |app, (name, value)| app.set(name, value.clone()));
        let setup = Setup::new().set("redis.url", redis.url()).app(app);
        Self {
            nodes: nodes(count, &setup),
            redis,
            receiver,
        }
    }

    #[track_caller]
    fn join(&self, at: usize, user_id: &str) -> TestClient {
        let mut client = self.nodes[at].client();
        client.join(ROOM, user_id);
        client
    }

    /// The next event, without its channel where that is the room.
    #[track_caller]
    fn hear(&self) -> String {
        let event = self.receiver.event(self.nodes[0].app());
        let mut text = event["name"].as_str().expect("a name").to_owned();
        for field in ["user_id", "subscription_count"] {
            if !event[field].is_null() {
                text.push_str(&format!(" {}", event[field]).replace('"', ""));
            }
        }
        if event["channel"] != ROOM {
            text.push_str(&format!(" on {}", event["channel"].as_str().expect("text")));
        }
        text
    }

    /// The next events, in any order.
    #[track_caller]
    fn hear_all(&self, expected: &[&str]) {
        let mut heard: Vec<_> = expected.iter().map(|_| self.hear()).collect();
        heard.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(heard, expected);
    }

    /// The next events, in this order.
    #[track_caller]
    fn hear_each(&self, expected: &[&str]) {
        for event in expected {
            assert_eq!(self.hear(), *event);
        }
    }
}

#[test]
fn what_happens_on_three_nodes_is_told_once() {
    let cluster = Cluster::start(3);
    let first = cluster.join(0, "7");
    cluster.hear_each(&["channel_occupied", "member_added 7"]);
    let (second, other) = (cluster.join(1, "7"), cluster.join(2, "8"));
    cluster.hear_each(&["member_added 8"]);
    drop((first, other));
    cluster.hear_each(&["member_removed 8"]);
    drop(second);
    cluster.hear_each(&["member_removed 7", "channel_vacated"]);
    cluster.receiver.expect_quiet_for(Duration::from_secs(1));
}

#[test]
fn client_events_misses_and_counts_are_told_once() {
    let cluster = Cluster::with(2, &[("subscription_counts", json!(true))]);
    let channel = "private-cache-news";
    let mut clients: Vec<_> = cluster.nodes.iter().map(TestServer::client).collect();
    let [one, two] = &mut clients[..] else {
        unreachable!("two nodes")
    };
    one.subscribe(channel);
    let on = |text: &str| format!("{text} on {channel}");
    let (occupied, missed) = (on("channel_occupied"), on("cache_miss"));
    cluster.hear_all(&[&occupied, &on("subscription_count 1"), &missed]);
    two.subscribe(channel);
    two.expect_on(channel, "pusher:cache_miss");
    assert_eq!(cluster.hear(), on("subscription_count 2"));
    two.trigger(channel, "client-hello", &json!("x"));
    assert_eq!(cluster.hear(), on("client_event"));
    // Filled and full: nobody misses anything.
    cluster.nodes[0].api().publish(channel, "e", "1");
    while two.next().event() != "e" {}
    two.unsubscribe(channel);
    assert_eq!(cluster.hear(), on("subscription_count 1"));
    two.subscribe(channel);
    assert_eq!(cluster.hear(), on("subscription_count 2"));
}

#[test]
fn many_subscribers_are_counted_at_intervals_for_all_nodes_together() {
    let cluster = Cluster::with(2, &[("subscription_counts", json!(true))]);
    let subscribe = |at: usize| {
        let mut client = cluster.nodes[at % 2].client();
        client.subscribe("crowd");
        client
    };
    let mut crowd: Vec<_> = (0..101).map(subscribe).collect();
    let count = |event: &str| {
        let count = event.strip_prefix("subscription_count ")?;
        count.strip_suffix(" on crowd")?.parse::<usize>().ok()
    };
    // The first above 100 comes at once. A node sends only its newest count of those that wait, and what one node sends
    // may overtake what the other does.
    let hear_until = |last: usize| while count(&cluster.hear()) != Some(last) {};
    hear_until(101);
    crowd.extend((0..9).map(subscribe));
    hear_until(110);
    cluster.receiver.expect_quiet_for(Duration::from_secs(6));
}

#[test]
fn a_killed_nodes_departures_are_told_once() {
    let options = [("watchlists", json!(true))];
    let mut cluster = Cluster::with(3, &options);
    let mut watchers: Vec<_> = (0..2)
        .map(|at| sign_in(&cluster.nodes[at], r#"{"id":"watcher","watchlist":["u"]}"#))
        .collect();
    for watcher in &mut watchers {
        hears(watcher, "offline");
    }
    let mut user = sign_in(&cluster.nodes[2], r#"{"id":"u"}"#);
    let data = json!({"auth": user.auth(ROOM), "channel": ROOM});
    user.send(&json!({"event": "pusher:subscribe", "data": data}));
    user.expect_on(ROOM, super::SUCCEEDED);
    cluster.hear_each(&["channel_occupied", "member_added u"]);
    for watcher in &mut watchers {
        hears(watcher, "online");
    }
    cluster.nodes[2].kill();
    cluster.hear_each(&["member_removed u", "channel_vacated"]);
    for watcher in &mut watchers {
        hears(watcher, "offline");
        watcher.expect_silence();
    }
    cluster.receiver.expect_quiet_for(Duration::from_secs(2));
    // Nothing is left of it that would speak for a later one.
    let _again = cluster.join(0, "u");
    cluster.hear_each(&["channel_occupied", "member_added u"]);
}

#[track_caller]
fn hears(watcher: &mut TestClient, status: &str) {
    let events = watcher.expect("pusher_internal:watchlist_events").decoded();
    let expected = json!({"events": [{"name": status, "user_ids": ["u"]}]});
    assert_eq!(events, expected);
}

#[test]
fn what_a_node_had_yet_to_tell_when_it_was_killed_is_told_by_another() {
    let mut cluster = Cluster::start(2);
    let client = cluster.join(1, "7");
    cluster.hear_each(&["channel_occupied", "member_added 7"]);
    client.close();
    expect_users(&cluster.nodes, ROOM, &[]);
    cluster.nodes[1].kill();
    cluster.hear_each(&["member_removed 7", "channel_vacated"]);
}

#[test]
fn a_page_that_is_loaded_again_from_another_node_is_no_news() {
    let cluster = Cluster::start(2);
    let mut page = cluster.join(0, "7");
    cluster.hear_each(&["channel_occupied", "member_added 7"]);
    for at in [1, 1, 0, 1] {
        page.close();
        page = cluster.join(at, "7");
    }
    cluster.receiver.expect_quiet_for(QUIET);
    let left = Instant::now();
    page.close();
    cluster.hear_each(&["member_removed 7", "channel_vacated"]);
    assert!(left.elapsed() >= Duration::from_secs(3));
}

#[test]
fn clients_that_move_away_from_a_stopping_node_are_no_news() {
    let mut cluster = Cluster::start(3);
    let clients: Vec<_> = ["1", "2"].map(|user| cluster.join(2, user)).into();
    cluster.hear_all(&["channel_occupied", "member_added 1", "member_added 2"]);
    cluster.nodes[2].terminate();
    drop(clients);
    let moved = cluster.join(0, "1");
    cluster.nodes[2].expect_clean_exit();
    // Another node tells of the one who did not come back.
    cluster.hear_each(&["member_removed 2"]);
    cluster.receiver.expect_quiet_for(QUIET);
    drop(moved);
    cluster.hear_each(&["member_removed 1", "channel_vacated"]);
}

#[test]
fn the_last_node_to_stop_tells_of_all_departures() {
    let mut cluster = Cluster::start(1);
    let _client = cluster.join(0, "1");
    cluster.hear_each(&["channel_occupied", "member_added 1"]);
    cluster.nodes[0].terminate();
    cluster.nodes[0].expect_clean_exit();
    cluster.hear_each(&["member_removed 1", "channel_vacated"]);
    let keys: Vec<String> = cluster.redis.ask(&["KEYS", "*:buckets:*"]);
    assert_eq!(keys, [""; 0]);
}

#[test]
fn what_is_put_back_after_a_loss_of_data_is_no_news() {
    let cluster = Cluster::with(2, &[("subscription_counts", json!(true))]);
    let members: Vec<_> = (0..2)
        .map(|at| cluster.join(at, &format!("{at}")))
        .collect();
    cluster.hear_all(&["channel_occupied", "member_added 0", "member_added 1"]);
    let mut listener = cluster.nodes[0].client();
    listener.subscribe("news");
    cluster.hear_all(&["channel_occupied on news", "subscription_count 1 on news"]);
    let () = cluster.redis.ask(&["FLUSHALL"]);
    within(AGREEMENT, "the rows are put back", || {
        let totals: Vec<String> = cluster.redis.ask(&["KEYS", "*:total"]);
        if totals.len() == 2 {
            Ok(())
        } else {
            Err(format!("{totals:?}"))
        }
    });
    expect_users(&cluster.nodes, ROOM, &["0", "1"]);
    cluster.receiver.expect_quiet_for(QUIET);
    drop(members);
    cluster.hear_all(&["member_removed 0", "member_removed 1", "channel_vacated"]);
    drop(listener);
    cluster.hear_all(&["subscription_count 0 on news", "channel_vacated on news"]);
}

#[test]
fn who_left_while_redis_was_away_and_lost_its_data_is_told() {
    let mut cluster = Cluster::start(2);
    let (gone, stays) = (cluster.join(0, "gone"), cluster.join(1, "stays"));
    cluster.hear_all(&[
        "channel_occupied",
        "member_added gone",
        "member_added stays",
    ]);
    cluster.redis.kill();
    super::expect_not_ready(&cluster.nodes);
    gone.close();
    cluster.redis.start_again();
    expect_ready(AGREEMENT, &cluster.nodes);
    cluster.hear_each(&["member_removed gone"]);
    drop(stays);
    cluster.hear_each(&["member_removed stays", "channel_vacated"]);
}

#[test]
fn a_node_that_stood_still_tells_of_its_members_again() {
    let mut cluster = Cluster::start(2);
    let mut witness = Watcher::join(&cluster.nodes[0], ROOM, "witness");
    let _member = cluster.join(1, "m");
    cluster.hear_all(&["channel_occupied", "member_added witness", "member_added m"]);
    // A request without an answer would be repeated after the thaw, rightly.
    within(AGREEMENT, "the node knows that it was heard", || {
        let metrics = cluster.nodes[1].admin_get("/metrics").body;
        if metrics.contains("loudhailer_webhook_queue_depth 0") {
            Ok(())
        } else {
            Err(metrics)
        }
    });
    cluster.nodes[1].freeze();
    cluster.hear_each(&["member_removed m"]);
    cluster.nodes[1].thaw();
    cluster.hear_each(&["member_added m"]);
    witness.expect_members(AGREEMENT, &["m", "witness"]);
    cluster.receiver.expect_quiet_for(QUIET);
}

#[test]
fn a_session_that_replaces_one_on_another_node_is_told_once() {
    for (rule, event) in [
        ("replace", "session_replaced"),
        ("refuse", "session_refused"),
    ] {
        let (receiver, redis) = (Receiver::start(), RedisServer::start());
        let kinds = ["session_replaced", "session_refused"];
        let app = app_with(&json!([{"url": receiver.url("/"), "event_types": kinds}]));
        let setup = Setup::new()
            .set("redis.url", redis.url())
            .app(app.set("single_session", rule));
        let nodes = nodes(2, &setup);
        let _old = sign_in(&nodes[0], r#"{"id":"7","session_id":"old"}"#);
        let mut new = nodes[1].client();
        new.ask_sign_in(r#"{"id":"7","session_id":"new"}"#);
        let told = receiver.event(nodes[0].app());
        assert_eq!(told["name"], event);
        assert_eq!(told["user_id"], "7");
        assert_eq!(told["session_id"], "new");
        receiver.expect_quiet_for(Duration::from_millis(500));
    }
}

/// Six clients come and go on three nodes, in three threads; then all leave.
#[test]
fn whatever_clients_do_each_arrival_has_its_departure() {
    let cluster = Cluster::start(3);
    thread::scope(|scope| {
        for seed in 0..6_usize {
            let mut clients: Vec<_> = cluster.nodes.iter().map(TestServer::client).collect();
            scope.spawn(move || {
                let mut random = Random::seeded(seed as u64);
                for _ in 0..100 {
                    let (at, user) = (random.below(3), random.below(4));
                    if random.below(2) == 0 {
                        let data = json!({"user_id": user.to_string()});
                        clients[at].ask_with(ROOM, &data.to_string());
                    } else {
                        clients[at].unsubscribe(ROOM);
                    }
                }
                for mut client in clients {
                    client.send(&json!({"event": "pusher:ping", "data": {}}));
                    while client.next().event() != "pusher:pong" {}
                    client.close();
                }
            });
        }
    });
    let mut balance: BTreeMap<String, i32> = BTreeMap::new();
    // Whether the room is vacated for good shows only in the end: everybody has gone, and nothing comes any more.
    let done = |balance: &BTreeMap<String, i32>| {
        !balance.is_empty() && balance.values().all(|count| *count == 0)
    };
    while !done(&balance) {
        let event = cluster.receiver.event(cluster.nodes[0].app());
        let user = event["user_id"].as_str().unwrap_or_default().to_owned();
        let comes = matches!(
            event["name"].as_str(),
            Some("channel_occupied" | "member_added")
        );
        *balance.entry(user).or_default() += if comes { 1 } else { -1 };
    }
    cluster.receiver.expect_quiet_for(QUIET);
}
