//! The paths of the example, asked without a browser and with no broadcast server to publish to.

use actix_web::body::to_bytes;
use actix_web::dev::Service;
use actix_web::http::{StatusCode, header};
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, HttpResponse, web};

use super::{Example, refuse_foreign_posts, routes};
use crate::accounts::Accounts;
use crate::broadcast::PusherApp;
use crate::mode::Mode;

/// A request's answer, errors of the middleware included.
async fn ask(example: &web::Data<Example>, request: TestRequest) -> HttpResponse {
    let app = init_service(
        App::new()
            .app_data(example.clone())
            .app_data(web::Data::new(awc::Client::default()))
            .wrap(from_fn(refuse_foreign_posts))
            .configure(routes),
    )
    .await;
    match app.call(request.to_request()).await {
        Ok(answer) => answer.into_parts().1.map_into_boxed_body(),
        Err(error) => error.error_response(),
    }
}

fn example() -> web::Data<Example> {
    let pusher = PusherApp {
        host: "127.0.0.1".to_owned(),
        port: 1, // Nothing listens there: a login must succeed all the same.
        id: "1001".to_owned(),
        key: "app-key".to_owned(),
        secret: "app-secret".to_owned(),
    };
    let accounts = Accounts::open(":memory:").expect("an in-memory database opens");
    web::Data::new(Example {
        accounts,
        pusher,
        mode: Mode::Application,
        pusher_js: String::new(),
        echo_js: String::new(),
    })
}

fn login(password: &str) -> TestRequest {
    TestRequest::post()
        .uri("/login")
        .set_form([("email", "outman@example.com"), ("password", password)])
}

/// Logs outman in; gives the session cookie as a browser sends it back.
async fn logged_in(example: &web::Data<Example>) -> (header::HeaderName, String) {
    let answer = ask(example, login("outman-password")).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let cookie = answer
        .headers()
        .get(header::SET_COOKIE)
        .expect("a session cookie");
    let cookie = cookie.to_str().expect("plain text");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().expect("a name and a value");
    (header::COOKIE, pair.to_owned())
}

async fn session_status(example: &web::Data<Example>, cookie: (header::HeaderName, String)) -> u16 {
    let request = TestRequest::get().uri("/session").insert_header(cookie);
    ask(example, request).await.status().as_u16()
}

#[actix_web::test]
async fn the_older_session_is_over_once_the_newer_login_is_answered() {
    let example = example();
    let older = logged_in(&example).await;
    assert_eq!(session_status(&example, older.clone()).await, 200);
    let newer = logged_in(&example).await;
    assert_eq!(session_status(&example, older).await, 401);
    assert_eq!(session_status(&example, newer).await, 200);
}

#[actix_web::test]
async fn a_wrong_password_sets_no_cookie() {
    let answer = ask(&example(), login("guess")).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!answer.headers().contains_key(header::SET_COOKIE));
}

#[actix_web::test]
async fn a_post_from_another_site_is_refused() {
    let example = example();
    for (header, status) in [
        (("Sec-Fetch-Site", "cross-site"), 403),
        (("Sec-Fetch-Site", "same-site"), 403),
        (("Origin", "http://evil.example"), 403),
        (("Origin", "null"), 403),
        (("Origin", "http://localhost:8080"), 303),
        (("Sec-Fetch-Site", "same-origin"), 303),
    ] {
        let request = login("outman-password")
            .insert_header(("Host", "localhost:8080"))
            .insert_header(header);
        assert_eq!(
            ask(&example, request).await.status().as_u16(),
            status,
            "{header:?}"
        );
    }
}

#[actix_web::test]
async fn only_ones_own_channels_are_signed() {
    let example = example();
    let cookie = logged_in(&example).await;
    for (socket, channel, status) in [
        ("11.22", "private-outman-user-1", 200),
        ("11.22", "presence-lobby", 200),
        ("11.22", "private-outman-user-2", 403),
        ("11.22", "presence-other", 403),
        ("11.22:private-x", "private-outman-user-1", 400),
    ] {
        let body = [("socket_id", socket), ("channel_name", channel)];
        let request = TestRequest::post().uri("/broadcasting/auth");
        let form = request.insert_header(cookie.clone()).set_form(body);
        assert_eq!(
            ask(&example, form).await.status().as_u16(),
            status,
            "{socket} {channel}"
        );
    }
    let nobody = TestRequest::post()
        .uri("/broadcasting/auth")
        .set_form([("socket_id", "11.22"), ("channel_name", "presence-lobby")]);
    assert_eq!(
        ask(&example, nobody).await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[actix_web::test]
async fn a_presence_signature_covers_who_joins_and_json_is_read_too() {
    let example = example();
    let request = TestRequest::post()
        .uri("/broadcasting/auth")
        .insert_header(logged_in(&example).await)
        .set_json(serde_json::json!({ "socket_id": "11.22", "channel_name": "presence-lobby" }));
    let answer = ask(&example, request).await;
    let body = to_bytes(answer.into_body())
        .await
        .expect("a body in memory");
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let member = body["channel_data"].as_str().expect("a string");
    assert_eq!(member, r#"{"user_id":"1","user_info":{"name":"Outman"}}"#);
    let socket = crate::broadcast::SocketId::parse("11.22").expect("two numbers");
    let auth = example
        .pusher
        .sign_subscription(&socket, "presence-lobby", Some(member));
    assert_eq!(body["auth"], auth);
}
