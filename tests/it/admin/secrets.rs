//! Secrets never appear: not in the log at its chattiest, not on the feed, not in an answer.

use serde_json::json;

use crate::support::{
    app::App, feed::Feed, http::Http, server::TestServer, setup::Setup, signing::hmac_hex,
    websocket::Upgrade,
};

/// Everything that touches a secret, rightly and wrongly; gives all that was answered.
fn use_the_secrets(server: &TestServer) -> String {
    let mut answers = String::new();
    for app in &server.apps {
        let api = server.api_of(app);
        let event = json!({"name": "e", "channel": "private-room", "data": "x"});
        answers += &api.events(&event).body;
        answers += &api.call("GET", "/channels").secret("wrong").send().body;
        answers += &api
            .call("GET", "/channels")
            .set("auth_key", "nobody")
            .send()
            .body;
        answers += &server.get(&format!("/apps/{}/channels", app.id)).body;
        let mut client = server.client_of(app);
        client.subscribe("private-room");
        client.join("presence-room", "7");
        client.send(
            &json!({"event": "pusher:subscribe", "data": {"channel": "private-x", "auth": "x:y"}}),
        );
        answers += &client.next().text;
        answers += &client.next().text;
        client.socket.send_text("nonsense");
        answers += &client.next().text;
        Upgrade::new(&format!("/app/{}x?protocol=7", app.key))
            .connect(server.public)
            .expect_close(4001);
        let mut http = Http::connect(server.public);
        http.send("nonsense\r\n\r\n");
    }
    answers
}

fn check(format: &str) {
    let setup = Setup::new()
        .set("log.level", "trace")
        .set("log.format", format);
    let mut server = TestServer::start(setup.app(App::new("1", "one")).app(App::new("2", "two")));
    let mut feed = Feed::connect(&server);
    let mut said = use_the_secrets(&server);
    server.api().publish("news", "the end", "");
    loop {
        let line = feed.socket.expect_text();
        said += &line;
        if line.contains("the end") {
            break;
        }
    }
    server.terminate();
    server.expect_clean_exit();
    said += &server.printed();
    for app in &server.apps {
        assert!(
            !said.contains(&app.secret),
            "the secret of {} was told",
            app.id
        );
        assert!(
            !said.contains(&hmac_hex(&app.secret, "")),
            "a signature of {} was told",
            app.id
        );
    }
    assert!(
        server.process.stderr().lines().count() > 10,
        "the log was on"
    );
    if format == "json" {
        for line in server.process.stderr().lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("a log line is JSON");
        }
    }
}

#[test]
fn no_secret_appears_with_a_text_log() {
    check("text");
}

#[test]
fn no_secret_appears_with_a_json_log() {
    check("json");
}
