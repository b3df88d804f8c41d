//! Who may begin a session, with which certificate, and what is said to those who may not.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::{
    TlsServer,
    hello::{Answer, Hello},
    with_tls,
};
use crate::support::{
    app::App,
    authority::{Authority, Issued},
    client::TestClient,
    eventually,
    feed::Feed,
    http::Http,
    process::{ConfigFile, Process},
    redis::Folder,
    server::{TestServer, printed_address},
    setup::Setup,
    stream::PATIENCE,
    websocket::Frame,
};

pub(super) type Session = StreamOwned<ClientConnection, TcpStream>;

/// A session by hand, whose handshake is over and whose request was answered: tickets come with the answer.
pub(super) fn begin(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<Session> {
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let session = ClientConnection::new(Arc::clone(client), name).expect("a client");
    let mut session = StreamOwned::new(session, tcp);
    ask(&mut session)?;
    Ok(session)
}

/// Sends a request and reads the beginning of the answer.
pub(super) fn ask(session: &mut Session) -> std::io::Result<()> {
    session.write_all(b"GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut first = [0; 4096];
    let read = session.read(&mut first)?;
    assert!(first.starts_with(b"HTTP/1.1 "), "{:?}", &first[..read]);
    Ok(())
}

fn certificate_of(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&issued.cert_file).expect("a certificate")
}

fn is_shown(session: &Session, issued: &Issued) -> bool {
    let chain = session.conn.peer_certificates().expect("a chain");
    chain[0] == certificate_of(issued)
}

#[test]
fn clients_of_either_version_connect_and_the_newer_is_preferred() {
    let it = TlsServer::usual();
    for (versions, expected) in [
        (&[&TLS12][..], ProtocolVersion::TLSv1_2),
        (&[&TLS13], ProtocolVersion::TLSv1_3),
        (ALL_VERSIONS, ProtocolVersion::TLSv1_3),
    ] {
        let client = Arc::new(it.authority.client(versions));
        let session = begin(it.tls, &client, "localhost").expect("a session");
        assert_eq!(session.conn.protocol_version(), Some(expected));
        let tunnel = it.tunnel_as(it.authority.client(versions));
        let mut client = TestClient::connect(tunnel.address, it.app());
        client.subscribe("orders");
        it.api().publish("orders", "paid", "7");
        client.expect_on("orders", "paid");
    }
}

#[test]
fn an_old_client_is_refused_where_only_the_newest_version_is_served() {
    let it = TlsServer::start(Setup::new().set("server.tls.min_version", "1.3"));
    let old = Arc::new(it.authority.client(&[&TLS12]));
    let refused = begin(it.tls, &old, "localhost").expect_err("it is refused");
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    let new = Arc::new(it.authority.client(&[&TLS13]));
    begin(it.tls, &new, "localhost").expect("a session");
}

#[test]
fn a_client_that_comes_back_resumes_its_session() {
    let it = TlsServer::usual();
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let client = Arc::new(it.authority.client(versions));
        let first = begin(it.tls, &client, "localhost").expect("a session");
        assert_eq!(first.conn.handshake_kind(), Some(HandshakeKind::Full));
        let second = begin(it.tls, &client, "localhost").expect("a session");
        assert_eq!(second.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn only_http_1_1_is_agreed_on() {
    let it = TlsServer::usual();
    let mut client = it.authority.client(ALL_VERSIONS);
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let session = begin(it.tls, &Arc::new(client.clone()), "localhost").expect("a session");
    assert_eq!(session.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    client.alpn_protocols = vec![b"h2".to_vec()];
    begin(it.tls, &Arc::new(client), "localhost").expect_err("there is nothing in common");
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let mut others = Vec::new();
    let it = TlsServer::start_in(Setup::new(), |authority, folder| {
        let names: [&[&str]; 2] = [&["a.test", "b.test"], &["*.c.test"]];
        let mut environment = Vec::new();
        for (index, names) in names.into_iter().enumerate() {
            let issued = authority.issue_for(folder, &format!("other{index}"), names);
            let variable = format!("LOUDHAILER_SERVER__TLS__CERTIFICATES__{index}");
            environment.push((format!("{variable}__CERT"), issued.cert_file.clone()));
            environment.push((format!("{variable}__KEY"), issued.key_file.clone()));
            others.push(issued);
        }
        environment
    });
    let client = Arc::new(it.authority.client(ALL_VERSIONS));
    for (name, expected) in [
        ("localhost", &it.issued),
        ("127.0.0.1", &it.issued),
        ("a.test", &others[0]),
        ("B.test", &others[0]),
        ("x.c.test", &others[1]),
    ] {
        let session = begin(it.tls, &client, name).expect(name);
        assert!(is_shown(&session, expected), "{name}");
    }
    for stranger in ["d.test", "c.test", "y.x.c.test"] {
        let refused = begin(it.tls, &client, stranger).expect_err("the name is on no certificate");
        assert!(
            refused.to_string().contains("not valid for name"),
            "{refused}"
        );
    }
}

/// What a server says that can't start with these files.
fn refusal(cert: &str, key: &str) -> String {
    let setup = with_tls(
        Setup::new().app(App::usual()),
        &Issued {
            cert_file: cert.to_owned(),
            key_file: key.to_owned(),
        },
    );
    let config = ConfigFile::new(&setup.toml());
    let finished = Process::run(&["--config", config.path()], &[]);
    assert_ne!(finished.code, Some(0), "{finished:?}");
    finished.stderr
}

#[test]
fn files_that_can_not_be_served_are_named_at_the_start_with_the_reason() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let (one, other) = (
        authority.issue(&folder, "one"),
        authority.issue(&folder, "other"),
    );
    let (empty, broken) = (folder.file("empty.pem"), folder.file("broken.pem"));
    std::fs::write(&empty, "no PEM in here\n").expect("it is written");
    let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&broken, block).expect("it is written");
    let missing = folder.file("missing.pem");
    for (cert, key, reason) in [
        (&one.cert_file, &other.key_file, "does not belong to"),
        (&missing, &one.key_file, "cannot read"),
        (&one.cert_file, &missing, "cannot read"),
        (&empty, &one.key_file, "has no PEM block CERTIFICATE"),
        (&one.cert_file, &one.cert_file, "has no private key"),
        (&broken, &one.key_file, "malformed"),
    ] {
        let said = refusal(cert, key);
        assert!(said.contains(reason), "{said}");
        assert!(
            said.contains(folder.file("").trim_end_matches('/')),
            "{said}"
        );
    }
}

#[test]
fn plain_http_on_the_tls_port_is_answered_400_and_told_once() {
    let it = TlsServer::usual();
    let mut feed = Feed::connect(&it.server);
    for _ in 0..3 {
        let mut http = Http::connect(it.tls);
        let error = http.get("/up").is_error(400);
        assert!(error.contains("https://"), "{error}");
        http.expect_end();
    }
    let told = feed.expect("error");
    let message = told["message"].as_str().expect("text");
    assert!(message.contains("https://"), "{message}");
    let log = it.server.process.stderr();
    assert_eq!(log.matches("use https:// or wss://").count(), 1, "{log}");
    it.client().subscribe("orders");
}

#[test]
fn a_tls_hello_on_the_plain_port_gets_an_alert_and_is_told_once() {
    let it = TlsServer::usual();
    let client = Arc::new(it.authority.client(ALL_VERSIONS));
    for _ in 0..3 {
        let refused = begin(it.server.public, &client, "localhost").expect_err("no TLS here");
        assert!(
            refused.to_string().contains("HandshakeFailure"),
            "{refused}"
        );
    }
    let log = it.server.process.stderr();
    assert_eq!(log.matches("use http:// or ws://").count(), 1, "{log}");
    it.server.client().subscribe("orders");
}

#[test]
fn garbage_on_the_tls_port_ends_the_connection_and_harms_nobody() {
    let it = TlsServer::usual();
    let mut client = it.client();
    client.subscribe("orders");
    let record = |kind: u8, length: u16| {
        let mut bytes = vec![kind, 3, 1];
        bytes.extend(length.to_be_bytes());
        bytes.extend(vec![0; usize::from(length).min(100)]);
        bytes
    };
    for bytes in [
        vec![0; 1000],
        vec![0xff; 1000],
        record(22, 0),
        record(22, 100),
        record(23, 100),
        record(99, 5),
        record(22, u16::MAX),
        record(21, 2),
        record(20, 1),
    ] {
        let mut http = Http::connect(it.tls);
        http.send(&bytes);
        http.stream.shutdown_write();
        let rest = http.stream.take_rest(PATIENCE).expect("the end");
        // An alert at most.
        assert!(rest.len() <= 7, "{rest:?} after {bytes:?}");
    }
    it.api().publish("orders", "paid", "7");
    client.expect_on("orders", "paid");
}

#[test]
fn a_handshake_that_does_not_end_is_ended_and_told() {
    let it = TlsServer::start(Setup::new().set("server.request_timeout_s", 1));
    let mut silent = Http::connect(it.tls);
    let mut begun = Http::connect(it.tls);
    begun.send([22, 3, 1, 2, 0, 1]);
    silent.expect_end();
    begun.expect_end();
    it.server.process.wait_stderr("the reason", |log| {
        log.contains("the TLS handshake did not end in time")
            .then_some(())
    });
    it.client().subscribe("orders");
}

#[test]
fn half_open_handshakes_count_among_an_addresss_connections() {
    let setup = Setup::new().set("server.max_clients_per_ip", 20);
    let it = TlsServer::start(setup);
    let held: Vec<_> = (0..20).map(|_| Http::connect(it.tls)).collect();
    eventually("there is no room for one more", || {
        let mut http = Http::connect(it.tls);
        http.send([22, 3, 1]);
        http.try_response(std::time::Duration::from_millis(200))
            .is_err_and(|error| error == crate::support::stream::ReadError::Ended)
            .then_some(())
    });
    drop(held);
    eventually("there is room again", || {
        let client = Arc::new(it.authority.client(ALL_VERSIONS));
        begin(it.tls, &client, "localhost").ok()
    });
}

#[test]
fn a_tls_client_over_the_limit_of_its_address_gets_an_alert_and_a_line() {
    let setup = Setup::new().set("server.max_clients_per_ip", 20);
    let it = TlsServer::start(setup);
    let held: Vec<_> = (0..20).map(|_| Http::connect(it.tls)).collect();
    let refusal = eventually("there is no room for one more", || {
        let answer = Hello::tls12(&[0xc02b]).ask(it.tls);
        (!matches!(answer, Answer::Hello(_))).then_some(answer)
    });
    assert!(matches!(refusal, Answer::Alert(80)), "{refusal:?}");
    it.server.process.wait_stderr("the line", |log| {
        log.contains("over server.max_clients_per_ip").then_some(())
    });
    let metrics = it.server.admin_get("/metrics").body;
    let row = "rate_limit_triggered_total{limiter_type=\"http_connections\"}";
    assert!(metrics.contains(row), "{metrics}");
    drop(held);
}

/// Half-open handshakes at a time; `LOUDHAILER_HALF_OPEN=10000` makes it as many as the issue asks for.
fn half_open() -> usize {
    let given = std::env::var("LOUDHAILER_HALF_OPEN");
    given.map_or(2000, |number| number.parse().expect("a number"))
}

#[test]
fn thousands_of_half_open_handshakes_are_bounded_and_timed_and_harm_nobody() {
    let count = half_open();
    let setup = Setup::new()
        .set("server.max_http_connections", count / 2)
        .set("server.request_timeout_s", 2);
    let it = TlsServer::start(setup);
    let mut client = it.client();
    client.subscribe("orders");
    let mut api = Http::connect(it.tunnel.address);
    assert_eq!(api.get("/up").status, 200);
    let mut open: Vec<_> = (0..count)
        .map(|_| {
            let mut http = Http::connect(it.tls);
            http.send([22, 3, 1, 2, 0, 1]);
            http
        })
        .collect();
    it.server.process.wait_stderr("the refusals", |log| {
        log.contains("over server.max_http_connections")
            .then_some(())
    });
    for number in 0..10 {
        let event =
            serde_json::json!({"name": "paid", "channel": "orders", "data": number.to_string()});
        api.send(
            it.api()
                .call("POST", "/events")
                .body(event.to_string())
                .bytes(),
        );
        api.response().is_empty_object();
        assert_eq!(
            client.expect_on("orders", "paid").data(),
            number.to_string()
        );
    }
    let alerts = open.iter_mut().filter_map(|http| {
        let rest = http.stream.take_rest(PATIENCE).expect("all end");
        (rest == [21, 3, 1, 0, 2, 2, 80]).then_some(())
    });
    let alerts = alerts.count();
    assert!((1..=count / 2 + 1).contains(&alerts), "{alerts} alerts");
    it.client().subscribe("orders");
}

/// Reads until this text has come; `None` when the session ends first.
fn read_until(session: &mut Session, text: &str) -> Option<()> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&read).contains(text) {
        match session.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
    Some(())
}

#[test]
fn a_client_may_renew_its_keys_but_not_do_nothing_else() {
    let it = TlsServer::usual();
    let client = Arc::new(it.authority.client(&[&TLS13]));
    let mut session = begin(it.tls, &client, "localhost").expect("a session");
    session
        .write_all(&it.server.upgrade("7").bytes())
        .expect("it is sent");
    read_until(&mut session, "connection_established").expect("a greeting");
    let ping = Frame::text(r#"{"event":"pusher:ping","data":{}}"#).bytes();
    for _ in 0..50 {
        session.conn.refresh_traffic_keys().expect("new keys");
        session.write_all(&ping).expect("it is sent");
        read_until(&mut session, "pusher:pong").expect("an answer");
    }
    for _ in 0..50 {
        let renewed = session.conn.refresh_traffic_keys();
        if renewed.is_err() || session.flush().is_err() {
            break;
        }
    }
    assert_eq!(read_until(&mut session, "pusher:pong"), None);
    it.client().subscribe("orders");
}

/// Runs openssl, which has to succeed.
#[track_caller]
pub(super) fn openssl(arguments: &str) {
    let mut command = Command::new("openssl");
    let command = command.args(arguments.split_whitespace());
    let finished = command
        .stdin(Stdio::null())
        .output()
        .expect("it is installed");
    assert!(finished.status.success(), "{arguments}: {finished:?}");
}

#[test]
fn keys_are_pkcs_8_sec1_or_pkcs_1() {
    for (form, begins, make) in [
        (
            "pkcs8",
            "BEGIN PRIVATE KEY",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        ),
        (
            "sec1",
            "BEGIN EC PRIVATE KEY",
            "ecparam -name prime256v1 -genkey -noout",
        ),
        ("pkcs1", "BEGIN RSA PRIVATE KEY", "genrsa -traditional"),
    ] {
        let folder = Folder::new();
        let (key, cert) = (folder.file("key.pem"), folder.file("cert.pem"));
        openssl(&format!("{make} -out {key}"));
        let text = fs::read_to_string(&key).expect("a key");
        assert!(text.contains(begins), "{form}");
        openssl(&format!(
            "req -x509 -days 90 -subj /CN=localhost -addext subjectAltName=DNS:localhost -key {key} -out {cert}"
        ));
        let setup = Setup::new()
            .set("server.tls.port", 0)
            .set("server.tls.cert", cert.as_str())
            .set("server.tls.key", key.as_str());
        let server = TestServer::start(setup);
        let address = printed_address(&server.process.stdout(), "Listening on https");
        let address = address.expect("a TLS port");
        openssl(&format!(
            "s_client -connect {address} -servername localhost -verify_hostname localhost -CAfile {cert} -verify_return_error"
        ));
    }
}
