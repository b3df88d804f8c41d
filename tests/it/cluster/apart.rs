//! What must not mix: clusters with different prefixes, apps; and the ways to sign in to Redis.

use serde_json::json;

use super::{
    AGREEMENT, expect_users, nodes,
    sentinel::{ask, sentinel},
    setup, usual,
    watcher::{Watcher, sync},
};
use crate::support::{
    app::App,
    process::{ConfigFile, Process},
    redis::{Folder, RedisServer, free_port, run_to_end},
    server::TestServer,
    setup::Setup,
    stream::PATIENCE,
    within,
};

/// Two nodes must be one: an event and a member cross over.
#[track_caller]
fn are_one(nodes: &[TestServer]) {
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

#[test]
fn tls_is_spoken_to_a_redis_whose_certificate_is_trusted() {
    let folder = Folder::new();
    certificate(&folder);
    let port = free_port();
    let tls = tls(&folder, port);
    let _redis = RedisServer::start_with(&tls.iter().map(String::as_str).collect::<Vec<_>>());
    let url = format!("rediss://localhost:{port}");
    let config = ConfigFile::new(&setup(&url).toml());
    let refused = Process::run(&["--config", config.path()], &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("cannot reach Redis"), "{refused:?}");
    let trusted = folder.file("ca.crt");
    let app = usual();
    let setup = Setup::new().set("redis.url", url).app(app.clone());
    let nodes: Vec<_> = (0..2)
        .map(|_| TestServer::start_in(setup.clone(), &[("SSL_CERT_FILE", &trusted)]))
        .collect();
    are_one(&nodes);
}

#[test]
fn sentinels_are_spoken_to_by_tls_and_have_a_password_of_their_own() {
    let folder = Folder::new();
    certificate(&folder);
    let (master_port, sentinel_port) = (free_port(), free_port());
    let user = "loudhailer on >of-redis ~* &* +@all".split(' ');
    let arguments = ["--user"].into_iter().chain(user).map(str::to_owned);
    let arguments: Vec<_> = tls(&folder, master_port)
        .into_iter()
        .chain(arguments)
        .collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let _master = RedisServer::start_with(&arguments);
    let lines = tls(&folder, sentinel_port);
    let lines = lines
        .chunks(2)
        .map(|pair| format!("{} {}\n", &pair[0][2..], pair[1]));
    let lines: String = lines.collect();
    let more = format!("{lines}tls-replication yes\nrequirepass of-the-sentinels\n");
    let (plain_port, _sentinel, _its_folder) = sentinel(master_port, &more);
    within(PATIENCE, "the sentinel knows the master", || {
        let url = format!("redis://:of-the-sentinels@127.0.0.1:{plain_port}");
        match ask(&url, &["INFO", "sentinel"])? {
            info if info.contains("status=ok") => Ok(()),
            info => Err(info),
        }
    });
    let url = format!("rediss://loudhailer:of-redis@localhost:{sentinel_port}");
    let with = |password: &str| {
        setup(&url)
            .set("redis.mode", "sentinel")
            .set("redis.sentinel_master", "main")
            .set("redis.sentinel_password", password)
    };
    let trusted = folder.file("ca.crt");
    let trusted = [("SSL_CERT_FILE", trusted.as_str())];
    let config = ConfigFile::new(&with("wrong").toml());
    let refused = Process::run(&["--config", config.path()], &trusted);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("cannot reach Redis"), "{refused:?}");
    let nodes: Vec<_> = (0..2)
        .map(|_| TestServer::start_in(with("of-the-sentinels"), &trusted))
        .collect();
    are_one(&nodes);
    for node in &nodes {
        let printed = node.printed();
        assert!(!printed.contains("of-the-sentinels"), "{printed}");
    }
}

/// What has a Redis speak TLS at this port too.
fn tls(folder: &Folder, port: u16) -> Vec<String> {
    let options = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", folder.file("server.crt")),
        ("--tls-key-file", folder.file("server.key")),
        ("--tls-ca-cert-file", folder.file("ca.crt")),
        ("--tls-auth-clients", "no".to_owned()),
    ];
    let options = options.into_iter();
    options
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}

/// A certificate authority and a certificate of it for this machine.
fn certificate(folder: &Folder) {
    let file = |name: &str| folder.file(name);
    let openssl = |arguments: &[&str]| drop(run_to_end("openssl", arguments));
    let key = ["-newkey", "rsa:2048", "-nodes", "-days", "2"];
    openssl(
        &[
            &["req", "-x509"],
            &key[..],
            &[
                "-subj",
                "/CN=test authority",
                "-keyout",
                &file("ca.key"),
                "-out",
                &file("ca.crt"),
            ],
        ]
        .concat(),
    );
    openssl(
        &[
            &["req"],
            &key[..3],
            &[
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
            ],
            &["-addext", "basicConstraints=CA:FALSE"],
            &["-keyout", &file("server.key"), "-out", &file("server.csr")],
        ]
        .concat(),
    );
    openssl(&[
        "x509",
        "-req",
        "-in",
        &file("server.csr"),
        "-CA",
        &file("ca.crt"),
        "-CAkey",
        &file("ca.key"),
        "-CAcreateserial",
        "-days",
        "2",
        "-copy_extensions",
        "copy",
        "-out",
        &file("server.crt"),
    ]);
}
