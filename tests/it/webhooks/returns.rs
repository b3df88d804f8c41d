//! The 3 s in which a return undoes a departure.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Receiver, app_with, server_for};
use crate::support::{random::Random, server::TestServer, setup::Setup};

/// The delay, and some patience for a busy machine.
const DELAY: Duration = Duration::from_secs(3);
const LATE: Duration = Duration::from_millis(1500);

#[test]
fn a_page_that_is_loaded_again_is_no_news() {
    let receiver = Receiver::start();
    let server = server_for(&receiver);
    let mut page = server.client();
    page.join("presence-room", "7");
    receiver.events(server.app(), 2);
    for _ in 0..3 {
        page.close();
        page = server.client();
        page.join("presence-room", "7");
    }
    receiver.expect_quiet_for(DELAY + LATE);
    let left = Instant::now();
    page.close();
    let gone = receiver.next();
    assert_eq!(gone.events(server.app())[0]["name"], "member_removed");
    assert!(gone.at - left >= DELAY, "{:?}", gone.at - left);
    assert!(gone.at - left < DELAY + LATE, "{:?}", gone.at - left);
    assert_eq!(receiver.event(server.app())["name"], "channel_vacated");
    // Now a return is one.
    let mut page = server.client();
    page.join("presence-room", "7");
    let events = receiver.events(server.app(), 2);
    assert_eq!(events[0]["name"], "channel_occupied");
    assert_eq!(events[1]["name"], "member_added");
}

#[test]
fn another_user_in_the_same_room_is_news_and_so_is_the_one_who_left() {
    let receiver = Receiver::start();
    let server = server_for(&receiver);
    let mut first = server.client();
    first.join("presence-room", "1");
    receiver.events(server.app(), 2);
    first.close();
    let mut second = server.client();
    second.join("presence-room", "2");
    // The channel was occupied all the time, as far as anybody is told.
    let events = receiver.events(server.app(), 2);
    assert_eq!(
        events,
        [
            json!({"name": "member_added", "channel": "presence-room", "user_id": "2"}),
            json!({"name": "member_removed", "channel": "presence-room", "user_id": "1"}),
        ]
    );
    receiver.expect_quiet_for(LATE);
}

#[test]
fn an_endpoint_that_takes_only_one_of_a_pair_hears_no_pair_either() {
    let receiver = Receiver::start();
    let app = app_with(&json!([{"url": receiver.url("/"), "event_types": ["channel_occupied"]}]));
    let server = TestServer::start(Setup::new().app(app));
    let mut client = server.client();
    client.subscribe("orders");
    receiver.event(server.app());
    client.unsubscribe("orders");
    client.subscribe("orders");
    client.subscribe("marker");
    assert_eq!(receiver.event(server.app())["channel"], "marker");
}

/// Eight clients come and go on two threads; then all leave.
#[test]
fn whatever_clients_do_comings_and_goings_take_turns() {
    let receiver = Receiver::start();
    let server = server_for(&receiver);
    let rooms = ["presence-0", "presence-1", "presence-2"];
    thread::scope(|scope| {
        for seed in 0..8 {
            let mut client = server.client();
            scope.spawn(move || {
                let mut random = Random::seeded(seed);
                for _ in 0..300 {
                    let room = random.pick(&rooms);
                    if random.below(2) == 0 {
                        let user = random.below(3);
                        client.ask_with(room, &json!({"user_id": user.to_string()}).to_string());
                    } else {
                        client.unsubscribe(room);
                    }
                }
                client.send(&json!({"event": "pusher:ping", "data": {}}));
                while client.next().event() != "pusher:pong" {}
                client.close();
            });
        }
    });
    let mut there: BTreeSet<(String, Option<String>)> = BTreeSet::new();
    let mut vacated = 0;
    while vacated < rooms.len() {
        let event = receiver.event(server.app());
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        let channel = text("channel").expect("a channel");
        let is_occupied = there.contains(&(channel.clone(), None));
        let who = (channel, text("user_id"));
        match event["name"].as_str().expect("a name") {
            "channel_occupied" => assert!(there.insert(who), "{event}"),
            "member_added" => assert!(is_occupied && there.insert(who), "{event}"),
            "member_removed" => assert!(is_occupied && there.remove(&who), "{event}"),
            _ => {
                assert!(there.remove(&who), "{event}");
                assert!(
                    there.iter().all(|other| other.0 != who.0),
                    "{event}: {there:?}"
                );
                vacated += 1;
            }
        }
    }
    assert!(there.is_empty(), "{there:?}");
    receiver.expect_quiet_for(LATE);
}
