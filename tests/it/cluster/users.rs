//! Users who are signed in on any node: who watches them hears of it once, and one session stays one.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    AGREEMENT, expect_not_ready, expect_ready, expect_users, nodes, sign_in, usual,
    watcher::Watcher,
};
use crate::{
    support::{
        api::encode,
        client::TestClient,
        pairs::leave_one_of_each,
        redis::RedisServer,
        server::TestServer,
        setup::Setup,
        stream::ReadError,
        websocket::{Frame, Incoming},
        within,
    },
    users::ids::{IDS, own},
};

const WATCHLIST: &str = "pusher_internal:watchlist_events";

#[track_caller]
fn started(option: &str, value: impl Into<serde_json::Value>) -> (RedisServer, Vec<TestServer>) {
    let redis = RedisServer::start();
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .app(usual().set(option, value).set("session_grace_s", 1));
    let nodes = nodes(3, &setup);
    (redis, nodes)
}

/// A client that watches user `u`, who is offline.
#[track_caller]
fn watching(node: &TestServer) -> TestClient {
    let mut client = sign_in(node, r#"{"id":"watcher","watchlist":["u"]}"#);
    hears(&mut client, "offline");
    client
}

#[track_caller]
fn hears(client: &mut TestClient, status: &str) {
    let events = client.expect(WATCHLIST).decoded();
    let expected = json!({"events": [{"name": status, "user_ids": ["u"]}]});
    assert_eq!(events, expected);
}

#[test]
fn a_user_comes_online_once_whatever_the_nodes() {
    let (_redis, nodes) = started("watchlists", true);
    let mut watchers: Vec<_> = nodes.iter().map(watching).collect();
    let tabs: Vec<_> = nodes
        .iter()
        .map(|node| sign_in(node, r#"{"id":"u"}"#))
        .collect();
    for watcher in &mut watchers {
        hears(watcher, "online");
    }
    let left = Instant::now();
    drop(tabs);
    for watcher in &mut watchers {
        hears(watcher, "offline");
        watcher.expect_silence();
    }
    assert!(
        left.elapsed() >= Duration::from_secs(3),
        "a reload is no news"
    );
}

/// #13 row 4, on any nodes with watchlists. Its id is in the names of topics and keys.
#[track_caller]
pub(super) fn any_user_id_works_on(nodes: &[TestServer]) {
    let [first, .., last] = nodes else {
        panic!("a cluster has several nodes");
    };
    let watchlist = json!({"id": "watcher", "watchlist": IDS});
    let mut watcher = sign_in(last, &watchlist.to_string());
    watcher.expect(WATCHLIST);
    for user_id in IDS {
        let (channel, room) = (own(user_id), "presence-room");
        let mut user = first.client();
        user.sign_in(user_id);
        let online = json!({"events": [{"name": "online", "user_ids": [user_id]}]});
        // On a slow machine the users before may be offline by now.
        while watcher.expect(WATCHLIST).decoded() != online {}
        user.subscribe(&channel);
        let subscribe = json!({"auth": user.auth(room), "channel": room});
        user.send(&json!({"event": "pusher:subscribe", "data": subscribe}));
        user.expect_on(room, "pusher_internal:subscription_succeeded");
        expect_users(nodes, room, &[user_id]);
        last.api().publish(&channel, "invoice.paid", "{}");
        user.expect_on(&channel, "invoice.paid");
        let path = format!("/channels/{}", encode(&channel));
        last.api().get(&path, &[]).is(&json!({"occupied": true}));
        let path = format!("/users/{}/terminate_connections", encode(user_id));
        last.api().post(&path, &json!({})).is_empty_object();
        user.expect_closed(4009);
        expect_users(nodes, room, &[]);
    }
}

#[test]
fn any_user_id_works_on_every_node() {
    let (_redis, nodes) = started("watchlists", true);
    any_user_id_works_on(&nodes);
}

#[test]
fn who_signs_in_while_redis_is_away_is_online_when_it_is_back() {
    let (mut redis, nodes) = started("watchlists", true);
    let mut watcher = watching(&nodes[1]);
    redis.freeze();
    expect_not_ready(&nodes);
    let _user = sign_in(&nodes[0], r#"{"id":"u"}"#);
    redis.thaw();
    hears(&mut watcher, "online");
}

/// Whether the server has closed this client, within that time.
#[track_caller]
fn is_closed(client: &mut TestClient, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match client.socket.read(left) {
            Ok(Incoming::Close(code, _)) => {
                assert_eq!(code, Some(4009));
                client.socket.send(&Frame::close(4009, ""));
                return true;
            }
            Ok(_) => {}
            Err(ReadError::Quiet) => return false,
            Err(ReadError::Ended) => return true,
        }
    }
}

#[test]
fn of_two_sign_ins_at_once_one_stays() {
    let (_redis, nodes) = started("single_session", "replace");
    leave_one_of_each(
        &nodes,
        |client, pair, side| {
            let data = json!({"id": format!("u{pair}"), "session_id": side});
            client.ask_sign_in(&data.to_string());
            client.ask(&format!("room-{pair}"));
        },
        |pair| format!("room-{pair}"),
    );
}

fn one_session_on(rule: &str) -> serde_json::Value {
    json!([{"pattern": "private-outman-user-*", "single_session": rule}])
}

#[test]
fn of_two_subscriptions_at_once_one_stays() {
    let (_redis, nodes) = started("channels", one_session_on("replace"));
    leave_one_of_each(
        &nodes,
        |client, pair, _| client.ask(&format!("private-outman-user-{pair}")),
        |pair| format!("private-outman-user-{pair}"),
    );
}

#[test]
fn a_second_session_on_another_node_is_refused_until_the_place_is_free() {
    const CHANNEL: &str = "private-outman-user-1";
    let (_redis, nodes) = started("channels", one_session_on("refuse"));
    let mut first = nodes[0].client();
    first.subscribe(CHANNEL);
    let mut second = nodes[1].client();
    second.ask(CHANNEL);
    assert_eq!(
        second.expect_refusal(CHANNEL),
        ("LimitReached".to_owned(), 4100)
    );
    first.unsubscribe(CHANNEL);
    within(AGREEMENT, "the place is free", || {
        second.ask(CHANNEL);
        let answer = second.next();
        if answer.event() == super::SUCCEEDED {
            return Ok(());
        }
        second.expect("pusher:error");
        Err(answer.text)
    });
}

#[test]
fn of_two_at_once_one_is_refused() {
    let (_redis, nodes) = started("channels", one_session_on("refuse"));
    for round in 0..12 {
        let channel = format!("private-outman-user-{round}");
        let other = round + usize::from(round % 2 == 0);
        let mut both = [round, other].map(|at| nodes[at % 3].client());
        for client in &mut both {
            client.ask(&channel);
        }
        // Both stay until both are answered.
        let answers = both
            .each_mut()
            .map(|client| client.next().event().to_owned());
        let granted = answers.iter().filter(|event| *event == super::SUCCEEDED);
        assert_eq!(granted.count(), 1, "round {round}: {answers:?}");
    }
}

#[test]
fn tabs_on_several_nodes_are_one_session() {
    const CHANNEL: &str = "presence-outman-user-1";
    let rule = json!([{"pattern": "presence-outman-user-*", "single_session": "replace"}]);
    let (_redis, nodes) = started("channels", rule);
    let data = |session: &str| json!({"user_id": "1", "user_info": {"session_id": session}});
    let mut tabs: Vec<_> = nodes.iter().map(TestServer::client).collect();
    for tab in &mut tabs {
        tab.join_with(CHANNEL, &data("laptop").to_string());
    }
    let mut phone = nodes[1].client();
    phone.join_with(CHANNEL, &data("phone").to_string());
    for tab in &mut tabs {
        tab.expect_on(CHANNEL, "session.replaced");
        tab.expect_closed(4009);
    }
    phone.expect_nothing_before_marker(&nodes[0].api(), CHANNEL);
}

#[test]
fn a_replaced_session_that_comes_back_within_its_grace_is_the_newest_on_every_node() {
    let rule = json!([{"pattern": "private-outman-user-*", "single_session": "replace"}]);
    let redis = RedisServer::start();
    let app = usual().set("channels", rule).set("session_grace_s", 2);
    let setup = Setup::new().set("redis.url", redis.url()).app(app);
    let nodes = nodes(3, &setup);
    // The replaced session is on the first node; on which one it comes back, and which one has the other.
    for (back_on, other_on) in [(0, 0), (0, 1), (1, 0), (1, 2), (2, 2)] {
        let channel = format!("private-outman-user-{back_on}{other_on}");
        let on = |node: usize, session: &str| {
            let mut client = nodes[node].client();
            let data = json!({"user_info": {"session_id": session}});
            client.ask_with(&channel, &data.to_string());
            client.expect_on(&channel, super::SUCCEEDED);
            client
        };
        let mut replaced = on(0, "a");
        let other = on(other_on, "b");
        replaced.expect_on(&channel, "session.replaced");
        other.close();
        let mut back = on(back_on, "a");
        replaced.expect_closed(4009);
        back.expect_nothing_before_marker(&nodes[0].api(), &channel);
        // While the other session is there, it is the one to go.
        let mut other = on(other_on, "b");
        back.expect_on(&channel, "session.replaced");
        let mut third = on(back_on, "a");
        other.expect_on(&channel, "session.replaced");
        other.expect_closed(4009);
        third.expect_nothing_before_marker(&nodes[0].api(), &channel);
    }
}

#[test]
fn a_session_on_a_node_that_stood_still_gives_way_to_a_newer_one() {
    let (_redis, mut nodes) = started("single_session", "replace");
    let mut witness = Watcher::join(&nodes[0], "presence-room", "witness");
    let mut old = sign_in(&nodes[2], r#"{"id":"u","session_id":"old"}"#);
    let mut frozen = Watcher::join(&nodes[2], "presence-room", "frozen");
    witness.expect_members(AGREEMENT, &["frozen", "witness"]);
    nodes[2].freeze();
    witness.expect_members(Duration::from_secs(10), &["witness"]);
    let mut new = sign_in(&nodes[0], r#"{"id":"u","session_id":"new"}"#);
    nodes[2].thaw();
    assert!(is_closed(&mut old, AGREEMENT));
    witness.expect_members(AGREEMENT, &["frozen", "witness"]);
    frozen.expect_members(AGREEMENT, &["frozen", "witness"]);
    assert!(
        !is_closed(&mut new, Duration::from_secs(3)),
        "the newest stays"
    );
}

#[test]
fn a_session_on_a_node_without_redis_gives_way_to_a_newer_one() {
    let redis = RedisServer::start();
    let proxy = crate::support::proxy::Proxy::start(redis.port);
    let app = usual()
        .set("single_session", "replace")
        .set("session_grace_s", 1);
    let near = Setup::new().set("redis.url", redis.url()).app(app);
    let far = near.clone().set("redis.url", proxy.url());
    let nodes = [TestServer::start(near), TestServer::start(far)];
    let mut old = sign_in(&nodes[1], r#"{"id":"u","session_id":"old"}"#);
    proxy.hold_all();
    expect_not_ready(&nodes[1..]);
    let mut new = sign_in(&nodes[0], r#"{"id":"u","session_id":"new"}"#);
    proxy.release();
    expect_ready(AGREEMENT, &nodes);
    assert!(is_closed(&mut old, AGREEMENT));
    assert!(
        !is_closed(&mut new, Duration::from_secs(3)),
        "the newest stays"
    );
    expect_users(&nodes, "presence-none", &[]);
}

#[test]
fn a_session_survives_the_loss_of_all_data() {
    let (redis, nodes) = started("single_session", "replace");
    let mut client = sign_in(&nodes[0], r#"{"id":"u","session_id":"s"}"#);
    let () = redis.ask(&["FLUSHALL"]);
    assert!(!is_closed(&mut client, Duration::from_secs(12)));
    let _newer = sign_in(&nodes[1], r#"{"id":"u","session_id":"t"}"#);
    assert!(is_closed(&mut client, AGREEMENT));
}
