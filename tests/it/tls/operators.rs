//! The operator's listener with TLS: what is told of handshakes that fail, and authorities that change.

use std::{fs, net::SocketAddr, sync::Arc};

use rustls::{ALL_VERSIONS, ClientConfig, HandshakeKind};

use super::{
    handshake::begin,
    hello::{Answer, Hello, TLS10},
};
use crate::support::{
    app::App,
    authority::{Authority, Issued},
    eventually,
    http::Http,
    redis::Folder,
    server::TestServer,
    setup::Setup,
    tunnel::Tunnel,
};

/// A server whose operators have to show a certificate.
struct Operated {
    server: TestServer,
    authority: Authority,
    operator: Issued,
    folder: Folder,
}

impl Operated {
    fn start(setup: Setup) -> Self {
        let folder = Folder::new();
        let authority = Authority::new(&folder, "authority");
        let issued = authority.issue(&folder, "admin");
        let operator = authority.issue(&folder, "operator");
        // The server's own certificate stays with the first authority; that of operators is to change.
        let operators = folder.file("operators.pem");
        fs::copy(&authority.file, &operators).expect("it is copied");
        let setup = setup
            .app(App::usual())
            .set("admin.tls.cert", issued.cert_file.as_str())
            .set("admin.tls.key", issued.key_file.as_str())
            .set("admin.tls.client_ca", operators.as_str());
        Self {
            server: TestServer::start(setup),
            authority,
            operator,
            folder,
        }
    }

    fn tunnel(&self) -> Tunnel {
        Tunnel::to(self.server.admin, self.authority.client_as(&self.operator))
    }

    fn metrics(&self) -> String {
        Http::connect(self.tunnel().address).get("/metrics").body
    }

    fn wait_log(&self, what: &str) {
        let process = &self.server.process;
        process.wait_stderr(what, |log| {
            let line = log.lines().find(|line| line.contains(what))?;
            assert!(line.contains("admin"), "{line}");
            Some(())
        });
    }
}

#[test]
fn handshakes_that_fail_at_the_operators_listener_are_told_and_counted() {
    let it = Operated::start(Setup::new());
    let admin = it.server.admin;
    let old = Hello {
        version: TLS10,
        ..Hello::tls12(&[0xc02b])
    };
    assert!(matches!(old.ask(admin), Answer::Alert(70)));
    let mut http = Http::connect(admin);
    let error = http.get("/ready").is_error(400);
    assert!(error.contains("https://"), "{error}");
    let nobody = Arc::new(it.authority.client(ALL_VERSIONS));
    begin(admin, &nobody, "localhost").expect_err("it shows no certificate");
    let mut slow = Http::connect(admin);
    slow.send([22, 3, 1, 2, 0, 1]);
    slow.expect_end();
    for what in [
        "use https:// or wss://",
        "did not end in time",
        "no certificates",
    ] {
        it.wait_log(what);
    }
    let metrics = it.metrics();
    for reason in [
        "incompatible",
        "http_on_tls_port",
        "client_certificate",
        "too_slow",
    ] {
        let row = format!("tls_failures_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&row), "{row} is not in {metrics}");
    }
}

#[test]
fn a_tls_hello_at_the_operators_listener_without_tls_gets_an_alert_and_a_line() {
    let server = TestServer::usual();
    let answer = Hello::tls12(&[0xc02b]).ask(server.admin);
    assert!(matches!(answer, Answer::Alert(40)), "{answer:?}");
    server.process.wait_stderr("use http:// or ws://", |log| {
        log.contains("use http:// or ws://").then_some(())
    });
    let metrics = server.admin_get("/metrics").body;
    let row = "tls_failures_total{reason=\"tls_on_plain_port\"} 1";
    assert!(metrics.contains(row), "{metrics}");
}

fn is_taken(admin: SocketAddr, client: &Arc<ClientConfig>) -> bool {
    begin(admin, client, "localhost").is_ok()
}

#[test]
fn operators_of_a_new_authority_are_taken_at_once_and_those_of_the_old_one_are_not() {
    let mut it = Operated::start(Setup::new());
    let admin = it.server.admin;
    let old = Arc::new(it.authority.client_as(&it.operator));
    let mut open = begin(admin, &old, "localhost").expect("it is known");
    let again = begin(admin, &old, "localhost").expect("it is known");
    assert_eq!(again.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    let others = Authority::new(&it.folder, "others");
    let other = others.issue(&it.folder, "other");
    let new = Arc::new(it.authority.client_as(&other));
    assert!(!is_taken(admin, &new));

    let operators = it.folder.file("operators.pem");
    fs::write(&operators, "broken\n").expect("it is written");
    it.server.process.wait_stderr("the refusal", |log| {
        (log.contains("were not changed") && log.contains("operators.pem")).then_some(())
    });
    assert!(is_taken(admin, &old));

    fs::rename(&others.file, &operators).expect("it is replaced");
    eventually("the new operator is taken", || {
        is_taken(admin, &new).then_some(())
    });
    // Nor by the ticket that it has.
    assert!(!is_taken(admin, &old));
    super::handshake::ask(&mut open).expect("an open connection stays");

    it.server.process.signal("HUP");
    assert!(is_taken(admin, &new));
}
