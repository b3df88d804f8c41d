//! §7.2: who may call, when, and with which body.

use serde_json::json;

use crate::support::{
    api::{Call, unix_now},
    app::App,
    server::TestServer,
    setup::Setup,
};

const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";
const EVENT: &str = r#"{"name":"e","channel":"c","data":""}"#;

fn event(server: &TestServer) -> Call {
    server.api().call("POST", "/events").body(EVENT)
}

fn list(server: &TestServer) -> Call {
    server.api().call("GET", "/channels")
}

#[test]
fn a_rightly_signed_request_is_served() {
    let server = TestServer::usual();
    event(&server).send().is_empty_object();
    list(&server).send().is(&json!({"channels": {}}));
}

#[test]
fn each_missing_element_is_refused_with_401() {
    let server = TestServer::usual();
    for name in ["auth_key", "auth_timestamp", "auth_version", "body_md5"] {
        event(&server).without(name).send().is_error(401);
    }
    let call = event(&server);
    let (target, _) = call
        .target()
        .rsplit_once("&auth_signature=")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    call.send_to(&target).is_error(401);
    call.send_to(&format!("{target}&auth_signature="))
        .is_error(401);
    list(&server).send_to("/apps/1001/channels").is_error(401);
}

#[test]
fn a_wrong_signature_is_refused_and_not_corrected() {
    let server = TestServer::usual();
    let call = event(&server);
    let right = call.signature();
    let target = call.target();
    for wrong in [
        "0".repeat(64),
        right[..63].to_owned(),
        right.clone() + "0",
        "zz".to_owned(),
        "%C3%A9".to_owned(),
    ] {
        let response = call.send_to(&target.replace(&right, &wrong));
        response.is_error(401);
        assert!(
            !response.body.contains(&right),
            "the answer tells the signature: {response:?}"
        );
    }
}

#[test]
fn another_secret_or_key_is_refused() {
    let server = TestServer::start(Setup::new().app(App::usual()).app(App::new("2", "other")));
    let other = &server.apps[1];
    event(&server).secret("not the secret").send().is_error(401);
    event(&server).secret(&other.secret).send().is_error(401);
    // The other app's credentials open only the other app.
    event(&server)
        .set("auth_key", &other.key)
        .secret(&other.secret)
        .send()
        .is_error(401);
    event(&server)
        .set("auth_key", "nobody")
        .send()
        .is_error(401);
    event(&server).set("auth_key", "1001").send().is_error(401);
}

#[test]
fn a_changed_request_is_refused() {
    let server = TestServer::usual();
    let (call, get) = (event(&server), list(&server));
    let target = call.target();
    call.send_to(&target.replace("/events", "/batch_events"))
        .is_error(401);
    call.send_to(&(target.clone() + "&socket_id=1.1"))
        .is_error(401);
    get.send_to(&(get.target() + "&filter_by_prefix=x"))
        .is_error(401);
    let bytes = String::from_utf8(call.bytes())
        .unwrap()
        .replace(r#""name":"e""#, r#""name":"f""#);
    let mut http = crate::support::http::Http::connect(server.public);
    http.send(bytes);
    http.response().is_error(401);
}

#[test]
fn a_timestamp_within_ten_minutes_is_taken_on_both_sides() {
    let server = TestServer::usual();
    let now = unix_now();
    for timestamp in [now - 580, now, now + 580] {
        list(&server)
            .set("auth_timestamp", &timestamp.to_string())
            .send()
            .is(&json!({"channels": {}}));
    }
    for timestamp in [0, now - 620, now + 620, now * 1000, u64::MAX] {
        list(&server)
            .set("auth_timestamp", &timestamp.to_string())
            .send()
            .is_error(401);
    }
}

#[test]
fn the_tolerance_is_configurable() {
    let server = TestServer::start(Setup::new().set("api.timestamp_tolerance_s", 60));
    let at = |ago: u64| (unix_now() - ago).to_string();
    list(&server)
        .set("auth_timestamp", &at(30))
        .send()
        .is(&json!({"channels": {}}));
    list(&server)
        .set("auth_timestamp", &at(90))
        .send()
        .is_error(401);
}

#[test]
fn a_timestamp_that_is_no_number_is_refused() {
    let server = TestServer::usual();
    let now = unix_now();
    for timestamp in [
        "",
        "now",
        "-1",
        "1e9",
        "99999999999999999999999",
        &format!("{now}.5"),
        &format!("{now}x"),
    ] {
        list(&server)
            .set("auth_timestamp", timestamp)
            .send()
            .is_error(401);
    }
}

#[test]
fn another_version_is_refused() {
    let server = TestServer::usual();
    for version in ["", "1", "1.1", "2.0", "1.0.0", "x"] {
        list(&server)
            .set("auth_version", version)
            .send()
            .is_error(401);
    }
}

#[test]
fn a_body_needs_its_md5() {
    let server = TestServer::usual();
    event(&server).set("body_md5", "").send().is_error(401);
    event(&server)
        .set("body_md5", EMPTY_MD5)
        .send()
        .is_error(401);
    event(&server)
        .set("body_md5", "not md5")
        .send()
        .is_error(401);
    event(&server).without("body_md5").send().is_error(401);
}

#[test]
fn an_empty_body_may_come_with_or_without_its_md5() {
    let server = TestServer::usual();
    let call = server.api().call("POST", "/users/7/terminate_connections");
    call.send().is_empty_object();
    call.clone()
        .set("body_md5", EMPTY_MD5)
        .send()
        .is_empty_object();
    call.set("body_md5", "00000000000000000000000000000000")
        .send()
        .is_error(401);
}

#[test]
fn the_method_is_signed() {
    let server = TestServer::usual();
    let get = list(&server);
    let bytes = String::from_utf8(get.bytes())
        .unwrap()
        .replacen("GET", "POST", 1);
    let mut http = crate::support::http::Http::connect(server.public);
    http.send(bytes);
    let status = http.response().status;
    assert!([401, 405].contains(&status), "{status}");
}

#[test]
fn an_unknown_app_is_404_whatever_the_signature() {
    let server = TestServer::usual();
    let body = json!({"name": "e", "channel": "c", "data": ""});
    let stranger = App::new("9999", &server.app().key);
    server.api_of(&stranger).events(&body).is_error(404);
    server.get("/apps/9999/channels").is_error(404);
    server.get("/apps/key-of-1001/channels").is_error(404);
}

#[test]
fn a_disabled_app_is_403() {
    let server = TestServer::start(Setup::new().usual_with("enabled", false));
    event(&server).send().is_error(403);
    list(&server).send().is_error(403);
}

#[test]
fn what_is_refused_is_not_published() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("c");
    event(&server).secret("wrong").send().is_error(401);
    event(&server)
        .set("auth_timestamp", "1")
        .send()
        .is_error(401);
    event(&server).without("body_md5").send().is_error(401);
    client.expect_nothing_before_marker(&server.api(), "c");
}
