//! #13 row 17: below protocol 6 a `pusher:error` precedes every close that the server begins; the official Java and .NET clients speak protocol 5
//! (`PusherOptions.java`, `Pusher.cs`) and show applications no close code. Later protocols get the close frame alone.

use std::thread;

use serde_json::{Value, json};

use crate::support::{
    app::App,
    client::TestClient,
    fallback::{Line, POLLING, STREAMING, Session},
    server::TestServer,
    setup::Setup,
    stream::{PATIENCE, ReadError},
    websocket::{BINARY, Frame, Incoming, Socket, Upgrade},
};

const PROTOCOLS: [&str; 3] = ["5", "6", "7"];

fn client(server: &TestServer, protocol: &str) -> TestClient {
    let target = format!("/app/{}?protocol={protocol}", server.app().key);
    TestClient::greeted(Upgrade::new(&target).connect(server.public), server.app())
}

/// The connection must be closed with this code, and the protocol decides whether a message says so first.
#[track_caller]
fn expect_notice(socket: &mut Socket, protocol: &str, code: u16) {
    let mut errors = Vec::new();
    let reason = loop {
        match socket.next() {
            Incoming::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("a whole message");
                if message["event"] == "pusher:error" {
                    errors.push(message);
                } else {
                    assert_eq!(errors, [] as [Value; 0], "the notice comes last");
                }
            }
            Incoming::Close(got, reason) => {
                assert_eq!(got, Some(code));
                break reason;
            }
            Incoming::Ping(_) | Incoming::Pong(_) => {}
        }
    };
    let notice = json!({"event": "pusher:error", "data": {"code": code, "message": reason}});
    let expected = if protocol == "5" {
        vec![notice]
    } else {
        vec![]
    };
    assert_eq!(errors, expected, "protocol {protocol}");
    socket.send(&Frame::close(code, ""));
    match socket.read(PATIENCE) {
        Err(ReadError::Ended) => {}
        other => panic!("expected the end, got {other:?}"),
    }
}

#[test]
fn a_terminated_user_gets_4009() {
    let server = TestServer::usual();
    for protocol in PROTOCOLS {
        let mut client = client(&server, protocol);
        client.sign_in("7");
        let path = "/users/7/terminate_connections";
        server.api().post(path, &json!({})).is_empty_object();
        expect_notice(&mut client.socket, protocol, 4009);
    }
}

#[test]
fn a_client_that_an_operator_disconnects_gets_4009() {
    let server = TestServer::usual();
    for protocol in PROTOCOLS {
        let mut client = client(&server, protocol);
        let line = format!("DELETE /api/connections/{}", client.socket_id);
        let answer = server.admin_call(&line, &["Host: localhost"], "");
        assert_eq!(answer.status, 204, "{answer:?}");
        expect_notice(&mut client.socket, protocol, 4009);
    }
}

#[test]
fn a_client_that_authorizes_too_late_gets_4009() {
    let server = TestServer::start(Setup::new().usual_with("authorization_timeout_s", 1));
    for protocol in PROTOCOLS {
        expect_notice(&mut client(&server, protocol).socket, protocol, 4009);
    }
}

#[test]
fn a_replaced_session_gets_4009() {
    let app = App::usual()
        .set("single_session", "replace")
        .set("session_grace_s", 0);
    let server = TestServer::start(Setup::new().app(app));
    for protocol in PROTOCOLS {
        let mut old = client(&server, protocol);
        old.sign_in("7");
        let mut new = client(&server, protocol);
        new.sign_in("7");
        expect_notice(&mut old.socket, protocol, 4009);
    }
}

#[test]
fn a_drained_client_gets_4200() {
    let mut server = TestServer::usual();
    let clients = PROTOCOLS.map(|protocol| (protocol, client(&server, protocol)));
    server.terminate();
    let readers = clients.map(|(protocol, mut client)| {
        thread::spawn(move || expect_notice(&mut client.socket, protocol, 4200))
    });
    for reader in readers {
        reader.join().expect("the notice came");
    }
    server.expect_clean_exit();
}

