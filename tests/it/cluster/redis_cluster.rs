//! A Redis Cluster below the nodes: sharded pub/sub, one slot per channel.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::json;

use super::{
    AGREEMENT, expect_ready, expect_users, nodes,
    users::any_user_id_works_on,
    usual,
    watcher::{Watcher, sync},
};
use crate::support::{
    app::App,
    fallback::{STREAMING, Session},
    redis::{Folder, RedisServer, free_port, run_to_end},
    server::TestServer,
    setup::Setup,
    stream::PATIENCE,
    within,
};
use crate::webhooks::{Receiver, app_with};

/// Enough that every master has some.
const ROOMS: usize = 9;

struct RedisCluster {
    servers: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three masters, each with so many replicas.
    #[track_caller]
    fn start(replicas: usize) -> Self {
        let mut servers: Vec<_> = (0..3 * (1 + replicas))
            .map(|_| {
                let arguments = [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "1500",
                    "--repl-diskless-sync-delay",
                    "0",
                ];
                RedisServer::launch(free_port(), Folder::new(), &arguments)
            })
            .collect();
        for server in &mut servers {
            server.wait_until_it_answers();
        }
        let addresses = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port));
        let addresses: Vec<_> = addresses.collect();
        let replicas = replicas.to_string();
        let mut arguments = vec!["--cluster", "create"];
        arguments.extend(addresses.iter().map(String::as_str));
        arguments.extend(["--cluster-replicas", &replicas, "--cluster-yes"]);
        run_to_end("redis-cli", &arguments);
        let cluster = Self { servers };
        cluster.wait_until_whole();
        cluster
    }

    /// Every server sees every slot served and every replica in its place.
    #[track_caller]
    fn wait_until_whole(&self) {
        within(PATIENCE, "the cluster is whole", || {
            for server in &self.servers {
                let info: String = server.ask(&["CLUSTER", "INFO"]);
                if !info.contains("cluster_state:ok") {
                    return Err(info);
                }
                let replication: String = server.ask(&["INFO", "replication"]);
                if replication.contains("master_link_status:down") {
                    return Err(replication);
                }
            }
            Ok(())
        });
    }

    fn setup(&self) -> Setup {
        let replayed = json!([{"pattern": "past-*", "replay_events": 2}]);
        self.setup_of(usual().set("channels", replayed))
    }

    fn setup_of(&self, app: App) -> Setup {
        let urls: Vec<_> = self.servers[..3].iter().map(RedisServer::url).collect();
        Setup::new()
            .set("redis.url", urls.join(","))
            .set("redis.mode", "cluster")
            .app(app)
    }

    /// The topic of an occupied channel.
    #[track_caller]
    fn topic(&self, channel: &str) -> String {
        let pattern = format!("loudhailer:{{1001:*}}:{channel}");
        let topics = self.servers.iter().flat_map(|server| {
            let topics: Vec<String> = server.ask(&["PUBSUB", "SHARDCHANNELS", &pattern]);
            topics
        });
        topics.into_iter().next().expect("somebody listens")
    }

    /// The server that serves the channel's slot, its id, and the slot.
    #[track_caller]
    fn owner(&self, channel: &str) -> (&RedisServer, String, String) {
        let topic = self.topic(channel);
        let slot: u64 = self.servers[0].ask(&["CLUSTER", "KEYSLOT", &topic]);
        let owner = self.servers.iter().find(|server| {
            let replication: String = server.ask(&["INFO", "replication"]);
            // The other masters answer with its address.
            replication.contains("role:master")
                && server.try_ask::<u64>(&["SPUBLISH", &topic, ""]).is_ok()
        });
        let owner = owner.expect("every slot has an owner");
        (owner, owner.ask(&["CLUSTER", "MYID"]), slot.to_string())
    }
}

fn room(at: usize) -> String {
    format!("presence-room-{at}")
}

/// In every room a watcher on each node.
#[track_caller]
fn rooms(nodes: &[TestServer]) -> Vec<Vec<Watcher>> {
    let mut rooms: Vec<Vec<Watcher>> = (0..ROOMS)
        .map(|at| {
            let joined = nodes
                .iter()
                .zip(["w0", "w1", "w2"])
                .map(|(node, user)| Watcher::join(node, &room(at), user));
            joined.collect()
        })
        .collect();
    for watcher in rooms.iter_mut().flatten() {
        watcher.expect_members(AGREEMENT, &["w0", "w1", "w2"]);
        watcher.edges();
    }
    rooms
}

