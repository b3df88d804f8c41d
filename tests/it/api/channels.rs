//! §7.5 to §7.7: what the API tells of channels and their users.

use serde_json::json;

use crate::support::{app::App, client::TestClient, eventually, server::TestServer, setup::Setup};

fn audience(server: &TestServer) -> [TestClient; 3] {
    let mut clients = [server.client(), server.client(), server.client()];
    clients[0].join("presence-room", "7");
    clients[1].join("presence-room", "7");
    clients[2].join("presence-room", "8");
    clients[2].join("presence-other", "8");
    clients[0].expect("pusher_internal:member_added");
    clients[0].subscribe("news");
    clients[0].subscribe("private-a");
    clients
}

#[test]
fn all_occupied_channels_are_listed() {
    let server = TestServer::usual();
    server
        .api()
        .get("/channels", &[])
        .is(&json!({"channels": {}}));
    let _clients = audience(&server);
    let expected = json!({"channels": {"presence-room": {}, "presence-other": {}, "news": {}, "private-a": {}}});
    server.api().get("/channels", &[]).is(&expected);
}

#[test]
fn a_prefix_filters_the_list() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let list = |prefix: &str| {
        server
            .api()
            .get("/channels", &[("filter_by_prefix", prefix)])
    };
    list("presence-r").is(&json!({"channels": {"presence-room": {}}}));
    list("private-").is(&json!({"channels": {"private-a": {}}}));
    list("nothing").is(&json!({"channels": {}}));
    list("ews").is(&json!({"channels": {}}));
}

#[test]
fn the_list_tells_counts_when_asked() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let list = |prefix: &str, info: &str| {
        server
            .api()
            .get("/channels", &[("filter_by_prefix", prefix), ("info", info)])
    };
    let users = json!({"channels": {"presence-room": {"user_count": 2}, "presence-other": {"user_count": 1}}});
    list("presence-", "user_count").is(&users);
    let both = json!({"channels": {"presence-room": {"user_count": 2, "subscription_count": 3}}});
    list("presence-room", "user_count,subscription_count").is(&both);
    list("news", "subscription_count")
        .is(&json!({"channels": {"news": {"subscription_count": 1}}}));
    let counts = server
        .api()
        .get("/channels", &[("info", "subscription_count")])
        .json();
    assert_eq!(
        counts["channels"]["presence-room"],
        json!({"subscription_count": 3})
    );
}

#[test]
fn a_user_count_needs_a_presence_prefix() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let api = server.api();
    api.get("/channels", &[("info", "user_count")])
        .is_error(400);
    for prefix in ["", "news", "private-", "presence", "p", "Presence-"] {
        api.get(
            "/channels",
            &[("info", "user_count"), ("filter_by_prefix", prefix)],
        )
        .is_error(400);
    }
}

#[test]
fn an_unknown_attribute_is_400() {
    let server = TestServer::usual();
    for info in ["users", "user_count,unknown", "Subscription_count"] {
        let parameters = [("info", info), ("filter_by_prefix", "presence-")];
        server.api().get("/channels", &parameters).is_error(400);
        server
            .api()
            .get("/channels/presence-room", &[("info", info)])
            .is_error(400);
    }
}

#[test]
fn a_channel_that_nobody_listens_to_is_not_occupied() {
    let server = TestServer::usual();
    for channel in ["news", "private-a", "presence-room", "cache-a"] {
        server
            .api()
            .get(&format!("/channels/{channel}"), &[])
            .is(&json!({"occupied": false}));
    }
}

#[test]
fn one_channel_tells_what_it_is_asked() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let get = |channel: &str, info: &str| {
        server
            .api()
            .get(&format!("/channels/{channel}"), &[("info", info)])
    };
    server
        .api()
        .get("/channels/news", &[])
        .is(&json!({"occupied": true}));
    get("news", "subscription_count").is(&json!({"occupied": true, "subscription_count": 1}));
    get("presence-room", "user_count").is(&json!({"occupied": true, "user_count": 2}));
    get("presence-room", "subscription_count")
        .is(&json!({"occupied": true, "subscription_count": 3}));
    let both = json!({"occupied": true, "user_count": 2, "subscription_count": 3});
    get("presence-room", "user_count,subscription_count").is(&both);
    get("presence-room", "subscription_count,user_count").is(&both);
    let nobody = json!({"occupied": false, "user_count": 0});
    get("presence-nobody", "user_count").is(&nobody);
}

#[test]
fn an_attribute_that_does_not_fit_the_channel_is_400() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let cases = [
        ("news", "user_count"),
        ("private-a", "user_count"),
        ("news", "cache"),
        ("presence-room", "cache"),
    ];
    for (channel, info) in cases {
        server
            .api()
            .get(&format!("/channels/{channel}"), &[("info", info)])
            .is_error(400);
    }
    server
        .api()
        .get(
            "/channels/news",
            &[("info", "subscription_count,user_count")],
        )
        .is_error(400);
}

