//! Order per publisher and channel, under load from several publishers.

use std::{collections::BTreeMap, thread};

use serde_json::json;

use crate::support::{
    api::Api, app::App, client::TestClient, http::Http, server::TestServer, setup::Setup,
    websocket::Frame,
};

const PUBLISHERS: usize = 4;

fn subscribers(server: &TestServer, count: usize, channels: &[&str]) -> Vec<TestClient> {
    let subscribed = (0..count).map(|_| {
        let mut client = server.client();
        for channel in channels {
            client.subscribe(channel);
        }
        client
    });
    subscribed.collect()
}

/// Reads `total` messages; within a channel, each publisher's numbers must come as 0, 1, 2, …
#[track_caller]
fn expect_in_order(client: &mut TestClient, total: usize) {
    let mut next: BTreeMap<(String, String), usize> = BTreeMap::new();
    for _ in 0..total {
        let message = client.next();
        let channel = message.channel().expect("a channel").to_owned();
        let expected = next
            .entry((channel, message.event().to_owned()))
            .or_default();
        assert_eq!(message.data(), expected.to_string(), "{}", message.text);
        *expected += 1;
    }
}

fn publish_all(
    server: &TestServer,
    publish: impl Fn(&Api, &mut Http, usize) + Send + Copy + 'static,
) {
    let threads: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let (api, address) = (server.api(), server.public);
            thread::spawn(move || publish(&api, &mut Http::connect(address), publisher))
        })
        .collect();
    for thread in threads {
        thread.join().expect("every publish succeeds");
    }
}

fn event(publisher: usize, number: usize, channels: &[&str]) -> String {
    json!({"name": format!("p{publisher}"), "channels": channels, "data": number.to_string()})
        .to_string()
}

#[test]
fn each_publishers_events_come_in_order_to_every_subscriber() {
    let server = TestServer::usual();
    let mut clients = subscribers(&server, 20, &["load"]);
    publish_all(&server, |api, http, publisher| {
        for number in 0..250 {
            http.send(
                api.call("POST", "/events")
                    .body(event(publisher, number, &["load"]))
                    .bytes(),
            );
            http.response().is_empty_object();
        }
    });
    for client in &mut clients {
        expect_in_order(client, 250 * PUBLISHERS);
        client.expect_silence();
    }
}

#[test]
fn pipelined_publishes_over_several_channels_come_in_order() {
    let server = TestServer::usual();
    let channels = ["one", "two", "three"];
    let mut clients = subscribers(&server, 10, &channels);
    publish_all(&server, |api, http, publisher| {
        let channels = ["one", "two", "three"];
        for burst in 0..10 {
            let numbers = burst * 20..(burst + 1) * 20;
            let bytes = numbers.flat_map(|number| {
                api.call("POST", "/events")
                    .body(event(publisher, number, &channels))
                    .bytes()
            });
            http.send(bytes.collect::<Vec<u8>>());
            for _ in 0..20 {
                http.response().is_empty_object();
            }
        }
    });
    for client in &mut clients {
        expect_in_order(client, 200 * PUBLISHERS * channels.len());
        client.expect_silence();
    }
}

#[test]
fn a_batch_over_several_channels_comes_to_one_socket_as_it_was_given() {
    let server = TestServer::usual();
    let channels = ["one", "two", "three"];
    let mut clients = subscribers(&server, 300, &channels);
    // Some hear only one of the channels.
    clients.extend(subscribers(&server, 5, &["two"]));
    let event = |number: usize| json!({"name": "p", "channel": channels[number % 3], "data": number.to_string()});
    let events: Vec<_> = (0..10).map(event).collect();
    let body = json!({"batch": events}).to_string();
    let mut http = Http::connect(server.public);
    http.send(
        server
            .api()
            .call("POST", "/batch_events")
            .body(body)
            .bytes(),
    );
    http.response().is_empty_object();
    let (all, some) = clients.split_at_mut(300);
    for client in all {
        let numbers = (0..10).map(|_| client.next().data().to_owned());
        assert!(numbers.eq((0..10).map(|number| number.to_string())));
    }
    for client in some {
        let numbers = (0..3).map(|_| client.next().data().to_owned());
        assert!(numbers.eq(["1", "4", "7"]));
    }
}

#[test]
fn small_channels_beside_a_large_one_lose_nothing_and_keep_their_order() {
    let server = TestServer::start(Setup::new().set("server.workers", 1));
    // A fan-out to so many is interrupted several times, and then the small ones overtake it.
    let mut large = subscribers(&server, 600, &["large"]);
    let mut small = subscribers(&server, 3, &["small"]);
    let mut both = subscribers(&server, 1, &["large", "small"]);
    publish_all(&server, |api, http, publisher| {
        let channel = ["large", "small"][publisher % 2];
        for number in 0..100 {
            http.send(
                api.call("POST", "/events")
                    .body(event(publisher, number, &[channel]))
                    .bytes(),
            );
            http.response().is_empty_object();
        }
    });
    for client in large.iter_mut().chain(&mut small) {
        expect_in_order(client, 100 * PUBLISHERS / 2);
        client.expect_silence();
    }
    expect_in_order(&mut both[0], 100 * PUBLISHERS);
}

#[test]
fn batches_under_load_come_in_order() {
    let server = TestServer::usual();
    let mut clients = subscribers(&server, 10, &["load"]);
    publish_all(&server, |api, http, publisher| {
        for batch in 0..30 {
            let event = |number: usize| json!({"name": format!("p{publisher}"), "channel": "load", "data": number.to_string()});
            let events: Vec<_> = (batch * 10..(batch + 1) * 10).map(event).collect();
            let body = json!({"batch": events}).to_string();
            http.send(api.call("POST", "/batch_events").body(body).bytes());
            http.response().is_empty_object();
        }
    });
    for client in &mut clients {
        expect_in_order(client, 300 * PUBLISHERS);
    }
}

