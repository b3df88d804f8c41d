//! Event data passes through as it was published, whatever it holds.

use serde_json::{Value, json};

use crate::support::{client::TestClient, server::TestServer};

fn listener() -> (TestServer, TestClient) {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("news");
    (server, client)
}

/// Publishes a body written by hand around `data`, a JSON value.
fn publish_raw(server: &TestServer, data: &str) -> crate::support::http::Response {
    let body = format!(r#"{{"name":"e","channel":"news","data":{data}}}"#);
    server.api().call("POST", "/events").body(body).send()
}

#[test]
fn every_string_arrives_as_it_was() {
    let (server, mut client) = listener();
    let strings = [
        "",
        " ",
        "hello",
        "123",
        "null",
        "{\"id\":42}",
        "{ \"spaces\" :  [ 1 , 2 ] }\n",
        "{\"dup\":1,\"dup\":2}",
        "1.0e+2",
        "not { json",
        "\"quoted\"",
        "back\\slash \\u0041 \\n",
        "\u{0}\u{1}\u{1f}\u{7f}",
        "\t\r\n\u{8}\u{c}",
        "é ü ß 日本 العربية",
        "😀👩‍👩‍👧 \u{10ffff}",
        "\u{2028}\u{2029}\u{feff}\u{fffd}\u{ffff}",
        "</script><!--",
        "/\\/",
    ];
    for data in strings {
        server.api().publish("news", "e", data);
        assert_eq!(client.expect_on("news", "e").data(), data);
    }
}

#[test]
fn escapes_of_the_body_are_decoded_once() {
    let (server, mut client) = listener();
    let cases = [
        (r#""\u0041\u00e9\ud83d\ude00""#, "Aé😀"),
        (r#""\\u0041""#, "\\u0041"),
        (r#""\/\"\\\b\f\n\r\t""#, "/\"\\\u{8}\u{c}\n\r\t"),
        (r#""\u0000""#, "\u{0}"),
        (r#""\u2028""#, "\u{2028}"),
    ];
    for (json, data) in cases {
        publish_raw(&server, json).is_empty_object();
        assert_eq!(client.expect_on("news", "e").data(), data);
    }
}

#[test]
fn a_lone_surrogate_is_refused_or_passes_uncorrupted() {
    let (server, mut client) = listener();
    for (json, escape) in [
        (r#""\ud800""#, "\\ud800"),
        (r#""a\udc00b""#, "\\udc00"),
        (r#""\ud800\u0041""#, "\\ud800"),
    ] {
        let response = publish_raw(&server, json);
        if response.status == 400 {
            response.is_error(400);
        } else {
            response.is_empty_object();
            let text = client.socket.expect_text();
            assert!(text.to_lowercase().contains(escape), "{text}");
        }
    }
    client.expect_nothing_before_marker(&server.api(), "news");
}

#[test]
fn data_that_is_no_string_is_serialised() {
    let (server, mut client) = listener();
    for data in [
        json!({"a": [1, {"b": null}], "é": "x"}),
        json!([]),
        json!({}),
        json!(7),
        json!(true),
    ] {
        let body = json!({"name": "e", "channel": "news", "data": data});
        server.api().events(&body).is_empty_object();
        assert_eq!(client.expect_on("news", "e").decoded(), data);
    }
}

#[test]
fn serialised_data_keeps_the_digits_of_numbers_and_the_order_of_members() {
    let (server, mut client) = listener();
    let data = r#"{"z":9007199254740993,"a":1.10,"m":[1e400,-0]}"#;
    publish_raw(&server, data).is_empty_object();
    assert_eq!(client.expect_on("news", "e").data(), data);
}

#[test]
fn a_name_keeps_its_characters() {
    let (server, mut client) = listener();
    let names = [
        "App\\Events\\OrderShipped",
        "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated",
        "with \"quotes\"",
        "line\nbreak\u{0}",
        "é😀",
        " ",
    ];
    for name in names {
        server.api().publish("news", name, "");
        client.expect_on("news", name);
    }
}

#[test]
fn a_frame_of_every_length_class_arrives_whole() {
    let (server, mut client) = listener();
    for length in (0..400).chain([4_096, 8_192, 10_239, 10_240]) {
        let data: String = (0..length)
            .map(|at| char::from(b'a' + u8::try_from(at % 26).unwrap()))
            .collect();
        server.api().publish("news", "e", &data);
        assert_eq!(client.expect_on("news", "e").data(), data);
    }
    let frames_over_64_kib = "\u{1}".repeat(10_240);
    server.api().publish("news", "e", &frames_over_64_kib);
    assert_eq!(client.expect_on("news", "e").data(), frames_over_64_kib);
}

#[test]
fn the_data_of_an_excluded_publish_is_the_same() {
    let (server, mut client) = listener();
    let other = server.client();
    let body: Value =
        json!({"name": "e", "channel": "news", "data": "\u{0}😀", "socket_id": other.socket_id});
    server.api().events(&body).is_empty_object();
    assert_eq!(client.expect_on("news", "e").data(), "\u{0}😀");
}
