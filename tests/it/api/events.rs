//! §7.3: `POST /apps/{id}/events`.

use serde_json::{Value, json};

use crate::support::{server::TestServer, setup::Setup};

#[track_caller]
fn each_is_400(bodies: &[Value]) {
    let server = TestServer::usual();
    for body in bodies {
        let response = server.api().events(body);
        assert_eq!(response.status, 400, "{body}: {response:?}");
        response.is_error(400);
    }
}

#[test]
fn an_event_is_delivered_in_its_exact_shape_and_answered_by_an_empty_object() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("orders");
    let body = json!({"name": "order.created", "channels": ["orders"], "data": "{\"id\":42}"});
    server.api().events(&body).is_empty_object();
    let message = client.next();
    assert_eq!(
        message.text,
        r#"{"event":"order.created","channel":"orders","data":"{\"id\":42}"}"#
    );
}

#[test]
fn channel_is_an_alternative_to_channels() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    server
        .api()
        .events(&json!({"name": "e", "channel": "news", "data": ""}))
        .is_empty_object();
    client.expect_on("news", "e");
}

#[test]
fn channels_wins_over_channel() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("one");
    client.subscribe("two");
    let body = json!({"name": "e", "channels": ["two"], "channel": "one", "data": ""});
    server.api().events(&body).is_empty_object();
    client.expect_on("two", "e");
    client.expect_nothing_before_marker(&server.api(), "one");
}

#[test]
fn an_event_for_several_channels_reaches_each() {
    let server = TestServer::usual();
    let mut clients = [server.client(), server.client(), server.client()];
    let channels = ["a", "b", "private-c"];
    for (client, channel) in clients.iter_mut().zip(channels) {
        client.subscribe(channel);
    }
    server
        .api()
        .events(&json!({"name": "e", "channels": channels, "data": "x"}))
        .is_empty_object();
    for (client, channel) in clients.iter_mut().zip(channels) {
        assert_eq!(client.expect_on(channel, "e").data(), "x");
    }
}

#[test]
fn one_client_of_two_channels_hears_both() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("a");
    client.subscribe("b");
    server
        .api()
        .events(&json!({"name": "e", "channels": ["a", "b"], "data": "x"}))
        .is_empty_object();
    let mut heard = [client.expect("e"), client.expect("e")]
        .map(|message| message.channel().unwrap().to_owned());
    heard.sort();
    assert_eq!(heard, ["a", "b"]);
}

#[test]
fn a_channel_named_twice_is_served_once() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    let body = json!({"name": "e", "channels": ["news", "other", "news", "news"], "data": ""});
    server.api().events(&body).is_empty_object();
    client.expect_on("news", "e");
    client.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn a_name_is_required_and_is_a_string() {
    each_is_400(&[
        json!({"channel": "c", "data": ""}),
        json!({"name": "", "channel": "c", "data": ""}),
        json!({"name": null, "channel": "c", "data": ""}),
        json!({"name": 7, "channel": "c", "data": ""}),
        json!({"name": ["e"], "channel": "c", "data": ""}),
    ]);
}

#[test]
fn data_is_required() {
    each_is_400(&[
        json!({"name": "e", "channel": "c"}),
        json!({"name": "e", "channels": ["c"], "Data": ""}),
    ]);
}

#[test]
fn channels_are_a_list_of_legal_names() {
    let event = |channels: Value| json!({"name": "e", "data": "", "channels": channels});
    each_is_400(&[
        json!({"name": "e", "data": ""}),
        event(json!([])),
        event(json!([""])),
        event(json!([7])),
        event(json!([null])),
        event(json!({"0": "news"})),
        event(json!(7)),
        event(json!(["news", "a b"])),
        event(json!(["a:b"])),
        event(json!(["é"])),
        event(json!(["#news"])),
        json!({"name": "e", "data": "", "channel": ""}),
        json!({"name": "e", "data": "", "channel": "a/b"}),
        json!({"name": "e", "data": "", "channel": 7}),
    ]);
}

#[test]
fn a_users_own_channel_may_be_published_to() {
    let server = TestServer::usual();
    for body in [
        json!({"name": "e", "channel": "#server-to-user-7", "data": ""}),
        json!({"name": "e", "channels": ["#server-to-user-a@b.c"], "data": ""}),
    ] {
        server.api().events(&body).is_empty_object();
    }
    server
        .api()
        .get("/channels", &[])
        .is(&json!({"channels": {}}));
}

