//! Redis behind sentinels: when the master dies, the nodes find the new one.

use std::{fs, process::Command, time::Duration};

use super::{
    AGREEMENT, expect_ready, expect_users, nodes,
    presence::watchers,
    usual,
    watcher::{Watcher, sync},
};
use crate::support::{
    process::Process,
    redis::{Folder, RedisServer, free_port},
    server::TestServer,
    setup::Setup,
    stream::PATIENCE,
    within,
};

const ROOM: &str = "presence-room";

/// A master, a replica, and three who watch them.
struct Watched {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<(u16, Process, Folder)>,
}

impl Watched {
    #[track_caller]
    fn start() -> Self {
        let master = RedisServer::start();
        let port = master.port.to_string();
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
        let sentinels = (0..3).map(|_| sentinel(master.port, "")).collect();
        let watched = Self {
            master,
            replica,
            sentinels,
        };
        watched.wait_until_whole();
        watched
    }

    #[track_caller]
    fn wait_until_whole(&self) {
        within(
            PATIENCE,
            "the sentinels know each other and the replica",
            || {
                let replication: String = self.replica.ask(&["INFO", "replication"]);
                if !replication.contains("master_link_status:up") {
                    return Err(replication);
                }
                for (port, _, _) in &self.sentinels {
                    let info = ask(&format!("redis://127.0.0.1:{port}"), &["INFO", "sentinel"])?;
                    if !info.contains("status=ok") || !info.contains("slaves=1,sentinels=3") {
                        return Err(info);
                    }
                }
                Ok(())
            },
        );
    }

    fn setup(&self) -> Setup {
        let urls = self
            .sentinels
            .iter()
            .map(|(port, ..)| format!("redis://127.0.0.1:{port}"));
        Setup::new()
            .set("redis.url", urls.collect::<Vec<_>>().join(","))
            .set("redis.mode", "sentinel")
            .set("redis.sentinel_master", "main")
            .app(usual())
    }
}

pub(super) fn ask(url: &str, words: &[&str]) -> Result<String, String> {
    let client = redis::Client::open(url);
    let connection = client.and_then(|client| client.get_connection());
    let mut connection = connection.map_err(|error| error.to_string())?;
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
        .query(&mut connection)
        .map_err(|error| error.to_string())
}

/// A sentinel of the master at this port, and what else its configuration says.
#[track_caller]
pub(super) fn sentinel(master: u16, more: &str) -> (u16, Process, Folder) {
    let (port, folder) = (free_port(), Folder::new());
    let file = folder.file("sentinel.conf");
    let text = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 4000\n{more}"
    );
    fs::write(&file, text).expect("the file is written");
    let mut command = Command::new("redis-server");
    command.args([&file, "--sentinel"]);
    (port, Process::spawn(command), folder)
}

/// Waits until events of every node reach every watcher again.
#[track_caller]
fn expect_flow(nodes: &[TestServer], watchers: &mut [Watcher]) {
    // Down after one second, an election, the promotion, and what a noisy machine adds.
    within(Duration::from_secs(20), "events flow again", || {
        for node in nodes {
            node.api().publish(ROOM, "again", "");
            for watcher in watchers.iter_mut() {
                let heard = std::iter::from_fn(|| watcher.next_event(Duration::from_millis(200)));
                if heard.count() == 0 {
                    return Err(watcher.user.clone());
                }
            }
        }
        Ok(())
    });
    expect_ready(PATIENCE, nodes);
}

#[test]
fn a_master_that_dies_is_followed_by_its_replica() {
    let mut redis = Watched::start();
    let nodes = nodes(3, &redis.setup());
    let mut watchers = watchers(&nodes);
    redis.master.kill();
    expect_flow(&nodes, &mut watchers);
    expect_users(&nodes, ROOM, &["w0", "w1", "w2"]);
    let mut late = Watcher::join(&nodes[1], ROOM, "late");
    for watcher in watchers.iter_mut().chain([&mut late]) {
        watcher.expect_members(AGREEMENT, &["late", "w0", "w1", "w2"]);
    }
    sync(&nodes[2], &mut watchers);
    for watcher in &mut watchers {
        assert_eq!(watcher.edges(), ["+late"]);
    }
}

#[test]
fn members_that_the_replica_never_heard_of_are_put_back_without_an_edge() {
    let mut redis = Watched::start();
    let nodes = nodes(3, &redis.setup());
    let mut watchers = watchers(&nodes);
    // What happens now is known to the master only.
    within(PATIENCE, "the replica is up to date", || {
        match redis.master.ask::<u64>(&["WAIT", "1", "1000"]) {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    redis.replica.freeze();
    let _: u64 = redis.master.ask(&["CLIENT", "KILL", "TYPE", "replica"]);
    let mut others: Vec<_> = ["x0", "x1", "x2"]
        .iter()
        .zip(&nodes)
        .map(|(user, node)| Watcher::join(node, ROOM, user))
        .collect();
    let everyone = ["w0", "w1", "w2", "x0", "x1", "x2"];
    for watcher in watchers.iter_mut().chain(&mut others) {
        watcher.expect_members(AGREEMENT, &everyone);
        watcher.edges();
    }
    redis.master.kill();
    redis.replica.thaw();
    watchers.append(&mut others);
    expect_flow(&nodes, &mut watchers);
    expect_users(&nodes, ROOM, &everyone);
    watchers[0].client.expect_quiet_for(Duration::from_secs(2));
    sync(&nodes[0], &mut watchers);
    for watcher in &mut watchers {
        assert_eq!(watcher.edges(), [""; 0], "{} heard of it", watcher.user);
    }
}
