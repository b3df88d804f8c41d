//! Apps as living things: several keys, several sources, and changes while the server runs.

#[cfg(feature = "sql")]
mod admin_api;
mod changes;
mod command;
mod keys;
mod many;
#[cfg(feature = "sql")]
mod nodes;
mod openapi;
mod read_only;
mod reload;
mod rotation;
#[cfg(feature = "sql")]
mod sql;
pub(crate) mod store;

use crate::support::{
    app::App,
    client::TestClient,
    server::TestServer,
    websocket::{Incoming, Upgrade},
};

fn other() -> App {
    App::new("1002", "key-of-1002")
}

fn connects(server: &TestServer, app: &App) -> bool {
    let target = format!("/app/{}?protocol=7", app.key);
    match Upgrade::new(&target).connect(server.public).next() {
        Incoming::Text(text) => text.contains("connection_established"),
        _ => false,
    }
}

/// Everything works that the client could do before.
#[track_caller]
fn goes_on(server: &TestServer, client: &mut TestClient) {
    client.expect_nothing_before_marker(&server.api(), "news");
}
