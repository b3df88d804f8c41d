//! Certificates that the server gets and renews by itself.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
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
    feed::Feed,
    http::Http,
    process::{ConfigFile, Process},
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
fn a_failing_server_is_asked_again_and_again_and_the_old_certificate_stays() {
    let acme = Acme::new();
    acme.store_due();
    let problem = Fault::Problem(500, "serverInternal", "the database is down", None);
    acme.acme.fail(Resource::NewOrder, problem);
    let mut it = acme.start_usual(HTTP);
    let old = acme.shown(&it, "localhost", &[]).expect("the stored one");
    let asked = acme.acme.wait_asked(Resource::NewOrder, 3);
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let seconds = [2, 4].map(Duration::from_secs);
    assert!(
        waits[0] >= seconds[0] && waits[1] >= seconds[1],
        "{waits:?}"
    );
    assert_eq!(acme.shown(&it, "localhost", &[]).expect("kept"), old);
    let said = "urn:ietf:params:acme:error:serverInternal: the database is down";
    assert_eq!(it.state("localhost")["error"], said);
    assert_eq!(it.logged(FAILED), 1, "it is told once");
    let metrics = it.server.admin_get("/metrics").body;
    assert!(
        metrics.contains(r#"acme_orders_total{result="failed"}"#),
        "{metrics}"
    );
    acme.acme.recover();
    it.server.process.signal("HUP");
    it.wait_rest("localhost");
    assert!(it.state("localhost")["error"].is_null());
    assert_ne!(acme.shown(&it, "localhost", &[]).expect("a new one"), old);
}

#[test]
fn a_server_that_asks_to_wait_is_not_asked_before_not_even_on_sighup() {
    for status in [429, 503] {
        let acme = Acme::new();
        let kind = "rateLimited";
        let problem = Fault::Problem(status, kind, "too many certificates", Some("5"));
        acme.acme.fail_next(Resource::NewOrder, problem);
        let mut it = acme.start_usual(HTTP);
        it.expect_log("urn:ietf:params:acme:error:rateLimited: too many certificates");
        it.expect_log("retry_after_s=5");
        it.server.process.signal("HUP");
        let asked = acme.acme.wait_asked(Resource::NewOrder, 2);
        let waited = asked[1] - asked[0];
        assert!(waited >= Duration::from_secs(5), "{status}: {waited:?}");
        acme.wait_shown(&it, "localhost");
    }
}

#[test]
fn a_nonce_that_is_not_accepted_is_replaced() {
    let acme = Acme::new();
    acme.acme.refuse_nonces(2);
    let it = acme.start_usual(ALPN);
    acme.wait_shown(&it, "localhost");
    assert_eq!(it.logged(FAILED), 0);
}

#[test]
fn an_invalid_order_is_told_with_what_the_authority_says_and_tried_again_on_sighup() {
    let acme = Acme::new();
    let elsewhere = TestServer::usual();
    let mut it = acme.start(acme.setup(HTTP, &["localhost"]));
    let mut feed = Feed::connect(&it.server);
    acme.acme.check_at(elsewhere.public, elsewhere.public);
    let told = feed.expect("certificates_refused");
    let message = told["message"].as_str().expect("text");
    let said = "localhost: urn:ietf:params:acme:error:unauthorized: another answer";
    assert!(message.contains(said), "{message}");
    it.expect_log("urn:ietf:params:acme:error:unauthorized");
    eventually("the next order is some minutes away", || {
        let next = it.state("localhost")["next_order_s"].as_u64()?;
        (200..=300).contains(&next).then_some(())
    });
    acme.check_at(&it);
    it.server.process.signal("HUP");
    acme.wait_shown(&it, "localhost");
    it.wait_rest("localhost");
    assert!(it.state("localhost")["error"].is_null());
}

#[test]
fn damaged_files_lead_to_a_new_order_and_a_line() {
    let acme = Acme::new();
    fs::create_dir_all(acme.own()).expect("a folder");
    for file in ["account.json", "localhost.pem"] {
        fs::write(acme.own().join(file), "broken\n").expect("it is written");
    }
    let it = acme.start_usual(HTTP);
    acme.wait_shown(&it, "localhost");
    it.expect_log("a stored certificate can't be used; another one is ordered");
    it.expect_log("the ACME account can't be read; a new one is made");
    it.wait_rest("localhost");
    let served = acme.wait_shown(&it, "localhost");
    // While the server runs, too: what is served stays until the next one comes.
    fs::write(acme.own().join("localhost.pem"), "broken again\n").expect("it is written");
    acme.acme.wait_asked(Resource::NewOrder, 2);
    eventually("the new certificate is served", || {
        let shown = acme.shown(&it, "localhost", &[]);
        (shown.expect("there is always one") != served).then_some(())
    });
}

#[test]
fn a_certificate_that_can_t_be_stored_is_not_ordered_again_at_once() {
    let acme = Acme::new();
    fs::create_dir_all(acme.own().join("localhost.pem")).expect("a folder in its place");
    let it = acme.start_usual(HTTP);
    it.expect_log("the certificate can't be stored: ");
    eventually("the next order is some minutes away", || {
        let next = it.state("localhost")["next_order_s"].as_u64()?;
        (200..=300).contains(&next).then_some(())
    });
    assert_eq!(acme.orders(), 1);
    it.expect_well();
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

#[test]
fn a_process_that_is_killed_while_it_orders_holds_up_no_other() {
    let acme = Acme::new();
    let setup = acme.setup(HTTP, &["localhost"]);
    let mut one = acme.start(setup.clone());
    acme.acme.wait_asked(Resource::Challenge, 1);
    let other = acme.start(setup);
    one.server.kill();
    acme.check_at(&other);
    acme.wait_shown(&other, "localhost");
    other.wait_rest("localhost");
    assert_eq!(acme.orders(), 2);
    assert_eq!(acme.acme.asked(Resource::NewAccount).len(), 1);
    let left = fs::read_dir(acme.own().join("challenges")).expect("a folder");
    assert_eq!(left.count(), 0, "the answers of the dead are left behind");
}

#[test]
fn variables_of_the_environment_configure_it_too() {
    let acme = Acme::new();
    let folder = acme.folder.file("acme");
    let directory = acme.acme.directory.as_str();
    let variables = [
        ("DOMAINS", "localhost,ws.example.test"),
        ("TERMS_OF_SERVICE_AGREED", "true"),
        ("DIRECTORY", directory),
        ("CA_FILE", acme.acme.authority.file.as_str()),
        ("FOLDER", folder.as_str()),
    ];
    let variables =
        variables.map(|(key, value)| (format!("LOUDHAILER_SERVER__TLS__ACME__{key}"), value));
    let variables: Vec<_> = variables
        .iter()
        .map(|(key, value)| (key.as_str(), *value))
        .collect();
    let setup = Setup::new().app(App::usual()).set("server.tls.port", 0);
    let server = TestServer::start_in(setup, &variables);
    let tls = printed_address(&server.process.stdout(), "Listening on https");
    let tls = tls.expect("a TLS port");
    let it = Ordering { server, tls };
    acme.check_at(&it);
    acme.wait_shown(&it, "ws.example.test");
}

#[test]
fn an_account_can_be_bound_to_one_with_the_authority() {
    let acme = Acme::new();
    acme.acme.require_binding("kid-1", b"secret");
    let setup = acme.setup(HTTP, &["localhost"]);
    let setup = setup
        .set("server.tls.acme.external_account_id", "kid-1")
        .set("server.tls.acme.external_account_key", "c2VjcmV0");
    let it = acme.start(setup);
    acme.check_at(&it);
    acme.wait_shown(&it, "localhost");
}

/// A directory whose resources are all at another server.
fn foreign_directory(victim: SocketAddr) -> String {
    let url = format!("https://{victim}/x");
    let body = json!({"newNonce": url, "newAccount": url, "newOrder": url}).to_string();
    let length = body.len();
    format!("HTTP/1.1 200 x\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn a_hostile_server_harms_nobody() {
    let victim = TcpListener::bind("127.0.0.1:0").expect("a free port");
    victim.set_nonblocking(true).expect("an option");
    let address = victim.local_addr().expect("an address");
    let raw = |text: String| Fault::Raw(text);
    let redirect =
        format!("HTTP/1.1 307 x\r\nLocation: https://{address}/\r\nContent-Length: 0\r\n\r\n");
    let long = format!("HTTP/1.1 200 x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let token = |token: &str| {
        let body = json!({
            "status": "pending",
            "identifier": {"type": "dns", "value": "localhost"},
            "challenges": [{"type": "http-01", "url": "https://127.0.0.1/", "token": token, "status": "pending"}],
        });
        let (body, nonce) = (body.to_string(), "Replay-Nonce: x");
        let length = body.len();
        Fault::Raw(format!(
            "HTTP/1.1 200 x\r\n{nonce}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    };
    let far = "HTTP/1.1 200 x\r\nReplay-Nonce: x\r\nRetry-After: 18446744073709551615\r\nContent-Length: 2\r\n\r\n{}";
    for (resource, fault, told) in [
        (Resource::Directory, Fault::Endless, "too long"),
        (Resource::NewOrder, Fault::Endless, "too long"),
        (Resource::Directory, raw(long), "can't be reached"),
        (Resource::Directory, raw(redirect), "answers 307"),
        (
            Resource::Directory,
            raw(foreign_directory(address)),
            "which is another server",
        ),
        (
            Resource::Directory,
            raw("HTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\n{".to_owned()),
            "unexpected answer",
        ),
        (Resource::NewOrder, raw(far.to_owned()), "unexpected answer"),
        (
            Resource::Authorization,
            token("../../stolen"),
            "token of the ACME server's challenge is malformed",
        ),
    ] {
        let acme = Acme::new();
        acme.acme.fail(resource, fault);
        let it = acme.start_usual(HTTP);
        it.expect_log(FAILED);
        it.expect_log(told);
        it.expect_well();
    }
    let met = victim.accept().expect_err("nobody was led there").kind();
    assert_eq!(met, io::ErrorKind::WouldBlock);
}

#[test]
fn a_server_that_is_silent_holds_up_neither_clients_nor_the_stop() {
    let acme = Acme::new();
    acme.acme.fail(Resource::NewOrder, Fault::Silent);
    let mut it = acme.start_usual(HTTP);
    acme.acme.wait_asked(Resource::NewOrder, 1);
    it.expect_well();
    let began = Instant::now();
    it.server.terminate();
    it.server.expect_clean_exit();
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn what_does_not_go_together_is_refused_with_the_reason() {
    let folder = Folder::new();
    let file = folder.file("a-file");
    fs::write(&file, "").expect("it is written");
    let usual = "domains = [\"a.test\"]\nterms_of_service_agreed = true\n";
    for (acme, tls, reason) in [
        ("terms_of_service_agreed = true\n", "", "domains is missing"),
        (
            "domains = []\nterms_of_service_agreed = true\n",
            "",
            "must name at least one domain",
        ),
        (
            "domains = [\"a.test\"]\n",
            "",
            "terms_of_service_agreed is missing",
        ),
        (
            "domains = [\"a.test\"]\nterms_of_service_agreed = false\n",
            "",
            "must be true: it says that you agree",
        ),
        ("domains = [\"*.a.test\"]\n", "", "must not be the wildcard"),
        (
            "domains = [\"127.0.0.1\"]\n",
            "",
            "must be a DNS name, not the address",
        ),
        ("domains = [\"bücher.test\"]\n", "", "in Punycode"),
        (
            "domains = [\"A.test\", \"a.test\"]\nterms_of_service_agreed = true\n",
            "",
            "name a.test twice",
        ),
        (
            &format!("{usual}challenge = \"dns-01\"\n"),
            "",
            "tls-alpn-01",
        ),
        (
            &format!("{usual}challenge = \"http-01\"\n"),
            "plain = \"off\"\n",
            "needs a port without TLS",
        ),
        (
            &format!("{usual}contact = \"nobody\"\n"),
            "",
            "one e-mail address",
        ),
        (
            &format!("{usual}directory = \"http://ca.test/\"\n"),
            "",
            "must be the https:// URL",
        ),
        (
            &format!("{usual}external_account_id = \"a\"\n"),
            "",
            "needs server.tls.acme.external_account_key",
        ),
        (
            &format!("{usual}external_account_id = \"a\"\nexternal_account_key = \"%\"\n"),
            "",
            "must be base64url",
        ),
        (
            &format!("{usual}folder = \"{file}/below\"\n"),
            "",
            "server.tls.acme.folder: ",
        ),
        (
            &format!("{usual}ca_file = \"{file}\"\n"),
            "",
            "server.tls.acme.ca_file: ",
        ),
    ] {
        let text = format!(
            "[server]\nport = 0\n[server.tls]\nport = 0\n{tls}[server.tls.acme]\n{acme}[admin]\nport = 0\n"
        );
        let config = ConfigFile::new(&text);
        let checked = Process::run(&["check-config", "--bind", "--config", config.path()], &[]);
        assert_ne!(checked.code, Some(0), "{acme}{tls}");
        let printed = checked.stdout + &checked.stderr;
        assert!(printed.contains(reason), "{acme}{tls}{printed}");
    }
}

#[test]
fn a_name_that_a_file_has_too_is_refused() {
    let acme = Acme::new();
    let issued = acme.acme.authority.issue(&acme.folder, "server");
    let setup = acme
        .setup(HTTP, &["localhost"])
        .set("server.tls.cert", issued.cert_file.as_str())
        .set("server.tls.key", issued.key_file.as_str());
    let config = ConfigFile::new(&setup.toml());
    let reason = "has a certificate for localhost, which server.tls.acme.domains names too";
    for arguments in [
        &["check-config", "--bind", "--config", config.path()][..],
        &["--config", config.path()],
    ] {
        let ended = Process::run(arguments, &[]);
        assert_ne!(ended.code, Some(0));
        let printed = ended.stdout + &ended.stderr;
        assert!(printed.contains(reason), "{printed}");
    }
    // Beside other names of a file both are served.
    let setup = setup.set("server.tls.acme.domains", json!(["ws.example.test"]));
    let it = acme.start(setup);
    acme.check_at(&it);
    let issued = acme.wait_shown(&it, "ws.example.test");
    let of_file = acme.shown(&it, "localhost", &[]).expect("the file's");
    assert_ne!(issued, of_file);
}
