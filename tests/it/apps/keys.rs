//! Several keys of one app (#14).

use serde_json::{Value, json};

use super::store::{StoreKind, Stored, on_every_store};
use crate::{
    support::{app::App, server::TestServer, setup::Setup, signing::hmac_hex, websocket::Upgrade},
    webhooks::Receiver,
};

on_every_store! {
    every_key_connects_authorizes_signs_in_and_publishes_whichever_the_others_use
    a_disabled_key_opens_nothing
    webhooks_are_signed_by_the_newest_valid_key_or_by_the_one_that_is_named
}

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

/// The app as one knows it who has only this key.
fn with_key(key: &str) -> App {
    App::with_secret("1001", key, &format!("secret-of-{key}-never-printed"))
}

fn table(app: &App, disabled: Option<&str>) -> Value {
    let mut table = json!({"key": app.key, "secret": app.secret, "label": "new"});
    if let Some(disabled) = disabled {
        table["disabled"] = disabled.into();
    }
    table
}

fn every_key_connects_authorizes_signs_in_and_publishes_whichever_the_others_use(kind: StoreKind) {
    let (old, new) = (with_key("old"), with_key("new"));
    let app = old.clone().set("keys", json!([table(&new, None)]));
    let stored = Stored::start(kind, &[app]);
    let server = &stored.server;
    for (one, other) in [(&old, &new), (&new, &old), (&new, &new)] {
        let mut client = server.client_of(one);
        let auth = other.auth(&client.socket_id, "private-room");
        let data = json!({"channel": "private-room", "auth": auth});
        client.send(&json!({"event": "pusher:subscribe", "data": data}));
        client.expect_on("private-room", "pusher_internal:subscription_succeeded");
        let user = r#"{"id":"u1"}"#;
        let data = json!({"auth": other.auth_user(&client.socket_id, user), "user_data": user});
        client.send(&json!({"event": "pusher:signin", "data": data}));
        client.expect("pusher:signin_success");
        server.api_of(other).publish("private-room", "order", "x");
        client.expect_on("private-room", "order");
    }
    let mixed = App::with_secret("1001", "old", &new.secret);
    let refused = server.api_of(&mixed).get("/channels", &[]);
    refused.is_error(401);
}

fn a_disabled_key_opens_nothing(kind: StoreKind) {
    let (old, new) = (with_key("old"), with_key("new"));
    let app = new
        .clone()
        .set("keys", json!([table(&old, Some(LONG_AGO))]));
    let stored = Stored::start(kind, &[app]);
    let server = &stored.server;
    let mut socket = Upgrade::new("/app/old?protocol=7").connect(server.public);
    socket.expect_close(4001);
    server.api_of(&old).get("/channels", &[]).is_error(401);
    let mut client = server.client_of(&new);
    let auth = old.auth(&client.socket_id, "private-room");
    let data = json!({"channel": "private-room", "auth": auth});
    client.send(&json!({"event": "pusher:subscribe", "data": data}));
    client.expect_refusal("private-room");
    client.subscribe("private-room");
}

#[test]
fn an_app_may_have_only_further_keys() {
    let app = with_key("only");
    let setup = Setup::new().set("server.workers", 1);
    let toml = format!(
        "{}[[apps]]\nid = \"1001\"\n[[apps.keys]]\nkey = {:?}\nsecret = {:?}\n",
        setup.toml(),
        app.key,
        app.secret
    );
    let config = crate::support::process::ConfigFile::new(&toml);
    let server = TestServer::launch(&["--config", config.path()], &[]);
    assert!(server.process.stdout().contains("id 1001, key only"));
    server.client_of(&app).subscribe("private-room");
    server.api_of(&app).publish("news", "order", "");
}

fn webhooks_are_signed_by_the_newest_valid_key_or_by_the_one_that_is_named(kind: StoreKind) {
    let (old, new, gone) = (with_key("old"), with_key("new"), with_key("gone"));
    let keys = json!([table(&new, None), table(&gone, Some(LONG_AGO))]);
    for (named, signer) in [(None, &new), (Some("old"), &old)] {
        let receiver = Receiver::start();
        let mut app = old.clone().set("keys", keys.clone());
        app = app.set("webhooks", json!([{"url": receiver.url("/")}]));
        if let Some(named) = named {
            app = app.set("webhook_key", named);
        }
        let stored = Stored::start(kind, &[app]);
        let server = &stored.server;
        server.client_of(&old).subscribe("news");
        let request = receiver.next();
        assert_eq!(request.header("x-pusher-key"), signer.key);
        let signature = hmac_hex(&signer.secret, &request.body);
        assert_eq!(request.header("x-pusher-signature"), signature);
    }
}