#[test]
fn one_publishers_order_holds_over_different_connections() {
    let server = TestServer::usual();
    let mut clients = subscribers(&server, 10, &["load"]);
    for number in 0..200 {
        // A connection of its own each time: any worker may serve it.
        server.api().publish("load", "p", &number.to_string());
    }
    for client in &mut clients {
        expect_in_order(client, 200);
    }
}

#[test]
fn a_subscriber_that_comes_in_the_middle_hears_an_unbroken_rest() {
    let server = TestServer::usual();
    let (api, address) = (server.api(), server.public);
    let publisher = thread::spawn(move || {
        let mut http = Http::connect(address);
        for number in 0..600 {
            http.send(
                api.call("POST", "/events")
                    .body(event(0, number, &["load"]))
                    .bytes(),
            );
            http.response().is_empty_object();
        }
    });
    let mut clients = Vec::new();
    while !publisher.is_finished() {
        if clients.len() < 40 {
            clients.extend(subscribers(&server, 1, &["load"]));
        } else {
            thread::yield_now();
        }
    }
    publisher.join().expect("every publish succeeds");
    server.api().publish("load", "end", "");
    for client in &mut clients {
        let mut last: Option<usize> = None;
        loop {
            let message = client.next();
            if message.event() == "end" {
                break;
            }
            let number: usize = message.data().parse().expect("a number");
            assert!(
                last.is_none_or(|last| number == last + 1),
                "{number} after {last:?}"
            );
            last = Some(number);
        }
        assert!(
            last.is_none_or(|last| last == 599),
            "the last event was lost: {last:?}"
        );
    }
}

/// Publishes 500 events to one channel from a thread, while the client asks for it again and again, many times in one segment, and is
/// refused; every event must still come, once and in order.
fn subscribes_again_under_load(channel: &'static str, channel_data: &str) {
    let server = TestServer::usual();
    let (api, address) = (server.api(), server.public);
    let mut client = server.client();
    let auth = client.auth_with(channel, channel_data);
    let data = json!({"channel": channel, "auth": auth, "channel_data": channel_data});
    let subscribe = json!({"event": "pusher:subscribe", "data": data}).to_string();
    client.socket.send_text(&subscribe);
    client.expect_on(channel, "pusher_internal:subscription_succeeded");
    let burst = Frame::text(subscribe).bytes().repeat(50);
    let publisher = thread::spawn(move || {
        let mut http = Http::connect(address);
        for number in 0..500 {
            let publish = api
                .call("POST", "/events")
                .body(event(0, number, &[channel]));
            http.send(publish.bytes());
            http.response().is_empty_object();
        }
    });
    let mut next = 0;
    let mut read_one = |client: &mut TestClient| {
        let message = client.next();
        if message.event() == "p0" {
            assert_eq!(
                message.data(),
                next.to_string(),
                "an event was lost on {channel}"
            );
            next += 1;
        }
        next
    };
    while !publisher.is_finished() {
        client.socket.stream.send(&burst);
        for _ in 0..50 {
            read_one(&mut client);
        }
    }
    publisher.join().expect("every publish succeeds");
    while read_one(&mut client) < 500 {}
}

#[test]
fn subscribing_again_under_load_loses_no_event() {
    subscribes_again_under_load("load", "");
}

#[test]
fn subscribing_again_to_a_presence_channel_loses_no_event() {
    subscribes_again_under_load("presence-load", r#"{"user_id":"7"}"#);
}

#[test]
fn subscribing_again_to_a_cache_channel_loses_no_event() {
    subscribes_again_under_load("cache-load", "");
}

#[test]
fn an_excluded_socket_misses_only_its_own_events_under_load() {
    let server = TestServer::usual();
    let mut clients = subscribers(&server, 8, &["load"]);
    let authors: Vec<_> = clients
        .iter()
        .map(|client| client.socket_id.clone())
        .collect();
    let api = server.api();
    let mut http = Http::connect(server.public);
    for number in 0..200 {
        let author = number % authors.len();
        let body = json!({
            "name": format!("by-{author}"), "channel": "load", "data": (number / authors.len()).to_string(),
            "socket_id": authors[author],
        });
        http.send(api.call("POST", "/events").body(body.to_string()).bytes());
        http.response().is_empty_object();
    }
    for (own, client) in clients.iter_mut().enumerate() {
        for number in 0..200 {
            if number % authors.len() != own {
                client.expect_on("load", &format!("by-{}", number % authors.len()));
            }
        }
        client.expect_silence();
    }
}

#[test]
fn two_apps_under_load_never_hear_each_other() {
    let server = TestServer::start(
        Setup::new()
            .app(App::new("1", "one"))
            .app(App::new("2", "two")),
    );
    let mut listeners: Vec<_> = server
        .apps
        .iter()
        .map(|app| {
            let mut client = server.client_of(app);
            client.subscribe("news");
            client.join("presence-news", "7");
            client
        })
        .collect();
    let publishers: Vec<_> = server
        .apps
        .iter()
        .map(|app| {
            let (api, id) = (server.api_of(app), app.id.clone());
            thread::spawn(move || {
                for _ in 0..100 {
                    let body =
                        json!({"name": "e", "channels": ["news", "presence-news"], "data": id});
                    api.events(&body).is_empty_object();
                }
            })
        })
        .collect();
    publishers
        .into_iter()
        .for_each(|publisher| publisher.join().expect("every publish succeeds"));
    for (app, client) in server.apps.iter().zip(&mut listeners) {
        for _ in 0..200 {
            assert_eq!(client.expect("e").data(), app.id);
        }
        client.expect_silence();
    }
}
