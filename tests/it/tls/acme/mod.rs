//! Certificates that the server gets and renews by itself.

mod failures;
mod settings;

use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, date_time_ymd};
use rustls::{
    ALL_VERSIONS, ClientConnection, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::{Value, json};

use crate::support::{
    acme::{AcmeServer, Fault, Resource},
    api::Api,
    app::App,
    client::TestClient,
    eventually,
    http::Http,
    redis::Folder,
    server::{TestServer, printed_address},
    setup::Setup,
    stream::PATIENCE,
    tunnel::Tunnel,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HTTP: &str = "http-01";
const ALPN: &str = "tls-alpn-01";

/// An ACME server, and the folder that orders leave things in.
struct Acme {
    acme: AcmeServer,
    folder: Folder,
}

/// A server that orders from it.
struct Ordering {
    server: TestServer,
    tls: SocketAddr,
}

impl Acme {
    fn new() -> Self {
        let folder = Folder::new();
        let acme = AcmeServer::start(&folder);
        Self { acme, folder }
    }

    fn setup(&self, challenge: &str, domains: &[&str]) -> Setup {
        Setup::new()
            .app(App::usual())
            .set("server.tls.port", 0)
            .set("server.tls.acme.domains", json!(domains))
            .set("server.tls.acme.terms_of_service_agreed", true)
            .set("server.tls.acme.contact", "admin@example.org")
            .set("server.tls.acme.challenge", challenge)
            .set("server.tls.acme.directory", self.acme.directory.as_str())
            .set("server.tls.acme.ca_file", self.acme.authority.file.as_str())
            .set("server.tls.acme.folder", self.folder.file("acme"))
    }

    /// Starts a server that nobody can check yet.
    fn start(&self, setup: Setup) -> Ordering {
        let server = TestServer::start(setup);
        let tls = printed_address(&server.process.stdout(), "Listening on https");
        let tls = tls.expect("a TLS port");
        Ordering { server, tls }
    }

    /// Starts a server that has the name `localhost` and is where the ACME server looks.
    fn start_usual(&self, challenge: &str) -> Ordering {
        let it = self.start(self.setup(challenge, &["localhost"]));
        self.check_at(&it);
        it
    }

    fn check_at(&self, it: &Ordering) {
        self.acme.check_at(it.server.public, it.tls);
    }

    /// The folder of this ACME server.
    fn own(&self) -> PathBuf {
        let name = self.acme.directory.trim_start_matches("https://");
        let name = name.replace([':', '/'], "-");
        Path::new(&self.folder.file("acme")).join(name)
    }

    /// What a new client that asks for a name is shown, speaking these protocols.
    fn shown(
        &self,
        it: &Ordering,
        name: &str,
        protocols: &[&[u8]],
    ) -> io::Result<CertificateDer<'static>> {
        let tcp = TcpStream::connect(it.tls)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let mut client = self.acme.authority.client(ALL_VERSIONS);
        client.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let session = ClientConnection::new(Arc::new(client), name).expect("a client");
        let mut session = StreamOwned::new(session, tcp);
        session.conn.complete_io(&mut session.sock)?;
        let chain = session.conn.peer_certificates().expect("a chain");
        Ok(chain[0].clone().into_owned())
    }

    fn wait_shown(&self, it: &Ordering, name: &str) -> CertificateDer<'static> {
        eventually("a certificate is served", || {
            self.shown(it, name, &[b"http/1.1"]).ok()
        })
    }

    fn orders(&self) -> usize {
        self.acme.asked(Resource::NewOrder).len()
    }

    fn client(&self, it: &Ordering) -> TestClient {
        TestClient::connect(self.tunnel(it).address, it.server.app())
    }

    fn tunnel(&self, it: &Ordering) -> Tunnel {
        Tunnel::to(it.tls, self.acme.authority.client(ALL_VERSIONS))
    }

    /// Puts a certificate for `localhost` into the folder that is valid and due.
    fn store_due(&self) {
        fs::create_dir_all(self.own()).expect("a folder");
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = (SystemTime::now() + 20 * DAY).into();
        let authority = &self.acme.authority;
        let issued = authority.issue_with(&self.folder, "due", parameters);
        let both = [issued.key_file, issued.cert_file].map(|file| fs::read(file).expect("a file"));
        fs::write(self.own().join("localhost.pem"), both.concat()).expect("it is written");
    }
}

