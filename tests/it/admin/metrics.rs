//! `/metrics`: every gauge equals what is true outside, whatever the clients did before.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::json;

use crate::support::{
    app::App,
    client::TestClient,
    eventually,
    random::Random,
    server::TestServer,
    setup::Setup,
    stream::PATIENCE,
    websocket::{Frame, Incoming, Upgrade},
    within,
};

const CHANNELS: [&str; 4] = ["news", "private-a", "presence-a", "presence-b"];
const USERS: [&str; 3] = ["ada", "bob", "eve"];
const VERSIONS: [&str; 2] = ["8.4.0", "8.6.0"];

type Samples = BTreeMap<String, f64>;

/// Samples by name and labels, as they stand in the text.
fn scrape(server: &TestServer) -> Samples {
    let answer = server.admin_get("/metrics");
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").expect("a type");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// A client as the test knows it.
struct Known {
    client: TestClient,
    user: &'static str,
    version: &'static str,
    channels: BTreeSet<&'static str>,
}

#[derive(Default)]
struct World {
    clients: Vec<Known>,
}

impl World {
    fn connect(&mut self, server: &TestServer, random: &mut Random) {
        let version = VERSIONS[random.below(VERSIONS.len())];
        let target = format!("/app/key-of-1001?protocol=7&client=js&version={version}");
        let socket = Upgrade::new(&target).connect(server.public);
        self.clients.push(Known {
            client: TestClient::greeted(socket, server.app()),
            user: USERS[random.below(USERS.len())],
            version,
            channels: BTreeSet::new(),
        });
    }

    fn change(&mut self, server: &TestServer, random: &mut Random) {
        let count = self.clients.len();
        let choice = random.below(10);
        if count == 0 || (choice < 3 && count < 60) {
            return self.connect(server, random);
        }
        let at = random.below(count);
        let channel = CHANNELS[random.below(CHANNELS.len())];
        let known = &mut self.clients[at];
        match choice {
            0..=2 => drop(self.clients.swap_remove(at)),
            3 => {
                let mut left = self.clients.swap_remove(at);
                left.client.socket.send(&Frame::close(1000, ""));
            }
            4..=7 if channel.starts_with("presence-") => {
                let member = json!({"user_id": known.user}).to_string();
                known.client.ask_with(channel, &member);
                known.channels.insert(channel);
            }
            4..=7 => {
                known.client.ask(channel);
                known.channels.insert(channel);
            }
            _ => {
                let event = json!({"event": "pusher:unsubscribe", "data": {"channel": channel}});
                known.client.send(&event);
                known.channels.remove(channel);
            }
        }
    }

    fn occupied(&self, prefix: &str) -> f64 {
        let held = |channel: &&str| self.clients.iter().any(|it| it.channels.contains(*channel));
        let kind = CHANNELS.iter().filter(|name| match prefix {
            "public" => **name == "news",
            _ => name.starts_with(prefix),
        });
        kind.filter(|channel| held(channel)).count() as f64
    }

    fn members(&self) -> f64 {
        let presence = CHANNELS.iter().filter(|name| name.starts_with("presence-"));
        let users = presence.map(|channel| {
            let there = self
                .clients
                .iter()
                .filter(|it| it.channels.contains(channel));
            there.map(|it| it.user).collect::<BTreeSet<_>>().len()
        });
        users.sum::<usize>() as f64
    }

    /// Every gauge of the app, as it must be.
    fn truth(&self) -> Samples {
        let app = r#"app_id="1001""#;
        let mut truth = Samples::new();
        let mut is = |name: String, value: f64| truth.insert(name, value);
        is(format!(r#"loudhailer_subscriptions{{{app}}}"#), {
            self.clients
                .iter()
                .map(|it| it.channels.len())
                .sum::<usize>() as f64
        });
        is(
            format!(r#"loudhailer_presence_members{{{app}}}"#),
            self.members(),
        );
        for kind in ["public", "private", "presence"] {
            let name = format!(r#"loudhailer_active_channels{{{app},channel_type="{kind}"}}"#);
            is(name, self.occupied(kind));
        }
        is("loudhailer_send_queue_bytes".to_owned(), 0.0);
        is("loudhailer_webhook_queue_depth".to_owned(), 0.0);
        is("loudhailer_cluster_peers".to_owned(), 0.0);
        for version in VERSIONS {
            let name = format!(r#"loudhailer_client_info{{library="js",version="{version}"}}"#);
            let count = self
                .clients
                .iter()
                .filter(|it| it.version == version)
                .count();
            if count > 0 {
                is(name, count as f64);
            }
        }
        truth
    }

    /// A client that was killed is noticed a moment later; then every gauge is as it must be.
    fn check(&self, server: &TestServer) {
        let truth = self.truth();
        let port = server.public.port();
        let connected = format!(r#"loudhailer_connected{{app_id="1001",port="{port}"}}"#);
        let libraries = truth
            .keys()
            .filter(|name| name.contains("client_info"))
            .count();
        within(PATIENCE, "every gauge is as it must be", || {
            let samples = scrape(server);
            // What there is none of has no line.
            let shown = |name: &str| samples.get(name).copied().unwrap_or_default();
            let wrong = truth.iter().filter(|(name, value)| shown(name) != **value);
            let mut wrong: Vec<_> = wrong.map(|(name, value)| (name.clone(), *value)).collect();
            if samples[&connected] != self.clients.len() as f64 {
                wrong.push((connected.clone(), self.clients.len() as f64));
            }
            if samples
                .keys()
                .filter(|name| name.contains("client_info"))
                .count()
                != libraries
            {
                wrong.push(("client_info".to_owned(), libraries as f64));
            }
            if wrong.is_empty() {
                Ok(())
            } else {
                Err(format!("expected {wrong:?}"))
            }
        });
    }
}

#[test]
fn gauges_are_true_after_any_thousand_steps_and_zero_when_all_have_gone() {
    let server = TestServer::usual();
    let (mut world, mut random) = (World::default(), Random::seeded(6));
    for step in 0..1000 {
        world.change(&server, &mut random);
        if step % 250 == 249 {
            world.check(&server);
        }
    }
    world.clients.clear();
    world.check(&server);
    let samples = scrape(&server);
    let port = server.public.port();
    let count =
        |name: &str| samples[&format!(r#"loudhailer_{name}{{app_id="1001",port="{port}"}}"#)];
    assert_eq!(
        count("new_connections_total"),
        count("new_disconnections_total")
    );
    let codes = samples
        .iter()
        .filter(|(name, _)| name.starts_with("loudhailer_disconnections_total"));
    assert_eq!(
        codes.map(|(_, count)| count).sum::<f64>(),
        count("new_connections_total")
    );
}

#[test]
fn clients_that_choose_their_close_codes_hide_none_of_the_servers() {
    let server = TestServer::usual();
    for code in 3000..3070 {
        let mut socket = server.socket();
        socket.send(&Frame::close(code, ""));
        assert_eq!(socket.next(), Incoming::Close(Some(code), String::new()));
        socket.expect_end();
    }
    let mut client = server.client();
    client.sign_in("7");
    let terminate = "/users/7/terminate_connections";
    server
        .api()
        .call("POST", terminate)
        .send()
        .is_empty_object();
    client.expect_closed(4009);
    let (of_clients, ours) = eventually("all are counted", || {
        let samples = scrape(&server);
        let count = |code: &str| {
            let name = format!(r#"loudhailer_disconnections_total{{code="{code}"}}"#);
            samples.get(&name).copied()
        };
        Some((count("client")?, count("4009")?))
    });
    assert_eq!((of_clients, ours), (70.0, 1.0));
}

#[test]
fn counters_count_what_went_to_and_fro() {
    let setup = Setup::new().set("metrics.prefix", "soketi");
    let server = TestServer::start(setup.app(App::usual().set("client_events", true)));
    let mut clients = [server.client(), server.client(), server.client()];
    for client in &mut clients {
        client.subscribe("private-room");
    }
    server.api().publish("private-room", "order", "x");
    clients
        .iter_mut()
        .for_each(|client| drop(client.expect_on("private-room", "order")));
    clients[0].trigger("private-room", "client-typing", &json!("x"));
    clients[1].expect_on("private-room", "client-typing");
    clients[2].expect_on("private-room", "client-typing");
    server.api().call("GET", "/channels").secret("wrong").send();
    Upgrade::new("/app/nobody?protocol=7")
        .connect(server.public)
        .expect_close(4001);
    let port = server.public.port();
    let with_port = |name: &str| format!(r#"soketi_{name}{{app_id="1001",port="{port}"}}"#);
    let expected = [
        (with_port("connected"), 3.0),
        (with_port("new_connections_total"), 3.0),
        // Three subscriptions and a client event; three greetings, three answers, three and two deliveries.
        (with_port("ws_messages_received_total"), 4.0),
        (with_port("ws_messages_sent_total"), 11.0),
        (with_port("http_calls_received_total"), 1.0),
        (with_port("http_transmitted_bytes"), 2.0),
        (
            r#"soketi_api_messages_total{app_id="1001"}"#.to_owned(),
            1.0,
        ),
        (
            r#"soketi_client_events_total{app_id="1001"}"#.to_owned(),
            1.0,
        ),
        (r#"soketi_auth_failures_total{kind="api"}"#.to_owned(), 1.0),
        (
            r#"soketi_connection_errors_total{code="4001"}"#.to_owned(),
            1.0,
        ),
        (r#"soketi_phase{phase="running"}"#.to_owned(), 1.0),
    ];
    // Deliveries are counted when the last socket of a round has its own.
    within(PATIENCE, "the counts", || {
        let samples = scrape(&server);
        let wrong = expected
            .iter()
            .find(|(name, value)| samples.get(name) != Some(value));
        wrong.map_or(Ok(()), |(name, value)| {
            Err(format!("{name} is {:?}, not {value}", samples.get(name)))
        })
    });
    let samples = scrape(&server);
    // The client event is no backend's. One delivery for each worker that has a subscriber.
    assert!((1.0..=2.0).contains(&samples["soketi_publish_to_deliver_seconds_count"]));
    assert!(samples.contains_key("process_resident_memory_bytes"));
}

#[test]
fn a_slow_client_is_counted_and_so_is_what_waits_for_it() {
    let setup = Setup::new().set("websocket.max_outbox_bytes", 2_000_000);
    let server = TestServer::start(setup.usual_with("max_event_data_bytes", 200_000));
    let mut slow = server.client();
    slow.subscribe("news");
    let data = "x".repeat(200_000);
    let sample = |name: &str| scrape(&server).get(name).copied().unwrap_or_default();
    // More than the kernel holds for a socket that nobody reads.
    within(Duration::from_secs(60), "something waits", || {
        server.api().publish("news", "large", &data);
        let waiting = sample("loudhailer_send_queue_bytes");
        if waiting > 0.0 {
            Ok(())
        } else {
            Err(format!("{waiting}"))
        }
    });
    within(Duration::from_secs(60), "it is closed", || {
        server.api().publish("news", "large", &data);
        let closed = sample(r#"loudhailer_slow_consumer_total{action="closed"}"#);
        if closed == 1.0 {
            Ok(())
        } else {
            Err(format!("{closed}"))
        }
    });
}

/// The names in a text that follow this prefix.
fn names<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let parts = text.split(prefix).skip(1);
    parts
        .map(|part| part.split(ends).next().expect("a part"))
        .collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.join("presence-room", "ada");
    server.api().publish("presence-room", "order", "x");
    client.expect_on("presence-room", "order");
    let text = server.admin_get("/metrics").body;
    let documented = include_str!("../../../docs/operations.md");
    let known: BTreeSet<&str> = names(&text, "# TYPE loudhailer_");
    // Those with labels that come with what happened.
    let late = [
        "disconnections_total",
        "connection_errors_total",
        "auth_failures_total",
        "rate_limit_triggered_total",
        "new_disconnections_total",
        "client_events_total",
        "horizontal_adapter_resolve_time",
        "horizontal_adapter_resolved_promises",
        "horizontal_adapter_uncomplete_promises",
        "horizontal_adapter_sent_requests",
        "horizontal_adapter_received_requests",
        "horizontal_adapter_received_responses",
    ];
    let exists = |name: &str| {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let family = family.unwrap_or(name);
        known.contains(family) || late.contains(&family)
    };
    let dashboard = include_str!("../../../docs/grafana/loudhailer.json");
    let alerts = include_str!("../../../docs/grafana/alerts.yml");
    let mut asked = names(dashboard, "${prefix}_");
    asked.extend(names(alerts, "loudhailer_"));
    assert!(asked.len() > 25, "{asked:?}");
    for name in asked {
        assert!(exists(name), "{name}");
    }
    for name in known.iter().chain(&late) {
        assert!(
            documented.contains(&format!("`{name}`")),
            "{name} is not in docs/operations.md"
        );
    }
}

/// 3,000 apps had 9.7 MB of lines, nearly all of them zeros.
#[test]
fn an_app_has_lines_only_for_what_it_used() {
    let app = |number: usize| App::new(&(2_000_000 + number).to_string(), &format!("key-{number}"));
    let apps = (0..3000).fold(Setup::new(), |setup, number| setup.app(app(number)));
    let server = TestServer::start(apps);
    assert!(!scrape(&server).keys().any(|name| name.contains("app_id")));
    for number in 0..3000 {
        let socket = Upgrade::new(&format!("/app/key-{number}?protocol=7")).connect(server.public);
        TestClient::greeted(socket, &app(number)).subscribe("news");
    }
    let bytes = server.admin_get("/metrics").body.len();
    assert!((500_000..2_000_000).contains(&bytes), "{bytes} bytes");
}
