//! `allowed_origins`: who may connect from a browser.

use crate::support::{
    app::App, client::TestClient, server::TestServer, setup::Setup, websocket::Upgrade,
};

fn with_origins(origins: &[&str]) -> TestServer {
    TestServer::start(Setup::new().usual_with("allowed_origins", origins.to_vec()))
}

fn from(server: &TestServer, origin: &str) -> Upgrade {
    server.upgrade("7").header("Origin", origin)
}

#[track_caller]
fn accepts(server: &TestServer, origins: &[&str]) {
    for origin in origins {
        let socket = from(server, origin).connect(server.public);
        TestClient::greeted(socket, server.app()).expect_silence();
    }
}

#[track_caller]
fn refuses(server: &TestServer, origins: &[&str]) {
    for origin in origins {
        from(server, origin)
            .connect(server.public)
            .expect_close(4009);
    }
}

#[test]
fn without_a_list_everyone_may_connect() {
    let server = TestServer::usual();
    accepts(&server, &["https://example.com", "null", "not an origin"]);
    server.client().expect_silence();
}

#[test]
fn a_missing_origin_is_closed_with_4009_where_there_is_a_list() {
    let server = with_origins(&["example.com"]);
    server
        .upgrade("7")
        .connect(server.public)
        .expect_close(4009);
}

/// #13 row 6.
#[test]
fn a_missing_origin_may_be_allowed_beside_a_list_for_browsers() {
    let app = App::usual()
        .set("allowed_origins", vec!["example.com"])
        .set("require_origin", false);
    let server = TestServer::start(Setup::new().app(app));
    let socket = server.upgrade("7").connect(server.public);
    TestClient::greeted(socket, server.app()).expect_silence();
    accepts(&server, &["https://example.com"]);
    refuses(&server, &["https://example.org", "null", ""]);
}

/// #13 row 6: `golang.org/x/net/websocket` takes a URL for the origin, and sends it with its path.
#[test]
fn the_path_of_an_origin_is_ignored() {
    let server = with_origins(&["localhost"]);
    accepts(
        &server,
        &[
            "http://localhost",
            "http://localhost/",
            "http://localhost:3000/",
        ],
    );
    refuses(
        &server,
        &[
            "evil.example/http://localhost",
            "http://evil.example/http://localhost",
            "http://evil.example/localhost",
            "http://localhost.evil.example/",
            "localhost/",
        ],
    );
}

#[test]
fn a_host_allows_every_scheme_and_port_of_exactly_that_host() {
    let server = with_origins(&["example.com"]);
    accepts(
        &server,
        &[
            "http://example.com",
            "https://example.com",
            "https://example.com:8443",
        ],
    );
    refuses(
        &server,
        &[
            "https://www.example.com",
            "https://example.com.evil.test",
            "https://evil-example.com",
            "https://example.org",
            "https://evil.test/example.com",
            "https://example.com@evil.test",
            "null",
        ],
    );
}

#[test]
fn a_pattern_allows_what_its_star_stands_for() {
    let server = with_origins(&["*.example.com"]);
    accepts(
        &server,
        &["https://a.example.com", "http://a.b.example.com:3000"],
    );
    refuses(
        &server,
        &[
            "https://example.com",
            "https://a.example.com.evil.test",
            "https://aexample.com",
        ],
    );
}

#[test]
fn a_full_origin_allows_only_its_scheme() {
    let server = with_origins(&["https://example.com"]);
    accepts(&server, &["https://example.com"]);
    refuses(
        &server,
        &[
            "http://example.com",
            "https://www.example.com",
            "https://example.com:8443",
        ],
    );
}

#[test]
fn each_entry_of_the_list_counts() {
    let server = with_origins(&["one.test", "*.two.test", "https://three.test"]);
    accepts(
        &server,
        &["http://one.test", "http://a.two.test", "https://three.test"],
    );
    refuses(
        &server,
        &["http://two.test", "http://three.test", "http://four.test"],
    );
}
