//! The dashboard's files come out of the binary, and only on the admin listener.

use std::{fs, path::Path};

use crate::support::server::TestServer;

#[test]
fn the_page_is_served_and_not_sent_twice() {
    let server = TestServer::usual();
    let page = server.admin_get("/");
    assert_eq!(page.status, 200);
    assert!(
        page.body
            .to_ascii_lowercase()
            .starts_with("<!doctype html>")
    );
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let tag = page.header("etag").expect("a tag");
    let known = format!("If-None-Match: {tag}");
    let again = server.admin_call("GET /", &["Host: localhost", &known], "");
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(server.admin_get("/assets/nothing.js").status, 404);
    assert_eq!(server.admin_get("/assets/../page.rs").status, 404);
}

#[test]
fn every_file_beside_the_page_is_in_the_binary() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
    let server = TestServer::usual();
    for file in fs::read_dir(folder).expect("the page's folder") {
        let path = file.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        let target = match &*name {
            "index.html" => "/".to_owned(),
            name => format!("/assets/{name}"),
        };
        let answer = server.admin_get(&target);
        let text = fs::read_to_string(&path).expect("text");
        assert_eq!((answer.status, answer.body), (200, text), "{name}");
    }
}

#[test]
fn browsers_are_told_to_keep_the_page_to_itself() {
    let server = TestServer::usual();
    for target in ["/", "/api/state", "/nothing"] {
        let answer = server.admin_get(target);
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{target}");
        }
    }
}
