//! Apps of several nodes on one database: a change that is made on one of them reaches the others (#14).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{connects, store::JSON};
use crate::support::{
    app::App,
    database::{Database, Kind, on_every_database},
    http::Response,
    process::ConfigFile,
    proxy::Proxy,
    redis::RedisServer,
    server::TestServer,
    setup::Setup,
    within,
};

/// How long a change may take to reach every node.
const SOON: Duration = Duration::from_secs(1);

on_every_database! {
    a_change_on_one_node_is_in_force_on_all_within_a_second
}

/// Nodes on one Redis and one database.
pub(super) struct Nodes {
    pub(super) all: Vec<TestServer>,
    redis: RedisServer,
    database: Database,
    _config: ConfigFile,
}

impl Nodes {
    /// Three nodes that look at the database once an hour unless they are told of a change.
    #[track_caller]
    pub(super) fn start(kind: Kind) -> Self {
        let (redis, database) = (RedisServer::start(), Database::new(kind));
        let config = config(&redis, &database.url);
        let all = (0..3).map(|_| launch(&config)).collect();
        Self {
            all,
            redis,
            database,
            _config: config,
        }
    }

    /// Makes a change on the first node.
    #[track_caller]
    pub(super) fn change(&self, line: &str, body: &Value) -> Response {
        let response = self.all[0].admin_call(line, &JSON, &body.to_string());
        assert!(response.status < 300, "{line}: {response:?}");
        response
    }

    /// Waits until every node serves the app, or none does.
    #[track_caller]
    pub(super) fn expect_served(&self, app: &App, expected: bool) {
        within(SOON, "the change is in force on every node", || {
            let served: Vec<_> = self.all.iter().map(|node| connects(node, app)).collect();
            match served.iter().all(|served| *served == expected) {
                true => Ok(()),
                false => Err(format!("served: {served:?}, not {expected}")),
            }
        });
    }

    /// Makes the app on the first node; all serve it.
    #[track_caller]
    pub(super) fn create(&self, app: &App) {
        let credentials = json!({"id": app.id, "key": app.key, "secret": app.secret});
        self.change("POST /api/apps", &credentials);
        self.expect_served(app, true);
    }

    /// Makes a further key of the app on the first node; all serve it.
    #[track_caller]
    pub(super) fn rotate(&self, app: &App) -> App {
        let path = format!("POST /api/apps/{}/keys", app.id);
        let made = self.change(&path, &json!({})).json();
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        let next = App::with_secret(&app.id, &text("key"), &text("secret"));
        self.expect_served(&next, true);
        next
    }
}

fn config(redis: &RedisServer, database: &str) -> ConfigFile {
    let setup = Setup::new()
        .set("redis.url", redis.url())
        .set("database.url", database.to_owned())
        .set("database.poll_s", 3600);
    ConfigFile::new(&setup.toml())
}

fn launch(config: &ConfigFile) -> TestServer {
    TestServer::launch(&["--config", config.path()], &[])
}

fn a_change_on_one_node_is_in_force_on_all_within_a_second(kind: Kind) {
    let nodes = Nodes::start(kind);
    let first = App::usual();
    nodes.create(&first);
    let mut clients: Vec<_> = nodes
        .all
        .iter()
        .map(|node| node.client_of(&first))
        .collect();
    let second = nodes.rotate(&first);
    let key = format!("/api/apps/1001/keys/{}", first.key);
    let disabled = json!({"disabled": "2020-01-01T00:00:00Z"});
    nodes.change(&format!("PATCH {key}"), &disabled);
    nodes.expect_served(&first, false);
    nodes.expect_served(&second, true);
    nodes.change("PATCH /api/apps/1001", &json!({"enabled": false}));
    nodes.expect_served(&second, false);
    for client in &mut clients {
        client.expect_closed(4003);
    }
    nodes.change("PATCH /api/apps/1001", &json!({"enabled": true}));
    nodes.expect_served(&second, true);
    nodes.change("DELETE /api/apps/1001", &Value::Null);
    nodes.expect_served(&second, false);
}

#[test]
fn a_flood_of_announcements_costs_few_looks_at_the_database() {
    const ANNOUNCEMENTS: usize = 50_000;
    let mut nodes = Nodes::start(Kind::MariaDb);
    let proxy = Proxy::start(nodes.database.port());
    let through = nodes.database.through(proxy.address.port());
    let config = config(&nodes.redis, &through);
    nodes.all.push(launch(&config));
    let app = App::usual();
    nodes.create(&app);
    let (before, begun) = (proxy.passed(), Instant::now());
    let topic = "loudhailer:{nodes}:control";
    nodes.redis.publish_many(topic, "2R1", ANNOUNCEMENTS);
    // Its announcement is heard after the flood.
    nodes.change("PATCH /api/apps/1001", &json!({"enabled": false}));
    nodes.expect_served(&app, false);
    let (requests, looks) = (
        proxy.passed() - before,
        begun.elapsed().as_millis() / 100 + 2,
    );
    let max = usize::try_from(looks).expect("seconds") * 4;
    assert!(requests <= max, "{requests} requests, not {max} at most");
}
