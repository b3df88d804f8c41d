//! §6.1: `pusher:signin`.

use serde_json::{Value, json};

use crate::support::{app::App, client::TestClient, server::TestServer, setup::Setup};

const USER: &str = r#"{"id":"7"}"#;

fn signin(auth: &str, user_data: &str) -> Value {
    json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}})
}

/// The sign-in must be refused, without the connection becoming anybody.
#[track_caller]
fn is_refused(client: &mut TestClient, request: &Value) {
    client.send(request);
    let error = client.expect_error(None);
    assert!(!error.text.contains("s3cr3t"), "{}", error.text);
    client.ask("#server-to-user-7");
    assert_eq!(
        client.expect_refusal("#server-to-user-7"),
        ("AuthError".to_owned(), 401)
    );
}

#[test]
fn success_echoes_user_data_byte_for_byte() {
    let server = TestServer::usual();
    let hard = [
        USER,
        r#" { "id" : "7" , "user_info":{"b":1.10,"a":[9007199254740993]} } "#,
        "{\"id\":\"zoë 👩‍🚀\",\"more\":\"\\u00e9\\n\\\\\"}",
        r#"{"watchlist":["8"],"user_info":null,"id":"7"}"#,
    ];
    for user_data in hard {
        let mut client = server.client();
        client.ask_sign_in(user_data);
        let success = client.expect("pusher:signin_success");
        assert_eq!(success.keys(), ["data", "event"]);
        assert_eq!(success.decoded(), json!({"user_data": user_data}));
        client.expect_silence();
    }
}

