//! §6.5: who watches whom, and what he is told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    app::App,
    client::{Message, TestClient},
    fallback::{STREAMING, Session},
    server::TestServer,
    setup::Setup,
};

const EVENTS: &str = "pusher_internal:watchlist_events";
/// How long a user must be away before it is told.
const OFFLINE_DELAY: Duration = Duration::from_secs(3);

fn watching() -> TestServer {
    TestServer::start(Setup::new().usual_with("watchlists", true))
}

fn user_data(id: &str, watchlist: &[&str]) -> String {
    json!({"id": id, "watchlist": watchlist}).to_string()
}

/// The statuses of one frame: `online a,b; offline c`.
#[track_caller]
fn statuses(message: &Message) -> String {
    assert_eq!(message.event(), EVENTS, "{}", message.text);
    assert_eq!(message.keys(), ["data", "event"], "{}", message.text);
    let data = message.decoded();
    let events = data["events"].as_array().expect("events");
    let told = events.iter().map(|event| {
        let ids = event["user_ids"].as_array().expect("user ids");
        let ids: Vec<_> = ids
            .iter()
            .map(|id| id.as_str().expect("a string"))
            .collect();
        format!(
            "{} {}",
            event["name"].as_str().expect("a name"),
            ids.join(",")
        )
    });
    told.collect::<Vec<_>>().join("; ")
}

#[track_caller]
fn hears(client: &mut TestClient, expected: &str) {
    assert_eq!(statuses(&client.next()), expected);
}

#[track_caller]
fn watcher(server: &TestServer, id: &str, watchlist: &[&str], first: &str) -> TestClient {
    let mut client = server.client();
    client.sign_in_with(&user_data(id, watchlist));
    hears(&mut client, first);
    client
}

#[track_caller]
fn signed_in(server: &TestServer, id: &str) -> TestClient {
    let mut client = server.client();
    client.sign_in(id);
    client
}

#[test]
fn after_signin_success_comes_one_frame_with_everyones_state() {
    let server = watching();
    let _online = [signed_in(&server, "b"), signed_in(&server, "c")];
    let mut ann = watcher(
        &server,
        "ann",
        &["d", "c", "b", "a"],
        "online b,c; offline a,d",
    );
    ann.expect_silence();
}

#[test]
fn what_is_empty_is_left_out() {
    let server = watching();
    let _online = signed_in(&server, "on");
    watcher(&server, "ann", &["on"], "online on").expect_silence();
    watcher(&server, "bob", &["off"], "offline off").expect_silence();
    for user in [
        user_data("cid", &[]),
        r#"{"id":"dan","watchlist":null}"#.to_owned(),
    ] {
        let mut client = server.client();
        client.sign_in_with(&user);
        client.expect_silence();
    }
}

#[test]
fn the_first_connection_of_a_watched_user_is_told_and_the_second_is_not() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["bob"], "offline bob");
    let _first = signed_in(&server, "bob");
    hears(&mut ann, "online bob");
    let _second = signed_in(&server, "bob");
    ann.expect_silence();
}

#[test]
fn the_last_connection_that_goes_is_told_after_three_seconds() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["bob"], "offline bob");
    let tabs = [signed_in(&server, "bob"), signed_in(&server, "bob")];
    hears(&mut ann, "online bob");
    let [first, second] = tabs;
    first.close();
    ann.expect_silence();
    let gone = Instant::now();
    second.close();
    hears(&mut ann, "offline bob");
    assert!(gone.elapsed() >= OFFLINE_DELAY, "{:?}", gone.elapsed());
    let _back = signed_in(&server, "bob");
    hears(&mut ann, "online bob");
}

#[test]
fn a_reload_is_no_news_and_whoever_signs_in_meanwhile_finds_him_online() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["bob", "cid"], "offline bob,cid");
    signed_in(&server, "bob").close();
    hears(&mut ann, "online bob");
    watcher(&server, "dan", &["bob"], "online bob").close();
    let _back = signed_in(&server, "bob");
    // Someone who goes after the reload is told; if bob were to be told he would come first.
    signed_in(&server, "cid").close();
    hears(&mut ann, "online cid");
    hears(&mut ann, "offline cid");
}

