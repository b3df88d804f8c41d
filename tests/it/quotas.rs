//! The limits of an app, each with its exact answer: backend events, read requests, channels, client events.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    api::Api, app::App, client::TestClient, eventually, http::Response, server::TestServer,
    setup::Setup,
};

const ROOM: &str = "private-room";

fn with(option: &str, limit: usize) -> TestServer {
    TestServer::start(Setup::new().usual_with(option, limit))
}

fn event(channel: &str) -> Value {
    json!({"name": "e", "channel": channel, "data": ""})
}

/// 429 that names the limit, with how long to wait.
#[track_caller]
fn is_too_fast(response: &Response, limit: &str) {
    let text = response.is_error(429);
    assert_eq!(text, format!("the app's limit is {limit} per second"));
    assert_eq!(response.header("retry-after"), Some("1"));
}

#[test]
fn events_over_the_rate_are_429_and_not_delivered() {
    let server = with("max_backend_events_per_second", 3);
    let mut client = server.client();
    client.subscribe("news");
    let began = Instant::now();
    let answers: Vec<_> = (0..20)
        .map(|_| server.api().events(&event("news")))
        .collect();
    let refused: Vec<_> = answers.iter().filter(|a| a.status != 200).collect();
    let taken = answers.len() - refused.len();
    // Three at once, and one more for each third of a second that this took.
    let most = 4 + usize::try_from(began.elapsed().as_millis() / 333).expect("short");
    assert!((3..=most).contains(&taken), "{taken} of {}", answers.len());
    refused.iter().for_each(|answer| is_too_fast(answer, "3"));
    for _ in 0..taken {
        client.expect_on("news", "e");
    }
    client.expect_silence();
    eventually("a later event is taken", || {
        (server.api().events(&event("news")).status == 200).then_some(())
    });
    client.expect_on("news", "e");
}

#[test]
fn each_event_of_a_batch_counts_and_a_batch_is_taken_whole_or_not_at_all() {
    let server = with("max_backend_events_per_second", 5);
    let mut client = server.client();
    client.subscribe("news");
    let batch = |count: usize| server.api().batch(&vec![event("news"); count]);
    // Trying again would not help, so it is not 429, and costs nothing.
    let never = "batch has 6 events, but the app's limit is 5 per second: send at most 5 at once";
    assert_eq!(batch(6).is_error(400), never);
    assert_eq!(batch(6).header("retry-after"), None);
    batch(5).is_empty_object();
    is_too_fast(&batch(5), "5");
    for _ in 0..5 {
        client.expect_on("news", "e");
    }
    client.expect_silence();
}

#[test]
fn an_event_for_many_channels_is_one() {
    let server = with("max_backend_events_per_second", 1);
    let channels: Vec<_> = (0..50).map(|number| format!("c{number}")).collect();
    let body = json!({"name": "e", "channels": channels, "data": ""});
    server.api().events(&body).is_empty_object();
    is_too_fast(&server.api().events(&body), "1");
}

#[test]
fn what_is_refused_for_another_reason_does_not_count() {
    let server = with("max_backend_events_per_second", 1);
    for _ in 0..5 {
        server.api().events(&event("not a name")).is_error(400);
        let unsigned = server.api().call("POST", "/events").secret("wrong");
        unsigned
            .body(event("news").to_string())
            .send()
            .is_error(401);
    }
    server.api().events(&event("news")).is_empty_object();
}

#[test]
fn the_legacy_way_to_publish_counts_too() {
    let server = with("max_backend_events_per_second", 1);
    let send = || {
        let call = server.api().call("POST", "/channels/news/events");
        call.set("name", "e").body("data").send()
    };
    assert_eq!(send().status, 202);
    is_too_fast(&send(), "1");
}

#[test]
fn reads_over_the_rate_are_429_and_publishing_goes_on() {
    let server = with("max_read_requests_per_second", 2);
    let api = server.api();
    let asks: [&dyn Fn() -> Response; 6] = [
        &|| api.get("/channels", &[]),
        &|| api.get("/channels/news", &[]),
        &|| api.get("/channels/presence-a/users", &[]),
        &|| api.get("/channels/news/stats", &[]),
        &|| api.get("/connections", &[]),
        &|| api.post("/users/7/terminate_connections", &json!({})),
    ];
    for ask in asks {
        let refused = eventually("a refusal", || Some(ask()).filter(|a| a.status != 200));
        is_too_fast(&refused, "2");
    }
    for _ in 0..20 {
        api.events(&event("news")).is_empty_object();
    }
    eventually("a later question is answered", || {
        (api.get("/channels", &[]).status == 200).then_some(())
    });
}

#[test]
fn a_question_that_is_not_signed_does_not_count() {
    let server = with("max_read_requests_per_second", 1);
    for _ in 0..10 {
        let unsigned = server.api().call("GET", "/channels").secret("wrong");
        unsigned.send().is_error(401);
    }
    server
        .api()
        .get("/channels", &[])
        .is(&json!({"channels": {}}));
}

