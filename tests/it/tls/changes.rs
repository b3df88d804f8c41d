//! Certificates that change while clients are connected.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::symlink,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, date_time_ymd};
use rustls::{
    ALL_VERSIONS, ClientConnection, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::{TlsServer, with_tls};
use crate::support::{
    app::App,
    authority::{Authority, Issued},
    eventually,
    feed::Feed,
    process::ConfigFile,
    redis::Folder,
    server::{TestServer, printed_address},
    setup::Setup,
    stream::PATIENCE,
};

/// Changes with sockets open, and the sockets: 10 and 50. `LOUDHAILER_CERTIFICATE_CHANGES=50` makes it 50 with 1,000 sockets.
fn extent() -> (usize, usize) {
    match std::env::var("LOUDHAILER_CERTIFICATE_CHANGES") {
        Ok(changes) => (changes.parse().expect("a number"), 1000),
        Err(_) => (10, 50),
    }
}

impl TlsServer {
    /// The certificate that a new client is shown.
    fn shown(&self) -> CertificateDer<'static> {
        shown(self.tls, &self.authority)
    }

    /// Waits until new clients are shown this one.
    fn expect_shown(&self, certificate: &CertificateDer<'_>) {
        eventually("the new certificate is served", || {
            (self.shown() == *certificate).then_some(())
        });
    }
}

fn shown(address: std::net::SocketAddr, authority: &Authority) -> CertificateDer<'static> {
    let tcp = TcpStream::connect(address).expect("it accepts");
    tcp.set_read_timeout(Some(PATIENCE)).expect("an option");
    let client = Arc::new(authority.client(ALL_VERSIONS));
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(client, name).expect("a client");
    let mut session = StreamOwned::new(session, tcp);
    session
        .conn
        .complete_io(&mut session.sock)
        .expect("a handshake");
    let chain = session.conn.peer_certificates().expect("a chain");
    chain[0].clone().into_owned()
}

fn in_file(file: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).expect("a certificate")
}

/// Puts other files in the place of these, key first, as certbot and Caddy do: each is replaced whole.
fn replace(old: &Issued, new: &Issued) {
    fs::rename(&new.key_file, &old.key_file).expect("it is replaced");
    fs::rename(&new.cert_file, &old.cert_file).expect("it is replaced");
}

#[test]
fn open_sockets_live_through_changes_and_a_bad_one_in_between_changes_nothing() {
    let it = TlsServer::usual();
    let (changes, sockets) = extent();
    let mut clients: Vec<_> = (0..sockets).map(|_| it.client()).collect();
    for client in &mut clients {
        client.subscribe("orders");
    }
    for number in 0..changes {
        let before = it.shown();
        let new = it.authority.issue(&it.folder, &format!("new{number}"));
        let certificate = in_file(&new.cert_file);
        if number == changes / 2 {
            fs::rename(&new.cert_file, &it.issued.cert_file).expect("it is replaced");
            it.server.process.wait_stderr("the refusal", |log| {
                log.contains("does not belong to").then_some(())
            });
            assert_eq!(it.shown(), before);
            fs::rename(&new.key_file, &it.issued.key_file).expect("it is replaced");
        } else {
            replace(&it.issued, &new);
        }
        it.expect_shown(&certificate);
        it.api().publish("orders", "changed", &number.to_string());
        for client in &mut clients {
            let event = client.expect_on("orders", "changed");
            assert_eq!(event.data(), number.to_string());
        }
    }
    assert_eq!(it.tunnel.failures(), Vec::<String>::new());
}