#[test]
fn a_terminated_user_goes_offline() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["bob"], "offline bob");
    let mut bob = signed_in(&server, "bob");
    hears(&mut ann, "online bob");
    let path = "/users/bob/terminate_connections";
    server.api().post(path, &json!({})).is_empty_object();
    bob.expect_closed(4009);
    hears(&mut ann, "offline bob");
}

#[test]
fn two_users_who_watch_each_other_both_hear() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["bob"], "offline bob");
    let bob = watcher(&server, "bob", &["ann"], "online ann");
    hears(&mut ann, "online bob");
    bob.close();
    hears(&mut ann, "offline bob");
}

#[test]
fn a_user_may_watch_himself() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["ann"], "online ann");
    let _tab = signed_in(&server, "ann");
    ann.expect_silence();
}

#[test]
fn every_connection_of_the_watcher_is_told_and_nobody_else() {
    let server = watching();
    let mut tabs: Vec<_> = (0..3)
        .map(|_| watcher(&server, "ann", &["bob"], "offline bob"))
        .collect();
    let mut without = signed_in(&server, "ann");
    let mut stranger = server.client();
    let _bob = signed_in(&server, "bob");
    for tab in &mut tabs {
        hears(tab, "online bob");
    }
    without.expect_silence();
    stranger.expect_silence();
}

#[test]
fn a_user_id_may_be_any_text() {
    let server = watching();
    let id = "zoë 👩‍🚀 \"\\ #,/";
    let mut ann = watcher(&server, "ann", &[id], &format!("offline {id}"));
    let _zoe = signed_in(&server, id);
    hears(&mut ann, &format!("online {id}"));
}

#[test]
fn an_id_named_twice_is_told_once() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["bob", "bob"], "offline bob");
    let _bob = signed_in(&server, "bob");
    hears(&mut ann, "online bob");
    ann.expect_silence();
}

#[test]
fn of_more_than_a_hundred_the_first_hundred_are_watched_and_4302_comes_last() {
    let server = watching();
    let ids: Vec<_> = (0..101).map(|number| format!("user{number:03}")).collect();
    // Not in the order of their names, so that it matters which are the first.
    let reversed: Vec<_> = ids.iter().rev().map(String::as_str).collect();
    let mut ann = server.client();
    ann.sign_in_with(&user_data("ann", &reversed));
    assert_eq!(
        statuses(&ann.next()),
        format!("offline {}", ids[1..].join(","))
    );
    ann.expect_error(Some(4302));
    let _unwatched = signed_in(&server, "user000");
    let _watched = signed_in(&server, "user001");
    hears(&mut ann, "online user001");
}

#[test]
fn a_hundred_is_no_error() {
    let server = watching();
    let ids: Vec<_> = (0..100).map(|number| format!("user{number:03}")).collect();
    let list: Vec<_> = ids.iter().map(String::as_str).collect();
    watcher(&server, "ann", &list, &format!("offline {}", ids.join(","))).expect_silence();
}

#[test]
fn a_watchlist_that_is_no_list_of_strings_is_refused_whole() {
    let server = watching();
    let mut ann = server.client();
    let wrong = [
        json!("bob"),
        json!({"0": "bob"}),
        json!(7),
        json!(true),
        json!([7]),
        json!(["bob", null]),
        json!([["bob"]]),
    ];
    for watchlist in wrong {
        ann.ask_sign_in(&json!({"id": "ann", "watchlist": watchlist}).to_string());
        ann.expect_error(None);
    }
    ann.ask("#server-to-user-ann");
    ann.expect_refusal("#server-to-user-ann");
    ann.expect_silence();
}

#[test]
fn without_the_apps_leave_nobody_is_watched() {
    let server = TestServer::usual();
    let mut ann = server.client();
    ann.sign_in_with(&user_data("ann", &["bob"]));
    let _bob = signed_in(&server, "bob");
    ann.expect_silence();
}

