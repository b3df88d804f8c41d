//! What must not mix: clusters with different prefixes, apps; and the ways to sign in to Redis.

use serde_json::json;

use super::{
    AGREEMENT, expect_users, nodes, setup,
    watcher::{Watcher, sync},
};
use crate::support::{app::App, redis::RedisServer, server::TestServer, setup::Setup};

/// Two nodes must be one: an event and a member cross over.
#[track_caller]
pub(super) fn are_one(nodes: &[TestServer]) {
    let mut watcher = Watcher::join(&nodes[0], "presence-room", "w0");
    let mut other = Watcher::join(&nodes[1], "presence-room", "w1");
    for watcher in [&mut watcher, &mut other] {
        watcher.expect_members(AGREEMENT, &["w0", "w1"]);
    }
    sync(&nodes[1], std::slice::from_mut(&mut watcher));
    expect_users(nodes, "presence-room", &["w0", "w1"]);
}

#[test]
fn clusters_with_different_prefixes_share_a_redis_and_nothing_else() {
    let redis = RedisServer::start();
    let one = nodes(2, &setup(&redis.url()));
    let two = nodes(
        2,
        &setup(&redis.url()).set("redis.key_prefix", "loudhailer:2"),
    );
    let mut of_one = Watcher::join(&one[0], "presence-room", "a");
    let mut of_two = Watcher::join(&two[0], "presence-room", "b");
    two[1].api().publish("presence-room", "of two", "");
    one[1].api().publish("presence-room", "of one", "");
    of_one.take_to("of one");
    of_two.take_to("of two");
    for (watcher, nodes) in [(&mut of_one, &one), (&mut of_two, &two)] {
        expect_users(nodes, "presence-room", &[&watcher.user.clone()]);
        assert_eq!(watcher.edges(), [""; 0]);
        assert_eq!(watcher.events.len(), 1, "{:?}", watcher.events);
        let channels = nodes[1].api().get("/channels", &[]).json();
        assert_eq!(channels, json!({"channels": {"presence-room": {}}}));
    }
}

#[test]
fn two_apps_share_nothing() {
    let redis = RedisServer::start();
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .app(App::new("1", "one"))
        .app(App::new("2", "two"));
    let nodes = nodes(2, &setup);
    let apps = nodes[0].apps.clone();
    let mut listeners: Vec<_> = apps
        .iter()
        .map(|app| {
            let mut client = nodes[0].client_of(app);
            client.subscribe("news");
            client.join("presence-room", &app.id);
            client
        })
        .collect();
    for app in &apps {
        let api = nodes[1].api_of(app);
        let body = json!({"name": "e", "channels": ["news", "presence-room"], "data": app.id});
        api.events(&body).is_empty_object();
        let users = api.get("/channels/presence-room/users", &[]);
        users.is(&json!({"users": [{"id": app.id}]}));
    }
    for (app, client) in apps.iter().zip(&mut listeners) {
        for _ in 0..2 {
            assert_eq!(client.expect("e").data(), app.id);
        }
        client.expect_silence();
    }
}

#[test]
fn a_password_in_the_url_signs_in() {
    let mut redis = RedisServer::launch_with_password("p4ss-w0rd-of-redis");
    redis.wait_until_it_answers();
    let url = format!("redis://:p4ss-w0rd-of-redis@127.0.0.1:{}", redis.port);
    let nodes = nodes(2, &setup(&url));
    are_one(&nodes);
    for node in &nodes {
        assert!(!node.printed().contains("p4ss-w0rd"), "{}", node.printed());
    }
}

/// The commands by which `docs/scaling.md` gives a user the least rights, for a single server.
fn documented_rights() -> Vec<Vec<&'static str>> {
    let text = include_str!("../../../docs/scaling.md");
    let lines = text.lines().filter(|line| line.starts_with("ACL SETUSER"));
    let commands = lines.filter_map(|line| match line.split_once('#') {
        None => Some(line),
        Some((command, what_for)) => what_for.contains("single server").then_some(command),
    });
    commands
        .map(|command| command.split_whitespace().collect())
        .collect()
}

#[test]
fn an_acl_user_needs_no_more_rights_than_documented() {
    let redis = RedisServer::start();
    let rights = documented_rights();
    assert_eq!(rights.len(), 2, "{rights:?}");
    for command in rights {
        let () = redis.ask(&command);
    }
    let url = format!("redis://loudhailer:secret@127.0.0.1:{}/0", redis.port);
    let mut nodes = nodes(2, &setup(&url));
    are_one(&nodes);
    let mut listener = nodes[0].client();
    nodes[1].api().publish("cache-a", "e", "kept");
    listener.subscribe("cache-a");
    listener.expect("e");
    for path in ["/channels", "/channels/cache-a", "/connections"] {
        assert_eq!(nodes[0].api().get(path, &[]).status, 200, "{path}");
    }
    let mut victim = Watcher::join(&nodes[1], "presence-room", "victim");
    victim.expect_members(AGREEMENT, &["victim"]);
    nodes.remove(1).kill();
    expect_users(&nodes, "presence-room", &[]);
    let refused: Vec<redis::Value> = redis.ask(&["ACL", "LOG"]);
    assert_eq!(refused, [], "something was refused");
}
