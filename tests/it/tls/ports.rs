//! The two ports beside each other, apps that want TLS, and TLS on the operator's listener.

use rustls::ALL_VERSIONS;

use super::TlsServer;
use crate::support::{
    app::App,
    authority::Authority,
    fallback::{Line, Session},
    http::Http,
    process::{ConfigFile, Process},
    redis::Folder,
    server::TestServer,
    setup::Setup,
    tunnel::Tunnel,
    websocket::Incoming,
};

/// How a WebSocket that the plain port does not serve ends.
fn close_code(server: &TestServer) -> Option<u16> {
    let mut socket = server.upgrade("7").connect(server.public);
    match socket.next() {
        Incoming::Close(code, _) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_app_that_wants_tls_is_served_on_the_tls_port_only() {
    let it = TlsServer::start(Setup::new().usual_with("tls_only", true));
    assert_eq!(close_code(&it.server), Some(4000));
    it.client().subscribe("orders");
    let plain = Session::new(&it.server, it.app());
    let mut refused = plain.receive("xhr_streaming");
    refused.expect_line(&Line::Open);
    refused.expect_close(4000);
    let sealed = Session::new(&it.server, it.app()).at(it.tunnel.address);
    sealed.open("xhr_streaming");
}

#[test]
fn a_plain_port_that_redirects_says_where_tls_is() {
    let it = TlsServer::start(Setup::new().set("server.tls.plain", "redirect"));
    let port = it.tls.port();
    let mut http = Http::connect(it.server.public);
    let answer = http.get("/up?a=b");
    assert_eq!(answer.status, 308, "{answer:?}");
    let expected = format!("https://localhost:{port}/up?a=b");
    assert_eq!(answer.header("location"), Some(&*expected));
    assert_eq!(close_code(&it.server), Some(4000));
    it.client().subscribe("orders");
}

#[test]
fn the_plain_port_can_be_left_closed() {
    let it = TlsServer::start(Setup::new().set("server.tls.plain", "off"));
    assert_eq!(it.server.public, it.tls);
    let printed = it.server.process.stdout();
    assert!(!printed.contains("Listening on http://"), "{printed}");
    assert!(printed.contains("PUSHER_SCHEME=https"), "{printed}");
    assert!(printed.contains("forceTLS: true"), "{printed}");
    it.client().subscribe("orders");
}

#[test]
fn the_operators_listener_speaks_tls_and_may_ask_for_a_certificate() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let strangers = Authority::new(&folder, "strangers");
    let (issued, operator) = (
        authority.issue(&folder, "admin"),
        authority.issue(&folder, "operator"),
    );
    let stranger = strangers.issue(&folder, "stranger");
    let setup = Setup::new()
        .app(App::usual())
        .set("admin.tls.cert", issued.cert_file.as_str())
        .set("admin.tls.key", issued.key_file.as_str());
    let server = TestServer::start(setup.clone());
    let tunnel = Tunnel::to(server.admin, authority.client(ALL_VERSIONS));
    assert_eq!(Http::connect(tunnel.address).get("/ready").status, 200);
    drop(server);
    let server = TestServer::start(setup.set("admin.tls.client_ca", authority.file.as_str()));
    let known = Tunnel::to(server.admin, authority.client_as(&operator));
    let state = Http::connect(known.address).get("/api/state").json();
    assert_eq!(state["tls"]["certificates"][0]["listener"], "admin");
    for client in [
        authority.client(ALL_VERSIONS),
        authority.client_as(&stranger),
    ] {
        let tunnel = Tunnel::to(server.admin, client);
        let mut http = Http::connect(tunnel.address);
        http.send("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
        http.expect_end();
        assert_eq!(tunnel.failures().len(), 1);
    }
}

#[test]
fn the_cookie_of_an_operator_with_tls_is_never_sent_without() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let issued = authority.issue(&folder, "admin");
    let token = "a-token-of-some-length";
    let setup = Setup::new()
        .app(App::usual())
        .set("admin.token", token)
        .set("admin.tls.cert", issued.cert_file.as_str())
        .set("admin.tls.key", issued.key_file.as_str());
    let server = TestServer::start(setup);
    let tunnel = Tunnel::to(server.admin, authority.client(ALL_VERSIONS));
    let body = format!(r#"{{"token":"{token}"}}"#);
    let mut http = Http::connect(tunnel.address);
    http.send(format!(
        "POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let begun = http.response();
    let cookie = begun.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("Secure"), "{cookie}");
}

#[test]
fn keys_that_do_not_fit_together_are_refused_at_the_start() {
    for (keys, reason) in [
        ("cert = \"a.pem\"", "needs the key beside it"),
        ("key = \"a.key\"", "needs the cert beside it"),
        (
            "plain = \"off\"",
            "needs server.tls.cert or server.tls.acme",
        ),
        (
            "cert = \"a.pem\"\nkey = \"a.key\"\nport = 6001",
            "must differ from server.port",
        ),
    ] {
        let config = ConfigFile::new(&format!("[server.tls]\n{keys}\n"));
        let finished = Process::run(&["--config", config.path()], &[]);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(reason), "{finished:?}");
    }
}
