//! The admin API where the apps are in the configuration file (#14).

use serde_json::json;

use super::store::JSON;
use crate::support::server::TestServer;

#[test]
fn apps_of_a_file_are_shown_and_changes_say_where_the_file_is() {
    let server = TestServer::usual();
    let file = server.config.as_ref().expect("a file").path();
    let shown = server.admin_json("/api/apps/1001");
    assert_eq!(
        (&shown["key"], &shown["secret"]),
        (&json!("key-of-1001"), &json!(null))
    );
    assert_eq!(server.admin_json("/api/apps")["total"], 1);
    for (line, body) in [
        ("POST /api/apps", "{}"),
        ("PATCH /api/apps/1001", r#"{"name": "x"}"#),
        ("DELETE /api/apps/1001", ""),
        ("POST /api/apps/1001/keys", "{}"),
        ("PATCH /api/apps/1001/keys/key-of-1001", r#"{"label": "x"}"#),
        ("DELETE /api/apps/1001/keys/key-of-1001", ""),
    ] {
        let text = server.admin_call(line, &JSON, body).is_error(409);
        assert_eq!(
            text,
            format!("the apps are those of {file}: change them there")
        );
    }
    assert_eq!(
        server.admin_json("/api/state")["app_store"]["writable"],
        false
    );
}