#[test]
fn pushers_own_names_are_reserved() {
    let event = |name: &str| json!({"name": name, "channel": "c", "data": ""});
    each_is_400(&[
        event("pusher:error"),
        event("pusher:"),
        event("pusher:subscription_succeeded"),
        event("pusher_internal:member_added"),
        event("pusher_internal:"),
    ]);
    let server = TestServer::usual();
    for name in [
        "pusher",
        "pusherx",
        "my-pusher:event",
        "Pusher:x",
        "client-typing",
        "a:b",
    ] {
        server.api().events(&event(name)).is_empty_object();
    }
}

#[test]
fn a_socket_id_that_is_none_is_400() {
    let event =
        |socket_id: Value| json!({"name": "e", "channel": "c", "data": "", "socket_id": socket_id});
    let ids = [
        "", "1", "1.", ".1", "1.2.3", "a.b", "1.2 ", " 1.2", "1.2\n", "-1.2", "1,2", "+1.2",
        "1.2x", "١.٢",
    ];
    let mut wrong: Vec<_> = ids.iter().map(|id| event(json!(id))).collect();
    wrong.extend([event(json!(1.2)), event(json!(["1.2"])), event(json!({}))]);
    each_is_400(&wrong);
}

#[test]
fn the_excluded_socket_hears_nothing_and_the_others_do() {
    let server = TestServer::usual();
    let (mut author, mut other) = (server.client(), server.client());
    for client in [&mut author, &mut other] {
        client.subscribe("a");
        client.subscribe("b");
    }
    let body =
        json!({"name": "e", "channels": ["a", "b"], "data": "", "socket_id": author.socket_id});
    server.api().events(&body).is_empty_object();
    other.expect("e");
    other.expect("e");
    author.expect_nothing_before_marker(&server.api(), "a");
    author.expect_nothing_before_marker(&server.api(), "b");
}

#[test]
fn an_unknown_socket_id_excludes_nobody() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    for socket_id in ["1.2", "99999999999999999999999.1", "0.0"] {
        let body = json!({"name": "e", "channel": "news", "data": "", "socket_id": socket_id});
        server.api().events(&body).is_empty_object();
        client.expect_on("news", "e");
    }
}

#[test]
fn publishing_to_nobody_succeeds() {
    let server = TestServer::usual();
    server.api().publish("nobody-here", "e", "x");
    server.api().publish("presence-nobody", "e", "x");
}

#[test]
fn a_body_that_is_no_json_object_is_400() {
    let server = TestServer::usual();
    let bodies: &[&[u8]] = &[
        b"{",
        b"not json",
        b"[]",
        b"7",
        b"null",
        b"\"e\"",
        b"{\"name\":\"e\",\"channel\":\"c\",\"data\":\"\"",
        b"{\"name\":\"e\",\"channel\":\"c\",\"data\":\"\"}}",
        b"{\"name\":\"e\",\"channel\":\"c\",\"data\":\"\xff\"}",
        b"name=e&channel=c&data=x",
    ];
    for body in bodies {
        server
            .api()
            .call("POST", "/events")
            .body(body)
            .send()
            .is_error(400);
    }
    server.api().call("POST", "/events").send().is_error(400);
}

#[test]
fn unknown_members_of_the_body_are_ignored() {
    let server = TestServer::usual();
    let body = json!({"name": "e", "channel": "c", "data": "", "extra": {"a": [1]}, "tags": null});
    server.api().events(&body).is_empty_object();
}

#[test]
fn limits_are_the_apps_own() {
    let app = crate::support::app::App::usual()
        .set("max_event_name_length", 5)
        .set("max_event_data_bytes", 5)
        .set("max_event_channels", 2);
    let server = TestServer::start(Setup::new().app(app));
    let event = |name: &str, data: &str, channels: &[&str]| json!({"name": name, "data": data, "channels": channels});
    let api = server.api();
    api.events(&event("12345", "12345", &["a", "b"]))
        .is_empty_object();
    api.events(&event("123456", "", &["a"])).is_error(400);
    api.events(&event("1", "123456", &["a"])).is_error(413);
    api.events(&event("1", "", &["a", "b", "c"])).is_error(400);
}
