//! Who gets anything from the admin listener, by raw requests: forged names, foreign origins, missing and wrong tokens.

use crate::support::{
    http::Response, process::Process, server::TestServer, setup::Setup, websocket::Upgrade,
};

const TOKEN: &str = "a-token-of-the-tests-0123456789";
const BEARER: &str = "Authorization: Bearer a-token-of-the-tests-0123456789";
/// All that shows or changes something.
const GUARDED: [&str; 7] = [
    "GET /api/state",
    "GET /api/apps/1001/channels",
    "GET /api/connections",
    "GET /api/connections/1.2",
    "DELETE /api/connections/1.2",
    "POST /api/apps/1001/events",
    "GET /feed",
];
const EVENT: &str = r#"{"name":"e","channels":["news"],"data":""}"#;

fn with_token() -> TestServer {
    TestServer::start(Setup::new().set("admin.token", TOKEN))
}

/// The status of each guarded request with these headers; nothing of the state may be in a refusal.
#[track_caller]
fn are_refused(server: &TestServer, headers: &[&str], status: u16) {
    let json = [headers, &["Content-Type: application/json"]].concat();
    for line in GUARDED {
        let body = if line.starts_with("POST") { EVENT } else { "" };
        let answer = server.admin_call(line, &json, body);
        answer.is_error(status);
        assert!(!answer.body.contains("key-of-1001"), "{line}: {answer:?}");
    }
}

fn state(server: &TestServer, headers: &[&str]) -> Response {
    server.admin_call("GET /api/state", headers, "")
}

#[test]
fn a_forged_host_gets_nothing() {
    let server = TestServer::usual();
    for host in [
        "evil.example",
        "evil.example:9601",
        "127.0.0.1.evil.example",
        "10.0.0.1",
    ] {
        are_refused(&server, &[&format!("Host: {host}")], 403);
        let page = server.admin_call("GET /", &[&format!("Host: {host}")], "");
        page.is_error(403);
    }
    for host in ["localhost", "127.0.0.1:9601", "[::1]:9601"] {
        assert_eq!(
            state(&server, &[&format!("Host: {host}")]).status,
            200,
            "{host}"
        );
    }
}

#[test]
fn a_foreign_origin_gets_nothing() {
    let (open, closed) = (TestServer::usual(), with_token());
    for origin in [
        "https://evil.example",
        "http://localhost:8000",
        "null",
        "http://127.0.0.1",
    ] {
        let origin = format!("Origin: {origin}");
        are_refused(&open, &["Host: localhost", &origin], 403);
        are_refused(&closed, &["Host: localhost", &origin, BEARER], 403);
    }
    let own = ["Host: localhost:9601", "Origin: http://localhost:9601"];
    assert_eq!(state(&open, &own).status, 200);
    assert_eq!(state(&closed, &[own[0], own[1], BEARER]).status, 200);
}

#[test]
fn what_a_browser_fetches_for_another_page_gets_nothing() {
    let server = TestServer::usual();
    for site in ["cross-site", "same-site"] {
        let site = format!("Sec-Fetch-Site: {site}");
        are_refused(
            &server,
            &["Host: localhost", &site, "Sec-Fetch-Mode: no-cors"],
            403,
        );
        are_refused(
            &server,
            &["Host: localhost", &site, "Sec-Fetch-Mode: navigate"],
            403,
        );
        let framed = server.admin_call(
            "GET /",
            &["Host: localhost", &site, "Sec-Fetch-Mode: no-cors"],
            "",
        );
        framed.is_error(403);
        let linked = server.admin_call(
            "GET /",
            &["Host: localhost", &site, "Sec-Fetch-Mode: navigate"],
            "",
        );
        assert_eq!(linked.status, 200);
    }
    assert_eq!(
        state(&server, &["Host: localhost", "Sec-Fetch-Site: same-origin"]).status,
        200
    );
}

