//! `subscribe`: channels of every kind, as a user, with an end.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::{borrowed, environment, run, succeed, tail, wait_line};
use crate::support::{
    app::App, process::Process, server::TestServer, setup::Setup, stream::PATIENCE,
};

/// 32 bytes in Base64.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "/wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn what_is_triggered_on_a_channel_of_any_kind_is_printed() {
    let server = TestServer::usual();
    for channel in [
        "orders",
        "cache-orders",
        "private-orders",
        "presence-orders",
        "private-encrypted-orders",
    ] {
        let key = ["--master-key", MASTER_KEY];
        let mut subscribed = tail(&server, &[&[channel, "--count", "1"], &key[..]].concat());
        wait_line(&subscribed, &["subscription_succeeded"]);
        succeed(
            &server,
            &[&["trigger", channel, "shipped", r#"{"id":42}"#], &key[..]].concat(),
        );
        let line = wait_line(&subscribed, &["shipped"]);
        let line: Value = serde_json::from_str(&line).expect("JSON");
        let expected = json!({"event": "shipped", "channel": channel, "data": {"id": 42}});
        assert_eq!(line, expected);
        let status = subscribed
            .wait_exit(PATIENCE)
            .expect("it ends after one event");
        assert!(status.success());
    }
}

#[test]
fn an_encrypted_event_of_another_key_is_said_to_be_that() {
    let server = TestServer::usual();
    let channel = "private-encrypted-a";
    let subscribed = tail(&server, &[channel, "--text", "--master-key", MASTER_KEY]);
    wait_line(&subscribed, &["subscription_succeeded"]);
    succeed(
        &server,
        &["trigger", channel, "x", "hidden", "--master-key", OTHER_KEY],
    );
    wait_line(
        &subscribed,
        &[channel, "x (encrypted with another master key)"],
    );
}

#[test]
fn an_encrypted_channel_needs_the_master_key() {
    let server = TestServer::usual();
    for arguments in [
        &["subscribe", "private-encrypted-a"][..],
        &["trigger", "private-encrypted-a", "x"],
    ] {
        let finished = run(&server, arguments);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains("--master-key"), "{finished:?}");
    }
}

#[test]
fn a_named_user_is_the_member_of_presence_channels_and_is_signed_in() {
    let server = TestServer::usual();
    let info = r#"{"name":"Ann"}"#;
    let mut ann = tail(
        &server,
        &["presence-a", "--user-id", "ann", "--user-info", info],
    );
    wait_line(&ann, &["signin_success", "ann"]);
    wait_line(&ann, &["subscription_succeeded", r#"{"name":"Ann"}"#]);
    assert_eq!(
        succeed(&server, &["users", "presence-a"]),
        "{\"id\":\"ann\"}\n"
    );
    succeed(&server, &["terminate", "ann"]);
    let status = ann.wait_exit(PATIENCE).expect("its connection is closed");
    assert_eq!(status.code(), Some(1));
    assert!(ann.stderr().contains("4009"), "{}", ann.stderr());
}

#[test]
fn a_time_ends_a_subscription() {
    let server = TestServer::usual();
    let printed = succeed(&server, &["subscribe", "orders", "--for", "1", "--text"]);
    assert!(
        printed.contains("orders pusher:subscription_succeeded"),
        "{printed}"
    );
}

#[test]
fn only_the_named_events_are_printed() {
    let server = TestServer::usual();
    let subscribed = tail(&server, &["orders", "--event", "wanted"]);
    wait_line(&subscribed, &["subscription_succeeded"]);
    succeed(&server, &["trigger", "orders", "other"]);
    succeed(&server, &["trigger", "orders", "wanted"]);
    wait_line(&subscribed, &["wanted"]);
    assert!(
        !subscribed.stdout().contains("other"),
        "{}",
        subscribed.stdout()
    );
}

#[test]
fn what_the_host_refuses_ends_the_command_with_its_words() {
    let server = TestServer::start(Setup::new().app(App::usual().set("enabled", false)));
    let finished = run(&server, &["subscribe", "orders"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("4003"), "{finished:?}");
    let server = TestServer::usual();
    let mut wrong = environment(&server);
    wrong[2].1 = "not-the-secret".to_owned();
    let finished = Process::run(&["subscribe", "private-a"], &borrowed(&wrong));
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("private-a was refused"),
        "{finished:?}"
    );
}

#[test]
fn a_host_that_says_nothing_is_not_waited_for_without_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for command in [
        &["subscribe", "orders"][..],
        &["channels"],
        &["trigger", "orders", "x"],
    ] {
        let arguments = [command, &["--url", &url, "--timeout", "1"]].concat();
        let finished = Process::run(&arguments, &[]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("within 1 s"), "{finished:?}");
    }
}
