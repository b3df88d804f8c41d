//! Every limit of §7: the last value that is taken, the first that is not, and what the refusal says.

use serde_json::{Value, json};

use crate::support::{api::Api, server::TestServer, setup::Setup};

fn event(name: &str, data: &str) -> Value {
    json!({"name": name, "channel": "news", "data": data})
}

/// The refusal names the limit and the actual size.
#[track_caller]
fn is_over(api: &Api, path: &str, body: &Value, status: u16, limit: &str, actual: &str) {
    let response = api.post(path, body);
    let text = response.is_error(status);
    assert!(
        text.contains(limit) && text.contains(actual),
        "neither {limit} nor {actual} missing: {text}"
    );
}

#[test]
fn a_name_has_at_most_200_characters() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    for character in ["x", "é", "😀", "\\"] {
        let longest = character.repeat(200);
        server.api().events(&event(&longest, "")).is_empty_object();
        client.expect_on("news", &longest);
        is_over(
            &server.api(),
            "/events",
            &event(&character.repeat(201), ""),
            400,
            "200",
            "201",
        );
    }
}

#[test]
fn data_has_at_most_10240_bytes() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    for (unit, count) in [("x", 10_240), ("é", 5_120), ("😀", 2_560), ("\"", 10_240)] {
        let data = unit.repeat(count);
        server.api().events(&event("e", &data)).is_empty_object();
        assert_eq!(client.expect_on("news", "e").data(), data);
        let actual = (data.len() + unit.len()).to_string();
        is_over(
            &server.api(),
            "/events",
            &event("e", &(data + unit)),
            413,
            "10240",
            &actual,
        );
    }
    client.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn data_is_measured_decoded() {
    let server = TestServer::usual();
    let escaped = |count: usize| {
        format!(
            r#"{{"name":"e","channel":"c","data":"{}"}}"#,
            "\\u0061".repeat(count)
        )
    };
    let call = |body: String| server.api().call("POST", "/events").body(body).send();
    call(escaped(10_240)).is_empty_object();
    call(escaped(10_241)).is_error(413);
}

#[test]
fn serialised_data_has_the_same_limit() {
    let server = TestServer::usual();
    let object =
        |size: usize| json!({"name": "e", "channel": "c", "data": {"a": "x".repeat(size - 8)}});
    server.api().events(&object(10_240)).is_empty_object();
    is_over(
        &server.api(),
        "/events",
        &object(10_241),
        413,
        "10240",
        "10241",
    );
}

#[test]
fn a_publish_has_at_most_100_channels() {
    let server = TestServer::usual();
    let body = |count: usize| {
        let channels: Vec<_> = (0..count)
            .map(|number| format!("channel-{number}"))
            .collect();
        json!({"name": "e", "data": "", "channels": channels})
    };
    let mut client = server.client();
    client.subscribe("channel-99");
    server.api().events(&body(100)).is_empty_object();
    client.expect_on("channel-99", "e");
    is_over(&server.api(), "/events", &body(101), 400, "100", "101");
    client.expect_nothing_before_marker(&server.api(), "channel-99");
}

#[test]
fn a_batch_has_at_most_10_events() {
    let server = TestServer::usual();
    let batch = |count: usize| json!({"batch": vec![event("e", ""); count]});
    let mut client = server.client();
    client.subscribe("news");
    server
        .api()
        .post("/batch_events", &batch(10))
        .is_empty_object();
    for _ in 0..10 {
        client.expect_on("news", "e");
    }
    is_over(&server.api(), "/batch_events", &batch(11), 400, "10", "11");
    client.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn the_events_of_a_batch_have_the_limits_of_an_event() {
    let server = TestServer::usual();
    let batch = |event: Value| json!({"batch": [event]});
    let api = server.api();
    api.post(
        "/batch_events",
        &batch(event(&"x".repeat(200), &"x".repeat(10_240))),
    )
    .is_empty_object();
    is_over(
        &api,
        "/batch_events",
        &batch(event(&"x".repeat(201), "")),
        400,
        "200",
        "201",
    );
    is_over(
        &api,
        "/batch_events",
        &batch(event("e", &"x".repeat(10_241))),
        413,
        "10240",
        "10241",
    );
}

#[test]
fn a_channel_name_has_at_most_200_characters() {
    let server = TestServer::usual();
    let to = |length: usize| json!({"name": "e", "data": "", "channel": "x".repeat(length)});
    server.api().events(&to(200)).is_empty_object();
    is_over(&server.api(), "/events", &to(201), 400, "200", "201");
    let list = json!({"name": "e", "data": "", "channels": ["fine", "x".repeat(201)]});
    is_over(&server.api(), "/events", &list, 400, "200", "201");
}

#[test]
fn a_batch_limit_may_be_the_apps_own() {
    let server = TestServer::start(Setup::new().usual_with("max_batch_events", 2));
    server
        .api()
        .batch(&[event("a", ""), event("b", "")])
        .is_empty_object();
    server
        .api()
        .batch(&[event("a", ""), event("b", ""), event("c", "")])
        .is_error(400);
}

#[test]
fn a_body_over_the_cap_is_413() {
    let server = TestServer::start(Setup::new().set("server.max_request_bytes", 2_000));
    let padded = |size: usize| {
        let bare = event("e", "").to_string();
        bare.clone() + &" ".repeat(size - bare.len())
    };
    let send = |body: String| server.api().call("POST", "/events").body(body).send();
    send(padded(2_000)).is_empty_object();
    let text = send(padded(2_001)).is_error(413);
    assert!(text.contains("2000"), "{text}");
    send(padded(100_000)).is_error(413);
}

#[test]
fn the_default_cap_takes_a_full_batch_and_refuses_two_mebibytes() {
    let server = TestServer::usual();
    let full = event(&"x".repeat(200), &"x".repeat(10_240));
    server.api().batch(&vec![full; 10]).is_empty_object();
    let body = event("e", "").to_string() + &" ".repeat(2 << 20);
    let response = server.api().call("POST", "/events").body(body).send();
    response.is_error(413);
}
