//! One session at a time: of a user who signs in, and of a channel whose rule says so.

use serde_json::{Value, json};

use crate::support::{
    app::App,
    client::TestClient,
    fallback::{STREAMING, Session},
    pairs::leave_one_of_each,
    process::{ConfigFile, Process},
    server::TestServer,
    setup::Setup,
};

const CHANNEL: &str = "private-outman-user-1";
const ROOM: &str = "presence-outman-user-1";
const SUCCEEDED: &str = "pusher_internal:subscription_succeeded";

/// A rule for the channels of both kinds.
fn app(rule: &str) -> App {
    let rules = ["private-outman-user-*", "presence-outman-user-*"]
        .map(|pattern| json!({"pattern": pattern, "single_session": rule}));
    let app = App::usual().set("channels", Value::from(rules.to_vec()));
    app.set("session_grace_s", 0)
}

fn server(rule: &str) -> TestServer {
    TestServer::start(Setup::new().app(app(rule)))
}

fn session(id: &str) -> String {
    json!({"user_info": {"session_id": id}}).to_string()
}

fn member(session: &str) -> String {
    json!({"user_id": "1", "user_info": {"name": "Outman", "session_id": session}}).to_string()
}

#[track_caller]
fn listens(client: &mut TestClient, channel: &str, channel_data: &str) {
    client.ask_with(channel, channel_data);
    client.expect_on(channel, SUCCEEDED);
}

#[track_caller]
fn is_replaced_on(client: &mut TestClient, channel: &str) {
    let told = client.expect_on(channel, "session.replaced");
    assert_eq!(told.decoded(), json!({}));
    client.expect_closed(4009);
}

#[test]
fn the_newest_connection_stays_where_nothing_tells_sessions() {
    let server = server("replace");
    let mut old = server.client();
    old.subscribe(CHANNEL);
    let mut other = server.client();
    other.subscribe("private-outman-user-2");
    let mut new = server.client();
    new.subscribe(CHANNEL);
    is_replaced_on(&mut old, CHANNEL);
    new.expect_nothing_before_marker(&server.api(), CHANNEL);
    other.expect_silence();
}

#[test]
fn tabs_of_one_session_live_together_and_go_together() {
    let server = server("replace");
    for (channel, data) in [(CHANNEL, session as fn(&str) -> String), (ROOM, member)] {
        let mut tabs = [server.client(), server.client()];
        for tab in &mut tabs {
            listens(tab, channel, &data("laptop"));
        }
        let mut phone = server.client();
        listens(&mut phone, channel, &data("phone"));
        for tab in &mut tabs {
            is_replaced_on(tab, channel);
        }
        phone.expect_nothing_before_marker(&server.api(), channel);
    }
}

#[test]
fn a_replaced_session_that_comes_back_within_its_grace_is_the_newest() {
    let server = TestServer::start(Setup::new().app(app("replace").set("session_grace_s", 2)));
    let mut replaced = server.client();
    listens(&mut replaced, CHANNEL, &session("a"));
    let mut other = server.client();
    listens(&mut other, CHANNEL, &session("b"));
    replaced.expect_on(CHANNEL, "session.replaced");
    other.close();
    let mut back = server.client();
    listens(&mut back, CHANNEL, &session("a"));
    // The old connection goes when its grace is over, and the new one stays.
    replaced.expect_closed(4009);
    back.expect_nothing_before_marker(&server.api(), CHANNEL);
    // While the other session is there, it is the one to go.
    let mut other = server.client();
    listens(&mut other, CHANNEL, &session("b"));
    back.expect_on(CHANNEL, "session.replaced");
    let mut third = server.client();
    listens(&mut third, CHANNEL, &session("a"));
    other.expect_on(CHANNEL, "session.replaced");
    other.expect_closed(4009);
    third.expect_nothing_before_marker(&server.api(), CHANNEL);
}

#[test]
fn a_newer_session_is_refused_until_the_place_is_free() {
    let server = server("refuse");
    let mut first = server.client();
    listens(&mut first, CHANNEL, &session("a"));
    let mut tab = server.client();
    listens(&mut tab, CHANNEL, &session("a"));
    let mut second = server.client();
    second.ask_with(CHANNEL, &session("b"));
    let refusal = second.expect_refusal(CHANNEL);
    assert_eq!(refusal, ("LimitReached".to_owned(), 4100));
    first.unsubscribe(CHANNEL);
    first.expect_silence();
    second.ask_with(CHANNEL, &session("b"));
    second.expect_refusal(CHANNEL);
    tab.close();
    listens(&mut second, CHANNEL, &session("b"));
    first.ask_with(CHANNEL, &session("a"));
    first.expect_refusal(CHANNEL);
}

