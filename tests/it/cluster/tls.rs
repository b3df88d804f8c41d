//! Redis behind TLS, with a private authority and client certificates.

use serde_json::json;

use super::{
    apart::are_one,
    sentinel::{ask, sentinel},
    setup, usual,
};
use crate::support::{
    authority::{Authority, Issued},
    process::{ConfigFile, Process},
    redis::{Folder, RedisServer, free_port, run_to_end},
    server::TestServer,
    setup::Setup,
    stream::PATIENCE,
    within,
};

/// A private authority, another that nobody has asked for, and what the first has issued.
struct Certificates {
    folder: Folder,
    ours: Authority,
    other: Authority,
    server: Issued,
    client: Issued,
}

impl Certificates {
    fn new() -> Self {
        let folder = Folder::new();
        let ours = Authority::new(&folder, "ours");
        let other = Authority::new(&folder, "other");
        let server = ours.issue(&folder, "server");
        let client = ours.issue(&folder, "client");
        Self {
            folder,
            ours,
            other,
            server,
            client,
        }
    }

    /// Arguments of a redis-server with TLS on this port. Clients without a certificate are refused.
    fn arguments<'a>(&'a self, tls_port: &'a str) -> Vec<&'a str> {
        vec![
            "--tls-port",
            tls_port,
            "--tls-cert-file",
            &self.server.cert_file,
            "--tls-key-file",
            &self.server.key_file,
            "--tls-ca-cert-file",
            &self.ours.file,
        ]
    }

    /// A redis-server with a TLS port beside its plain one, which is the test's own.
    #[track_caller]
    fn redis(&self) -> (RedisServer, u16) {
        let tls_port = free_port();
        let text = tls_port.to_string();
        (RedisServer::start_with(&self.arguments(&text)), tls_port)
    }

    /// What a system knows that trusts the other authority, and no more: reading all that a real one trusts takes a slow machine seconds.
    fn system(&self) -> [(&str, &str); 1] {
        [("SSL_CERT_FILE", &self.other.file)]
    }

    /// Nodes of one cluster on such a system.
    #[track_caller]
    fn nodes(&self, setup: &Setup) -> Vec<TestServer> {
        (0..2)
            .map(|_| TestServer::start_in(setup.clone(), &self.system()))
            .collect()
    }

    /// The settings of a client that is let in.
    fn trusted(&self, setup: Setup) -> Setup {
        with_client(setup, &self.client).set("redis.ca_file", self.ours.file.as_str())
    }
}

fn url(tls_port: u16) -> String {
    format!("rediss://127.0.0.1:{tls_port}")
}

fn with_client(setup: Setup, client: &Issued) -> Setup {
    setup
        .set("redis.cert_file", client.cert_file.as_str())
        .set("redis.key_file", client.key_file.as_str())
}

#[test]
fn nodes_meet_on_a_redis_that_asks_for_a_client_certificate_of_a_private_authority() {
    let certificates = Certificates::new();
    let (_redis, tls_port) = certificates.redis();
    let nodes = certificates.nodes(&certificates.trusted(setup(&url(tls_port))));
    are_one(&nodes);
}

