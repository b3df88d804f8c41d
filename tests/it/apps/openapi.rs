//! The description of the admin listener is that of its routes (#14).

use std::{collections::BTreeSet, fs, path::Path};

use crate::support::server::TestServer;

/// `.route("/path", web::method().to(…))` of the source.
fn routes() -> BTreeSet<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/mod.rs");
    let source = fs::read_to_string(file).expect("the source");
    let routes = source.split(".route(").skip(1);
    routes
        .map(|route| {
            let mut quoted = route.split('"');
            let path = quoted.nth(1).expect("a path").to_owned();
            let method = route.split("web::").nth(1).expect("a method");
            let method = method.split('(').next().expect("a method").to_owned();
            (path, method)
        })
        .collect()
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let server = TestServer::usual();
    let document = server.admin_json("/api/openapi.json");
    let paths = document["paths"].as_object().expect("paths");
    let described = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(move |method| (path.clone(), method.clone()))
    });
    assert_eq!(described.collect::<BTreeSet<_>>(), routes());
    assert!(routes().len() > 20);
}

#[test]
fn the_description_has_every_key_of_an_app_with_its_bounds() {
    let server = TestServer::usual();
    let document = server.admin_json("/api/openapi.json");
    let app = &document["components"]["schemas"]["App"]["properties"];
    assert_eq!(app["max_connections"]["minimum"], 1);
    assert_eq!(app["secret"]["writeOnly"], true);
    assert_eq!(
        app["single_session"]["enum"],
        serde_json::json!(["off", "replace", "refuse"])
    );
    assert_eq!(
        app["webhooks"]["items"]["properties"]["url"]["writeOnly"],
        true
    );
    let shown = server.admin_json("/api/apps/1001");
    let keys = |value: &serde_json::Value| {
        let keys = value.as_object().expect("an object").keys();
        keys.cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(keys(app), keys(&shown));
    for reference in document.to_string().split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
}
