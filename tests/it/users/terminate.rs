//! §6.4: `POST users/{id}/terminate_connections`.

use serde_json::json;

use crate::support::{
    app::App,
    client::TestClient,
    eventually,
    fallback::{POLLING, STREAMING, Session},
    server::TestServer,
    setup::Setup,
};

#[track_caller]
fn signed_in(server: &TestServer, user_id: &str) -> TestClient {
    let mut client = server.client();
    client.sign_in(user_id);
    client
}

#[track_caller]
fn terminate(server: &TestServer, user_id: &str) {
    let path = format!("/users/{user_id}/terminate_connections");
    server.api().post(&path, &json!({})).is_empty_object();
}

#[test]
fn every_connection_of_the_user_is_closed_with_4009_and_no_other() {
    let server = TestServer::usual();
    let mut theirs: Vec<_> = (0..5).map(|_| signed_in(&server, "7")).collect();
    let mut others = [
        signed_in(&server, "8"),
        signed_in(&server, "77"),
        server.client(),
    ];
    terminate(&server, "7");
    for client in &mut theirs {
        assert!(!client.expect_closed(4009).is_empty());
    }
    others.iter_mut().for_each(TestClient::expect_silence);
}

#[test]
fn a_presence_identity_alone_is_not_closed() {
    let server = TestServer::usual();
    let mut member = server.client();
    member.join("presence-room", "7");
    terminate(&server, "7");
    member.expect_silence();
    member.expect_nothing_before_marker(&server.api(), "presence-room");
}

#[test]
fn the_members_of_the_users_presence_channels_hear_that_he_left() {
    let server = TestServer::usual();
    let mut watcher = server.client();
    watcher.join("presence-room", "watcher");
    let mut user = signed_in(&server, "7");
    user.join("presence-room", "7");
    watcher.expect_on("presence-room", "pusher_internal:member_added");
    terminate(&server, "7");
    user.expect_closed(4009);
    let removed = watcher.expect_on("presence-room", "pusher_internal:member_removed");
    assert_eq!(removed.decoded(), json!({"user_id": "7"}));
}

#[test]
fn a_user_who_is_not_there_is_200_too() {
    let server = TestServer::usual();
    terminate(&server, "nobody");
    let path = "/users/nobody/terminate_connections";
    server.api().call("POST", path).send().is_empty_object();
}

#[test]
fn an_id_may_be_percent_encoded() {
    let server = TestServer::usual();
    for (id, encoded) in [("zoë 1", "zo%C3%AB%201"), ("a/b", "a%2Fb"), ("7", "%37")] {
        let mut client = signed_in(&server, id);
        terminate(&server, encoded);
        client.expect_closed(4009);
    }
}

#[test]
fn the_user_may_come_back_at_once() {
    let server = TestServer::usual();
    signed_in(&server, "7").socket.stream.shutdown_write();
    let mut client = signed_in(&server, "7");
    terminate(&server, "7");
    client.expect_closed(4009);
    signed_in(&server, "7").subscribe("#server-to-user-7");
}

#[test]
fn the_same_id_in_another_app_is_another_user() {
    let setup = Setup::new()
        .app(App::new("1", "one"))
        .app(App::new("2", "two"));
    let server = TestServer::start(setup);
    let mut other = server.client_of(&server.apps[1]);
    other.sign_in("7");
    let mut user = server.client_of(&server.apps[0]);
    user.sign_in("7");
    terminate(&server, "7");
    user.expect_closed(4009);
    other.expect_silence();
}

#[test]
fn a_fallback_session_of_the_user_is_closed_too() {
    let server = TestServer::usual();
    for kind in [STREAMING, POLLING] {
        let mut client = Session::new(&server, server.app()).open(kind);
        let signin = client.signin(r#"{"id":"7"}"#);
        client.send(&[signin]);
        assert_eq!(client.polled().event(), "pusher:signin_success");
        if kind == POLLING {
            client.receiving.expect_end();
            client.receive(kind);
        }
        terminate(&server, "7");
        client.receiving.expect_close(4009);
        eventually("the session is gone", || {
            (client.session.send_raw("[]").status == 404).then_some(())
        });
    }
}