#[test]
fn a_repeated_subscription_is_the_same_session() {
    let server = server("replace");
    let mut client = server.client();
    listens(&mut client, CHANNEL, &session("a"));
    client.ask_with(CHANNEL, &session("b"));
    client.expect_existing(CHANNEL);
    client.expect_nothing_before_marker(&server.api(), CHANNEL);
    let mut tab = server.client();
    listens(&mut tab, CHANNEL, &session("a"));
    client.expect_silence();
    client.unsubscribe(CHANNEL);
    listens(&mut client, CHANNEL, &session("b"));
    is_replaced_on(&mut tab, CHANNEL);
}

#[test]
fn what_is_no_session_id_tells_no_sessions_apart() {
    let server = server("replace");
    let mut before = server.client();
    listens(&mut before, CHANNEL, "{}");
    for data in [
        r#"{"session_id":""}"#,
        r#"{"session_id":null}"#,
        r#"{"session_id":["a"]}"#,
        r#"{"user_info":7}"#,
        "[]",
        "not JSON",
    ] {
        let mut next = server.client();
        listens(&mut next, CHANNEL, data);
        is_replaced_on(&mut before, CHANNEL);
        before = next;
    }
    let mut number = server.client();
    listens(&mut number, CHANNEL, r#"{"session_id":7}"#);
    let mut text = server.client();
    listens(&mut text, CHANNEL, r#"{"session_id":"7"}"#);
    number.expect_silence();
}

#[test]
fn who_may_not_subscribe_replaces_nobody() {
    let server = server("replace");
    let mut client = server.client();
    client.subscribe(CHANNEL);
    let mut thief = server.client();
    let data = json!({"auth": "key-of-1001:00", "channel": CHANNEL});
    thief.send(&json!({"event": "pusher:subscribe", "data": data}));
    let refusal = thief.expect_refusal(CHANNEL);
    assert_eq!(refusal, ("AuthError".to_owned(), 401));
    client.expect_silence();
}

#[test]
fn a_signed_in_user_needs_no_channel_data() {
    let server = server("replace");
    let user = r#"{"id":"1","user_info":{"session_id":"a"}}"#;
    let mut tabs = [server.client(), server.client()];
    for tab in &mut tabs {
        tab.sign_in_with(user);
        tab.subscribe(CHANNEL);
    }
    tabs[0].expect_silence();
}

#[test]
fn the_channel_of_sessions_is_nobodys() {
    let server = server("replace");
    let mut client = server.client();
    client.subscribe(CHANNEL);
    let hidden = format!("#channel-session-{}", hex(CHANNEL));
    client.ask(&hidden);
    client.expect_refusal(&hidden);
    let channels = server.api().get("/channels", &[]).json();
    assert_eq!(channels, json!({"channels": {CHANNEL: {}}}));
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_fallback_client_gives_way_too() {
    let server = server("replace");
    let mut old = Session::new(&server, server.app()).open(STREAMING);
    old.subscribe(CHANNEL);
    let mut new = server.client();
    new.subscribe(CHANNEL);
    assert_eq!(old.polled().event(), "session.replaced");
    old.receiving.expect_close(4009);
}

#[test]
fn of_two_subscriptions_at_once_one_stays() {
    leave_one_of_each(
        &[server("replace")],
        |client, pair, _| client.ask(&format!("private-outman-user-{pair}")),
        |pair| format!("private-outman-user-{pair}"),
    );
}

#[test]
fn of_two_sign_ins_at_once_one_stays() {
    let app = App::usual().set("single_session", "replace");
    leave_one_of_each(
        &[TestServer::start(
            Setup::new().app(app.set("session_grace_s", 0)),
        )],
        |client, pair, side| {
            let data = json!({"id": format!("u{pair}"), "session_id": side});
            client.ask_sign_in(&data.to_string());
            client.ask(&format!("#server-to-user-u{pair}"));
        },
        |pair| format!("#server-to-user-u{pair}"),
    );
}

#[test]
fn a_rule_that_cannot_be_kept_is_refused() {
    for (rule, part) in [
        (
            r#"pattern = "outman-*"
single_session = "replace""#,
            "apps[0].channels[0].single_session",
        ),
        (
            r#"single_session = "replace""#,
            "apps[0].channels[0].pattern",
        ),
        (r#"pattern = """#, "apps[0].channels[0].pattern"),
        (
            r#"pattern = "private-a"
single_session = "sometimes""#,
            "apps[0].channels[0].single_session",
        ),
        (
            "pattern = \"private-a\"\nsession = 1",
            "apps[0].channels[0].session",
        ),
    ] {
        let toml = format!(
            "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n[[apps.channels]]\n{rule}\n"
        );
        let config = ConfigFile::new(&toml);
        let finished = Process::run(&["check-config", "--config", config.path()], &[]);
        assert_eq!(finished.code, Some(2), "{rule}: {finished:?}");
        assert!(finished.stderr.contains(part), "{rule}: {finished:?}");
    }
}
