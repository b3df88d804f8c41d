//! `auth` and `webhook verify`.

use serde_json::{Value, json};

use super::{run, succeed};
use crate::support::{process::ConfigFile, server::TestServer, signing::hmac_hex};

#[test]
fn an_auth_shows_what_was_signed_and_the_server_takes_it() {
    let server = TestServer::usual();
    let mut client = server.client();
    let socket_id = client.socket_id.clone();
    let member = r#"{"user_id":"ann","user_info":{"name":"Ann"}}"#;
    for (channel, data) in [("private-a", None), ("presence-a", Some(member))] {
        let arguments = ["auth", "channel", &socket_id, channel];
        let printed = succeed(&server, &[&arguments[..], data.as_slice()].concat());
        let printed: Value = serde_json::from_str(&printed).unwrap();
        let signed = match data {
            Some(data) => format!("{socket_id}:{channel}:{data}"),
            None => format!("{socket_id}:{channel}"),
        };
        assert_eq!(printed["signed"], signed.as_str());
        let mut subscription = json!({"channel": channel, "auth": printed["auth"]});
        if let Some(data) = data {
            subscription["channel_data"] = data.into();
        }
        client.send(&json!({"event": "pusher:subscribe", "data": subscription}));
        client.expect_on(channel, "pusher_internal:subscription_succeeded");
    }
    let user = r#"{"id":"ann"}"#;
    let printed = succeed(&server, &["auth", "user", &socket_id, user]);
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["signed"], format!("{socket_id}::user::{user}"));
    let data = json!({"auth": printed["auth"], "user_data": user});
    client.send(&json!({"event": "pusher:signin", "data": data}));
    client.expect("pusher:signin_success");
}

#[test]
fn a_webhook_is_verified_by_its_signature() {
    let server = TestServer::usual();
    let body = r#"{"time_ms":1,"events":[]}"#;
    let signature = hmac_hex(&server.app().secret, body);
    let file = ConfigFile::new(body);
    let verify = |signature: &str, path: &str| {
        run(
            &server,
            &["webhook", "verify", "--signature", signature, path],
        )
    };
    let finished = verify(&signature, file.path());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let finished = verify(&"0".repeat(64), file.path());
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let with_break = ConfigFile::new(&format!("{body}\n"));
    let finished = verify(&signature, with_break.path());
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("line break"), "{finished:?}");
}