#[test]
fn a_channel_is_gone_with_its_last_subscriber() {
    let server = TestServer::usual();
    let [mut one, two, three] = audience(&server);
    one.unsubscribe("news");
    one.expect_silence();
    server
        .api()
        .get("/channels/news", &[])
        .is(&json!({"occupied": false}));
    for client in [one, two, three] {
        client.close();
    }
    let empty =
        || (server.api().get("/channels", &[]).json() == json!({"channels": {}})).then_some(());
    eventually("no channel is occupied", empty);
}

#[test]
fn the_users_of_a_presence_channel_are_listed_once_each() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let response = server.api().get("/channels/presence-room/users", &[]);
    assert_eq!(response.status, 200, "{response:?}");
    let mut users = response.json();
    users["users"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(|user| user["id"].to_string());
    assert_eq!(users, json!({"users": [{"id": "7"}, {"id": "8"}]}));
}

/// #13 row 16: soketi's `with_user_info=1`.
#[test]
fn the_users_come_with_their_info_where_it_is_asked_for() {
    let server = TestServer::usual();
    let (mut first, mut second) = (server.client(), server.client());
    let info = r#"{"name":"Ann \\ \"é\"","n":[1.10,null]}"#;
    first.join_with(
        "presence-room",
        &format!(r#"{{"user_id":7,"user_info":{info}}}"#),
    );
    second.join("presence-room", "8");
    let users = |parameters: &[(&str, &str)]| {
        let api = server.api();
        let response = api.get("/channels/presence-room/users", parameters);
        let mut users = response.json()["users"].as_array().unwrap().clone();
        users.sort_by_key(|user| user["id"].to_string());
        (users, response.body)
    };
    let (with_info, body) = users(&[("with_user_info", "1")]);
    let info_as_json: serde_json::Value = serde_json::from_str(info).unwrap();
    assert_eq!(
        with_info,
        [
            json!({"id": "7", "user_info": info_as_json}),
            json!({"id": "8", "user_info": null})
        ]
    );
    assert!(
        body.contains(info),
        "byte for byte as it was signed: {body}"
    );
    for parameters in [
        &[][..],
        &[("with_user_info", "0")],
        &[("with_user_info", "")],
    ] {
        assert_eq!(
            users(parameters).0,
            [json!({"id": "7"}), json!({"id": "8"})]
        );
    }
}

#[test]
fn the_users_of_an_empty_presence_channel_are_none() {
    let server = TestServer::usual();
    server
        .api()
        .get("/channels/presence-nobody/users", &[])
        .is(&json!({"users": []}));
}

#[test]
fn other_channels_have_no_users() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    for channel in ["news", "private-a", "cache-a", "nobody"] {
        server
            .api()
            .get(&format!("/channels/{channel}/users"), &[])
            .is_error(400);
    }
}

#[test]
fn a_channel_name_in_the_path_is_decoded() {
    let server = TestServer::usual();
    let mut client = server.client();
    client.subscribe("private-a=b,c;d@e");
    for path in [
        "private-a=b,c;d@e",
        "private-a%3Db%2Cc%3Bd%40e",
        "%70rivate-a=b,c;d@e",
    ] {
        server
            .api()
            .get(&format!("/channels/{path}"), &[])
            .is(&json!({"occupied": true}));
    }
}

#[test]
fn stats_tell_users_of_presence_channels_and_connections_of_all() {
    let server = TestServer::usual();
    let _clients = audience(&server);
    let stats = |channel: &str| server.api().get(&format!("/channels/{channel}/stats"), &[]);
    stats("presence-room").is(&json!({"occupied": true, "user_count": 2, "connection_count": 3}));
    stats("news").is(&json!({"occupied": true, "connection_count": 1}));
    stats("nobody").is(&json!({"occupied": false, "connection_count": 0}));
}

#[test]
fn connections_are_counted_per_app() {
    let server = TestServer::start(Setup::new().app(App::usual()).app(App::new("2", "two")));
    server
        .api()
        .get("/connections", &[])
        .is(&json!({"connections": 0}));
    let clients = audience(&server);
    server
        .api()
        .get("/connections", &[])
        .is(&json!({"connections": 3}));
    server
        .api_of(&server.apps[1])
        .get("/connections", &[])
        .is(&json!({"connections": 0}));
    drop(clients);
    let gone = || {
        (server.api().get("/connections", &[]).json() == json!({"connections": 0})).then_some(())
    };
    eventually("the connections are gone", gone);
}