#[test]
fn a_refused_change_is_told_in_log_feed_metrics_and_state_until_it_is_mended() {
    let mut it = TlsServer::usual();
    let mut feed = Feed::connect(&it.server);
    let before = it.shown();
    fs::write(&it.issued.cert_file, "broken\n").expect("it is written");
    let told = feed.expect("certificates_refused");
    let message = told["message"].as_str().expect("text");
    assert!(message.contains(&it.issued.cert_file), "{message}");
    it.server.process.signal("HUP");
    let tls = || it.server.admin_json("/api/state")["tls"].clone();
    assert_eq!(tls()["error"], message);
    let metrics = it.server.admin_get("/metrics").body;
    assert!(
        metrics.contains(r#"tls_certificate_reloads_total{result="refused"}"#),
        "{metrics}"
    );
    assert_eq!(it.shown(), before);
    let new = it.authority.issue(&it.folder, "new");
    let certificate = in_file(&new.cert_file);
    replace(&it.issued, &new);
    it.expect_shown(&certificate);
    let told = feed.expect("certificates_changed");
    assert_eq!(told["names"], serde_json::json!(["localhost"]));
    eventually("the state is good again", || {
        it.server.admin_json("/api/state")["tls"]["error"]
            .is_null()
            .then_some(())
    });
    let log = it.server.process.stderr();
    let refusals = log.matches("the certificates were not changed").count();
    assert_eq!(refusals, 1, "{log}");
}

#[test]
fn links_that_are_turned_to_other_files_are_noticed() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let old = authority.issue(&folder, "old");
    // certbot: live/NAME/fullchain.pem is a link to archive/NAME/fullchain1.pem.
    let live = Folder::new();
    let links = Issued {
        cert_file: live.file("fullchain.pem"),
        key_file: live.file("privkey.pem"),
    };
    let turn = |to: &Issued| {
        for (target, link) in [
            (&to.key_file, &links.key_file),
            (&to.cert_file, &links.cert_file),
        ] {
            let next = format!("{link}.next");
            symlink(target, &next).expect("a link");
            fs::rename(&next, link).expect("it is turned");
        }
    };
    turn(&old);
    let server = TestServer::start(with_tls(Setup::new().app(App::usual()), &links));
    let tls = printed_address(&server.process.stdout(), "Listening on https");
    let tls = tls.expect("a TLS port");
    assert_eq!(shown(tls, &authority), in_file(&old.cert_file));
    let new = authority.issue(&folder, "new");
    turn(&new);
    eventually("the new certificate is served", || {
        (shown(tls, &authority) == in_file(&new.cert_file)).then_some(())
    });
}

#[test]
fn a_certificate_of_six_days_is_not_warned_of_before_two_thirds_are_over() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let issue = |name: &str, before: u32, after: u32| {
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 60 * 60);
        let names = vec!["localhost".to_owned()];
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.not_before = (now - day * before).into();
        parameters.not_after = (now + day * after).into();
        authority.issue_with(&folder, name, parameters)
    };
    let (young, old) = (issue("young", 2, 4), issue("old", 5, 1));
    let Issued {
        cert_file,
        key_file,
    } = &old;
    let further = format!("[{{ cert = {cert_file:?}, key = {key_file:?} }}]");
    let setup = with_tls(Setup::new().app(App::usual()), &young);
    let port = "tls.port = 0\n";
    let more = format!("{port}tls.certificates = {further}\n");
    let config = ConfigFile::new(&setup.toml().replace(port, &more));
    let server = TestServer::launch(&["--config", config.path()], &[]);
    // They are looked at in this order.
    let log = server.process.wait_stderr("the warning", |log| {
        log.contains("old.pem").then(|| log.to_owned())
    });
    assert!(log.contains("expires soon"), "{log}");
    assert!(!log.contains("young.pem"), "{log}");
}

#[test]
fn days_until_expiry_are_told_and_warned_of_from_fourteen_days_on() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    for (from, to, expected) in [
        (2020, 2021, "has expired"),
        (3000, 3001, "is not valid yet"),
    ] {
        let names = vec!["localhost".to_owned()];
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.not_before = date_time_ymd(from, 1, 1);
        parameters.not_after = date_time_ymd(to, 1, 1);
        let issued = authority.issue_with(&folder, "other", parameters);
        let server = TestServer::start(with_tls(Setup::new().app(App::usual()), &issued));
        server
            .process
            .wait_stderr("the warning", |log| log.contains(expected).then_some(()));
        let state = server.admin_json("/api/state");
        let certificate = &state["tls"]["certificates"][0];
        assert_eq!(certificate["names"], serde_json::json!(["localhost"]));
        let days = certificate["days_left"].as_i64().expect("a number");
        assert_eq!(days < 0, to == 2021, "{days}");
        let metrics = server.admin_get("/metrics").body;
        assert!(
            metrics.contains("tls_certificate_days_left{listener=\"public\""),
            "{metrics}"
        );
    }
}
