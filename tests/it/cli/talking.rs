//! `trigger`, `batch` and the questions to the HTTP API; completions and manual pages.

use std::fs;

use serde_json::{Value, json};

use super::{run, succeed, tail, wait_line};
use crate::support::{
    process::{ConfigFile, Process},
    redis::Folder,
    server::TestServer,
};

#[test]
fn a_trigger_reaches_all_its_channels_but_not_the_excluded_connection() {
    let server = TestServer::usual();
    let mut listener = server.client();
    let mut sender = server.client();
    for client in [&mut listener, &mut sender] {
        client.subscribe("a");
        client.subscribe("b");
    }
    let socket_id = sender.socket_id.clone();
    succeed(
        &server,
        &["trigger", "a,b", "moved", "text", "--except", &socket_id],
    );
    for channel in ["a", "b"] {
        assert_eq!(listener.expect_on(channel, "moved").data(), "text");
    }
    succeed(&server, &["trigger", "a", "last"]);
    sender.expect_on("a", "last");
}

#[test]
fn attributes_are_printed_with_a_trigger() {
    let server = TestServer::usual();
    let _member = tail(&server, &["presence-a"]);
    wait_line(&_member, &["subscription_succeeded"]);
    let printed = succeed(
        &server,
        &["trigger", "presence-a", "x", "--info", "user_count"],
    );
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["channels"]["presence-a"]["user_count"], 1);
}

#[test]
fn a_batch_is_sent_in_requests_of_ten_in_the_order_of_its_lines() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("orders");
    let lines: Vec<_> = (0..23)
        .map(|number| json!({"channel": "orders", "name": "n", "data": {"number": number}}))
        .map(|line| format!("{line}\n\n"))
        .collect();
    let file = ConfigFile::new(&lines.concat());
    let printed = succeed(&server, &["batch", file.path()]);
    assert_eq!(printed, "{\"published\":23}\n");
    for number in 0..23 {
        assert_eq!(
            client.expect_on("orders", "n").decoded(),
            json!({"number": number})
        );
    }
}

#[test]
fn a_bad_line_of_a_batch_is_named() {
    let server = TestServer::usual();
    for (line, reason) in [
        ("{\"channel\":\"a\"}", "name"),
        ("{\"channel\":\"a\",\"name\":\"n\",\"dta\":1}", "dta"),
        ("nonsense", "expected"),
    ] {
        let file = ConfigFile::new(&format!("{{\"channel\":\"a\",\"name\":\"n\"}}\n{line}\n"));
        let finished = run(&server, &["batch", file.path()]);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains("line 2"), "{finished:?}");
        assert!(finished.stderr.contains(reason), "{finished:?}");
    }
}

#[test]
fn channels_are_listed_for_people_and_for_programs() {
    let server = TestServer::usual();
    assert_eq!(
        succeed(&server, &["channels", "--text"]),
        "No channel is occupied.\n"
    );
    assert_eq!(succeed(&server, &["channels"]), "");
    let member = tail(&server, &["presence-a,orders"]);
    wait_line(&member, &["subscription_succeeded", "presence-a"]);
    wait_line(&member, &["subscription_succeeded", "orders"]);
    let wanted = ["channels", "--prefix", "presence-", "--info", "user_count"];
    let printed = succeed(&server, &wanted);
    let printed: Value = serde_json::from_str(&printed).expect("one line");
    assert_eq!(printed, json!({"channel": "presence-a", "user_count": 1}));
    let printed = succeed(&server, &[&wanted[..], &["--text"]].concat());
    assert_eq!(printed, "presence-a  user_count: 1\n");
    let printed = succeed(&server, &["channel", "orders", "--text"]);
    assert_eq!(printed, "occupied: true\n");
}

#[test]
fn a_refused_request_fails_with_the_hosts_reason() {
    let server = TestServer::usual();
    let finished = run(&server, &["users", "orders"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished
            .stderr
            .contains("only presence channels have users"),
        "{finished:?}"
    );
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let completions = Process::run(&["completions", "bash"], &[]);
    assert_eq!(completions.code, Some(0), "{completions:?}");
    let folder = Folder::new();
    let manual = Process::run(&["man", &folder.file("man")], &[]);
    assert_eq!(manual.code, Some(0), "{manual:?}");
    for command in [
        "trigger",
        "batch",
        "subscribe",
        "channels",
        "channel",
        "users",
        "terminate",
        "auth",
        "webhook",
        "doctor",
        "bench",
        "size",
    ] {
        assert!(completions.stdout.contains(command), "{command}");
        let page = folder.file(&format!("man/loudhailer-{command}.1"));
        let page = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(page.contains(command));
    }
}
