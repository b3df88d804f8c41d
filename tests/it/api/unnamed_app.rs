//! #13 row 12: PyPI's `pusher` 3.3.4 leaves `/apps/{id}` out of the path of `terminate_connections` (`pusher/pusher_client.py`), and signs it so.

use serde_json::json;

use crate::support::{api::Call, app::App, client::TestClient, server::TestServer, setup::Setup};

const PATH: &str = "/users/7/terminate_connections";

fn two_apps() -> TestServer {
    let apps = [App::new("1", "one"), App::new("2", "two")];
    let off = App::new("3", "off").set("enabled", false);
    let setup = Setup::new().set("server.path_prefix", "/ws");
    TestServer::start(apps.into_iter().fold(setup, Setup::app).app(off))
}

/// User 7 of each app.
fn users(server: &TestServer) -> [TestClient; 2] {
    [0, 1].map(|at| {
        let mut client = server.client_of(&server.apps[at]);
        client.sign_in("7");
        client
    })
}

/// The request as PyPI's library makes it for this app.
fn terminate(server: &TestServer, app: &App) -> Call {
    server.api_of(app).call("POST", "").path(PATH).body("{}")
}

#[test]
fn the_app_whose_key_signed_is_served_and_no_other() {
    let server = two_apps();
    let [mut one, mut two] = users(&server);
    terminate(&server, &server.apps[1]).send().is_empty_object();
    two.expect_closed(4009);
    one.expect_silence();
    let prefixed = terminate(&server, &server.apps[0]).path("/ws//users/7/terminate_connections/");
    prefixed.signed_path(PATH).send().is_empty_object();
    one.expect_closed(4009);
}

#[test]
fn everything_else_is_checked_as_ever() {
    let server = two_apps();
    let mut users = users(&server);
    let call = || terminate(&server, &server.apps[0]);
    for refused in [
        call().set("auth_key", "two"),
        call().set("auth_key", "nobody"),
        call().without("auth_key"),
        call().secret(&server.apps[1].secret),
        call().signed_path("/apps/1/users/7/terminate_connections"),
        call().signed_path("/users/8/terminate_connections"),
        call().set("auth_timestamp", "1353088179"),
        call().set("auth_version", "2.0"),
        call().set("body_md5", "99914b932bd37a50b983c5e7c90ae93c"),
    ] {
        refused.send().is_error(401);
    }
    terminate(&server, &server.apps[2]).send().is_error(403);
    users.iter_mut().for_each(TestClient::expect_silence);
}

#[test]
fn nothing_else_is_served_without_the_apps_id() {
    let server = two_apps();
    let api = server.api();
    for (method, path) in [
        ("POST", "/events"),
        ("POST", "/batch_events"),
        ("GET", "/channels"),
        ("GET", "/connections"),
        ("POST", "/users/7"),
    ] {
        api.call(method, "").path(path).send().is_error(404);
    }
    api.call("GET", "").path(PATH).send().is_error(405);
    let response = api.post("/users//terminate_connections", &json!({}));
    response.is_error(400);
}