/// Events cross from every node in every room, and every list is right.
#[track_caller]
fn everything_works(nodes: &[TestServer], rooms: &mut [Vec<Watcher>]) {
    for (at, watchers) in rooms.iter_mut().enumerate() {
        let mut guest = Watcher::join(&nodes[at % 3], &room(at), "guest");
        for watcher in watchers.iter_mut().chain([&mut guest]) {
            watcher.expect_members(AGREEMENT, &["guest", "w0", "w1", "w2"]);
        }
        guest.client.close();
        for watcher in watchers.iter_mut() {
            watcher.expect_members(AGREEMENT, &["w0", "w1", "w2"]);
        }
        for node in nodes {
            sync(node, watchers);
        }
        for watcher in watchers {
            let mut edges = watcher.edges();
            edges.retain(|edge| !edge.contains("probe"));
            assert_eq!(edges, ["+guest", "-guest"]);
        }
        expect_users(nodes, &room(at), &["w0", "w1", "w2"]);
    }
}

/// The braces of an id must not part the keys of its channel, which scripts touch together.
#[test]
fn any_user_id_works() {
    let cluster = RedisCluster::start(0);
    let nodes = nodes(2, &cluster.setup_of(usual().set("watchlists", true)));
    any_user_id_works_on(&nodes);
}

#[test]
fn three_masters_carry_events_members_and_reads() {
    let redis = RedisCluster::start(0);
    let mut nodes = nodes(3, &redis.setup());
    let mut rooms = rooms(&nodes);
    everything_works(&nodes, &mut rooms);
    for number in 0..200 {
        let channels: Vec<_> = (0..ROOMS).map(room).collect();
        let body = json!({"name": "e", "channels": channels, "data": number.to_string()});
        nodes[number % 3].api().events(&body).is_empty_object();
    }
    for watcher in rooms.iter_mut().flatten() {
        let mut next = [0, 1, 2];
        for _ in 0..200 {
            let number: usize = watcher.client.expect("e").data().parse().expect("a number");
            assert_eq!(number, next[number % 3]);
            next[number % 3] += 3;
        }
    }
    let mut client = nodes[0].client();
    for at in 0..ROOMS {
        let channel = format!("cache-{at}");
        nodes[1].api().publish(&channel, "e", &channel);
        client.subscribe(&channel);
        assert_eq!(client.expect_on(&channel, "e").data(), channel);
    }
    let listed = [("filter_by_prefix", "presence-"), ("info", "user_count")];
    let expected: BTreeMap<_, _> = (0..ROOMS)
        .map(|at| (room(at), json!({"user_count": 3})))
        .collect();
    for node in &nodes {
        node.api()
            .get("/channels", &listed)
            .is(&json!({"channels": expected}));
    }
    let mut heard = Vec::new();
    for server in &redis.servers {
        let topics: Vec<String> = server.ask(&["PUBSUB", "SHARDCHANNELS"]);
        assert!(!topics.is_empty(), "every master carries some");
        // Each node has one topic of its own.
        heard.extend(
            topics
                .into_iter()
                .filter(|topic| !topic.contains(":{node-")),
        );
    }
    assert_eq!(heard.len(), 2 * ROOMS + 1, "{heard:?}");
    nodes.remove(2).kill();
    for watchers in &mut rooms {
        watchers.truncate(2);
        for watcher in watchers {
            watcher.expect_members(Duration::from_secs(10), &["w0", "w1"]);
            assert_eq!(watcher.edges(), ["-w2"]);
        }
    }
}

#[test]
fn a_master_that_dies_is_replaced_and_everything_is_right() {
    let mut redis = RedisCluster::start(1);
    let nodes = nodes(3, &redis.setup());
    let mut rooms = rooms(&nodes);
    let victim = redis.owner(&room(0)).0.port;
    let at = redis
        .servers
        .iter()
        .position(|server| server.port == victim);
    redis.servers.remove(at.expect("it is there")).kill();
    // A node timeout, an election, and what a noisy machine adds.
    within(
        Duration::from_secs(20),
        "events flow again everywhere",
        || {
            for (at, watchers) in rooms.iter_mut().enumerate() {
                let marker = format!("again-{at}");
                nodes[at % 3].api().publish(&room(at), &marker, "");
                for watcher in watchers {
                    let heard =
                        std::iter::from_fn(|| watcher.next_event(Duration::from_millis(200)));
                    if !heard.into_iter().any(|event| event == marker) {
                        return Err(format!("{} in room {at}", watcher.user));
                    }
                }
            }
            Ok(())
        },
    );
    // A command that was sent to the dead master may fail only now.
    for (at, node) in nodes.iter().enumerate() {
        for room in (0..ROOMS).map(room) {
            let mut probe = node.client();
            super::join_when_possible(&mut probe, &room, &format!("probe{at}"));
        }
    }
    expect_ready(PATIENCE, &nodes);
    for watcher in rooms.iter_mut().flatten() {
        watcher.expect_members(AGREEMENT, &["w0", "w1", "w2"]);
        let edges = watcher.edges();
        let is_about_a_probe = |edge: &String| edge.contains("probe");
        assert!(
            edges.iter().all(is_about_a_probe),
            "{} saw {edges:?}",
            watcher.user
        );
    }
    everything_works(&nodes, &mut rooms);
    for node in &nodes {
        let printed = node.printed();
        let of_the_library = printed.lines().find(|line| line.contains(" redis::"));
        assert_eq!(of_the_library, None, "our own line is enough");
    }
}