#[test]
fn a_missing_or_wrong_token_gets_nothing() {
    let server = with_token();
    are_refused(&server, &["Host: localhost"], 401);
    for wrong in [
        "Authorization: Bearer wrong",
        "Authorization: Bearer",
        "Authorization: Basic a-token-of-the-tests-0123456789",
        "Authorization: Bearer a-token-of-the-tests-0123456789x",
        "Cookie: loudhailer=a-token-of-the-tests-0123456789",
    ] {
        are_refused(&server, &["Host: localhost", wrong], 401);
    }
    assert_eq!(state(&server, &["Host: localhost", BEARER]).status, 200);
    assert_eq!(state(&server, &["Host: ops.example", BEARER]).status, 200);
    for open in ["/live", "/ready", "/"] {
        assert_eq!(server.admin_get(open).status, 200, "{open}");
    }
}

#[test]
fn a_session_takes_the_place_of_the_token() {
    let server = with_token();
    let begin = |token: &str, headers: &[&str]| {
        let body = format!(r#"{{"token":"{token}"}}"#);
        server.admin_call("POST /session", headers, &body)
    };
    let json = ["Host: localhost", "Content-Type: application/json"];
    begin("wrong", &json).is_error(401);
    begin(TOKEN, &[json[0], "Content-Type: text/plain"]).is_error(415);
    begin(TOKEN, &[json[0], json[1], "Origin: https://evil.example"]).is_error(403);
    let begun = begin(TOKEN, &json);
    assert_eq!(begun.status, 204, "{begun:?}");
    let cookie = begun.header("set-cookie").expect("a cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains(TOKEN), "the cookie is not the token");
    let cookie = format!("Cookie: {}", cookie.split(';').next().expect("a pair"));
    assert_eq!(state(&server, &["Host: localhost", &cookie]).status, 200);
    are_refused(&server, &["Host: localhost", &format!("{cookie}x")], 401);
    let host = server.admin.to_string();
    Upgrade::new("/feed")
        .header("Cookie", cookie.trim_start_matches("Cookie: "))
        .connect(server.admin);
    assert_eq!(
        Upgrade::new("/feed").refusal(server.admin).status,
        401,
        "{host}"
    );
}

#[test]
fn a_change_must_come_as_json() {
    let server = TestServer::usual();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let headers = ["Host: localhost", &format!("Content-Type: {kind}")];
        server
            .admin_call("POST /api/apps/1001/events", &headers, EVENT)
            .is_error(415);
    }
    server
        .admin_call("POST /api/apps/1001/events", &["Host: localhost"], EVENT)
        .is_error(415);
}

#[test]
fn nothing_of_it_is_on_the_public_port() {
    let server = TestServer::usual();
    for path in [
        "/api/state",
        "/api/connections",
        "/feed",
        "/session",
        "/metrics",
        "/assets/x",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn beyond_loopback_a_token_is_needed() {
    let refused = |variables: &[(&str, &str)], text: &str| {
        let variables = [
            &[
                ("LOUDHAILER_SERVER__PORT", "0"),
                ("LOUDHAILER_ADMIN__PORT", "0"),
            ],
            variables,
        ]
        .concat();
        let finished = Process::run(&[], &variables);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(text), "{finished:?}");
    };
    let everywhere = ("LOUDHAILER_ADMIN__HOST", "0.0.0.0");
    refused(&[everywhere], "unless admin.token is set");
    refused(
        &[everywhere, ("LOUDHAILER_ADMIN__TOKEN", "short")],
        "LOUDHAILER_ADMIN__TOKEN: admin.token must have at least 16",
    );
    let setup = Setup::new().set("admin.host", "0.0.0.0");
    let server = TestServer::start_in(setup, &[("LOUDHAILER_ADMIN__TOKEN", TOKEN)]);
    assert!(!server.printed().contains(TOKEN));
}

/// #16
#[test]
fn of_a_storm_of_wrong_tokens_the_log_tells_once_with_the_address() {
    let server = with_token();
    assert_eq!(state(&server, &["Host: localhost"]).status, 401);
    for _ in 0..20 {
        let wrong = ["Host: localhost", "Authorization: Bearer never-logged"];
        assert_eq!(state(&server, &wrong).status, 401);
        let body = r#"{"token":"never-logged"}"#;
        let json = ["Host: localhost", "Content-Type: application/json"];
        server
            .admin_call("POST /session", &json, body)
            .is_error(401);
    }
    let log = server.process.stderr();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("wrong token"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("127.0.0.1"),
        "{log}"
    );
    assert!(!log.contains("never-logged"), "{log}");
}