/// What the start says when Redis is not joined.
#[track_caller]
fn refusal(certificates: &Certificates, setup: &Setup) -> String {
    let config = ConfigFile::new(&setup.toml());
    let finished = Process::run(&["--config", config.path()], &certificates.system());
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(!finished.stdout.contains("Listening"), "{finished:?}");
    finished.stderr
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_the_name_of_its_file() {
    let certificates = Certificates::new();
    let (_redis, tls_port) = certificates.redis();
    let (ours, other) = (&certificates.ours.file, &certificates.other.file);
    let stranger = certificates.other.issue(&certificates.folder, "stranger");
    let Issued {
        cert_file,
        key_file,
    } = &certificates.client;
    let missing = certificates.folder.file("missing.pem");
    let with = |ca: &str, cert: &str, key: &str| {
        let setup = setup(&url(tls_port)).set("redis.ca_file", ca);
        let client = Issued {
            cert_file: cert.to_owned(),
            key_file: key.to_owned(),
        };
        with_client(setup, &client)
    };
    for (setup, expected) in [
        (
            with(other, cert_file, key_file),
            format!(
                "invalid peer certificate: UnknownIssuer (checked against redis.ca_file {other})"
            ),
        ),
        (
            with(&missing, cert_file, key_file),
            format!("redis.ca_file {missing} can't be read: No such file or directory"),
        ),
        (
            with(key_file, cert_file, key_file),
            format!("redis.ca_file {key_file} has no certificate"),
        ),
        (
            with(ours, key_file, key_file),
            format!("redis.cert_file {key_file} has no certificate"),
        ),
        (
            with(ours, cert_file, cert_file),
            format!("redis.key_file {cert_file} has no private key"),
        ),
        (
            with(ours, cert_file, &stranger.key_file),
            format!(
                "redis.key_file {} is not the key of redis.cert_file {cert_file}",
                stranger.key_file
            ),
        ),
        (
            with(ours, &stranger.cert_file, &stranger.key_file),
            format!("(Redis refuses redis.cert_file {})", stranger.cert_file),
        ),
        (
            setup(&url(tls_port)).set("redis.ca_file", ours.as_str()),
            "(Redis asks for a client certificate: redis.cert_file and redis.key_file)".to_owned(),
        ),
    ] {
        let printed = refusal(&certificates, &setup);
        assert!(printed.contains(&expected), "{expected}\nnot in: {printed}");
        assert!(
            printed.contains(&format!("127.0.0.1:{tls_port}")),
            "{printed}"
        );
    }
}

#[test]
fn a_renewed_client_certificate_is_used_at_the_next_connect() {
    let certificates = Certificates::new();
    let (mut redis, tls_port) = certificates.redis();
    let setup = certificates.trusted(setup(&url(tls_port)));
    let node = TestServer::start_in(setup, &certificates.system());
    // The node would be refused with the files that it started with.
    let renewed = Authority::new(&certificates.folder, "ours");
    renewed.issue(&certificates.folder, "server");
    renewed.issue(&certificates.folder, "client");
    redis.kill();
    redis.start_again();
    within(PATIENCE, "the node is back", || {
        let mut client = node.client();
        client.ask_with("presence-room", &json!({"user_id": "7"}).to_string());
        let answer = client.next();
        let is_in = answer.event() == super::SUCCEEDED;
        is_in.then_some(()).ok_or(answer.text)
    });
}

#[test]
fn without_a_file_the_systems_authorities_are_asked() {
    let certificates = Certificates::new();
    let tls_port = free_port();
    let text = tls_port.to_string();
    let mut arguments = certificates.arguments(&text);
    arguments.extend(["--tls-auth-clients", "no"]);
    let _redis = RedisServer::start_with(&arguments);
    let setup = setup(&format!("rediss://localhost:{tls_port}"));
    let printed = refusal(&certificates, &setup);
    assert!(
        printed.contains("checked against the authorities that this system trusts"),
        "{printed}"
    );
    let trusted = [("SSL_CERT_FILE", certificates.ours.file.as_str())];
    let nodes: Vec<_> = (0..2)
        .map(|_| TestServer::start_in(setup.clone(), &trusted))
        .collect();
    are_one(&nodes);
}

#[test]
fn sentinels_and_their_master_are_reached_with_the_same_files_and_passwords_of_their_own() {
    let certificates = Certificates::new();
    let (master_port, sentinel_port) = (free_port().to_string(), free_port().to_string());
    let mut arguments = certificates.arguments(&master_port);
    arguments.push("--user");
    arguments.extend("loudhailer on >of-redis ~* &* +@all".split(' '));
    let _master = RedisServer::start_with(&arguments);
    let lines = certificates.arguments(&sentinel_port);
    let lines = lines
        .chunks(2)
        .map(|pair| format!("{} {}\n", &pair[0][2..], pair[1]));
    let lines: String = lines.collect();
    let more = format!("{lines}tls-replication yes\nrequirepass of-the-sentinels\n");
    let master_port = master_port.parse().expect("a port");
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
        let setup = setup(&url)
            .set("redis.mode", "sentinel")
            .set("redis.sentinel_master", "main")
            .set("redis.sentinel_password", password);
        certificates.trusted(setup)
    };
    let printed = refusal(&certificates, &with("wrong"));
    assert!(printed.contains("cannot reach Redis"), "{printed}");
    let nodes = certificates.nodes(&with("of-the-sentinels"));
    are_one(&nodes);
    for node in &nodes {
        let printed = node.printed();
        assert!(!printed.contains("of-the-sentinels"), "{printed}");
    }
}

#[test]
fn the_nodes_of_a_redis_cluster_are_reached_with_the_same_files() {
    let certificates = Certificates::new();
    let ports: Vec<_> = (0..3).map(|_| free_port().to_string()).collect();
    let servers: Vec<_> = ports
        .iter()
        .map(|port| {
            let mut arguments = certificates.arguments(port);
            arguments.extend(["--cluster-enabled", "yes", "--tls-cluster", "yes"]);
            RedisServer::start_with(&arguments)
        })
        .collect();
    let Certificates { client, ours, .. } = &certificates;
    let addresses: Vec<_> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let mut arguments = vec!["--tls", "--cacert", &ours.file];
    arguments.extend(["--cert", &client.cert_file, "--key", &client.key_file]);
    arguments.extend(["--cluster", "create"]);
    arguments.extend(addresses.iter().map(String::as_str));
    arguments.push("--cluster-yes");
    run_to_end("redis-cli", &arguments);
    within(PATIENCE, "the cluster is whole", || {
        for server in &servers {
            let info: String = server.ask(&["CLUSTER", "INFO"]);
            if !info.contains("cluster_state:ok") {
                return Err(info);
            }
        }
        Ok(())
    });
    let urls: Vec<_> = addresses
        .iter()
        .map(|address| format!("rediss://{address}"))
        .collect();
    let setup = Setup::new()
        .set("redis.url", urls.join(","))
        .set("redis.mode", "cluster")
        .app(usual());
    are_one(&certificates.nodes(&certificates.trusted(setup)));
}
