//! The public listener on a Unix socket, for a proxy on this machine.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use crate::support::{
    api::Api,
    app::App,
    balancer::Balancer,
    bridge::{Bridge, Target},
    client::TestClient,
    feed::Feed,
    process::{ConfigFile, Process},
    redis::Folder,
    server::TestServer,
    setup::Setup,
    stream::PATIENCE,
    websocket::Upgrade,
};

const FORWARDED: &str = "X-Forwarded-For";

fn setup(path: &str) -> Setup {
    Setup::new().set("server.unix_socket", path)
}

/// A server with a Unix socket, and somebody who passes connections on to it.
fn start(setup: impl Fn(Setup) -> Setup) -> (Folder, TestServer, Bridge) {
    let folder = Folder::new();
    let path = folder.file("public.sock");
    let server = TestServer::start(setup(self::setup(&path)));
    let bridge = Bridge::to(Target::Unix(path));
    (folder, server, bridge)
}

fn upgrade(app: &App) -> Upgrade {
    Upgrade::new(&format!("/app/{}?protocol=7", app.key))
}

#[test]
fn a_backend_and_clients_meet_over_a_unix_socket_and_over_tcp() {
    let (_folder, server, bridge) = start(|setup| setup);
    let app = server.app();
    let mut over_unix = TestClient::connect(bridge.address, app);
    let mut over_tcp = server.client();
    for client in [&mut over_unix, &mut over_tcp] {
        client.subscribe("news");
    }
    for api in [Api::new(bridge.address, app), server.api()] {
        api.publish("news", "e", "it came");
        for client in [&mut over_unix, &mut over_tcp] {
            assert_eq!(client.expect("e").data(), "it came");
        }
    }
    over_unix.close();
}

#[test]
fn a_client_that_reads_slowly_over_a_unix_socket_gets_everything_in_order() {
    let (_folder, server, bridge) =
        start(|setup| setup.set("websocket.max_outbox_bytes", 64 << 20));
    let mut client = TestClient::connect(bridge.address, server.app());
    client.subscribe("news");
    // Far more than the kernel holds for a socket.
    let padding = "x".repeat(9_000);
    for number in 0..2_000 {
        server
            .api()
            .publish("news", "e", &format!("{number} {padding}"));
    }
    for number in 0..2_000 {
        let event = client.expect("e");
        assert!(event.data().starts_with(&format!("{number} ")), "{number}");
    }
}

#[test]
fn whoever_opens_the_socket_is_believed_about_clients() {
    let app = App::usual().set("tls_only", true);
    let (_folder, server, bridge) = start(|setup| {
        let setup = setup.set("server.max_connections_per_ip", 1);
        setup.app(app.clone())
    });
    let mut feed = Feed::connect(&server);
    let at = |address: &str| {
        let upgrade = upgrade(&app).header("X-Forwarded-Proto", "https");
        upgrade.header(FORWARDED, address).connect(bridge.address)
    };
    let _first = TestClient::greeted(at("192.0.2.1"), &app);
    assert_eq!(feed.expect("connected")["address"], "192.0.2.1");
    at("192.0.2.1").expect_close(4100);
    feed.expect("error");
    let _other = TestClient::greeted(at("192.0.2.2"), &app);
    assert_eq!(feed.expect("connected")["address"], "192.0.2.2");
    // Without headers nobody is counted, nor does anybody say that the client uses TLS.
    upgrade(&app).connect(bridge.address).expect_close(4000);
    let _unnamed: Vec<_> = (0..2)
        .map(|_| {
            let upgrade = upgrade(&app).header("X-Forwarded-Proto", "https");
            TestClient::greeted(upgrade.connect(bridge.address), &app)
        })
        .collect();
    let rows = server.admin_json("/api/connections");
    let rows = rows["connections"].as_array().expect("rows");
    assert_eq!(
        rows.iter().filter(|row| row["address"].is_string()).count(),
        2
    );
}

#[test]
fn clients_over_a_unix_socket_are_told_of_a_stop_and_its_file_is_removed() {
    let (folder, mut server, bridge) = start(|setup| setup.set("server.unix_socket_mode", "0606"));
    let path = folder.file("public.sock");
    let mode = fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o606);
    let mut client = TestClient::connect(bridge.address, server.app());
    server.terminate();
    client.expect_closed(4200);
    server.expect_clean_exit();
    assert!(!fs::exists(&path).expect("the folder can be read"));
}

/// What a server says that can't start.
#[track_caller]
fn refusal(path: &str) -> String {
    let config = ConfigFile::new(&setup(path).app(App::usual()).toml());
    let finished = Process::run(&["--config", config.path()], &[]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    finished.stderr
}

#[test]
fn a_file_that_a_killed_server_left_behind_is_replaced_and_no_other() {
    let (folder, mut server, bridge) = start(|setup| setup);
    let path = folder.file("public.sock");
    let expected = format!("cannot listen on {path}: another process listens on it");
    assert!(refusal(&path).contains(&expected), "{}", refusal(&path));
    TestClient::connect(bridge.address, server.app()).close();
    server.kill();
    assert!(fs::exists(&path).expect("the folder can be read"));
    let server = TestServer::start(setup(&path));
    TestClient::connect(bridge.address, server.app()).close();

    let file = folder.file("notes.txt");
    fs::write(&file, "keep me").expect("the file is written");
    let printed = refusal(&file);
    assert!(printed.contains("it exists and is no socket"), "{printed}");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "keep me");
    let printed = refusal(&folder.file("nowhere/public.sock"));
    assert!(printed.contains("No such file or directory"), "{printed}");
}

#[test]
fn a_server_without_a_tcp_port_listens_on_the_unix_socket_alone() {
    let folder = Folder::new();
    let path = folder.file("public.sock");
    let app = App::usual();
    let setup = setup(&path).set("server.tcp", false).app(app.clone());
    let config = ConfigFile::new(&setup.toml());
    let mut process = Process::start(&["--config", config.path()], &[]);
    let printed = process.wait_stdout("start-up lines", |text| {
        text.contains("Admin on ").then(|| text.to_owned())
    });
    assert!(
        printed.contains(&format!("Listening on unix:{path}")),
        "{printed}"
    );
    assert!(!printed.contains("Listening on http"), "{printed}");
    let bridge = Bridge::to(Target::Unix(path));
    let mut client = TestClient::connect(bridge.address, &app);
    client.subscribe("news");
    Api::new(bridge.address, &app).publish("news", "e", "it came");
    assert_eq!(client.expect("e").data(), "it came");
    process.signal("TERM");
    client.expect_closed(4200);
    let status = process.wait_exit(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
}

#[test]
fn nginx_passes_requests_and_clients_on_over_the_unix_socket() {
    let folder = Folder::new();
    let path = folder.file("public.sock");
    let server = TestServer::start(setup(&path));
    let nginx = Balancer::nginx(&format!("unix:{path}"));
    let mut feed = Feed::connect(&server);
    let mut client = TestClient::connect(nginx.address, server.app());
    assert_eq!(feed.expect("connected")["address"], "127.0.0.1");
    client.subscribe("news");
    Api::new(nginx.address, server.app()).publish("news", "e", "it came");
    assert_eq!(client.expect("e").data(), "it came");
    let info = Api::new(nginx.address, server.app()).get("/channels", &[]);
    info.is(&json!({"channels": {"news": {}}}));
}
