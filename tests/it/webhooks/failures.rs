//! Endpoints that refuse, redirect, hang, or are not there.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Receiver, app_with,
    receiver::{Reply, free_address},
    server_for,
};
use crate::support::{server::TestServer, setup::Setup};

#[test]
fn a_refused_webhook_is_sent_again_as_it_was() {
    for status in [500, 404, 429, 302] {
        let tries = AtomicUsize::new(0);
        let receiver = Receiver::answering(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Status(status),
            _ => Reply::Status(204),
        });
        let server = server_for(&receiver);
        let mut client = server.client();
        client.subscribe("orders");
        let (first, second) = (receiver.next(), receiver.next());
        let pause = second.at - first.at;
        assert!(
            (Duration::from_millis(800)..Duration::from_secs(3)).contains(&pause),
            "{status}: {pause:?}"
        );
        assert_eq!(first.body, second.body, "time and events are the same");
        assert_eq!(first.headers, second.headers);
        client.subscribe("marker");
        assert_eq!(receiver.event(server.app())["channel"], "marker");
    }
}

#[test]
fn a_channel_whose_webhook_is_refused_holds_back_only_itself() {
    let tries = AtomicUsize::new(0);
    let receiver = Receiver::answering(move |request| {
        let is_bad = request.body.contains("private-bad");
        match is_bad && tries.fetch_add(1, Ordering::SeqCst) == 0 {
            true => Reply::Status(500),
            false => Reply::Status(200),
        }
    });
    let server = server_for(&receiver);
    let mut client = server.client();
    client.subscribe("private-bad");
    assert_eq!(receiver.event(server.app())["name"], "channel_occupied");
    client.trigger("private-bad", "client-x", &json!(1));
    for number in 0..5 {
        client.subscribe(&format!("good-{number}"));
    }
    let events = receiver.events(server.app(), 7);
    assert!(
        events[..5]
            .iter()
            .all(|event| event["channel"] != "private-bad"),
        "{events:?}"
    );
    assert_eq!(events[5]["name"], "channel_occupied");
    assert_eq!(events[6]["name"], "client_event");
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::start();
    let to = elsewhere.url("/");
    let tries = AtomicUsize::new(0);
    let receiver = Receiver::answering(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Redirect(to.clone()),
        1 => Reply::Redirect("/here".to_owned()),
        _ => Reply::Status(200),
    });
    let server = server_for(&receiver);
    server.client().subscribe("orders");
    for _ in 0..3 {
        assert_eq!(receiver.next().line, "POST /hook HTTP/1.1");
    }
    assert!(elsewhere.rest().is_empty());
}

#[test]
fn an_endpoint_that_comes_up_later_gets_everything_once_and_in_order() {
    for batching in [false, true] {
        let address = free_address();
        let app = app_with(&json!([{"url": format!("http://{address}/")}]))
            .set("webhook_batching", batching)
            .set("max_client_events_per_second", 1000);
        let server = TestServer::start(Setup::new().app(app));
        let mut client = server.client();
        let channels: Vec<_> = (0..20).map(|number| format!("private-{number}")).collect();
        for channel in &channels {
            client.subscribe(channel);
        }
        for number in 0..10 {
            for channel in &channels {
                client.trigger(channel, "client-x", &json!(number));
            }
        }
        client.expect_silence();
        server
            .process
            .wait_stderr("the endpoint is found dead", |log| {
                log.contains("does not take events").then_some(())
            });
        let receiver = Receiver::at(address);
        let events = receiver.events(server.app(), 20 * 11);
        let mut by_channel: HashMap<&str, Vec<&Value>> = HashMap::new();
        for event in &events {
            let channel = event["channel"].as_str().expect("text");
            by_channel.entry(channel).or_default().push(event);
        }
        for channel in &channels {
            let events = &by_channel[channel.as_str()];
            assert_eq!(events[0]["name"], "channel_occupied", "{events:?}");
            let numbers = events[1..].iter().map(|event| event["data"].as_str());
            let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
            assert!(
                numbers.eq(expected.iter().map(|number| Some(number.as_str()))),
                "{channel}: {events:?}"
            );
        }
        client.subscribe("marker");
        assert_eq!(receiver.event(server.app())["channel"], "marker");
        assert!(server.process.stderr().contains("takes events again"));
    }
}

#[test]
fn an_endpoint_that_hangs_is_given_ten_seconds() {
    let tries = AtomicUsize::new(0);
    let receiver = Receiver::answering(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Hang,
        _ => Reply::Status(200),
    });
    let server = server_for(&receiver);
    let mut client = server.client();
    client.subscribe("orders");
    let first = receiver.next();
    // Another channel does not wait for it.
    client.subscribe("other");
    let other = receiver.next();
    assert_eq!(other.events(server.app())[0]["channel"], "other");
    assert!(other.at - first.at < Duration::from_secs(5));
    let second = receiver.next();
    let pause = second.at - first.at;
    assert!(
        (Duration::from_secs(10)..Duration::from_secs(14)).contains(&pause),
        "{pause:?}"
    );
    assert_eq!(first.body, second.body);
}

#[test]
fn a_storm_of_failures_is_one_line_for_each_endpoint_with_its_reason() {
    let plain = Receiver::start();
    let refusing = Receiver::answering(|_| Reply::Status(404));
    let urls = [
        ("http://nobody.invalid".to_owned(), "dns error"),
        (format!("http://{}", free_address()), "Connection refused"),
        (
            plain.url("").replace("http://", "https://"),
            "tls handshake eof",
        ),
        (refusing.url(""), "status 404"),
    ];
    let endpoints: Vec<_> = urls.iter().map(|(url, _)| json!({"url": url})).collect();
    let setup = Setup::new().set("server.webhook_grace_s", 0);
    let mut server = TestServer::start(setup.app(app_with(&Value::from(endpoints))));
    let mut client = server.client();
    for number in 0..100 {
        client.subscribe(&format!("room-{number}"));
    }
    // The one that answers at once has refused each by then.
    for _ in 0..100 {
        refusing.next();
    }
    server.process.wait_stderr("all four lines", |log| {
        (log.matches("does not take events").count() >= 4).then_some(())
    });
    server.terminate();
    server.expect_clean_exit();
    let log = server.process.stderr();
    for (url, reason) in urls {
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains("does not take events") && line.contains(&url))
            .collect();
        assert!(
            lines.len() == 1 && lines[0].contains(reason),
            "{reason}: {log}"
        );
    }
}
