//! #13: the frames of clients that no registry here has, as their published sources write them, and the answers as those sources read
//! them. Each test names the repository and the files.

use serde_json::{Value, json};

use crate::support::{
    app::App,
    client::TestClient,
    server::TestServer,
    setup::Setup,
    websocket::{Frame, Incoming, Upgrade},
};

fn server() -> TestServer {
    TestServer::start(Setup::new().app(App::new("1", "MyKey").set("client_events", true)))
}

#[track_caller]
fn connect(server: &TestServer, upgrade: &Upgrade) -> TestClient {
    TestClient::greeted(upgrade.connect(server.public), server.app())
}

fn terminate(server: &TestServer, user_id: &str) {
    let path = format!("/users/{user_id}/terminate_connections");
    server.api().post(&path, &json!({})).is_empty_object();
}

/// pusher/pusher-websocket-java, below `src/main/java/com/pusher/client`: `PusherOptions.java` (URL), `channel/impl/message/SubscribeMessage.java`,
/// `channel/PusherEvent.java`, `user/impl/message/SigninMessage.java`, `connection/websocket/WebSocketConnection.java` (ping, `handleError`).
#[test]
fn the_java_client_subscribes_whispers_signs_in_and_learns_why_it_is_closed() {
    let server = server();
    let url = "/app/MyKey?client=java-client&protocol=5&version=2.4.4";
    let mut java = connect(&server, &Upgrade::new(url));
    java.socket.send_text(r#"{"event": "pusher:ping"}"#);
    java.expect("pusher:pong");
    java.socket
        .send_text(r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#);
    java.expect_on("news", "pusher_internal:subscription_succeeded");
    let room = "presence-room";
    let member = r#"{"user_id":"ann"}"#;
    let auth = java.auth_with(room, member);
    let subscribe = json!({"auth": auth, "channel": room, "channel_data": member});
    java.send(&json!({"event": "pusher:subscribe", "data": subscribe}));
    java.expect_on(room, "pusher_internal:subscription_succeeded");
    let mut other = server.client();
    other.join(room, "bob");
    java.expect_on(room, "pusher_internal:member_added");
    // Gson leaves null out, so an event without data has no such member; getData of the receiver fails without one.
    other.send(&json!({"event": "client-typing", "channel": room}));
    let typing = java.expect_on(room, "client-typing");
    assert_eq!(typing.json.get("data"), Some(&Value::Null));

    let user_data = r#"{"id":"auth0|5"}"#;
    let auth = server.app().auth_user(&java.socket_id, user_data);
    let signin = json!({"auth": auth, "user_data": user_data});
    java.send(&json!({"event": "pusher:signin", "data": signin}));
    let success = java.expect("pusher:signin_success").decoded();
    assert_eq!(success["user_data"], json!(user_data));
    java.ask("#server-to-user-auth0|5");
    java.expect("pusher_internal:subscription_succeeded");
    terminate(&server, "auth0%7C5");
    let Incoming::Text(notice) = java.socket.next() else {
        panic!("protocol 5 has a message before the close");
    };
    let notice: Value = serde_json::from_str(&notice).unwrap();
    assert_eq!(notice["event"], "pusher:error");
    assert_eq!(notice["data"]["code"], 4009);
    assert!(notice["data"]["message"].is_string(), "{notice}");
    java.expect_closed(4009);
}

/// `channel/impl/ChannelManager.java` of the same: an unsubscribe forgets the channel at once, and a private channel's subscribe is sent only
/// when its authorizer has answered, so an unsubscribe may come first and a second subscribe after it.
#[test]
fn the_java_client_may_unsubscribe_before_its_subscribe() {
    let server = server();
    let url = "/app/MyKey?client=java-client&protocol=5&version=2.4.4";
    let mut java = connect(&server, &Upgrade::new(url));
    java.unsubscribe("private-room");
    java.expect_no_subscription("private-room");
    java.subscribe("private-room");
    java.unsubscribe("private-room");
    java.expect_silence();
}

/// pusher/pusher-websocket-dotnet, below `PusherClient`: `Pusher.cs` (URL; `SubscribeChannelAsync` takes any error of the server for that of the
/// subscription it awaits), `PusherAuthorizedChannelSubscriptionData.cs`, `Connection.cs` (`ParseError`).
#[test]
fn the_dotnet_client_subscribes_and_takes_the_next_error_for_its_subscriptions() {
    let server = server();
    let url = "/app/MyKey?protocol=5&client=pusher-dotnet-client&version=2.3.0.0";
    let mut dotnet = connect(&server, &Upgrade::new(url));
    let auth = dotnet.auth("private-room");
    let data = json!({"auth": auth, "channel_data": null, "channel": "private-room"});
    dotnet.send(&json!({"event": "pusher:subscribe", "data": data}));
    dotnet.expect_on("private-room", "pusher_internal:subscription_succeeded");
    let data = json!({"auth": null, "channel_data": null, "channel": "private-other"});
    dotnet.send(&json!({"event": "pusher:subscribe", "data": data}));
    let refused = dotnet.expect_on("private-other", "pusher:subscription_error");
    assert!(refused.json["data"].is_string(), "cast to a string");
    let error = dotnet.expect_error(None);
    assert!(error.json["data"]["message"].is_string());
    // It sends a control ping every second.
    dotnet.socket.send(&Frame::new(9, ""));
    assert!(matches!(dotnet.socket.next(), Incoming::Pong(_)));
    dotnet.expect_nothing_before_marker(&server.api(), "private-room");
}

/// pusher/pusher-websocket-swift, below `Sources`: `PusherSwift.swift` (sub-protocol), `Extensions/URL+Pusher.swift`,
/// `Services/PusherConnection.swift` (`authorize` lower-cases the inline `auth`), `Models/PusherPresenceChannel.swift` (`addExistingMembers`
/// appends), `Models/PusherError.swift`.
#[test]
fn the_swift_client_connects_authorizes_inline_and_keeps_one_list_of_members() {
    let server = server();
    let url = "/app/MyKey?client=pusher-websocket-swift&version=10.1.5&protocol=7";
    let upgrade = Upgrade::new(url).header("Sec-WebSocket-Protocol", "pusher-channels-protocol-7");
    let socket = upgrade.connect(server.public);
    let selected = socket.response.header("sec-websocket-protocol");
    assert_eq!(selected, Some("pusher-channels-protocol-7"));
    let mut swift = TestClient::greeted(socket, server.app());
    let room = "presence-room";
    let member = format!(r#"{{"user_id":"{}"}}"#, swift.socket_id);
    let auth = swift.auth_with(room, &member).to_lowercase();
    let data = json!({"channel": room, "auth": auth, "channel_data": member});
    let subscribe = json!({"event": "pusher:subscribe", "data": data});
    swift.send(&subscribe);
    swift.expect_on(room, "pusher_internal:subscription_succeeded");
    swift.send(&subscribe);
    swift.expect_existing(room);
    swift.expect_nothing_before_marker(&server.api(), room);
}

/// kerimamansaryyev/dart_pusher_channels, below `lib/src`: `options/host_options.dart` (URL), `channels/private_channel.dart` (`unsubscribe`
/// sends at once, also before the subscribe, which waits for its authorization), `events/error_event.dart`, `events/ping_event.dart`.
#[test]
fn the_dart_client_may_unsubscribe_at_any_time_and_stays_connected() {
    let server = server();
    let url = "/app/MyKey?client=dart&version=1.2.3&protocol=7";
    let mut dart = connect(&server, &Upgrade::new(url));
    dart.send(&json!({"event": "pusher:subscribe", "data": {"channel": "news"}}));
    dart.expect_on("news", "pusher_internal:subscription_succeeded");
    dart.unsubscribe("private-room");
    dart.expect_no_subscription("private-room");
    dart.send(&json!({"event": "pusher:ping", "data": {}}));
    dart.expect("pusher:pong");
    dart.expect_nothing_before_marker(&server.api(), "news");
}