#[test]
fn each_app_has_its_own_budget() {
    let app = |id: &str| {
        App::new(id, id)
            .set("max_backend_events_per_second", 1)
            .set("max_read_requests_per_second", 1)
    };
    let server = TestServer::start(Setup::new().app(app("1")).app(app("2")));
    let apis: Vec<Api> = server.apps.iter().map(|app| server.api_of(app)).collect();
    for api in &apis {
        api.events(&event("news")).is_empty_object();
        assert_eq!(api.get("/channels", &[]).status, 200);
        is_too_fast(&api.events(&event("news")), "1");
        is_too_fast(&api.get("/channels", &[]), "1");
    }
}

#[test]
fn without_limits_nothing_is_refused() {
    let server = TestServer::usual();
    for _ in 0..200 {
        server.api().events(&event("news")).is_empty_object();
        assert_eq!(server.api().get("/channels", &[]).status, 200);
    }
}

#[test]
fn a_budget_comes_back_as_time_passes_and_not_all_at_once() {
    let server = with("max_backend_events_per_second", 10);
    let mut client = server.client();
    client.subscribe("news");
    let (began, mut taken) = (Instant::now(), 0_u128);
    while began.elapsed() < Duration::from_secs(2) {
        let answer = server.api().events(&event("news"));
        taken += u128::from(answer.status == 200);
    }
    let most = 11 + began.elapsed().as_millis() / 100;
    assert!(
        (20..=most).contains(&taken),
        "{taken} in {:?}",
        began.elapsed()
    );
}

#[track_caller]
fn is_over_channels(client: &mut TestClient, channel: &str, limit: usize) {
    client.ask(channel);
    let refused = client.expect_on(channel, "pusher:subscription_error");
    assert_eq!(
        refused.decoded(),
        json!({
            "type": "LimitReached",
            "error": format!("This connection listens to {limit} channels, which is its limit"),
            "status": 4100,
        })
    );
    client.expect("pusher:error");
}

#[test]
fn a_connection_over_its_channels_is_refused_one_more_and_stays() {
    let server = with("max_channels_per_connection", 2);
    let mut client = server.client();
    client.subscribe("a");
    client.subscribe(ROOM);
    is_over_channels(&mut client, "b", 2);
    is_over_channels(&mut client, "private-b", 2);
    // That it listens to a channel already is another matter.
    client.ask("a");
    client.expect_existing("a");
    client.unsubscribe("a");
    client.subscribe("b");
    is_over_channels(&mut client, "a", 2);
    server.api().publish("b", "story", "");
    client.expect_on("b", "story");
    let mut other = server.client();
    other.subscribe("a");
    other.subscribe("b");
}

#[test]
fn a_refused_subscription_takes_no_room() {
    let server = with("max_channels_per_connection", 1);
    let mut client = server.client();
    for _ in 0..3 {
        client.ask("not a name");
        client.expect_refusal("not a name");
        let data = json!({"auth": "", "channel": ROOM});
        client.send(&json!({"event": "pusher:subscribe", "data": data}));
        client.expect_refusal(ROOM);
    }
    client.subscribe("a");
    is_over_channels(&mut client, "b", 1);
}

#[test]
fn a_refused_presence_channel_has_no_member() {
    let server = with("max_channels_per_connection", 1);
    let mut watcher = server.client();
    watcher.join("presence-room", "watcher");
    let mut client = server.client();
    client.subscribe("a");
    client.ask_with("presence-room", r#"{"user_id":"7"}"#);
    client.expect_refusal("presence-room");
    watcher.expect_nothing_before_marker(&server.api(), "presence-room");
}

#[test]
fn client_events_over_the_rate_are_4301_and_come_back_one_by_one() {
    let app = App::usual()
        .set("client_events", true)
        .set("max_client_events_per_second", 4);
    let server = TestServer::start(Setup::new().app(app));
    let (mut sender, mut other) = (server.client(), server.client());
    sender.subscribe(ROOM);
    other.subscribe(ROOM);
    let (began, mut taken) = (Instant::now(), 0_u128);
    while began.elapsed() < Duration::from_secs(2) {
        sender.trigger(ROOM, "client-x", &json!({}));
        sender.send(&json!({"event": "pusher:ping", "data": {}}));
        let answer = sender.next();
        if answer.event() == "pusher:error" {
            assert_eq!(answer.code(), Some(4301));
            assert_eq!(
                answer.json["data"]["message"],
                "Client event rejected: the rate limit of 4/s is exceeded."
            );
            sender.expect("pusher:pong");
        } else {
            taken += 1;
        }
    }
    let most = 5 + began.elapsed().as_millis() / 250;
    assert!(
        (8..=most).contains(&taken),
        "{taken} in {:?}",
        began.elapsed()
    );
    for _ in 0..taken {
        other.expect_on(ROOM, "client-x");
    }
    other.expect_nothing_before_marker(&server.api(), ROOM);
}