#[test]
fn the_protocols_own_example_is_signed_as_we_sign() {
    let app = App::with_secret("1", "278d425bdf160c739803", "7ad3773142a6692b25b8");
    assert_eq!(
        app.auth_user("1234.1234", r#"{"id":"12345"}"#),
        "278d425bdf160c739803:4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"
    );
}

#[test]
fn data_may_be_a_string_that_holds_the_object() {
    let server = TestServer::usual();
    let mut client = server.client();
    let auth = server.app().auth_user(&client.socket_id, USER);
    let data = json!({"auth": auth, "user_data": USER}).to_string();
    client.send(&json!({"event": "pusher:signin", "data": data}));
    client.expect("pusher:signin_success");
}

#[test]
fn a_wrong_signature_is_refused_and_the_connection_stays() {
    let server = TestServer::usual();
    let (app, mut client) = (server.app().clone(), server.client());
    let right = app.auth_user(&client.socket_id, USER);
    let (key, signature) = right.split_once(':').expect("a key and a signature");
    let other_socket = app.auth_user("1.1", USER);
    let other_user = app.auth_user(&client.socket_id, r#"{"id":"8"}"#);
    let other_app = App::new("2", &app.key).auth_user(&client.socket_id, USER);
    let a_channel = app.auth_with(&client.socket_id, "user", USER);
    let wrong = [
        String::new(),
        ":".to_owned(),
        signature.to_owned(),
        format!(":{signature}"),
        format!("another-key:{signature}"),
        format!("{key}:{}", signature.to_uppercase()),
        format!("{key}:{}", &signature[..63]),
        format!("{key}:{signature}0"),
        format!("{key}::user::{signature}"),
        format!("{key}:{}", "0".repeat(64)),
        format!("{key}:{}", "é".repeat(32)),
        other_socket,
        other_user,
        other_app,
        a_channel,
    ];
    for auth in wrong {
        is_refused(&mut client, &signin(&auth, USER));
    }
    client.sign_in_with(USER);
}

#[test]
fn a_signature_for_other_bytes_of_the_same_json_is_wrong() {
    let server = TestServer::usual();
    let mut client = server.client();
    let auth = server.app().auth_user(&client.socket_id, USER);
    is_refused(&mut client, &signin(&auth, r#"{"id": "7"}"#));
}

#[test]
fn the_id_must_be_a_string_with_something_in_it() {
    let server = TestServer::usual();
    let mut client = server.client();
    let wrong = [
        "",
        "7",
        r#""7""#,
        "null",
        "[]",
        r#"["7"]"#,
        r#"["7",null,null]"#,
        "{}",
        "{",
        r#"{"id":7}"#,
        r#"{"id":""}"#,
        r#"{"id":null}"#,
        r#"{"id":["7"]}"#,
        r#"{"id":true}"#,
        r#"{"ID":"7"}"#,
        r#"{"user_id":"7"}"#,
        r#"{"id":"\ud800"}"#,
        r#"{"id":"7","id":"8"}"#,
        r#"{"id":"7"}{"id":"8"}"#,
        r#"{"id":"7","user_info":}"#,
    ];
    for user_data in wrong {
        let auth = server.app().auth_user(&client.socket_id, user_data);
        is_refused(&mut client, &signin(&auth, user_data));
    }
    client.sign_in_with(USER);
}

#[test]
fn a_request_without_its_two_strings_is_an_error_with_the_code_null() {
    let server = TestServer::usual();
    let mut client = server.client();
    let auth = server.app().auth_user(&client.socket_id, USER);
    let wrong = [
        json!({"event": "pusher:signin"}),
        json!({"event": "pusher:signin", "data": null}),
        json!({"event": "pusher:signin", "data": {}}),
        json!({"event": "pusher:signin", "data": "x"}),
        json!({"event": "pusher:signin", "data": [auth, USER]}),
        json!({"event": "pusher:signin", "data": {"auth": auth}}),
        json!({"event": "pusher:signin", "data": {"user_data": USER}}),
        json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": {"id": "7"}}}),
        json!({"event": "pusher:signin", "data": {"auth": 7, "user_data": USER}}),
        json!({"event": "pusher:signin", "data": {"auth": null, "user_data": null}}),
    ];
    for request in wrong {
        client.send(&request);
        client.expect_error(None);
    }
    client.ask("#server-to-user-7");
    client.expect_refusal("#server-to-user-7");
}

#[test]
fn deeply_nested_user_data_is_refused_and_survived() {
    let server = TestServer::usual();
    let mut client = server.client();
    let deep = "[".repeat(20_000) + &"]".repeat(20_000);
    let user_data = format!(r#"{{"id":"7","user_info":{deep}}}"#);
    client.ask_sign_in(&user_data);
    client.next();
    client.expect_silence();
}

#[test]
fn a_second_sign_in_as_the_same_user_succeeds_again() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.sign_in_with(USER);
    client.sign_in_with(r#"{"id":"7","user_info":{"name":"Ann"}}"#);
    client.subscribe("#server-to-user-7");
}

#[test]
fn a_second_sign_in_as_another_user_is_refused_and_the_first_holds() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.sign_in_with(USER);
    client.ask_sign_in(r#"{"id":"8"}"#);
    client.expect_error(None);
    client.ask("#server-to-user-8");
    client.expect_refusal("#server-to-user-8");
    client.subscribe("#server-to-user-7");
    let api = server.api();
    api.publish("#server-to-user-8", "not-mine", "");
    api.publish("#server-to-user-7", "mine", "");
    client.expect_on("#server-to-user-7", "mine");
}

#[test]
fn a_refused_second_sign_in_does_not_sign_out() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.sign_in_with(USER);
    client.send(&signin("wrong", USER));
    client.expect_error(None);
    client.subscribe("#server-to-user-7");
}

#[test]
fn a_sign_in_counts_for_its_app_alone() {
    let server = TestServer::start(
        Setup::new()
            .app(App::new("1", "one"))
            .app(App::new("2", "two")),
    );
    let [one, two] = [0, 1].map(|app| server.client_of(&server.apps[app]));
    let (mut one, mut two) = (one, two);
    one.sign_in("7");
    two.sign_in("7");
    for client in [&mut one, &mut two] {
        client.subscribe("#server-to-user-7");
    }
    let api = server.api_of(&server.apps[1]);
    api.publish("#server-to-user-7", "for-two", "");
    two.expect_on("#server-to-user-7", "for-two");
    let api = server.api_of(&server.apps[0]);
    one.expect_nothing_before_marker(&api, "#server-to-user-7");
}

#[test]
fn a_sign_in_ends_with_its_connection() {
    let server = TestServer::usual();
    let mut first = server.client();
    first.sign_in_with(USER);
    first.close();
    let mut second = server.client();
    second.ask("#server-to-user-7");
    second.expect_refusal("#server-to-user-7");
}
