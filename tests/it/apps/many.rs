//! Ten thousand apps (#14). `benches/fanout many-apps` has the figures.

use serde_json::json;

use super::{
    connects, goes_on,
    store::{StoreKind, Stored, on_every_store},
};
use crate::support::{app::App, feed::Feed};

const APPS: usize = 10_000;

on_every_store! {
    one_of_ten_thousand_apps_changes_alone
}

fn one_of_ten_thousand_apps_changes_alone(kind: StoreKind) {
    let mut apps = vec![App::usual()];
    apps.extend((1..APPS).map(|number| App::new(&format!("t{number}"), &format!("key-{number}"))));
    let stored = Stored::start(kind, &apps[..1]);
    let server = &stored.server;
    let mut client = server.client();
    client.subscribe("news");
    stored.put(&apps);
    let listed = server.admin_json("/api/apps?limit=1");
    assert_eq!(listed["total"], APPS);
    assert!(connects(server, &apps[APPS - 1]));
    let mut feed = Feed::connect(server);
    let last = apps.pop().expect("the last");
    apps.push(last.set("enabled", false));
    stored.put(&apps);
    let line = feed.next_of("apps_changed");
    let changes = ["added", "changed", "removed"].map(|kind| line[kind].clone());
    assert_eq!(changes, [json!([]), json!([apps[APPS - 1].id]), json!([])]);
    assert!(!connects(server, &apps[APPS - 1]) && connects(server, &apps[APPS - 2]));
    goes_on(server, &mut client);
}