#[test]
fn a_client_that_answers_no_ping_gets_4201() {
    let setup = Setup::new()
        .set("websocket.activity_timeout_s", 1)
        .set("websocket.pong_timeout_s", 1);
    let server = TestServer::start(setup);
    let clients = PROTOCOLS.map(|protocol| (protocol, client(&server, protocol)));
    for (protocol, mut client) in clients {
        expect_notice(&mut client.socket, protocol, 4201);
    }
}

#[test]
fn a_client_that_reads_too_slowly_gets_4100() {
    let setup = Setup::new().set("websocket.max_outbox_bytes", 65_536);
    let server = TestServer::start(setup);
    let api = server.api();
    for protocol in PROTOCOLS {
        let mut slow = client(&server, protocol);
        slow.subscribe("bulk");
        let path = format!("/api/connections/{}", slow.socket_id);
        let backlog = || server.admin_json(&path)["backlog_bytes"].as_u64();
        while backlog() == Some(0) {
            api.publish("bulk", "bulk", &"x".repeat(10_240));
        }
        // The kernel takes no more; this is more than the outbox takes.
        let bulk = json!({"name": "bulk", "channel": "bulk", "data": "x".repeat(10_240)});
        api.batch(&vec![bulk; 10]).is_empty_object();
        expect_notice(&mut slow.socket, protocol, 4100);
    }
}

#[test]
fn a_client_that_breaks_the_rules_gets_the_code_for_it() {
    let server = TestServer::usual();
    for protocol in PROTOCOLS {
        for (frame, code) in [
            (Frame::new(BINARY, "x"), 1003),
            (Frame::text([0xff]), 1007),
            (Frame::text("x".repeat(65_537)), 1009),
            (Frame::text("{}").unmasked(), 1002),
        ] {
            let mut client = client(&server, protocol);
            client.socket.send(&frame);
            expect_notice(&mut client.socket, protocol, code);
        }
    }
}

#[test]
fn a_client_that_is_not_let_in_gets_the_reason() {
    let server = TestServer::start(Setup::new().usual_with("enabled", false));
    for protocol in PROTOCOLS {
        for (path, code) in [
            ("/app/nobody", 4001),
            ("/app/key-of-1001", 4003),
            ("/nowhere", 4005),
        ] {
            let upgrade = Upgrade::new(&format!("{path}?protocol={protocol}"));
            expect_notice(&mut upgrade.connect(server.public), protocol, code);
        }
    }
}

#[test]
fn a_close_that_the_client_begins_is_only_echoed() {
    let server = TestServer::usual();
    let mut client = client(&server, "5");
    client.socket.send(&Frame::close(4999, "bye"));
    match client.socket.next() {
        Incoming::Close(Some(4999), _) => client.socket.expect_end(),
        other => panic!("expected the echo, got {other:?}"),
    }
}

#[test]
fn a_fallback_client_is_told_in_a_message_and_by_the_close_line() {
    let server = TestServer::usual();
    for kind in [STREAMING, POLLING] {
        for protocol in PROTOCOLS {
            let session = Session::new(&server, server.app());
            let mut client = session.query(&format!("protocol={protocol}")).open(kind);
            let signin = client.signin(r#"{"id":"7"}"#);
            client.send(&[signin]);
            assert_eq!(client.polled().event(), "pusher:signin_success");
            let path = "/users/7/terminate_connections";
            server.api().post(path, &json!({})).is_empty_object();
            if protocol == "5" {
                let notice = client.polled();
                assert_eq!(notice.event(), "pusher:error");
                assert_eq!(notice.code(), Some(4009));
            } else if kind == POLLING {
                client.receiving.expect_end();
                client.receive(kind);
            }
            match client.receiving.next() {
                Line::Close(4009, _) => {}
                other => panic!("{kind} {protocol}: expected the close, got {other:?}"),
            }
        }
    }
}
