//! Webhooks: what an app's backend gets over HTTP, when, and how often.

mod absences;
mod answers;
mod batches;
mod config;
mod events;
mod failures;
mod fairness;
mod feed;
mod filters;
mod flood;
mod receiver;
mod requests;
mod returns;
mod sessions;
mod stop;
mod targets;
mod tls;

pub(crate) use receiver::Receiver;
use serde_json::{Value, json};

use crate::support::{app::App, server::TestServer, setup::Setup};

/// The usual app, whose clients may trigger events, with these endpoints.
pub(crate) fn app_with(endpoints: &Value) -> App {
    App::usual()
        .set("client_events", true)
        .set("webhooks", endpoints.clone())
}

/// A server whose app sends this receiver all events.
fn server_for(receiver: &Receiver) -> TestServer {
    let app = app_with(&json!([{"url": receiver.url("/hook")}]));
    TestServer::start(Setup::new().app(app))
}