#[test]
fn a_channel_whose_slot_moves_goes_on() {
    let redis = RedisCluster::start(0);
    let nodes = nodes(3, &redis.setup());
    let mut rooms = rooms(&nodes);
    let (from, from_id, slot) = redis.owner(&room(0));
    let to = redis.servers.iter().find(|server| server.port != from.port);
    let to = to.expect("another master");
    let to_id: String = to.ask(&["CLUSTER", "MYID"]);
    let () = to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    let () = from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    let keys: Vec<String> = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
    assert!(keys.iter().any(|key| key.ends_with(&room(0))), "{keys:?}");
    let port = to.port.to_string();
    let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
    migrate.extend(keys.iter().map(String::as_str));
    let () = from.ask(&migrate);
    for server in [to, from].into_iter().chain(&redis.servers) {
        let () = server.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    within(PATIENCE, "events flow again", || {
        nodes[0].api().publish(&room(0), "again", "");
        for watcher in &mut rooms[0] {
            let heard = std::iter::from_fn(|| watcher.next_event(Duration::from_millis(200)));
            if heard.count() == 0 {
                return Err(watcher.user.clone());
            }
        }
        Ok(())
    });
    for watcher in rooms.iter_mut().flatten() {
        watcher.expect_members(AGREEMENT, &["w0", "w1", "w2"]);
        assert_eq!(
            watcher.edges(),
            [""; 0],
            "{} in {}",
            watcher.user,
            watcher.channel
        );
    }
    everything_works(&nodes, &mut rooms);
}

#[test]
fn the_past_is_shown_wherever_its_slot_is() {
    let cluster = RedisCluster::start(0);
    let nodes = nodes(2, &cluster.setup());
    for at in 0..ROOMS {
        let channel = format!("past-{at}");
        for data in ["1", "2", "3"] {
            nodes[0].api().publish(&channel, "e", data);
        }
        within(AGREEMENT, "the other node shows the past", || {
            let mut late = nodes[1].client();
            late.subscribe(&channel);
            late.send(&json!({"event": "pusher:ping", "data": {}}));
            let shown = [late.next(), late.next()].map(|message| message.text);
            let is_right = shown[0].contains(r#""data":"2""#) && shown[1].contains(r#""data":"3""#);
            is_right.then_some(()).ok_or_else(|| shown.concat())
        });
    }
}

#[test]
fn webhooks_are_told_once_and_requests_find_their_session() {
    let (receiver, redis) = (Receiver::start(), RedisCluster::start(0));
    let nodes = nodes(
        2,
        &redis.setup_of(app_with(&json!([{"url": receiver.url("/")}]))),
    );
    let told = |names: [&str; 2]| {
        let events = receiver.events(nodes[0].app(), 2 * ROOMS);
        for name in names {
            let of_name = events.iter().filter(|event| event["name"] == name);
            let rooms: BTreeSet<_> = of_name.map(|event| event["channel"].to_string()).collect();
            assert_eq!(rooms.len(), ROOMS, "{name}: {events:?}");
        }
    };
    let mut clients: Vec<_> = nodes.iter().map(TestServer::client).collect();
    for client in &mut clients {
        for at in 0..ROOMS {
            client.join(&room(at), "7");
        }
    }
    told(["channel_occupied", "member_added"]);
    drop(clients);
    told(["member_removed", "channel_vacated"]);
    let mut opened = Session::new(&nodes[0], nodes[0].app()).open(STREAMING);
    opened.session.move_to(&nodes[1]);
    opened.receive(STREAMING);
    let data = json!({"channel": "news", "auth": ""});
    opened.send(&[json!({"event": "pusher:subscribe", "data": data})]);
    opened.receiving.expect_on("news", super::SUCCEEDED);
}