#[test]
fn the_users_of_another_app_are_others() {
    let app = |id: &str| App::new(id, id).set("watchlists", true);
    let server = TestServer::start(Setup::new().app(app("1")).app(app("2")));
    let mut ann = watcher(&server, "ann", &["bob"], "offline bob");
    let mut bob = server.client_of(&server.apps[1]);
    bob.sign_in("bob");
    ann.expect_silence();
}

#[test]
fn presence_without_sign_in_is_not_online() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["bob"], "offline bob");
    server.client().join("presence-room", "bob");
    ann.expect_silence();
}

#[test]
fn a_second_sign_in_changes_nothing_about_who_is_watched() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["bob"], "offline bob");
    ann.sign_in_with(&user_data("ann", &["cid"]));
    let _cid = signed_in(&server, "cid");
    let _bob = signed_in(&server, "bob");
    hears(&mut ann, "online bob");
}

#[test]
fn the_watched_are_no_channels_of_the_api_nor_of_the_client() {
    let server = TestServer::start(
        Setup::new().app(
            App::usual()
                .set("watchlists", true)
                .set("max_channels_per_connection", 1)
                .set("subscription_counts", true),
        ),
    );
    let mut ann = watcher(&server, "ann", &["bob", "cid"], "offline bob,cid");
    let api = server.api();
    api.get("/channels", &[]).is(&json!({"channels": {}}));
    for name in ["#online-626f62", "#online-bob"] {
        ann.ask(name);
        ann.expect_refusal(name);
        ann.unsubscribe(name);
        ann.expect_no_subscription(name);
    }
    ann.subscribe("news");
    let count = ann.expect_on("news", "pusher_internal:subscription_count");
    assert_eq!(count.decoded(), json!({"subscription_count": 1}));
    let _bob = signed_in(&server, "bob");
    hears(&mut ann, "online bob");
}

#[test]
fn a_fallback_session_watches_and_is_watched() {
    let server = watching();
    let mut ann = watcher(&server, "ann", &["bob"], "offline bob");
    let mut bob = Session::new(&server, server.app()).open(STREAMING);
    let signin = bob.signin(&user_data("bob", &["ann", "cid"]));
    bob.send(&[signin]);
    bob.receiving.expect("pusher:signin_success");
    assert_eq!(
        statuses(&bob.receiving.next_message()),
        "online ann; offline cid"
    );
    hears(&mut ann, "online bob");
}

#[test]
fn many_who_come_and_go_are_each_told_as_they_are_in_the_end() {
    let server = watching();
    let ids: Vec<_> = (0..40).map(|number| format!("u{number:02}")).collect();
    let list: Vec<_> = ids.iter().map(String::as_str).collect();
    let mut ann = watcher(&server, "ann", &list, &format!("offline {}", ids.join(",")));
    let (stay, go): (Vec<_>, Vec<_>) = ids
        .iter()
        .enumerate()
        .map(|(number, id)| (number, signed_in(&server, id)))
        .partition(|(number, _)| number % 2 == 0);
    go.into_iter().for_each(|(_, client)| client.close());
    let mut last = std::collections::BTreeMap::new();
    let offline = |last: &std::collections::BTreeMap<String, String>| {
        last.values().filter(|name| *name == "offline").count()
    };
    while last.len() < ids.len() || offline(&last) < ids.len() / 2 {
        let data: Value = ann.expect(EVENTS).decoded();
        for event in data["events"].as_array().expect("events") {
            let name = event["name"].as_str().expect("a name");
            for id in event["user_ids"].as_array().expect("ids") {
                last.insert(id.as_str().expect("a string").to_owned(), name.to_owned());
            }
        }
    }
    for (number, id) in ids.iter().enumerate() {
        let expected = if number % 2 == 0 { "online" } else { "offline" };
        assert_eq!(last[id], expected, "{id}");
    }
    ann.expect_silence();
    drop(stay);
}