impl Ordering {
    /// How things stand with a name.
    fn state(&self, name: &str) -> Value {
        let state = self.server.admin_json("/api/state");
        let names = state["tls"]["acme"].as_array();
        let mut names = names.into_iter().flatten();
        names
            .find(|state| state["name"] == name)
            .cloned()
            .unwrap_or_default()
    }

    /// Waits until the certificate of a name is no business of today.
    fn wait_rest(&self, name: &str) {
        eventually("nothing is due", || {
            let next = self.state(name)["next_order_s"].as_u64();
            next.is_some_and(|next| next > 3600).then_some(())
        });
    }

    fn expect_log(&self, text: &str) {
        self.server
            .process
            .wait_stderr(text, |log| log.contains(text).then_some(()));
    }

    fn logged(&self, text: &str) -> usize {
        self.server.process.stderr().matches(text).count()
    }

    /// It still serves its clients.
    fn expect_well(&self) {
        let mut client = self.server.client();
        client.subscribe("orders");
        self.server.api().publish("orders", "paid", "7");
        assert_eq!(client.expect_on("orders", "paid").data(), "7");
    }
}

const FAILED: &str = "no certificate was issued; what is stored stays in use";

#[test]
fn the_first_certificate_is_issued_by_either_challenge_and_served() {
    for challenge in [ALPN, HTTP] {
        let acme = Acme::new();
        let it = acme.start(acme.setup(challenge, &["localhost", "ws.example.test"]));
        acme.shown(&it, "localhost", &[]).expect_err("not yet");
        it.expect_log("there is no certificate yet for the name that the client asks for");
        it.expect_well();
        acme.check_at(&it);
        let one = acme.wait_shown(&it, "localhost");
        let other = acme.wait_shown(&it, "ws.example.test");
        assert_ne!(one, other);
        let (mut client, tunnel) = (acme.client(&it), acme.tunnel(&it));
        client.subscribe("orders");
        Api::new(tunnel.address, it.server.app()).publish("orders", "paid", "7");
        assert_eq!(client.expect_on("orders", "paid").data(), "7");
        it.wait_rest("localhost");
        assert_eq!(acme.orders(), 2);
        assert_eq!(acme.acme.asked(Resource::NewAccount).len(), 1);
        assert_eq!(it.logged(FAILED), 0);
        let metrics = it.server.admin_get("/metrics").body;
        assert!(
            metrics.contains(r#"acme_orders_total{result="issued"} 2"#),
            "{metrics}"
        );
        assert!(metrics.contains("ws.example.test.pem\"} 89"), "{metrics}");
        for file in ["account.json", "localhost.pem", "ws.example.test.pem"] {
            let stored = fs::metadata(acme.own().join(file)).expect("it is stored");
            assert_eq!(stored.permissions().mode() & 0o777, 0o600, "{file}");
        }
        let left = fs::read_dir(acme.own().join("challenges")).expect("a folder");
        assert_eq!(left.count(), 0, "answers are left behind");
    }
}

#[test]
fn http_01_is_answered_beside_a_prefix_and_a_redirect_and_for_its_token_alone() {
    let acme = Acme::new();
    let setup = acme.setup(HTTP, &["localhost"]);
    let setup = setup
        .set("server.path_prefix", "/ws")
        .set("server.tls.plain", "redirect");
    let it = acme.start(setup);
    acme.acme.wait_asked(Resource::Challenge, 1);
    let own = acme.own();
    let token = fs::read_dir(own.join("challenges")).expect("a folder");
    let token = token.flatten().next().expect("an answer").file_name();
    let token = token.into_string().expect("text");
    let answer = |path: &str| Http::connect(it.server.public).get(path);
    let found = answer(&format!("/.well-known/acme-challenge/{token}"));
    assert!(found.body.starts_with(&format!("{token}.")), "{found:?}");
    assert_eq!(found.header("content-type"), Some("text/plain"));
    for path in [
        format!("/.well-known/acme-challenge/{token}x"),
        format!("/.well-known/acme-challenge/{token}/"),
        format!("/.well-known/acme-challenge/..%2f{token}"),
        "/.well-known/acme-challenge/../account.json".to_owned(),
        "/.well-known/acme-challenge/".to_owned(),
    ] {
        assert_eq!(answer(&path).status, 308, "{path}");
    }
    acme.check_at(&it);
    acme.wait_shown(&it, "localhost");
    it.wait_rest("localhost");
    let gone = answer(&format!("/.well-known/acme-challenge/{token}"));
    assert_eq!(gone.status, 308, "{gone:?}");
}

#[test]
fn the_challenge_protocol_is_spoken_while_a_name_is_checked_and_changes_nothing_else() {
    let acme = Acme::new();
    let it = acme.start_usual(ALPN);
    let usual = acme.wait_shown(&it, "localhost");
    it.wait_rest("localhost");
    let both: &[&[u8]] = &[b"acme-tls/1", b"http/1.1"];
    let shown = acme.shown(&it, "localhost", both);
    assert_eq!(shown.expect("a handshake"), usual);
    for protocols in [&[&b"acme-tls/1"[..]][..], &[b"h2"]] {
        let refused = acme.shown(&it, "localhost", protocols);
        refused.expect_err("nothing in common");
    }
    assert_eq!(acme.shown(&it, "localhost", &[]).expect("ok"), usual);
    // Who names no server gets the certificate, too, and finds that it is for a name.
    let nameless = acme.shown(&it, "127.0.0.1", &[]).expect_err("another name");
    assert!(nameless.to_string().contains("not valid for"), "{nameless}");
}

#[test]
fn a_restart_serves_what_is_stored_and_orders_nothing() {
    let acme = Acme::new();
    let it = acme.start_usual(HTTP);
    let before = acme.wait_shown(&it, "localhost");
    it.wait_rest("localhost");
    drop(it);
    acme.acme.fail(Resource::Directory, Fault::Silent);
    let it = acme.start_usual(HTTP);
    let after = acme.shown(&it, "localhost", &[]);
    assert_eq!(after.expect("served at once"), before);
    it.wait_rest("localhost");
    let due = it.state("localhost")["next_order_s"].as_u64();
    let due = Duration::from_secs(due.expect("a number"));
    assert!(due > 59 * DAY && due < 61 * DAY, "{due:?}");
    assert_eq!(acme.orders(), 1);
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_lifetime_and_open_sockets_stay() {
    let acme = Acme::new();
    acme.acme.set_lifetime(Duration::from_secs(9));
    let it = acme.start_usual(ALPN);
    let first = acme.wait_shown(&it, "localhost");
    acme.acme.set_lifetime(90 * DAY);
    let mut client = acme.client(&it);
    client.subscribe("orders");
    let asked = acme.acme.wait_asked(Resource::NewOrder, 2);
    // The certificate begins with a whole second.
    let waited = asked[1] - asked[0];
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    it.wait_rest("localhost");
    assert_ne!(acme.wait_shown(&it, "localhost"), first);
    it.server.api().publish("orders", "paid", "7");
    assert_eq!(client.expect_on("orders", "paid").data(), "7");
}

#[test]
fn names_that_sighup_brings_are_ordered_and_the_others_are_not_ordered_again() {
    let acme = Acme::new();
    let mut it = acme.start_usual(ALPN);
    acme.wait_shown(&it, "localhost");
    it.wait_rest("localhost");
    let setup = acme.setup(ALPN, &["localhost", "ws.example.test"]);
    let config = it.server.config.as_ref().expect("a file");
    config.replace(&setup.toml());
    // The account is gone meanwhile: another one is made.
    acme.acme.forget_accounts();
    it.server.process.signal("HUP");
    acme.wait_shown(&it, "ws.example.test");
    it.wait_rest("ws.example.test");
    let ordered = it.state("localhost");
    assert!(ordered["next_order_s"].as_u64() > Some(3600), "{ordered}");
    assert_eq!(acme.acme.asked(Resource::Certificate).len(), 2);
    assert_eq!(acme.acme.asked(Resource::NewAccount).len(), 2);
    let state = it.server.admin_json("/api/state");
    assert_eq!(state["app_store"]["needs_restart"], json!([]));
}

#[test]
fn two_processes_that_share_a_folder_order_once_and_answer_for_each_other() {
    let acme = Acme::new();
    let setup = acme.setup(HTTP, &["localhost"]);
    let one = acme.start(setup.clone());
    acme.acme.wait_asked(Resource::Challenge, 1);
    let other = acme.start(setup);
    // The balancer leads to the process that does not order.
    acme.check_at(&other);
    let shown = acme.wait_shown(&one, "localhost");
    let same = eventually("the other serves it, too", || {
        acme.shown(&other, "localhost", &[]).ok()
    });
    assert_eq!(same, shown);
    one.wait_rest("localhost");
    other.wait_rest("localhost");
    assert_eq!(acme.orders(), 1);
    assert_eq!(acme.acme.asked(Resource::NewAccount).len(), 1);
}
